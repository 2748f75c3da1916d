//! `POST /api/v1/rollouts/{rollout}/abort`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Rollout;

/// Ends a rollout: orders that no device has fetched are taken back. What a device that has its order says of it is noted all the same. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/rollouts/{rollout}/abort",
    operation_id = "rollouts_abort",
    tag = "rollouts",
    params(("rollout" = u64, Path, description = "Its number")),
    responses((status = 200, description = "Done", body = Rollout))
)]
pub(in crate::http) async fn abort(
    State(shared): AppState,
    Parameters(id): Parameters<u64>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.abort_rollout(&command.by, id).await?)
}
