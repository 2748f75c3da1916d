//! `GET /api/v1/types/{type}/policy`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::admin::{Text, TypePolicy};

/// What follows by itself for the devices of a type.
#[utoipa::path(
    get,
    path = "/api/v1/types/{type}/policy",
    operation_id = "types_policy",
    tag = "types",
    params(("type" = Text, Path, description = "The type")),
    responses((status = 200, description = "The answer", body = TypePolicy))
)]
pub(in crate::http) async fn policy(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(device_type): Parameters<Text>,
) -> Answer {
    ok(&shared.app.type_policy(&device_type).await?)
}
