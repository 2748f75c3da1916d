//! `POST /api/v1/rollouts/{rollout}/next`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Rollout;

/// Begins the next phase now, however many devices have succeeded.
#[utoipa::path(
    post,
    path = "/api/v1/rollouts/{rollout}/next",
    operation_id = "rollouts_next",
    tag = "rollouts",
    params(("rollout" = u64, Path, description = "Its number")),
    responses((status = 200, description = "Done", body = Rollout))
)]
pub(in crate::http) async fn next(
    State(shared): AppState,
    Parameters(id): Parameters<u64>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.begin_phase(&command.by, id).await?)
}
