//! Who the officers of a ledger are, read from its blocks: for a recovery, which is made where no node runs.

use std::collections::{BTreeMap, BTreeSet};

use kusabi_core::{
    id::{Handle, OrgId},
    set::{EpochSet, SIGNATORIES_MAX},
    suite::{Purpose, VerificationKey},
    tx::{Act, Action, Transaction},
};

/// The officers in force after the transactions so far, all of which took effect.
#[derive(Debug, Default)]
pub(crate) struct Officers {
    /// By handle, with the place in the order of coming.
    active: BTreeMap<Handle, (u64, OrgId, VerificationKey)>,
    came: u64,
    /// Organisations that have acted.
    acted: BTreeSet<OrgId>,
}

impl Officers {
    /// Follows a final transaction. `founded` is the validator set of the genesis document, which says whose officers the
    /// genesis transaction's are.
    pub(crate) fn follow(&mut self, transaction: &Transaction, founded: &EpochSet<'_>) {
        let action = transaction.action();
        if let Action::Propose { proposal } | Action::Vote { proposal, .. } = action {
            for act in proposal.acts() {
                self.admit(act);
            }
            return;
        }
        // Given away are devices' keys.
        if let Action::Transfer { .. } = action {
            return;
        }
        // From here on the organisation acts, so it was admitted, and as it was proposed last.
        self.acted.extend(action.org());
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
                self.acted.insert(org);
                self.came += 1;
                self.active.insert(entry.handle(), (self.came, org, key));
            }
        }
    }

    /// Notes the officers of a candidate. Whether it is admitted is for the votes; an organisation that was not stands in no set, so
    /// that nobody asks for its officers. Of two proposals for one name the last one counts until the organisation acts.
    fn admit(&mut self, act: &Act) {
        let Act::Admit { candidate, .. } = act else {
            return;
        };
        let org = candidate.name.id();
        if self.acted.contains(&org) {
            return;
        }
        self.active.retain(|_, (_, owner, _)| *owner != org);
        for consent in &candidate.officers {
            let keys = consent.entry.check_keys().ok();
            if let Some(key) = keys.and_then(|keys| keys.verification_key()) {
                self.came += 1;
                let handle = consent.entry.handle();
                self.active.insert(handle, (self.came, org, key));
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
