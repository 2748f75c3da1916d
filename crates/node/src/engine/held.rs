//! Which blocks have a certificate of their own here.
//!
//! A node that was away fetches the blocks that it missed from the newest one back, each by the hash in the one above it, and
//! gets few of their certificates. To whom it shows a block it shows a certificate with it, of the block or of one that is not far
//! above it (spec/proof.md, "Checkpoint"): so it has to know where there is none, and [`repair`](super::repair) has some brought.

use commonware_consensus::types::Height;
use commonware_storage::rmap::RMap;
use commonware_utils::sync::Mutex;
use kusabi_core::checkpoint::HEADERS_MAX;
use std::{ops::RangeInclusive, sync::Arc};
use tokio::sync::Notify;

/// Positions that one certificate covers: its own block's and those below it.
pub(super) const REACH: u64 = HEADERS_MAX as u64;

/// The positions that have one. Clones are the same.
#[derive(Clone)]
pub(super) struct Held(Arc<Inner>);

struct Inner {
    marks: Mutex<Marks>,
    /// Told when one was brought.
    brought: Notify,
}

struct Marks {
    certified: RMap,
    /// Everything below is covered.
    next: u64,
}

impl Held {
    pub(super) fn new(ranges: impl Iterator<Item = (Height, Height)>) -> Self {
        let mut certified = RMap::new();
        for (first, last) in ranges {
            for position in first.get()..=last.get() {
                certified.insert(position);
            }
        }
        // The block of height 0 has none and needs none.
        Self(Arc::new(Inner {
            marks: Mutex::new(Marks { certified, next: 1 }),
            brought: Notify::new(),
        }))
    }

    /// A certificate is there.
    pub(super) fn note(&self, position: u64) {
        self.0.marks.lock().certified.insert(position);
    }

    /// A certificate is there that was missed before.
    pub(super) fn bring(&self, position: u64) {
        self.note(position);
        self.0.brought.notify_waiters();
    }

    /// When the next one is brought, from the moment of this call on.
    pub(super) fn brought(&self) -> impl Future<Output = ()> + Send + '_ {
        let mut brought = Box::pin(self.0.brought.notified());
        brought.as_mut().enable();
        brought
    }

    /// Positions below the newest certificate that none covers: in each of these ranges one is needed. The first `most` of them.
    pub(super) fn uncovered(&self, most: usize) -> Vec<RangeInclusive<u64>> {
        let Marks { certified, next } = &mut *self.0.marks.lock();
        let mut ranges = Vec::new();
        let mut position = *next;
        for (&first, &last) in certified.iter_from(*next) {
            while first.saturating_sub(position) >= REACH {
                if ranges.len() == most {
                    return ranges;
                }
                ranges.push(position..=position + REACH - 1);
                position += REACH;
            }
            position = position.max(last + 1);
            if ranges.is_empty() {
                *next = position;
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(ranges: &[(u64, u64)]) -> Held {
        let ranges = ranges.iter().copied();
        Held::new(ranges.map(|(first, last)| (Height::new(first), Height::new(last))))
    }

    #[test]
    fn what_no_certificate_is_near_enough_to_is_uncovered() {
        // None at all, and nothing above: nobody can say that it is final.
        assert!(held(&[]).uncovered(9).is_empty());
        assert!(held(&[(1, 5)]).uncovered(9).is_empty());
        // Eight below a certificate are covered by it, nine are not.
        assert!(held(&[(9, 9)]).uncovered(9).is_empty());
        assert_eq!(held(&[(10, 10)]).uncovered(9), [1..=9]);
        assert!(held(&[(1, 3), (12, 20)]).uncovered(9).is_empty());
        assert_eq!(held(&[(1, 3), (13, 20)]).uncovered(9), [4..=12]);
        assert_eq!(
            held(&[(1, 3), (40, 40), (50, 50), (58, 58)]).uncovered(9),
            [4..=12, 13..=21, 22..=30, 31..=39, 41..=49]
        );
        assert_eq!(held(&[(1, 3), (40, 40)]).uncovered(2).len(), 2);
    }

    #[test]
    fn a_certificate_that_is_brought_covers_its_range() {
        let held = held(&[(1, 3), (32, 40)]);
        assert_eq!(held.uncovered(9), [4..=12, 13..=21, 22..=30]);
        // Not the one that would reach farthest.
        held.note(10);
        assert_eq!(held.uncovered(9), [11..=19, 20..=28]);
        held.note(28);
        assert_eq!(held.uncovered(9), [11..=19]);
        held.note(19);
        assert!(held.uncovered(9).is_empty());
        held.note(60);
        assert_eq!(held.uncovered(9), [41..=49, 50..=58]);
    }
}
