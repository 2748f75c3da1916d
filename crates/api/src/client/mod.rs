//! The [`Ledger`] over HTTP, and a server's admin API ([`admin`]).
//!
//! To the ledger plain HTTP by design: what comes back is believed only after verification, and nothing secret goes out. Every answer
//! has a bound in bytes and in time. Reading requests are tried again, with a pause, while that can help; a submission is sent again only when it
//! cannot have arrived. Redirects and proxies of the environment are not followed: an answer comes from the address that was given.

pub mod admin;
mod blocks;
mod events;
mod http;

pub use admin::{AdminClient, AdminToken};

use crate::{
    block::{Block, MAX_BLOCK},
    ledger::{
        Answer, BlockStream, EventStream, Ledger, MAX_FRESHNESS, MAX_GENESIS, MAX_NODE,
        MAX_OPENING, MAX_PROOF, MAX_TRANSACTION, MAX_WAIT, MAX_WALK_STEP, MAX_WALK_STEPS, NodeView,
        Status, Step, Submitted, Transaction,
    },
    media,
    problem::{Kind, Problem},
};
use bytes::Bytes;
use core::time::Duration;
use http::Http;
use kusabi_core::id::{Epoch, Height, Nonce, StateKey, TxId};
use reqwest::{Method, RequestBuilder, Response, header::CONTENT_TYPE};

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
pub struct HttpLedger(Http);

impl HttpLedger {
    /// A client for the node at `address`, like `http://127.0.0.1:7040`. Opens no connection yet.
    pub fn new(address: &str) -> Result<Self, Problem> {
        Self::with_limits(address, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(address: &str, limits: Limits) -> Result<Self, Problem> {
        Http::new(address, &["http"], limits, "ledger node", |builder| builder).map(Self)
    }

    /// The address that requests go to.
    #[must_use]
    pub fn address(&self) -> &str {
        self.0.base().as_str()
    }

    /// Opens a stream: its answer, whose status is good.
    async fn opened(&self, request: RequestBuilder) -> Result<Response, Problem> {
        let answer = tokio::time::timeout(self.0.limits.request, request.send())
            .await
            .map_err(|_| {
                Problem::new(Kind::Unreachable, "the ledger node did not answer in time")
            })?;
        let response = answer.map_err(|e| self.0.unreachable(e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(match self.0.body(response, 0).await {
            Err(problem) => problem,
            Ok(_) => Problem::new(Kind::BadAnswer, "an error without a status"),
        })
    }

    /// A submission is sent a second time only when no connection was made: otherwise it may have arrived.
    async fn post(&self, transaction: Bytes, wait: Duration) -> Result<Submitted, Problem> {
        let wait = wait.min(MAX_WAIT);
        let request = |transaction: Bytes| {
            Ok::<_, Problem>(
                self.0
                    .request(Method::POST, "v1/transactions", media::JSON)?
                    .header(CONTENT_TYPE, media::CBOR)
                    .header("prefer", format!("wait={}", wait.as_secs()))
                    .body(transaction)
                    .timeout(self.0.limits.request + wait),
            )
        };
        let sent = match request(transaction.clone())?.send().await {
            Err(e) if e.is_connect() => request(transaction)?.send().await,
            sent => sent,
        };
        let response = sent.map_err(|e| {
            let sure = e.is_connect();
            let mut problem = self.0.unreachable(e);
            if !sure {
                problem.detail = format!(
                    "{}; whether the transaction arrived is not known: ask for it by its ID before sending another",
                    problem.detail
                )
                .into();
            }
            problem
        })?;
        self.0
            .read_json(&self.0.body(response, 4 * MAX_PROOF).await?)
    }
}

/// The address that asks for an answer of this height or later.
fn reached(address: String, at_least: Height) -> String {
    if at_least == Height::ZERO {
        return address;
    }
    format!("{address}?at_least={at_least}")
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
            self.0
                .get_json(&format!("v1/transactions/{id}"), 4 * MAX_PROOF)
                .await
        })
    }

    fn lookup(&self, key: StateKey, at_least: Height) -> Answer<'_, Bytes> {
        Box::pin(async move {
            let address = reached(format!("v1/state/{key}"), at_least);
            self.0.get(&address, media::PROOF, MAX_PROOF).await
        })
    }

    fn checkpoint(&self, at_least: Height) -> Answer<'_, Bytes> {
        Box::pin(async move {
            let address = reached("v1/checkpoint".to_owned(), at_least);
            self.0.get(&address, media::CHECKPOINT, MAX_PROOF).await
        })
    }

    fn freshness(&self, nonce: Nonce) -> Answer<'_, Bytes> {
        Box::pin(async move {
            // Asked again, a nonce is worth the same.
            let request = || {
                let nonce = Bytes::copy_from_slice(nonce.as_bytes());
                let request = self
                    .0
                    .request(Method::POST, "v1/freshness", media::FRESHNESS)?;
                Ok(request.header(CONTENT_TYPE, media::OCTETS).body(nonce))
            };
            self.0.repeated(request, MAX_FRESHNESS).await
        })
    }

    fn block(&self, height: Height) -> Answer<'_, Block> {
        Box::pin(async move {
            Block::decode(
                self.0
                    .get(&format!("v1/blocks/{height}"), media::BLOCK, MAX_BLOCK)
                    .await?,
            )
        })
    }

    fn blocks(&self, from: Height) -> Answer<'_, BlockStream> {
        Box::pin(async move {
            let address = format!("v1/blocks?from={from}");
            let request = self.0.request(Method::GET, &address, media::BLOCKS)?;
            let response = self.opened(request).await?;
            Ok(blocks::stream(self.0.clone(), response))
        })
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        Box::pin(async move { self.0.get("v1/genesis", media::CBOR, MAX_GENESIS).await })
    }

    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>> {
        Box::pin(async move {
            let steps: Vec<Step> = self
                .0
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

    fn opening(&self, epoch: Epoch) -> Answer<'_, Bytes> {
        Box::pin(async move {
            let address = format!("v1/epochs/{epoch}");
            self.0.get(&address, media::CBOR, MAX_OPENING).await
        })
    }

    fn node(&self) -> Answer<'_, NodeView> {
        Box::pin(async move { self.0.get_json("v1/node", MAX_NODE).await })
    }

    fn events(&self, after: Height) -> Answer<'_, EventStream> {
        Box::pin(async move {
            let request = self
                .0
                .request(Method::GET, "v1/events", media::EVENTS)?
                .header("last-event-id", after.to_string());
            let response = self.opened(request).await?;
            Ok(events::stream(self.0.clone(), response, after.get()))
        })
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async move { self.0.get_json("v1/status", MAX_PROOF).await })
    }
}
