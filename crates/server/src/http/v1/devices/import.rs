//! `POST /api/v1/devices`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Command, Json, Operator},
};
use axum::extract::State;
use kusabi_api::admin::{Device, DeviceImport};

/// Makes a device known whose first key stands on the ledger. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/devices",
    operation_id = "devices_import",
    tag = "devices",
    request_body = DeviceImport,
    responses((status = 201, description = "Done", body = Device))
)]
pub(in crate::http) async fn import(
    State(shared): AppState,
    command: Command<Operator, Json<DeviceImport>>,
) -> Answer {
    created(
        &shared
            .app
            .import_device(&command.by, command.body.0)
            .await?,
    )
}
