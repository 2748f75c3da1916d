//! `GET /api/v1/devices/{device}/orders`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Parameters, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{DeviceOrder, Page};

/// The orders of a device, the newest first, and how far it is with each.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{device}/orders",
    operation_id = "devices_orders",
    tag = "devices",
    params(("device" = String, Path, description = "`dev_…`"), Cutting),
    responses((status = 200, description = "One page", body = Page<DeviceOrder>))
)]
pub(in crate::http) async fn orders(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(device): Parameters<String>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.device_orders(&device, &cutting.into()).await?)
}
