//! The devices that this process serves, by their keys: what has to be at hand for a message without asking the database.

use crate::{
    app::{App, Error},
    device::view::View,
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
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use tokio::sync::Notify;

/// Most keys that are kept; beyond, those in which nobody has an interest are forgotten.
const KEYS_MAX: usize = 200_000;

/// Longest chain of keys that is walked to a device's first one: at one key an hour, a week. The database knows the others.
const PREDECESSORS_MAX: usize = 256;

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

    /// It says this of itself; says whether that is new to this process.
    pub(super) fn says(&self, facts: &Facts) -> bool {
        self.inner().facts.replace(*facts).as_ref() != Some(facts)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fleet(Mutex<Maps>);

#[derive(Debug, Default)]
struct Maps {
    by_key: HashMap<Handle, Arc<Known>>,
    by_device: HashMap<Arc<str>, Arc<Known>>,
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
        self.maps().by_key.insert(handle, Arc::clone(known));
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
        let mut found = None;
        for _ in 0..PREDECESSORS_MAX {
            if let Some(known) = self.find(&at.0) {
                found = Some(known);
                break;
            }
            let mut reader = app.store.read("find a device by its key").await?;
            let there = doorstep::find(reader.on(), at.0.to_bytes()).await?;
            drop(reader);
            if let Some(there) = there {
                found = Some(self.insert(there.device.into(), there.link_version));
                break;
            }
            let Some(before) = at.1 else { break };
            let record = view.record(app, &before).await?;
            at = (before, record.and_then(|record| record.predecessor()));
        }
        let known = match found {
            Some(known) => known,
            None => {
                let device = kusabi_api::admin::device_id(&Hex(at.0.to_bytes()));
                let mut reader = app.store.read("find a device's link").await?;
                let link = doorstep::links(reader.on(), std::slice::from_ref(&device)).await?;
                let version = link.get(&device).map_or(0, |row| row.version);
                self.insert(device.into(), version)
            }
        };
        self.add(*handle, &known);
        Ok(known)
    }

    fn insert(&self, device: Arc<str>, link_version: u64) -> Arc<Known> {
        let mut maps = self.maps();
        if maps.by_key.len() >= KEYS_MAX {
            // Whoever works on one holds it; the rest comes back when it is asked for.
            let Maps { by_key, by_device } = &mut *maps;
            by_key.retain(|_, known| Arc::strong_count(known) > 2);
            let kept: std::collections::HashSet<_> = by_key
                .values()
                .map(|known| Arc::clone(&known.device))
                .collect();
            by_device.retain(|device, _| kept.contains(device));
        }
        let known = maps
            .by_device
            .entry(Arc::clone(&device))
            .or_insert_with(|| Arc::new(Known::new(device, link_version)));
        Arc::clone(known)
    }
}
