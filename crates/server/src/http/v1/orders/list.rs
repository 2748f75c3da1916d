//! `GET /api/v1/orders`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{Order, Page};

/// The orders, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/orders",
    operation_id = "orders_list",
    tag = "orders",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<Order>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.orders(&cutting.into()).await?)
}
