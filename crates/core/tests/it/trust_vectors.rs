//! `spec/vectors/trust.json`: what an independent reading of spec/proof.md makes, core accepts and understands alike.

use kusabi_core::anchor::Anchor;
use kusabi_core::appointment::{Appointment, NextKeys};
use kusabi_core::checkpoint::FinalizeVote;
use kusabi_core::handover::{
    Handover, HandoverError, RECOVERY_EPOCH_MAX, RECOVERY_JUMP_MAX, Recovery,
};
use kusabi_core::header::Header;
use kusabi_core::id::{ChainId, Epoch, StateKey};
use kusabi_core::proof::{Proof, ProofError};
use kusabi_core::set::EpochSet;
use kusabi_core::suite::Signature;
use serde::Deserialize;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Trust {
    chain: Hex,
    #[serde(rename = "epoch sets")]
    epoch_sets: Vec<Hex>,
    anchor: Hex,
    header: Hex,
    #[serde(rename = "header hash")]
    header_hash: Hex,
    #[serde(rename = "finalize message")]
    finalize_message: Hex,
    appointment: Hex,
    handover: Hex,
    #[serde(rename = "after handover")]
    after_handover: Hex,
    #[serde(rename = "next keys")]
    next_keys: SignedKeys,
    recovery: Hex,
    #[serde(rename = "before recovery")]
    before_recovery: Vec<Hex>,
    #[serde(rename = "after recovery")]
    after_recovery: Hex,
    #[serde(rename = "farthest recovery")]
    farthest_recovery: Hex,
    #[serde(rename = "refused recoveries")]
    refused_recoveries: Vec<(String, Hex)>,
    floors: Vec<(Option<String>, Hex)>,
    #[serde(rename = "refused anchors")]
    refused_anchors: Vec<(String, Hex)>,
    proofs: Vec<OneKey>,
    empty: Hex,
}

#[derive(Deserialize)]
struct SignedKeys {
    present: Hex,
    epoch: u64,
    #[serde(rename = "vote key")]
    vote_key: Hex,
    #[serde(rename = "node key")]
    node_key: Hex,
    signature: Hex,
}

#[derive(Deserialize)]
struct OneKey {
    key: Hex,
    row: Hex,
    presence: Hex,
    absence: Hex,
}

#[test]
fn headers_and_votes() {
    let v: Trust = read("trust.json");
    let chain = ChainId::new(v.chain.array());
    let header = Header::decode(&v.header.0).unwrap();
    let mut again = Vec::new();
    header.encode(&mut again);
    assert_eq!(Hex(again), v.header);
    assert_eq!(header.hash(&chain).to_bytes(), v.header_hash.array());
    let vote = FinalizeVote {
        epoch: header.epoch,
        view: header.view,
        parent_view: header.parent_view,
        header: header.hash(&chain),
    };
    let mut message = Vec::new();
    vote.encode(&chain, &mut message);
    assert_eq!(Hex(message), v.finalize_message);
}

#[test]
fn a_validator_says_with_which_keys_it_goes_on() {
    let v: Trust = read("trust.json");
    let chain = ChainId::new(v.chain.array());
    let said = v.next_keys;
    let present = said.present.array();
    let signature = Signature::new(said.signature.array());
    let keys = NextKeys {
        epoch: Epoch::new(said.epoch),
        vote_key: said.vote_key.array(),
        node_key: said.node_key.array(),
    };
    keys.verify(&chain, &present, &signature).unwrap();
    for other in [
        NextKeys {
            epoch: Epoch::new(said.epoch + 1),
            ..keys
        },
        NextKeys {
            vote_key: keys.node_key,
            ..keys
        },
        NextKeys {
            node_key: keys.vote_key,
            ..keys
        },
    ] {
        assert!(other.verify(&chain, &present, &signature).is_err());
    }
    let by_another = keys.verify(&chain, &keys.vote_key, &signature);
    assert!(by_another.is_err());
    let elsewhere = ChainId::new([1; 32]);
    assert!(keys.verify(&elsewhere, &present, &signature).is_err());
}

#[test]
fn handover_and_recovery() {
    let v: Trust = read("trust.json");
    let anchor = Anchor::decode(&v.anchor.0).unwrap();
    let set = EpochSet::decode(&v.epoch_sets[0].0).unwrap();

    let mut after = anchor;
    let handover = Handover::decode(&v.handover.0).unwrap();
    assert!(after.follow(&handover.check(&anchor, &set).unwrap()));
    assert_eq!(after.encode(), v.after_handover.array());
    assert_eq!(
        handover
            .check(&anchor, &set)
            .unwrap()
            .signed()
            .next_set()
            .as_bytes(),
        v.epoch_sets[1].0
    );

    let appointment = Appointment::decode(&v.appointment.0).unwrap();
    assert_eq!(appointment, *handover.appointment());
    appointment.check(&anchor.chain(), &set).unwrap();

    // From before and from after the handover, and wherever the floor stood, the recovery leads to the same place.
    let recovery = Recovery::decode(&v.recovery.0).unwrap();
    let lifted = v.before_recovery.iter().map(|bytes| &bytes.0);
    let lifted = lifted.map(|bytes| Anchor::decode(bytes).unwrap());
    for start in [anchor, after].into_iter().chain(lifted) {
        let mut anchor = start;
        assert!(anchor.recover(&recovery.check(&start).unwrap()));
        assert_eq!(anchor.encode(), v.after_recovery.array());
    }
}

#[test]
fn a_recovery_jumps_only_so_far() {
    let v: Trust = read("trust.json");
    let anchor = Anchor::decode(&v.anchor.0).unwrap();
    let farthest = Recovery::decode(&v.farthest_recovery.0).unwrap();
    let verified = farthest.check(&anchor).unwrap();
    assert_eq!(verified.from().get(), 40 + RECOVERY_JUMP_MAX);
    assert_eq!(verified.next_set().epoch().get(), RECOVERY_EPOCH_MAX);
    for (error, bytes) in v.refused_recoveries {
        let refused = Recovery::decode(&bytes.0).unwrap_err();
        assert_eq!(format!("{refused:?}"), error);
    }
}

#[test]
fn floors_and_the_end_of_an_epoch() {
    let v: Trust = read("trust.json");
    let set = EpochSet::decode(&v.epoch_sets[0].0).unwrap();
    let handover = Handover::decode(&v.handover.0).unwrap();
    for (error, bytes) in v.floors {
        let anchor = Anchor::decode(&bytes.0).unwrap();
        assert_eq!(anchor.encode().as_slice(), bytes.0);
        match (handover.check(&anchor, &set), error) {
            (Ok(verified), None) => {
                let mut after = anchor;
                assert!(after.follow(&verified));
                assert_eq!(after.encode(), v.after_handover.array());
            }
            (Err(HandoverError::Anchor(refused)), Some(error)) => {
                assert_eq!(format!("{refused:?}"), error);
            }
            (verdict, error) => panic!("{verdict:?} where {error:?} was expected"),
        }
    }
    for (error, bytes) in v.refused_anchors {
        let refused = Anchor::decode(&bytes.0).unwrap_err();
        assert_eq!(format!("{refused:?}"), error);
    }
}

#[test]
fn proofs_of_an_independent_prover() {
    let v: Trust = read("trust.json");
    let anchor = Anchor::decode(&v.anchor.0).unwrap();
    let set = EpochSet::decode(&v.epoch_sets[0].0).unwrap();
    assert!(v.proofs.len() >= 9);
    for one in &v.proofs {
        let key: [u8; 32] = one.key.array();
        let presence = Proof::decode(&one.presence.0).unwrap();
        let verified = presence.check(&anchor, &set, &StateKey::new(key)).unwrap();
        assert_eq!(verified.row(), Some(&one.row.array()));

        let absence = Proof::decode(&one.absence.0).unwrap();
        let present = absence.check(&anchor, &set, &StateKey::new(key));
        assert_eq!(present, Err(ProofError::OtherGap));
        // Either the key's successor in the order or its predecessor lies in the gap; both cannot be outside of it.
        let beside = [1u8, 0xff].map(|step| {
            let mut other = key;
            other[31] = other[31].wrapping_add(step);
            absence
                .check(&anchor, &set, &StateKey::new(other))
                .is_ok_and(|p| p.row().is_none())
        });
        assert!(beside.contains(&true));
    }
    let empty = Proof::decode(&v.empty.0).unwrap();
    let verified = empty.check(&anchor, &set, &StateKey::new([1; 32])).unwrap();
    assert_eq!(verified.row(), None);
}
