//! The whole verification of evidence: genesis document → walk → proofs → record → signature → verdict.
//!
//! The ledger here is hand-made: a state of one row per header, whose root is written out from spec/proof.md, and one
//! validator per epoch. That the engine's own states verify is shown where the engine is.

use kusabi_core::appointment::{AppointmentParts, OfficerSignature};
use kusabi_core::checkpoint::{CheckpointParts, FinalizeVote};
use kusabi_core::crypto::sha256;
use kusabi_core::evidence::{Evidence, EvidenceError, Invalid, Newest, Signed, Unproven, Verdict};
use kusabi_core::genesis::GenesisParts;
use kusabi_core::handover::{HandoverParts, RecoveryParts};
use kusabi_core::header::Header;
use kusabi_core::id::{
    Binding, BodyHash, ChainId, Digest, Epoch, Handle, HeaderHash, Height, NodesHash, OpsRoot,
    OrgName, SetHash, StateKey, StateRoot, View,
};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::nodes::NodeParts;
use kusabi_core::proof::{self, Claim, Proof, path::Path};
use kusabi_core::row::{AnchorRow, Reason, Record, RowBytes, Status, Topic};
use kusabi_core::set::{EpochSet, EpochSetParts, OrganisationParts, recovery_set};
use kusabi_core::suite::{PublicKeys, Purpose, Suite, VerificationKey};

const FILE: &[u8] = b"firmware";

fn key(number: u8) -> SoftKey {
    SoftKey::from_seed(Suite::Curve25519, &Seed::new([number; 32])).unwrap()
}

fn public(key: &SoftKey) -> VerificationKey {
    key.public_keys().verification_key().unwrap()
}

fn height(number: u64) -> Height {
    Height::new(number).unwrap()
}

fn org() -> OrgName {
    "acme".parse().unwrap()
}

/// A ledger of one organisation; epoch e is voted on by key e, its officer is key 100, its recovery key is 200,
/// its node key is 210.
struct Ledger {
    genesis: Vec<u8>,
    chain: ChainId,
}

impl Ledger {
    fn new() -> Self {
        let node = NodeParts {
            vote_key: *public(&key(0)).as_ed25519().unwrap(),
            key: *public(&key(210)).as_ed25519().unwrap(),
            address: "",
        };
        let genesis = GenesisParts {
            name: "test",
            created_ms: 0,
            heartbeat_ms: 60_000,
            epoch_set: &Self::set(0),
            recovery_set: &Self::recovery_set(),
            organisations: vec![(org(), 1000)],
            nodes: vec![node],
        }
        .encode()
        .unwrap();
        let chain = ChainId::of(&genesis);
        Self { genesis, chain }
    }

    fn set(epoch: u8) -> Vec<u8> {
        EpochSetParts {
            epoch: Epoch::new(epoch.into()),
            organisations: vec![OrganisationParts {
                id: org().id(),
                threshold: 1,
                officers: vec![public(&key(100))],
                vote_keys: vec![*public(&key(epoch)).as_ed25519().unwrap()],
            }],
        }
        .encode()
        .unwrap()
    }

    fn set_hash(epoch: u8) -> SetHash {
        EpochSet::decode(&Self::set(epoch)).unwrap().hash()
    }

    fn recovery_set() -> Vec<u8> {
        recovery_set(1, &[public(&key(200))]).unwrap()
    }

    /// The proof that a state of one row is certified at a height of an epoch.
    fn prove(&self, epoch: u8, at: u64, state_key: StateKey, row: &RowBytes) -> Vec<u8> {
        let mut chunk = [0; 32];
        chunk[0] = 1;
        let (ops_root, partial) = ([7; 32], sha256(&[&chunk]));
        let name = state_key.as_bytes();
        let leaf = sha256(&[&[0; 8], &[0xd2], name, row, name]);
        let one = 1u64.to_be_bytes();
        let grafted = sha256(&[&[0, 1], &one, &leaf]);
        let header = Header {
            height: height(at),
            skipped: 0,
            time_ms: 0,
            parent: HeaderHash::ZERO,
            state_root: StateRoot::new(sha256(&[&ops_root, &grafted, &one, &partial])),
            ops_root: OpsRoot::new(ops_root),
            ops_start: 0,
            ops_end: 1,
            body: BodyHash::ZERO,
            epoch: Epoch::new(epoch.into()),
            set_hash: Self::set_hash(epoch),
            view: View::new(at),
            parent_view: View::new(at - 1),
            leader: 0,
            next_set_hash: None,
        };
        let vote = FinalizeVote {
            epoch: header.epoch,
            view: header.view,
            parent_view: header.parent_view,
            header: header.hash(&self.chain),
        };
        let mut message = Vec::new();
        vote.encode(&self.chain, &mut message);
        let mut checkpoint = Vec::new();
        CheckpointParts {
            headers: vec![header],
            view: header.view,
            parent_view: header.parent_view,
            n: 1,
            signatures: vec![(0, key(epoch).sign_message(&message).unwrap())],
        }
        .encode(&mut checkpoint)
        .unwrap();
        let path = Path {
            location: 0,
            chunk,
            inactive_peaks: 0,
            partial: Some(partial),
            digests: &[],
        };
        let claim = Claim::Present {
            row,
            next_key: state_key,
        };
        let mut bytes = Vec::new();
        proof::encode(&checkpoint, &path, &claim, &mut bytes).unwrap();
        bytes
    }

    fn prove_record(&self, epoch: u8, at: u64, signer: &Signer, record: &Record) -> Vec<u8> {
        self.prove(
            epoch,
            at,
            StateKey::record(&signer.handle),
            &record.encode(),
        )
    }

    /// The proof, made at the height after, that a digest was anchored at a height.
    fn prove_anchor(&self, epoch: u8, at: u64, digest: Digest) -> Vec<u8> {
        self.prove_anchor_row(epoch, at, digest, digest, Topic::Evidence)
    }

    fn prove_anchor_row(
        &self,
        epoch: u8,
        at: u64,
        name: Digest,
        digest: Digest,
        topic: Topic,
    ) -> Vec<u8> {
        let row = AnchorRow {
            topic,
            height: height(at),
            org: org().id(),
            signer: Handle::ZERO,
            digest,
        };
        self.prove(epoch, at + 1, StateKey::anchor(&name), &row.encode())
    }

    /// The step from an epoch to the next, whose last height is given.
    fn handover(&self, old: u8, last: u64) -> Vec<u8> {
        self.handover_at(old, last, HeaderHash::new([1; 32]))
    }

    fn handover_at(&self, old: u8, last: u64, last_header_hash: HeaderHash) -> Vec<u8> {
        let parts = HandoverParts {
            appointment: AppointmentParts {
                old_epoch: Epoch::new(old.into()),
                old_set_hash: Self::set_hash(old),
                nodes_hash: NodesHash::of(b"nodes"),
                next_set: Self::set(old + 1),
            },
            last_height: height(last),
            last_header_hash,
        };
        let appointed = parts.appointment.statement(&self.chain, &public(&key(100)));
        let officer = OfficerSignature {
            organisation: 0,
            officer: 0,
            signature: key(100).sign(&appointed.unwrap()).unwrap(),
        };
        let ended = parts.statement(&self.chain, &public(&key(old)));
        let votes = [(0, key(old).sign(&ended.unwrap()).unwrap())];
        let bytes = parts.encode(1, &votes, &[officer]).unwrap();
        [&[1], bytes.as_slice()].concat()
    }

    /// The step from any epoch to one that the recovery key certifies.
    fn recovery(&self, next: u8, from: u64) -> Vec<u8> {
        let parts = RecoveryParts {
            from: height(from),
            parent_height: height(from - 10),
            parent_hash: HeaderHash::new([1; 32]),
            nodes_hash: NodesHash::new([8; 32]),
            next_set: Self::set(next),
        };
        let statement = parts.statement(&self.chain, &public(&key(200))).unwrap();
        let signature = key(200).sign(&statement).unwrap();
        let bytes = parts
            .encode(&Self::recovery_set(), &[(0, signature)])
            .unwrap();
        [&[2], bytes.as_slice()].concat()
    }

    fn verify(&self, evidence: &Evidence, newest: Option<&Newest>, fresh_from: u64) -> Verdict {
        Evidence::verify(
            evidence.encoded(),
            &self.chain,
            &Digest::of(FILE),
            newest,
            height(fresh_from),
        )
    }
}

struct Signer {
    key: SoftKey,
    handle: Handle,
}

impl Signer {
    fn new() -> Self {
        let key = SoftKey::from_seed(Suite::P256, &Seed::new([50; 32])).unwrap();
        let handle = Handle::new([50; 32]);
        Self { key, handle }
    }

    /// Registered at height 10.
    fn record(&self) -> Record {
        self.record_of(self.key.public_keys())
    }

    fn record_of(&self, keys: PublicKeys) -> Record {
        let (binding, metadata) = (Binding::ZERO, Digest::ZERO);
        Record::register(
            Purpose::App,
            keys,
            org().id(),
            height(10),
            binding,
            metadata,
        )
    }

    fn sign(&self, ledger: &Ledger, proof: Vec<u8>, walk: Vec<Vec<u8>>) -> Evidence {
        self.sign_as(ledger, Purpose::App, proof, walk)
    }

    fn sign_as(
        &self,
        ledger: &Ledger,
        purpose: Purpose,
        proof: Vec<u8>,
        walk: Vec<Vec<u8>>,
    ) -> Evidence {
        let signed = Signed {
            chain: ledger.chain,
            signer: self.handle,
            purpose,
            file: Digest::of(FILE),
        };
        Evidence::sign(&self.key, signed, proof, ledger.genesis.clone(), walk).unwrap()
    }
}

#[test]
fn valid_now_needs_a_fresh_proof() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let evidence = signer.sign(
        &ledger,
        ledger.prove_record(0, 20, &signer, &signer.record()),
        vec![],
    );
    let known_at = height(20);
    let valid = Verdict::ValidNow { known_at };
    assert_eq!(ledger.verify(&evidence, None, 20), valid);
    let stale = Unproven::Stale { known_at };
    assert_eq!(ledger.verify(&evidence, None, 21), Verdict::Unproven(stale));

    // The ledger, asked now, decides.
    let newest = |record| Newest {
        record: Some(record),
        anchor: None,
        epoch: Epoch::ZERO,
        known_at: height(90),
    };
    let known_at = height(90);
    assert_eq!(
        ledger.verify(&evidence, Some(&newest(signer.record())), 99),
        Verdict::ValidNow { known_at }
    );
    let ended = signer
        .record()
        .revoke(height(80), Reason::Lost, None)
        .unwrap();
    assert_eq!(
        ledger.verify(&evidence, Some(&newest(ended)), 0),
        Verdict::Unproven(Unproven::Undated {
            status: Status::Revoked,
            ended: height(80)
        })
    );
    let unknown = Newest {
        record: None,
        anchor: None,
        epoch: Epoch::ZERO,
        known_at: height(90),
    };
    assert_eq!(
        ledger.verify(&evidence, Some(&unknown), 0),
        Verdict::Invalid(Invalid::Unknown)
    );
}

/// Vote keys, stolen in their epoch or after it, sign any height; the ledger's answer is the record all the same.
#[test]
fn a_forged_height_does_not_outbid_the_ledger() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let ended = signer.record().supersede(height(30)).unwrap();
    let undated = Verdict::Unproven(Unproven::Undated {
        status: Status::Superseded,
        ended: height(30),
    });
    let answered = |epoch| Newest {
        record: Some(ended),
        anchor: None,
        epoch: Epoch::new(epoch),
        known_at: height(90),
    };
    let bundle = |epoch, at| {
        let walk = if epoch == 0 {
            vec![]
        } else {
            vec![ledger.handover(0, 35)]
        };
        let proof = ledger.prove_record(epoch, at, &signer, &signer.record());
        signer.sign(&ledger, proof, walk)
    };
    // Up to the answer's height what is embedded says nothing beside it; above it, or in a later epoch, it contradicts it.
    for (epoch, at, answer, expected) in [
        (0, 90, 0, None),
        (0, 90, 1, None),
        (0, 91, 0, Some(91)),
        (0, 1 << 40, 0, Some(1 << 40)),
        (0, 1 << 40, 1, Some(1 << 40)),
        (1, 40, 1, None),
        (1, 40, 0, Some(40)),
    ] {
        let expected = expected.map_or(undated, |proven| {
            Verdict::Unproven(Unproven::AheadOfLedger {
                proven: height(proven),
                answered: height(90),
            })
        });
        let verdict = ledger.verify(&bundle(epoch, at), Some(&answered(answer)), 0);
        assert_eq!(verdict, expected, "{epoch} {at} {answer}");
    }
    // Nor does it say that a signer is unknown, when the answer may only be old.
    let unknown = Newest {
        record: None,
        ..answered(0)
    };
    let ahead = Verdict::Unproven(Unproven::AheadOfLedger {
        proven: height(91),
        answered: height(90),
    });
    assert_eq!(ledger.verify(&bundle(0, 91), Some(&unknown), 0), ahead);
    assert_eq!(
        ledger.verify(&bundle(0, 90), Some(&unknown), 0),
        Verdict::Invalid(Invalid::Unknown)
    );
    // A bad signature stays bad.
    let other = Evidence::verify(
        bundle(0, 91).encoded(),
        &ledger.chain,
        &Digest::of(b"other"),
        Some(&answered(0)),
        Height::ZERO,
    );
    let why = Invalid::Evidence(EvidenceError::OtherFile);
    assert_eq!(other, Verdict::Invalid(why));
}

/// An anchor row forged with the vote keys of an old epoch dates nothing for whoever asks the ledger.
#[test]
fn the_ledgers_anchor_row_is_the_anchor() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let ended = signer.record().supersede(height(30)).unwrap();
    let proof = ledger.prove_record(0, 40, &signer, &ended);
    let plain = signer.sign(&ledger, proof, vec![]);
    let digest = plain.anchor_digest();
    let anchored = |at| {
        let anchor = ledger.prove_anchor(0, at, digest);
        plain.clone().anchored(anchor, vec![]).unwrap()
    };
    let row = |at: u64, digest| AnchorRow {
        topic: Topic::Evidence,
        height: height(at),
        org: org().id(),
        signer: Handle::ZERO,
        digest,
    };
    let verdict = |evidence: &Evidence, anchor| {
        let newest = Newest {
            record: Some(ended),
            anchor,
            epoch: Epoch::new(1),
            known_at: height(90),
        };
        ledger.verify(evidence, Some(&newest), 0)
    };
    let dated = |at| Verdict::AnchoredWhileValid {
        at: height(at),
        known_at: height(90),
    };
    let forged = anchored(20);
    assert!(matches!(
        ledger.verify(&forged, None, 0),
        Verdict::AnchoredWhileValid { .. }
    ));
    let lost = Unproven::LostAnchor { at: height(20) };
    assert_eq!(verdict(&forged, None), Verdict::Unproven(lost));
    // What the ledger has counts, whatever the bundle holds: another height, or nothing.
    assert_eq!(verdict(&forged, Some(row(25, digest))), dated(25));
    assert_eq!(verdict(&plain, Some(row(25, digest))), dated(25));
    assert_eq!(
        verdict(&forged, Some(row(31, digest))),
        Verdict::Invalid(Invalid::EndedBefore {
            at: height(31),
            status: Status::Superseded,
            ended: height(30)
        })
    );
    assert_eq!(
        verdict(&forged, Some(row(25, Digest::new([9; 32])))),
        Verdict::Invalid(Invalid::OtherAnchor)
    );
    // A forged row is proven at the height after it: beyond the answer it contradicts the ledger.
    assert_eq!(
        verdict(&anchored(90), None),
        Verdict::Unproven(Unproven::AheadOfLedger {
            proven: height(91),
            answered: height(90)
        })
    );
}

/// Vote keys that were stolen after their epoch do not reach past its end, which the officers signed.
#[test]
fn no_proof_lies_beyond_the_end_of_its_epoch() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let hash_of = |proof: &[u8]| {
        let header = *Proof::decode(proof).unwrap().checkpoint().claimed();
        header.hash(&ledger.chain)
    };
    // The record is proven in the new epoch; the anchor row in the old one.
    let (last, lost) = (35, 60);
    let proof = ledger.prove_record(1, 40, &signer, &signer.record());
    let evidence = signer.sign(&ledger, proof, vec![ledger.handover(0, last)]);
    let digest = evidence.anchor_digest();
    let dated = |at: u64, step: Vec<u8>, epoch: u8| {
        let proof = ledger.prove_record(epoch, lost + 10, &signer, &signer.record());
        let evidence = signer.sign(&ledger, proof, vec![step.clone()]);
        assert_eq!(evidence.anchor_digest(), digest);
        // The proof is of the height after.
        let anchor = ledger.prove_anchor(0, at, digest);
        let evidence = evidence.anchored(anchor, vec![step]).unwrap();
        ledger.verify(&evidence, None, u64::from(u32::MAX))
    };
    let good = |at| Verdict::AnchoredWhileValid {
        at: height(at),
        known_at: height(lost + 10),
    };
    assert_eq!(dated(last - 2, ledger.handover(0, last), 1), good(last - 2));
    let at_the_end = hash_of(&ledger.prove_anchor(0, last - 1, digest));
    let honest = ledger.handover_at(0, last, at_the_end);
    assert_eq!(dated(last - 1, honest.clone(), 1), good(last - 1));
    for (at, step) in [
        (last - 1, ledger.handover(0, last)),
        (last, honest.clone()),
        (last + 20, honest),
    ] {
        assert_eq!(dated(at, step, 1), Verdict::Invalid(Invalid::Proof));
    }
    // After a recovery what was lost still counts, up to where the new epoch begins.
    assert_eq!(dated(lost - 2, ledger.recovery(4, lost), 4), good(lost - 2));
    assert_eq!(
        dated(lost - 1, ledger.recovery(4, lost), 4),
        Verdict::Invalid(Invalid::Proof)
    );
    // A step after those that the proofs need is looked at too.
    let mut bad = ledger.handover(0, last);
    *bad.last_mut().unwrap() ^= 1;
    let proof = ledger.prove_record(0, 20, &signer, &signer.record());
    let evidence = signer.sign(&ledger, proof, vec![bad]);
    assert_eq!(
        ledger.verify(&evidence, None, 0),
        Verdict::Invalid(Invalid::Proof)
    );
}

#[test]
fn an_anchor_row_is_no_younger_than_its_proof() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let proof = ledger.prove_record(0, 60, &signer, &signer.record());
    let evidence = signer.sign(&ledger, proof, vec![]);
    let digest = evidence.anchor_digest();
    let row = AnchorRow {
        topic: Topic::Evidence,
        height: height(50),
        org: org().id(),
        signer: Handle::ZERO,
        digest,
    };
    for (proven_at, counts) in [(49, false), (50, true)] {
        let proof = ledger.prove(0, proven_at, StateKey::anchor(&digest), &row.encode());
        let evidence = evidence.clone().anchored(proof, vec![]).unwrap();
        let verdict = ledger.verify(&evidence, None, 1000);
        assert_eq!(
            verdict == Verdict::Invalid(Invalid::Proof),
            !counts,
            "{verdict:?}"
        );
    }
}

/// Whoever sees an anchor on its way can put the digest on the ledger first, under any topic; it dates the signature.
#[test]
fn an_anchor_counts_whatever_its_topic() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let ended = signer.record().supersede(height(30)).unwrap();
    let evidence = signer.sign(&ledger, ledger.prove_record(0, 40, &signer, &ended), vec![]);
    let digest = evidence.anchor_digest();
    let anchor = ledger.prove_anchor_row(0, 20, digest, digest, Topic::AuditLog);
    let evidence = evidence.anchored(anchor, vec![]).unwrap();
    assert_eq!(
        ledger.verify(&evidence, None, 0),
        Verdict::AnchoredWhileValid {
            at: height(20),
            known_at: height(40)
        }
    );
}

#[test]
fn an_anchor_dates_a_signature_across_epochs() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let ended = signer.record().supersede(height(30)).unwrap();
    for (walk, epoch) in [
        (vec![ledger.handover(0, 35)], 1),
        (vec![ledger.recovery(4, 38)], 4),
        (
            vec![
                ledger.handover(0, 32),
                ledger.handover(1, 35),
                ledger.recovery(5, 38),
            ],
            5,
        ),
    ] {
        let proof = ledger.prove_record(epoch, 40, &signer, &ended);
        let evidence = signer.sign(&ledger, proof, walk.clone());
        assert_eq!(
            ledger.verify(&evidence, None, 0),
            Verdict::Unproven(Unproven::Undated {
                status: Status::Superseded,
                ended: height(30)
            })
        );
        let digest = evidence.anchor_digest();
        let dated = |at| {
            let anchor = ledger.prove_anchor(0, at, digest);
            let evidence = evidence.clone().anchored(anchor, walk.clone()).unwrap();
            ledger.verify(&evidence, None, 0)
        };
        let known_at = height(40);
        for at in [10, 20, 29] {
            let at_height = height(at);
            assert_eq!(
                dated(at),
                Verdict::AnchoredWhileValid {
                    at: at_height,
                    known_at
                }
            );
        }
        assert_eq!(
            dated(30),
            Verdict::Invalid(Invalid::EndedBefore {
                at: height(30),
                status: Status::Superseded,
                ended: height(30)
            })
        );
        assert_eq!(
            dated(9),
            Verdict::Invalid(Invalid::BeforeRegistered {
                at: height(9),
                registered: height(10)
            })
        );
    }
}

#[test]
fn an_anchor_above_the_proof_of_the_record_shows_nothing() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let proof = ledger.prove_record(0, 20, &signer, &signer.record());
    let evidence = signer.sign(&ledger, proof, vec![]);
    let anchor = ledger.prove_anchor(0, 25, evidence.anchor_digest());
    let evidence = evidence.anchored(anchor, vec![]).unwrap();
    assert_eq!(
        ledger.verify(&evidence, None, 30),
        Verdict::Unproven(Unproven::AnchoredLater {
            at: height(25),
            known_at: height(20)
        })
    );
}

#[test]
fn a_compromise_reaches_back() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    for (since, dated) in [(25, false), (24, true), (5, true)] {
        let ended = signer
            .record()
            .revoke(height(30), Reason::Compromised, Some(height(since)))
            .unwrap();
        let evidence = signer.sign(&ledger, ledger.prove_record(0, 40, &signer, &ended), vec![]);
        let anchor = ledger.prove_anchor(0, 24, evidence.anchor_digest());
        let evidence = evidence.anchored(anchor, vec![]).unwrap();
        let expected = if dated {
            Verdict::Invalid(Invalid::Compromised {
                since: height(since),
            })
        } else {
            Verdict::AnchoredWhileValid {
                at: height(24),
                known_at: height(40),
            }
        };
        assert_eq!(ledger.verify(&evidence, None, 0), expected);
    }
}

#[test]
fn invalid_for_each_reason() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let proof = ledger.prove_record(0, 20, &signer, &signer.record());
    let good = signer.sign(&ledger, proof.clone(), vec![]);
    let invalid = |evidence: &Evidence, why: Invalid| {
        assert_eq!(
            ledger.verify(evidence, None, 0),
            Verdict::Invalid(why),
            "{why}"
        );
    };
    assert!(matches!(
        ledger.verify(&good, None, 0),
        Verdict::ValidNow { .. }
    ));

    let other_file = Evidence::verify(
        good.encoded(),
        &ledger.chain,
        &Digest::of(b"other"),
        None,
        Height::ZERO,
    );
    let why = Invalid::Evidence(EvidenceError::OtherFile);
    assert_eq!(other_file, Verdict::Invalid(why));
    let other_chain = Evidence::verify(
        good.encoded(),
        &ChainId::ZERO,
        &Digest::of(FILE),
        None,
        Height::ZERO,
    );
    let why = Invalid::Evidence(EvidenceError::OtherChain);
    assert_eq!(other_chain, Verdict::Invalid(why));

    // Signed by another key than the one on the ledger.
    let keys = key(51).public_keys();
    let other = ledger.prove_record(0, 20, &signer, &signer.record_of(keys));
    let why = Invalid::Evidence(EvidenceError::Algorithm);
    invalid(&signer.sign(&ledger, other, vec![]), why);
    let keys = SoftKey::from_seed(Suite::P256, &Seed::new([51; 32])).unwrap();
    let record = signer.record_of(keys.public_keys());
    let other = ledger.prove_record(0, 20, &signer, &record);
    let why = Invalid::Evidence(EvidenceError::Signature);
    invalid(&signer.sign(&ledger, other, vec![]), why);

    // In another role than the record's.
    let why = Invalid::OtherPurpose {
        claimed: Purpose::Art,
        recorded: Purpose::App,
    };
    invalid(
        &signer.sign_as(&ledger, Purpose::Art, proof.clone(), vec![]),
        why,
    );

    // Another key's record, another epoch's set, a lie about the epoch, a bit of the proof.
    let stranger = Signer {
        handle: Handle::new([9; 32]),
        ..Signer::new()
    };
    let others = ledger.prove_record(0, 20, &stranger, &signer.record());
    invalid(&signer.sign(&ledger, others, vec![]), Invalid::Proof);
    let unreached = ledger.prove_record(1, 40, &signer, &signer.record());
    invalid(
        &signer.sign(&ledger, unreached.clone(), vec![]),
        Invalid::Proof,
    );
    for walk in [
        vec![ledger.handover(1, 35)],
        vec![ledger.recovery(2, 38)],
        vec![[&[3], &ledger.handover(0, 35)[1..]].concat()],
        vec![[&[2], &ledger.handover(0, 35)[1..]].concat()],
        vec![vec![]],
        vec![ledger.handover(0, 40)],
    ] {
        // The last one says that height 40 still belonged to epoch 0.
        let expected_proof = Invalid::Proof;
        let at_last = ledger.prove_record(1, 39, &signer, &signer.record());
        invalid(&signer.sign(&ledger, at_last, walk), expected_proof);
    }
    let good_walk = vec![ledger.handover(0, 35)];
    assert!(matches!(
        ledger.verify(&signer.sign(&ledger, unreached, good_walk), None, 0),
        Verdict::ValidNow { .. }
    ));
    for bit in 0..proof.len() * 8 {
        let mut flipped = proof.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        invalid(&signer.sign(&ledger, flipped, vec![]), Invalid::Proof);
    }

    // An anchor of another signature, of a row that names something else.
    let digest = good.anchor_digest();
    let other = Digest::new([3; 32]);
    for (anchor, why) in [
        (ledger.prove_anchor(0, 15, other), Invalid::Proof),
        (
            ledger.prove_anchor_row(0, 15, digest, other, Topic::Evidence),
            Invalid::OtherAnchor,
        ),
    ] {
        invalid(&good.clone().anchored(anchor, vec![]).unwrap(), why);
    }
}

/// No bit of a bundle can be flipped without the verdict changing to invalid.
#[test]
fn every_flipped_bit_makes_a_bundle_invalid() {
    let (ledger, signer) = (Ledger::new(), Signer::new());
    let ended = signer.record().supersede(height(30)).unwrap();
    let walk = vec![ledger.handover(0, 35)];
    let proof = ledger.prove_record(1, 40, &signer, &ended);
    let evidence = signer.sign(&ledger, proof, walk.clone());
    let anchor = ledger.prove_anchor(0, 20, evidence.anchor_digest());
    let evidence = evidence.anchored(anchor, walk).unwrap();
    assert!(matches!(
        ledger.verify(&evidence, None, 0),
        Verdict::AnchoredWhileValid { .. }
    ));
    for bit in 0..evidence.encoded().len() * 8 {
        let mut bytes = evidence.encoded().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let verdict =
            Evidence::verify(&bytes, &ledger.chain, &Digest::of(FILE), None, Height::ZERO);
        assert!(
            matches!(verdict, Verdict::Invalid(_)),
            "bit {bit}: {verdict}"
        );
    }
}

/// A checkpoint that was verified once serves the other proofs of its block, and no others.
#[test]
fn a_known_checkpoint_is_not_verified_again() {
    let ledger = Ledger::new();
    let genesis = kusabi_core::genesis::Genesis::decode(&ledger.genesis).unwrap();
    let anchor = kusabi_core::anchor::Anchor::from_genesis(&genesis);
    let (wanted, row) = (StateKey::record(&Handle::new([1; 32])), [9; 192]);
    let bytes = ledger.prove(0, 5, wanted, &row);
    let good = proof::Proof::decode(&bytes).unwrap();
    let verified = good.check(&anchor, genesis.epoch_set(), &wanted).unwrap();
    let known = verified.checkpoint();

    assert_eq!(good.check_under(known, &wanted), Ok(verified));

    let other_key = StateKey::record(&Handle::new([2; 32]));
    assert!(matches!(
        good.check_under(known, &other_key),
        Err(proof::ProofError::Path(_))
    ));
    // What the signature would have caught is caught by the header being another one.
    let forged = ledger.prove(0, 5, wanted, &[8; 192]);
    let forged = proof::Proof::decode(&forged).unwrap();
    assert_eq!(
        forged.check_under(known, &wanted),
        Err(proof::ProofError::OtherHeader)
    );
    // The row under the known header, but not in its state.
    let mut swapped = bytes.clone();
    let at = swapped.len() - 32 - 192;
    swapped[at] ^= 1;
    let swapped = proof::Proof::decode(&swapped).unwrap();
    assert!(matches!(
        swapped.check_under(known, &wanted),
        Err(proof::ProofError::Path(_))
    ));
}
