//! Transactions: one form each, every bound refused by its own error.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::id::{Binding, Digest, Height, OrgId, OrgName};
use crate::keystore::{KeyStore, Seed, SoftKey};
use crate::row::{Reason, Seat, Topic};
use crate::suite::{ForeignAlgorithm, PublicKeys, Suite};

const CHAIN: ChainId = ChainId::new([0xcc; 32]);

fn org() -> OrgId {
    OrgName::new("cameras").unwrap().id()
}

fn key(seed: u8) -> SoftKey {
    let suite = if seed.is_multiple_of(2) {
        Suite::Curve25519
    } else {
        Suite::P256
    };
    SoftKey::from_seed(suite, &Seed::new([seed; 32])).unwrap()
}

fn handle(seed: u8) -> Handle {
    Handle::new([seed; 32])
}

fn entry(seed: u8, purpose: Purpose) -> Entry {
    let metadata = (seed > 100).then_some(Digest::new([seed; 32]));
    let binding = Binding::new([seed; 16]);
    Entry::new(
        handle(seed),
        purpose,
        key(seed).public_keys(),
        binding,
        metadata,
    )
    .unwrap()
}

fn foreign(seed: u8, purpose: Purpose, len: usize) -> Entry {
    let spki = vec![seed; len];
    let binding = Binding::new([seed; 16]);
    Entry::foreign(
        handle(seed),
        purpose,
        ForeignAlgorithm::Rsa,
        &spki,
        binding,
        None,
    )
    .unwrap()
}

const fn named(seed: u8) -> Named {
    Named {
        handle: Handle::new([seed; 32]),
        version: 1,
    }
}

fn proposal() -> Proposal {
    let candidate = Candidate {
        name: "newcomer".parse().unwrap(),
        threshold: 1,
        officers: vec![Consent {
            entry: entry(3, Purpose::Officer),
            signature: Signature::new([5; 64]),
        }],
    };
    let acts = vec![
        Act::Admit {
            candidate,
            quota: 1 << 40,
            seat: true,
        },
        Act::Freeze { org: org() },
        Act::Heartbeat { ms: 1_000 },
    ];
    Proposal::new(org(), 1 << 41, acts).unwrap()
}

fn samples() -> Vec<Action> {
    let digest = Digest::new([9; 32]);
    vec![
        Action::Genesis {
            document: vec![1, 2, 3],
            entries: vec![entry(9, Purpose::Officer), entry(2, Purpose::Officer)],
        },
        Action::Register {
            org: org(),
            entries: vec![
                entry(1, Purpose::Pre),
                entry(2, Purpose::Act),
                foreign(3, Purpose::App, 294),
                entry(200, Purpose::App),
            ],
        },
        Action::Activate {
            org: org(),
            pre: named(1),
            act: Box::new(entry(2, Purpose::Act)),
        },
        Action::Supersede {
            org: org(),
            old: named(1),
            new: Box::new(entry(2, Purpose::App)),
        },
        Action::Revoke {
            org: org(),
            targets: vec![named(1), named(2)],
            reason: Reason::Compromised,
            compromised_since: Some(Height::MAX),
            signers: 16,
        },
        Action::Revoke {
            org: org(),
            targets: vec![named(1)],
            reason: Reason::None,
            compromised_since: None,
            signers: 1,
        },
        Action::Grant {
            org: org(),
            org_version: 7,
            entry: Box::new(entry(1, Purpose::Writer)),
        },
        Action::Withdraw {
            org: org(),
            target: named(1),
        },
        Action::ArtPolicy {
            org: org(),
            policy_version: 0,
            k: 1,
            added: vec![entry(1, Purpose::Art)],
            removed: vec![],
            signers: 2,
        },
        Action::Publish {
            org: org(),
            policy_version: 1,
            digest,
            minimum_counter: u64::MAX,
        },
        Action::WithdrawRelease {
            org: org(),
            digest,
            version: 1,
        },
        Action::Anchor {
            org: org(),
            topic: Topic::Evidence,
            digest,
        },
        Action::Recovery {
            recovery: vec![1; 300],
            nodes: vec![4; 60],
        },
        Action::Appoint {
            org: org(),
            old_set: vec![2; 90],
            appointment: vec![3; 400],
            nodes: vec![4; 60],
        },
        Action::Handover {
            old_set: vec![2; 90],
            handover: vec![5; 500],
            nodes: vec![4; 60],
        },
        Action::Propose {
            proposal: Box::new(proposal()),
        },
        Action::Vote {
            org: org(),
            seat: Seat::new(200),
            proposal: Box::new(proposal()),
            yes: true,
        },
        Action::Officers {
            org: org(),
            org_version: 3,
            k: OFFICERS_K_MAX,
        },
        Action::Transfer {
            org: org(),
            to: OrgId::new([8; 16]),
            targets: vec![named(1), named(2)],
        },
    ]
}

fn finished(action: Action) -> Transaction {
    let takes_signatures = action.signatures_max() > 1;
    let mut draft = Draft::new(CHAIN, action).unwrap();
    if takes_signatures {
        draft.sign(handle(9), Purpose::Officer, &key(9)).unwrap();
        draft.sign(handle(8), Purpose::Writer, &key(8)).unwrap();
    }
    draft.finish().unwrap()
}

#[test]
fn every_action_reads_back() {
    for action in samples() {
        let transaction = finished(action.clone());
        let decoded = Transaction::decode(transaction.as_bytes()).unwrap();
        assert_eq!(decoded, transaction);
        assert_eq!(code_of(transaction.as_bytes()), Some(action.code() as u8));
        assert_eq!(decoded.action(), &action);
        assert_eq!(decoded.chain(), CHAIN);
        for (signed, (seed, purpose)) in decoded
            .signatures()
            .iter()
            .zip([(8, Purpose::Writer), (9, Purpose::Officer)])
        {
            let statement = decoded.statement(&signed.signer, purpose);
            let verification_key = key(seed).public_keys().verification_key().unwrap();
            verification_key
                .verify(&statement, &signed.signature)
                .unwrap();
        }
        assert_eq!(
            Draft::from(decoded).finish().unwrap(),
            transaction,
            "a draft taken up again"
        );
    }
}

#[test]
fn a_cut_or_changed_transaction_is_refused_or_another() {
    for action in samples() {
        let transaction = finished(action);
        let bytes = transaction.as_bytes();
        for end in 0..bytes.len() {
            assert!(Transaction::decode(&bytes[..end]).is_err());
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(Transaction::decode(&longer), Err(TxError::Cbor));
        for index in (0..bytes.len()).step_by(3) {
            let mut changed = bytes.to_vec();
            changed[index] ^= 1 << (index % 8);
            if let Ok(other) = Transaction::decode(&changed) {
                assert_ne!(other.id(), transaction.id());
                assert_eq!(Draft::from(other).finish().unwrap().as_bytes(), changed);
            }
        }
    }
}

#[test]
fn an_officers_handle_or_key_stands_in_one_proposal_once() {
    let admit = |name: &str, officers: &[&Entry]| Act::Admit {
        candidate: Candidate {
            name: name.parse().unwrap(),
            threshold: 1,
            officers: officers
                .iter()
                .map(|entry| Consent {
                    entry: Entry::clone(entry),
                    signature: Signature::new([5; 64]),
                })
                .collect(),
        },
        quota: 9,
        seat: false,
    };
    let with_key = |handle: u8, seed: u8| {
        let keys = key(seed).public_keys();
        let binding = Binding::new([handle; 16]);
        Entry::new(self::handle(handle), Purpose::Officer, keys, binding, None).unwrap()
    };
    let new = |acts| Proposal::new(org(), 1 << 41, acts).map(drop);
    let [one, two] = [3, 4].map(|seed| entry(seed, Purpose::Officer));
    let apart = vec![admit("one", &[&one]), admit("two", &[&two])];
    assert_eq!(new(apart), Ok(()));
    for other in [one.clone(), with_key(3, 4), with_key(4, 3)] {
        let acts = vec![admit("one", &[&one]), admit("two", &[&other])];
        assert_eq!(new(acts), Err(TxError::Order), "{other:?}");
        let acts = vec![admit("one", &[&one, &other])];
        assert_eq!(new(acts), Err(TxError::Order));
    }
    // The same signing key with another agreement key.
    let (four, six) = (key(4).public_keys(), key(6).public_keys());
    let mixed = PublicKeys::curve25519(
        four.as_bytes()[..32].try_into().unwrap(),
        six.as_bytes()[32..64].try_into().unwrap(),
    );
    let binding = Binding::new([9; 16]);
    let mixed = Entry::new(handle(9), Purpose::Officer, mixed.unwrap(), binding, None).unwrap();
    let acts = vec![admit("one", &[&two]), admit("two", &[&mixed])];
    assert_eq!(new(acts), Err(TxError::Order));
}

fn refused(action: Action) -> TxError {
    let by_builder = Draft::new(CHAIN, action.clone()).unwrap_err();
    // The same fault on the wire, past the builder.
    let bytes = crate::tx::codec::encode(CHAIN, action, Vec::new())
        .unwrap()
        .into_bytes();
    assert_eq!(Transaction::decode(&bytes), Err(by_builder));
    by_builder
}

#[test]
fn each_purpose_has_its_action() {
    let register = |entry| Action::Register {
        org: org(),
        entries: vec![entry],
    };
    for purpose in [
        Purpose::Art,
        Purpose::Ps,
        Purpose::Writer,
        Purpose::Officer,
        Purpose::Revoker,
    ] {
        assert_eq!(refused(register(entry(2, purpose))), TxError::Purpose);
    }
    let grant = |purpose| Action::Grant {
        org: org(),
        org_version: 1,
        entry: Box::new(entry(2, purpose)),
    };
    for purpose in [Purpose::Pre, Purpose::Act, Purpose::Art, Purpose::App] {
        assert_eq!(refused(grant(purpose)), TxError::Purpose);
    }
    for purpose in [Purpose::Pre, Purpose::App, Purpose::Officer] {
        assert_eq!(
            refused(Action::Activate {
                org: org(),
                pre: named(1),
                act: Box::new(entry(2, purpose)),
            }),
            TxError::Purpose
        );
    }
    for purpose in [
        Purpose::Pre,
        Purpose::Art,
        Purpose::Ps,
        Purpose::Writer,
        Purpose::Officer,
        Purpose::Revoker,
    ] {
        assert_eq!(
            refused(Action::Supersede {
                org: org(),
                old: named(1),
                new: Box::new(entry(2, purpose)),
            }),
            TxError::Purpose
        );
    }
    assert_eq!(
        refused(Action::ArtPolicy {
            org: org(),
            policy_version: 0,
            k: 1,
            added: vec![entry(1, Purpose::App)],
            removed: vec![],
            signers: 2,
        }),
        TxError::Purpose
    );
    assert_eq!(
        refused(Action::Genesis {
            document: vec![1],
            entries: vec![entry(1, Purpose::Writer)],
        }),
        TxError::Purpose
    );
}

#[test]
fn a_foreign_key_takes_no_part_that_signs() {
    let activate = Action::Activate {
        org: org(),
        pre: named(1),
        act: Box::new(foreign(2, Purpose::Act, 50)),
    };
    assert_eq!(refused(activate), TxError::Suite);
    let register = |purpose| Action::Register {
        org: org(),
        entries: vec![foreign(2, purpose, 2048)],
    };
    assert_eq!(refused(register(Purpose::Pre)), TxError::Suite);
    assert!(Draft::new(CHAIN, register(Purpose::Act)).is_ok());
    // As a release key it signs other systems' artifacts; what it may not sign is asked where signers are looked up.
    let policy = Action::ArtPolicy {
        org: org(),
        policy_version: 1,
        k: 1,
        added: vec![foreign(2, Purpose::Art, 2048)],
        removed: Vec::new(),
        signers: 1,
    };
    assert!(Draft::new(CHAIN, policy).is_ok());
    let native = Entry::new(
        handle(1),
        Purpose::App,
        PublicKeys::foreign(ForeignAlgorithm::Rsa, &[1]).unwrap(),
        Binding::ZERO,
        None,
    );
    assert_eq!(native, Err(TxError::Suite));
}

#[test]
fn lists_have_bounds_and_one_order() {
    let revoke = |targets| Action::Revoke {
        org: org(),
        targets,
        reason: Reason::None,
        compromised_since: None,
        signers: 1,
    };
    let many = |n: u32| {
        (1..=n)
            .map(|index| {
                let mut bytes = [0; 32];
                bytes[..4].copy_from_slice(&index.to_be_bytes());
                Named {
                    handle: Handle::new(bytes),
                    version: 1,
                }
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(refused(revoke(vec![])), TxError::Count);
    assert_eq!(refused(revoke(many(1025))), TxError::Count);
    assert!(Draft::new(CHAIN, revoke(many(1024))).is_ok());
    assert_eq!(
        refused(revoke(vec![named(2), named(2)])),
        TxError::Order,
        "twice"
    );
    let sorted = Draft::new(CHAIN, revoke(vec![named(3), named(2)])).unwrap();
    assert_eq!(sorted.action(), &revoke(vec![named(2), named(3)]));
    let unsorted = crate::tx::codec::encode(CHAIN, revoke(vec![named(3), named(2)]), vec![])
        .unwrap()
        .into_bytes();
    assert_eq!(Transaction::decode(&unsorted), Err(TxError::Order));

    let register = |entries| Action::Register {
        org: org(),
        entries,
    };
    assert_eq!(refused(register(vec![])), TxError::Count);
    assert_eq!(
        refused(register(vec![
            entry(2, Purpose::Act),
            entry(2, Purpose::App)
        ])),
        TxError::Order,
        "one handle for two keys"
    );

    let action = revoke(vec![named(1)]);
    let signed = |seed| Signed {
        signer: handle(seed),
        signature: Signature::new([0; 64]),
    };
    let encode = |signatures| crate::tx::codec::encode(CHAIN, action.clone(), signatures);
    assert!(encode((0..16).map(signed).collect()).is_ok());
    assert_eq!(encode((0..17).map(signed).collect()), Err(TxError::Count));
    assert_eq!(
        encode(vec![signed(2), signed(1)]),
        Err(TxError::Order),
        "signatures too have one order"
    );
    assert_eq!(encode(vec![signed(1), signed(1)]), Err(TxError::Order));
}

#[test]
fn numbers_have_their_ranges() {
    let revoke = |reason, compromised_since, version| Action::Revoke {
        org: org(),
        targets: vec![Named {
            handle: handle(1),
            version,
        }],
        reason,
        compromised_since,
        signers: 1,
    };
    let signed_by = |signers| Action::Revoke {
        org: org(),
        targets: vec![named(1)],
        reason: Reason::None,
        compromised_since: None,
        signers,
    };
    assert_eq!(refused(signed_by(0)), TxError::Value);
    assert_eq!(refused(signed_by(17)), TxError::Value);
    assert!(Draft::new(CHAIN, signed_by(16)).is_ok());
    assert_eq!(
        refused(revoke(Reason::None, Some(Height::ZERO), 1)),
        TxError::Value
    );
    assert_eq!(
        refused(revoke(Reason::Withdrawn, None, 1)),
        TxError::Value,
        "officers say that by withdrawing"
    );
    assert_eq!(refused(revoke(Reason::None, None, 0)), TxError::Zero);
    let policy = |k| Action::ArtPolicy {
        org: org(),
        policy_version: 1,
        k,
        added: vec![],
        removed: vec![],
        signers: 2,
    };
    assert_eq!(refused(policy(0)), TxError::Value);
    assert_eq!(refused(policy(9)), TxError::Value);
    assert!(Draft::new(CHAIN, policy(8)).is_ok());
    assert_eq!(
        refused(Action::Publish {
            org: org(),
            policy_version: 0,
            digest: Digest::new([1; 32]),
            minimum_counter: 0,
        }),
        TxError::Zero
    );
    assert_eq!(
        refused(Action::Anchor {
            org: org(),
            topic: Topic::Evidence,
            digest: Digest::ZERO,
        }),
        TxError::Zero
    );
}

#[test]
fn the_largest_registration_fits() {
    let template = entry(2, Purpose::Pre);
    let keys = key(2).public_keys();
    let entries: Vec<Entry> = (1..=4096_u32)
        .map(|index| {
            let mut bytes = [0xff; 32];
            bytes[..4].copy_from_slice(&index.to_be_bytes());
            Entry::new(
                Handle::new(bytes),
                Purpose::Pre,
                keys,
                template.binding(),
                Some(Digest::new(bytes)),
            )
            .unwrap()
        })
        .collect();
    let action = Action::Register {
        org: org(),
        entries,
    };
    let transaction = finished(action);
    assert!(transaction.as_bytes().len() < TX_BYTES_MAX);
    assert_eq!(
        Transaction::decode(transaction.as_bytes()).unwrap(),
        transaction
    );
    assert_eq!(
        Transaction::decode(&vec![0; TX_BYTES_MAX + 1]),
        Err(TxError::TooLong)
    );
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Transaction::decode(&bytes);
    }

    #[test]
    fn a_spoiled_transaction_never_panics(which in 0_usize..13, at in any::<prop::sample::Index>(), by in any::<[u8; 3]>()) {
        let mut bytes = finished(samples().swap_remove(which)).into_bytes();
        let start = at.index(bytes.len());
        for (byte, new) in bytes.iter_mut().skip(start).zip(by) {
            *byte = new;
        }
        if let Ok(transaction) = Transaction::decode(&bytes) {
            prop_assert_eq!(transaction.as_bytes(), &bytes[..]);
        }
    }
}
