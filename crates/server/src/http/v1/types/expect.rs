//! `POST /api/v1/types/{type}/expected`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Operator, Parameters, Streamed},
};
use axum::extract::State;
use kusabi_api::admin::DeviceType;

/// Records what devices of a type hold as they leave the factory: a canonical inventory (spec/firmware.md) of at most 16 MiB. It takes the
/// place of the one before; a repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/types/{type}/expected",
    operation_id = "types_expect",
    tag = "types",
    params(("type" = String, Path, description = "The type: a label")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, description = "Recorded", body = DeviceType))
)]
pub(in crate::http) async fn expect(
    State(shared): AppState,
    Parameters(name): Parameters<String>,
    sent: Streamed<Operator>,
) -> Answer {
    created(&shared.app.expect(&sent.by, &name, sent.parts).await?)
}
