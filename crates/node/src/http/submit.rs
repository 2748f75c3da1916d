//! Transactions: taken, waited for, asked about.

use super::{
    app::{App, text},
    failure::Failure,
    form,
    lookup::{json, last_part},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use kusabi_api::{
    Kind, Ledger, Problem,
    ledger::{MAX_TRANSACTION, MAX_WAIT, Submitted},
    media,
};
use kusabi_core::id::TxId;
use std::sync::Arc;
use tokio::sync::SemaphorePermit;

/// `POST /v1/transactions`: 200 when final and durable, 202 when the wait was over before.
pub(super) async fn submit<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    form::body_is(&parts.headers, "the transaction's bytes", media::CBOR)?;
    let asked = form::wait(&parts.headers);
    let wait = asked.unwrap_or(app.limits.wait_default).min(MAX_WAIT);

    // The room is held until the ledger has answered: what waits for its turn to be decoded is in memory, too.
    let (transaction, _room) =
        receive(&app, text(&parts.headers, header::CONTENT_LENGTH), body).await?;
    app.metrics.submissions.add(1);
    let submitted = app.ledger.submit(transaction, wait).await?;

    let mut response = json(&submitted);
    if let Submitted::Pending { id } = &submitted {
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        if let Ok(location) = HeaderValue::try_from(format!("/v1/transactions/{id}")) {
            headers.insert(header::LOCATION, location);
        }
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if asked.is_some()
        && let Ok(applied) = HeaderValue::try_from(format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

/// Reads a body: nothing of it when it says that it is too large, and never more at once, of all clients together, than the limit.
async fn receive<'a, L: ?Sized>(
    app: &'a App<L>,
    length: Option<&str>,
    body: Body,
) -> Result<(Bytes, SemaphorePermit<'a>), Problem> {
    // hyper refuses a length that is no number; no length at all means chunks, which may come to the maximum.
    let length = length.map_or(MAX_TRANSACTION as u64, |n| n.parse().unwrap_or(u64::MAX));
    let length = usize::try_from(length)
        .ok()
        .filter(|&n| n <= MAX_TRANSACTION)
        .ok_or_else(too_large)?;
    let mut room = u32::try_from(length)
        .ok()
        .and_then(|n| app.receiving.try_acquire_many(n).ok())
        .ok_or_else(|| {
            Problem::new(
                Kind::TooManyRequests,
                "too many transactions are being received; try again in a second",
            )
        })?;
    let read = axum::body::to_bytes(body, MAX_TRANSACTION);
    match tokio::time::timeout(app.limits.body_time, read).await {
        Ok(Ok(bytes)) => {
            // Chunks had reserved the maximum.
            drop(room.split(room.num_permits().saturating_sub(bytes.len())));
            Ok((bytes, room))
        }
        Ok(Err(e)) if is_limit(&e) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Kind::Malformed, "the body broke off")),
        Err(_) => Err(Problem::new(
            Kind::RequestTimeout,
            format!(
                "the body did not arrive within {} s",
                app.limits.body_time.as_secs()
            ),
        )),
    }
}

/// Whether a body was longer than the limit.
pub(super) fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn too_large() -> Problem {
    Problem::new(
        Kind::TooLarge,
        format!("a transaction has at most {MAX_TRANSACTION} bytes; divide the batch"),
    )
}

/// `GET /v1/transactions/{id}`.
pub(super) async fn transaction<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let id: TxId = last_part(&request, "a transaction ID of 64 lower-case hex digits")?;
    Ok(json(&app.ask(app.ledger.transaction(id)).await?))
}
