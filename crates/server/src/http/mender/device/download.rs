//! `GET /api/devices/v1/download/{secret}`

use super::AppState;
use crate::http::{failure::Failure, firmware::contents};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};

/// An artifact, or the range of it that is asked for. Stock clients send no token here: the address is the secret. They need the length
/// and the bytes as they are, and go on after a cut with a range.
pub(super) async fn show(
    State(app): AppState,
    Path(secret): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (digest, size) = app.mender_download(&secret).await?;
    contents::send(&app, digest, size, &headers, "no-store").await
}
