//! Freshness receipts: that what is shown is of now.

use super::{app::App, failure::Failure, form, lookup::bytes, submit::is_limit};
use axum::{
    extract::{Request, State},
    response::Response,
};
use kusabi_api::{Kind, Ledger, Problem, media};
use kusabi_core::id::Nonce;
use std::sync::Arc;

/// `POST /v1/freshness`: the receipt for the 32 bytes of the body. `Prefer` is passed over: the wait is short as it is.
pub(super) async fn freshness<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    form::body_is(&parts.headers, "the nonce's 32 bytes", media::OCTETS)?;
    let read = axum::body::to_bytes(body, Nonce::LEN);
    let body = match tokio::time::timeout(app.limits.body_time, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(e)) if is_limit(&e) => {
            return Err(Problem::new(Kind::TooLarge, "a nonce has 32 bytes").into());
        }
        Ok(Err(_)) => return Err(Problem::new(Kind::Malformed, "the body broke off").into()),
        Err(_) => {
            let time = app.limits.body_time.as_secs();
            let detail = format!("the nonce did not arrive within {time} s");
            return Err(Problem::new(Kind::RequestTimeout, detail).into());
        }
    };
    let nonce = <[u8; Nonce::LEN]>::try_from(&body[..]).map_err(|_| {
        let detail = format!("a nonce has 32 bytes, and these are {}", body.len());
        Problem::new(Kind::Malformed, detail)
    })?;
    let receipt = app.ask(app.ledger.freshness(Nonce::new(nonce))).await?;
    app.metrics.receipts.add(1);
    Ok(bytes(media::FRESHNESS, receipt))
}
