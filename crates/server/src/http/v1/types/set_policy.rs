//! `PUT /api/v1/types/{type}/policy`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Json, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::{Text, TypePolicy};

/// Sets what follows by itself for the devices of a type, from now on.
#[utoipa::path(
    put,
    path = "/api/v1/types/{type}/policy",
    operation_id = "types_set_policy",
    tag = "types",
    params(("type" = Text, Path, description = "The type")),
    request_body = TypePolicy,
    responses((status = 200, description = "Done", body = TypePolicy))
)]
pub(in crate::http) async fn set_policy(
    State(shared): AppState,
    Parameters(device_type): Parameters<Text>,
    command: Command<Operator, Json<TypePolicy>>,
) -> Answer {
    let policy = command.body.0;
    ok(&shared
        .app
        .set_type_policy(&command.by, &device_type, policy)
        .await?)
}
