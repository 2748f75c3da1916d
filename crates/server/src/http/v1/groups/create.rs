//! `POST /api/v1/groups`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Command, Json, Operator},
};
use axum::extract::State;
use kusabi_api::admin::{Group, GroupCreate};

/// Makes a group.
#[utoipa::path(
    post,
    path = "/api/v1/groups",
    operation_id = "groups_create",
    tag = "groups",
    request_body = GroupCreate,
    responses((status = 201, description = "Done", body = Group))
)]
pub(in crate::http) async fn create(
    State(shared): AppState,
    command: Command<Operator, Json<GroupCreate>>,
) -> Answer {
    created(&shared.app.create_group(&command.by, command.body.0).await?)
}
