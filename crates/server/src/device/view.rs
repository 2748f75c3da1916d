//! What the door knows of the ledger, so that no message has to ask it: the newest checkpoint and proof of the server's own record, the
//! records of devices, and the steps that lead on from older epochs.
//!
//! Records are proven when they come in, and thrown away as soon as the ledger's events speak of them. The events are a node's word, so
//! they decide nothing: they say only what has to be asked anew. A node can leave one out, so a record is asked anew after a while
//! whatever the events say.

use crate::app::{App, Error};
use bytes::Bytes;
use kusabi_api::{Ledger as _, Problem, ledger::BlockEvents, verify::VerifyError};
use kusabi_core::{
    id::{Epoch, Handle, Height, StateKey},
    row::Record,
    step::StepKind,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

/// So long a ledger that was seen to grow counts as such however short its heartbeat is: a busy machine misses some.
const FRESH: Duration = Duration::from_secs(15);

/// Most records that are kept: about 300 bytes each.
const RECORDS_MAX: usize = 200_000;

/// Most ways from older epochs, and most proofs of one height, that are kept.
const WAYS_MAX: usize = 64;

/// The ledger as it stood when it was last looked at.
#[derive(Debug)]
pub(super) struct Seen {
    /// The newest epoch.
    pub(super) epoch: Epoch,
    /// Height of checkpoint and proof, or less.
    pub(super) height: Height,
    /// The newest checkpoint.
    pub(super) checkpoint: Bytes,
    /// Proof of the record of the server's key.
    pub(super) ps_proof: Bytes,
    heartbeat: Duration,
}

/// Most questions for a way at once.
const WALKS_MAX: usize = 4;

/// Steps from one epoch on, each `kind u8 ‖ bytes`.
type Way = Arc<Vec<Vec<u8>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    seen: RwLock<Option<Arc<Seen>>>,
    /// When the ledger was last seen to grow.
    grown: Mutex<Option<Instant>>,
    /// Up to which height the ledger was looked at.
    height: watch::Sender<u64>,
    /// How long a record counts of which no event speaks.
    record_counts: Duration,
    records: Mutex<Records>,
    ways: Mutex<(Epoch, HashMap<Epoch, Way>)>,
    proofs: Mutex<(Height, HashMap<StateKey, Bytes>)>,
    walks: Semaphore,
}

impl View {
    /// One that has seen nothing yet; a record of which no event speaks counts for so long.
    pub(super) fn new(record_counts: Duration) -> Self {
        Self {
            record_counts,
            seen: RwLock::default(),
            grown: Mutex::default(),
            height: watch::Sender::new(0),
            records: Mutex::default(),
            ways: Mutex::default(),
            proofs: Mutex::default(),
            walks: Semaphore::new(WALKS_MAX),
        }
    }
}

#[derive(Debug, Default)]
struct Records {
    /// Up to this height the ledger's events are worked in: a record proven below it may be out of date.
    height: u64,
    known: HashMap<Handle, (Record, Instant)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics between two halves of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    /// The ledger as it stood last; `None` before it was reached for the first time.
    pub(super) fn seen(&self) -> Option<Arc<Seen>> {
        self.seen
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The ledger as it stood last; `None` when it has not grown for two heartbeats, nor for [`FRESH`]: then other servers know better.
    pub(super) fn fresh(&self) -> Option<Arc<Seen>> {
        let seen = self.seen()?;
        let grown = (*lock(&self.grown))?;
        (grown.elapsed() <= FRESH.max(2 * seen.heartbeat)).then_some(seen)
    }

    /// The node shows an older state than the validators have: until it is seen to grow, other servers know better.
    pub(super) fn fall_behind(&self) {
        *lock(&self.grown) = None;
    }

    /// Looks at the ledger: its newest checkpoint, and the server's record there.
    pub(super) async fn look(&self, app: &App, ps: &Handle) -> Result<Arc<Seen>, Error> {
        let heartbeat = match self.seen() {
            Some(seen) => seen.heartbeat,
            None => {
                let status = app.ledger.unverified().status();
                let status = app.ask(async { Ok(status.await?) }).await?;
                Duration::from_millis(status.heartbeat_ms.clamp(1_000, 3_600_000))
            }
        };
        let proven = app.ask(app.ledger.record(ps)).await?;
        let (verified, checkpoint) = app.ask(app.ledger.checkpoint()).await?;
        let header = verified.header();
        let seen = Arc::new(Seen {
            epoch: header.epoch,
            height: proven.height().min(header.height),
            checkpoint,
            ps_proof: proven.proof().clone(),
            heartbeat,
        });
        let before = {
            let mut now = self.seen.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(newer) = now.as_ref()
                && (newer.epoch, newer.height) > (seen.epoch, seen.height)
            {
                // Somebody else looked meanwhile.
                return Ok(Arc::clone(newer));
            }
            now.replace(Arc::clone(&seen))
        };
        if before.is_none_or(|before| before.height < seen.height) {
            *lock(&self.grown) = Some(Instant::now());
        }
        self.height.send_replace(seen.height.get());
        Ok(seen)
    }

    /// Waits until the ledger was looked at from this height on.
    pub(super) async fn reached(&self, height: u64) {
        let mut heights = self.height.subscribe();
        // The sender lives as long as this does.
        let _ = heights.wait_for(|seen| *seen >= height).await;
    }

    /// A block came. What it touches is not known any more; given back are the keys that ended or came to another
    /// organisation.
    pub(super) fn block(&self, block: &BlockEvents) -> Vec<Handle> {
        let mut records = lock(&self.records);
        records.height = records.height.max(block.height);
        let mut ended = Vec::new();
        for event in &block.events {
            let moved = event.moved.iter().flat_map(|moved| &moved.keys);
            let touched = event.ended.iter().chain(moved);
            for handle in touched.map(|handle| Handle::new(handle.0)) {
                records.known.remove(&handle);
                ended.push(handle);
            }
        }
        ended
    }

    /// Events may have been missed; they are read again from this height on. No record is known any more, and none that is proven below it
    /// will be: what ended it may be among the missed ones. (The height may be lower than before, after a recovery.)
    pub(super) fn forget(&self, height: Height) {
        let mut records = lock(&self.records);
        records.known.clear();
        records.height = height.get();
    }

    /// A record that is known to be so now.
    pub(super) fn known(&self, handle: &Handle) -> Option<Record> {
        let (record, since) = lock(&self.records).known.get(handle).copied()?;
        // Up to a quarter less, by handle: the records of devices that came at once are not all asked for at once.
        let [.., spread] = handle.to_bytes();
        let counts = self.record_counts - self.record_counts / 1024 * u32::from(spread);
        (since.elapsed() < counts).then_some(record)
    }

    /// A record is what a proof of this height says.
    pub(super) fn learn(&self, handle: Handle, record: Record, height: Height) {
        let mut records = lock(&self.records);
        if height.get() < records.height {
            return;
        }
        if records.known.len() >= RECORDS_MAX {
            records.known.clear();
        }
        records.known.insert(handle, (record, Instant::now()));
    }

    /// A record has changed.
    pub(super) fn unlearn(&self, handle: &Handle) {
        lock(&self.records).known.remove(handle);
    }

    /// The record under a handle, known or proven now.
    pub(super) async fn record(&self, app: &App, handle: &Handle) -> Result<Option<Record>, Error> {
        if let Some(record) = self.known(handle) {
            return Ok(Some(record));
        }
        let proven = app.ask(app.ledger.record(handle)).await?;
        if let Some(record) = proven.value() {
            self.learn(*handle, *record, proven.height());
        }
        Ok(proven.into_value())
    }

    /// The proof of what stands under a key now. What many devices ask for (a release, the server) is proven once for each height.
    pub(super) async fn prove(
        &self,
        app: &App,
        key: StateKey,
        shared: bool,
    ) -> Result<Bytes, Error> {
        let height = self.seen().map_or(Height::ZERO, |seen| seen.height);
        if shared {
            let proofs = lock(&self.proofs);
            if proofs.0 == height
                && let Some(proof) = proofs.1.get(&key)
            {
                return Ok(proof.clone());
            }
        }
        let proven = app.ask(app.ledger.lookup(key)).await?;
        let proof = proven.proof().clone();
        if shared {
            let mut proofs = lock(&self.proofs);
            if proofs.0 != height || proofs.1.len() >= WAYS_MAX {
                *proofs = (height, HashMap::new());
            }
            proofs.1.insert(key, proof.clone());
        }
        Ok(proof)
    }

    /// Whether [`way`](Self::way) asks nobody.
    pub(super) fn has_way(&self, from: Epoch, to: Epoch) -> bool {
        let ways = lock(&self.ways);
        from >= to || (ways.0 == to && ways.1.contains_key(&from))
    }

    /// The steps that lead from an epoch to the newest one, each `kind u8 ‖ bytes`: handed on as the ledger gives them, for devices
    /// check them. At most 64; after those the device asks again.
    pub(super) async fn way(&self, app: &App, from: Epoch, to: Epoch) -> Result<Way, Error> {
        if from >= to {
            return Ok(Arc::default());
        }
        {
            let ways = lock(&self.ways);
            if ways.0 == to
                && let Some(way) = ways.1.get(&from)
            {
                return Ok(Arc::clone(way));
            }
        }
        // Anyone may ask for any epoch: the ledger is asked by a few at a time.
        let _turn = self.walks.acquire().await.map_err(|_| Error::Behind)?;
        let walk = app.ledger.unverified().walk(from);
        let steps = app.ask(async { Ok(walk.await?) }).await?;
        let steps = steps.into_iter().map(|step| {
            let kind: StepKind = step.kind.into();
            [&[kind as u8], &step.bytes[..]].concat()
        });
        let way = Arc::new(steps.collect::<Vec<_>>());
        let mut ways = lock(&self.ways);
        if ways.0 != to || ways.1.len() >= WAYS_MAX {
            *ways = (to, HashMap::new());
        }
        ways.1.insert(from, Arc::clone(&way));
        Ok(way)
    }
}

/// Whether the ledger refused a transaction by its rules: then the same one is of no use any more.
pub(super) fn is_rejection(error: &VerifyError) -> bool {
    use kusabi_api::Kind;
    match error {
        VerifyError::Ledger(Problem { kind, code, .. }) => {
            code.is_some()
                || matches!(
                    kind,
                    Kind::Rejected
                        | Kind::BadSignature
                        | Kind::WrongChain
                        | Kind::Malformed
                        | Kind::TooLarge
                )
        }
        VerifyError::Transaction(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kusabi_core::suite::Purpose;
    use kusabi_ledger::testing::{TestKey, World};

    #[test]
    fn a_record_proven_before_a_gap_in_the_events_is_not_known_after_it() {
        let mut world = World::open();
        let key = TestKey::new(7100, Purpose::Act);
        let register = world.register(&[&key]);
        world.block(vec![register]).unwrap();
        let record = world.record(&key.handle).unwrap();
        let height = |height| Height::new(height).unwrap();
        let view = View::new(Duration::from_secs(600));
        view.forget(height(7));
        view.learn(key.handle, record, height(7));
        assert!(view.known(&key.handle).is_some());
        // Events are missed up to 20.
        view.forget(height(20));
        assert!(view.known(&key.handle).is_none());
        view.learn(key.handle, record, height(8));
        assert!(view.known(&key.handle).is_none(), "it may have ended since");
        view.learn(key.handle, record, height(20));
        assert!(view.known(&key.handle).is_some());
        // A recovery: the ledger goes on from a lower height.
        view.forget(height(5));
        view.learn(key.handle, record, height(5));
        assert!(view.known(&key.handle).is_some());
    }
}
