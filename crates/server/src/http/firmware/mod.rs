//! What devices fetch by its hash: manifests, proofs, contents (spec/device-protocol.md, "Over HTTP").
//!
//! Nobody has to say who he is: what is given is named by its digest, and the device checks it against a release that the ledger proves.

pub(in crate::http) mod contents;
mod manifests;
mod range;

use super::failure;
use crate::app::{App, Error};
use axum::{Router, http::Uri, response::Response, routing::get};
use kusabi_api::{Hex32, Kind, Problem};
use std::sync::Arc;

/// The pages that devices fetch firmware from.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/device/v1/releases/{digest}", get(manifests::show))
        .route(
            "/device/v1/releases/{digest}/proofs",
            get(manifests::proofs),
        )
        .route("/device/v1/payloads/{digest}", get(contents::show))
        .fallback(failure::unknown)
        .method_not_allowed_fallback(failure::method)
        .with_state(app)
}

pub(in crate::http) type Answer = Result<Response, failure::Failure>;

/// There is nothing of this digest.
fn nothing(what: &'static str, digest: Hex32) -> failure::Failure {
    Error::Unknown {
        what,
        id: digest.to_string(),
    }
    .into()
}

/// The digest of an address: 64 lower-case hexadecimal digits, as they stand there.
fn digest(uri: &Uri) -> Result<Hex32, Problem> {
    let mut parts = uri.path().split('/').skip(4);
    parts
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                Kind::BadParameter,
                "a digest is 64 lower-case hexadecimal digits",
            )
        })
}
