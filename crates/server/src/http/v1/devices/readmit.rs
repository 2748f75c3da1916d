//! `POST /api/v1/devices/{device}/readmit`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Device;

/// Takes a device out of quarantine and orders it to take a new key. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device}/readmit",
    operation_id = "devices_readmit",
    tag = "devices",
    params(("device" = String, Path, description = "`dev_…`")),
    responses((status = 200, description = "Done", body = Device))
)]
pub(in crate::http) async fn readmit(
    State(shared): AppState,
    Parameters(device): Parameters<String>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.readmit(&command.by, &device).await?)
}
