//! `GET /api/v1/devices/{device}/events`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Parameters, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{DeviceEvent, Page};

/// What happened to a device, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{device}/events",
    operation_id = "devices_events",
    tag = "devices",
    params(("device" = String, Path, description = "`dev_…`"), Cutting),
    responses((status = 200, description = "One page", body = Page<DeviceEvent>))
)]
pub(in crate::http) async fn events(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(device): Parameters<String>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.timeline(&device, &cutting.into()).await?)
}
