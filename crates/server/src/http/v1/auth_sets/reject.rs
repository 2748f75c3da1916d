//! `POST /api/v1/mender/auth-sets/{set}/reject`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::MenderDevice;

/// Rejects an auth set: its tokens end at once. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/mender/auth-sets/{set}/reject",
    operation_id = "auth_sets_reject",
    tag = "mender",
    params(("set" = String, Path, description = "`mas_…`")),
    responses((status = 200, description = "Done", body = MenderDevice))
)]
pub(in crate::http) async fn reject(
    State(shared): AppState,
    Parameters(set): Parameters<String>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.reject_auth_set(&command.by, &set).await?)
}
