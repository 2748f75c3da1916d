//! The devices that this process serves, by their keys: what has to be at hand for a message without asking the database.

use crate::{
    app::{App, Error},
    device::view::View,
    share::{Allowance, Share},
    store::doorstep,
};
use kusabi_api::Hex;
use kusabi_core::{
    id::{Handle, SessionId},
    protocol::request::Facts,
    row::Record,
};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Most keys that are kept; beyond, those in which nobody has an interest are forgotten.
const KEYS_MAX: usize = 200_000;

/// Longest chain of keys that is walked to a device's first one: at one key an hour, a week. The database knows the others.
const PREDECESSORS_MAX: usize = 256;

/// How often a device may say something new of itself, and report an inventory. Updates, their rollbacks and a day's reports are a dozen;
/// with more it is heard a little later, and a device that makes up another inventory each second does not fill the disk.
const NEWS: Allowance = Allowance::new(NonZeroU32::new(60).unwrap(), Duration::from_secs(300));
const REPORTS: Allowance = NEWS;

/// How often a device may ask for a freshness receipt: at its start, and a few times for each update.
const FRESH: Allowance = Allowance::new(NonZeroU32::new(16).unwrap(), Duration::from_secs(30));

/// A device, as far as this process must know it.
#[derive(Debug)]
pub(super) struct Known {
    /// Its ID.
    pub(super) device: Arc<str>,
    /// Version of its tripwire row, as last seen. One that is too low makes a message stale, and then it is the right one.
    pub(super) link_version: AtomicU64,
    /// Wakes its held poll.
    pub(super) wake: Notify,
    /// Grows whenever there may be something new for it.
    news: AtomicU64,
    /// Grows with each held poll: only the newest one is held.
    pub(super) turn: AtomicU64,
    /// Its share of reports, taken before one is verified.
    pub(super) reports: Share,
    /// Its share of freshness receipts.
    pub(super) fresh: Share,
    says: Share,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// At these news there was no order for it that it did not have.
    quiet_at: Option<u64>,
    /// Whether there were orders that it had and had not answered.
    unanswered: bool,
    /// What it was given in which session.
    given: Option<(SessionId, Vec<u64>)>,
    /// What it said of itself last.
    facts: Option<Facts>,
}

impl Known {
    fn new(device: Arc<str>, link_version: u64) -> Self {
        Self {
            device,
            link_version: AtomicU64::new(link_version),
            wake: Notify::new(),
            news: AtomicU64::new(1),
            turn: AtomicU64::new(0),
            reports: Share::new(REPORTS),
            fresh: Share::new(FRESH),
            says: Share::new(NEWS),
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something new for it.
    pub(super) fn tell(&self) {
        self.news.fetch_add(1, SeqCst);
        self.wake.notify_waiters();
    }

    /// Which news there are; to be read before the database.
    pub(super) fn news(&self) -> u64 {
        self.news.load(SeqCst)
    }

    /// With these news there was no order for it that it does not have; `unanswered`: but some that it has.
    pub(super) fn hush(&self, news: u64, unanswered: bool) {
        let mut inner = self.inner();
        inner.quiet_at = Some(news);
        inner.unanswered = unanswered;
    }

    /// Whether there is surely no order that it does not have in this session.
    pub(super) fn is_quiet(&self) -> bool {
        self.inner().quiet_at == Some(self.news())
    }

    /// Whether it was given this order in this session.
    pub(super) fn has(&self, session: &SessionId, order: u64) -> bool {
        match &self.inner().given {
            Some((given, orders)) => given == session && orders.contains(&order),
            None => false,
        }
    }

    /// It has these orders in this session, and has not answered them.
    pub(super) fn give(&self, session: &SessionId, orders: Vec<u64>) {
        self.inner().given = Some((*session, orders));
    }

    /// A session begins: what was given in the one before may have been lost.
    pub(super) fn begin(&self, session: &SessionId) {
        let mut inner = self.inner();
        if inner
            .given
            .as_ref()
            .is_none_or(|(given, _)| given != session)
        {
            inner.given = None;
            if inner.unanswered {
                inner.quiet_at = None;
            }
        }
    }

    /// It says this of itself; says whether that is new to this process. What it says too often is not heard now, and is as new with its
    /// next poll.
    pub(super) fn says(&self, facts: &Facts) -> bool {
        let mut inner = self.inner();
        let is_new = inner.facts.as_ref() != Some(facts) && self.says.take().is_ok();
        if is_new {
            inner.facts = Some(*facts);
        }
        is_new
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Fleet(Mutex<Maps>);

#[derive(Debug)]
struct Maps {
    by_key: HashMap<Handle, Arc<Known>>,
    by_device: HashMap<Arc<str>, Arc<Known>>,
    /// From so many keys on it is looked through for those in which nobody has an interest.
    sweep_at: usize,
}

impl Maps {
    fn new(keys: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            by_device: HashMap::new(),
            sweep_at: keys,
        }
    }

    /// A key of a device. Nothing is swept between its two halves.
    fn enter(&mut self, handle: Handle, known: Arc<Known>) {
        let device = Arc::clone(&known.device);
        self.by_key.insert(handle, Arc::clone(&known));
        self.by_device.insert(device, known);
        if self.by_key.len() > self.sweep_at {
            self.sweep();
            self.sweep_at = KEYS_MAX.max(2 * self.by_key.len());
        }
    }

    /// Forgets who is held by nobody but these maps: it comes back when it is asked for.
    fn sweep(&mut self) {
        let Self {
            by_key, by_device, ..
        } = self;
        let mut keys: HashMap<Arc<str>, usize> = HashMap::with_capacity(by_device.len());
        for known in by_key.values() {
            *keys.entry(Arc::clone(&known.device)).or_default() += 1;
        }
        by_device.retain(|device, known| {
            let maps = 1 + keys.get(device).copied().unwrap_or_default();
            Arc::strong_count(known) > maps
        });
        by_key.retain(|_, known| by_device.contains_key(&known.device));
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self(Mutex::new(Maps::new(KEYS_MAX)))
    }
}

impl Fleet {
    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device of this key, if it is at hand.
    pub(super) fn find(&self, handle: &Handle) -> Option<Arc<Known>> {
        self.maps().by_key.get(handle).cloned()
    }

    /// The device with this ID, if it is at hand.
    pub(super) fn device(&self, id: &str) -> Option<Arc<Known>> {
        self.maps().by_device.get(id).cloned()
    }

    /// All that are at hand.
    pub(super) fn all(&self) -> Vec<Arc<Known>> {
        self.maps().by_device.values().cloned().collect()
    }

    /// A further key of a device.
    pub(super) fn add(&self, handle: Handle, known: &Arc<Known>) {
        self.maps().enter(handle, Arc::clone(known));
    }

    /// The device of this key. One that the database does not know (yet) is found by its predecessors on the ledger: its ID follows
    /// from its first key.
    pub(super) async fn load(
        &self,
        app: &App,
        view: &View,
        handle: &Handle,
        record: &Record,
    ) -> Result<Arc<Known>, Error> {
        if let Some(known) = self.find(handle) {
            return Ok(known);
        }
        let mut at = (*handle, record.predecessor());
        // What came from another organisation is known here by the key with which it came.
        let mut first = *handle;
        let mut found = None;
        for _ in 0..PREDECESSORS_MAX {
            if let Some(known) = self.find(&at.0) {
                self.add(*handle, &known);
                found = Some(known);
                break;
            }
            let mut reader = app.store.read("find a device by its key").await?;
            let there = doorstep::find(reader.on(), at.0.to_bytes()).await?;
            drop(reader);
            if let Some(there) = there {
                found = Some(self.insert(*handle, there.device.into(), there.link_version));
                break;
            }
            let Some(before) = at.1 else { break };
            let record = view.record(app, &before).await?;
            if let Some(record) = record
                && record.owner() == app.org()
            {
                first = before;
            }
            at = (before, record.and_then(|record| record.predecessor()));
        }
        let known = match found {
            Some(known) => known,
            None => {
                let device = kusabi_api::admin::device_id(&Hex(first.to_bytes()));
                let mut reader = app.store.read("find a device's link").await?;
                let link = doorstep::links(reader.on(), std::slice::from_ref(&device)).await?;
                let version = link.get(&device).map_or(0, |row| row.version);
                self.insert(*handle, device.into(), version)
            }
        };
        Ok(known)
    }

    /// A key of a device, which may be at hand by another key.
    fn insert(&self, handle: Handle, device: Arc<str>, link_version: u64) -> Arc<Known> {
        let mut maps = self.maps();
        let known = match maps.by_device.get(&device) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Known::new(device, link_version)),
        };
        maps.enter(handle, Arc::clone(&known));
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_device_says_too_often_is_heard_later() {
        let known = Known::new("device".into(), 0);
        let facts = |counter| Facts {
            counter,
            ..Facts::default()
        };
        assert!(known.says(&facts(0)));
        assert!(!known.says(&facts(0)), "nothing new, and nothing taken");
        let heard = (1..1000).filter(|counter| known.says(&facts(*counter)));
        assert_eq!(heard.count(), 59);
        // It is as new with a later poll, as soon as there is one.
        assert!(!known.says(&facts(1000)));
        tokio::time::advance(NEWS.every).await;
        assert!(known.says(&facts(1000)));
        assert!(!known.says(&facts(1000)));
    }

    #[test]
    fn who_is_held_by_nobody_makes_room_with_all_keys() {
        let handle = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Handle::new(bytes)
        };
        let fleet = Fleet(Mutex::new(Maps::new(8)));
        let held = fleet.insert(handle(0), "held".into(), 7);
        // Each with two keys, as after a rotation.
        for number in 1..5 {
            let device: Arc<str> = format!("device {number}").into();
            let known = fleet.insert(handle(2 * number), Arc::clone(&device), 0);
            fleet.add(handle(2 * number + 1), &known);
            let again = fleet.insert(handle(2 * number + 1), device, 9);
            assert!(Arc::ptr_eq(&known, &again));
        }
        let maps = fleet.maps();
        // The ninth key was one too many; the last device was being served, and so was the held one.
        assert_eq!(maps.by_device.len(), 2);
        assert_eq!(maps.by_key.len(), 3);
        assert!(Arc::ptr_eq(&maps.by_key[&handle(0)], &held));
        assert_eq!(maps.sweep_at, KEYS_MAX);
    }
}
