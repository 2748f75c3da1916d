//! `GET /device/v1/releases/{digest}` and `…/proofs`

use super::{Answer, digest, nothing};
use crate::{
    app::App,
    http::{answer::bytes, extract::Peer},
};
use axum::{
    extract::State,
    http::{HeaderValue, Uri, header},
    response::Response,
};
use bytes::Bytes;
use std::sync::Arc;

const MEDIA_TYPE: &str = "application/kusabi+cbor";

/// The signed manifest.
pub(super) async fn show(State(app): State<Arc<App>>, uri: Uri) -> Answer {
    let digest = digest(&uri)?;
    let signed = app.signed_manifest(digest).await?;
    signed
        .map(answer)
        .ok_or_else(|| nothing("release with the digest", digest))
}

/// What the device needs to check it.
pub(super) async fn proofs(State(app): State<Arc<App>>, Peer(source): Peer, uri: Uri) -> Answer {
    let digest = digest(&uri)?;
    let proofs = app.release_proofs(source, digest).await?;
    proofs
        .map(answer)
        .ok_or_else(|| nothing("release with the digest", digest))
}

fn answer(body: Bytes) -> Response {
    let mut response = bytes(MEDIA_TYPE, body);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
