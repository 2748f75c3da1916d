//! `POST /api/v1/mender/auth-sets/{set}/accept`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::MenderDevice;

/// Accepts an auth set: its key is put on the ledger, its device is served, and by no other key. A repeat goes on where the last one ended.
#[utoipa::path(
    post,
    path = "/api/v1/mender/auth-sets/{set}/accept",
    operation_id = "auth_sets_accept",
    tag = "mender",
    params(("set" = String, Path, description = "`mas_…`")),
    responses((status = 200, description = "Done", body = MenderDevice))
)]
pub(in crate::http) async fn accept(
    State(shared): AppState,
    Parameters(set): Parameters<String>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.accept_auth_set(&command.by, &set).await?)
}
