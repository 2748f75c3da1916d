//! What the rest of the program holds of a running node.
//!
//! Every call crosses to the engine's own runtime through a bounded queue and waits for the answer; a queue that is full
//! answers [`QueryError::Busy`] at once, a full pool [`SubmitError::Full`].

use crate::{
    directory::{Directory, DirectoryError},
    engine::{EngineError, Refusal},
    health::{Following, Pulse},
    outline::Outline,
    pool::{Ended, Pool, PoolUsage, ReserveError, Source},
    tally::Tally,
};
use bytes::Bytes;
use kusabi_core::{
    header::Header,
    id::{ChainId, Epoch, HeaderHash, Height, Nonce, StateKey, TxId},
    tx::{Transaction, TxError},
};
use kusabi_ledger::Verified;
use std::{
    future::Future,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Why the node stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// It was asked to.
    #[error("the node was asked to stop")]
    Asked,
    /// The directory's content does not let it run.
    #[error("{0}")]
    Refused(EngineError),
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// Reading or writing failed.
    #[error("storage failed ({0})")]
    Storage(String),
    /// An epoch has begun in which it has no vote.
    #[error("epoch {0} has begun, and this node has no vote in it")]
    Left(Epoch),
    /// Anything else. A fault in this program.
    #[error("the engine stopped ({0})")]
    Fault(String),
}

impl Stop {
    /// What a person can do about it; `alone`: no others run the ledger with this node.
    #[must_use]
    pub const fn advice(&self, alone: bool) -> Option<&'static str> {
        match self {
            Self::Asked => None,
            Self::Refused(error) => Some(error.advice(alone)),
            Self::DiskFull => {
                Some("free some space and start again; nothing that was acknowledged is lost")
            }
            Self::Storage(_) => {
                Some("check the disk and start again; nothing that was acknowledged is lost")
            }
            Self::Left(_) => Some(
                "it has handed over, and its old vote key is erased; its directory stays a whole copy of the ledger up to there. To go \
                 on seeing the ledger, follow it in a new directory (kusabi node follow)",
            ),
            Self::Fault(_) => Some("start again, and please report this"),
        }
    }
}

/// Why a transaction was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// It is refused for good.
    #[error("{0}")]
    Refused(Refusal),
    /// Too much is waiting; nothing was changed.
    #[error("the pool is full ({} transactions, {} bytes): try again shortly", .0.count, .0.bytes)]
    Full(PoolUsage),
    /// The node stopped before the transaction was final. It may or may not become final.
    #[error("{0}")]
    Stopped(Stop),
    /// It follows the ledger.
    #[error("this node has no vote, and takes no transactions itself")]
    NoVote,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Too many questions are waiting.
    #[error("the node is busy: try again shortly")]
    Busy,
    /// No block is final yet, or the newest has no certificate yet.
    #[error("the ledger has no certified state yet: try again shortly")]
    NotReady,
    /// Too few validators vouch for the newest header.
    #[error("{signed} of the {needed} validators that it takes vouch for the newest header: {why}")]
    Unvouched {
        /// How many do.
        signed: usize,
        /// How many have to.
        needed: usize,
        /// What is the matter with the others.
        why: String,
    },
    /// The node stopped.
    #[error("{0}")]
    Stopped(Stop),
    /// It follows the ledger.
    #[error("this node has no vote, and cannot vouch for what is of now")]
    NoVote,
}

/// Where a transaction stands, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its ID.
    pub id: TxId,
    /// Height of its block.
    pub height: Height,
    /// Place in its block, from 0.
    pub index: u32,
}

/// A final block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalBlock {
    /// Its header.
    pub header: Header,
    /// The header's hash.
    pub hash: HeaderHash,
    /// The quorum's signature as a checkpoint (spec/proof.md) whose first header is this block's; absent at height 0.
    pub checkpoint: Option<Bytes>,
    /// Its transactions' bytes, in order.
    pub transactions: Vec<Bytes>,
}

/// How the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Height of the newest block that is final and on disk; `None` before the first.
    pub height: Option<Height>,
    /// That block's time, in milliseconds since 1970.
    pub time_ms: Option<u64>,
    /// The epoch.
    pub epoch: Epoch,
    /// The leader's turn, within the epoch, in which that block was made.
    pub view: u64,
    /// How full the pool is.
    pub pool: PoolUsage,
    /// How long the ledger may be idle, as its members have decided.
    pub heartbeat: Duration,
}

/// A question about one state key.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) key: StateKey,
    pub(crate) answer: oneshot::Sender<Result<Bytes, QueryError>>,
}

/// A transaction that has its place in the pool and is to be verified.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) transaction: Transaction,
    pub(crate) source: Source,
    /// Whether it was put off before.
    pub(crate) again: bool,
}

/// A nonce for which a freshness receipt is wanted.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) nonce: Nonce,
    pub(crate) answer: oneshot::Sender<Result<Bytes, QueryError>>,
}

/// The rarer questions.
#[derive(Debug)]
pub(crate) enum Query {
    /// The newest checkpoint.
    Checkpoint(oneshot::Sender<Result<Bytes, QueryError>>),
    /// The first final block at or above a height, if there is one.
    BlockFrom(
        Height,
        oneshot::Sender<Result<Option<FinalBlock>, QueryError>>,
    ),
}

/// What both ends share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) chain: ChainId,
    pub(crate) pool: Arc<Pool<Verified, Refusal>>,
    pub(crate) stopped: OnceLock<Stop>,
    outline: RwLock<Arc<Outline>>,
    keys: RwLock<Option<Keys>>,
}

impl Link {
    pub(crate) fn new(outline: &Outline, pool: Pool<Verified, Refusal>) -> Self {
        Self {
            chain: *outline.chain(),
            pool: Arc::new(pool),
            stopped: OnceLock::new(),
            outline: RwLock::new(Arc::new(outline.clone())),
            keys: RwLock::default(),
        }
    }

    /// An epoch has begun.
    pub(crate) fn set_outline(&self, outline: &Outline) {
        let mut mine = self.outline.write().unwrap_or_else(PoisonError::into_inner);
        *mine = Arc::new(outline.clone());
    }

    /// The keys that the node has now.
    pub(crate) fn set_keys(&self, keys: Keys) {
        let mut mine = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *mine = Some(keys);
    }
}

/// The public halves of a node's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Its node key.
    pub node: [u8; 32],
    /// The vote key of the present epoch.
    pub vote: [u8; 32],
    /// The one that it has ready for the next.
    pub next_vote: [u8; 32],
    /// What the present one signed of that ([`NextKeys`](kusabi_core::appointment::NextKeys)).
    pub signature: [u8; 64],
}

impl Keys {
    pub(crate) fn of(directory: &Directory) -> Result<Self, DirectoryError> {
        let (next, signature) = directory.next_keys()?;
        Ok(Self {
            node: next.node_key,
            vote: directory.voter()?.public(),
            next_vote: next.vote_key,
            signature: *signature.as_bytes(),
        })
    }
}

/// A running node. Clones are the same node.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    pub(crate) link: Arc<Link>,
    pub(crate) ingest: mpsc::UnboundedSender<Offered>,
    pub(crate) lookups: mpsc::Sender<Lookup>,
    pub(crate) queries: mpsc::Sender<Query>,
    pub(crate) nonces: mpsc::Sender<Asked>,
    pub(crate) newest: watch::Receiver<Option<Newest>>,
    /// Whether it answers.
    pub(crate) begun: watch::Receiver<bool>,
    pub(crate) pulse: watch::Receiver<Option<Pulse>>,
    pub(crate) tally: watch::Receiver<Option<Tally>>,
    pub(crate) heartbeat: watch::Receiver<Duration>,
    /// Whom a follower follows; a validator follows nobody.
    pub(crate) following: Option<watch::Receiver<Following>>,
    pub(crate) stop: watch::Sender<bool>,
}

/// The newest block that is final and durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) height: Height,
    pub(crate) time_ms: u64,
    pub(crate) epoch: Epoch,
    pub(crate) hash: HeaderHash,
    /// The leader's turn in which it was made.
    pub(crate) view: u64,
    /// When this node saw that it is final.
    pub(crate) seen: Option<Instant>,
    /// Whether its time is as far from its parent's as it may be: then the ledger's time runs after the clocks, and how old the
    /// block is says nothing of this node.
    pub(crate) late: bool,
}

impl NodeHandle {
    /// The chain's outline, with all epochs that have begun.
    #[must_use]
    pub fn outline(&self) -> Arc<Outline> {
        let outline = &self.link.outline;
        Arc::clone(&outline.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The public halves of the node's keys; none in a simulation.
    #[must_use]
    pub fn keys(&self) -> Option<Keys> {
        *self
            .link
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &ChainId {
        &self.link.chain
    }

    /// Hands in a transaction. The answer of the future that is returned comes once it is final and on disk.
    /// Handing in one that is waiting already joins it.
    ///
    /// # Errors
    /// What is wrong with the bytes, or that there is no room. The future's errors: a refusal, or that the node stopped.
    pub fn submit(
        &self,
        bytes: &[u8],
    ) -> Result<impl Future<Output = Result<Receipt, SubmitError>> + Send + 'static, SubmitError>
    {
        let malformed = |why: TxError| SubmitError::Refused(Refusal::Malformed(why));
        self.offer(Transaction::decode(bytes).map_err(malformed)?)
    }

    /// The same with a transaction that was decoded already.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn offer(
        &self,
        transaction: Transaction,
    ) -> Result<impl Future<Output = Result<Receipt, SubmitError>> + Send + 'static, SubmitError>
    {
        let id = transaction.id();
        let bytes = Bytes::copy_from_slice(transaction.as_bytes());
        let mut end = self.place(transaction)?;
        let node = self.clone();
        Ok(async move {
            loop {
                return match end.await {
                    Ok(Ended::Final { height, index }) => Ok(Receipt { id, height, index }),
                    Ok(Ended::Refused(why)) => Err(SubmitError::Refused(why)),
                    Ok(Ended::Unread) => {
                        let malformed = |why| SubmitError::Refused(Refusal::Malformed(why));
                        end = node.place(Transaction::decode(&bytes).map_err(malformed)?)?;
                        continue;
                    }
                    Ok(Ended::Stopped) | Err(_) => Err(SubmitError::Stopped(node.why())),
                };
            }
        })
    }

    /// Takes a place among those who wait for a transaction that others were, or will be, handed: the end that it comes to in
    /// this node's own blocks. The place is given back when nobody waits any more.
    pub(crate) fn await_final(&self, id: TxId, bytes: usize) -> Result<Awaited, SubmitError> {
        let pool = self.link.pool.clone();
        match pool.reserve(id, bytes) {
            Ok(reserved) => Ok(Awaited {
                id,
                end: reserved.end,
                pool,
            }),
            Err(ReserveError::Full) => Err(SubmitError::Full(pool.usage())),
            Err(ReserveError::Stopped) => Err(SubmitError::Stopped(self.why())),
        }
    }

    /// Takes a place in the pool and hands the transaction to the engine, unless it is there already.
    fn place(
        &self,
        transaction: Transaction,
    ) -> Result<oneshot::Receiver<Ended<Refusal>>, SubmitError> {
        if self.following.is_some() {
            return Err(SubmitError::NoVote);
        }
        let pool = &self.link.pool;
        let reserved = pool
            .reserve(transaction.id(), transaction.as_bytes().len())
            .map_err(|why| match why {
                ReserveError::Full => SubmitError::Full(pool.usage()),
                ReserveError::Stopped => SubmitError::Stopped(self.why()),
            })?;
        if reserved.new {
            // Bounded by the pool. If the engine is gone, the pool tells the waiter.
            let _ = self.ingest.send(Offered {
                transaction,
                source: Source::Client,
                again: false,
            });
        }
        Ok(reserved.end)
    }

    /// The proof (spec/proof.md) of what the newest state holds under a key: a row, or that there is none.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn lookup(&self, key: StateKey) -> Result<Bytes, QueryError> {
        self.ask(&self.lookups, |answer| Lookup { key, answer })
            .await
    }

    /// Waits until a height is final and its state shown here.
    ///
    /// # Errors
    /// [`QueryError::Stopped`]
    pub async fn reached(&self, height: Height) -> Result<(), QueryError> {
        let mut newest = self.newest.clone();
        let reached = newest.wait_for(|newest| newest.unwrap_or_default().height >= height);
        match reached.await {
            Ok(_) => Ok(()),
            Err(_) => Err(QueryError::Stopped(self.why())),
        }
    }

    /// The newest checkpoint (spec/proof.md).
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn checkpoint(&self) -> Result<Bytes, QueryError> {
        self.ask(&self.queries, Query::Checkpoint).await
    }

    /// A freshness receipt (spec/freshness.md) for a nonce. Takes up to a second, and where validators do not answer five more.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn freshness(&self, nonce: Nonce) -> Result<Bytes, QueryError> {
        if self.following.is_some() {
            return Err(QueryError::NoVote);
        }
        self.ask(&self.nonces, |answer| Asked { nonce, answer })
            .await
    }

    /// The final block at a height. `None`: not yet, or a height that a recovery skipped.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn block(&self, height: Height) -> Result<Option<FinalBlock>, QueryError> {
        let block = self.block_from(height).await?;
        Ok(block.filter(|block| block.header.height == height))
    }

    /// The first final block at or above a height.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn block_from(&self, height: Height) -> Result<Option<FinalBlock>, QueryError> {
        self.ask(&self.queries, |answer| Query::BlockFrom(height, answer))
            .await
    }

    /// All final blocks from a height on, as they come.
    #[must_use]
    pub fn events(&self, from_height: Height) -> Events {
        Events {
            node: self.clone(),
            newest: self.newest.clone(),
            next: from_height,
        }
    }

    /// How the node is.
    #[must_use]
    pub fn status(&self) -> Status {
        let newest = *self.newest.borrow();
        Status {
            height: newest.map(|n| n.height),
            time_ms: newest.map(|n| n.time_ms),
            epoch: newest.map_or(Epoch::ZERO, |n| n.epoch),
            view: newest.map_or(0, |n| n.view),
            pool: self.link.pool.usage(),
            heartbeat: *self.heartbeat.borrow(),
        }
    }

    /// Asks the node to stop. Who waits for a transaction is told.
    pub fn shut_down(&self) {
        self.stop.send_replace(true);
    }

    /// Why the node stopped, as far as it is known by now.
    fn why(&self) -> Stop {
        let known = self.link.stopped.get().cloned();
        known.unwrap_or_else(|| {
            if *self.stop.borrow() {
                Stop::Asked
            } else {
                Stop::Fault("it is ending".into())
            }
        })
    }

    /// Asks, and asks again where the engine ended with the question: between two epochs it does, and the next one answers.
    async fn ask<T, M>(
        &self,
        queue: &mpsc::Sender<M>,
        question: impl Fn(oneshot::Sender<Result<T, QueryError>>) -> M,
    ) -> Result<T, QueryError> {
        loop {
            let (answer, receiver) = oneshot::channel();
            queue.try_send(question(answer)).map_err(|why| match why {
                mpsc::error::TrySendError::Full(_) => QueryError::Busy,
                // The queue outlives the epochs, and ends with the node.
                mpsc::error::TrySendError::Closed(_) => QueryError::Stopped(self.why()),
            })?;
            if let Ok(answer) = receiver.await {
                return answer;
            }
        }
    }
}

/// A transaction that is waited for, and that others were handed.
#[derive(Debug)]
pub(crate) struct Awaited {
    id: TxId,
    end: oneshot::Receiver<Ended<Refusal>>,
    pool: Arc<Pool<Verified, Refusal>>,
}

impl Awaited {
    /// The transaction.
    pub(crate) const fn id(&self) -> TxId {
        self.id
    }

    /// Where it stands, once it is final; `None`: the node stops.
    pub(crate) async fn end(&mut self) -> Option<Receipt> {
        match (&mut self.end).await {
            Ok(Ended::Final { height, index }) => Some(Receipt {
                id: self.id,
                height,
                index,
            }),
            _ => None,
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.end.close();
        self.pool.withdraw(&self.id);
    }
}

/// Final blocks in order, without gaps: what was missed is read again, so a slow reader only falls behind.
#[derive(Debug)]
pub struct Events {
    node: NodeHandle,
    newest: watch::Receiver<Option<Newest>>,
    next: Height,
}

impl Events {
    /// Height from which the next block is taken.
    #[must_use]
    pub const fn next_height(&self) -> Height {
        self.next
    }

    /// Heights between the newest block and the next one to be read here.
    #[must_use]
    pub fn behind(&self) -> u64 {
        let newest = self.newest.borrow().map_or(0, |n| n.height.get() + 1);
        newest.saturating_sub(self.next.get())
    }

    /// Waits for the next final block.
    ///
    /// # Errors
    /// [`QueryError::Busy`] (try again), [`QueryError::Stopped`]
    pub async fn next(&mut self) -> Result<FinalBlock, QueryError> {
        loop {
            let next = self.next;
            self.newest
                .wait_for(|newest| newest.is_some_and(|n| n.height >= next))
                .await
                .map_err(|_| QueryError::Stopped(self.node.why()))?;
            if let Some(block) = self.node.block_from(next).await? {
                self.next = block.header.height.next().unwrap_or(Height::MAX);
                return Ok(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node, pool::PoolLimits};
    use futures::FutureExt as _;

    #[test]
    fn a_question_that_the_end_of_an_epoch_caught_is_asked_again() {
        let limits = PoolLimits { count: 1, bytes: 1 };
        let world = kusabi_ledger::testing::World::new(1 << 20);
        let genesis = Bytes::copy_from_slice(world.genesis().as_bytes());
        let outline = Outline::new(world.document.into(), genesis).unwrap();
        let (handle, ends) = node::link(&outline, limits);
        let mut asked = Box::pin(handle.checkpoint());
        assert!((&mut asked).now_or_never().is_none());
        let mut queries = ends.queries.try_lock_owned().unwrap();
        // What an engine that ends does with what it has not answered.
        drop(queries.try_recv().unwrap());
        assert!((&mut asked).now_or_never().is_none());
        let Query::Checkpoint(answer) = queries.try_recv().unwrap() else {
            panic!("another question than before");
        };
        answer.send(Ok(Bytes::from_static(b"here"))).unwrap();
        assert_eq!(asked.now_or_never().unwrap().unwrap(), &b"here"[..]);

        // When the node itself ends there is nobody to ask.
        let mut asked = Box::pin(handle.checkpoint());
        assert!((&mut asked).now_or_never().is_none());
        drop(queries);
        let ended = asked.now_or_never().unwrap();
        assert!(matches!(ended, Err(QueryError::Stopped(_))), "{ended:?}");
    }

    #[test]
    fn more_nonces_than_may_wait_are_refused_at_once() {
        let limits = PoolLimits { count: 1, bytes: 1 };
        let world = kusabi_ledger::testing::World::new(1 << 20);
        let genesis = Bytes::copy_from_slice(world.genesis().as_bytes());
        let outline = Outline::new(world.document.into(), genesis).unwrap();
        let (handle, ends) = node::link(&outline, limits);
        let mut waiting = Vec::new();
        let refused = loop {
            let mut asked = Box::pin(handle.freshness(Nonce::ZERO));
            match (&mut asked).now_or_never() {
                None => waiting.push(asked),
                Some(answer) => break answer,
            }
        };
        assert_eq!(refused, Err(QueryError::Busy));
        assert_eq!(waiting.len(), 16_384);
        // The engine ends: nobody waits for ever.
        drop(ends);
        let ended = waiting.pop().unwrap().now_or_never().unwrap();
        assert!(matches!(ended, Err(QueryError::Stopped(_))), "{ended:?}");
    }
}
