//! The running node as a [`Ledger`]: what the HTTP side serves, and what a program that holds the node itself uses.

mod recent;
pub mod refusal;

use crate::{
    engine::Refusal,
    follower::{
        Source,
        carry::{Asked, Carried, Carrier},
    },
    handle::{Events, FinalBlock, NodeHandle, QueryError, SubmitError},
    health::{Overdue, Reminder, Signs, WaitsFor},
    outline::Outline,
    pool::PoolLimits,
    tally::Tally,
};
use bytes::Bytes;
use futures::stream;
use kusabi_api::{
    Answer, Block, BlockStream, EventStream, Kind, Ledger, Problem,
    effect::first_row,
    ledger::{
        BlockEvents, CATCH_UP, MAX_WAIT, MAX_WALK_STEPS, NodeView, Receipt, Role, Status, Step,
        StepKind, Submitted, Transaction, ValidatorNode, ValidatorVotes, Votes,
    },
};
use kusabi_core::{
    genesis::{Genesis, GenesisError},
    id::{Epoch, Height, Nonce, StateKey, TxId},
    tx,
};
use recent::Recent;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// How many outcomes of transactions are remembered, waiting ones included.
const OUTCOMES_MAX: usize = 65_536;

/// More bytes are decoded on a thread of another kind, so that short requests do not wait for long ones.
const DECODE_HERE_MAX: usize = 16 * 1024;

/// Long decodings at the same time.
const DECODERS: usize = 2;

/// A reader of events that had caught up and is this many blocks behind again is cut.
const BEHIND_MAX: u64 = 1_000;

/// When to ask a node again that does not answer yet, in seconds.
const NOT_BEGUN_RETRY_S: u32 = 5;

/// Blocks whose events are kept decoded for all readers.
const EVENTS_KEPT: usize = 8;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It waits.
    Pending,
    /// It is final.
    Final {
        height: Height,
        index: u32,
        /// The first row that it wrote.
        row: StateKey,
    },
    /// It was refused.
    Refused(Refusal),
}

/// A node and what is known about its chain.
#[derive(Clone, Debug)]
pub struct NodeLedger {
    node: NodeHandle,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    genesis: Bytes,
    pool: PoolLimits,
    recent: Recent,
    decoders: Semaphore,
    events: Mutex<VecDeque<Arc<BlockEvents>>>,
    /// Where a follower carries what it cannot do itself.
    carrier: Option<Carrier>,
}

impl Shared {
    /// Does work that takes as long as `bytes` bytes are many.
    async fn decode<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= DECODE_HERE_MAX {
            return Ok(work());
        }
        let ended = |why: String| Problem::new(Kind::Internal, format!("decoding ended: {why}"));
        let _turn = self
            .decoders
            .acquire()
            .await
            .map_err(|e| ended(e.to_string()))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| ended(e.to_string()))
    }
}

impl NodeLedger {
    /// The node `handle`, on the chain of `outline`, with the pool that it was started with.
    ///
    /// # Errors
    /// [`GenesisError`]: the outline's document is none. A node does not start with such a one.
    pub fn new(
        node: NodeHandle,
        outline: &Outline,
        pool: PoolLimits,
    ) -> Result<Self, GenesisError> {
        Self::carrying(node, outline, pool, None)
    }

    /// The same of a follower, which carries to `sources` what it cannot do itself.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn follower(
        node: NodeHandle,
        outline: &Outline,
        pool: PoolLimits,
        sources: Arc<[Source]>,
    ) -> Result<Self, GenesisError> {
        let carrier = node
            .following
            .clone()
            .map(|seen| Carrier::new(sources, seen));
        Self::carrying(node, outline, pool, carrier)
    }

    fn carrying(
        node: NodeHandle,
        outline: &Outline,
        pool: PoolLimits,
        carrier: Option<Carrier>,
    ) -> Result<Self, GenesisError> {
        let genesis = Genesis::decode(outline.document())?;
        let shared = Shared {
            name: genesis.name().to_owned(),
            genesis: outline.document().clone(),
            pool,
            recent: Recent::new(OUTCOMES_MAX),
            decoders: Semaphore::new(DECODERS),
            events: Mutex::default(),
            carrier,
        };
        Ok(Self {
            node,
            shared: Arc::new(shared),
        })
    }

    /// What the node waits for; nothing, when it is ready.
    #[must_use]
    pub fn waits_for(&self) -> Option<WaitsFor> {
        self.signs(|signs| signs.waits_for())
    }

    /// Waits until what the node waits for is something else than `before`; what it is then.
    pub async fn waits_no_more_for(&self, before: Option<&WaitsFor>) -> Option<WaitsFor> {
        let mut pulse = self.node.pulse.clone();
        let mut begun = self.node.begun.clone();
        let mut newest = self.node.newest.clone();
        loop {
            let now = self.waits_for();
            let same = match (before, &now) {
                (None, None) => true,
                (Some(before), Some(now)) => before.same(now),
                _ => false,
            };
            if !same {
                return now;
            }
            // With an error the node has ended, and nothing changes any more.
            let changed = tokio::select! {
                changed = pulse.changed() => changed,
                changed = begun.changed() => changed,
                changed = newest.changed() => changed,
            };
            if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Logs when the ledger has no quorum any more, or the node falls behind, and when that is over. Runs as long as the node
    /// does.
    pub async fn log_health(&self) {
        let mut waits_for = self.waits_for();
        let mut begun = waits_for.is_none();
        loop {
            waits_for = self.waits_no_more_for(waits_for.as_ref()).await;
            match &waits_for {
                // The first time it is said by whoever started it.
                None if !begun => begun = true,
                None => {
                    let height = self.node.status().height.unwrap_or_default();
                    tracing::warn!("the node is ready again, at height {height}");
                }
                Some(_) if !begun => {}
                Some(waits_for) => tracing::warn!("the node is not ready: {waits_for}"),
            }
        }
    }

    /// Logs once a day that the members have to end the epoch. Runs as long as the node does.
    pub async fn log_epoch(&self) {
        let mut pulse = self.node.pulse.clone();
        let mut reminder = Reminder::default();
        loop {
            let overdue = self.signs(|signs| {
                let clock_ms = signs.pulse.map(|pulse| pulse.clock_ms);
                signs.epoch_overdue().zip(clock_ms)
            });
            if let Some((age, clock_ms)) = overdue
                && reminder.is_due(clock_ms)
            {
                tracing::warn!("{}", Overdue(age));
            }
            // With an error the node has ended.
            if pulse.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn signs<T>(&self, read: impl FnOnce(&Signs<'_>) -> T) -> T {
        let newest = *self.node.newest.borrow();
        let pulse = self.node.pulse.borrow();
        let following = self.node.following.as_ref().map(|seen| seen.borrow());
        let outline = self.node.outline();
        let height = newest.map_or(Height::ZERO, |newest| newest.height);
        read(&Signs {
            validators: outline.newest().vote_keys.len(),
            at_opening: height == outline.height_before_newest(),
            heartbeat: *self.node.heartbeat.borrow(),
            begun: *self.node.begun.borrow(),
            newest,
            pulse: pulse.as_ref(),
            following: following.as_deref(),
            epoch_began_ms: self.tally(|tally| tally.began_ms).flatten(),
            now: Instant::now(),
        })
    }

    /// What was counted of the present epoch.
    fn tally<T>(&self, read: impl FnOnce(&Tally) -> T) -> Option<T> {
        let tally = self.node.tally.borrow();
        let present = self.node.outline().newest().number;
        tally
            .as_ref()
            .filter(|tally| tally.epoch() == present)
            .map(read)
    }

    /// Whose votes the newest certificates have.
    fn votes(&self) -> Option<Votes> {
        let outline = self.node.outline();
        let epoch = outline.newest();
        let me = self.node.keys().map(|keys| keys.vote);
        self.tally(|tally| {
            let mut own = None;
            let validators = epoch.vote_keys.iter().enumerate().map(|(n, vote_key)| {
                let missed = tally.missed(n).unwrap_or_default();
                if Some(*vote_key) == me {
                    own = Some(missed);
                }
                let node = epoch.nodes.get(n);
                ValidatorVotes {
                    vote_key: (*vote_key).into(),
                    address: node.map(|node| node.address.clone()).unwrap_or_default(),
                    missed,
                    newest: tally.voted(n).map(Height::get),
                }
            });
            let validators = validators.collect();
            Some(Votes {
                counted: tally.counted(),
                from: tally.from()?.get(),
                missed: own,
                validators,
            })
        })
        .flatten()
    }

    /// Nothing is asked of a node that does not answer yet: it says what it waits for.
    fn open(&self) -> Result<&NodeHandle, Problem> {
        match *self.node.begun.borrow() {
            true => Ok(&self.node),
            false => {
                let waits_for = self.waits_for().map(|waits_for| waits_for.to_string());
                let detail = waits_for.unwrap_or_else(|| "the node begins just now".into());
                Err(Problem::new(Kind::Behind, detail).with_retry_after(NOT_BEGUN_RETRY_S))
            }
        }
    }

    async fn take(&self, bytes: Bytes, wait: Duration) -> Result<Submitted, Problem> {
        self.open()?;
        let id = TxId::of(&bytes);
        // The same bytes again: whoever lost the answer gets it.
        if let Some(Outcome::Final { height, index, row }) = self.shared.recent.outcome(&id) {
            return Ok(Submitted::Final(self.receipt(id, height, index, row).await));
        }
        let transaction = self
            .shared
            .decode(bytes.len(), {
                let bytes = bytes.clone();
                move || tx::Transaction::decode(&bytes)
            })
            .await?
            .map_err(refusal::malformed)?;
        let row = first_row(transaction.action());
        if let Some(carrier) = &self.shared.carrier {
            let own = self.node.await_final(id, bytes.len()).map_err(refused)?;
            let carried = carrier.submit(&self.node, &bytes, own, wait).await?;
            return Ok(match carried {
                Carried::Final(receipt) => {
                    Submitted::Final(self.carried(id, receipt.height, receipt.index, row).await)
                }
                Carried::Pending => Submitted::Pending { id },
            });
        }
        let end = self.node.offer(transaction).map_err(refused)?;
        self.shared.recent.note(id, Outcome::Pending);
        // A task of its own, so that the outcome is noted also when nobody waits any more.
        let shared = Arc::clone(&self.shared);
        let noted = tokio::spawn(async move {
            let end = end.await;
            match &end {
                Ok(receipt) => shared.recent.note(
                    id,
                    Outcome::Final {
                        height: receipt.height,
                        index: receipt.index,
                        row,
                    },
                ),
                // It may be in conflict with itself, final before this process began: then "refused" would be a lie.
                Err(SubmitError::Refused(why)) if refusal(why).kind == Kind::Conflict => {
                    shared.recent.forget(&id);
                }
                Err(SubmitError::Refused(why)) => {
                    shared.recent.note(id, Outcome::Refused(*why));
                }
                // The node stops, and forgets.
                Err(_) => {}
            }
            end
        });
        match tokio::time::timeout(wait.min(MAX_WAIT), noted).await {
            Err(_) => Ok(Submitted::Pending { id }),
            Ok(Ok(Ok(receipt))) => {
                let receipt = self.receipt(id, receipt.height, receipt.index, row).await;
                Ok(Submitted::Final(receipt))
            }
            Ok(Ok(Err(why))) => Err(refused(why)),
            Ok(Err(e)) => Err(Problem::new(Kind::Internal, format!("waiting ended: {e}"))),
        }
    }

    /// The same of what others took, and this follower has seen in a block; it remembers that.
    async fn carried(&self, id: TxId, height: Height, index: u32, row: StateKey) -> Receipt {
        let outcome = Outcome::Final { height, index, row };
        self.shared.recent.note(id, outcome);
        self.receipt(id, height, index, row).await
    }

    /// What became of a transaction that this follower does not remember.
    async fn asked(&self, carrier: &Carrier, id: TxId) -> Result<Transaction, Problem> {
        let (height, index) = match carrier.transaction(&self.node, id).await? {
            Asked::Said(said) => return Ok(said),
            Asked::Final(height, index) => (height, index),
        };
        let gone = || Problem::new(Kind::Unknown, "the block that holds it is not here");
        let height = Height::new(height).map_err(|_| gone())?;
        let block = self.node.block(height).await.map_err(unanswered)?;
        let bytes = block.and_then(|block| {
            let place = usize::try_from(index).ok()?;
            block.transactions.get(place).cloned()
        });
        let transaction = tx::Transaction::decode(&bytes.ok_or_else(gone)?);
        let row = first_row(transaction.map_err(refusal::malformed)?.action());
        let receipt = self.carried(id, height, index, row).await;
        Ok(Transaction::Final(receipt))
    }

    /// Waits for a height; not for long, and the answer is what there is then.
    async fn reached(&self, height: Height) {
        let reached = self.node.reached(height);
        // Elapsed, or the node stops: the question itself says so.
        let _ = tokio::time::timeout(CATCH_UP, reached).await;
    }

    /// A receipt with the newest proof of the row; without one when the node is too busy to make it.
    async fn receipt(&self, id: TxId, height: Height, index: u32, row: StateKey) -> Receipt {
        Receipt {
            id,
            height: height.get(),
            index,
            proof: self.node.lookup(row).await.ok(),
        }
    }

    /// Events of a block; decoded once for all readers.
    async fn block_events(&self, block: FinalBlock) -> Result<BlockEvents, Problem> {
        let height = block.header.height.get();
        let kept = || {
            self.shared
                .events
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let found = kept()
            .iter()
            .find(|events| events.height == height)
            .cloned();
        if let Some(events) = found {
            return Ok((*events).clone());
        }
        let size = block.transactions.iter().map(Bytes::len).sum();
        let decoding = move || BlockEvents::of(&block.header, &block.transactions);
        let events = self.shared.decode(size, decoding).await??;
        let mut kept = kept();
        if kept.len() >= EVENTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::new(events.clone()));
        Ok(events)
    }
}

/// A reader of events.
struct Reader {
    ledger: NodeLedger,
    events: Events,
    /// Whether it had read everything once.
    caught_up: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<BlockEvents, Problem> {
        let behind = self.events.behind();
        if self.caught_up && behind > BEHIND_MAX {
            return Err(Problem::new(
                Kind::Lagging,
                format!("{behind} blocks were made since your last one; come back with its height"),
            ));
        }
        self.caught_up |= behind <= 1;
        let block = self.events.next().await.map_err(unanswered)?;
        self.ledger.block_events(block).await
    }
}

fn outgoing(block: FinalBlock) -> Block {
    let mut header = Vec::with_capacity(block.header.encoded_len());
    block.header.encode(&mut header);
    Block {
        header: header.into(),
        checkpoint: block.checkpoint,
        transactions: block.transactions,
    }
}

/// What a device follows of the transaction that opens an epoch; nothing of the genesis transaction.
fn step(opening: &[u8]) -> Option<Step> {
    let opening = tx::Transaction::decode(opening).ok()?;
    let (kind, bytes) = match opening.action() {
        tx::Action::Recovery { recovery, .. } => (StepKind::Recovery, recovery),
        tx::Action::Handover { handover, .. } => (StepKind::Handover, handover),
        _ => return None,
    };
    Some(Step {
        kind,
        bytes: Bytes::copy_from_slice(bytes),
    })
}

fn refused(why: SubmitError) -> Problem {
    match why {
        SubmitError::Refused(why) => refusal(&why),
        SubmitError::Full(_) => Problem::new(Kind::PoolFull, why.to_string()),
        SubmitError::NoVote => Problem::new(Kind::Unknown, why.to_string()),
        SubmitError::Stopped(_) => Problem::new(
            Kind::Stopping,
            format!("{why}; the transaction may or may not become final: look its rows up later"),
        )
        .with_retry_after(5),
    }
}

fn refusal(why: &Refusal) -> Problem {
    match why {
        Refusal::Malformed(why) => refusal::malformed(*why),
        Refusal::Rejected(why) => refusal::rejected(*why),
    }
}

fn unanswered(why: QueryError) -> Problem {
    let kind = match why {
        QueryError::Busy => Kind::TooManyRequests,
        QueryError::NotReady => Kind::Behind,
        QueryError::Unvouched { .. } => Kind::Unvouched,
        QueryError::Stopped(_) => Kind::Stopping,
        QueryError::NoVote => Kind::Unknown,
    };
    Problem::new(kind, why.to_string())
}

impl Ledger for NodeLedger {
    fn submit(&self, transaction: Bytes, wait: Duration) -> Answer<'_, Submitted> {
        Box::pin(self.take(transaction, wait))
    }

    fn transaction(&self, id: TxId) -> Answer<'_, Transaction> {
        Box::pin(async move {
            self.open()?;
            match self.shared.recent.outcome(&id) {
                Some(Outcome::Pending) => Ok(Transaction::Pending { id }),
                Some(Outcome::Final { height, index, row }) => Ok(Transaction::Final(
                    self.receipt(id, height, index, row).await,
                )),
                Some(Outcome::Refused(why)) => {
                    let problem = refusal(&why);
                    Ok(Transaction::Refused {
                        id,
                        code: problem.code.unwrap_or_default(),
                        detail: problem.detail,
                    })
                }
                None if let Some(carrier) = &self.shared.carrier => self.asked(carrier, id).await,
                None => Err(Problem::new(
                    Kind::Unknown,
                    "this node does not remember such a transaction: look the rows up that it was to write",
                )),
            }
        })
    }

    fn lookup(&self, key: StateKey, at_least: Height) -> Answer<'_, Bytes> {
        Box::pin(async move {
            self.open()?;
            self.reached(at_least).await;
            self.node.lookup(key).await.map_err(unanswered)
        })
    }

    fn checkpoint(&self, at_least: Height) -> Answer<'_, Bytes> {
        Box::pin(async move {
            self.open()?;
            self.reached(at_least).await;
            self.node.checkpoint().await.map_err(unanswered)
        })
    }

    fn freshness(&self, nonce: Nonce) -> Answer<'_, Bytes> {
        Box::pin(async move {
            match &self.shared.carrier {
                Some(carrier) => carrier.freshness(&self.node, nonce).await,
                None => self.node.freshness(nonce).await.map_err(unanswered),
            }
        })
    }

    fn block(&self, height: Height) -> Answer<'_, Block> {
        Box::pin(async move {
            let block = self.open()?.block(height).await.map_err(unanswered)?;
            let block = block.ok_or_else(|| {
                let newest = self.node.status().height.unwrap_or_default();
                Problem::new(
                    Kind::Unknown,
                    format!("there is no block of height {height}; the newest is {newest}"),
                )
            })?;
            Ok(outgoing(block))
        })
    }

    fn blocks(&self, from: Height) -> Answer<'_, BlockStream> {
        Box::pin(async move {
            let events = self.open()?.events(from);
            let stream = stream::unfold(Some(events), |events| async move {
                let mut events = events?;
                let item = events.next().await.map(outgoing).map_err(unanswered);
                let rest = item.is_ok().then_some(events);
                Some((item, rest))
            });
            Ok(Box::pin(stream) as BlockStream)
        })
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        Box::pin(async move { self.open().map(|_| self.shared.genesis.clone()) })
    }

    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>> {
        Box::pin(async move {
            self.open()?;
            let outline = self.node.outline();
            let later = outline.epochs().iter().filter(|next| next.number > epoch);
            Ok(later
                .filter_map(|epoch| step(&epoch.opening.1))
                .take(MAX_WALK_STEPS)
                .collect())
        })
    }

    fn opening(&self, epoch: Epoch) -> Answer<'_, Bytes> {
        Box::pin(async move {
            let outline = self.node.outline();
            let mut epochs = outline.epochs().iter();
            let known = epochs.find(|known| known.number >= epoch);
            known.map(|known| known.opening.1.clone()).ok_or_else(|| {
                let newest = outline.newest().number;
                Problem::new(
                    Kind::Unknown,
                    format!("there is no epoch {epoch}; the newest is {newest}"),
                )
            })
        })
    }

    fn node(&self) -> Answer<'_, NodeView> {
        Box::pin(async move {
            let keys = self.node.keys();
            let keys = keys.ok_or_else(|| {
                Problem::new(
                    Kind::Unknown,
                    "this node follows the ledger, and has no keys",
                )
            })?;
            let outline = self.node.outline();
            let newest = outline.newest();
            let nodes = newest
                .vote_keys
                .iter()
                .zip(&newest.nodes)
                .map(|(vote_key, node)| ValidatorNode {
                    vote_key: (*vote_key).into(),
                    node_key: node.key.into(),
                    address: node.address.clone(),
                });
            Ok(NodeView {
                epoch: newest.number.get(),
                node_key: keys.node.into(),
                vote_key: keys.vote.into(),
                next_vote_key: keys.next_vote.into(),
                next_keys_signature: keys.signature.into(),
                nodes: nodes.collect(),
            })
        })
    }

    fn events(&self, after: Height) -> Answer<'_, EventStream> {
        Box::pin(async move {
            let next = after
                .next()
                .ok_or_else(|| Problem::new(Kind::BadParameter, "there is no height after this"))?;
            let reader = Reader {
                ledger: self.clone(),
                events: self.open()?.events(next),
                caught_up: false,
            };
            let stream = stream::unfold(Some(reader), |reader| async move {
                let mut reader = reader?;
                let item = reader.next().await;
                let rest = item.is_ok().then_some(reader);
                Some((item, rest))
            });
            Ok(Box::pin(stream) as EventStream)
        })
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async move {
            let status = self.node.status();
            let (age, waits_for, peers) = self.signs(|signs| {
                let peers = signs.pulse.and_then(|pulse| pulse.peers.as_ref());
                (signs.age(), signs.waits_for(), peers.map(Into::into))
            });
            let (epoch_age, overdue) =
                self.signs(|signs| (signs.epoch_age(), signs.epoch_overdue()));
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let height = status.height.unwrap_or_default();
            let following = self.node.following.as_ref();
            Ok(Status {
                role: match following {
                    Some(_) => Role::Follower,
                    None => Role::Validator,
                },
                following: following.map(|seen| seen.borrow().view(height)),
                name: self.shared.name.clone(),
                chain: *self.node.chain(),
                height: height.get(),
                time_ms: status.time_ms.unwrap_or_default(),
                epoch: status.epoch.get(),
                validators: u8::try_from(self.node.outline().newest().vote_keys.len())
                    .unwrap_or(u8::MAX),
                heartbeat_ms: ms(status.heartbeat),
                waiting: status.pool.count as u64,
                waiting_max: self.shared.pool.count as u64,
                view: status.view,
                age_ms: age.map(ms),
                view_time_ms: self.tally(Tally::view_time_ms).flatten(),
                epoch_age_ms: epoch_age.map(ms),
                epoch_overdue: overdue.map(|age| Overdue(age).to_string()),
                votes: self.votes(),
                peers,
                ready: waits_for.is_none(),
                waits_for: waits_for.map(|waits_for| waits_for.to_string()),
                version: env!("CARGO_PKG_VERSION").into(),
            })
        })
    }
}
