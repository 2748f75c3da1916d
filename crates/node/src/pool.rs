//! The pool: transactions that were accepted and are not final yet.
//!
//! Bounded in count and bytes; a full pool refuses. A transaction stays from [`Pool::reserve`] until it is final or refused;
//! being put into a block only marks it, because a block that was proposed can still be dropped (its view nullified).
//!
//! A refusal while a block is built is an answer only once it is certain, and it was given on top of a chain of blocks that
//! may not be final. So it is noted under the last of these blocks (its *basis*) and told when that block is final; if
//! another block becomes final instead, the transaction is a candidate again.

use kusabi_core::id::{HeaderHash, Height, TxId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// Bounds of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Transactions at most.
    pub count: usize,
    /// Bytes of all of them at most.
    pub bytes: usize,
}

/// How full the pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Transactions in it.
    pub count: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Who brought a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A client of this node.
    Client,
    /// Another node, by its node key: its own clients' transactions.
    Node([u8; 32]),
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended<R> {
    /// Final and durable, as transaction `index` of the block at `height`.
    Final {
        /// Height of the block.
        height: Height,
        /// Place in the block, from 0.
        index: u32,
    },
    /// Refused for good.
    Refused(R),
    /// The epoch turned before it was looked at: it may be offered again.
    Unread,
    /// The node stops; whether the transaction becomes final is open.
    Stopped,
}

/// Why a transaction was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveError {
    /// The pool is full.
    Full,
    /// The node stops.
    Stopped,
}

/// A place in the pool.
#[derive(Debug)]
pub(crate) struct Reserved<R> {
    /// Whether this call made it; otherwise the same transaction was there already.
    pub(crate) new: bool,
    /// Tells how it ends.
    pub(crate) end: oneshot::Receiver<Ended<R>>,
}

#[derive(Debug)]
struct Entry<T, R> {
    /// Present once its signatures were checked.
    item: Option<Arc<T>>,
    bytes: usize,
    source: Source,
    waiters: Vec<oneshot::Sender<Ended<R>>>,
    /// The block that holds it, or under which it was refused.
    mark: Option<HeaderHash>,
}

/// A block that is not final.
#[derive(Debug)]
struct Pending<R> {
    parent: HeaderHash,
    position: u64,
    /// Whether anything stands in it.
    carries: bool,
    refused: Vec<(TxId, R)>,
}

#[derive(Debug)]
struct State<T, R> {
    entries: HashMap<TxId, Entry<T, R>>,
    /// What this node's clients brought, in the order in which the signatures were checked; may name entries that are gone.
    queue: VecDeque<TxId>,
    /// The same of what other nodes brought.
    queue_of_nodes: VecDeque<TxId>,
    bytes: usize,
    /// What other nodes have brought of it.
    of_nodes: HashMap<[u8; 32], PoolUsage>,
    blocks: HashMap<HeaderHash, Pending<R>>,
    /// Position and hash of the newest final block.
    last_final: (u64, HeaderHash),
    stopped: bool,
}

/// The pool. `T` is a transaction whose signatures were checked, `R` why one was refused.
#[derive(Debug)]
pub(crate) struct Pool<T, R> {
    limits: PoolLimits,
    state: Mutex<State<T, R>>,
    arrived: Notify,
}

impl<T, R: Clone> Pool<T, R> {
    pub(crate) fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            state: Mutex::new(State {
                entries: HashMap::new(),
                queue: VecDeque::new(),
                queue_of_nodes: VecDeque::new(),
                bytes: 0,
                of_nodes: HashMap::new(),
                blocks: HashMap::new(),
                last_final: (0, HeaderHash::ZERO),
                stopped: false,
            }),
            arrived: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        // Nothing in here panics between two halves of a change, so a poisoned lock guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a client's transaction, or joins the one that has it already.
    pub(crate) fn reserve(&self, id: TxId, bytes: usize) -> Result<Reserved<R>, ReserveError> {
        self.place(id, bytes, Source::Client, self.limits)
    }

    /// Takes a place for a transaction that another node brings, unless it is here already. A node may fill `share` and no
    /// more, so that none can keep out this node's clients or what others bring.
    pub(crate) fn reserve_for(
        &self,
        node: [u8; 32],
        share: PoolLimits,
        id: TxId,
        bytes: usize,
    ) -> Result<bool, ReserveError> {
        let reserved = self.place(id, bytes, Source::Node(node), share)?;
        Ok(reserved.new)
    }

    fn place(
        &self,
        id: TxId,
        bytes: usize,
        source: Source,
        share: PoolLimits,
    ) -> Result<Reserved<R>, ReserveError> {
        let mut state = self.lock();
        if state.stopped {
            return Err(ReserveError::Stopped);
        }
        let (sender, end) = oneshot::channel();
        if let Some(entry) = state.entries.get_mut(&id) {
            entry.waiters.retain(|waiter| !waiter.is_closed());
            entry.waiters.push(sender);
            return Ok(Reserved { new: false, end });
        }
        if state.entries.len() >= self.limits.count || state.bytes + bytes > self.limits.bytes {
            return Err(ReserveError::Full);
        }
        if let Source::Node(node) = source {
            let used = state.of_nodes.get(&node).copied().unwrap_or_default();
            if used.count >= share.count || used.bytes + bytes > share.bytes {
                return Err(ReserveError::Full);
            }
            let used = state.of_nodes.entry(node).or_default();
            used.count += 1;
            used.bytes += bytes;
        }
        state.bytes += bytes;
        let entry = Entry {
            item: None,
            bytes,
            source,
            waiters: vec![sender],
            mark: None,
        };
        state.entries.insert(id, entry);
        Ok(Reserved { new: true, end })
    }

    /// The signatures are good: the transaction may go into blocks.
    pub(crate) fn admit(&self, admitted: impl IntoIterator<Item = (TxId, Arc<T>)>) {
        let mut state = self.lock();
        for (id, item) in admitted {
            let Some(entry) = state.entries.get_mut(&id) else {
                continue;
            };
            entry.item = Some(item);
            match entry.source {
                Source::Client => state.queue.push_back(id),
                Source::Node(_) => state.queue_of_nodes.push_back(id),
            }
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Refuses a transaction for good.
    pub(crate) fn refuse(&self, id: &TxId, why: &R) {
        self.lock().end(id, &Ended::Refused(why.clone()));
    }

    /// Gives the place of a transaction back for which nobody waits any more.
    pub(crate) fn withdraw(&self, id: &TxId) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(id) {
            entry.waiters.retain(|waiter| !waiter.is_closed());
            if entry.waiters.is_empty() {
                state.end(id, &Ended::Stopped);
            }
        }
    }

    /// Waits until something may have become a candidate.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The transactions that may go into a block on top of `parent`, until `take` says no: what clients brought and what other
    /// nodes brought, each oldest first, three to one while there are both. So nobody's transactions keep this node's clients
    /// waiting, and these do not keep out the others'.
    pub(crate) fn candidates(
        &self,
        parent: &HeaderHash,
        mut take: impl FnMut(&T) -> bool,
    ) -> Vec<(TxId, Arc<T>)> {
        let mut state = self.lock();
        let State {
            queue,
            queue_of_nodes,
            entries,
            ..
        } = &mut *state;
        for queue in [queue, queue_of_nodes] {
            while queue.front().is_some_and(|id| !entries.contains_key(id)) {
                queue.pop_front();
            }
            if queue.len() > 2 * entries.len() + 64 {
                queue.retain(|id| entries.contains_key(id));
            }
        }
        let ancestors = state.ancestors(parent);
        let waiting = |id: &TxId| {
            let Entry {
                item: Some(item),
                mark,
                ..
            } = state.entries.get(id)?
            else {
                return None;
            };
            let placed = mark.is_some_and(|block| ancestors.contains(&block));
            (!placed).then(|| (*id, item.clone()))
        };
        let mut of_clients = state.queue.iter().filter_map(waiting).peekable();
        let mut of_nodes = state.queue_of_nodes.iter().filter_map(waiting).peekable();
        let mut taken: Vec<(TxId, Arc<T>)> = Vec::new();
        loop {
            let nodes_turn = taken.len() % 4 == 3;
            let next = if nodes_turn && of_nodes.peek().is_some() || of_clients.peek().is_none() {
                of_nodes.next()
            } else {
                of_clients.next()
            };
            match next {
                Some((id, item)) if take(&item) => taken.push((id, item)),
                _ => return taken,
            }
        }
    }

    /// A block was built or accepted. `refused` are those which its builder turned away while building it.
    pub(crate) fn placed(
        &self,
        block: HeaderHash,
        parent: HeaderHash,
        position: u64,
        ids: &[TxId],
        refused: Vec<(TxId, R)>,
    ) {
        let mut state = self.lock();
        if position <= state.last_final.0 {
            return;
        }
        for id in ids.iter().chain(refused.iter().map(|(id, _)| id)) {
            if let Some(entry) = state.entries.get_mut(id) {
                entry.mark = Some(block);
            }
        }
        let pending = state.blocks.entry(block).or_insert(Pending {
            parent,
            position,
            carries: !ids.is_empty(),
            refused: Vec::new(),
        });
        pending.refused.extend(refused);
    }

    /// Whether `tip`, or a block below it, is not final and keeps somebody waiting: for what stands in it, or for a refusal. Of a
    /// block from before the start it is not known, and so it may.
    pub(crate) fn unsettled(&self, tip: &HeaderHash) -> bool {
        let state = self.lock();
        let mut at = *tip;
        while let Some(pending) = state.blocks.get(&at) {
            if pending.carries || !pending.refused.is_empty() {
                return true;
            }
            at = pending.parent;
        }
        at != state.last_final.1
    }

    /// Candidates were turned away on top of `basis`, and no block was made.
    pub(crate) fn refused_on(&self, basis: &HeaderHash, refused: Vec<(TxId, R)>) {
        let mut state = self.lock();
        if state.last_final.1 == *basis || !state.blocks.contains_key(basis) {
            for (id, why) in refused {
                state.end(&id, &Ended::Refused(why));
            }
            return;
        }
        for (id, _) in &refused {
            if let Some(entry) = state.entries.get_mut(id) {
                entry.mark = Some(*basis);
            }
        }
        if let Some(pending) = state.blocks.get_mut(basis) {
            pending.refused.extend(refused);
        }
    }

    /// A block is final and durable: its transactions leave, and what was refused under it is told. Repeats are harmless.
    pub(crate) fn finalized(&self, block: HeaderHash, position: u64, height: Height, ids: &[TxId]) {
        let mut state = self.lock();
        for (index, id) in (0u32..).zip(ids) {
            state.end(id, &Ended::Final { height, index });
        }
        if position < state.last_final.0 {
            return;
        }
        state.last_final = (position, block);
        if let Some(pending) = state.blocks.remove(&block) {
            for (id, why) in pending.refused {
                // One that is in another block by now was looked at again since.
                if state
                    .entries
                    .get(&id)
                    .is_some_and(|e| e.mark == Some(block))
                {
                    state.end(&id, &Ended::Refused(why));
                }
            }
        }
        state
            .blocks
            .retain(|_, pending| pending.position > position);
        drop(state);
        // What was marked by a block that lost is a candidate again.
        self.arrived.notify_one();
    }

    /// Where finality stands at a start.
    pub(crate) fn resume(&self, position: u64, block: HeaderHash) {
        self.lock().last_final = (position, block);
    }

    /// Tells everyone who waits that the node stops, and takes nothing more.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let ids: Vec<_> = state.entries.keys().copied().collect();
        for id in ids {
            state.end(&id, &Ended::Stopped);
        }
    }

    /// The epoch has turned: blocks that were not final never will be, and what other nodes brought they will bring again. Clients'
    /// transactions stay; those that were being verified are given back to whoever offered them.
    pub(crate) fn turn(&self) {
        let mut state = self.lock();
        state.blocks.clear();
        let mut ended = Vec::new();
        for (id, entry) in &mut state.entries {
            entry.mark = None;
            if entry.item.is_none() || entry.source != Source::Client {
                ended.push(*id);
            }
        }
        for id in ended {
            state.end(&id, &Ended::Unread);
        }
    }

    /// What clients brought and was found good, oldest first.
    pub(crate) fn of_clients(&self) -> Vec<(TxId, Arc<T>)> {
        let state = self.lock();
        let item = |id: &TxId| Some((*id, state.entries.get(id)?.item.clone()?));
        state.queue.iter().filter_map(item).collect()
    }

    /// A transaction that waits, if its signatures were checked.
    pub(crate) fn verified(&self, id: &TxId) -> Option<Arc<T>> {
        self.lock().entries.get(id)?.item.clone()
    }

    /// Whether a transaction is still waiting.
    pub(crate) fn holds(&self, id: &TxId) -> bool {
        self.lock().entries.contains_key(id)
    }

    /// Its bounds.
    pub(crate) const fn limits(&self) -> PoolLimits {
        self.limits
    }

    /// How full it is.
    pub(crate) fn usage(&self) -> PoolUsage {
        let state = self.lock();
        PoolUsage {
            count: state.entries.len(),
            bytes: state.bytes,
        }
    }
}

impl<T, R: Clone> State<T, R> {
    fn end(&mut self, id: &TxId, ended: &Ended<R>) {
        if let Some(entry) = self.entries.remove(id) {
            self.bytes -= entry.bytes;
            if let Source::Node(node) = entry.source
                && let Some(used) = self.of_nodes.get_mut(&node)
            {
                used.count -= 1;
                used.bytes -= entry.bytes;
                if used.count == 0 {
                    self.of_nodes.remove(&node);
                }
            }
            for waiter in entry.waiters {
                // A client that went away needs no answer.
                let _ = waiter.send(ended.clone());
            }
        }
    }

    /// `tip` and the blocks below it that are not final.
    fn ancestors(&self, tip: &HeaderHash) -> HashSet<HeaderHash> {
        let mut found = HashSet::new();
        let mut at = *tip;
        while let Some(pending) = self.blocks.get(&at) {
            found.insert(at);
            at = pending.parent;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_somebody_waiting_is_what_stands_in_blocks_that_are_not_final() {
        let hash = |n: u8| HeaderHash::new([n; 32]);
        let (id, limits) = (
            TxId::of(b"a transaction"),
            PoolLimits { count: 1, bytes: 1 },
        );
        let pool: Pool<(), ()> = Pool::new(limits);
        pool.resume(1, hash(1));
        assert!(!pool.unsettled(&hash(1)));
        assert!(pool.unsettled(&hash(2)), "of before the start");
        pool.placed(hash(2), hash(1), 2, &[], Vec::new());
        assert!(!pool.unsettled(&hash(2)));
        pool.placed(hash(3), hash(2), 3, &[id], Vec::new());
        pool.placed(hash(4), hash(3), 4, &[], Vec::new());
        assert!(pool.unsettled(&hash(4)), "for what stands below");
        assert!(!pool.unsettled(&hash(2)));
        pool.finalized(hash(3), 3, Height::new(3).unwrap(), &[id]);
        assert!(!pool.unsettled(&hash(4)));
        pool.refused_on(&hash(4), vec![(id, ())]);
        assert!(pool.unsettled(&hash(4)), "for a refusal");
        pool.finalized(hash(4), 4, Height::new(4).unwrap(), &[]);
        assert!(!pool.unsettled(&hash(4)));
    }
}
