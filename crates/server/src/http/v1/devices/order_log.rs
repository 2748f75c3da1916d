//! `GET /api/v1/devices/{device}/orders/{order}/log`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::admin::OrderLog;

/// What a stock Mender client logged of an order that failed. Nobody signed it.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{device}/orders/{order}/log",
    operation_id = "device_order_log",
    tag = "devices",
    params(
        ("device" = String, Path, description = "`dev_…`"),
        ("order" = u64, Path, description = "The order's number"),
    ),
    responses((status = 200, description = "The log", body = OrderLog))
)]
pub(in crate::http) async fn log(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters((device, order)): Parameters<(String, u64)>,
) -> Answer {
    let log = shared.app.mender_log_of(&device, order).await?;
    ok(&OrderLog { log })
}
