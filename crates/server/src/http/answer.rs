//! Answers.

use super::failure::Failure;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use kusabi_api::{Kind, Problem, media};
use serde::Serialize;

/// An answer of a handler.
pub(super) type Answer = Result<Response, Failure>;

/// 200 with JSON.
pub(super) fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

/// 201 with JSON: something was made.
pub(super) fn created(value: &impl Serialize) -> Answer {
    json(StatusCode::CREATED, value)
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value)
        .map_err(|why| Problem::new(Kind::Internal, format!("no JSON: {why}")))?;
    let mut response = bytes(media::JSON, body);
    *response.status_mut() = status;
    Ok(response)
}

/// 204.
pub(super) fn nothing() -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// 200 with bytes.
pub(super) fn bytes(media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
