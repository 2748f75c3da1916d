//! `POST /api/v1/tokens`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Admin, Command, Json},
};
use axum::extract::State;
use kusabi_api::admin::{TokenCreate, TokenCreated};

/// Makes a token. Its secret is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    operation_id = "tokens_create",
    tag = "tokens",
    request_body = TokenCreate,
    responses((status = 201, description = "Done", body = TokenCreated))
)]
pub(in crate::http) async fn create(
    State(shared): AppState,
    command: Command<Admin, Json<TokenCreate>>,
) -> Answer {
    created(&shared.app.create_token(&command.by, command.body.0).await?)
}
