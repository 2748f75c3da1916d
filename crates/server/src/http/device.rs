//! `POST /device/v1`: the device protocol over HTTP (spec/device-protocol.md, "Over HTTP").
//!
//! Whatever stands in a frame is answered with 200 and a frame. What comes from here instead (413, 415, 429, 503) is from before the
//! protocol, and a device takes it as a lost answer.

use super::extract::Peer;
use crate::device::Door;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequest as _, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use kusabi_core::protocol::REQUEST_LEN_MAX;
use std::{sync::Arc, time::Duration};

/// Media type of the protocol's frames.
const FRAMES: &str = "application/kusabi+cbor";

/// For a request of at most 4,096 bytes to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The page that devices speak to.
pub fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/device/v1", post(message))
        .layer(DefaultBodyLimit::max(REQUEST_LEN_MAX))
        .with_state(door)
}

async fn message(State(door): State<Arc<Door>>, request: Request) -> Response {
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case(FRAMES)) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let Peer(source) = Peer::of(request.extensions());
    // Bodies that come slowly must not pile up: whoever has no place is told when to come back.
    let Some(place) = door.place() else {
        return later(StatusCode::SERVICE_UNAVAILABLE);
    };
    let body = match tokio::time::timeout(BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(why)) => return why.status().into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    drop(place);
    let answer = door.answer(source, &body).await;
    let mut response = Response::new(Body::from(answer));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAMES));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Not now.
fn later(status: StatusCode) -> Response {
    let mut response = status.into_response();
    let wait = HeaderValue::from_static("5");
    response.headers_mut().insert(header::RETRY_AFTER, wait);
    response
}
