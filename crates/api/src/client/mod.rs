//! The [`Ledger`] over HTTP.
//!
//! Plain HTTP by design: what comes back is believed only after verification, and nothing secret goes out. Every answer has a bound in
//! bytes and in time. Reading requests are tried again, with a pause, while that can help; a submission is sent again only when it
//! cannot have arrived. Redirects and proxies of the environment are not followed: an answer comes from the address that was given.

mod events;

use crate::{
    block::{Block, MAX_BLOCK},
    ledger::{
        Answer, EventStream, Ledger, MAX_GENESIS, MAX_PROOF, MAX_TRANSACTION, MAX_WAIT,
        MAX_WALK_STEP, MAX_WALK_STEPS, Status, Step, Submitted, Transaction,
    },
    media,
    problem::{self, Kind, Problem, Retry},
};
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use kusabi_core::id::{Epoch, Height, StateKey, TxId};
use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use serde::de::DeserializeOwned;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To open a connection.
    pub connect: Duration,
    /// For one reading request, from the first byte sent to the last received.
    pub request: Duration,
    /// Between two signs of life of an event stream; above the node's heartbeat comment of 15 s.
    pub silence: Duration,
    /// How often a reading request is sent, the first time included.
    pub attempts: u32,
    /// Longest pause before the next attempt, whatever the node asks for.
    pub pause_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            silence: Duration::from_secs(45),
            attempts: 3,
            pause_max: Duration::from_secs(5),
        }
    }
}

/// A ledger node at an `http://` address.
#[derive(Clone, Debug)]
pub struct HttpLedger {
    http: reqwest::Client,
    base: Url,
    limits: Limits,
}

impl HttpLedger {
    /// A client for the node at `address`, like `http://127.0.0.1:7040`. Opens no connection yet.
    pub fn new(address: &str) -> Result<Self, Problem> {
        Self::with_limits(address, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(address: &str, limits: Limits) -> Result<Self, Problem> {
        let bad = |why: &str| {
            Problem::new(
                Kind::BadParameter,
                format!("{address:?} is not the address of a ledger node: {why}"),
            )
        };
        let mut base = Url::parse(address).map_err(|e| bad(&e.to_string()))?;
        if base.scheme() != "http" {
            return Err(bad("it must begin with http://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(bad("it must hold neither name nor password"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("it must end with the host, the port or a path"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            // Below the 15 s after which a node closes an idle connection: a submission that meets the close on its way
            // could not say whether it arrived.
            .pool_idle_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .user_agent(concat!("kusabi/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Problem::new(Kind::Internal, format!("no HTTP client: {e}")))?;
        Ok(Self { http, base, limits })
    }

    /// The address that requests go to.
    #[must_use]
    pub fn address(&self) -> &str {
        self.base.as_str()
    }

    fn request(&self, method: Method, path: &str, accept: &str) -> Result<RequestBuilder, Problem> {
        let url = self
            .base
            .join(path)
            .map_err(|e| Problem::new(Kind::Internal, format!("no address for {path}: {e}")))?;
        Ok(self.http.request(method, url).header(ACCEPT, accept))
    }

    /// A reading request: tried again while that can help.
    async fn get(&self, path: &str, accept: &str, max: usize) -> Result<Bytes, Problem> {
        let mut attempt = 1;
        loop {
            let request = self
                .request(Method::GET, path, accept)?
                .timeout(self.limits.request);
            let problem = match receive(request, max).await {
                Ok(bytes) => return Ok(bytes),
                Err(problem) => problem,
            };
            if attempt >= self.limits.attempts || problem.kind.retry() == Retry::No {
                return Err(problem);
            }
            let asked = Duration::from_secs(u64::from(problem.retry_after_s.unwrap_or(0)));
            let grown = Duration::from_millis(100) * 4_u32.saturating_pow(attempt - 1);
            tokio::time::sleep(asked.max(grown).min(self.limits.pause_max)).await;
            attempt += 1;
        }
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str, max: usize) -> Result<T, Problem> {
        read_json(&self.get(path, media::JSON, max).await?)
    }

    /// A submission is sent a second time only when no connection was made: otherwise it may have arrived.
    async fn post(&self, transaction: Bytes, wait: Duration) -> Result<Submitted, Problem> {
        let wait = wait.min(MAX_WAIT);
        let request = |transaction: Bytes| {
            Ok::<_, Problem>(
                self.request(Method::POST, "v1/transactions", media::JSON)?
                    .header(CONTENT_TYPE, media::CBOR)
                    .header("prefer", format!("wait={}", wait.as_secs()))
                    .body(transaction)
                    .timeout(self.limits.request + wait),
            )
        };
        let sent = match request(transaction.clone())?.send().await {
            Err(e) if e.is_connect() => request(transaction)?.send().await,
            sent => sent,
        };
        let response = sent.map_err(|e| {
            let sure = e.is_connect();
            let mut problem = unreachable(e);
            if !sure {
                problem.detail = format!(
                    "{}; whether the transaction arrived is not known: ask for it by its ID before sending another",
                    problem.detail
                )
                .into();
            }
            problem
        })?;
        read_json(&body(response, 4 * MAX_PROOF).await?)
    }
}

/// Sends one request and reads its answer.
async fn receive(request: RequestBuilder, max: usize) -> Result<Bytes, Problem> {
    body(request.send().await.map_err(unreachable)?, max).await
}

/// The body of an answer, or the problem in it.
async fn body(mut response: Response, max: usize) -> Result<Bytes, Problem> {
    let status = response.status();
    if !status.is_success() {
        let pause = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let document = bounded(&mut response, problem::MAX_BYTES)
            .await
            .unwrap_or_default();
        let mut problem = Problem::from_answer(status.as_u16(), &document);
        problem.retry_after_s = pause.or(problem.retry_after_s);
        return Err(problem);
    }
    bounded(&mut response, max).await
}

async fn bounded(response: &mut Response, max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Kind::BadAnswer,
            format!("the node's answer is larger than {max} bytes"),
        )
    };
    if response.content_length().is_some_and(|n| n > max as u64) {
        return Err(too_large());
    }
    let Some(first) = response.chunk().await.map_err(unreachable)? else {
        return Ok(Bytes::new());
    };
    let mut all: Option<BytesMut> = None;
    let mut length = first.len();
    // Most answers are one chunk: hand that out without copying.
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        length += chunk.len();
        if length > max {
            return Err(too_large());
        }
        all.get_or_insert_with(|| BytesMut::from(&first[..]))
            .extend_from_slice(&chunk);
    }
    if length > max {
        return Err(too_large());
    }
    Ok(all.map_or(first, BytesMut::freeze))
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| {
        Problem::new(
            Kind::BadAnswer,
            format!("the node's answer cannot be read: {e}"),
        )
    })
}

fn unreachable(error: reqwest::Error) -> Problem {
    let timed_out = error.is_timeout();
    let mut sentence = if timed_out {
        String::from("the ledger node did not answer in time")
    } else if error.is_connect() {
        String::from("no connection to the ledger node")
    } else {
        String::from("the connection to the ledger node broke")
    };
    // The innermost cause is the one that says something ("connection refused"); the ones between repeat the outer one.
    let error = error.without_url();
    let mut cause: &dyn core::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if !timed_out {
        sentence = format!("{sentence}: {cause}");
    }
    Problem::new(Kind::Unreachable, sentence)
}

impl Ledger for HttpLedger {
    fn submit(&self, transaction: Bytes, wait: Duration) -> Answer<'_, Submitted> {
        Box::pin(async move {
            if transaction.len() > MAX_TRANSACTION {
                return Err(Problem::new(
                    Kind::TooLarge,
                    format!(
                        "the transaction has {} bytes, at most {MAX_TRANSACTION} are taken",
                        transaction.len()
                    ),
                ));
            }
            self.post(transaction, wait).await
        })
    }

    fn transaction(&self, id: TxId) -> Answer<'_, Transaction> {
        Box::pin(async move {
            self.get_json(&format!("v1/transactions/{id}"), 4 * MAX_PROOF)
                .await
        })
    }

    fn lookup(&self, key: StateKey) -> Answer<'_, Bytes> {
        Box::pin(async move {
            self.get(&format!("v1/state/{key}"), media::PROOF, MAX_PROOF)
                .await
        })
    }

    fn checkpoint(&self) -> Answer<'_, Bytes> {
        Box::pin(async move {
            self.get("v1/checkpoint", media::CHECKPOINT, MAX_PROOF)
                .await
        })
    }

    fn block(&self, height: Height) -> Answer<'_, Block> {
        Box::pin(async move {
            Block::decode(
                self.get(&format!("v1/blocks/{height}"), media::BLOCK, MAX_BLOCK)
                    .await?,
            )
        })
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        Box::pin(async move { self.get("v1/genesis", media::CBOR, MAX_GENESIS).await })
    }

    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>> {
        Box::pin(async move {
            let steps: Vec<Step> = self
                .get_json(
                    &format!("v1/walk/{epoch}"),
                    MAX_WALK_STEPS * (2 * MAX_WALK_STEP),
                )
                .await?;
            if steps.len() > MAX_WALK_STEPS
                || steps.iter().any(|step| step.bytes.len() > MAX_WALK_STEP)
            {
                return Err(Problem::new(
                    Kind::BadAnswer,
                    "the epoch walk is longer than its bounds",
                ));
            }
            Ok(steps)
        })
    }

    fn events(&self, after: Height) -> Answer<'_, EventStream> {
        Box::pin(async move {
            let request = self
                .request(Method::GET, "v1/events", media::EVENTS)?
                .header("last-event-id", after.to_string());
            let answer = tokio::time::timeout(self.limits.request, request.send())
                .await
                .map_err(|_| {
                    Problem::new(Kind::Unreachable, "the ledger node did not answer in time")
                })?;
            let response = answer.map_err(unreachable)?;
            if !response.status().is_success() {
                return Err(match body(response, 0).await {
                    Err(problem) => problem,
                    Ok(_) => Problem::new(Kind::BadAnswer, "an error without a status"),
                });
            }
            Ok(events::stream(response, self.limits.silence, after.get()))
        })
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async move { self.get_json("v1/status", MAX_PROOF).await })
    }
}
