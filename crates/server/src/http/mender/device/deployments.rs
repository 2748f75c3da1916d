//! `…/deployments/device/deployments/next` (in three forms), `…/{id}/status`, `…/{id}/log`

use super::{AppState, Authed};
use crate::{
    app::{
        App, Error,
        mender::{MenderDevice, Provides, Status},
    },
    http::{
        extract::{receive, receive_up_to},
        failure::Failure,
        mender::{management::time, read},
    },
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{post, put},
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The pages. Which of the forms of `next` a client uses it finds out by itself: by a 404, and nothing else.
pub(super) fn routes() -> Router<Arc<App>> {
    let log = put(log).layer(DefaultBodyLimit::max(LOG_BYTES_MAX));
    Router::new()
        .route(
            "/api/devices/v2/deployments/device/deployments/next",
            post(next_v2),
        )
        .route(
            "/api/devices/v1/deployments/device/deployments/next",
            post(next_v1).get(next_get),
        )
        .route(
            "/api/devices/v1/deployments/device/deployments/{id}/status",
            put(status),
        )
        .route(
            "/api/devices/v1/deployments/device/deployments/{id}/log",
            log,
        )
}

/// Most things that a device says of what it has.
const PROVIDES_MAX: usize = 512;

/// Most bytes of a log that are taken in; its end is kept. A client whose log is refused sends it, and its failure, three times.
const LOG_BYTES_MAX: usize = 1024 * 1024;

#[derive(Deserialize)]
struct Asked {
    device_provides: Provides,
}

/// The form of clients from 3.x on.
pub(super) async fn next_v2(
    State(app): AppState,
    Authed(device): Authed,
    request: Request,
) -> Result<Response, Failure> {
    let bytes = receive(request).await?;
    let asked: Asked = read(&bytes)?;
    next(&app, &device, asked.device_provides).await
}

/// The form before.
pub(super) async fn next_v1(
    State(app): AppState,
    Authed(device): Authed,
    request: Request,
) -> Result<Response, Failure> {
    let bytes = receive(request).await?;
    let provides: Provides = read(&bytes)?;
    next(&app, &device, provides).await
}

/// The first form.
pub(super) async fn next_get(
    State(app): AppState,
    Authed(device): Authed,
    query: Result<Query<Provides>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let Query(provides) = query.map_err(|why| Error::Malformed(why.body_text()))?;
    next(&app, &device, provides).await
}

async fn next(app: &App, device: &MenderDevice, provides: Provides) -> Result<Response, Failure> {
    if provides.len() > PROVIDES_MAX {
        let why = format!("a device says at most {PROVIDES_MAX} things of what it has");
        return Err(Error::Malformed(why).into());
    }
    if provides
        .iter()
        .any(|(key, value)| key.contains('\0') || value.contains('\0'))
    {
        return Err(Error::Malformed(String::from("what a device has is text")).into());
    }
    let Some(handed) = app.mender_next(device, &provides).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let artifact = &handed.artifact;
    let body = json!({
        "id": handed.id,
        "artifact": {
            "id": artifact.id,
            "artifact_name": artifact.name,
            "source": { "uri": handed.uri, "expire": time(handed.expires_ms) },
            "device_types_compatible": artifact.facts.device_types,
        },
    });
    Ok(Json(body).into_response())
}

#[derive(Deserialize)]
struct Said {
    status: String,
}

/// Where a client stands. 204 and nothing else is heard as a yes, 409 as the order to give up.
pub(super) async fn status(
    State(app): AppState,
    Authed(device): Authed,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let bytes = receive(request).await?;
    let said: Said = read(&bytes)?;
    let status = Status::from_name(&said.status)
        .ok_or_else(|| Error::Malformed(String::from("there is no such status of a deployment")))?;
    app.mender_status(&device, &id, status).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What a client logged of a deployment that failed.
pub(super) async fn log(
    State(app): AppState,
    Authed(device): Authed,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let bytes = receive_up_to(request, LOG_BYTES_MAX).await?;
    app.mender_log(&device, &id, &bytes).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
