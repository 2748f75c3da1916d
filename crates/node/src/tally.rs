//! Whose votes stand in the certificates of the newest blocks, how long the newest views took, and when the epoch began.
//!
//! A certificate has a quorum's votes and need not have more: of four validators the slowest is usually left out of it. So a vote
//! that is missing here and there says nothing; a validator whose votes are missing from all of them is away, or too slow.
//!
//! All of it is of one epoch. The certificates are read from the disk again after a restart; the views are those that this process
//! has seen.

use kusabi_core::id::{Epoch, Height};
use std::collections::VecDeque;

/// The newest certificates are counted: so many at most.
pub(crate) const CERTIFICATES_MAX: usize = 1_000;
/// The newest views are those of so long, by the ledger's time,
const VIEWS_MS: u64 = 10_000;
/// and of so many blocks at most.
const VIEWS_MAX: usize = 1_024;

/// What was counted of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    epoch: Epoch,
    /// Time of its first block whose time is that of the clocks, in milliseconds since 1970; `None` before there is one.
    pub(crate) began_ms: Option<u64>,
    /// Each certificate that is counted.
    certificates: VecDeque<Certified>,
    /// By validator: how many of them are without its vote.
    missed: Vec<u64>,
    /// By validator: the newest height whose certificate has its vote.
    voted: Vec<Option<Height>>,
    /// View and time of blocks.
    views: VecDeque<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Certified {
    height: Height,
    /// Validators whose vote it does not have.
    missing: Vec<usize>,
}

impl Tally {
    /// Nothing yet, of an epoch with so many validators.
    pub(crate) fn new(epoch: Epoch, validators: usize) -> Self {
        Self {
            epoch,
            began_ms: None,
            certificates: VecDeque::new(),
            missed: vec![0; validators],
            voted: vec![None; validators],
            views: VecDeque::new(),
        }
    }

    /// The epoch that this is about.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next block with a certificate, and whose votes that has, by index.
    pub(crate) fn certified(&mut self, height: Height, votes: &[usize]) {
        if self.certificates.len() >= CERTIFICATES_MAX
            && let Some(oldest) = self.certificates.pop_front()
        {
            for missed in at(&mut self.missed, &oldest.missing) {
                *missed = missed.saturating_sub(1);
            }
        }
        let all = 0..self.missed.len();
        let missing: Vec<_> = all.filter(|validator| !votes.contains(validator)).collect();
        for missed in at(&mut self.missed, &missing) {
            *missed += 1;
        }
        for voted in at(&mut self.voted, votes) {
            *voted = Some(height);
        }
        self.certificates.push_back(Certified { height, missing });
    }

    /// The newest block: its view and its time, in milliseconds since 1970.
    pub(crate) fn block(&mut self, view: u64, time_ms: u64) {
        let begin_ms = time_ms.saturating_sub(VIEWS_MS);
        // One at the begin or before it stays, for views are measured between two blocks.
        while self.views.len() >= VIEWS_MAX || self.views.get(1).is_some_and(|of| of.1 <= begin_ms)
        {
            self.views.pop_front();
        }
        self.views.push_back((view, time_ms));
    }

    /// The newest block's time says nothing, for the ledger's time runs after the clocks: views are measured anew when it is there.
    pub(crate) fn out_of_time(&mut self) {
        self.views.clear();
    }

    /// How many certificates are counted.
    pub(crate) fn counted(&self) -> u64 {
        self.certificates.len() as u64
    }

    /// The height of the oldest of them.
    pub(crate) fn from(&self) -> Option<Height> {
        self.certificates.front().map(|oldest| oldest.height)
    }

    /// How many of them are without this validator's vote.
    pub(crate) fn missed(&self, validator: usize) -> Option<u64> {
        self.missed.get(validator).copied()
    }

    /// The height of the newest of them that has this validator's vote.
    pub(crate) fn voted(&self, validator: usize) -> Option<Height> {
        let voted = self.voted.get(validator).copied().flatten();
        voted.filter(|height| Some(*height) >= self.from())
    }

    /// How long one of the newest views took, on average, in milliseconds. `None` before two blocks were seen.
    pub(crate) fn view_time_ms(&self) -> Option<u64> {
        let (first, last) = (self.views.front()?, self.views.back()?);
        let time_ms = last.1.saturating_sub(first.1);
        time_ms.checked_div(last.0.saturating_sub(first.0))
    }
}

/// The places of `all` that are named.
fn at<'a, T>(all: &'a mut [T], named: &'a [usize]) -> impl Iterator<Item = &'a mut T> {
    let all = all.iter_mut().enumerate();
    all.filter_map(|(place, of)| named.contains(&place).then_some(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn height(height: u64) -> Height {
        Height::new(height).unwrap()
    }

    #[test]
    fn votes_are_counted_in_the_newest_certificates_alone() {
        let mut tally = Tally::new(Epoch::ZERO, 4);
        assert_eq!((tally.counted(), tally.from()), (0, None));
        // The last is away at first, then comes, and the third goes.
        for block in 1..=600 {
            tally.certified(height(block), &[0, 1, 2]);
        }
        let missed = |tally: &Tally| [0, 1, 2, 3].map(|v| tally.missed(v).unwrap());
        assert_eq!(missed(&tally), [0, 0, 0, 600]);
        assert_eq!(tally.voted(3), None);
        for block in 601..=1_200 {
            tally.certified(height(block), &[0, 1, 3]);
        }
        assert_eq!((tally.counted(), tally.from()), (1_000, Some(height(201))));
        assert_eq!(missed(&tally), [0, 0, 600, 400]);
        assert_eq!(tally.voted(2), Some(height(600)));
        assert_eq!(tally.voted(3), Some(height(1_200)));
        // Long ago is as good as never: after a restart nothing would be known of it.
        for block in 1_201..=1_600 {
            tally.certified(height(block), &[0, 1, 3]);
        }
        assert_eq!(missed(&tally), [0, 0, 1_000, 0]);
        assert_eq!(tally.voted(2), None);
        // A validator that there is not.
        assert_eq!((tally.missed(4), tally.voted(4)), (None, None));
        tally.certified(height(1_601), &[0, 7]);
        assert_eq!(tally.missed(1), Some(1));
    }

    #[test]
    fn the_newest_views_are_measured_between_blocks() {
        let mut tally = Tally::new(Epoch::ZERO, 4);
        assert_eq!(tally.view_time_ms(), None);
        tally.block(10, 1_000);
        assert_eq!(tally.view_time_ms(), None);
        // A block after some turns that were given away, then one in each view.
        tally.block(20, 10_000);
        assert_eq!(tally.view_time_ms(), Some(900));
        for view in 21..=300 {
            tally.block(view, 10_000 + (view - 20) * 50);
        }
        // Of the last ten seconds: 200 views of 50 ms, not what came before.
        assert_eq!(tally.view_time_ms(), Some(50));
        // A long silence counts with the block that ends it.
        tally.block(301, 600_000);
        assert_eq!(tally.view_time_ms(), Some(600_000 - 24_000));
        // A great many blocks in no time.
        for view in 302..5_000 {
            tally.block(view, 600_000);
        }
        assert_eq!(tally.views.len(), VIEWS_MAX);
        assert_eq!(tally.view_time_ms(), Some(0));
        tally.out_of_time();
        assert_eq!(tally.view_time_ms(), None);
        // Once more the same block: not a view more.
        let mut tally = Tally::new(Epoch::ZERO, 1);
        tally.block(1, 5);
        tally.block(1, 5);
        assert_eq!(tally.view_time_ms(), None);
    }
}
