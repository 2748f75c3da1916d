//! `POST /api/v1/first-admin`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Json, Open, Peer},
};
use axum::extract::State;
use kusabi_api::admin::{FirstAdmin, TokenCreated};

/// Makes the first admin, with a token. Instead of a token this takes the secret of the one-time link that the server printed.
#[utoipa::path(
    post,
    path = "/api/v1/first-admin",
    operation_id = "first_admin_create",
    tag = "tokens",
    security(()),
    request_body = FirstAdmin,
    responses((status = 201, description = "Done", body = TokenCreated))
)]
pub(in crate::http) async fn create(
    State(shared): AppState,
    Peer(peer): Peer,
    Open(Json(first)): Open<Json<FirstAdmin>>,
) -> Answer {
    let _turn = shared.sign_ins.turn(peer).await?;
    created(&shared.app.first_admin(first).await?)
}
