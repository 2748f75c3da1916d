//! `POST /api/v1/tokens/{token}/revocation`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Admin, Command, Empty, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Token;

/// Revokes a token, from now on. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/tokens/{token}/revocation",
    operation_id = "tokens_revoke",
    tag = "tokens",
    params(("token" = String, Path, description = "`tok_…`")),
    responses((status = 200, description = "Done", body = Token))
)]
pub(in crate::http) async fn revoke(
    State(shared): AppState,
    Parameters(token): Parameters<String>,
    command: Command<Admin, Empty>,
) -> Answer {
    ok(&shared.app.revoke_token(&command.by, &token).await?)
}
