//! `DELETE /api/v1/groups/{group}/devices/{device}`

use crate::http::{
    AppState,
    answer::{Answer, nothing},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;

/// Takes a device out of a group. A repeat changes nothing.
#[utoipa::path(
    delete,
    path = "/api/v1/groups/{group}/devices/{device}",
    operation_id = "groups_remove",
    tag = "groups",
    params(
        ("group" = String, Path, description = "`grp_…`"),
        ("device" = String, Path, description = "`dev_…`")
    ),
    responses((status = 204, description = "Done"))
)]
pub(in crate::http) async fn remove(
    State(shared): AppState,
    Parameters((group, device)): Parameters<(String, String)>,
    command: Command<Operator, Empty>,
) -> Answer {
    shared
        .app
        .remove_from_group(&command.by, &group, &device)
        .await?;
    nothing()
}
