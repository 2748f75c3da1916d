//! `PUT /api/v1/contents/{digest}`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Operator, Parameters, Streamed, Wanted},
};
use axum::extract::State;
use kusabi_api::{Hex32, admin::Content};
use serde::Deserialize;
use utoipa::IntoParams;

/// Where the part begins.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct From {
    /// Its first byte's place in the whole, from 0.
    #[serde(default)]
    offset: u64,
}

/// Sends a part of something that a release names, of any length. What is here already of it is passed over; a part that begins beyond what is
/// here gets 409, with the right offset. What arrived of a part that broke off is kept. With the last byte the whole is checked against its
/// digest; if it is another, all of it is dropped.
#[utoipa::path(
    put,
    path = "/api/v1/contents/{digest}",
    operation_id = "contents_receive",
    tag = "releases",
    params(("digest" = Hex32, Path, description = "Its SHA-256"), From),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "How much is here now", body = Content))
)]
pub(in crate::http) async fn receive(
    State(shared): AppState,
    Parameters(digest): Parameters<Hex32>,
    Wanted(from): Wanted<From>,
    sent: Streamed<Operator>,
) -> Answer {
    let app = &shared.app;
    ok(&app
        .receive_content(&sent.by, digest, from.offset, sent.parts)
        .await?)
}
