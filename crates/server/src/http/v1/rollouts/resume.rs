//! `POST /api/v1/rollouts/{rollout}/resume`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Rollout;

/// Lets a rollout go on; failures are counted anew. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/rollouts/{rollout}/resume",
    operation_id = "rollouts_resume",
    tag = "rollouts",
    params(("rollout" = u64, Path, description = "Its number")),
    responses((status = 200, description = "Done", body = Rollout))
)]
pub(in crate::http) async fn resume(
    State(shared): AppState,
    Parameters(id): Parameters<u64>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.resume_rollout(&command.by, id).await?)
}
