//! `GET /api/v1/releases`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{Page, Release};

/// The releases whose manifests are here, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/releases",
    operation_id = "releases_list",
    tag = "releases",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<Release>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.releases(&cutting.into()).await?)
}
