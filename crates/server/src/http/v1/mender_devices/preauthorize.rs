//! `POST /api/v1/mender/devices`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Command, Json, Operator},
};
use axum::extract::State;
use kusabi_api::admin::{MenderDevice, MenderPreauthorize};

/// Vouches for a key before its device is heard: the key is put on the ledger, and accepted when the device asks with it.
#[utoipa::path(
    post,
    path = "/api/v1/mender/devices",
    operation_id = "mender_devices_preauthorize",
    tag = "mender",
    request_body = MenderPreauthorize,
    responses((status = 201, description = "Done", body = MenderDevice))
)]
pub(in crate::http) async fn preauthorize(
    State(shared): AppState,
    command: Command<Operator, Json<MenderPreauthorize>>,
) -> Answer {
    created(&shared.app.preauthorize(&command.by, command.body.0).await?)
}
