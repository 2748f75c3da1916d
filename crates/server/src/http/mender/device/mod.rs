//! What stock Mender clients speak to: `/api/devices/v1/…` and `/v2/…`.

mod auth_requests;
mod deployments;
mod download;
mod inventory;

use crate::{
    app::{App, Error, mender::MenderDevice},
    http::{extract::shown, failure, failure::Failure},
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use std::sync::Arc;

/// Most bytes of a body.
const BODY_BYTES_MAX: usize = crate::http::BODY_BYTES_MAX;

/// The pages that stock Mender devices speak to.
pub fn router(app: Arc<App>) -> Router {
    let with_token = Router::new()
        .route(
            "/api/devices/v1/inventory/device/attributes",
            put(inventory::replace).patch(inventory::add),
        )
        .merge(deployments::routes())
        .layer(middleware::from_fn(silent));
    Router::new()
        .route(
            "/api/devices/v1/authentication/auth_requests",
            post(auth_requests::ask),
        )
        .route("/api/devices/v1/download/{secret}", get(download::show))
        .merge(with_token)
        .fallback(failure::unknown)
        .method_not_allowed_fallback(failure::method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(never_stored))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            super::errors,
        ))
        .with_state(app)
}

/// A device that showed a token that is good.
#[derive(Clone, Debug)]
pub(in crate::http) struct Authed(pub(in crate::http) MenderDevice);

impl FromRequestParts<Arc<App>> for Authed {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let token = shown(&parts.headers, "bearer");
        if token.is_empty() {
            return Err(Error::Unauthenticated.into());
        }
        Ok(Self(app.mender_device(token).await?))
    }
}

/// A 401 has no body where a token is shown: mender-update 5.1 ends itself over one.
async fn silent(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status() != StatusCode::UNAUTHORIZED {
        return response;
    }
    StatusCode::UNAUTHORIZED.into_response()
}

async fn never_stored(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

type AppState = State<Arc<App>>;
