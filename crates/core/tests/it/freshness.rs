//! Freshness receipts (spec/freshness.md): `spec/vectors/freshness.json`, every way to be wrong, and what is shown with one.

use ed25519_zebra::SigningKey;
use kusabi_core::anchor::{Anchor, AnchorError};
use kusabi_core::checkpoint::{Checkpoint, CheckpointParts, FinalizeVote, VerifiedCheckpoint};
use kusabi_core::crypto::sha256;
use kusabi_core::device::{Trust, TrustError};
use kusabi_core::freshness::{
    BRANCH_LEN_MAX, Batch, Branch, Claim, FreshnessError, NONCES_MAX, RECEIPT_LEN_MAX, Receipt,
    VerifiedReceipt,
};
use kusabi_core::header::Header;
use kusabi_core::id::{
    BodyHash, ChainId, Epoch, HeaderHash, Height, Nonce, OpsRoot, OrgName, RecoveryHash, StateRoot,
    View,
};
use kusabi_core::quorum::{QuorumError, one_honest, quorum};
use kusabi_core::set::{EpochSet, EpochSetParts, OrganisationParts};
use kusabi_core::suite::{Signature, VerificationKey};
use proptest::prelude::*;
use serde::Deserialize;
use std::time::Instant;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Vectors {
    good: Vec<Good>,
    set: Hex,
    anchor: Hex,
    nonce: Hex,
    refused: Vec<(String, Hex)>,
    carried: Vec<Carried>,
    #[serde(rename = "refused branches")]
    refused_branches: Vec<(String, Hex)>,
}

#[derive(Deserialize)]
struct Carried {
    nonce: Hex,
    root: Hex,
    branch: Hex,
    receipt: Hex,
}

#[derive(Deserialize)]
struct Good {
    set: Hex,
    anchor: Hex,
    nonce: Hex,
    receipt: Hex,
    height: u64,
    #[serde(rename = "header hash")]
    header_hash: Hex,
}

fn check(
    receipt: &[u8],
    anchor: &Anchor,
    set: &[u8],
    nonce: &Nonce,
) -> Result<VerifiedReceipt, FreshnessError> {
    let set = EpochSet::decode(set).unwrap();
    Receipt::decode(receipt)?.check(anchor, &set, nonce)
}

#[test]
fn receipts_of_an_independent_signer() {
    let v: Vectors = read("freshness.json");
    assert!(v.good.len() > 10);
    for good in v.good {
        let anchor = Anchor::decode(&good.anchor.0).unwrap();
        let nonce = Nonce::new(good.nonce.array());
        let receipt = check(&good.receipt.0, &anchor, &good.set.0, &nonce).unwrap();
        assert_eq!(receipt.height().get(), good.height);
        assert_eq!(receipt.header_hash().to_bytes(), good.header_hash.array());
        assert_eq!(
            (*receipt.chain(), receipt.epoch()),
            (anchor.chain(), anchor.epoch())
        );
        assert!(good.receipt.0.len() <= RECEIPT_LEN_MAX);
    }
    for (error, receipt) in v.refused {
        let anchor = Anchor::decode(&v.anchor.0).unwrap();
        let nonce = Nonce::new(v.nonce.array());
        let refused = check(&receipt.0, &anchor, &v.set.0, &nonce).unwrap_err();
        assert_eq!(format!("{refused:?}"), error);
    }
}

#[test]
fn branches_of_an_independent_courier() {
    let v: Vectors = read("freshness.json");
    let anchor = Anchor::decode(&v.anchor.0).unwrap();
    let trust = Trust::new(anchor, &v.set.0).unwrap();
    assert!(v.carried.len() > 10);
    for carried in v.carried {
        let nonce = Nonce::new(carried.nonce.array());
        let branch = Branch::decode(&carried.branch.0).unwrap();
        let root = branch.carried(&nonce).unwrap();
        assert_eq!(root.to_bytes(), carried.root.array());
        let vouched = trust.vouched(&carried.receipt.0, &carried.branch.0, &nonce);
        assert_eq!(vouched.unwrap().height().get(), 41);
    }
    for (error, branch) in v.refused_branches {
        let refused = Branch::decode(&branch.0).unwrap_err();
        assert_eq!(format!("{refused:?}"), error);
    }
}

#[test]
fn a_courier_carries_many_with_one_receipt_and_each_only_its_own() {
    let ledger = Ledger::new(1, 5, 4);
    let trust = Trust::new(ledger.anchor(0, HeaderHash::ZERO), &ledger.set).unwrap();
    for count in [1, 2, 5, 8, 37] {
        let nonces = nonces(count);
        let asked = Batch::new(&nonces).unwrap();
        let root = Nonce::new(asked.root().to_bytes());
        let receipts = |signers: &[usize]| ledger.receipts(&[root], 41, signers.iter().copied());
        let receipt = &receipts(&[1, 3])[0];
        for (at, nonce) in nonces.iter().enumerate() {
            let branch = asked.branch(at as u32);
            assert!(branch.len() <= BRANCH_LEN_MAX);
            assert!(trust.vouched(receipt, &branch, nonce).is_ok());
            let other = Nonce::new([at as u8; 32]);
            let nonce_refused = Err(TrustError::Freshness(FreshnessError::Nonce));
            assert_eq!(trust.vouched(receipt, &branch, &other), nonce_refused);
            for bit in 0..branch.len() * 8 {
                let mut flipped = branch.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                // Trees of different sizes have ways of the same form: those lead to the same root.
                let leads = Branch::decode(&flipped).and_then(|branch| branch.carried(nonce));
                let same = leads == Ok(root);
                let vouched = trust.vouched(receipt, &flipped, nonce);
                assert_eq!(vouched.is_ok(), same, "bit {bit}");
                assert!(!same || bit < 32, "bit {bit}");
            }
        }
        // As many as may lie have signed, and no more.
        let few = trust.vouched(&receipts(&[2])[0], &asked.branch(0), &nonces[0]);
        let few = few.unwrap_err();
        let votes = FreshnessError::Votes(QuorumError::TooFew);
        assert_eq!(few, TrustError::Freshness(votes));
        // What was signed for the root itself is for no nonce under it without its branch.
        let bare = trust.vouched(
            receipt,
            &Batch::new(&nonces[..1]).unwrap().branch(0),
            &nonces[0],
        );
        assert_eq!(bare.is_ok(), count == 1);
    }
}

/// A ledger with known vote keys.
struct Ledger {
    chain: ChainId,
    set: Vec<u8>,
    /// In the order of the set.
    votes: Vec<SigningKey>,
}

impl Ledger {
    fn new(chain: u8, epoch: u64, n: u8) -> Self {
        let secret = |i: u8| SigningKey::from_bytes(&sha256(&[b"kusabi test key", &[7, i]]));
        let mut votes: Vec<_> = (0..n).map(secret).collect();
        votes.sort_by_key(|key| <[u8; 32]>::from(key.verification_key()));
        let officer = secret(255).verification_key().into();
        let parts = EpochSetParts {
            epoch: Epoch::new(epoch),
            organisations: vec![OrganisationParts {
                id: OrgName::new("org").unwrap().id(),
                threshold: 1,
                officers: vec![VerificationKey::ed25519(&officer).unwrap()],
                vote_keys: votes.iter().map(|v| v.verification_key().into()).collect(),
            }],
        };
        Self {
            chain: ChainId::new([chain; 32]),
            set: parts.encode().unwrap(),
            votes,
        }
    }

    fn set(&self) -> EpochSet<'_> {
        EpochSet::decode(&self.set).unwrap()
    }

    /// The anchor of who has seen nothing else than this header.
    fn anchor(&self, height: u64, hash: HeaderHash) -> Anchor {
        let set = self.set();
        let height = Height::new(height).unwrap();
        let recovery = RecoveryHash::new([9; 32]);
        Anchor::of_ledger(self.chain, set.epoch(), set.hash(), height, hash, recovery)
    }

    /// The header at a height of this history, or of another one.
    fn header(&self, height: u64, history: u8) -> Header {
        Header {
            height: Height::new(height).unwrap(),
            skipped: 0,
            time_ms: 1_700_000_000_000,
            parent: HeaderHash::new([history; 32]),
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

    /// A checkpoint as a quorum makes it.
    fn checkpoint(&self, height: u64, history: u8) -> VerifiedCheckpoint {
        let header = self.header(height, history);
        let mut message = Vec::new();
        FinalizeVote {
            epoch: header.epoch,
            view: header.view,
            parent_view: header.parent_view,
            header: header.hash(&self.chain),
        }
        .encode(&self.chain, &mut message);
        let parts = CheckpointParts {
            headers: vec![header],
            view: header.view,
            parent_view: header.parent_view,
            n: self.votes.len() as u8,
            signatures: (0..)
                .zip(&self.votes)
                .map(|(i, key)| (i, Signature::new(key.sign(&message).into())))
                .collect(),
        };
        let mut bytes = Vec::new();
        parts.encode(&mut bytes).unwrap();
        let anchor = self.anchor(0, HeaderHash::ZERO);
        let checkpoint = Checkpoint::decode(&bytes).unwrap();
        checkpoint.check(&anchor, &self.set()).unwrap()
    }

    /// The claim that this header is the newest.
    fn claim(&self, batch: &Batch, header: &Header) -> Claim {
        Claim {
            epoch: header.epoch,
            set_hash: header.set_hash,
            height: header.height,
            header_hash: header.hash(&self.chain),
            nonces: batch.root(),
            count: batch.count(),
        }
    }

    fn votes(
        &self,
        claim: &Claim,
        signers: impl IntoIterator<Item = usize>,
    ) -> Vec<(u8, Signature)> {
        let sign = |index: usize| {
            let key = &self.votes[index];
            let public = VerificationKey::ed25519(&key.verification_key().into()).unwrap();
            let statement = claim.statement(&self.chain, &public);
            let signature = Signature::new(key.sign(statement.as_bytes()).into());
            let public = key.verification_key().into();
            assert_eq!(claim.verify(&self.chain, &public, &signature), Ok(()));
            (index as u8, signature)
        };
        signers.into_iter().map(sign).collect()
    }

    /// The receipts of these nonces for the header at a height.
    fn receipts(
        &self,
        nonces: &[Nonce],
        height: u64,
        signers: impl IntoIterator<Item = usize>,
    ) -> Vec<Vec<u8>> {
        let batch = Batch::new(nonces).unwrap();
        let claim = self.claim(&batch, &self.header(height, 1));
        let votes = self.votes(&claim, signers);
        let n = self.votes.len() as u8;
        batch.receipts(&claim, n, &votes).unwrap().collect()
    }
}

fn nonces(count: u32) -> Vec<Nonce> {
    let nonce = |i: u32| Nonce::new(sha256(&[b"nonce", &i.to_be_bytes()]));
    (0..count).map(nonce).collect()
}

#[test]
fn one_more_than_may_lie_has_to_sign() {
    for n in 1..=16_u8 {
        let ledger = Ledger::new(1, 0, n);
        let anchor = ledger.anchor(0, HeaderHash::ZERO);
        let nonces = nonces(3);
        let needed = one_honest(usize::from(n));
        // Whoever may be missing in a quorum leaves enough to answer, and those who may lie are too few.
        assert_eq!(needed - 1 + quorum(usize::from(n)), usize::from(n));
        for signers in 0..=usize::from(n) {
            let receipts = ledger.receipts(&nonces, 41, 0..signers);
            let checked = check(&receipts[1], &anchor, &ledger.set, &nonces[1]);
            if signers >= needed {
                assert_eq!(checked.unwrap().height().get(), 41);
            } else {
                assert_eq!(checked, Err(FreshnessError::Votes(QuorumError::TooFew)));
            }
        }
    }
}

#[test]
fn a_receipt_is_for_its_nonce_epoch_set_and_chain() {
    let ledger = Ledger::new(1, 5, 4);
    let anchor = ledger.anchor(0, HeaderHash::ZERO);
    let nonces = nonces(6);
    let receipts = ledger.receipts(&nonces, 41, [1, 3]);
    for (at, nonce) in nonces.iter().enumerate() {
        for (other, receipt) in receipts.iter().enumerate() {
            let checked = check(receipt, &anchor, &ledger.set, nonce);
            if at == other {
                assert!(checked.is_ok());
            } else {
                assert_eq!(checked, Err(FreshnessError::Nonce));
            }
        }
    }
    let refused = |other: &Ledger, anchor: &Anchor| {
        check(&receipts[2], anchor, &other.set, &nonces[2]).unwrap_err()
    };
    let of = |other: &Ledger| refused(other, &other.anchor(0, HeaderHash::ZERO));
    assert_eq!(of(&Ledger::new(1, 4, 4)), AnchorError::Epoch.into());
    assert_eq!(of(&Ledger::new(1, 6, 4)), AnchorError::Epoch.into());
    assert_eq!(of(&Ledger::new(1, 5, 5)), AnchorError::Set.into());
    let wrong = FreshnessError::Votes(QuorumError::Signature);
    assert_eq!(of(&Ledger::new(2, 5, 4)), wrong);
    let other_bytes = refused(&Ledger::new(1, 5, 5), &anchor);
    assert_eq!(other_bytes, AnchorError::SetBytes.into());
    // Another header at the floor's height; a receipt from below the floor is no fault.
    let floor = |height, history| {
        let hash = ledger.header(height, history).hash(&ledger.chain);
        ledger.anchor(height, hash)
    };
    assert_eq!(refused(&ledger, &floor(41, 2)), AnchorError::Fork.into());
    for fine in [floor(41, 1), floor(40, 2), floor(42, 2)] {
        assert!(check(&receipts[2], &fine, &ledger.set, &nonces[2]).is_ok());
    }
}

#[test]
fn a_signer_counts_once_and_every_signature_is_good() {
    let ledger = Ledger::new(1, 0, 4);
    let anchor = ledger.anchor(0, HeaderHash::ZERO);
    let nonces = nonces(2);
    let batch = Batch::new(&nonces).unwrap();
    let claim = ledger.claim(&batch, &ledger.header(41, 1));
    let refused = |votes: &[(u8, Signature)]| {
        let receipt = batch.receipts(&claim, 4, votes).unwrap().next().unwrap();
        check(&receipt, &anchor, &ledger.set, &nonces[0]).unwrap_err()
    };
    let one = ledger.votes(&claim, [2]);
    // The same signer twice cannot be written down, and under another's name the signature is wrong.
    let twice = [one[0], one[0]];
    assert_eq!(
        batch.receipts(&claim, 4, &twice).err(),
        Some(QuorumError::Order)
    );
    let wrong = FreshnessError::Votes(QuorumError::Signature);
    assert_eq!(refused(&[one[0], (3, one[0].1)]), wrong);
    assert_eq!(refused(&[(1, one[0].1), one[0]]), wrong);
    let three = ledger.votes(&claim, [0, 1, 2]);
    assert_eq!(refused(&[three[0], three[1], (2, three[0].1)]), wrong);
    // Signed for another header, other nonces, another epoch.
    let others = Batch::new(&nonces[..1]).unwrap();
    for other in [
        ledger.claim(&batch, &ledger.header(41, 2)),
        ledger.claim(&batch, &ledger.header(42, 1)),
        ledger.claim(&others, &ledger.header(41, 1)),
        Claim {
            epoch: Epoch::new(1),
            ..claim
        },
    ] {
        assert_eq!(refused(&ledger.votes(&other, [0, 1])), wrong);
    }
    let most = batch.receipts(&claim, 16, &[]).unwrap();
    assert!(
        most.map(|receipt| receipt.len())
            .all(|len| len > Claim::LEN)
    );
}

/// A hostile server has a fresh receipt, and shows an old state with it.
#[test]
fn what_is_shown_must_be_as_high_as_the_receipt_and_the_same() {
    let ledger = Ledger::new(1, 5, 4);
    let nonces = nonces(1);
    let receipts = ledger.receipts(&nonces, 41, [0, 1]);
    let anchor = ledger.anchor(0, HeaderHash::ZERO);
    let receipt = check(&receipts[0], &anchor, &ledger.set, &nonces[0]).unwrap();
    for (height, history, expected) in [
        (41, 1, Ok(())),
        (42, 1, Ok(())),
        (42, 2, Ok(())),
        (40, 1, Err(FreshnessError::Old)),
        (1, 1, Err(FreshnessError::Old)),
        (41, 2, Err(FreshnessError::Fork)),
    ] {
        let shown = ledger.checkpoint(height, history);
        assert_eq!(receipt.check_checkpoint(&shown), expected);
        let mut floor = anchor;
        assert!(floor.advance(&shown));
        assert_eq!(receipt.check_floor(&floor), expected);
    }
    let other = Ledger::new(2, 5, 4);
    let chain = Err(FreshnessError::Chain);
    assert_eq!(receipt.check_checkpoint(&other.checkpoint(50, 1)), chain);
    // Of an epoch that is over, and of a later one.
    let before = Ledger::new(1, 4, 4);
    let old = Err(FreshnessError::Old);
    assert_eq!(receipt.check_checkpoint(&before.checkpoint(50, 1)), old);
    let after = Ledger::new(1, 6, 4);
    assert_eq!(receipt.check_checkpoint(&after.checkpoint(42, 1)), Ok(()));
    assert_eq!(receipt.check_checkpoint(&after.checkpoint(40, 1)), old);
    // A floor whose hash is not known.
    let unknown = ledger.anchor(41, HeaderHash::ZERO);
    assert_eq!(receipt.check_floor(&unknown), Ok(()));
}

#[test]
fn every_flipped_bit_every_cut_and_every_byte_more_is_refused() {
    let ledger = Ledger::new(1, 0, 4);
    let anchor = ledger.anchor(3, ledger.header(3, 1).hash(&ledger.chain));
    // Also where a tree is not full, so that a nonce's path is shorter than its neighbours'.
    for (count, place) in [(1, 0), (5, 2), (5, 4), (8, 7)] {
        let nonces = nonces(count);
        let nonce = &nonces[place];
        let receipt = ledger.receipts(&nonces, 41, [1, 2]).swap_remove(place);
        assert!(check(&receipt, &anchor, &ledger.set, nonce).is_ok());
        for bit in 0..receipt.len() * 8 {
            let mut flipped = receipt.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let refused = check(&flipped, &anchor, &ledger.set, nonce);
            assert!(refused.is_err(), "bit {bit} of {count}");
        }
        for len in 0..receipt.len() {
            assert!(check(&receipt[..len], &anchor, &ledger.set, nonce).is_err());
        }
        let longer = [&receipt[..], &[0]].concat();
        assert!(check(&longer, &anchor, &ledger.set, nonce).is_err());
    }
}

#[test]
fn the_largest_batch() {
    let ledger = Ledger::new(1, 0, 16);
    let anchor = ledger.anchor(0, HeaderHash::ZERO);
    let nonces = nonces(NONCES_MAX);
    let receipts = ledger.receipts(&nonces, 41, 0..16);
    for place in [0, 1, 40_000, 65_535] {
        assert_eq!(receipts[place].len(), RECEIPT_LEN_MAX);
        let batch = Batch::new(&nonces).unwrap();
        assert_eq!(batch.branch(place as u32).len(), BRANCH_LEN_MAX);
        assert!(check(&receipts[place], &anchor, &ledger.set, &nonces[place]).is_ok());
    }
}

/// What `docs/performance.md` tells: `cargo test --release -p kusabi-core --test it freshness::cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    let ledger = Ledger::new(1, 0, 4);
    let anchor = ledger.anchor(0, HeaderHash::ZERO);
    let nonces = nonces(10_000);
    let begin = Instant::now();
    let batch = Batch::new(&nonces).unwrap();
    let tree = begin.elapsed();
    let claim = ledger.claim(&batch, &ledger.header(41, 1));
    let begin = Instant::now();
    let votes = ledger.votes(&claim, [0, 1]);
    let signed = begin.elapsed() / 2;
    let begin = Instant::now();
    let receipts: Vec<_> = batch.receipts(&claim, 4, &votes).unwrap().collect();
    let written = begin.elapsed();
    let set = ledger.set();
    let begin = Instant::now();
    for (nonce, bytes) in nonces.iter().zip(&receipts).take(1_000) {
        let receipt = Receipt::decode(bytes).unwrap();
        receipt.check(&anchor, &set, nonce).unwrap();
    }
    let checked = begin.elapsed() / 1_000;
    println!(
        "10,000 nonces: tree {tree:?}, one vote made and verified {signed:?}, receipts {written:?} of {} bytes; \
         one checked in {checked:?}",
        receipts[0].len(),
    );
}

proptest! {
    #[test]
    fn every_nonce_of_a_batch_has_its_receipt(count in 1..200_u32, n in 1..8_u8, place: u32) {
        let ledger = Ledger::new(1, 0, n);
        let anchor = ledger.anchor(0, HeaderHash::ZERO);
        let nonces = nonces(count);
        let place = (place % count) as usize;
        let receipts = ledger.receipts(&nonces, 41, 0..one_honest(usize::from(n)));
        prop_assert_eq!(receipts.len(), count as usize);
        prop_assert!(check(&receipts[place], &anchor, &ledger.set, &nonces[place]).is_ok());
        let other = Nonce::new([0; 32]);
        let refused = check(&receipts[place], &anchor, &ledger.set, &other);
        prop_assert_eq!(refused, Err(FreshnessError::Nonce));
    }

    #[test]
    fn claims_round_trip(bytes in proptest::collection::vec(any::<u8>(), Claim::LEN), height in 0..1_u64 << 48, count in 1..=NONCES_MAX) {
        let mut bytes = bytes;
        bytes[0] = 1;
        bytes[41..49].copy_from_slice(&height.to_be_bytes());
        bytes[113..].copy_from_slice(&count.to_be_bytes());
        let claim = Claim::decode(&bytes).unwrap();
        prop_assert_eq!(claim.encode().to_vec(), bytes);
        prop_assert_eq!((claim.height.get(), claim.count), (height, count));
    }

    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1_800), count in 0..70_000_u32, place: u32) {
        let _ = Receipt::decode(&bytes);
        let _ = Branch::decode(&bytes);
        // With a head that can be read.
        let mut bytes = bytes;
        if bytes.len() > Claim::LEN + 7 {
            bytes[0] = 1;
            bytes[41..43].fill(0);
            bytes[113..117].copy_from_slice(&count.to_be_bytes());
            bytes[118..120].fill(0);
            bytes[120..124].copy_from_slice(&(place % 70_000).to_be_bytes());
            let _ = Receipt::decode(&bytes);
        }
    }
}
