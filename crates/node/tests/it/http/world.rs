//! A ledger in memory that answers what a test tells it to, and the API on top of it.

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use bytes::Bytes;
use futures::stream;
use kusabi_api::{
    Answer, Block, EventStream, Kind, Ledger, Problem,
    ledger::{
        BlockEvents, Peers, Receipt, Role, Status, Step, StepKind, Submitted, Transaction,
        ValidatorVotes, Votes,
    },
};
use kusabi_core::id::{ChainId, Epoch, Handle, Height, Nonce, StateKey, TxId};
use kusabi_node::http::{Api, Limits, serve};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

type Submit = dyn Fn(&Bytes, Duration) -> Result<Submitted, Problem> + Send + Sync;

pub(super) struct Memory {
    pub(super) rows: HashMap<StateKey, Bytes>,
    pub(super) submit: Box<Submit>,
    pub(super) received: Mutex<Vec<(usize, Duration)>>,
    pub(super) height: watch::Sender<u64>,
    /// From this height on the event stream ends with "lagging".
    pub(super) lagging_from: u64,
    pub(super) ready: bool,
    pub(super) nonces: Mutex<Vec<Nonce>>,
    pub(super) block_bytes: usize,
}

pub(super) const GENESIS: &[u8] = b"a genesis document";

/// What a node says that is not ready.
pub(super) const WAITS_FOR: &str = "no quorum: connected to 1 of 3 other validators";

pub(super) const HANDLE: [u8; 32] = [0xab; 32];

impl Default for Memory {
    fn default() -> Self {
        let key = StateKey::record(&Handle::new(HANDLE));
        Self {
            rows: [(key, Bytes::from_static(b"proof of presence"))].into(),
            submit: Box::new(|bytes, _| {
                Ok(Submitted::Final(Receipt {
                    id: id_of(bytes),
                    height: 7,
                    index: 0,
                    proof: Some(Bytes::from_static(b"proof of presence")),
                }))
            }),
            received: Mutex::default(),
            height: watch::Sender::new(3),
            lagging_from: u64::MAX,
            ready: true,
            nonces: Mutex::default(),
            block_bytes: 100,
        }
    }
}

/// Not the ledger's rule; only something that differs when the bytes do.
pub(super) fn id_of(bytes: &[u8]) -> TxId {
    TxId::new(kusabi_core::id::Digest::of(bytes).to_bytes())
}

pub(super) fn block_events(height: u64) -> BlockEvents {
    BlockEvents {
        height,
        skipped: 0,
        time_ms: 1000 * height,
        events: Vec::new(),
    }
}

fn answer<'a, T: Send + 'a>(result: Result<T, Problem>) -> Answer<'a, T> {
    Box::pin(async { result })
}

impl Ledger for Memory {
    fn submit(&self, transaction: Bytes, wait: Duration) -> Answer<'_, Submitted> {
        self.received
            .lock()
            .unwrap()
            .push((transaction.len(), wait));
        answer((self.submit)(&transaction, wait))
    }

    fn transaction(&self, id: TxId) -> Answer<'_, Transaction> {
        answer(if id == id_of(b"waiting") {
            Ok(Transaction::Pending { id })
        } else {
            Err(Problem::new(
                Kind::Unknown,
                "this node does not remember such a transaction",
            ))
        })
    }

    fn lookup(&self, key: StateKey, _: Height) -> Answer<'_, Bytes> {
        let absent = Bytes::from_static(b"proof of absence");
        answer(Ok(self.rows.get(&key).cloned().unwrap_or(absent)))
    }

    fn checkpoint(&self, _: Height) -> Answer<'_, Bytes> {
        answer(Ok(Bytes::from_static(b"checkpoint")))
    }

    fn freshness(&self, nonce: Nonce) -> Answer<'_, Bytes> {
        self.nonces.lock().unwrap().push(nonce);
        answer(Ok(Bytes::from_static(b"receipt")))
    }

    fn block(&self, height: Height) -> Answer<'_, Block> {
        let newest = *self.height.borrow();
        answer(if (1..=newest).contains(&height.get()) {
            Ok(Block {
                header: format!("header {height}").into(),
                checkpoint: None,
                transactions: vec![vec![7; self.block_bytes].into()],
            })
        } else {
            Err(Problem::new(
                Kind::Unknown,
                format!("the newest block is {newest}"),
            ))
        })
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        answer(Ok(Bytes::from_static(GENESIS)))
    }

    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>> {
        let step = Step {
            kind: StepKind::Recovery,
            bytes: Bytes::from_static(b"recovery"),
        };
        answer(Ok(if epoch == Epoch::ZERO {
            vec![step]
        } else {
            Vec::new()
        }))
    }

    fn events(&self, after: Height) -> Answer<'_, EventStream> {
        let height = self.height.subscribe();
        let lagging_from = self.lagging_from;
        let start = (Some(height), after.get() + 1);
        let stream = stream::unfold(start, move |(height, next)| async move {
            let mut height = height?;
            if next >= lagging_from {
                let problem = Problem::new(Kind::Lagging, "too slow");
                return Some((Err(problem), (None, next)));
            }
            height.wait_for(|&height| height >= next).await.ok()?;
            Some((Ok(block_events(next)), (Some(height), next + 1)))
        });
        answer(Ok(Box::pin(stream)))
    }

    fn status(&self) -> Answer<'_, Status> {
        let height = *self.height.borrow();
        answer(Ok(Status {
            name: "test".into(),
            chain: ChainId::of(GENESIS),
            height,
            time_ms: 1000 * height,
            epoch: 0,
            validators: 1,
            heartbeat_ms: 60_000,
            waiting: 2,
            waiting_max: 4096,
            view: 7,
            age_ms: Some(1_500),
            view_time_ms: Some(52),
            epoch_age_ms: Some(2_678_400_999),
            epoch_overdue: Some("the epoch is 31 days old".into()),
            votes: Some(Votes {
                counted: 40,
                from: 2,
                missed: Some(11),
                validators: vec![ValidatorVotes {
                    vote_key: [0xab; 32].into(),
                    address: "a.example:7043".into(),
                    missed: 29,
                    newest: None,
                }],
            }),
            peers: Some(Peers {
                connected: 1,
                of: 3,
                missing: vec!["a.example:7043".into(), "b.example:7043".into()],
            }),
            role: Role::Validator,
            following: None,
            ready: self.ready,
            waits_for: (!self.ready).then(|| WAITS_FOR.into()),
            version: "0.1.0".into(),
        }))
    }
}

/// The API without a socket.
pub(super) struct Router {
    pub(super) api: Api<Memory>,
    pub(super) memory: Arc<Memory>,
    pub(super) stop: watch::Sender<bool>,
}

pub(super) struct Got {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The kind, after checking that this is a whole problem document.
    pub(super) fn problem(&self) -> Kind {
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        let document = self.json();
        let kind = Kind::from_uri(document["type"].as_str().unwrap()).unwrap();
        assert_eq!(document["status"], self.status.as_u16());
        assert_eq!(self.status.as_u16(), kind.status());
        assert_eq!(document["title"], kind.title());
        assert!(!document["detail"].as_str().unwrap().is_empty());
        kind
    }
}

impl Router {
    pub(super) fn new(memory: Memory, limits: Limits) -> Self {
        let memory = Arc::new(memory);
        let (stop, stopping) = watch::channel(false);
        let api = Api::new(Arc::clone(&memory), limits, stopping);
        Self { api, memory, stop }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Got {
        let (parts, body) = self.api.call(request).await.into_parts();
        Got {
            status: parts.status,
            headers: parts.headers,
            body: axum::body::to_bytes(body, 1 << 26).await.unwrap(),
        }
    }

    pub(super) async fn get(&self, address: &str, headers: &[(&str, &str)]) -> Got {
        let mut request = Request::get(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(super) async fn post(&self, body: impl Into<Body>, headers: &[(&str, &str)]) -> Got {
        let mut request =
            Request::post("/v1/transactions").header("content-type", "application/cbor");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new(Memory::default(), Limits::default())
    }
}

/// The API on a port of the loopback.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) memory: Arc<Memory>,
    pub(super) stop: watch::Sender<bool>,
    /// Ends with the number of connections that were broken off.
    pub(super) done: JoinHandle<usize>,
}

impl Server {
    pub(super) async fn start(memory: Memory, limits: Limits) -> Self {
        let Router { api, memory, stop } = Router::new(memory, limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            memory,
            stop,
            done: tokio::spawn(serve(listener, api)),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
