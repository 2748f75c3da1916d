//! Events as they come: server-sent events (WHATWG HTML, section 9.2), one message per block, resumable by height.

use super::{
    app::{App, text},
    chain::stopping,
    failure::Failure,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use kusabi_api::{EventStream, Kind, Ledger, Problem, ledger::BlockEvents, media, serve::stopped};
use kusabi_core::id::Height;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// `GET /v1/events`: from the height after `Last-Event-ID`, or after `?after=`, or from the newest on.
pub(super) async fn events<L: Ledger + ?Sized + 'static>(
    State(app): State<Arc<App<L>>>,
    request: Request,
) -> Result<Response, Failure> {
    let slot = Arc::clone(&app.subscribers)
        .try_acquire_owned()
        .map_err(|_| {
            Problem::new(
                Kind::TooManyRequests,
                format!(
                    "{} event streams are open already; try again later",
                    app.limits.subscribers
                ),
            )
            .with_retry_after(30)
        })?;
    let after = match start(&request)? {
        Some(height) => height,
        None => {
            let newest = app.ask(app.ledger.status()).await?.height;
            Height::new(newest).map_err(|_| Problem::new(Kind::Internal, "height out of range"))?
        }
    };
    let stream = app.ask(app.ledger.events(after)).await?;
    app.metrics.subscribers.add(1);
    let subscriber = Subscriber {
        stream,
        heartbeat: app.limits.heartbeat,
        stopping: app.stopping.clone(),
        ended: false,
        _open: Open { app, _slot: slot },
    };
    let body = stream::unfold(subscriber, |mut subscriber| async move {
        let message = subscriber.next().await?;
        Some((Ok::<_, Infallible>(message), subscriber))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media::EVENTS),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
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
    text.map(|text| {
        let height = text.parse::<u64>().ok().filter(|n| n.to_string() == text);
        height.and_then(|n| Height::new(n).ok()).ok_or_else(bad)
    })
    .transpose()
}

/// Counts one open stream for as long as it lives.
struct Open<L: ?Sized> {
    app: Arc<App<L>>,
    _slot: OwnedSemaphorePermit,
}

impl<L: ?Sized> Drop for Open<L> {
    fn drop(&mut self) {
        self.app.metrics.subscribers.sub(1);
    }
}

struct Subscriber<L: ?Sized> {
    stream: EventStream,
    heartbeat: Duration,
    stopping: watch::Receiver<bool>,
    ended: bool,
    _open: Open<L>,
}

impl<L: ?Sized> Subscriber<L> {
    /// The next bytes to send. hyper asks only when the client took the last ones, so a slow reader holds one message and the ledger's
    /// bounded queue, and is told by the ledger when that ran over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let item = tokio::select! {
            biased;
            () = stopped(&mut self.stopping) => Some(Err(stopping())),
            item = tokio::time::timeout(self.heartbeat, self.stream.next()) => match item {
                Ok(item) => item,
                Err(_) => return Some(Bytes::from_static(b": heartbeat\n\n")),
            },
        };
        Some(match item {
            Some(Ok(block)) => message(&block).unwrap_or_else(|problem| self.end(&problem)),
            Some(Err(problem)) => self.end(&problem),
            None => self.end(&stopping()),
        })
    }

    /// The last message.
    fn end(&mut self, problem: &Problem) -> Bytes {
        self.ended = true;
        let mut message = b"event: problem\ndata: ".to_vec();
        message.extend(problem.to_json());
        message.extend(b"\n\n");
        message.into()
    }
}

fn message(block: &BlockEvents) -> Result<Bytes, Problem> {
    let mut message = format!("id: {}\nevent: block\ndata: ", block.height).into_bytes();
    serde_json::to_writer(&mut message, block)
        .map_err(|e| Problem::new(Kind::Internal, format!("events have no JSON: {e}")))?;
    message.extend(b"\n\n");
    Ok(message.into())
}
