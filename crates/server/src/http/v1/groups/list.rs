//! `GET /api/v1/groups`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Cutting, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{Group, Page};

/// The groups, by ID.
#[utoipa::path(
    get,
    path = "/api/v1/groups",
    operation_id = "groups_list",
    tag = "groups",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<Group>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.groups(&cutting.into()).await?)
}
