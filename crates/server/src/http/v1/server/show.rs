//! `GET /api/v1/server`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Viewer},
};
use axum::extract::State;
use kusabi_api::admin::Server;

/// The server itself: its organisation, its ledger, its keys, and the addresses at which devices reach it.
#[utoipa::path(
    get,
    path = "/api/v1/server",
    operation_id = "server_show",
    tag = "server",
    responses((status = 200, description = "The server", body = Server))
)]
pub(in crate::http) async fn show(State(shared): AppState, _: Asks<Viewer>) -> Answer {
    ok(&shared.app.server())
}
