//! Appointments for tests, of organisations whose keys have small numbers.

use ed25519_zebra::{SigningKey, VerificationKeyBytes};
use kusabi_core::{
    appointment::{AppointmentParts, NextKeys},
    id::{ChainId, Epoch, NodesHash, OrgName},
    nodes::{NodeParts, nodes_of},
    set::{EpochSet, EpochSetParts, OrganisationParts},
    suite::{Signature, VerificationKey},
};

use super::Appointing;
use crate::node_file::{NodeFile, Seat};

pub(crate) const CHAIN: ChainId = ChainId::new([7; 32]);

/// The epoch that an appointment ends.
pub(crate) const EPOCH: u64 = 4;

/// An organisation of a set: its name, its officer's seed, its validators' vote keys' seeds.
pub(crate) type Member<'a> = (&'static str, u8, &'a [u8]);

/// The four with the validators of before, whose next keys each of them has signed: the present vote key, the next one, the node's.
pub(crate) const ALL: [(u8, u8, u8); 4] = [(1, 11, 101), (2, 12, 102), (3, 13, 103), (4, 14, 104)];

pub(crate) fn public(seed: u8) -> [u8; 32] {
    VerificationKeyBytes::from(&SigningKey::from([seed; 32])).into()
}

/// The seed of the node key of a validator whose vote key has this seed: the node stays in the next epoch.
const fn node(vote: u8) -> u8 {
    100 + vote % 10
}

/// Four organisations, by the seeds of their vote keys.
pub(crate) fn four<'a>(votes: [&'a [u8]; 4]) -> Vec<Member<'a>> {
    let names = ["acme", "beta", "corp", "delta"];
    let members = names.into_iter().zip(200u8..).zip(votes);
    members
        .map(|((name, officer), votes)| (name, officer, votes))
        .collect()
}

pub(crate) fn set(epoch: u64, members: &[Member<'_>]) -> Vec<u8> {
    let organisations = members.iter().map(|(name, officer, votes)| {
        let votes = votes.iter().map(|seed| public(*seed));
        OrganisationParts {
            id: OrgName::new(name).unwrap().id(),
            threshold: 1,
            officers: vec![VerificationKey::ed25519(&public(*officer)).unwrap()],
            vote_keys: votes.collect(),
        }
    });
    EpochSetParts {
        epoch: Epoch::new(epoch),
        organisations: organisations.collect(),
    }
    .encode()
    .unwrap()
}

/// What a vote key of the epoch before signs of the next one and of the node's.
pub(crate) fn says(by: u8, vote_key: [u8; 32], node_key: [u8; 32]) -> Signature {
    let keys = NextKeys {
        epoch: Epoch::new(EPOCH + 1),
        vote_key,
        node_key,
    };
    let present = VerificationKey::ed25519(&public(by)).unwrap();
    let statement = keys.statement(&CHAIN, &present);
    let signature = SigningKey::from([by; 32]).sign(statement.as_bytes());
    Signature::new(signature.into())
}

/// The file of a fresh node of an organisation.
pub(crate) fn node_file(org: &str, vote: u8) -> NodeFile {
    NodeFile {
        org: OrgName::new(org).unwrap(),
        seat: Seat {
            vote_key: public(vote),
            node_key: public(node(vote)),
            address: String::new(),
        },
    }
}

/// An appointment from ones to others, with what vote keys signed: by which, the next vote key, its node's key.
pub(crate) fn made(old: &[Member<'_>], next: &[Member<'_>], said: &[(u8, u8, u8)]) -> Appointing {
    let (old_set, next_set) = (set(EPOCH, old), set(EPOCH + 1, next));
    let (old, all) = (EpochSet::decode(&old_set).unwrap(), next);
    let next = EpochSet::decode(&next_set).unwrap();
    let seeds = all.iter().flat_map(|(_, _, votes)| votes.iter().copied());
    let nodes = seeds.map(|seed| NodeParts {
        vote_key: public(seed),
        key: public(node(seed)),
        address: "node.example:7043",
    });
    let nodes = nodes_of(&next, &nodes.collect::<Vec<_>>()).unwrap();
    let confirmations = said.iter().map(|(by, vote, node)| {
        let mut places = next.validators();
        let place = places
            .position(|one| *one.vote_key == public(*vote))
            .unwrap();
        (
            u8::try_from(place).unwrap(),
            says(*by, public(*vote), public(*node)),
        )
    });
    let confirmations = confirmations.collect();
    let parts = AppointmentParts {
        old_epoch: old.epoch(),
        old_set_hash: old.hash(),
        nodes_hash: NodesHash::of(&nodes),
        next_set: next_set.clone(),
    };
    Appointing {
        chain: CHAIN,
        org: OrgName::new("acme").unwrap().id(),
        old_set,
        parts,
        signatures: Vec::new(),
        nodes,
        confirmations,
    }
}
