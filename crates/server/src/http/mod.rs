//! The admin API as an axum router: one file for each endpoint under `v1`, one mapping of errors (`failure`), one place where a
//! request becomes a caller with a role (`extract`).
//!
//! Without a token are served: `/healthz`, `/readyz`, `/metrics` (no names in it), `/openapi.json`, and the first admin's link.
//! The router does not listen: bounds on connections and on the time to send a header are the listener's.

mod answer;
mod console;
pub mod device;
mod extract;
mod failure;
pub mod firmware;
pub mod mender;
mod metrics;
mod openapi;
mod operations;
mod sign_ins;
mod v1;

pub use console::Transport;

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
    app: Arc<App>,
    metrics: metrics::Metrics,
    openapi: String,
    transport: Transport,
    /// Pages that follow the fleet.
    followers: Arc<console::Followers>,
    sign_ins: sign_ins::SignIns,
}

type AppState = State<Arc<Shared>>;

fn described() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(v1::alarms::list::list))
        .routes(routes!(v1::alarms::acknowledge::acknowledge))
        .routes(routes!(v1::audit_log::list::list))
        .routes(routes!(v1::audit_log::head::head))
        .routes(routes!(v1::audit_log::receipt::receipt))
        .routes(routes!(v1::channels::list::list))
        .routes(routes!(v1::channels::set::set))
        .routes(routes!(v1::components::list::list))
        .routes(routes!(
            v1::contents::show::show,
            v1::contents::receive::receive
        ))
        .routes(routes!(
            v1::devices::list::list,
            v1::devices::import::import
        ))
        .routes(routes!(v1::devices::show::show))
        .routes(routes!(v1::devices::events::events))
        .routes(routes!(v1::devices::inventory::inventory))
        .routes(routes!(v1::devices::orders::orders))
        .routes(routes!(v1::devices::order_log::log))
        .routes(routes!(v1::devices::order_receipt::receipt))
        .routes(routes!(v1::devices::quarantine::quarantine))
        .routes(routes!(v1::devices::readmit::readmit))
        .routes(routes!(v1::enrolment_labels::add::add))
        .routes(routes!(
            v1::enrolment_tokens::list::list,
            v1::enrolment_tokens::create::create
        ))
        .routes(routes!(v1::enrolment_tokens::revoke::revoke))
        .routes(routes!(v1::enrolments::list::list))
        .routes(routes!(v1::enrolments::accept::accept))
        .routes(routes!(v1::enrolments::refuse::refuse))
        .routes(routes!(v1::first_admin::create::create))
        .routes(routes!(v1::groups::list::list, v1::groups::create::create))
        .routes(routes!(v1::groups::add::add, v1::groups::remove::remove))
        .routes(routes!(v1::keys::show::show))
        .routes(routes!(
            v1::mender_devices::list::list,
            v1::mender_devices::preauthorize::preauthorize
        ))
        .routes(routes!(v1::mender_devices::show::show))
        .routes(routes!(v1::auth_sets::accept::accept))
        .routes(routes!(v1::auth_sets::reject::reject))
        .routes(routes!(v1::orders::list::list, v1::orders::create::create))
        .routes(routes!(v1::rebuild::create::create))
        .routes(routes!(v1::releases::list::list))
        .routes(routes!(
            v1::releases::show::show,
            v1::releases::upload::upload
        ))
        .routes(routes!(
            v1::rollouts::list::list,
            v1::rollouts::create::create
        ))
        .routes(routes!(v1::rollouts::show::show))
        .routes(routes!(v1::rollouts::devices::devices))
        .routes(routes!(v1::rollouts::pause::pause))
        .routes(routes!(v1::rollouts::resume::resume))
        .routes(routes!(v1::rollouts::next::next))
        .routes(routes!(v1::rollouts::abort::abort))
        .routes(routes!(v1::types::list::list))
        .routes(routes!(v1::types::expect::expect))
        .routes(routes!(
            v1::types::policy::policy,
            v1::types::set_policy::set_policy
        ))
        .routes(routes!(v1::server::show::show))
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

/// The admin API and console of a server, over HTTP.
pub fn router(app: impl Into<Arc<App>>) -> Router {
    router_over(app, Transport::Plain)
}

/// The admin API and console of a server.
pub fn router_over(app: impl Into<Arc<App>>, transport: Transport) -> Router {
    let shared = Arc::new(Shared {
        app: app.into(),
        metrics: metrics::Metrics::default(),
        openapi: openapi(),
        transport,
        followers: Arc::default(),
        sign_ins: sign_ins::SignIns::default(),
    });
    described()
        .split_for_parts()
        .0
        .route("/openapi.json", axum::routing::get(operations::openapi))
        .merge(console::routes(&shared))
        .merge(mender::management::routes(&shared))
        .fallback(console::unknown)
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
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    shared.metrics.answered(response.status());
    response
}
