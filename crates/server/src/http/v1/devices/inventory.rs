//! `GET /api/v1/devices/{device}/inventory`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::admin::DeviceInventory;

/// The newest signed inventory of a device, and how it differs from the expected one, item by item.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{device}/inventory",
    operation_id = "devices_inventory",
    tag = "devices",
    params(("device" = String, Path, description = "`dev_…`")),
    responses((status = 200, description = "The answer", body = DeviceInventory))
)]
pub(in crate::http) async fn inventory(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(device): Parameters<String>,
) -> Answer {
    ok(&shared.app.device_inventory(&device).await?)
}
