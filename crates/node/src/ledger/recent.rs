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

    /// Notes what became of a transaction. A later word replaces an earlier one, but final it stays: the same bytes, handed in
    /// again, may be refused for what they did themselves.
    pub(super) fn note(&self, id: TxId, outcome: Outcome) {
        self.with(|inner| {
            match inner.outcomes.get(&id) {
                Some(Outcome::Final { .. }) => return,
                Some(_) => {}
                None => inner.order.push_back(id),
            }
            inner.outcomes.insert(id, outcome);
            while inner.order.len() > self.max {
                if let Some(oldest) = inner.order.pop_front() {
                    inner.outcomes.remove(&oldest);
                }
            }
        });
    }

    /// Forgets a transaction that nothing is known about any more. Not one that is final.
    pub(super) fn forget(&self, id: &TxId) {
        self.with(|inner| {
            if !matches!(inner.outcomes.get(id), Some(Outcome::Final { .. })) {
                inner.outcomes.remove(id);
                inner.order.retain(|known| known != id);
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
    use crate::engine::Refusal;
    use kusabi_core::id::{Height, StateKey};
    use kusabi_ledger::Rejection;

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
    fn a_later_word_replaces_an_earlier_one_until_it_is_final() {
        let recent = Recent::new(2);
        let refused = Outcome::Refused(Refusal::Rejected(Rejection::HandleTaken));
        recent.note(id(1), Outcome::Pending);
        recent.note(id(1), refused);
        assert_eq!(recent.outcome(&id(1)), Some(refused));
        recent.note(id(1), outcome(2));
        for late in [Outcome::Pending, refused, outcome(9)] {
            recent.note(id(1), late);
            assert_eq!(recent.outcome(&id(1)), Some(outcome(2)));
        }
        recent.forget(&id(1));
        assert_eq!(recent.outcome(&id(1)), Some(outcome(2)));
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let recent = Recent::new(2);
        recent.note(id(1), outcome(1));
        recent.note(id(2), Outcome::Pending);
        recent.forget(&id(2));
        assert_eq!(recent.outcome(&id(2)), None);
        recent.note(id(3), outcome(3));
        assert_eq!(recent.outcome(&id(1)), Some(outcome(1)));
    }
}
