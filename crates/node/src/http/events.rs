//! What comes without end: events, as server-sent ones (WHATWG HTML, section 9.2), one message per block; and the blocks
//! themselves. Both resumable by height.

use super::{
    app::{App, text},
    chain::stopping,
    failure::Failure,
    metrics::Counter,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, future::ready, stream};
use kusabi_api::{Kind, Ledger, Problem, ledger::BlockEvents, media, serve::stopped};
use kusabi_core::id::Height;
use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// `GET /v1/events`: from the height after `Last-Event-ID`, or after `?after=`, or from the newest on.
pub(super) async fn events<L: Ledger + ?Sized + 'static>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let slot = slot(&app.subscribers, app.limits.subscribers, "event streams")?;
    let after = match start(&request)? {
        Some(height) => height,
        None => {
            let newest = app.ask(app.ledger.status()).await?.height;
            Height::new(newest).map_err(|_| Problem::new(Kind::Internal, "height out of range"))?
        }
    };
    let stream = app.ask(app.ledger.events(after)).await?;
    let messages = stream.map(|item| match item.and_then(|block| message(&block)) {
        Ok(message) => Ok(message),
        Err(problem) => Err(last_message(&problem)),
    });
    let endless = Endless {
        messages: Box::pin(messages),
        alive: b": heartbeat\n\n",
        farewell: Some(last_message(&stopping())),
        heartbeat: app.limits.heartbeat,
        stopping: app.stopping.clone(),
        _open: Open::new(app, slot, |app| &app.metrics.subscribers),
    };
    Ok(endless.response(media::EVENTS))
}

/// `GET /v1/blocks?from=`: all blocks from a height on, each behind its length in four bytes. When the node stops, or the ledger has
/// no more to give, the stream ends.
pub(super) async fn blocks<L: Ledger + ?Sized + 'static>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let from = request.uri().query().and_then(|query| {
        let height = height(query.strip_prefix("from=")?)?;
        (height > Height::ZERO).then_some(height)
    });
    let from = from.ok_or_else(|| {
        Problem::new(
            Kind::BadParameter,
            "?from= takes the height of the first block that is wanted, like ?from=1",
        )
    })?;
    let slot = slot(&app.followers, app.limits.followers, "streams of blocks")?;
    let stream = app.ask(app.ledger.blocks(from)).await?;
    let endless = Endless {
        messages: Box::pin(stream.scan((), |(), item| {
            ready(match item {
                Ok(block) => Some(Ok(block.frame())),
                // A stream of blocks has no place for it: who reads it asks again, and is told.
                Err(why) => {
                    tracing::debug!(%why, "a stream of blocks ends");
                    None
                }
            })
        })),
        alive: &[0; 4],
        farewell: None,
        heartbeat: app.limits.heartbeat,
        stopping: app.stopping.clone(),
        _open: Open::new(app, slot, |app| &app.metrics.followers),
    };
    Ok(endless.response(media::BLOCKS))
}

fn slot(
    slots: &Arc<Semaphore>,
    of: usize,
    what: &'static str,
) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(slots).try_acquire_owned().map_err(|_| {
        let detail = format!("{of} {what} are open already; try again later");
        Problem::new(Kind::TooManyRequests, detail).with_retry_after(30)
    })
}

/// Where to begin. The header wins: a browser sends it when it comes back to the same address.
fn start(request: &Request) -> Result<Option<Height>, Problem> {
    let bad = || {
        Problem::new(
            Kind::BadParameter,
            "Last-Event-ID and ?after= take the height of the last block that you have, like ?after=41",
        )
    };
    let id = HeaderName::from_static("last-event-id");
    let text = if request.headers().contains_key(&id) {
        Some(text(request.headers(), id).ok_or_else(bad)?)
    } else {
        match request.uri().query().filter(|query| !query.is_empty()) {
            Some(query) => Some(query.strip_prefix("after=").ok_or_else(bad)?),
            None => None,
        }
    };
    text.map(|text| height(text).ok_or_else(bad)).transpose()
}

/// A height in its one form.
fn height(text: &str) -> Option<Height> {
    let height = text.parse::<u64>().ok().filter(|n| n.to_string() == text);
    height.and_then(|n| Height::new(n).ok())
}

/// Counts one open stream for as long as it lives.
struct Open<L: ?Sized> {
    app: Arc<App<L>>,
    counter: fn(&App<L>) -> &Counter,
    _slot: OwnedSemaphorePermit,
}

impl<L: ?Sized> Open<L> {
    fn new(app: Arc<App<L>>, slot: OwnedSemaphorePermit, counter: fn(&App<L>) -> &Counter) -> Self {
        counter(&app).add(1);
        Self {
            app,
            counter,
            _slot: slot,
        }
    }
}

impl<L: ?Sized> Drop for Open<L> {
    fn drop(&mut self) {
        (self.counter)(&self.app).sub(1);
    }
}

/// An answer without end.
struct Endless<L: ?Sized> {
    /// An error is the last one.
    messages: Pin<Box<dyn Stream<Item = Result<Bytes, Bytes>> + Send>>,
    /// What is said when there is nothing to say for as long as `heartbeat`.
    alive: &'static [u8],
    /// The last message when the node stops.
    farewell: Option<Bytes>,
    heartbeat: Duration,
    stopping: watch::Receiver<bool>,
    _open: Open<L>,
}

impl<L: Ledger + ?Sized + 'static> Endless<L> {
    fn response(self, media_type: &'static str) -> Response {
        let body = stream::unfold(Some(self), |endless| async move {
            let mut endless = endless?;
            let (message, rest) = match endless.next().await {
                Ok(message) => (message, Some(endless)),
                Err(last) => (last?, None),
            };
            Some((Ok::<_, Infallible>(message), rest))
        });
        let mut response = Response::new(Body::from_stream(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// The next bytes to send; an error: the last ones. hyper asks only when the client took those before, so a slow reader holds one
    /// message and the ledger's bounded queue, and is told by the ledger when that ran over.
    async fn next(&mut self) -> Result<Bytes, Option<Bytes>> {
        let item = tokio::select! {
            biased;
            () = stopped(&mut self.stopping) => None,
            item = tokio::time::timeout(self.heartbeat, self.messages.next()) => match item {
                Ok(item) => item,
                Err(_) => return Ok(Bytes::from_static(self.alive)),
            },
        };
        match item {
            Some(Ok(message)) => Ok(message),
            Some(Err(last)) => Err(Some(last)),
            None => Err(self.farewell.take()),
        }
    }
}

fn last_message(problem: &Problem) -> Bytes {
    let mut message = b"event: problem\ndata: ".to_vec();
    message.extend(problem.to_json());
    message.extend(b"\n\n");
    message.into()
}

fn message(block: &BlockEvents) -> Result<Bytes, Problem> {
    let mut message = format!("id: {}\nevent: block\ndata: ", block.height).into_bytes();
    serde_json::to_writer(&mut message, block)
        .map_err(|e| Problem::new(Kind::Internal, format!("events have no JSON: {e}")))?;
    message.extend(b"\n\n");
    Ok(message.into())
}
