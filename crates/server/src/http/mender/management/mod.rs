//! Of Mender's management API as much as `mender-cli` and scripts for a fleet use: `/api/management/v1/…` and `/v2/…`.
//!
//! Who asks shows an API token of the admin API, and may with it what he may there: read as a viewer, change as an operator.

mod artifacts;
mod deployments;
mod devices;
mod inventory;
mod login;
mod paging;

use super::errors;
use crate::http::{Shared, failure};
use axum::{
    Router, middleware,
    routing::{any, delete, get, post, put},
};
use std::sync::Arc;

/// The pages, to be put beside the admin API.
pub(in crate::http) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/management/v1/useradm/auth/login", post(login::login))
        .route(
            "/api/management/v2/devauth/devices",
            get(devices::list).post(devices::preauthorize),
        )
        .route(
            "/api/management/v2/devauth/devices/count",
            get(devices::count),
        )
        .route(
            "/api/management/v2/devauth/devices/{id}",
            get(devices::show).delete(devices::dismiss_all),
        )
        .route(
            "/api/management/v2/devauth/devices/{id}/auth/{set}",
            delete(devices::dismiss),
        )
        .route(
            "/api/management/v2/devauth/devices/{id}/auth/{set}/status",
            put(devices::decide).get(devices::status),
        )
        .route("/api/management/v1/inventory/devices", get(inventory::list))
        .merge(artifacts::routes())
        .merge(deployments::routes())
        // What is not here is said in Mender's words, too.
        .route("/api/management/{*rest}", any(failure::unknown))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared.app),
            errors,
        ))
}

/// A time as the tools of Mender read it (RFC 3339).
pub(super) fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
