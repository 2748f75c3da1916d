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

    /// Makes room for a report that holds so many bytes, if there is.
    fn room(&mut self, bytes: usize, max: usize, now: Instant) -> bool {
        if self.bytes + bytes <= max {
            return true;
        }
        let late: Vec<Arc<str>> = self
            .by_device
            .iter()
            .filter(|(_, partial)| partial.is_late(now))
            .map(|(device, _)| Arc::clone(device))
            .collect();
        for device in late {
            self.remove(&device);
        }
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
