//! The router and what its pages share.

use super::{chain, events, failure, freshness, lookup, metrics::Metrics, submit};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use kusabi_api::{Kind, Ledger, Problem};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

/// The bounds of the API.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the operating system's queue.
    pub connections: usize,
    /// From the first byte of a connection or the end of an answer to the end of the next header: slow and idle clients.
    pub header_time: Duration,
    /// To receive a body.
    pub body_time: Duration,
    /// A client that takes no byte of its answer for this long is cut.
    pub write_time: Duration,
    /// For the ledger to answer a reading request.
    pub answer_time: Duration,
    /// What a submission waits for finality when the client does not say.
    pub wait_default: Duration,
    /// Bytes of path and query.
    pub address_bytes: usize,
    /// Bytes of all header lines.
    pub header_bytes: usize,
    /// Bytes of all bodies that are being received.
    pub receiving_bytes: usize,
    /// Blocks that are being sent.
    pub blocks: usize,
    /// Event streams.
    pub subscribers: usize,
    /// Streams of blocks: each holds a block at a time.
    pub followers: usize,
    /// Between two comments on a silent event stream.
    pub heartbeat: Duration,
    /// For running requests to end when stopping.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_time: Duration::from_secs(15),
            body_time: Duration::from_secs(15),
            write_time: Duration::from_secs(15),
            answer_time: Duration::from_secs(10),
            wait_default: Duration::from_secs(10),
            address_bytes: 1024,
            header_bytes: 8 * 1024,
            receiving_bytes: 64 << 20,
            blocks: 8,
            subscribers: 64,
            followers: 16,
            heartbeat: Duration::from_secs(15),
            grace: Duration::from_secs(10),
        }
    }
}

/// What the pages share.
pub(super) struct App<L: ?Sized> {
    pub(super) limits: Limits,
    pub(super) receiving: Semaphore,
    pub(super) blocks: Arc<Semaphore>,
    pub(super) subscribers: Arc<Semaphore>,
    pub(super) followers: Arc<Semaphore>,
    pub(super) metrics: Metrics,
    /// Turns true when the server stops.
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) ledger: Arc<L>,
}

/// The API of one ledger.
pub struct Api<L: ?Sized> {
    pub(super) app: Arc<App<L>>,
    router: Router,
}

impl<L: ?Sized> Clone for Api<L> {
    fn clone(&self) -> Self {
        Self {
            app: Arc::clone(&self.app),
            router: self.router.clone(),
        }
    }
}

impl<L: ?Sized> std::fmt::Debug for Api<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("limits", &self.app.limits)
            .finish_non_exhaustive()
    }
}

impl<L: Ledger + ?Sized + 'static> Api<L> {
    /// The API of `ledger`. When `stopping` turns true, event streams end and nothing new is waited for.
    #[must_use]
    pub fn new(ledger: Arc<L>, limits: Limits, stopping: watch::Receiver<bool>) -> Self {
        let app = Arc::new(App {
            limits,
            receiving: Semaphore::new(limits.receiving_bytes),
            blocks: Arc::new(Semaphore::new(limits.blocks)),
            subscribers: Arc::new(Semaphore::new(limits.subscribers)),
            followers: Arc::new(Semaphore::new(limits.followers)),
            metrics: Metrics::default(),
            stopping,
            ledger,
        });
        let router = Router::new()
            .route("/v1/keys/{handle}", get(lookup::key::<L>))
            .route("/v1/state/{key}", get(lookup::state::<L>))
            .route("/v1/transactions", post(submit::submit::<L>))
            .route("/v1/transactions/{id}", get(submit::transaction::<L>))
            .route("/v1/checkpoint", get(chain::checkpoint::<L>))
            .route("/v1/freshness", post(freshness::freshness::<L>))
            .route("/v1/blocks", get(events::blocks::<L>))
            .route("/v1/blocks/{height}", get(chain::block::<L>))
            .route("/v1/genesis", get(chain::genesis::<L>))
            .route("/v1/walk/{epoch}", get(chain::walk::<L>))
            .route("/v1/status", get(chain::status::<L>))
            .route("/v1/epochs/{epoch}", get(chain::opening::<L>))
            .route("/v1/node", get(chain::node::<L>))
            .route("/v1/events", get(events::events::<L>))
            .route("/healthz", get(chain::healthz))
            .route("/readyz", get(chain::readyz::<L>))
            .route("/metrics", get(chain::metrics::<L>))
            .fallback(failure::unknown)
            .method_not_allowed_fallback(failure::method)
            .with_state(Arc::clone(&app));
        Self { app, router }
    }

    /// Serves one request.
    pub async fn call(&self, request: Request<Body>) -> Response {
        let response = match self.admit(&request) {
            Ok(()) => match self.router.clone().call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(problem) => failure::Failure(problem).into_response(),
        };
        self.app.metrics.answered(response.status());
        response
    }

    /// What holds for every request.
    fn admit(&self, request: &Request<Body>) -> Result<(), Problem> {
        let limits = &self.app.limits;
        let address = request
            .uri()
            .path_and_query()
            .map_or(0, |p| p.as_str().len());
        if address > limits.address_bytes {
            return Err(Problem::new(
                Kind::AddressTooLong,
                format!(
                    "the address has {address} bytes, at most {} are read",
                    limits.address_bytes
                ),
            ));
        }
        let header = header_bytes(request.headers());
        if header > limits.header_bytes {
            return Err(Problem::new(
                Kind::HeaderTooLarge,
                format!(
                    "the header has {header} bytes, at most {} are read",
                    limits.header_bytes
                ),
            ));
        }
        Ok(())
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

impl<L: Ledger + ?Sized> App<L> {
    /// Asks the ledger, and waits no longer than the limit.
    pub(super) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        match tokio::time::timeout(self.limits.answer_time, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Problem::new(
                Kind::Behind,
                "the ledger did not answer in time; try again",
            )),
        }
    }
}

/// The value of a header that may stand once, where it is text.
pub(super) fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
