//! `GET /api/v1/types`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{DeviceType, Page};

/// The types of devices of which it is known what they hold as they leave the factory, by name.
#[utoipa::path(
    get,
    path = "/api/v1/types",
    operation_id = "types_list",
    tag = "types",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<DeviceType>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.types(&cutting.into()).await?)
}
