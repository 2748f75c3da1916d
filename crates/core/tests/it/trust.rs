//! Checkpoints, proofs, handovers, recoveries and the anchor that they move (spec/proof.md), on a small ledger with known keys.

use ed25519_zebra::SigningKey;
use kusabi_core::anchor::{Anchor, AnchorError};
use kusabi_core::appointment::{Appointment, AppointmentParts, OfficerSignature};
use kusabi_core::checkpoint::{
    Checkpoint, CheckpointError, CheckpointParts, FinalizeVote, VerifiedCheckpoint,
};
use kusabi_core::crypto::sha256;
use kusabi_core::genesis::{Genesis, GenesisError, GenesisParts};
use kusabi_core::handover::{
    Equivocation, Handover, HandoverError, HandoverParts, Recovery, RecoveryParts,
};
use kusabi_core::header::Header;
use kusabi_core::id::{
    BodyHash, ChainId, Epoch, HeaderHash, Height, NodesHash, OpsRoot, OrgName, StateKey, StateRoot,
    View,
};
use kusabi_core::nodes::NodeParts;
use kusabi_core::proof::path::{Path, PathError};
use kusabi_core::proof::{self, Claim, Proof, ProofError};
use kusabi_core::quorum::{QuorumError, count, quorum, two_thirds};
use kusabi_core::row::ROW_BYTES;
use kusabi_core::set::{EpochSet, EpochSetParts, OrganisationParts, SetError, recovery_set};
use kusabi_core::suite::{Signature, VerificationKey};
use kusabi_core::wire::WireError;

/// A key from a number.
fn secret(kind: u8, number: u8) -> SigningKey {
    SigningKey::from_bytes(&sha256(&[b"kusabi test key", &[kind, number]]))
}

fn public(key: &SigningKey) -> VerificationKey {
    VerificationKey::ed25519(&key.verification_key().into()).unwrap()
}

fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    Signature::new(key.sign(message).into())
}

/// The keys of one epoch, in the order of its set.
struct Epochal {
    bytes: Vec<u8>,
    votes: Vec<SigningKey>,
    /// By organisation, in the set's order.
    officers: Vec<Vec<SigningKey>>,
}

impl Epochal {
    /// `organisations` of three officers (two must sign), and `n` validators spread over them.
    fn new(epoch: u64, organisations: u8, n: u8) -> Self {
        let seed = epoch as u8 * 32;
        let parts: Vec<OrganisationParts> = (0..organisations)
            .map(|o| OrganisationParts {
                id: OrgName::new(&format!("org-{o}")).unwrap().id(),
                threshold: 2,
                officers: (0..3).map(|i| public(&secret(1, o * 8 + i))).collect(),
                vote_keys: (0..n)
                    .filter(|v| v % organisations == o)
                    .map(|v| secret(2, seed + v).verification_key().into())
                    .collect(),
            })
            .collect();
        let bytes = EpochSetParts {
            epoch: Epoch::new(epoch),
            organisations: parts,
        }
        .encode()
        .unwrap();
        let set = EpochSet::decode(&bytes).unwrap();
        let all: Vec<SigningKey> = (0..n)
            .map(|v| secret(2, seed + v))
            .chain((0..organisations * 8).map(|i| secret(1, i)))
            .collect();
        let owner = |wanted: &[u8]| {
            *all.iter()
                .find(|key| <[u8; 32]>::from(key.verification_key()) == wanted)
                .unwrap()
        };
        Self {
            votes: set.validators().map(|v| owner(v.vote_key)).collect(),
            officers: set
                .organisations()
                .map(|o| {
                    (0..o.officers.len())
                        .map(|i| owner(o.officers.key(i).unwrap().raw()))
                        .collect()
                })
                .collect(),
            bytes,
        }
    }

    fn set(&self) -> EpochSet<'_> {
        EpochSet::decode(&self.bytes).unwrap()
    }

    /// A node for each validator.
    fn nodes(&self) -> Vec<NodeParts<'static>> {
        let node = |(vote_key, n): (&SigningKey, u8)| NodeParts {
            vote_key: vote_key.verification_key().into(),
            key: secret(4, n).verification_key().into(),
            address: "node.example:7041",
        };
        self.votes.iter().zip(0..).map(node).collect()
    }

    fn header(&self, height: u64) -> Header {
        Header {
            height: Height::new(height).unwrap(),
            skipped: 0,
            time_ms: 1_700_000_000_000,
            parent: HeaderHash::new([1; 32]),
            state_root: StateRoot::new([2; 32]),
            ops_root: OpsRoot::new([3; 32]),
            ops_start: 0,
            ops_end: 1,
            body: BodyHash::new([4; 32]),
            epoch: self.set().epoch(),
            set_hash: self.set().hash(),
            view: View::new(height + 1),
            parent_view: View::new(height),
            leader: 0,
            next_set_hash: None,
        }
    }

    /// A checkpoint of these headers, signed by the first `signers` validators.
    fn certify(&self, chain: &ChainId, headers: &[Header], signers: usize) -> CheckpointParts {
        let last = headers.last().unwrap();
        let mut message = Vec::new();
        FinalizeVote {
            epoch: last.epoch,
            view: last.view,
            parent_view: last.parent_view,
            header: last.hash(chain),
        }
        .encode(chain, &mut message);
        CheckpointParts {
            headers: headers.to_vec(),
            view: last.view,
            parent_view: last.parent_view,
            n: self.votes.len() as u8,
            signatures: (0u8..)
                .zip(&self.votes)
                .take(signers)
                .map(|(i, key)| (i, sign(key, &message)))
                .collect(),
        }
    }

    /// A handover to `next`, signed by the first `votes` validators and two officers of the first `organisations`.
    fn hand_over(
        &self,
        chain: &ChainId,
        next: &Self,
        last: (u64, [u8; 32]),
        votes: usize,
        organisations: usize,
    ) -> Vec<u8> {
        let parts = HandoverParts {
            appointment: self.appoints(next),
            last_height: Height::new(last.0).unwrap(),
            last_header_hash: HeaderHash::new(last.1),
        };
        let votes: Vec<_> = (0u8..)
            .zip(&self.votes)
            .take(votes)
            .map(|(i, key)| {
                let statement = parts.statement(chain, &public(key)).unwrap();
                (i, sign(key, statement.as_bytes()))
            })
            .collect();
        let officers = self.officers_sign(chain, &parts.appointment, organisations);
        parts
            .encode(self.votes.len() as u8, &votes, &officers)
            .unwrap()
    }

    /// What an appointment of `next` says.
    fn appoints(&self, next: &Self) -> AppointmentParts {
        AppointmentParts {
            old_epoch: self.set().epoch(),
            old_set_hash: self.set().hash(),
            nodes_hash: NodesHash::of(b"nodes"),
            next_set: next.bytes.clone(),
        }
    }

    /// Two officers of the first `organisations` sign an appointment.
    fn officers_sign(
        &self,
        chain: &ChainId,
        appointment: &AppointmentParts,
        organisations: usize,
    ) -> Vec<OfficerSignature> {
        (0u8..)
            .zip(&self.officers)
            .take(organisations)
            .flat_map(|(o, officers)| {
                (0u8..)
                    .zip(officers)
                    .take(2)
                    .map(move |(i, key)| (o, i, key))
            })
            .map(|(organisation, officer, key)| {
                let statement = appointment.statement(chain, &public(key)).unwrap();
                OfficerSignature {
                    organisation,
                    officer,
                    signature: sign(key, statement.as_bytes()),
                }
            })
            .collect()
    }
}

/// A founded ledger: four organisations, four validators, two of three recovery keys.
struct Ledger {
    epoch: Epochal,
    recovery: Vec<u8>,
    genesis: Vec<u8>,
    chain: ChainId,
}

impl Ledger {
    fn new(organisations: u8, n: u8) -> Self {
        let epoch = Epochal::new(0, organisations, n);
        let keys: Vec<_> = (0..3).map(|i| public(&secret(3, i))).collect();
        let recovery = recovery_set(2, &keys).unwrap();
        let genesis = GenesisParts {
            name: "test",
            created_ms: 1,
            heartbeat_ms: 60_000,
            epoch_set: &epoch.bytes,
            recovery_set: &recovery,
            organisations: (0..organisations)
                .map(|o| (OrgName::new(&format!("org-{o}")).unwrap(), 10))
                .collect(),
            nodes: epoch.nodes(),
        }
        .encode()
        .unwrap();
        Self {
            chain: ChainId::of(&genesis),
            epoch,
            recovery,
            genesis,
        }
    }

    fn anchor(&self) -> Anchor {
        Anchor::from_genesis(&Genesis::decode_for(&self.chain, &self.genesis).unwrap())
    }

    /// A recovery to `next`, signed by the recovery keys with these indices.
    fn recover(&self, next: &Epochal, from: u64, signers: &[u8]) -> Vec<u8> {
        let parts = RecoveryParts {
            from: Height::new(from).unwrap(),
            parent_height: Height::new(5).unwrap(),
            parent_hash: HeaderHash::new([5; 32]),
            nodes_hash: NodesHash::new([8; 32]),
            next_set: next.bytes.clone(),
        };
        let mut keys: Vec<_> = (0..3).map(|i| secret(3, i)).collect();
        keys.sort_by_key(public);
        let signatures: Vec<_> = signers
            .iter()
            .map(|i| {
                let key = &keys[usize::from(*i)];
                let statement = parts.statement(&self.chain, &public(key)).unwrap();
                (*i, sign(key, statement.as_bytes()))
            })
            .collect();
        parts.encode(&self.recovery, &signatures).unwrap()
    }
}

fn encode(parts: &CheckpointParts) -> Vec<u8> {
    let mut bytes = Vec::new();
    parts.encode(&mut bytes).unwrap();
    bytes
}

fn check(
    parts: &CheckpointParts,
    anchor: &Anchor,
    set: &EpochSet<'_>,
) -> Result<VerifiedCheckpoint, CheckpointError> {
    Checkpoint::decode(&encode(parts))?.check(anchor, set)
}

/// Calls `refused` with every single-bit flip, every cut, tails, and doubled, dropped and swapped pieces of `bytes`.
pub(crate) fn mutations(bytes: &[u8], mut refused: impl FnMut(&[u8], &str)) {
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        refused(&other, &format!("bit {bit}"));
    }
    for len in 0..bytes.len() {
        refused(&bytes[..len], &format!("cut to {len}"));
    }
    for tail in [0, 1, 0xff] {
        refused(&[bytes, &[tail]].concat(), "a tail");
    }
    refused(&[bytes, bytes].concat(), "doubled");
    for size in [1, 2, 32, 64, 66, 228] {
        for start in (0..bytes.len().saturating_sub(2 * size)).step_by(size) {
            let (a, b) = (start + size, start + 2 * size);
            let (one, two) = (&bytes[start..a], &bytes[a..b]);
            refused(&[&bytes[..a], &bytes[start..]].concat(), "a piece doubled");
            refused(&[&bytes[..start], &bytes[a..]].concat(), "a piece dropped");
            if one != two {
                refused(
                    &[&bytes[..start], two, one, &bytes[b..]].concat(),
                    "pieces swapped",
                );
            }
        }
    }
}

#[test]
fn quorums_of_one_to_sixteen() {
    let wanted = [1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11, 11];
    for (n, wanted) in (1..=16).zip(wanted) {
        assert_eq!(quorum(n), wanted, "n = {n}");
    }
    for n in 1..=16u8 {
        let ledger = Ledger::new(1, n);
        let (anchor, set) = (ledger.anchor(), ledger.epoch.set());
        let header = [ledger.epoch.header(1)];
        let needed = quorum(usize::from(n));
        for signers in 0..=usize::from(n) {
            let parts = ledger.epoch.certify(&ledger.chain, &header, signers);
            let verdict = check(&parts, &anchor, &set);
            if signers >= needed {
                assert_eq!(verdict.unwrap().quorum().signers(), signers);
            } else {
                assert_eq!(
                    verdict.unwrap_err(),
                    CheckpointError::Quorum(QuorumError::TooFew)
                );
            }
        }
        // A wrong signature above the quorum is refused too.
        let mut parts = ledger.epoch.certify(&ledger.chain, &header, usize::from(n));
        parts.signatures[0].1 = Signature::new([0; 64]);
        assert_eq!(
            check(&parts, &anchor, &set).unwrap_err(),
            CheckpointError::Quorum(QuorumError::Signature)
        );
        // For a set of another size.
        let mut parts = ledger.epoch.certify(&ledger.chain, &header, usize::from(n));
        parts.n += 1;
        let error = if parts.n == 17 {
            let mut out = Vec::new();
            CheckpointError::from(QuorumError::SetSize) == parts.encode(&mut out).unwrap_err()
        } else {
            check(&parts, &anchor, &set).unwrap_err()
                == CheckpointError::Quorum(QuorumError::SetSize)
        };
        assert!(error, "n = {n}");
    }
}

#[test]
fn a_signer_counts_once() {
    let signature = [0; 64];
    let twice = [(1, &signature), (1, &signature)];
    assert_eq!(
        count(2, twice.into_iter(), |_, _| Some(true)),
        Err(QuorumError::Order)
    );
    let backward = [(1, &signature), (0, &signature)];
    assert_eq!(
        count(2, backward.into_iter(), |_, _| Some(true)),
        Err(QuorumError::Order)
    );
    let none: [(usize, &[u8; 64]); 0] = [];
    assert_eq!(
        count(0, none.into_iter(), |_, _| Some(true)),
        Err(QuorumError::TooFew)
    );
    assert!(two_thirds(2, 3) && !two_thirds(2, 4) && two_thirds(3, 4) && two_thirds(1, 1));
}

#[test]
fn up_to_nine_linked_headers() {
    let ledger = Ledger::new(1, 4);
    let (anchor, set) = (ledger.anchor(), ledger.epoch.set());
    let mut headers = vec![ledger.epoch.header(1)];
    for height in 2..=9 {
        let parent = headers.last().unwrap().hash(&ledger.chain);
        headers.push(Header {
            parent,
            ..ledger.epoch.header(height)
        });
    }
    for count in 1..=9 {
        let parts = ledger.epoch.certify(&ledger.chain, &headers[..count], 3);
        let checked = check(&parts, &anchor, &set).unwrap();
        assert_eq!(checked.header(), &headers[0]);
        assert_eq!(checked.certified(), &headers[count - 1]);
    }
    let refused = |headers: &[Header], error: CheckpointError| {
        let parts = ledger.epoch.certify(&ledger.chain, headers, 3);
        assert_eq!(check(&parts, &anchor, &set).unwrap_err(), error);
    };
    let mut swapped = headers.clone();
    swapped.swap(3, 4);
    refused(&swapped, CheckpointError::Link);
    refused(&[headers[0], headers[2]], CheckpointError::Link);
    let skips = Header {
        height: Height::new(3).unwrap(),
        ..headers[1]
    };
    refused(&[headers[0], skips], CheckpointError::Link);
    let other_epoch = Header {
        epoch: Epoch::new(1),
        ..headers[1]
    };
    refused(&[headers[0], other_epoch], CheckpointError::Epoch);
    let mut many = encode(&ledger.epoch.certify(&ledger.chain, &headers, 3));
    many[0] = 10;
    assert_eq!(
        Checkpoint::decode(&many).unwrap_err(),
        CheckpointError::Count
    );
    many[0] = 0;
    assert_eq!(
        Checkpoint::decode(&many).unwrap_err(),
        CheckpointError::Count
    );
}

#[test]
fn every_mutation_of_a_checkpoint_is_refused() {
    let ledger = Ledger::new(1, 4);
    let (anchor, set) = (ledger.anchor(), ledger.epoch.set());
    let first = ledger.epoch.header(1);
    let second = Header {
        parent: first.hash(&ledger.chain),
        ..ledger.epoch.header(2)
    };
    let bytes = encode(&ledger.epoch.certify(&ledger.chain, &[first, second], 3));
    assert!(
        Checkpoint::decode(&bytes)
            .unwrap()
            .check(&anchor, &set)
            .is_ok()
    );
    mutations(&bytes, |bytes, what| {
        let accepted = Checkpoint::decode(bytes).is_ok_and(|c| c.check(&anchor, &set).is_ok());
        assert!(!accepted, "{what}");
    });
    // The same bytes under another chain.
    let other = Ledger::new(2, 4);
    assert!(
        Checkpoint::decode(&bytes)
            .unwrap()
            .check(&other.anchor(), &set)
            .is_err()
    );
}

/// A state of one row: a log of a commit that is no longer current and the update. Written out by hand from the spec.
fn one_row(key: &[u8; 32], row: &[u8; ROW_BYTES]) -> ([u8; 32], [u8; 32], [[u8; 32]; 1], [u8; 32]) {
    let ops_root = [6; 32];
    let sibling = [7; 32];
    let mut chunk = [0; 32];
    chunk[0] = 0b10;
    // Leaf 1 has position 1, its peak of height 1 position 2.
    let leaf = sha256(&[&1u64.to_be_bytes(), &[0xD2], key, row, key]);
    let peak = sha256(&[&2u64.to_be_bytes(), &sibling, &leaf]);
    let grafted = sha256(&[&[0, 1], &2u64.to_be_bytes(), &peak]);
    let root = sha256(&[&ops_root, &grafted, &2u64.to_be_bytes(), &sha256(&[&chunk])]);
    (root, ops_root, [sibling], chunk)
}

#[test]
fn a_proof_of_presence_and_every_mutation_of_it() {
    let ledger = Ledger::new(1, 1);
    let (anchor, set) = (ledger.anchor(), ledger.epoch.set());
    let (key, row) = ([0x22; 32], [0x33; ROW_BYTES]);
    let (root, ops_root, digests, chunk) = one_row(&key, &row);
    let header = Header {
        state_root: StateRoot::new(root),
        ops_root: OpsRoot::new(ops_root),
        ops_end: 2,
        ..ledger.epoch.header(1)
    };
    let checkpoint = encode(&ledger.epoch.certify(&ledger.chain, &[header], 1));
    let path = Path {
        location: 1,
        chunk,
        inactive_peaks: 0,
        partial: Some(sha256(&[&chunk])),
        digests: &digests,
    };
    let wanted = StateKey::new(key);
    let claim = Claim::Present {
        row: &row,
        next_key: wanted,
    };
    let build = |path: &Path<'_>, claim: &Claim<'_>| {
        let mut bytes = Vec::new();
        proof::encode(&checkpoint, path, claim, &mut bytes).unwrap();
        bytes
    };
    let bytes = build(&path, &claim);
    let verified = Proof::decode(&bytes)
        .unwrap()
        .check(&anchor, &set, &wanted)
        .unwrap();
    assert_eq!((verified.row(), verified.key()), (Some(&row), &wanted));
    mutations(&bytes, |bytes, what| {
        let accepted = Proof::decode(bytes).is_ok_and(|p| p.check(&anchor, &set, &wanted).is_ok());
        assert!(!accepted, "{what}");
    });

    // The same operation shows the absence of every other key.
    let between = Claim::Between {
        key: wanted,
        row: &row,
        next_key: wanted,
    };
    let bytes = build(&path, &between);
    let proof = Proof::decode(&bytes).unwrap();
    for other in [[0; 32], [0x21; 32], [0xff; 32]] {
        let verified = proof.check(&anchor, &set, &StateKey::new(other)).unwrap();
        assert_eq!(verified.row(), None);
    }
    assert_eq!(
        proof.check(&anchor, &set, &wanted),
        Err(ProofError::OtherGap)
    );

    // Each rule of the path has its error.
    let refused = |path: Path<'_>, error: PathError| {
        let bytes = build(&path, &claim);
        let verdict = Proof::decode(&bytes).unwrap().check(&anchor, &set, &wanted);
        assert_eq!(verdict, Err(ProofError::Path(error)));
    };
    refused(
        Path {
            location: 2,
            ..path
        },
        PathError::Location,
    );
    refused(
        Path {
            location: 0,
            ..path
        },
        PathError::Inactive,
    );
    refused(
        Path {
            inactive_peaks: 2,
            ..path
        },
        PathError::InactivePeaks,
    );
    refused(
        Path {
            inactive_peaks: 1,
            ..path
        },
        PathError::Root,
    );
    refused(
        Path {
            partial: None,
            ..path
        },
        PathError::PartialMissing,
    );
    refused(
        Path {
            partial: Some([0; 32]),
            ..path
        },
        PathError::PartialMismatch,
    );
    refused(
        Path {
            digests: &[],
            ..path
        },
        PathError::DigestsMissing,
    );
    refused(
        Path {
            digests: &[digests[0]; 2],
            ..path
        },
        PathError::DigestsLeft,
    );
}

#[test]
fn the_floor_rises_and_never_falls() {
    let ledger = Ledger::new(1, 1);
    let set = ledger.epoch.set();
    let mut anchor = ledger.anchor();
    let at = |height| {
        ledger
            .epoch
            .certify(&ledger.chain, &[ledger.epoch.header(height)], 1)
    };
    let (five, nine) = (
        check(&at(5), &anchor, &set).unwrap(),
        check(&at(9), &anchor, &set).unwrap(),
    );
    assert!(anchor.advance(&nine));
    assert_eq!(anchor.height(), Height::new(9).unwrap());
    assert!(!anchor.advance(&nine) && !anchor.advance(&five));
    assert_eq!(anchor.header_hash(), Some(*nine.hash()));
    assert_eq!(
        check(&at(5), &anchor, &set).unwrap_err(),
        CheckpointError::Anchor(AnchorError::BelowFloor)
    );
    assert!(check(&at(9), &anchor, &set).is_ok());
    let fork = Header {
        time_ms: 1,
        ..ledger.epoch.header(9)
    };
    assert_eq!(
        check(
            &ledger.epoch.certify(&ledger.chain, &[fork], 1),
            &anchor,
            &set
        )
        .unwrap_err(),
        CheckpointError::Anchor(AnchorError::Fork)
    );
    assert_eq!(Anchor::decode(&anchor.encode()), Ok(anchor));
    assert_eq!(
        Anchor::decode(&anchor.encode()[1..]),
        Err(AnchorError::Wire(WireError::Short))
    );
    // What another ledger's anchor verified has no say.
    let other = Ledger::new(1, 2);
    let foreign = other
        .epoch
        .certify(&other.chain, &[other.epoch.header(20)], 2);
    let foreign = check(&foreign, &other.anchor(), &other.epoch.set()).unwrap();
    assert!(!anchor.advance(&foreign));
}

#[test]
fn an_anchor_walks_over_handovers() {
    let ledger = Ledger::new(4, 4);
    let epochs: Vec<_> = (0..4).map(|e| Epochal::new(e, 4, 4 + e as u8)).collect();
    let mut anchor = ledger.anchor();
    for (height, pair) in (1..).zip(epochs.windows(2)) {
        let bytes = pair[0].hand_over(
            &ledger.chain,
            &pair[1],
            (height * 10, [height as u8; 32]),
            quorum(pair[0].votes.len()),
            3,
        );
        let handover = Handover::decode(&bytes).unwrap();
        let verified = handover.check(&anchor, &pair[0].set()).unwrap();
        let before = anchor;
        assert!(anchor.follow(&verified));
        assert_eq!(anchor.epoch(), pair[1].set().epoch());
        assert_eq!(anchor.set_hash(), pair[1].set().hash());
        assert_eq!(anchor.height(), Height::new(height * 10).unwrap());
        assert_eq!(
            anchor.header_hash(),
            Some(HeaderHash::new([height as u8; 32]))
        );
        // It does not count twice, and the old epoch is over.
        assert!(!anchor.follow(&verified));
        assert_eq!(
            handover.check(&anchor, &pair[0].set()),
            Err(HandoverError::Anchor(AnchorError::Epoch))
        );
        let old = pair[0].certify(&ledger.chain, &[pair[0].header(1000)], 16);
        assert_eq!(
            check(&old, &anchor, &pair[0].set()).unwrap_err(),
            CheckpointError::Anchor(AnchorError::Epoch)
        );
        assert!(check(&old, &before, &pair[0].set()).is_ok());
        let new = pair[1].certify(&ledger.chain, &[pair[1].header(1000)], 5);
        assert!(check(&new, &anchor, &pair[1].set()).is_ok());
        assert_eq!(
            check(&new, &anchor, &pair[0].set()).unwrap_err(),
            CheckpointError::Anchor(AnchorError::SetBytes)
        );
    }
    // A handover that skips an epoch is none.
    let mut anchor = ledger.anchor();
    let late = epochs[1].hand_over(&ledger.chain, &epochs[2], (20, [2; 32]), 4, 3);
    assert_eq!(
        Handover::decode(&late)
            .unwrap()
            .check(&anchor, &epochs[1].set()),
        Err(HandoverError::Anchor(AnchorError::Epoch))
    );
    // The floor does not fall, and a last block that contradicts the floor is a fork.
    let nine = check(
        &epochs[0].certify(&ledger.chain, &[epochs[0].header(90)], 4),
        &anchor,
        &epochs[0].set(),
    )
    .unwrap();
    anchor.advance(&nine);
    let fork = epochs[0].hand_over(&ledger.chain, &epochs[1], (90, [1; 32]), 3, 3);
    assert_eq!(
        Handover::decode(&fork)
            .unwrap()
            .check(&anchor, &epochs[0].set()),
        Err(HandoverError::Anchor(AnchorError::Fork))
    );
    // The same when the floor rose after the handover was checked.
    let fork = Handover::decode(&fork).unwrap();
    let checked_before = fork.check(&ledger.anchor(), &epochs[0].set()).unwrap();
    assert!(!anchor.follow(&checked_before));
    assert_eq!(anchor.epoch(), Epoch::ZERO);
    let low = epochs[0].hand_over(&ledger.chain, &epochs[1], (10, [1; 32]), 3, 3);
    // So is the end of an epoch below what was seen of it, whether it was seen before the check or after.
    let low = Handover::decode(&low).unwrap();
    assert_eq!(
        low.check(&anchor, &epochs[0].set()),
        Err(HandoverError::Anchor(AnchorError::Fork))
    );
    let checked_before = low.check(&ledger.anchor(), &epochs[0].set()).unwrap();
    assert!(!anchor.follow(&checked_before));
    assert_eq!((anchor.epoch(), anchor.height().get()), (Epoch::ZERO, 90));
}

/// A thief of a vote key lifts a device's floor as high as can be; the recovery keys bring it back, and nobody can use an old
/// recovery to bring it back further.
#[test]
fn a_recovery_sets_the_floor_wherever_it_stood() {
    let ledger = Ledger::new(1, 1);
    let [third, fourth, fifth] = [3, 4, 5].map(|epoch| Epochal::new(epoch, 1, 1));
    let mut anchor = ledger.anchor();
    let stolen = ledger.epoch.header(Height::MAX.get());
    let stolen = ledger.epoch.certify(&ledger.chain, &[stolen], 1);
    assert!(anchor.advance(&check(&stolen, &anchor, &ledger.epoch.set()).unwrap()));
    assert_eq!(anchor.height(), Height::MAX);

    // The epoch cannot end below what was seen of it: a handover does not bring the device back.
    let low = ledger
        .epoch
        .hand_over(&ledger.chain, &Epochal::new(1, 1, 1), (60, [1; 32]), 1, 1);
    assert_eq!(
        Handover::decode(&low)
            .unwrap()
            .check(&anchor, &ledger.epoch.set()),
        Err(HandoverError::Anchor(AnchorError::Fork))
    );

    let old = ledger.recover(&third, 50, &[0, 2]);
    let old = Recovery::decode(&old).unwrap();
    assert!(anchor.recover(&old.check(&anchor).unwrap()));
    assert_eq!((anchor.height().get(), anchor.header_hash()), (49, None));
    let honest = third.certify(&ledger.chain, &[third.header(50)], 1);
    assert!(anchor.advance(&check(&honest, &anchor, &third.set()).unwrap()));

    // In the new epoch floors hold again: the stolen key and the recovery that was followed have no say, and neither has an
    // end of the epoch below what was seen.
    assert_eq!(
        check(&stolen, &anchor, &ledger.epoch.set()).unwrap_err(),
        CheckpointError::Anchor(AnchorError::Epoch)
    );
    let low = third.hand_over(&ledger.chain, &fourth, (49, [1; 32]), 1, 1);
    assert_eq!(
        Handover::decode(&low).unwrap().check(&anchor, &third.set()),
        Err(HandoverError::Anchor(AnchorError::Fork))
    );

    // A later recovery: the older one, checked before it or after, does not bring the floor back down.
    let early = old.check(&ledger.anchor()).unwrap();
    let late = ledger.recover(&fifth, 2000, &[0, 2]);
    let late = Recovery::decode(&late).unwrap();
    assert!(anchor.recover(&late.check(&anchor).unwrap()));
    assert_eq!(anchor.height().get(), 1999);
    assert_eq!(old.check(&anchor), Err(HandoverError::NextEpoch));
    assert!(!anchor.recover(&early));
    assert_eq!(
        (anchor.epoch(), anchor.height().get()),
        (Epoch::new(5), 1999)
    );
}

#[test]
fn a_handover_needs_votes_and_officers() {
    let ledger = Ledger::new(4, 4);
    let next = Epochal::new(1, 4, 4);
    let anchor = ledger.anchor();
    let verdict = |votes, organisations| {
        let bytes =
            ledger
                .epoch
                .hand_over(&ledger.chain, &next, (7, [7; 32]), votes, organisations);
        Handover::decode(&bytes)
            .unwrap()
            .check(&anchor, &ledger.epoch.set())
            .map(|_| ())
    };
    for votes in 0..=4 {
        for organisations in 0..=4 {
            let expected = if organisations < 3 {
                Err(HandoverError::Organisations)
            } else if votes < 3 {
                Err(HandoverError::Votes(QuorumError::TooFew))
            } else {
                Ok(())
            };
            assert_eq!(
                verdict(votes, organisations),
                expected,
                "{votes} votes, {organisations} organisations"
            );
        }
    }
    // Another chain's signatures are worth nothing here.
    let other = ChainId::new([1; 32]);
    let bytes = ledger.epoch.hand_over(&other, &next, (7, [7; 32]), 4, 4);
    assert_eq!(
        Handover::decode(&bytes)
            .unwrap()
            .check(&anchor, &ledger.epoch.set()),
        Err(HandoverError::Officers(QuorumError::Signature))
    );
}

#[test]
fn every_mutation_of_a_handover_is_refused() {
    let ledger = Ledger::new(1, 1);
    let next = Epochal::new(1, 1, 1);
    let anchor = ledger.anchor();
    let bytes = ledger
        .epoch
        .hand_over(&ledger.chain, &next, (7, [7; 32]), 1, 1);
    let set = ledger.epoch.set();
    assert!(
        Handover::decode(&bytes)
            .unwrap()
            .check(&anchor, &set)
            .is_ok()
    );
    mutations(&bytes, |bytes, what| {
        let accepted = Handover::decode(bytes).is_ok_and(|h| h.check(&anchor, &set).is_ok());
        assert!(!accepted, "{what}");
    });
}

#[test]
fn an_appointment_needs_the_officers_of_two_thirds() {
    let ledger = Ledger::new(4, 4);
    let (next, set) = (Epochal::new(1, 4, 4), ledger.epoch.set());
    let parts = ledger.epoch.appoints(&next);
    let signed = |organisations| {
        let officers = ledger
            .epoch
            .officers_sign(&ledger.chain, &parts, organisations);
        parts.encode(&officers).unwrap()
    };
    for organisations in 0..=4 {
        let bytes = signed(organisations);
        let appointment = Appointment::decode(&bytes).unwrap();
        assert_eq!(appointment.parts(), parts);
        assert_eq!(
            appointment.signatures().collect::<Vec<_>>(),
            ledger
                .epoch
                .officers_sign(&ledger.chain, &parts, organisations)
        );
        let verdict = appointment.check(&ledger.chain, &set).map(|verified| {
            assert_eq!(verified.next_set(), &next.set());
            assert_eq!(verified.nodes_hash(), parts.nodes_hash);
        });
        let expected = if organisations < 3 {
            Err(HandoverError::Organisations)
        } else {
            Ok(())
        };
        assert_eq!(verdict, expected, "{organisations} organisations");
    }
    let bytes = signed(3);
    // Of another chain, and for another set than the one that ends.
    let appointment = Appointment::decode(&bytes).unwrap();
    assert_eq!(
        appointment.check(&ChainId::new([1; 32]), &set).unwrap_err(),
        HandoverError::Officers(QuorumError::Signature)
    );
    assert_eq!(
        appointment.check(&ledger.chain, &next.set()).unwrap_err(),
        HandoverError::OldSet
    );
    mutations(&bytes, |bytes, what| {
        let accepted =
            Appointment::decode(bytes).is_ok_and(|a| a.check(&ledger.chain, &set).is_ok());
        assert!(!accepted, "{what}");
    });
}

#[test]
fn officers_sign_who_follows_and_not_with_which_block() {
    let ledger = Ledger::new(4, 4);
    let next = Epochal::new(1, 4, 4);
    let [seven, eight] = [7u8, 8].map(|last| {
        ledger
            .epoch
            .hand_over(&ledger.chain, &next, (last.into(), [last; 32]), 4, 4)
    });
    let of = |bytes: &[u8]| {
        let handover = Handover::decode(bytes).unwrap();
        let (parts, signatures) = (
            handover.appointment().parts(),
            handover.appointment().signatures().collect::<Vec<_>>(),
        );
        (parts, signatures, handover.last_height())
    };
    let ((one, by_one, at_one), (two, by_two, at_two)) = (of(&seven), of(&eight));
    assert_eq!((one, by_one), (two, by_two));
    assert_eq!((at_one.get(), at_two.get()), (7, 8));
    let [seven, eight] = [&seven, &eight].map(|bytes| Handover::decode(bytes).unwrap());
    assert!(!seven.says_the_same(&eight));
    assert!(seven.says_the_same(&seven));
}

#[test]
fn two_handovers_of_one_epoch_are_evidence() {
    let ledger = Ledger::new(1, 1);
    let (a, b) = (Epochal::new(1, 1, 1), Epochal::new(1, 1, 2));
    let set = ledger.epoch.set();
    let one = ledger
        .epoch
        .hand_over(&ledger.chain, &a, (7, [7; 32]), 1, 1);
    let two = ledger
        .epoch
        .hand_over(&ledger.chain, &b, (7, [7; 32]), 1, 1);
    let [one, two] = [&one, &two].map(|bytes| {
        Handover::decode(bytes)
            .unwrap()
            .check_signatures(&ledger.chain, &set)
            .unwrap()
    });
    let evidence = Equivocation::between(&one, &two).unwrap();
    assert_eq!(evidence.epoch(), Epoch::ZERO);
    assert_ne!(evidence.payloads()[0], evidence.payloads()[1]);
    assert_eq!(Equivocation::between(&one, &one), None);
}

#[test]
fn a_recovery_jumps_and_every_mutation_of_it_is_refused() {
    let ledger = Ledger::new(1, 1);
    let next = Epochal::new(3, 1, 1);
    let mut anchor = ledger.anchor();
    for (signers, error) in [(&[][..], QuorumError::TooFew), (&[1], QuorumError::TooFew)] {
        let bytes = ledger.recover(&next, 1000, signers);
        assert_eq!(
            Recovery::decode(&bytes).unwrap().check(&anchor),
            Err(HandoverError::Recovery(error))
        );
    }
    let bytes = ledger.recover(&next, 1000, &[0, 2]);
    mutations(&bytes, |bytes, what| {
        let accepted = Recovery::decode(bytes).is_ok_and(|r| r.check(&anchor).is_ok());
        assert!(!accepted, "{what}");
    });
    let recovery = Recovery::decode(&bytes).unwrap();
    let verified = recovery.check(&anchor).unwrap();
    assert!(anchor.recover(&verified));
    assert_eq!(
        (anchor.epoch(), anchor.height().get()),
        (Epoch::new(3), 999)
    );
    assert_eq!(anchor.header_hash(), None);
    // Not again, and not back.
    assert!(!anchor.recover(&verified));
    assert_eq!(recovery.check(&anchor), Err(HandoverError::NextEpoch));
    assert!(matches!(
        Recovery::decode(&bytes[..1]),
        Err(HandoverError::Wire(WireError::Short))
    ));
    // Another ledger's recovery set has no say.
    let other = Ledger::new(2, 2);
    let foreign = RecoveryParts {
        from: Height::new(9).unwrap(),
        parent_height: Height::new(5).unwrap(),
        parent_hash: HeaderHash::ZERO,
        nodes_hash: NodesHash::new([8; 32]),
        next_set: next.bytes.clone(),
    };
    let foreign = foreign
        .encode(&recovery_set(1, &[public(&secret(3, 9))]).unwrap(), &[])
        .unwrap();
    assert_eq!(
        Recovery::decode(&foreign).unwrap().check(&other.anchor()),
        Err(HandoverError::Anchor(AnchorError::RecoverySet))
    );
}

#[test]
fn every_bit_of_a_genesis_document_counts() {
    let ledger = Ledger::new(2, 3);
    let genesis = Genesis::decode_for(&ledger.chain, &ledger.genesis).unwrap();
    assert_eq!((genesis.name(), genesis.heartbeat_ms()), ("test", 60_000));
    assert_eq!(genesis.founders().count(), 2);
    mutations(&ledger.genesis, |bytes, what| {
        assert!(Genesis::decode_for(&ledger.chain, bytes).is_err(), "{what}");
        // By itself it is another document or none, never a panic.
        if let Ok(other) = Genesis::decode(bytes) {
            assert_ne!(other.chain(), ledger.chain, "{what}");
        }
    });
    let parts = GenesisParts {
        name: "test",
        created_ms: 1,
        heartbeat_ms: 999,
        epoch_set: &ledger.epoch.bytes,
        recovery_set: &ledger.recovery,
        organisations: vec![],
        nodes: ledger.epoch.nodes(),
    };
    assert_eq!(parts.encode(), Err(GenesisError::Heartbeat));

    let set = Epochal::new(0, 1, 1);
    let found = |recovery: &[u8], quota| {
        GenesisParts {
            name: "test",
            created_ms: 1,
            heartbeat_ms: 1000,
            epoch_set: &set.bytes,
            recovery_set: recovery,
            organisations: vec![(OrgName::new("org-0").unwrap(), quota)],
            nodes: set.nodes(),
        }
        .encode()
    };
    assert!(found(&ledger.recovery, (1 << 48) - 1).is_ok());
    assert_eq!(found(&ledger.recovery, 1 << 48), Err(GenesisError::Quota));
    for key in [&set.officers[0][1], &set.votes[0]] {
        let recovery = recovery_set(1, &[public(key)]).unwrap();
        assert_eq!(found(&recovery, 1000), Err(GenesisError::RecoveryKey));
    }
}

/// The officers of two thirds of the organisations are not one officer counted for each, and who holds a vote key has not
/// an officer's with it.
#[test]
fn no_key_stands_twice_in_a_set() {
    let keys = |officers: [SigningKey; 2], vote: SigningKey| {
        let organisation = |o: u8, officer: SigningKey| OrganisationParts {
            id: OrgName::new(&format!("org-{o}")).unwrap().id(),
            threshold: 1,
            officers: vec![public(&officer)],
            vote_keys: if o == 0 {
                vec![vote.verification_key().into()]
            } else {
                vec![]
            },
        };
        EpochSetParts {
            epoch: Epoch::new(0),
            organisations: vec![organisation(0, officers[0]), organisation(1, officers[1])],
        }
        .encode()
    };
    let (a, b, vote) = (secret(1, 0), secret(1, 1), secret(2, 0));
    assert!(keys([a, b], vote).is_ok());
    for (officers, vote) in [([a, a], vote), ([a, b], a), ([a, b], b)] {
        assert_eq!(keys(officers, vote), Err(SetError::Repeated));
    }
}

/// Under a point of small order anyone signs anything: no set takes one for a key.
#[test]
fn a_set_has_no_key_that_signs_for_everyone() {
    let mut bytes = Epochal::new(0, 1, 1).bytes;
    let vote_key = bytes.len() - 33;
    bytes[vote_key..vote_key + 32].copy_from_slice(&[0; 32]);
    let set = EpochSet::decode(&bytes).unwrap();
    assert_eq!(set.check_keys(), Err(SetError::Key));
}

/// Nobody makes a device look at the points of a set without signatures that count; and no set with a bad one is adopted.
#[test]
fn the_next_set_is_looked_at_after_the_signatures() {
    let ledger = Ledger::new(1, 1);
    let anchor = ledger.anchor();
    let mut next = Epochal::new(1, 1, 1);
    let vote_key = next.bytes.len() - 33;
    next.bytes[vote_key..vote_key + 32].fill(0);
    let bad_set = HandoverError::NextSet(SetError::Key);
    for (votes, organisations, error) in [
        (0, 1, HandoverError::Votes(QuorumError::TooFew)),
        (1, 0, HandoverError::Organisations),
        (1, 1, bad_set),
    ] {
        let end = (10, [1; 32]);
        let bytes = ledger
            .epoch
            .hand_over(&ledger.chain, &next, end, votes, organisations);
        let refused = Handover::decode(&bytes)
            .unwrap()
            .check(&anchor, &ledger.epoch.set());
        assert_eq!(refused, Err(error));
    }
    for (signers, error) in [
        (&[0][..], HandoverError::Recovery(QuorumError::TooFew)),
        (&[0, 1], bad_set),
    ] {
        let bytes = ledger.recover(&next, 1000, signers);
        assert_eq!(Recovery::decode(&bytes).unwrap().check(&anchor), Err(error));
    }
}
