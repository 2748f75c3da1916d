//! `POST /api/v1/devices/{device}/quarantine`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Device;

/// Keeps a device apart: it gets no orders but repair and rotate. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device}/quarantine",
    operation_id = "devices_quarantine",
    tag = "devices",
    params(("device" = String, Path, description = "`dev_…`")),
    responses((status = 200, description = "Done", body = Device))
)]
pub(in crate::http) async fn quarantine(
    State(shared): AppState,
    Parameters(device): Parameters<String>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.quarantine(&command.by, &device).await?)
}
