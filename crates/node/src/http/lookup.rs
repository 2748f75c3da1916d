//! Proofs of rows: the page that is asked most.

use super::{
    app::App,
    failure::Failure,
    form::{Form, form},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use kusabi_api::{Kind, Ledger, Problem, media, view::ProofView};
use kusabi_core::id::{Handle, Height, StateKey};
use std::sync::Arc;

/// `GET /v1/keys/{handle}`: the record of a key, or the proof that there is none.
pub(super) async fn key<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let handle: Handle = last_part(&request, "a handle of 64 lower-case hex digits")?;
    let form = form(request.headers(), media::PROOF)?;
    let at_least = at_least(&request)?;
    row(&app, StateKey::record(&handle), at_least, form).await
}

/// `GET /v1/state/{state key}`: any row.
pub(super) async fn state<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let key: StateKey = last_part(&request, "a state key of 64 lower-case hex digits")?;
    let form = form(request.headers(), media::PROOF)?;
    row(&app, key, at_least(&request)?, form).await
}

async fn row<L: Ledger + ?Sized>(
    app: &App<L>,
    key: StateKey,
    at_least: Height,
    form: Form,
) -> Result<Response, Failure> {
    let proof = app.ask(app.ledger.lookup(key, at_least)).await?;
    app.metrics.lookups.add(1);
    Ok(match form {
        Form::Binary => bytes(media::PROOF, proof),
        Form::Json => {
            let view = ProofView::claimed(&proof).map_err(|why| {
                Problem::new(
                    Kind::Internal,
                    format!("the node made a proof that is none: {why}"),
                )
            })?;
            json(&view)
        }
    })
}

/// The last part of the path. Not percent-decoded: what these pages take needs no escapes.
pub(super) fn last_part<T: std::str::FromStr>(
    request: &Request,
    expected: &str,
) -> Result<T, Problem> {
    let path = request.uri().path();
    let part = path.rsplit('/').next().unwrap_or_default();
    part.parse().map_err(|_| {
        Problem::new(
            Kind::BadParameter,
            format!("the last part of the address must be {expected}"),
        )
    })
}

/// The height that the answer is to have at least, where the question names one.
pub(super) fn at_least(request: &Request) -> Result<Height, Problem> {
    let Some(query) = request.uri().query() else {
        return Ok(Height::ZERO);
    };
    let height = query.strip_prefix("at_least=").and_then(|text| {
        let number = text.parse().ok()?;
        Height::new(number).ok()
    });
    height.ok_or_else(|| {
        Problem::new(
            Kind::BadParameter,
            "?at_least= takes the height that the answer is to have, like ?at_least=41",
        )
    })
}

/// Bytes that change with every block: not to be kept.
pub(super) fn bytes(media_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => bytes(media::JSON, body.into()),
        Err(e) => Failure(Problem::new(Kind::Internal, format!("no JSON: {e}"))).into_response(),
    }
}
