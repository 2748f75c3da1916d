//! `POST /api/v1/rollouts/{rollout}/pause`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Rollout;

/// Holds a rollout: it gives no orders, and those that no device has fetched are taken back. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/rollouts/{rollout}/pause",
    operation_id = "rollouts_pause",
    tag = "rollouts",
    params(("rollout" = u64, Path, description = "Its number")),
    responses((status = 200, description = "Done", body = Rollout))
)]
pub(in crate::http) async fn pause(
    State(shared): AppState,
    Parameters(id): Parameters<u64>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.pause_rollout(&command.by, id).await?)
}
