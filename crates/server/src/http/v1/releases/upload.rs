//! `PUT /api/v1/releases/{digest}`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Command, Octets, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::{Hex32, admin::Release};

/// Takes a release in: its signed manifest (spec/firmware.md), of a release that is published on the ledger, not withdrawn, and signed as the
/// art policy asks. A repeat changes nothing. From then on what it names may be uploaded.
#[utoipa::path(
    put,
    path = "/api/v1/releases/{digest}",
    operation_id = "releases_upload",
    tag = "releases",
    params(("digest" = Hex32, Path, description = "Digest of its manifest")),
    request_body(content = Vec<u8>, content_type = "application/kusabi+cbor"),
    responses((status = 201, description = "It is here", body = Release))
)]
pub(in crate::http) async fn upload(
    State(shared): AppState,
    Parameters(digest): Parameters<Hex32>,
    command: Command<Operator, Octets>,
) -> Answer {
    let app = &shared.app;
    created(
        &app.upload_release(&command.by, digest, &command.body.0)
            .await?,
    )
}
