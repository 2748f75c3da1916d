//! The newest headers, so that a proof taken from the state finds the header whose root it leads to.

use super::block::Block;
use commonware_utils::sync::Mutex;
use kusabi_core::{
    header::Header,
    id::{HeaderHash, StateRoot},
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Headers kept: the state moves while a few readers hold older ones.
const KEPT: usize = 4;

/// A header with its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) header: Header,
    pub(super) hash: HeaderHash,
}

impl From<&Block> for Head {
    fn from(block: &Block) -> Self {
        Self {
            header: block.header,
            hash: *block.hash(),
        }
    }
}

/// The newest headers, shared.
#[derive(Clone, Debug)]
pub(super) struct Heads(Arc<Mutex<Recent>>);

#[derive(Debug)]
struct Recent {
    heads: VecDeque<Head>,
    moved_at: SystemTime,
}

impl Heads {
    /// None yet, at a start.
    pub(super) fn new(now: SystemTime) -> Self {
        Self(Arc::new(Mutex::new(Recent {
            heads: VecDeque::with_capacity(KEPT),
            moved_at: now,
        })))
    }

    /// The state is about to become that of `block`.
    pub(super) fn push(&self, block: &Block, now: SystemTime) {
        let Recent { heads, moved_at } = &mut *self.0.lock();
        *moved_at = now;
        if heads.len() == KEPT {
            heads.pop_front();
        }
        heads.push_back(Head::from(block));
    }

    /// The newest header with this state root (empty blocks change the root too: each adds a commit to the log).
    pub(super) fn with_root(&self, root: &StateRoot) -> Option<Head> {
        let recent = self.0.lock();
        let mut heads = recent.heads.iter().rev();
        heads.find(|h| h.header.state_root == *root).copied()
    }

    /// The newest.
    pub(super) fn newest(&self) -> Option<Head> {
        self.0.lock().heads.back().copied()
    }

    /// A block was built or accepted: the next heartbeat counts from here, though the state moves a little later.
    pub(super) fn touch(&self, now: SystemTime) {
        self.0.lock().moved_at = now;
    }

    /// How long ago the newest block was built or seen, or the node started. A clock that was set back starts anew: otherwise
    /// there would be no heartbeat until it has caught up.
    pub(super) fn moved_since(&self, now: SystemTime) -> Duration {
        let moved_at = &mut self.0.lock().moved_at;
        *moved_at = now.min(*moved_at);
        now.duration_since(*moved_at).unwrap_or_default()
    }
}
