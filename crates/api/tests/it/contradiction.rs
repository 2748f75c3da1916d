//! Evidence that a ledger has two histories: what shows it, and everything that does not.

use crate::world::{key, sign};
use bytes::Bytes;
use kusabi_api::{
    contradiction::{Contradiction, Evidence, EvidenceError, Finding, Signed},
    ledger::{Step, StepKind},
    verify::VerifyError,
};
use kusabi_core::{
    appointment::{AppointmentParts, OfficerSignature},
    checkpoint::{CheckpointParts, FinalizeVote},
    genesis::GenesisParts,
    handover::{HandoverParts, RecoveryParts},
    header::Header,
    id::{
        BodyHash, ChainId, Epoch, HeaderHash, Height, NodesHash, OpsRoot, OrgName, StateRoot, View,
    },
    nodes::NodeParts,
    set::{EpochSet, EpochSetParts, OrganisationParts, recovery_set},
    suite::Signature,
};

const RECOVERY: u8 = 250;

fn name(member: u8) -> OrgName {
    OrgName::new(["acme", "beta", "corp", "delta"][usize::from(member)]).unwrap()
}

/// Seed of a member's vote key; another `set` is another set of the same epoch.
fn vote_seed(epoch: u64, set: u8, member: u8) -> u8 {
    1 + member + 4 * set + 16 * u8::try_from(epoch).unwrap()
}

fn officer_seed(member: u8) -> u8 {
    200 + member
}

/// The set of four organisations with a validator each.
fn set(epoch: u64, set: u8) -> Vec<u8> {
    let organisations = (0..4).map(|member| OrganisationParts {
        id: name(member).id(),
        threshold: 1,
        officers: vec![key(officer_seed(member)).1],
        vote_keys: vec![raw(vote_seed(epoch, set, member))],
    });
    EpochSetParts {
        epoch: Epoch::new(epoch),
        organisations: organisations.collect(),
    }
    .encode()
    .unwrap()
}

fn raw(seed: u8) -> [u8; 32] {
    key(seed).1.raw().try_into().unwrap()
}

fn genesis() -> Bytes {
    let nodes = (0..4).map(|member| NodeParts {
        vote_key: raw(vote_seed(0, 0, member)),
        key: raw(220 + member),
        address: "127.0.0.1:7050",
    });
    let mut organisations: Vec<_> = (0..4).map(|member| (name(member), 1000)).collect();
    organisations.sort_by_key(|(name, _)| name.id());
    GenesisParts {
        name: "nordic",
        created_ms: 1,
        heartbeat_ms: 60_000,
        epoch_set: &set(0, 0),
        recovery_set: &recovery_keys(),
        organisations,
        nodes: nodes.collect(),
    }
    .encode()
    .unwrap()
    .into()
}

fn recovery_keys() -> Vec<u8> {
    recovery_set(1, &[key(RECOVERY).1]).unwrap()
}

fn chain() -> ChainId {
    ChainId::of(&genesis())
}

fn height(height: u64) -> Height {
    Height::new(height).unwrap()
}

/// Votes of some members, by index in the set.
fn votes(
    epoch: u64,
    number: u8,
    members: &[u8],
    sign_it: impl Fn(u8) -> Signature,
) -> Vec<(u8, Signature)> {
    let bytes = set(epoch, number);
    let set = EpochSet::decode(&bytes).unwrap();
    let mut votes: Vec<_> = members
        .iter()
        .map(|member| {
            let seed = vote_seed(epoch, number, *member);
            let index = set.validators().position(|v| *v.vote_key == raw(seed));
            (u8::try_from(index.unwrap()).unwrap(), sign_it(seed))
        })
        .collect();
    votes.sort_by_key(|(index, _)| *index);
    votes
}

fn header(epoch: u64, at: u64, fork: u8) -> Header {
    let bytes = set(epoch, 0);
    Header {
        height: height(at),
        skipped: 0,
        time_ms: 1000 * at,
        parent: HeaderHash::new([fork; 32]),
        state_root: StateRoot::new([1; 32]),
        ops_root: OpsRoot::new([2; 32]),
        ops_start: 0,
        ops_end: 1,
        body: BodyHash::of([].iter().map(|body: &Vec<u8>| &body[..])),
        epoch: Epoch::new(epoch),
        set_hash: EpochSet::decode(&bytes).unwrap().hash(),
        view: View::new(at),
        parent_view: View::new(at - 1),
        leader: 0,
        next_set_hash: None,
    }
}

/// A checkpoint that these members signed in a view.
fn checkpoint(header: Header, view: u64, members: &[u8]) -> Bytes {
    let vote = FinalizeVote {
        epoch: header.epoch,
        view: View::new(view),
        parent_view: header.parent_view,
        header: header.hash(&chain()),
    };
    let mut message = Vec::new();
    vote.encode(&chain(), &mut message);
    let signatures = votes(header.epoch.get(), 0, members, |seed| {
        sign(&key(seed).0, &message)
    });
    let parts = CheckpointParts {
        headers: vec![header],
        view: vote.view,
        parent_view: vote.parent_view,
        n: 4,
        signatures,
    };
    let mut bytes = Vec::new();
    parts.encode(&mut bytes).unwrap();
    bytes.into()
}

/// A handover of epoch 0, to a set of epoch 1, after a block.
fn handover(next: u8, last: &Header, members: &[u8]) -> Step {
    let old = set(0, 0);
    let old_set = EpochSet::decode(&old).unwrap();
    let parts = HandoverParts {
        appointment: AppointmentParts {
            old_epoch: Epoch::ZERO,
            old_set_hash: old_set.hash(),
            nodes_hash: NodesHash::of(&[]),
            next_set: set(1, next),
        },
        last_height: last.height,
        last_header_hash: last.hash(&chain()),
    };
    let signatures = votes(0, 0, members, |seed| {
        let (signing, public) = key(seed);
        sign(
            &signing,
            parts.statement(&chain(), &public).unwrap().as_bytes(),
        )
    });
    let mut officers: Vec<_> = (0..3)
        .map(|member| {
            let (signing, public) = key(officer_seed(member));
            let statement = parts.appointment.statement(&chain(), &public).unwrap();
            let id = name(member).id();
            let index = old_set
                .organisations()
                .position(|org| org.id == id)
                .unwrap();
            OfficerSignature {
                organisation: u8::try_from(index).unwrap(),
                officer: 0,
                signature: sign(&signing, statement.as_bytes()),
            }
        })
        .collect();
    officers.sort_by_key(|officer| officer.organisation);
    Step {
        kind: StepKind::Handover,
        bytes: parts.encode(4, &signatures, &officers).unwrap().into(),
    }
}

fn recovery(epoch: u64, next: u8) -> Step {
    let parts = RecoveryParts {
        from: height(100),
        parent_height: height(4),
        parent_hash: HeaderHash::new([9; 32]),
        nodes_hash: NodesHash::of(b"nodes"),
        next_set: set(epoch, next),
    };
    let (signing, public) = key(RECOVERY);
    let statement = parts.statement(&chain(), &public).unwrap();
    let signature = sign(&signing, statement.as_bytes());
    Step {
        kind: StepKind::Recovery,
        bytes: parts
            .encode(&recovery_keys(), &[(0, signature)])
            .unwrap()
            .into(),
    }
}

fn evidence(steps: &[Step], one: Signed, other: Signed) -> Evidence {
    Evidence::new(chain(), genesis(), steps, one, other)
}

fn blocks(steps: &[Step], one: &Bytes, other: &Bytes) -> Evidence {
    evidence(steps, Signed::checkpoint(one), Signed::checkpoint(other))
}

fn shown(evidence: &Evidence) -> Contradiction {
    // As whoever gets the file does it.
    let decoded = Evidence::decode(&evidence.encode().unwrap()).unwrap();
    assert_eq!(decoded, *evidence);
    decoded.check(&chain()).unwrap()
}

fn names(found: &Contradiction) -> Vec<String> {
    let mut names: Vec<_> = found
        .both()
        .iter()
        .map(|signer| signer.name.unwrap().to_string())
        .collect();
    names.sort();
    names
}

/// Every piece of evidence that there is.
fn all() -> Vec<Evidence> {
    let last = header(0, 5, 0);
    let walked = handover(0, &last, &[0, 1, 2]);
    let two = |epoch| {
        (
            checkpoint(header(epoch, 7, 0), 7, &[0, 1, 2]),
            checkpoint(header(epoch, 7, 1), 7, &[1, 2, 3]),
        )
    };
    let (one, other) = two(0);
    let (later_one, later_other) = two(1);
    let beyond = checkpoint(header(0, 6, 0), 6, &[0, 1, 2]);
    vec![
        blocks(&[], &one, &other),
        blocks(std::slice::from_ref(&walked), &later_one, &later_other),
        evidence(
            &[],
            Signed::step(&walked),
            Signed::step(&handover(1, &last, &[1, 2, 3])),
        ),
        evidence(&[], Signed::step(&walked), Signed::checkpoint(&beyond)),
        evidence(
            &[],
            Signed::step(&recovery(2, 0)),
            Signed::step(&recovery(2, 1)),
        ),
    ]
}

#[test]
fn two_blocks_of_one_height_name_who_signed_both() {
    let [one, later, ..] = &all()[..] else {
        panic!()
    };
    for (evidence, epoch) in [(one, 0), (later, 1)] {
        let found = shown(evidence);
        assert_eq!(found.epoch().get(), epoch);
        assert_eq!(found.validators(), 4);
        assert_eq!(names(&found), ["beta", "corp"]);
        assert!(found.by_itself(), "two votes in one view");
        assert!(matches!(found.finding(), Finding::Blocks { height, .. } if height.get() == 7));
    }
    // In another view who signed both may have been misled by the others.
    let first = checkpoint(header(0, 7, 0), 7, &[0, 1, 2]);
    let second = checkpoint(header(0, 7, 1), 9, &[1, 2, 3]);
    assert!(!shown(&blocks(&[], &first, &second)).by_itself());
}

#[test]
fn two_ends_of_one_epoch_are_one_contradiction_whatever_they_lead_to() {
    let last = header(0, 5, 0);
    let one = handover(0, &last, &[0, 1, 2]);
    for (other, sets) in [
        (handover(1, &last, &[0, 2, 3]), true),
        (handover(0, &header(0, 5, 1), &[0, 2, 3]), false),
        (handover(0, &header(0, 8, 0), &[0, 2, 3]), false),
    ] {
        let found = shown(&evidence(&[], Signed::step(&one), Signed::step(&other)));
        assert_eq!(names(&found), ["acme", "corp"]);
        assert!(found.by_itself());
        let Finding::Steps {
            to, sets: [a, b], ..
        } = found.finding()
        else {
            panic!("{found:?}")
        };
        assert_eq!(to.get(), 1);
        assert_eq!(a != b, sets);
    }
}

#[test]
fn a_block_beyond_the_end_of_its_epoch_contradicts_the_handover() {
    let last = header(0, 5, 0);
    let end = Signed::step(&handover(0, &last, &[0, 1, 2]));
    for (height, fork) in [(6, 0), (5, 1)] {
        let block = checkpoint(header(0, height, fork), height, &[0, 1, 3]);
        let found = shown(&evidence(&[], Signed::checkpoint(&block), end.clone()));
        assert_eq!(names(&found), ["acme", "beta"]);
        assert!(matches!(found.finding(), Finding::BeyondEnd { last, .. } if last.get() == 5));
    }
}

#[test]
fn two_recoveries_to_one_epoch_name_the_recovery_keys() {
    let found = shown(&all()[4]);
    assert_eq!(found.both().len(), 1);
    assert_eq!(found.both()[0].key, key(RECOVERY).1);
    assert_eq!(found.both()[0].organisation, None);
}

#[test]
fn what_can_both_be_true_is_no_contradiction() {
    let last = header(0, 5, 0);
    let seven = checkpoint(header(0, 7, 0), 7, &[0, 1, 2]);
    let step = |step: &Step| Signed::step(step);
    let block = |bytes: &Bytes| Signed::checkpoint(bytes);
    let cases = [
        // One block with the votes of others; two heights.
        (
            block(&seven),
            block(&checkpoint(header(0, 7, 0), 7, &[1, 2, 3])),
        ),
        (
            block(&seven),
            block(&checkpoint(header(0, 8, 1), 8, &[1, 2, 3])),
        ),
        // One handover with the votes of others, and blocks up to its last.
        (
            step(&handover(0, &last, &[0, 1, 2])),
            step(&handover(0, &last, &[1, 2, 3])),
        ),
        (
            step(&handover(0, &last, &[0, 1, 2])),
            block(&checkpoint(last, 5, &[0, 1, 3])),
        ),
        (
            step(&handover(0, &last, &[0, 1, 2])),
            block(&checkpoint(header(0, 4, 1), 4, &[0, 1, 3])),
        ),
        // A recovery leaves behind what was there.
        (
            step(&recovery(2, 0)),
            block(&checkpoint(header(0, 200, 0), 200, &[0, 1, 2])),
        ),
        (step(&recovery(2, 0)), step(&handover(0, &last, &[0, 1, 2]))),
        (step(&recovery(2, 0)), step(&recovery(3, 0))),
    ];
    for (at, (one, other)) in cases.into_iter().enumerate() {
        let checked = evidence(&[], one, other).check(&chain());
        assert_eq!(checked, Err(EvidenceError::NoContradiction), "case {at}");
    }
    // The same twice is no pair.
    let same = blocks(&[], &seven, &seven).encode().unwrap();
    assert_eq!(Evidence::decode(&same), Err(EvidenceError::Order));
}

#[test]
fn what_no_quorum_of_that_epoch_signed_is_refused() {
    let seven = |fork, members: &[u8]| checkpoint(header(0, 7, fork), 7, members);
    let refused = |evidence: &Evidence| {
        let why = evidence.check(&chain()).unwrap_err();
        assert!(matches!(why, EvidenceError::Verify(_)), "{why}");
    };
    refused(&blocks(&[], &seven(0, &[0, 1, 2]), &seven(1, &[0, 1])));
    // Of another epoch than the one to which the steps lead, before and after.
    let walked = handover(0, &header(0, 5, 0), &[0, 1, 2]);
    let later = |fork| checkpoint(header(1, 7, fork), 7, &[0, 1, 2]);
    refused(&blocks(&[], &later(0), &later(1)));
    let (one, other) = (seven(0, &[0, 1, 2]), seven(1, &[0, 1, 2]));
    refused(&blocks(std::slice::from_ref(&walked), &one, &other));
    // A step that too few signed.
    let few = handover(0, &header(0, 5, 0), &[0, 1]);
    refused(&blocks(&[few], &later(0), &later(1)));
    // Another chain.
    let all = all();
    assert_eq!(
        all[0].check(&ChainId::new([1; 32])),
        Err(EvidenceError::OtherChain)
    );
    let other = Evidence::new(
        ChainId::new([1; 32]),
        genesis(),
        &[],
        Signed::checkpoint(&one),
        Signed::checkpoint(&other),
    );
    assert!(matches!(
        other.check(&ChainId::new([1; 32])),
        Err(EvidenceError::Verify(VerifyError::Genesis(_)))
    ));
}

/// Every bit of the first piece. Of the others, which differ from it in steps whose own mutations are core's to refuse, one bit of
/// each byte: all of them would take minutes.
#[test]
fn every_changed_bit_of_evidence_is_refused() {
    for (number, evidence) in all().into_iter().enumerate() {
        let good = evidence.encode().unwrap();
        evidence.check(&chain()).unwrap();
        let mut bad = good.clone();
        for bit in 0..good.len() * 8 {
            if number > 0 && bit % 8 != bit / 8 % 8 {
                continue;
            }
            bad[bit / 8] ^= 1 << (bit % 8);
            let checked = Evidence::decode(&bad).and_then(|evidence| evidence.check(&chain()));
            assert!(checked.is_err(), "bit {bit} of {}", good.len());
            bad[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..good.len() {
            assert!(Evidence::decode(&good[..len]).is_err());
        }
        assert!(Evidence::decode(&[&good[..], &[0]].concat()).is_err());
    }
}

#[test]
fn evidence_is_bounded() {
    let step = recovery(2, 0);
    let many = vec![step.clone(); 1025];
    let evidence = evidence(&many, Signed::step(&step), Signed::step(&recovery(2, 1)));
    assert_eq!(evidence.encode(), Err(EvidenceError::Length));
    assert_eq!(
        Evidence::decode(&vec![0; (16 << 20) + 1]),
        Err(EvidenceError::Length)
    );
}

/// A hexadecimal string of spec/vectors/contradiction.json.
fn bytes(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap();
    let byte = |pair: &[u8]| u8::try_from(16 * digit(pair[0]) + digit(pair[1])).unwrap();
    text.chunks(2).map(byte).collect()
}

#[test]
fn what_the_vectors_show_is_shown_and_what_they_refuse_is_refused() {
    let text = include_str!("../../../../spec/vectors/contradiction.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    let chain = ChainId::new(bytes(&vectors["chain"]).try_into().unwrap());
    let good = vectors["good"].as_array().unwrap();
    for case in good {
        let bytes = bytes(&case["bytes"]);
        let evidence = Evidence::decode(&bytes).unwrap();
        assert_eq!(evidence.encode().unwrap(), bytes);
        let found = evidence.check(&chain).unwrap();
        let kind = match found.finding() {
            Finding::Blocks { .. } => "blocks",
            Finding::Steps { .. } => "steps",
            Finding::BeyondEnd { .. } => "beyond-end",
        };
        let said = serde_json::json!({
            "kind": kind,
            "epoch": found.epoch().get(),
            "signed both": names(&found),
            "by itself": found.by_itself(),
            "bytes": case["bytes"],
        });
        assert_eq!(said, *case);
    }
    let refused = vectors["refused"].as_array().unwrap();
    for case in refused {
        let checked = Evidence::decode(&bytes(&case["bytes"]));
        let why = checked
            .and_then(|evidence| evidence.check(&chain))
            .unwrap_err();
        let name = match why {
            EvidenceError::Cbor(_) => "Cbor",
            EvidenceError::Version => "Version",
            EvidenceError::Order => "Order",
            EvidenceError::OtherChain => "OtherChain",
            EvidenceError::Verify(_) => "Verify",
            EvidenceError::NoContradiction => "NoContradiction",
            other => panic!("{other:?}"),
        };
        assert_eq!(name, case["error"], "{why}");
    }
    assert!(good.len() >= 10 && refused.len() >= 15);
}
