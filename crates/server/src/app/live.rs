//! What changed, told to whoever listens, after it is on disk.

use super::App;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio::sync::{Notify, broadcast};

/// How many changes a listener may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Something that changed. It says where to look; what it is now stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A device, or what happened to it.
    Device(String),
    /// An alarm.
    Alarm(u64),
    /// An order, or how far its devices are.
    Order(u64),
    /// A rollout, or how far its devices are.
    Rollout(u64),
}

/// Where changes are told.
#[derive(Debug)]
pub(super) struct Live {
    changes: broadcast::Sender<Change>,
    /// The highest number of an order that was told of.
    newest_order: AtomicU64,
    /// A rollout was told of.
    rollout: Notify,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            changes: broadcast::Sender::new(BACKLOG),
            newest_order: AtomicU64::new(0),
            rollout: Notify::new(),
        }
    }
}

impl App {
    /// The changes from now on. A listener that is too slow is told how many it missed; it then looks at everything anew.
    #[must_use]
    pub fn live(&self) -> broadcast::Receiver<Change> {
        self.live.changes.subscribe()
    }

    /// Tells what has changed; it stands in the database.
    pub(crate) fn announce(&self, change: Change) {
        match change {
            Change::Order(order) => {
                self.live.newest_order.fetch_max(order, SeqCst);
            }
            Change::Rollout(_) => self.live.rollout.notify_one(),
            Change::Device(_) | Change::Alarm(_) => {}
        }
        // Nobody listens: then nobody has to be told.
        let _ = self.live.changes.send(change);
    }

    /// Waits until a rollout is told of.
    pub(super) async fn rollout_told(&self) {
        self.live.rollout.notified().await;
    }

    /// The highest number of an order that this process was told of: whoever has looked at the orders up to it has missed none that
    /// somebody here was told is given.
    pub(crate) fn newest_order(&self) -> u64 {
        self.live.newest_order.load(SeqCst)
    }
}
