//! What the ledger is asked on behalf of whoever has shown nothing yet: records for the hellos of keys that this server does not know,
//! proofs of releases for anyone who fetches them, whether it answers at all. Each is a question that costs a stranger nothing.
//!
//! - A **source** ([`Source`]) has a share of such questions; this machine itself, or a proxy on it, has none of its own.
//! - So many are asked **at once**, and no more: whoever comes then is told to come back. They wait for the ledger, nobody waits for
//!   them: a device whose record is at hand, or whose key is in the database, is not looked up here. Records and proofs have places of
//!   their own, so that neither keeps out the other.
//! - Who wants **the same** at the same time gets one answer, and only the one who asks takes a place and of his share. Of hellos, few
//!   may join so: they hold handshakes.
//! - A handle that is **absent** stays so until the followed ledger says that it was added, or for a minute: a node can leave that out.
//!   Proofs of a release are good until something newer of the ledger is verified here, for no device has a higher floor from this server.

use super::{App, Error, together::Together};
use crate::share::{Allowance, Shares, Source, secs};
use bytes::Bytes;
use kusabi_api::{Hex32, ledger::BlockEvents};
use kusabi_core::{
    id::{Handle, Height},
    row::Record,
};
use std::{
    collections::HashMap,
    mem,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// A source's share: what a site with many new devices asks at once, then eight a second.
const SHARE: Allowance = Allowance::new(NonZeroU32::new(64).unwrap(), Duration::from_millis(125));

/// Most questions for records at once. With those who join they are fewer than the handshakes from which on a cookie is asked for:
/// strangers that wait do not slow down others.
const RECORDS_AT_ONCE: usize = 64;

/// Most hellos that wait for a record that was asked for by another. A device says one at a time; whoever finds no room comes back.
const JOINED_MAX: usize = 32;

/// Most releases whose proofs are asked for at once.
const PROOFS_AT_ONCE: usize = 64;

/// Seconds after which whoever found no place comes back.
const CROWDED_SECS: u32 = 5;

/// How long a handle counts as absent of which no event speaks.
const ABSENT_COUNTS: Duration = Duration::from_secs(60);

/// Most absent handles that are kept, in each of two halves: about 100 bytes each.
const ABSENT_MAX: usize = 32 * 1024;

/// How long proofs of a release count when nothing newer was verified, and how long it counts that there were none to be had.
const PROOFS_COUNT: Duration = Duration::from_secs(10);
const FAILURE_COUNTS: Duration = Duration::from_secs(1);

/// Most releases whose proofs are kept: some kilobytes each.
const PROOFS_MAX: usize = 256;

/// A record, and the height at which it was proven; or that there is none.
pub(crate) type Found = Option<(Record, Height)>;

type Answer<T> = Result<T, Arc<Error>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Strangers {
    shares: Shares,
    records: Together<Handle, Answer<Found>>,
    /// Places of the questions for records.
    asked: Arc<Semaphore>,
    /// Places of the hellos that wait for somebody else's.
    joined: Semaphore,
    absent: Mutex<Absent>,
    /// Places of the questions for proofs.
    proving: Arc<Semaphore>,
    proofs: Together<Hex32, Answer<Bytes>>,
    kept: Arc<Mutex<HashMap<Hex32, Kept>>>,
    pub(super) ready: Together<(), Answer<bool>>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            shares: Shares::new(SHARE),
            records: Together::default(),
            asked: Arc::new(Semaphore::new(RECORDS_AT_ONCE)),
            joined: Semaphore::new(JOINED_MAX),
            absent: Mutex::default(),
            proving: Arc::new(Semaphore::new(PROOFS_AT_ONCE)),
            proofs: Together::default(),
            kept: Arc::default(),
            ready: Together::default(),
        }
    }
}

/// Handles under which the ledger holds nothing, the newer half and the older one.
#[derive(Debug, Default)]
struct Absent {
    /// Up to this height the ledger's events are worked in, or were missed: what was absent below it may have been added since.
    height: u64,
    new: HashMap<Handle, Instant>,
    old: HashMap<Handle, Instant>,
}

impl Absent {
    fn contains(&self, handle: &Handle) -> bool {
        [&self.new, &self.old].into_iter().any(|half| {
            half.get(handle)
                .is_some_and(|since| since.elapsed() < ABSENT_COUNTS)
        })
    }

    fn note(&mut self, handle: Handle, height: Height) {
        if height.get() < self.height {
            return;
        }
        if self.new.len() >= ABSENT_MAX {
            self.old = mem::take(&mut self.new);
        }
        self.new.insert(handle, Instant::now());
    }

    /// Events are read from the block after this height on; what they said up to it may have been missed.
    fn forget(&mut self, height: Height) {
        self.height = height.get();
        self.new.clear();
        self.old.clear();
    }

    fn block(&mut self, block: &BlockEvents) {
        self.height = self.height.max(block.height);
        for added in block.events.iter().flat_map(|event| &event.added) {
            let handle = Handle::new(added.0);
            self.new.remove(&handle);
            self.old.remove(&handle);
        }
    }
}

/// The proofs of a release, or that there were none to be had.
#[derive(Debug)]
struct Kept {
    /// How high the ledger was verified here when they were asked for.
    height: Height,
    since: Instant,
    proofs: Option<Bytes>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics between two halves of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Strangers {
    /// Takes a question of a source's share.
    pub(crate) fn share(&self, source: IpAddr) -> Result<(), Error> {
        let Some(source) = Source::of(source) else {
            return Ok(());
        };
        self.shares.take(&source).map_err(|wait| Error::Crowded {
            wait_secs: secs(wait),
        })
    }

    /// The ledger's events are heard from the block after this height on, and may not have been before: nothing counts as absent any
    /// more, nor will what was proven to be so below it.
    pub(crate) fn forget(&self, height: Height) {
        lock(&self.absent).forget(height);
    }

    /// A block came.
    pub(crate) fn block(&self, block: &BlockEvents) {
        lock(&self.absent).block(block);
    }

    /// Whether the ledger holds nothing under a handle, as far as that is known here.
    pub(crate) fn is_absent(&self, handle: &Handle) -> bool {
        lock(&self.absent).contains(handle)
    }

    /// The record under a handle that nobody here knows, for a hello from this source. Once it is asked for, the question goes on though
    /// whoever said the hello is gone.
    ///
    /// # Errors
    /// [`Error::Crowded`]: the source's share is used up, or too many ask. The ledger gives no acceptable answer.
    pub(crate) async fn record(
        &self,
        app: &Arc<App>,
        source: IpAddr,
        handle: &Handle,
    ) -> Result<Found, Error> {
        let may = || {
            let place = Arc::clone(&self.asked).try_acquire_owned();
            let place = place.map_err(|_| CROWDED)?;
            self.share(source)?;
            Ok::<_, Error>(place)
        };
        let join = || self.joined.try_acquire().map_err(|_| CROWDED);
        let ask = || {
            let (app, handle) = (Arc::clone(app), *handle);
            async move {
                let proven = app.ask(app.ledger.record(&handle)).await;
                let proven = proven.map_err(|why| {
                    tracing::warn!(%why, "the ledger was asked in vain for the record of an unknown key");
                    Arc::new(why)
                })?;
                let height = proven.height();
                if proven.value().is_none() {
                    lock(&app.strangers.absent).note(handle, height);
                }
                Ok(proven.into_value().map(|record| (record, height)))
            }
        };
        let found = self.records.ask_by_task(*handle, may, join, ask).await?;
        found.map_err(|why: Arc<Error>| why.again())
    }

    /// The proofs of a release that is here, for whoever asks from this source: those that are at hand, or newly asked for.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub(super) async fn proofs<F: Future<Output = Result<Bytes, Error>> + Send + 'static>(
        &self,
        app: &App,
        source: IpAddr,
        digest: Hex32,
        ask: impl FnOnce() -> F,
    ) -> Result<Bytes, Error> {
        let height = app.ledger.trust().anchor().height();
        self.proofs_at(height, source, digest, ask).await
    }

    /// The same, where so much of the ledger is verified here.
    async fn proofs_at<F: Future<Output = Result<Bytes, Error>> + Send + 'static>(
        &self,
        height: Height,
        source: IpAddr,
        digest: Hex32,
        ask: impl FnOnce() -> F,
    ) -> Result<Bytes, Error> {
        if let Some(kept) = lock(&self.kept).get(&digest) {
            let counts = match kept.proofs {
                Some(_) => PROOFS_COUNT,
                None => FAILURE_COUNTS,
            };
            if kept.height == height && kept.since.elapsed() < counts {
                return kept.proofs.clone().ok_or(Error::Behind);
            }
        }
        let may = || {
            let place = Arc::clone(&self.proving).try_acquire_owned();
            let place = place.map_err(|_| CROWDED)?;
            self.share(source)?;
            Ok::<_, Error>(place)
        };
        let ask = || {
            let (proofs, kept) = (ask(), Arc::clone(&self.kept));
            async move {
                let proofs = proofs.await.map_err(Arc::new);
                let mut kept = lock(&kept);
                if kept.len() >= PROOFS_MAX {
                    kept.clear();
                }
                let now = Kept {
                    height,
                    since: Instant::now(),
                    proofs: proofs.as_ref().ok().cloned(),
                };
                kept.insert(digest, now);
                proofs
            }
        };
        let proofs = self.proofs.ask_by_task(digest, may, || Ok(()), ask).await?;
        proofs.map_err(|why: Arc<Error>| why.again())
    }
}

/// No place.
pub(super) const CROWDED: Error = Error::Crowded {
    wait_secs: CROWDED_SECS,
};

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt as _, future::join_all};
    use kusabi_api::{Hex, ledger::Event};
    use std::{
        future::ready,
        sync::atomic::{AtomicU32, Ordering::SeqCst},
    };
    use tokio::sync::{Notify, oneshot};

    fn handle(number: u32) -> Handle {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Handle::new(bytes)
    }

    fn height(height: u64) -> Height {
        Height::new(height).unwrap()
    }

    fn block(height: u64, added: &[Handle]) -> BlockEvents {
        let event = Event {
            index: 0,
            id: kusabi_core::id::TxId::new([1; 32]),
            action: "register".into(),
            organisation: None,
            added: added.iter().map(|one| one.to_bytes().into()).collect(),
            ended: Vec::new(),
            moved: None,
            digest: None,
        };
        BlockEvents {
            height,
            time_ms: 0,
            skipped: 0,
            events: vec![event],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_absent_stays_so_until_a_block_adds_it_or_for_a_minute() {
        let mut absent = Absent::default();
        absent.block(&block(7, &[]));
        absent.note(handle(1), height(7));
        absent.note(handle(2), height(9));
        // Proven before a block that is worked in already: that one may have added it.
        absent.note(handle(3), height(6));
        assert!(absent.contains(&handle(1)) && absent.contains(&handle(2)));
        assert!(!absent.contains(&handle(3)));
        absent.block(&block(10, &[handle(1)]));
        assert!(!absent.contains(&handle(1)) && absent.contains(&handle(2)));
        tokio::time::advance(ABSENT_COUNTS).await;
        assert!(!absent.contains(&handle(2)));
    }

    const RELEASE: Hex32 = Hex([7; 32]);

    fn source(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_fleet_fetches_proofs_while_one_question_runs() {
        let strangers = Strangers::default();
        let (asked, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let fetch = |_| {
            let (asked, go) = (Arc::clone(&asked), Arc::clone(&go));
            let ask = || async move {
                asked.fetch_add(1, SeqCst);
                go.notified().await;
                Ok(Bytes::from_static(b"proofs"))
            };
            strangers.proofs_at(height(7), source(1), RELEASE, ask)
        };
        // Many more than there are places, or questions in a share.
        let fleet = join_all((0..10 * PROOFS_AT_ONCE).map(fetch));
        let (fleet, ()) = tokio::join!(fleet, async { go.notify_one() });
        for told in fleet {
            assert_eq!(told.unwrap(), "proofs");
        }
        assert_eq!(asked.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn hellos_keep_out_no_proofs_and_proofs_no_hellos() {
        let strangers = Strangers::default();
        let many = u32::try_from(RECORDS_AT_ONCE).unwrap();
        let hellos = strangers.asked.try_acquire_many(many).unwrap();
        let fetch = |release: u8, source| {
            let ask = || ready(Ok(Bytes::from_static(b"proofs")));
            strangers.proofs_at(height(7), source, Hex([release; 32]), ask)
        };
        assert_eq!(fetch(1, source(1)).await.unwrap(), "proofs");
        drop(hellos);
        let mut waiting = Vec::new();
        for release in 0..u8::try_from(PROOFS_AT_ONCE).unwrap() {
            let (go, told) = oneshot::channel();
            let ask = || async { told.await.map_err(|_| Error::Behind) };
            let digest = Hex([100 + release; 32]);
            let one = strangers.proofs_at(height(7), source(release), digest, ask);
            let mut one = Box::pin(one);
            assert!((&mut one).now_or_never().is_none());
            waiting.push((go, one));
        }
        let told = fetch(2, source(1)).await.unwrap_err();
        assert!(matches!(told, Error::Crowded { .. }), "{told}");
        // What is at hand needs no place.
        assert_eq!(fetch(1, source(1)).await.unwrap(), "proofs");
        assert_eq!(strangers.asked.available_permits(), RECORDS_AT_ONCE);
        let (go, one) = waiting.pop().unwrap();
        go.send(Bytes::new()).unwrap();
        one.await.unwrap();
        assert_eq!(fetch(2, source(1)).await.unwrap(), "proofs");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_for_proofs_goes_on_without_its_asker() {
        let strangers = Strangers::default();
        while strangers.share(source(1)).is_ok() {}
        let (go, told) = oneshot::channel();
        let ask = || async { told.await.map_err(|_| Error::Behind) };
        let first = strangers.proofs_at(height(7), source(2), RELEASE, ask);
        let mut first = Box::pin(first);
        assert!((&mut first).now_or_never().is_none());
        let never = || async { unreachable!("it is asked already") };
        let mut next = Box::pin(strangers.proofs_at(height(7), source(1), RELEASE, never));
        assert!((&mut next).now_or_never().is_none());
        drop(first);
        go.send(Bytes::from_static(b"proofs")).unwrap();
        assert_eq!(next.await.unwrap(), "proofs");
        assert_eq!(strangers.proving.available_permits(), PROOFS_AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_gap_absence_counts_from_where_events_are_read_again() {
        let mut absent = Absent::default();
        absent.block(&block(7, &[]));
        absent.note(handle(1), height(7));
        // Events are missed up to 20; they are read again from 21 on.
        absent.forget(height(20));
        assert!(!absent.contains(&handle(1)));
        // Asked before the gap, answered after it: a block in it may have added this one.
        absent.note(handle(2), height(8));
        assert!(!absent.contains(&handle(2)));
        absent.note(handle(3), height(20));
        assert!(absent.contains(&handle(3)));
        absent.block(&block(21, &[handle(3)]));
        assert!(!absent.contains(&handle(3)));
        // A ledger that goes on from a lower height is one whose absences count, too.
        absent.forget(height(5));
        absent.note(handle(4), height(5));
        assert!(absent.contains(&handle(4)));
        absent.block(&block(6, &[handle(4)]));
        assert!(!absent.contains(&handle(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn absent_handles_take_no_more_room_than_they_have() {
        let mut absent = Absent::default();
        let many = 5 * ABSENT_MAX as u32;
        for number in 0..many {
            absent.note(handle(number), height(1));
        }
        assert!(absent.new.len() + absent.old.len() <= 2 * ABSENT_MAX);
        // The newest are there, and a block takes them out of both halves.
        let newest = [handle(many - 1), handle(many - 1 - ABSENT_MAX as u32)];
        assert!(newest.iter().all(|handle| absent.contains(handle)));
        assert!(!absent.contains(&handle(0)));
        absent.block(&block(2, &newest));
        assert!(!newest.iter().any(|handle| absent.contains(handle)));
    }
}
