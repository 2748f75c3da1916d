//! `GET /api/v1/rollouts`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{Page, Rollout};

/// The rollouts, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/rollouts",
    operation_id = "rollouts_list",
    tag = "rollouts",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<Rollout>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.rollouts(&cutting.into()).await?)
}
