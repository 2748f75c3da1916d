//! `POST /api/v1/rollouts`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Command, Json, Operator},
};
use axum::extract::State;
use kusabi_api::admin::{Rollout, RolloutCreate};

/// Rolls a release out to devices, in phases. The devices are chosen when it begins, and stay the same. A device that another rollout
/// has is skipped.
#[utoipa::path(
    post,
    path = "/api/v1/rollouts",
    operation_id = "rollouts_create",
    tag = "rollouts",
    request_body = RolloutCreate,
    responses((status = 201, description = "Done", body = Rollout))
)]
pub(in crate::http) async fn create(
    State(shared): AppState,
    command: Command<Operator, Json<RolloutCreate>>,
) -> Answer {
    created(
        &shared
            .app
            .create_rollout(&command.by, command.body.0)
            .await?,
    )
}
