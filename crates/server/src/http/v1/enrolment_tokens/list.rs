//! `GET /api/v1/enrolment-tokens`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{EnrolmentToken, Page};

/// The tokens with which devices ask to be enrolled, by ID; revoked ones, too.
#[utoipa::path(
    get,
    path = "/api/v1/enrolment-tokens",
    operation_id = "enrolment_tokens_list",
    tag = "enrolment",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<EnrolmentToken>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.enrolment_tokens(&cutting.into()).await?)
}
