//! Reports on their way: which parts have come, and who gives way when there is no room.
//!
//! What counts is what has come, not what was promised. When there is no room for a part, the report that holds most gives way to a
//! smaller one: who sends much without end keeps out others who send as much, and nobody who sends an ordinary inventory. And none
//! has for ever: there is a time to the next part, and one for the whole.

use kusabi_core::{
    id::Handle,
    inventory::{SignedInventory, VerifiedStatement},
    protocol::request::ReportPart,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// How long a report may be without a further part.
const IDLE: Duration = Duration::from_secs(120);

/// What the whole may take: so long, and a second more for each so many bytes.
const WHOLE: Duration = Duration::from_secs(120);
const BYTES_PER_SEC: u32 = 8 << 10;

/// Most that are hashed and compared at once, and most that wait for their turn or have it.
const COMPARED_MAX: usize = 2;
const WAITING_MAX: usize = 64;

/// What the smallest one counts as: what is kept beside its bytes.
const LEAST: usize = 1 << 10;

/// A report of which something has come.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) statement: VerifiedStatement,
    pub(super) signed: SignedInventory,
    pub(super) signer: Handle,
    pub(super) nonce: [u8; 32],
    pub(super) order: Option<u64>,
    pub(super) total: u32,
    /// What has come of the inventory, and before it the statement.
    pub(super) bytes: Vec<u8>,
    pub(super) begun: Instant,
    pub(super) heard: Instant,
}

impl Partial {
    fn holds(&self) -> usize {
        self.bytes.capacity().max(LEAST)
    }

    fn is_late(&self, now: Instant) -> bool {
        let whole = WHOLE + Duration::from_secs((self.total / BYTES_PER_SEC).into());
        now.duration_since(self.heard) > IDLE || now.duration_since(self.begun) > whole
    }
}

/// Why a part was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It does not follow on what has come.
    Order,
    /// There is no room.
    Room,
}

/// How far a report is.
pub(super) enum Taken<'a> {
    More,
    Whole(Box<Partial>, Held<'a>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Arriving {
    reports: Mutex<Reports>,
    bytes_max: usize,
    waiting: Semaphore,
    comparing: Semaphore,
}

#[derive(Debug, Default)]
struct Reports {
    by_device: HashMap<Arc<str>, Partial>,
    /// What they hold together, and what those hold that are compared.
    bytes: usize,
}

/// Bytes of a report that has come whole, until it is worked in.
pub(super) struct Held<'a> {
    arriving: &'a Arriving,
    bytes: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut reports = self.arriving.reports();
        reports.bytes = reports.bytes.saturating_sub(self.bytes);
    }
}

impl Arriving {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            reports: Mutex::default(),
            bytes_max,
            waiting: Semaphore::new(WAITING_MAX),
            comparing: Semaphore::new(COMPARED_MAX),
        }
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        // Nothing panics between two halves of a change.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn to hash and compare one; `None` if too many wait for theirs.
    pub(super) async fn turn(&self) -> Option<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        let waits = self.waiting.try_acquire().ok()?;
        Some((waits, self.comparing.acquire().await.ok()?))
    }

    /// Forgets those of which no part came in time.
    pub(super) fn expire(&self, now: Instant) {
        self.reports().expire(now);
    }

    /// A report begins, in place of the one before.
    pub(super) fn begin(&self, device: &Arc<str>, partial: Partial) -> Result<(), NotTaken> {
        let mut reports = self.reports();
        reports.remove(device);
        let holds = partial.holds();
        if !reports.room(holds, self.bytes_max, partial.heard) {
            return Err(NotTaken::Room);
        }
        reports.bytes += holds;
        reports.by_device.insert(Arc::clone(device), partial);
        Ok(())
    }

    /// A part of one has come. One that is whole is not here any more; its bytes count until [`Held`] is dropped.
    pub(super) fn part(
        &self,
        device: &Arc<str>,
        signer: &Handle,
        part: &ReportPart<'_>,
        now: Instant,
    ) -> Result<Taken<'_>, NotTaken> {
        let mut reports = self.reports();
        let known = reports.by_device.get(device).ok_or(NotTaken::Order)?;
        if known.is_late(now) {
            // Whether or not there is room: who sends a byte a minute does not hold a place for ever.
            reports.remove(device);
            return Err(NotTaken::Order);
        }
        let offset = part.offset as usize;
        let end = offset + part.bytes.len();
        let fits = known.nonce == part.nonce
            && known.total == part.total
            && known.signer == *signer
            && offset <= known.bytes.len()
            && end <= known.total as usize;
        if !fits {
            return Err(NotTaken::Order);
        }
        let mut partial = reports.remove(device).ok_or(NotTaken::Order)?;
        let came = partial.bytes.len();
        if end > came {
            partial.bytes.truncate(offset);
            // By a quarter, not double.
            let room = (came / 4).max(part.bytes.len());
            if partial.bytes.capacity() < end {
                partial.bytes.reserve_exact(room);
            }
            partial.bytes.extend_from_slice(part.bytes);
        }
        let holds = partial.holds();
        if !reports.room(holds, self.bytes_max, now) {
            // What has come stays, if that fits: the part comes again.
            partial.bytes.truncate(came);
            partial.bytes.shrink_to_fit();
            let holds = partial.holds();
            if reports.room(holds, self.bytes_max, now) {
                reports.bytes += holds;
                reports.by_device.insert(Arc::clone(device), partial);
            }
            return Err(NotTaken::Room);
        }
        partial.heard = now;
        reports.bytes += holds;
        if partial.bytes.len() < partial.total as usize {
            reports.by_device.insert(Arc::clone(device), partial);
            return Ok(Taken::More);
        }
        let held = Held {
            arriving: self,
            bytes: holds,
        };
        Ok(Taken::Whole(Box::new(partial), held))
    }
}

impl Reports {
    fn remove(&mut self, device: &str) -> Option<Partial> {
        let partial = self.by_device.remove(device)?;
        self.bytes = self.bytes.saturating_sub(partial.holds());
        Some(partial)
    }

    fn expire(&mut self, now: Instant) {
        let late = self
            .by_device
            .extract_if(|_, partial| partial.is_late(now))
            .map(|(_, partial)| partial.holds());
        let late: usize = late.sum();
        self.bytes = self.bytes.saturating_sub(late);
    }

    /// Makes room for a report that holds so many bytes, if there is.
    fn room(&mut self, bytes: usize, max: usize, now: Instant) -> bool {
        if self.bytes + bytes <= max {
            return true;
        }
        self.expire(now);
        while self.bytes + bytes > max {
            let largest = self
                .by_device
                .iter()
                .max_by_key(|(_, partial)| partial.holds());
            match largest {
                Some((device, partial)) if partial.holds() > bytes => {
                    let device = Arc::clone(device);
                    tracing::warn!(device = &*device, "an inventory gives way to a smaller one");
                    self.remove(&device);
                }
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use kusabi_core::{
        anchor::Anchor,
        genesis::Genesis,
        id::{Height, StateKey},
        inventory::{Asked, InventoryStatement, InventoryWriter},
        proof::Proof,
        set::EpochSet,
        suite::Purpose,
    };
    use kusabi_ledger::testing::TestKey;
    use tokio::time::advance;

    const NONCE: [u8; 32] = [0; 32];

    /// What one device signed, for reports that never come to be compared.
    struct Signed {
        statement: VerifiedStatement,
        signed: SignedInventory,
        signer: Handle,
    }

    impl Signed {
        fn new() -> Self {
            let mut ledger = kusabi_sim::ledger::Ledger::new();
            let key = TestKey::new(7000, Purpose::Act);
            ledger.register(&[&key]);
            let state_key = StateKey::record(&key.handle);
            let proof = ledger.prove(&state_key);
            let genesis = Genesis::decode(&ledger.world.document).unwrap();
            let anchor = Anchor::from_genesis(&genesis);
            let set = EpochSet::decode(genesis.epoch_set().as_bytes()).unwrap();
            let record = Proof::decode(&proof).unwrap();
            let record = record.check(&anchor, &set, &state_key).unwrap();
            let (summary, _) = InventoryWriter::new(Vec::new()).finish();
            let at = (ledger.height(), None);
            let signed = InventoryStatement::new(&summary, None, at, [3; 32], None)
                .sign(&ledger.world.chain, &key.handle, &key.key)
                .unwrap();
            let asked = Asked {
                signer: key.handle,
                handshake: [3; 32],
                nonce: None,
                not_before: Height::ZERO,
            };
            Self {
                statement: VerifiedStatement::check(&signed, &asked, &record).unwrap(),
                signed,
                signer: key.handle,
            }
        }

        /// Begins a report of so many bytes.
        fn begin(
            &self,
            arriving: &Arriving,
            device: &Arc<str>,
            total: u32,
        ) -> Result<(), NotTaken> {
            let now = Instant::now();
            let partial = Partial {
                statement: self.statement,
                signed: self.signed,
                signer: self.signer,
                nonce: NONCE,
                order: None,
                total,
                bytes: Vec::new(),
                begun: now,
                heard: now,
            };
            arriving.begin(device, partial)
        }

        fn part<'a>(
            &self,
            arriving: &'a Arriving,
            device: &Arc<str>,
            total: u32,
            offset: u32,
            len: usize,
        ) -> Result<Taken<'a>, NotTaken> {
            let part = ReportPart {
                nonce: NONCE,
                total,
                offset,
                bytes: &vec![7; len],
            };
            arriving.part(device, &self.signer, &part, Instant::now())
        }
    }

    fn device(name: &str) -> Arc<str> {
        name.into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_has_a_time_to_its_next_part() {
        let (signed, arriving, device) = (Signed::new(), Arriving::new(1 << 20), device("a"));
        signed.begin(&arriving, &device, 4000).unwrap();
        let part = |offset| signed.part(&arriving, &device, 4000, offset, 1000);
        assert!(matches!(part(0), Ok(Taken::More)));
        advance(IDLE).await;
        assert!(matches!(part(1000), Ok(Taken::More)));
        advance(IDLE + Duration::from_millis(1)).await;
        // There is room enough, and it begins anew all the same.
        assert!(matches!(part(2000), Err(NotTaken::Order)));
        assert_eq!(arriving.reports().bytes, 0);
        assert!(matches!(part(2000), Err(NotTaken::Order)));
        signed.begin(&arriving, &device, 4000).unwrap();
        assert!(matches!(part(0), Ok(Taken::More)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_has_a_time_by_its_size() {
        let total = 10 * BYTES_PER_SEC;
        let whole = WHOLE + Duration::from_secs(10);
        let (signed, arriving) = (Signed::new(), Arriving::new(1 << 20));
        let (slow, slower) = (device("slow"), device("slower"));
        for device in [&slow, &slower] {
            signed.begin(&arriving, device, total).unwrap();
        }
        let part = |device, offset| signed.part(&arriving, device, total, offset, 10);
        // Never idle.
        advance(Duration::from_secs(65)).await;
        assert!(matches!(part(&slow, 0), Ok(Taken::More)));
        assert!(matches!(part(&slower, 0), Ok(Taken::More)));
        advance(whole - Duration::from_secs(65)).await;
        assert!(
            matches!(part(&slow, 10), Ok(Taken::More)),
            "the last moment"
        );
        advance(Duration::from_millis(1)).await;
        assert!(matches!(part(&slower, 10), Err(NotTaken::Order)));
        assert!(matches!(part(&slow, 20), Err(NotTaken::Order)));
        assert_eq!(arriving.reports().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_forgotten_though_nothing_more_comes() {
        let (signed, arriving) = (Signed::new(), Arriving::new(1 << 20));
        let (early, late) = (device("early"), device("late"));
        signed.begin(&arriving, &late, 4000).unwrap();
        signed
            .part(&arriving, &late, 4000, 0, 3000)
            .map(drop)
            .unwrap();
        advance(Duration::from_secs(60)).await;
        signed.begin(&arriving, &early, 4000).unwrap();
        advance(IDLE - Duration::from_secs(59)).await;
        arriving.expire(Instant::now());
        let reports = arriving.reports();
        assert!(!reports.by_device.contains_key(&late));
        assert!(reports.by_device.contains_key(&early));
        assert_eq!(reports.bytes, LEAST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_report_counts_until_it_is_worked_in_and_gives_way_to_nobody() {
        let (signed, arriving) = (Signed::new(), Arriving::new(10_000));
        let (whole, next) = (device("whole"), device("next"));
        signed.begin(&arriving, &whole, 9500).unwrap();
        let taken = signed.part(&arriving, &whole, 9500, 0, 9500);
        let Ok(Taken::Whole(partial, held)) = taken else {
            panic!("it is whole");
        };
        assert_eq!(partial.bytes.len(), 9500);
        assert_eq!(signed.begin(&arriving, &next, 500), Err(NotTaken::Room));
        // Its device may begin another one meanwhile, if there is room for it.
        assert_eq!(signed.begin(&arriving, &whole, 500), Err(NotTaken::Room));
        drop(held);
        assert_eq!(arriving.reports().bytes, 0);
        signed.begin(&arriving, &next, 500).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_as_they_were_asked_for_and_not_to_too_many() {
        let arriving = Arriving::new(1 << 20);
        let mut comparing = Vec::new();
        for _ in 0..COMPARED_MAX {
            comparing.push(arriving.turn().await.unwrap());
        }
        let mut waiting = Vec::new();
        for _ in COMPARED_MAX..WAITING_MAX {
            let mut turn = Box::pin(arriving.turn());
            assert!((&mut turn).now_or_never().is_none());
            waiting.push(turn);
        }
        assert!(arriving.turn().await.is_none(), "too many wait");
        drop(comparing.pop());
        let mut second = waiting.remove(1);
        assert!((&mut second).now_or_never().is_none());
        let first = waiting.remove(0).await;
        assert!(first.is_some());
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!(second.await.is_some());
    }
}
