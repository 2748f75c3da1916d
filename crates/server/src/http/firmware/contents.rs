//! `GET /device/v1/payloads/{digest}`

use super::{
    Answer, digest, nothing,
    range::{Wanted, wanted},
};
use crate::{
    app::{App, Error, blobs::Whole},
    http::failure::Failure,
    sendfile::Outlet,
};
use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use std::sync::Arc;

/// The bytes, or the range that is asked for, as they come from the store.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    uri: Uri,
    outlet: Option<Extension<Outlet>>,
    headers: HeaderMap,
) -> Answer {
    let digest = digest(&uri)?;
    let whole = app.whole(digest).await?;
    let whole = whole.ok_or_else(|| nothing("content with the digest", digest))?;
    // What has this name never changes.
    let kept = "public, max-age=31536000, immutable";
    send(&app, whole, &headers, outlet, kept).await
}

/// The answer with a whole content, or with the range of it that is asked for; never encoded, and always with its length.
pub(in crate::http) async fn send(
    app: &App,
    whole: Whole,
    headers: &HeaderMap,
    outlet: Option<Extension<Outlet>>,
    kept: &'static str,
) -> Answer {
    let size = whole.size;
    let etag = format!("\"{}\"", whole.digest());
    let (status, range) = match wanted(headers, size, &etag) {
        Wanted::All => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Beyond => {
            let mut response = Failure::from(Error::Range { size }).into_response();
            put(
                &mut response,
                header::CONTENT_RANGE,
                format!("bytes */{size}"),
            );
            return Ok(response);
        }
    };
    let (from, to) = (range.start, range.end);
    let pieces = app
        .send_content(whole, range, outlet.map(|Extension(outlet)| outlet))
        .await?;
    let mut response = Response::new(Body::from_stream(pieces));
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        let last = to.saturating_sub(1);
        let range = format!("bytes {from}-{last}/{size}");
        put(&mut response, header::CONTENT_RANGE, range);
    }
    put(
        &mut response,
        header::CONTENT_LENGTH,
        (to - from).to_string(),
    );
    put(&mut response, header::ETAG, etag);
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, kept),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// A header of digits and ASCII, which always is one.
fn put(response: &mut Response, name: header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}
