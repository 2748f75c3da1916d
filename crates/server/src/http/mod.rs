//! The admin API as an axum router: one file for each endpoint under `v1`, one mapping of errors (`failure`), one place where a
//! request becomes a caller with a role (`extract`).
//!
//! Without a token are served: `/healthz`, `/readyz`, `/metrics` (no names in it), `/openapi.json`, and the first admin's link.
//! The router does not listen: bounds on connections and on the time to send a header are the listener's.

mod answer;
mod extract;
mod failure;
mod metrics;
mod openapi;
mod operations;
mod v1;

use crate::app::App;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use failure::Failure;
use kusabi_api::{Kind, Problem};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Most bytes of a body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of path and query.
pub const ADDRESS_BYTES_MAX: usize = 2048;

/// What the endpoints share.
#[derive(Debug)]
struct Shared {
    app: App,
    metrics: metrics::Metrics,
    openapi: String,
}

type AppState = State<Arc<Shared>>;

fn described() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(v1::alarms::list::list))
        .routes(routes!(v1::alarms::acknowledge::acknowledge))
        .routes(routes!(v1::audit_log::list::list))
        .routes(routes!(
            v1::devices::list::list,
            v1::devices::import::import
        ))
        .routes(routes!(v1::devices::show::show))
        .routes(routes!(v1::first_admin::create::create))
        .routes(routes!(v1::groups::list::list, v1::groups::create::create))
        .routes(routes!(v1::groups::add::add, v1::groups::remove::remove))
        .routes(routes!(v1::keys::show::show))
        .routes(routes!(v1::orders::list::list, v1::orders::create::create))
        .routes(routes!(v1::tokens::list::list, v1::tokens::create::create))
        .routes(routes!(v1::tokens::revoke::revoke))
        .routes(routes!(operations::healthz))
        .routes(routes!(operations::readyz))
        .routes(routes!(operations::metrics))
}

/// The OpenAPI document, as it stands in `docs/openapi.json`.
#[must_use]
pub fn openapi() -> String {
    let document = openapi::finish(described().split_for_parts().1);
    // Strings, lists and maps always encode.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The admin API of a server.
pub fn router(app: App) -> Router {
    let shared = Arc::new(Shared {
        app,
        metrics: metrics::Metrics::default(),
        openapi: openapi(),
    });
    described()
        .split_for_parts()
        .0
        .route("/openapi.json", axum::routing::get(operations::openapi))
        .fallback(failure::unknown)
        .method_not_allowed_fallback(failure::method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), every))
        .with_state(shared)
}

/// What holds for every request and every answer.
async fn every(State(shared): AppState, request: Request, next: Next) -> Response {
    let address = request
        .uri()
        .path_and_query()
        .map_or(0, |address| address.as_str().len());
    let mut response = if address > ADDRESS_BYTES_MAX {
        let detail =
            format!("the address has {address} bytes, at most {ADDRESS_BYTES_MAX} are read");
        Failure(Problem::new(Kind::AddressTooLong, detail)).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    shared.metrics.answered(response.status());
    response
}
