//! `POST /api/v1/rebuild`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Admin, Command, Empty},
};
use axum::extract::State;
use kusabi_api::admin::Rebuilt;

/// Forgets what was followed of the ledger and follows it again from its first block. Says what came back, and how much there is of what
/// the ledger does not hold. If it is broken off, the server goes on by itself.
#[utoipa::path(
    post,
    path = "/api/v1/rebuild",
    operation_id = "rebuild",
    tag = "operations",
    responses((status = 200, description = "What was found", body = Rebuilt))
)]
pub(in crate::http) async fn create(
    State(shared): AppState,
    command: Command<Admin, Empty>,
) -> Answer {
    ok(&shared.app.rebuild(&command.by).await?)
}
