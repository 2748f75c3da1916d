//! `GET /api/v1/channels`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{Channel, Page};

/// The channels for which a minimum was set, by name.
#[utoipa::path(
    get,
    path = "/api/v1/channels",
    operation_id = "channels_list",
    tag = "channels",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<Channel>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.channels(&cutting.into()).await?)
}
