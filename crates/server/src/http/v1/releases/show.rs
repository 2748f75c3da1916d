//! `GET /api/v1/releases/{digest}`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::{Hex32, admin::Release};

/// One release, and how much of what it names is here.
#[utoipa::path(
    get,
    path = "/api/v1/releases/{digest}",
    operation_id = "releases_show",
    tag = "releases",
    params(("digest" = Hex32, Path, description = "Digest of its manifest")),
    responses((status = 200, description = "The release", body = Release))
)]
pub(in crate::http) async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(digest): Parameters<Hex32>,
) -> Answer {
    ok(&shared.app.release(digest).await?)
}
