//! `GET /api/v1/tokens`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Admin, Asks, Cutting, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{Page, Token};

/// The tokens, by ID; revoked ones, too.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    operation_id = "tokens_list",
    tag = "tokens",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<Token>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Admin>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.tokens(&cutting.into()).await?)
}
