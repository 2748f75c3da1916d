//! `GET /api/v1/devices/{device}/orders/{order}/receipt`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::admin::Receipt;

/// What became of an order, signed by the device: to be checked later without this server and without the device.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{device}/orders/{order}/receipt",
    operation_id = "device_order_receipt",
    tag = "devices",
    params(
        ("device" = String, Path, description = "`dev_…`"),
        ("order" = u64, Path, description = "The order's number"),
    ),
    responses((status = 200, description = "Two files for `kusabi verify`", body = Receipt))
)]
pub(in crate::http) async fn receipt(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters((device, order)): Parameters<(String, u64)>,
) -> Answer {
    ok(&shared.app.order_receipt(order, &device).await?)
}
