//! What became of the newest transactions that this node was handed: bounded, and gone with the process.

use super::Outcome;
use kusabi_core::id::TxId;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Remembers so many outcomes, the newest ones.
#[derive(Debug)]
pub(super) struct Recent {
    max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    outcomes: HashMap<TxId, Outcome>,
    /// Oldest first; each ID once.
    order: VecDeque<TxId>,
}

impl Recent {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            inner: Mutex::default(),
        }
    }

    /// What became of a transaction, as far as it is remembered.
    pub(super) fn outcome(&self, id: &TxId) -> Option<Outcome> {
        self.with(|inner| inner.outcomes.get(id).copied())
    }

    /// Notes what became of a transaction; a later word replaces an earlier one.
    pub(super) fn note(&self, id: TxId, outcome: Outcome) {
        self.with(|inner| {
            if inner.outcomes.insert(id, outcome).is_none() {
                inner.order.push_back(id);
            }
            while inner.order.len() > self.max {
                if let Some(oldest) = inner.order.pop_front() {
                    inner.outcomes.remove(&oldest);
                }
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        // Nothing panics between two halves of a change, so a poisoned lock guards a whole value.
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kusabi_core::id::{Height, StateKey};

    fn id(n: u8) -> TxId {
        TxId::new([n; 32])
    }

    fn outcome(index: u32) -> Outcome {
        Outcome::Final {
            height: Height::ZERO,
            index,
            row: StateKey::ledger(),
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let recent = Recent::new(2);
        for n in 1..=3 {
            recent.note(id(n), outcome(u32::from(n)));
        }
        assert_eq!(recent.outcome(&id(1)), None);
        assert_eq!(recent.outcome(&id(2)), Some(outcome(2)));
        assert_eq!(recent.outcome(&id(3)), Some(outcome(3)));
    }

    #[test]
    fn a_later_word_replaces_an_earlier_one() {
        let recent = Recent::new(2);
        recent.note(id(1), outcome(1));
        recent.note(id(1), outcome(2));
        recent.note(id(2), outcome(3));
        assert_eq!(recent.outcome(&id(1)), Some(outcome(2)));
    }
}
