//! Counts, beside everything else, the votes in the newest certificates and the newest views: [`Tally`].

use super::{Runtime, epochs::Epochs, service::Certificate, shelf::Shelf};
use crate::{
    handle::Newest,
    tally::{CERTIFICATES_MAX, Tally},
};
use kusabi_core::id::Height;
use kusabi_ledger::TIME_STEP_MS_MAX;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// What is counted from.
pub(super) struct Parts<E: Runtime> {
    pub(super) epochs: Epochs,
    /// Time of the block of height 0, in milliseconds since 1970.
    pub(super) founded_ms: u64,
    pub(super) shelf: Shelf<E>,
    pub(super) newest: watch::Receiver<Option<Newest>>,
    /// Told of whenever `newest` has moved.
    pub(super) moved: Arc<Notify>,
    pub(super) tally: watch::Sender<Option<Tally>>,
}

/// What was looked at already.
#[derive(Default)]
struct Looked {
    /// Position of the next block whose certificate is to be counted.
    next: u64,
    /// Position of the next block that may tell when the epoch began.
    first: u64,
}

/// Runs as long as the engine does.
pub(super) async fn count<E: Runtime>(parts: Parts<E>) {
    let mut looked = Looked::default();
    loop {
        let newest = *parts.newest.borrow();
        if let Some(newest) = newest.filter(|newest| newest.height > Height::ZERO) {
            parts.look(newest, &mut looked).await;
        }
        parts.moved.notified().await;
    }
}

impl<E: Runtime> Parts<E> {
    /// Goes on to the newest block.
    async fn look(&self, newest: Newest, looked: &mut Looked) {
        let Some(epoch) = self.epochs.by_number(newest.epoch) else {
            return;
        };
        let newest_position = newest.height.get() - epoch.skipped;
        let first = epoch.first.max(1);
        let known = {
            let tally = self.tally.borrow();
            let tally = tally.as_ref().filter(|of| of.epoch() == newest.epoch);
            tally.filter(|_| looked.next > first).is_some()
        };
        if !known {
            let tally = Tally::new(newest.epoch, epoch.vote_keys.len());
            self.tally.send_replace(Some(tally));
            *looked = Looked { next: first, first };
        }
        self.begin(newest_position, looked).await;
        // What would not be counted for long is not read: who joins has a whole history before it.
        let oldest = (newest_position + 1).saturating_sub(CERTIFICATES_MAX as u64);
        for position in oldest.max(looked.next)..=newest_position {
            if let Some(certificate) = self.shelf.certificate(position).await {
                self.change(|tally| certified(tally, position + epoch.skipped, &certificate));
            }
        }
        if looked.next <= newest_position {
            self.change(|tally| match newest.late {
                true => tally.out_of_time(),
                false => tally.block(newest.view, newest.time_ms),
            });
        }
        looked.next = newest_position + 1;
    }

    /// Looks for the first block of the epoch whose time says when it began. After a long halt the first ones do not: the ledger's
    /// time runs after the clocks, an hour with each block.
    async fn begin(&self, newest: u64, looked: &mut Looked) {
        let unknown = |tally: &Tally| tally.began_ms.is_none();
        if !self.tally.borrow().as_ref().is_some_and(unknown) {
            return;
        }
        let time_ms = async |position| {
            if position == 0 {
                return Some(self.founded_ms);
            }
            let block = self.shelf.block(position).await;
            block.map(|block| block.header.time_ms)
        };
        let Some(mut before_ms) = time_ms(looked.first - 1).await else {
            return;
        };
        while looked.first <= newest {
            let Some(ms) = time_ms(looked.first).await else {
                return;
            };
            if ms.saturating_sub(before_ms) < TIME_STEP_MS_MAX {
                self.change(|tally| tally.began_ms = Some(ms));
                return;
            }
            before_ms = ms;
            looked.first += 1;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Tally)) {
        self.tally.send_modify(|tally| {
            if let Some(tally) = tally {
                change(tally);
            }
        });
    }
}

fn certified(tally: &mut Tally, height: u64, certificate: &Certificate) {
    let signers = certificate.certificate.signers.iter();
    let votes: Vec<_> = signers
        .filter_map(|signer| usize::try_from(signer.get()).ok())
        .collect();
    if let Ok(height) = Height::new(height) {
        tally.certified(height, &votes);
    }
}
