//! Organisations besides the first one, and devices that go from one to another.

use kusabi_core::device::Input;
use kusabi_core::id::{Digest, Handle, OrgId};
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::tx::{Act, Action, Named};
use kusabi_ledger::testing::{OFFICER, TestKey, WRITER};

use crate::fleet::Fleet;
use crate::server::Server;

/// Rows that a newcomer may have.
const QUOTA: u64 = 100;

/// Who acts for an organisation.
#[derive(Debug)]
pub struct Owner {
    /// Its ID.
    pub org: OrgId,
    /// Its officer, who gives devices away.
    pub officer: TestKey,
    /// Its writer, who takes them.
    pub writer: TestKey,
    /// Its release key.
    pub art: TestKey,
}

impl Owner {
    /// The organisation that founded a fleet's ledger.
    #[must_use]
    pub fn founder(fleet: &Fleet) -> Self {
        Self {
            org: fleet.shop.ledger.world.org,
            officer: TestKey::new(OFFICER, Purpose::Officer),
            writer: TestKey::new(WRITER, Purpose::Writer),
            art: TestKey::new(2000, Purpose::Art),
        }
    }
}

impl Fleet {
    /// Admits an organisation without a vote; its keys have numbers from this one on.
    pub fn admit(&mut self, name: &str, number: u64) -> Owner {
        let officer = TestKey::new(number, Purpose::Officer);
        let world = &self.shop.ledger.world;
        let candidate = world.candidate(name, 1, &[&officer]);
        let org = candidate.name.id();
        let act = Act::Admit {
            candidate,
            quota: QUOTA,
            seat: false,
        };
        let (_, transaction) = world.propose(0, vec![act]);
        self.shop.ledger.submit(transaction).expect("a newcomer");
        let owner = Owner {
            org,
            writer: TestKey::new(number + 1, Purpose::Writer),
            art: TestKey::new(number + 2, Purpose::Art),
            officer,
        };
        self.grant_by(&owner, &owner.writer);
        owner
    }

    /// An organisation's officer grants a role.
    pub fn grant_by(&mut self, owner: &Owner, key: &TestKey) {
        let world = &self.shop.ledger.world;
        let row = world.organisation_of(&owner.org).expect("an organisation");
        let action = Action::Grant {
            org: owner.org,
            org_version: row.version,
            entry: Box::new(key.entry(&world.chain, &owner.org)),
        };
        let transaction = world.sign(action, &[&owner.officer]);
        self.shop.ledger.submit(transaction).expect("a new key");
    }

    /// A server of an organisation, with a key of its own.
    pub fn server_of(&mut self, owner: &Owner, number: u64) -> Server {
        let key = TestKey::of_suite(self.suite(), number, Purpose::Ps);
        self.grant_by(owner, &key);
        Server::new(key, owner.org)
    }

    /// A device has so many addresses from now on, also when it starts again.
    pub fn reach(&mut self, unit: usize, addresses: usize) {
        self.units[unit].addresses = addresses;
        self.tell(unit, Input::Reach(addresses));
    }

    /// Gives a key from one organisation to another; both sign. The giver forgets what it knew of the device. False when it is not
    /// active, or not the giver's.
    pub fn transfer(&mut self, handle: &Handle, from: &Owner, to: &Owner) -> bool {
        let world = &self.shop.ledger.world;
        let Some(record) = world.record(handle) else {
            return false;
        };
        let action = Action::Transfer {
            org: from.org,
            to: to.org,
            targets: vec![Named {
                handle: *handle,
                version: record.version(),
            }],
        };
        let transaction = world.sign(action, &[&from.officer, &to.writer]);
        if self.shop.ledger.submit(transaction).is_err() {
            return false;
        }
        let device = self.shop.device(from.org, handle);
        self.shop.rows.remove(&device);
        true
    }

    /// An organisation publishes a release.
    pub fn publish_by(&mut self, owner: &Owner, digest: Digest) {
        let world = &self.shop.ledger.world;
        let policy_version = match world.policy_of(&owner.org) {
            Some(policy) => policy.version,
            None => {
                let action = Action::ArtPolicy {
                    org: owner.org,
                    policy_version: 0,
                    signers: 0, // `sign` counts them
                    k: 1,
                    added: vec![owner.art.entry(&world.chain, &owner.org)],
                    removed: vec![],
                };
                let transaction = world.sign(action, &[&owner.officer, &owner.art]);
                self.shop.ledger.submit(transaction).expect("a policy");
                1
            }
        };
        let action = Action::Publish {
            org: owner.org,
            policy_version,
            digest,
            minimum_counter: 0,
        };
        let transaction = self.shop.ledger.world.sign(action, &[&owner.art]);
        self.shop.ledger.submit(transaction).expect("a release");
    }

    /// Whether a device has come to rest as an organisation's: its key was made for it.
    #[must_use]
    pub fn is_settled_with(&self, unit: usize, owner: &Owner) -> bool {
        let kept = self.units[unit].device.kept();
        let identity = kept.current();
        let id = self.units[unit].disk.slots[identity.slot as usize]
            .as_deref()
            .map(|(id, _)| id);
        let record = self.shop.ledger.record(&identity.handle);
        self.is_settled(unit)
            && kept.org() == owner.org
            && record.zip(id).is_some_and(|(record, id)| {
                record.owner() == owner.org && record.is_bound(id, &self.shop.ledger.world.chain)
            })
    }

    /// The suite that the fleet speaks.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.servers[0].key.public_keys().suite()
    }
}
