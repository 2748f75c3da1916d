//! For those who operate the server.

use super::{
    AppState,
    answer::{Answer, bytes},
};
use axum::{extract::State, response::Response};
use kusabi_api::media;

const TEXT: &str = "text/plain; charset=utf-8";

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()), responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn healthz() -> Response {
    bytes(TEXT, "ok\n")
}

/// Database and ledger answer.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()), responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn readyz(State(shared): AppState) -> Answer {
    shared.app.ready().await?;
    Ok(bytes(TEXT, "ready\n"))
}

/// Counters in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(()), responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn metrics(State(shared): AppState) -> Answer {
    let devices = shared.app.count_devices().await?;
    let page = shared
        .metrics
        .page(&devices, shared.app.door.get().map(|counts| &**counts));
    Ok(bytes("text/plain; version=0.0.4; charset=utf-8", page))
}

/// `GET /openapi.json`.
pub(super) async fn openapi(State(shared): AppState) -> Response {
    bytes(media::JSON, shared.openapi.clone())
}
