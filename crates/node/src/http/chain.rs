//! Checkpoint, blocks, genesis, epoch walk; and how the node is doing.

use super::{
    app::App,
    failure::Failure,
    form,
    lookup::{at_least, bytes, json, last_part},
};
use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use kusabi_api::{Kind, Ledger, Problem, ledger::Step, media};
use kusabi_core::id::{ChainId, Epoch, Height};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::OwnedSemaphorePermit;

/// What never changes may be kept for a year, the longest that caches honour.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// `GET /v1/checkpoint`.
pub(super) async fn checkpoint<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let at_least = at_least(&request)?;
    let checkpoint = app.ask(app.ledger.checkpoint(at_least)).await?;
    Ok(bytes(media::CHECKPOINT, checkpoint))
}

/// `GET /v1/genesis`.
pub(super) async fn genesis<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let genesis = app.ask(app.ledger.genesis()).await?;
    let tag = tag(&format!("\"{}\"", ChainId::of(&genesis)))?;
    if form::known(request.headers(), &tag) {
        return Ok(unchanged(tag));
    }
    Ok(kept(bytes(media::CBOR, genesis), tag))
}

/// `GET /v1/blocks/{height}`. A few at a time: a block can have megabytes, and its reader may be slow.
pub(super) async fn block<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let height = number(&request)?;
    let height = Height::new(height)
        .map_err(|_| Problem::new(Kind::BadParameter, "a height is below 2^48"))?;
    let slot = Arc::clone(&app.blocks).acquire_owned();
    let slot = app
        .ask(async { slot.await.map_err(|_| stopping()) })
        .await
        .map_err(|_| {
            Problem::new(
                Kind::TooManyRequests,
                "too many blocks are being read; try again in a second",
            )
        })?;
    let block = app.ask(app.ledger.block(height)).await?;
    // The header fixes the block; the checkpoint beside it may be another good one next time, hence a weak tag.
    let tag = tag(&format!(
        "W/\"{}\"",
        kusabi_core::id::Digest::of(&block.header)
    ))?;
    if form::known(request.headers(), &tag) {
        return Ok(unchanged(tag));
    }
    let body = Body::new(Held {
        rest: Some(block.encode()),
        _slot: slot,
    });
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media::BLOCK));
    Ok(kept(response, tag))
}

/// `GET /v1/walk/{epoch}`.
pub(super) async fn walk<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let steps: Vec<Step> = app
        .ask(app.ledger.walk(Epoch::new(number(&request)?)))
        .await?;
    Ok(json(&steps))
}

/// `GET /v1/epochs/{epoch}`.
pub(super) async fn opening<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let epoch = Epoch::new(number(&request)?);
    // Of a handover, another node may have other signatures: the answer is not to be kept for ever.
    Ok(bytes(
        media::CBOR,
        app.ask(app.ledger.opening(epoch)).await?,
    ))
}

/// `GET /v1/node`.
pub(super) async fn node<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
) -> Result<Response, Failure> {
    Ok(json(&app.ask(app.ledger.node()).await?))
}

/// `GET /v1/status`.
pub(super) async fn status<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
) -> Result<Response, Failure> {
    Ok(json(&app.ask(app.ledger.status()).await?))
}

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Response {
    plain("ok\n")
}

/// `GET /readyz`: the node serves.
pub(super) async fn readyz<L: Ledger + ?Sized>(
    State(app): State<Arc<App<L>>>,
) -> Result<Response, Failure> {
    if *app.stopping.borrow() {
        return Err(Failure(stopping()));
    }
    let status = app.ask(app.ledger.status()).await?;
    if status.ready {
        return Ok(plain("ready\n"));
    }
    let waits_for = status.waits_for;
    let waits_for = waits_for.unwrap_or_else(|| "the node is not ready yet".into());
    Err(Failure(Problem::new(Kind::Behind, waits_for)))
}

/// `GET /metrics`.
pub(super) async fn metrics<L: Ledger + ?Sized>(State(app): State<Arc<App<L>>>) -> Response {
    let status = app.ask(app.ledger.status()).await.ok();
    let page = app.metrics.page(status.as_ref());
    bytes("text/plain; version=0.0.4; charset=utf-8", page.into())
}

pub(super) fn stopping() -> Problem {
    Problem::new(
        Kind::Stopping,
        "the node is stopping; try again in a few seconds",
    )
    .with_retry_after(5)
}

fn plain(text: &'static str) -> Response {
    bytes(
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn number(request: &Request) -> Result<u64, Problem> {
    let expected = "a whole number without leading zeros";
    let text: String = last_part(request, expected)?;
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => Ok(number),
        _ => Err(Problem::new(
            Kind::BadParameter,
            format!("the last part of the address must be {expected}"),
        )),
    }
}

fn tag(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text)
        .map_err(|e| Problem::new(Kind::Internal, format!("no entity tag: {e}")))
}

fn kept(mut response: Response, tag: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    headers.insert(header::ETAG, tag);
    response
}

fn unchanged(tag: HeaderValue) -> Response {
    let mut response = kept(Response::new(Body::empty()), tag);
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// A body that holds its slot until it is sent or given up.
struct Held {
    rest: Option<Bytes>,
    _slot: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        // In pieces, so that the slot is held while most of a large block is still to be sent.
        const PIECE: usize = 64 * 1024;
        let Some(rest) = self.rest.as_mut() else {
            return Poll::Ready(None);
        };
        let piece = rest.split_to(PIECE.min(rest.len()));
        if rest.is_empty() {
            self.rest = None;
        }
        Poll::Ready(Some(Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.rest.as_ref().map_or(0, |rest| rest.len() as u64))
    }
}
