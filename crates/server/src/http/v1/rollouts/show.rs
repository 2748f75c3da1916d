//! `GET /api/v1/rollouts/{rollout}`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::admin::Rollout;

/// One rollout.
#[utoipa::path(
    get,
    path = "/api/v1/rollouts/{rollout}",
    operation_id = "rollouts_show",
    tag = "rollouts",
    params(("rollout" = u64, Path, description = "Its number")),
    responses((status = 200, description = "The rollout", body = Rollout))
)]
pub(in crate::http) async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(id): Parameters<u64>,
) -> Answer {
    ok(&shared.app.rollout(id).await?)
}
