//! Mender's API, for stock clients: what devices speak to ([`device`]) on a listener of its own, and what `mender-cli` speaks to
//! ([`management`]) beside the admin API.
//!
//! What it answers is for programs that are not ours, and exact: they take a 200 for an error where a 204 is due.

pub mod device;
pub(super) mod management;

use crate::app::App;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use kusabi_api::{Hex, Kind, Problem, media};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;

/// Mender's form of errors, in the place of ours: the same status and sentence.
async fn errors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    // Without random bytes there is no number, and all else goes on.
    let id = app.edge.random().map(request_id).unwrap_or_default();
    tracing::debug!(request = id, kind = ?problem.kind, detail = %problem.detail, "refused");
    let body = json!({ "error": problem.detail, "request_id": id }).to_string();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media::JSON));
    *response.body_mut() = Body::from(body);
    response
}

/// A UUID of random bytes (RFC 9562, 5.4).
fn request_id(random: [u8; 32]) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&random[..16]);
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = Hex(id).to_string();
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// A body of JSON; what its media type says is passed over, for clients say different things.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|why| Problem::new(Kind::Malformed, why.to_string()))
}
