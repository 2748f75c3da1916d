//! What this node may vouch for: what was its newest header a moment ago.

use super::message::Doubt;
use crate::{
    engine::{
        Scheme,
        block::Block,
        epochs::{EpochEntry, Epochs},
    },
    handle::Newest,
};
use commonware_consensus::{
    marshal::{Identifier, core::Mailbox, standard::Standard},
    types::Height as Position,
};
use commonware_utils::sync::Mutex;
use kusabi_core::{
    freshness::Claim,
    id::{HeaderHash, Height},
};
use kusabi_ledger::TIME_STEP_MS_MAX;
use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// How long a header is vouched for after a newer one came: the one who asks may be behind by as much.
const MOMENT: Duration = Duration::from_secs(5);
/// After so many heartbeats without a block a node knows that it does not know. One is to be expected in each; the others are for
/// leaders that are down.
const HEARTBEATS: u32 = 3;
/// However short a heartbeat is: leaders that are down take seconds, and clocks may differ by one.
const OLD_MIN: Duration = Duration::from_secs(30);
/// Blocks that may be final and not shown here yet while a node keeps up: twice what the engine hands out at a time.
const LAG_MAX: u64 = 32;

/// The newest headers of this node, and since when.
pub(super) struct History {
    pub(super) epochs: Epochs,
    pub(super) epoch: EpochEntry,
    pub(super) mailbox: Mailbox<Scheme, Standard<Block>>,
    pub(super) newest: watch::Receiver<Option<Newest>>,
    pub(super) heartbeat: watch::Receiver<Duration>,
    pub(super) marks: Mutex<Marks>,
}

impl History {
    /// To be called whenever there is a newer header.
    pub(super) fn note(&self, now: SystemTime) {
        if let Some(newest) = *self.newest.borrow() {
            self.marks.lock().note(now, newest.height);
        }
    }

    /// The newest header, if this node may say that it is new.
    pub(super) async fn newest(&self, now: SystemTime) -> Result<Newest, Doubt> {
        let newest = *self.newest.borrow();
        let newest = newest.ok_or(Doubt::CatchingUp)?;
        if newest.epoch != self.epoch.number {
            return Err(Doubt::Epoch);
        }
        // Where there are no others the ledger has not gone on without this node.
        if self.epoch.vote_keys.len() == 1 {
            return Ok(newest);
        }
        let position = self.epochs.position_from(newest.height);
        let known = self.mailbox.get_info(Identifier::Latest).await;
        if known.is_none_or(|(known, _)| known.get() > position + LAG_MAX) {
            return Err(Doubt::CatchingUp);
        }
        if self.is_old(&newest, position, now).await {
            return Err(Doubt::Asleep);
        }
        Ok(newest)
    }

    /// Whether a block is too old to be the ledger's newest, by this node's clock.
    async fn is_old(&self, newest: &Newest, position: u64, now: SystemTime) -> bool {
        let limit = (*self.heartbeat.borrow() * HEARTBEATS).max(OLD_MIN);
        let made = UNIX_EPOCH + Duration::from_millis(newest.time_ms);
        if !is_ago(made, limit, now) {
            return false;
        }
        // A ledger that stood still catches up with time by a step with each block: then a block's time does not say when it was
        // made, and it counts from when it came.
        let parent = match position.checked_sub(1) {
            Some(position) => self.mailbox.get_block(Position::new(position)).await,
            None => return true,
        };
        let parent = parent.map(|parent| parent.inner().header.time_ms);
        let step = parent.map(|parent| newest.time_ms.saturating_sub(parent));
        if step.is_none_or(|step| step < TIME_STEP_MS_MAX) {
            return true;
        }
        let came = self.marks.lock().newest();
        came.is_none_or(|came| is_ago(came, limit, now))
    }

    /// Whether this node has a header at this height.
    pub(super) fn reaches(&self, height: Height) -> bool {
        self.newest.borrow().is_some_and(|n| n.height >= height)
    }

    /// Whether a claim is true as far as this node knows.
    pub(super) async fn check(&self, now: SystemTime, claim: &Claim) -> Result<(), Doubt> {
        if claim.epoch != self.epoch.number || claim.set_hash != self.epoch.set_hash {
            return Err(Doubt::Epoch);
        }
        if !self.reaches(claim.height) {
            return Err(Doubt::Behind);
        }
        self.note(now);
        let newest = self.newest(now).await?;
        let since = self.marks.lock().oldest();
        if since.is_none_or(|since| claim.height < since) {
            return Err(Doubt::Old);
        }
        if self.hash(&newest, claim.height).await == Some(claim.header_hash) {
            Ok(())
        } else {
            Err(Doubt::Differs)
        }
    }

    /// Hash of the final header at a height.
    async fn hash(&self, newest: &Newest, height: Height) -> Option<HeaderHash> {
        if height == newest.height {
            return Some(newest.hash);
        }
        let position = Position::new(self.epochs.position_from(height));
        let (_, digest) = self.mailbox.get_info(position).await?;
        Some(HeaderHash::new(digest.0))
    }
}

/// Whether something was longer ago than this.
fn is_ago(at: SystemTime, limit: Duration, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|ago| ago > limit)
}

/// Since when which height was the newest: as far back as a moment.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<(SystemTime, Height)>);

impl Marks {
    /// The newest height is this one now.
    fn note(&mut self, now: SystemTime, height: Height) {
        // By a clock that was set back, nothing is known of the last moment.
        if self.0.back().is_some_and(|(at, _)| now < *at) {
            self.0.clear();
        }
        if self.0.back().is_none_or(|(_, last)| *last < height) {
            self.0.push_back((now, height));
        }
        // The first one was the newest until the second one came.
        let over = |at: SystemTime| now.duration_since(at).is_ok_and(|ago| ago >= MOMENT);
        while self.0.get(1).is_some_and(|(at, _)| over(*at)) {
            self.0.pop_front();
        }
    }

    /// The oldest height that was the newest within the last moment.
    fn oldest(&self) -> Option<Height> {
        self.0.front().map(|(_, height)| *height)
    }

    /// When the newest height came.
    fn newest(&self) -> Option<SystemTime> {
        self.0.back().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_height_counts_for_a_moment_after_the_next_one_came() {
        let mut marks = Marks::default();
        assert_eq!(marks.oldest(), None);
        let at = |ms| UNIX_EPOCH + Duration::from_millis(1_000_000 + ms);
        let mut note = |ms, height| {
            marks.note(at(ms), Height::new(height).unwrap());
            marks.oldest().unwrap().get()
        };
        assert_eq!(note(0, 7), 7);
        // However long it stood: until there was another one, it was the newest.
        assert_eq!(note(60_000, 7), 7);
        assert_eq!(note(60_000, 9), 7);
        assert_eq!(note(64_999, 9), 7);
        assert_eq!(note(65_000, 9), 9);
        for step in 0..100 {
            assert!(note(65_000 + 100 * step, 10 + step) >= 9);
        }
        // Of a hundred in ten seconds the last half: 60 was the newest until 4.9 seconds ago.
        assert_eq!(note(75_000, 110), 60);
        // The clock is set back, and then forth.
        assert_eq!(note(10_000, 110), 110);
        assert_eq!(note(10_000, 111), 110);
        assert_eq!(note(900_000, 111), 111);
    }
}
