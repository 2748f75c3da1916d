//! `GET /api/v1/devices/{device}`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::admin::DeviceDetail;

/// One device, with its keys and groups.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{device}",
    operation_id = "devices_show",
    tag = "devices",
    params(("device" = String, Path, description = "`dev_…`")),
    responses((status = 200, description = "The device", body = DeviceDetail))
)]
pub(in crate::http) async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(device): Parameters<String>,
) -> Answer {
    ok(&shared.app.device(&device).await?)
}
