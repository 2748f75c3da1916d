//! Who the officers of a ledger are, read from its blocks: for a recovery, which is made where no node runs.

use std::collections::BTreeMap;

use kusabi_core::{
    id::{Handle, OrgId},
    set::{EpochSet, SIGNATORIES_MAX},
    suite::{Purpose, VerificationKey},
    tx::{Action, Transaction},
};

/// The officers in force after the transactions so far, all of which took effect.
#[derive(Debug, Default)]
pub(crate) struct Officers {
    /// By handle, with the place in the order of coming.
    active: BTreeMap<Handle, (u64, OrgId, VerificationKey)>,
    came: u64,
}

impl Officers {
    /// Follows a final transaction. `founded` is the validator set of the genesis document, which says whose officers the
    /// genesis transaction's are.
    pub(crate) fn follow(&mut self, transaction: &Transaction, founded: &EpochSet<'_>) {
        let action = transaction.action();
        // Whatever names an officer's key ends it: withdraw, revoke, and supersede, which brings its successor.
        for named in action.named() {
            self.active.remove(&named.handle);
        }
        for entry in action.entries() {
            if entry.purpose() != Purpose::Officer {
                continue;
            }
            // A final transaction's keys were checked; a foreign key is no officer's.
            let Some(key) = entry
                .check_keys()
                .ok()
                .and_then(|keys| keys.verification_key())
            else {
                continue;
            };
            let org = match action {
                Action::Genesis { .. } => founder(founded, &key),
                _ => action.org(),
            };
            if let Some(org) = org {
                self.came += 1;
                self.active.insert(entry.handle(), (self.came, org, key));
            }
        }
    }

    /// The keys of an organisation's officers, at most as many as a set can name: first those that it names already, then
    /// those that came first.
    pub(crate) fn of(&self, org: &OrgId, named: &[VerificationKey]) -> Vec<VerificationKey> {
        let mut officers: Vec<_> = self
            .active
            .values()
            .filter(|(_, owner, _)| owner == org)
            .collect();
        officers.sort_by_key(|(came, _, key)| (!named.contains(key), *came));
        let keys = officers.into_iter().map(|(_, _, key)| *key);
        keys.take(SIGNATORIES_MAX).collect()
    }
}

fn founder(founded: &EpochSet<'_>, key: &VerificationKey) -> Option<OrgId> {
    founded
        .organisations()
        .find(|organisation| {
            let officers = organisation.officers;
            (0..officers.len()).any(|index| officers.key(index).as_ref() == Some(key))
        })
        .map(|organisation| organisation.id)
}
