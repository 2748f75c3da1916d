//! Who the officers of a ledger are, and what its organisations are called, read from its blocks: for a recovery, which is made where
//! no node runs.

use std::collections::BTreeMap;

use kusabi_core::{
    genesis::Genesis,
    id::{Handle, Height, OrgId, OrgName},
    set::{EpochSet, SIGNATORIES_MAX},
    suite::{Purpose, VerificationKey},
    tx::{Act, Action, Entry, Transaction},
};
use kusabi_ledger::{Decisions, Rejection};

/// The officers in force after the blocks so far, all of which are final.
#[derive(Debug)]
pub(crate) struct Officers {
    decisions: Decisions,
    /// By handle, with the place in the order of coming.
    active: BTreeMap<Handle, (u64, OrgId, VerificationKey)>,
    came: u64,
    /// Founders, and those who were admitted: no organisation changes its name.
    names: BTreeMap<OrgId, OrgName>,
}

impl Officers {
    /// Before the first block.
    ///
    /// # Errors
    /// [`Rejection::GenesisMalformed`]
    pub(crate) fn new(genesis: &Genesis<'_>) -> Result<Self, Rejection> {
        let founders = genesis.founders();
        let names = founders.filter_map(|founder| OrgName::new(founder.name).ok());
        Ok(Self {
            decisions: Decisions::new(genesis)?,
            active: BTreeMap::new(),
            came: 0,
            names: names.map(|name| (name.id(), name)).collect(),
        })
    }

    /// What an organisation is called; its ID, where the blocks so far have none of it.
    pub(crate) fn name(&self, org: &OrgId) -> String {
        let name = self.names.get(org);
        name.map_or_else(|| org.to_string(), ToString::to_string)
    }

    /// Follows a transaction of a final block of this height and time. `founded` is the validator set of the genesis document, which
    /// says whose officers the genesis transaction's are.
    ///
    /// # Errors
    /// Why it cannot be final.
    pub(crate) fn follow(
        &mut self,
        transaction: &Transaction,
        founded: &EpochSet<'_>,
        height: Height,
        time_ms: u64,
    ) -> Result<(), Rejection> {
        let action = transaction.action();
        // Whoever is proposed is nobody yet: the votes decide, by the ledger's own rules.
        if let Some(carried) = self.decisions.follow(action, height, time_ms)? {
            for act in carried.acts() {
                if let Act::Admit { candidate, .. } = act {
                    self.names.insert(candidate.name.id(), candidate.name);
                    let entries = candidate.officers.iter().map(|consent| &consent.entry);
                    entries.for_each(|entry| self.come(entry, |_| Some(candidate.name.id())));
                }
            }
            return Ok(());
        }
        // Given away are devices' keys.
        if let Action::Transfer { .. } = action {
            return Ok(());
        }
        // Whatever names an officer's key ends it: withdraw, revoke, and supersede, which brings its successor.
        for named in action.named() {
            self.active.remove(&named.handle);
        }
        for entry in action.entries() {
            self.come(entry, |key| match action {
                Action::Genesis { .. } => founder(founded, key),
                _ => action.org(),
            });
        }
        Ok(())
    }

    /// Notes an officer's key, whose owner is found by it. A handle is never used twice, so that none takes another's place.
    fn come(&mut self, entry: &Entry, owner: impl FnOnce(&VerificationKey) -> Option<OrgId>) {
        if entry.purpose() != Purpose::Officer {
            return;
        }
        // A final transaction's keys were checked; a foreign key is no officer's.
        let keys = entry.check_keys().ok();
        let Some(key) = keys.and_then(|keys| keys.verification_key()) else {
            return;
        };
        if let Some(org) = owner(&key) {
            self.came += 1;
            let officer = (self.came, org, key);
            self.active.entry(entry.handle()).or_insert(officer);
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

#[cfg(test)]
mod tests {
    use kusabi_core::{
        id::StateKey,
        row::Record,
        tx::{Act, Proposal},
    };
    use kusabi_ledger::{
        State as _,
        testing::{TestKey, World},
    };

    use super::*;

    /// A ledger, and the officers that are followed beside it.
    struct Followed {
        world: World,
        officers: Officers,
    }

    impl Followed {
        fn new(organisations: u64) -> Self {
            let mut world = World::of(1 << 40, organisations);
            let document = world.document.clone();
            let officers = Officers::new(&Genesis::decode(&document).unwrap()).unwrap();
            world.time_ms += 1;
            let genesis = world.genesis();
            let mut followed = Self { world, officers };
            followed.submit(genesis);
            followed
        }

        fn submit(&mut self, transaction: Transaction) {
            self.world.submit(transaction.clone()).unwrap();
            let document = self.world.document.clone();
            let genesis = Genesis::decode(&document).unwrap();
            let (height, time_ms) = (self.world.height, self.world.time_ms);
            self.officers
                .follow(&transaction, genesis.epoch_set(), height, time_ms)
                .unwrap();
            self.agrees();
        }

        /// The officers are those whose records are active and say whose they are.
        fn agrees(&self) {
            for (handle, (_, org, key)) in &self.officers.active {
                let row = self.world.state.row(&StateKey::record(handle)).unwrap();
                let record = Record::decode_own(&row).unwrap();
                assert!(record.is_active());
                assert_eq!((record.owner(), record.purpose()), (*org, Purpose::Officer));
                assert_eq!(record.keys().verification_key(), Some(*key));
            }
            let in_force = self.world.state.rows().filter(|(_, row)| {
                Record::decode_own(row)
                    .is_ok_and(|record| record.is_active() && record.purpose() == Purpose::Officer)
            });
            assert_eq!(in_force.count(), self.officers.active.len());
        }

        fn propose(&mut self, member: usize, acts: Vec<Act>) -> Proposal {
            self.world.time_ms += 1;
            let (proposal, transaction) = self.world.propose(member, acts);
            self.submit(transaction);
            proposal
        }

        fn vote(&mut self, member: usize, proposal: &Proposal) {
            let vote = self.world.vote(member, proposal, true);
            self.submit(vote);
        }

        fn of(&self, org: &OrgId) -> Vec<VerificationKey> {
            self.officers.of(org, &[])
        }

        fn admit(&self, name: &str, officer: &TestKey) -> Act {
            Act::Admit {
                candidate: self.world.candidate(name, 1, &[officer]),
                quota: 100,
                seat: true,
            }
        }
    }

    fn key(key: &TestKey) -> VerificationKey {
        key.public_keys().verification_key().unwrap()
    }

    #[test]
    fn an_application_with_an_officers_handle_strikes_nobody_out() {
        let mut followed = Followed::new(4);
        let founder = followed.world.org_of(1);
        let before = followed.of(&founder);
        assert_eq!(before.len(), 1);
        // Its own key, under the handle of another organisation's officer.
        let mut thief = TestKey::new(7_000, Purpose::Officer);
        thief.handle = followed.world.others[0].officer.handle;
        let act = followed.admit("newcomer", &thief);
        followed.propose(3, vec![act]);
        assert_eq!(followed.of(&founder), before);
    }

    #[test]
    fn a_second_application_in_a_members_name_replaces_none_of_its_officers() {
        let mut followed = Followed::new(4);
        let [good, other] = [7_000, 7_001].map(|n| TestKey::new(n, Purpose::Officer));
        let act = followed.admit("newcomer", &good);
        let admission = followed.propose(0, vec![act]);
        let newcomer = "newcomer".parse::<kusabi_core::id::OrgName>().unwrap().id();
        followed.vote(1, &admission);
        assert!(followed.of(&newcomer).is_empty());
        // Nor has it a name before it is admitted.
        assert_eq!(followed.officers.name(&newcomer), newcomer.to_string());
        followed.vote(2, &admission);
        assert_eq!(followed.of(&newcomer), [key(&good)]);
        assert_eq!(followed.officers.name(&newcomer), "newcomer");
        // It has not acted yet, or has voted only.
        for votes in [false, true] {
            if votes {
                let act = Act::Heartbeat { ms: 30_000 };
                let proposal = followed.propose(0, vec![act]);
                let vote = followed.world.vote_of(newcomer, &proposal, true, &[&good]);
                followed.submit(vote);
            }
            let act = followed.admit("newcomer", &other);
            followed.propose(3, vec![act]);
            assert_eq!(followed.of(&newcomer), [key(&good)]);
        }
    }

    #[test]
    fn of_two_applications_in_one_name_the_one_that_is_carried_counts() {
        let mut followed = Followed::new(4);
        let [first, second] = [7_000, 7_001].map(|n| TestKey::new(n, Purpose::Officer));
        let act = followed.admit("newcomer", &first);
        let carried = followed.propose(0, vec![act]);
        let act = followed.admit("newcomer", &second);
        followed.propose(3, vec![act]);
        for member in [1, 2] {
            followed.vote(member, &carried);
        }
        let newcomer = "newcomer".parse::<kusabi_core::id::OrgName>().unwrap().id();
        assert_eq!(followed.of(&newcomer), [key(&first)]);
    }

    #[test]
    fn officers_come_and_go_as_the_rows_say() {
        let mut followed = Followed::new(2);
        let second = TestKey::new(50, Purpose::Officer);
        let grant = followed.world.grant(&second);
        followed.submit(grant);
        let (org, founder) = (followed.world.org, key(&followed.world.officer));
        assert_eq!(followed.of(&org), [founder, key(&second)]);
        let action = Action::Withdraw {
            org,
            target: followed.world.named(&followed.world.officer),
        };
        let withdraw = followed.world.sign(action, &[&second]);
        followed.submit(withdraw);
        assert_eq!(followed.of(&org), [key(&second)]);
    }
}
