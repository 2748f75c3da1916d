//! Sets of later epochs, with vote keys that are fresh in each, and the transactions that lead to them.
//!
//! Member 0 is the founder; the others follow in their order.

use kusabi_core::appointment::{AppointmentParts, OfficerSignature};
use kusabi_core::handover::HandoverParts;
use kusabi_core::id::{Epoch, HeaderHash, Height, NodesHash, OrgName};
use kusabi_core::keystore::KeyStore as _;
use kusabi_core::nodes::{NodeParts, nodes_of};
use kusabi_core::set::{EpochSet, EpochSetParts};
use kusabi_core::suite::{PublicKeys, Signature, VerificationKey};
use kusabi_core::tx::{Action, Transaction};

use super::{Other, TestKey, World, ed25519_public, organisation, seed_bytes};

impl World {
    /// How many organisations founded the ledger.
    #[must_use]
    pub fn members(&self) -> usize {
        1 + self.others.len()
    }

    /// Seed of the vote key of a member in an epoch.
    #[must_use]
    pub fn vote_seed_in(&self, epoch: u64, member: usize) -> [u8; 32] {
        match (epoch, member.checked_sub(1)) {
            (0, None) => self.vote_seed,
            (0, Some(other)) => self.other(other).vote_seed,
            (_, _) => seed_bytes(b"vote in", epoch << 8 | member as u64),
        }
    }

    /// Seed of the node key of a member.
    #[must_use]
    pub fn node_seed_of(&self, member: usize) -> [u8; 32] {
        match member.checked_sub(1) {
            None => self.node_seed,
            Some(other) => self.other(other).node_seed,
        }
    }

    fn other(&self, number: usize) -> &Other {
        self.others.get(number).expect("a member")
    }

    pub(super) fn officer_of(&self, member: usize) -> (OrgName, &TestKey) {
        match member.checked_sub(1) {
            None => (OrgName::new("cameras").expect("a name"), &self.officer),
            Some(other) => (self.other(other).name, &self.other(other).officer),
        }
    }

    /// The set of an epoch: all members' officers, and a fresh vote key for each of `voting`.
    #[must_use]
    pub fn set_of(&self, epoch: u64, voting: &[usize]) -> Vec<u8> {
        let organisations = (0..self.members()).map(|member| {
            let (name, officer) = self.officer_of(member);
            let votes = voting.contains(&member);
            let vote_seed = votes.then(|| self.vote_seed_in(epoch, member));
            organisation(name, officer, vote_seed)
        });
        EpochSetParts {
            epoch: Epoch::new(epoch),
            organisations: organisations.collect(),
        }
        .encode()
        .expect("an epoch set")
    }

    /// The nodes of a set, at these addresses by member.
    #[must_use]
    pub fn nodes_in(&self, epoch: u64, voting: &[usize], addresses: &[&str]) -> Vec<u8> {
        let set = self.set_of(epoch, voting);
        let nodes: Vec<_> = voting
            .iter()
            .map(|member| NodeParts {
                vote_key: ed25519_public(&self.vote_seed_in(epoch, *member)),
                key: ed25519_public(&self.node_seed_of(*member)),
                address: addresses.get(*member).copied().unwrap_or_default(),
            })
            .collect();
        let set = EpochSet::decode(&set).expect("the set that was made above");
        nodes_of(&set, &nodes).expect("nodes of that set")
    }

    /// What an appointment says that leads from one set to another.
    #[must_use]
    pub fn appoints(old_set: &[u8], next_set: &[u8], nodes: &[u8]) -> AppointmentParts {
        let old = EpochSet::decode(old_set).expect("a set");
        AppointmentParts {
            old_epoch: old.epoch(),
            old_set_hash: old.hash(),
            nodes_hash: NodesHash::of(nodes),
            next_set: next_set.to_vec(),
        }
    }

    /// The officers of these members sign an appointment.
    #[must_use]
    pub fn officers_sign(
        &self,
        old_set: &[u8],
        parts: &AppointmentParts,
        members: &[usize],
    ) -> Vec<OfficerSignature> {
        let old = EpochSet::decode(old_set).expect("a set");
        let mut signed: Vec<_> = members
            .iter()
            .map(|member| {
                let (name, officer) = self.officer_of(*member);
                let index = old
                    .organisations()
                    .position(|organisation| organisation.id == name.id())
                    .expect("a member of the set");
                let statement = parts
                    .statement(&self.chain, &public(&officer.key.public_keys()))
                    .expect("a short set");
                OfficerSignature {
                    organisation: u8::try_from(index).expect("at most sixteen"),
                    officer: 0,
                    signature: officer.key.sign(&statement).expect("a key in memory signs"),
                }
            })
            .collect();
        signed.sort_by_key(|signature| signature.organisation);
        signed
    }

    /// The transaction that appoints `next_set`, signed by the officers of `members` and brought by the writer.
    #[must_use]
    pub fn appoint(
        &self,
        old_set: &[u8],
        next_set: &[u8],
        nodes: &[u8],
        members: &[usize],
    ) -> Transaction {
        let parts = Self::appoints(old_set, next_set, nodes);
        let officers = self.officers_sign(old_set, &parts, members);
        let action = Action::Appoint {
            org: self.org,
            old_set: old_set.to_vec(),
            appointment: parts.encode(&officers).expect("officers in order"),
            nodes: nodes.to_vec(),
        };
        self.sign(action, &[&self.writer])
    }

    /// The handover to `next_set` after a last block, signed by the vote keys of `voters` in the old set and the officers of
    /// `members`.
    #[must_use]
    pub fn handover(
        &self,
        (old_set, next_set, nodes): (&[u8], &[u8], &[u8]),
        last: (Height, HeaderHash),
        voters: &[usize],
        members: &[usize],
    ) -> Transaction {
        let old = EpochSet::decode(old_set).expect("a set");
        let parts = HandoverParts {
            appointment: Self::appoints(old_set, next_set, nodes),
            last_height: last.0,
            last_header_hash: last.1,
        };
        let mut votes: Vec<(u8, Signature)> = voters
            .iter()
            .map(|member| {
                let seed = self.vote_seed_in(old.epoch().get(), *member);
                let vote_key = ed25519_public(&seed);
                let index = old
                    .validators()
                    .position(|validator| *validator.vote_key == vote_key)
                    .expect("a validator of the set");
                let key = VerificationKey::ed25519(&vote_key).expect("a key");
                let statement = parts.statement(&self.chain, &key).expect("a short set");
                let key = ed25519_zebra::SigningKey::from(seed);
                let signature: [u8; 64] = key.sign(statement.as_bytes()).into();
                (
                    u8::try_from(index).expect("at most sixteen"),
                    Signature::new(signature),
                )
            })
            .collect();
        votes.sort_by_key(|(index, _)| *index);
        let officers = self.officers_sign(old_set, &parts.appointment, members);
        let n = u8::try_from(old.validator_count()).expect("at most sixteen");
        let handover = parts
            .encode(n, &votes, &officers)
            .expect("signatures in order");
        let action = Action::Handover {
            old_set: old_set.to_vec(),
            handover,
            nodes: nodes.to_vec(),
        };
        self.sign(action, &[])
    }
}

fn public(keys: &PublicKeys) -> VerificationKey {
    keys.verification_key().expect("a native key")
}
