//! `POST /api/v1/orders`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Command, Json, Operator},
};
use axum::extract::State;
use kusabi_api::admin::{Order, OrderCreate};

/// Gives an order to a device, or to the devices that are in a group now.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    operation_id = "orders_create",
    tag = "orders",
    request_body = OrderCreate,
    responses((status = 201, description = "Done", body = Order))
)]
pub(in crate::http) async fn create(
    State(shared): AppState,
    command: Command<Operator, Json<OrderCreate>>,
) -> Answer {
    created(&shared.app.create_order(&command.by, command.body.0).await?)
}
