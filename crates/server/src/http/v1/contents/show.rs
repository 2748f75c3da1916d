//! `GET /api/v1/contents/{digest}`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::{Hex32, admin::Content};

/// How much of something that a release or a type names is here: where its upload goes on.
#[utoipa::path(
    get,
    path = "/api/v1/contents/{digest}",
    operation_id = "contents_show",
    tag = "releases",
    params(("digest" = Hex32, Path, description = "Its SHA-256")),
    responses((status = 200, description = "How much", body = Content))
)]
pub(in crate::http) async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(digest): Parameters<Hex32>,
) -> Answer {
    ok(&shared.app.content(digest).await?)
}
