//! Freshness receipts: that what is shown is of now (spec/freshness.md).
//!
//! A device makes a [`Nonce`]. Validators sign one [`Claim`] for all nonces of a second: a Merkle root over them, with the newest
//! header that they know to be final. One more of them than may lie has signed, so an honest one has, and it says: *after your
//! nonce was made, this header was my newest, or had been until a moment ago*. [`Receipt::check`] makes a [`VerifiedReceipt`] of
//! that.
//!
//! What a receipt does not do: it proves nothing that is in the ledger and moves no floor. It says of which height at least a
//! checkpoint has to be ([`VerifiedReceipt::check_checkpoint`]).
//!
//! Who asks for many, as a server does for its devices, puts a root of his own over their nonces and asks for one receipt, for that
//! root. A [`Branch`] leads each of them from its nonce to it.

use core::fmt;

use crate::anchor::{Anchor, AnchorError};
use crate::checkpoint::VerifiedCheckpoint;
use crate::crypto::{SignatureError, sha256};
use crate::id::{ChainId, Epoch, HeaderHash, Height, Nonce, NonceRoot, SetHash};
use crate::quorum::{Certificate, QuorumError};
use crate::set::{EpochSet, VALIDATORS_MAX};
use crate::statement::{Statement, StatementKind};
use crate::suite::{Purpose, Signature, VerificationKey};
use crate::wire::{Reader, Sink, WireError, fixed};

/// The most nonces under one root.
pub const NONCES_MAX: u32 = 1 << 16;

/// The most bytes of a receipt: sixteen signers, sixteen steps to the root.
pub const RECEIPT_LEN_MAX: usize =
    Claim::LEN + 3 + VALIDATORS_MAX * Signature::LEN + 4 + STEPS_MAX * NonceRoot::LEN;

/// The most bytes of a branch: sixteen steps.
pub const BRANCH_LEN_MAX: usize = BRANCH_LEN_MIN + STEPS_MAX * NonceRoot::LEN;
/// The fewest: of a nonce that is alone.
pub const BRANCH_LEN_MIN: usize = 4 + 4;

const STEPS_MAX: usize = NONCES_MAX.ilog2() as usize;
const VERSION: u8 = 1;

/// Why a receipt is refused, or what was shown with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreshnessError {
    /// The bytes end early or late.
    Wire(WireError),
    /// A version other than 1.
    Version,
    /// A height of 2^48 or more.
    Height,
    /// No nonces, or more than 65,536.
    Count,
    /// The nonce's place is beyond the last one.
    Place,
    /// It is for other nonces than this one.
    Nonce,
    /// It does not stand under the anchor.
    Anchor(AnchorError),
    /// Those who signed may all be liars.
    Votes(QuorumError),
    /// What was shown is of another chain.
    Chain,
    /// What was shown is older than what the validators have.
    Old,
    /// What was shown has the receipt's height and other content.
    Fork,
}

impl fmt::Display for FreshnessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wire(error) => return write!(f, "the bytes are no freshness receipt: {error}"),
            Self::Version => "the freshness receipt is of another version",
            Self::Height => "the freshness receipt's height is out of range",
            Self::Count => "a freshness receipt is for 1 to 65,536 nonces",
            Self::Place => "the nonce's place in the freshness receipt is beyond the last one",
            Self::Nonce => "the freshness receipt is not for this nonce",
            Self::Anchor(error) => return write!(f, "{error}"),
            Self::Votes(error) => {
                return write!(
                    f,
                    "the validators' signatures on the freshness receipt do not count: {error}"
                );
            }
            Self::Chain => "this is of another ledger than the freshness receipt",
            Self::Old => {
                "this is older than what the validators have; ask again, or another server"
            }
            Self::Fork => "this contradicts what the validators have: the ledger has two histories",
        })
    }
}

impl core::error::Error for FreshnessError {}

crate::code::codes!(FreshnessError {
    Version = 0x2401,
    Height = 0x2402,
    Count = 0x2403,
    Place = 0x2404,
    Nonce = 0x2405,
    Chain = 0x2406,
    Old = 0x2407,
    Fork = 0x2408,
} in { Wire, Anchor, Votes });

impl From<WireError> for FreshnessError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<AnchorError> for FreshnessError {
    fn from(error: AnchorError) -> Self {
        Self::Anchor(error)
    }
}

/// What validators sign: after these nonces were made, or a moment before, this header was the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The epoch.
    pub epoch: Epoch,
    /// Hash of the epoch's set.
    pub set_hash: SetHash,
    /// Height of the newest final header.
    pub height: Height,
    /// Its hash.
    pub header_hash: HeaderHash,
    /// The root over the nonces.
    pub nonces: NonceRoot,
    /// How many nonces there are: 1 to [`NONCES_MAX`].
    pub count: u32,
}

impl Claim {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 1 + 8 + 32 + 8 + 32 + 32 + 4;

    /// Decodes exactly one claim: what a validator is asked to sign.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, FreshnessError> {
        let mut reader = Reader::new(bytes);
        let claim = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(claim)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FreshnessError> {
        if reader.u8()? != VERSION {
            return Err(FreshnessError::Version);
        }
        let claim = Self {
            epoch: Epoch::new(reader.u64()?),
            set_hash: SetHash::new(reader.array()?),
            height: Height::new(reader.u64()?).map_err(|_| FreshnessError::Height)?,
            header_hash: HeaderHash::new(reader.array()?),
            nonces: NonceRoot::new(reader.array()?),
            count: reader.u32()?,
        };
        check_count(claim.count)?;
        Ok(claim)
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        fixed(|out| {
            out.u8(VERSION);
            out.u64(self.epoch.get());
            out.put(self.set_hash.as_bytes());
            out.u64(self.height.get());
            out.put(self.header_hash.as_bytes());
            out.put(self.nonces.as_bytes());
            out.u32(self.count);
        })
    }

    /// The statement that the validator with this vote key signs.
    #[must_use]
    pub fn statement(&self, chain: &ChainId, vote_key: &VerificationKey) -> Statement {
        Statement::new(
            chain,
            &vote_key.bare_handle(),
            Purpose::Vote,
            StatementKind::Freshness,
            &[&self.encode()],
        )
    }

    /// Checks that the validator with this vote key signed.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn verify(
        &self,
        chain: &ChainId,
        vote_key: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let key = VerificationKey::ed25519(vote_key).map_err(|_| SignatureError::Key)?;
        key.verify(&self.statement(chain, &key), signature)
    }
}

const fn check_count(count: u32) -> Result<(), FreshnessError> {
    if count == 0 || count > NONCES_MAX {
        return Err(FreshnessError::Count);
    }
    Ok(())
}

fn leaf(nonce: &Nonce) -> [u8; 32] {
    sha256(&[b"kusabi.nonce.leaf.v1", nonce.as_bytes()])
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256(&[b"kusabi.nonce.node.v1", left, right])
}

/// A node's neighbour on one level of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbour {
    Left,
    Right,
    /// The last of an odd number of nodes goes up as it is.
    None,
}

/// The neighbours from the leaf `place` of `count` up to the root. This is the tree of RFC 6962, section 2.1: split at the
/// largest power of two, which is the same as pairing from the left on each level.
fn way_up(place: u32, count: u32) -> impl Iterator<Item = Neighbour> {
    let (mut at, mut last) = (place, count.saturating_sub(1));
    core::iter::from_fn(move || {
        if last == 0 {
            return None;
        }
        let neighbour = match at {
            _ if at % 2 == 1 => Neighbour::Left,
            _ if at < last => Neighbour::Right,
            _ => Neighbour::None,
        };
        (at, last) = (at / 2, last / 2);
        Some(neighbour)
    })
}

/// How many digests lead from a leaf to the root.
fn steps(place: u32, count: u32) -> usize {
    way_up(place, count)
        .filter(|neighbour| *neighbour != Neighbour::None)
        .count()
}

/// The way from one of the nonces under a root up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Path<'a> {
    count: u32,
    place: u32,
    digests: &'a [[u8; 32]],
}

impl<'a> Path<'a> {
    /// Reads `place u32 ‖ digests`, whose number follows from place and count.
    fn read(reader: &mut Reader<'a>, count: u32) -> Result<Self, FreshnessError> {
        let place = reader.u32()?;
        if place >= count {
            return Err(FreshnessError::Place);
        }
        let len = steps(place, count) * NonceRoot::LEN;
        let (digests, _) = reader.bytes(len)?.as_chunks();
        Ok(Self {
            count,
            place,
            digests,
        })
    }

    /// The root to which it leads from a nonce.
    fn root(&self, nonce: &Nonce) -> Option<NonceRoot> {
        let mut digests = self.digests.iter();
        let mut digest = leaf(nonce);
        for neighbour in way_up(self.place, self.count) {
            digest = match neighbour {
                Neighbour::Left => node(digests.next()?, &digest),
                Neighbour::Right => node(&digest, digests.next()?),
                Neighbour::None => digest,
            };
        }
        Some(NonceRoot::new(digest))
    }
}

/// The way from a nonce to the root that a courier put over the nonces of many, and for which it asked in their place:
/// `count u32 ‖ place u32 ‖ digests` (spec/freshness.md, "Couriers").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch<'a>(Path<'a>);

impl<'a> Branch<'a> {
    /// Decodes exactly one branch.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FreshnessError> {
        let mut reader = Reader::new(bytes);
        let count = reader.u32()?;
        check_count(count)?;
        let path = Path::read(&mut reader, count)?;
        reader.finish()?;
        Ok(Self(path))
    }

    /// What the courier asked for, if it carried `nonce`: a receipt for this root says of `nonce` what it says of the root, for
    /// nobody could make that before he had the nonce.
    ///
    /// # Errors
    /// [`FreshnessError::Nonce`], which decoding has ruled out.
    pub fn carried(&self, nonce: &Nonce) -> Result<Nonce, FreshnessError> {
        let root = self.0.root(nonce).ok_or(FreshnessError::Nonce)?;
        Ok(Nonce::new(root.to_bytes()))
    }
}

/// A decoded receipt: its form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt<'a> {
    claim: Claim,
    votes: Certificate<'a>,
    path: Path<'a>,
}

impl<'a> Receipt<'a> {
    /// Decodes exactly one receipt.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FreshnessError> {
        let mut reader = Reader::new(bytes);
        let claim = Claim::read(&mut reader)?;
        let votes = Certificate::read(&mut reader).map_err(|error| match error {
            QuorumError::Wire(error) => FreshnessError::Wire(error),
            error => FreshnessError::Votes(error),
        })?;
        let path = Path::read(&mut reader, claim.count)?;
        reader.finish()?;
        Ok(Self { claim, votes, path })
    }

    /// What it says, unchecked: to find out which set is needed, for instance.
    #[must_use]
    pub const fn claimed(&self) -> &Claim {
        &self.claim
    }

    /// Checks that validators of the anchor's set vouch for a header after `nonce` was made, one more of them than may lie.
    ///
    /// The height may be below the anchor's floor: the device has then seen newer than the validator of whom it knows the
    /// least, and that is no fault.
    ///
    /// # Errors
    /// The first rule broken. The signatures come last, because they cost most.
    pub fn check(
        &self,
        anchor: &Anchor,
        set: &EpochSet<'_>,
        nonce: &Nonce,
    ) -> Result<VerifiedReceipt, FreshnessError> {
        let claim = &self.claim;
        if self.path.root(nonce) != Some(claim.nonces) {
            return Err(FreshnessError::Nonce);
        }
        if claim.epoch != anchor.epoch() {
            return Err(AnchorError::Epoch.into());
        }
        if claim.set_hash != anchor.set_hash() {
            return Err(AnchorError::Set.into());
        }
        anchor.names(set)?;
        anchor.no_fork(claim.height, &claim.header_hash)?;
        let chain = anchor.chain();
        self.votes
            .check_honest(set.validator_count(), |index, signature| {
                let vote_key = set.validator(index)?.vote_key;
                let signature = Signature::new(*signature);
                Some(claim.verify(&chain, vote_key, &signature).is_ok())
            })
            .map_err(FreshnessError::Votes)?;
        Ok(VerifiedReceipt {
            chain,
            epoch: claim.epoch,
            height: claim.height,
            header_hash: claim.header_hash,
        })
    }
}

/// That at least one honest validator had this header as its newest after a nonce was made, or at most five seconds before; only
/// [`Receipt::check`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    chain: ChainId,
    epoch: Epoch,
    height: Height,
    header_hash: HeaderHash,
}

impl VerifiedReceipt {
    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The epoch of the header.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The height that a checkpoint must have at least to be of now.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.height
    }

    /// Hash of the header at that height.
    #[must_use]
    pub const fn header_hash(&self) -> &HeaderHash {
        &self.header_hash
    }

    /// Checks that a checkpoint is of now: as high as this receipt says, and the same at the same height.
    ///
    /// # Errors
    /// [`FreshnessError::Chain`], [`FreshnessError::Old`], [`FreshnessError::Fork`]
    pub fn check_checkpoint(&self, shown: &VerifiedCheckpoint) -> Result<(), FreshnessError> {
        let header = shown.header();
        self.reached(
            shown.chain(),
            header.epoch,
            header.height,
            Some(*shown.hash()),
        )
    }

    /// Checks that an anchor's floor is of now. The hash at the floor may be unknown (at height 0, and after a recovery); then
    /// the heights alone are compared.
    ///
    /// # Errors
    /// As [`check_checkpoint`](Self::check_checkpoint).
    pub fn check_floor(&self, anchor: &Anchor) -> Result<(), FreshnessError> {
        self.reached(
            &anchor.chain(),
            anchor.epoch(),
            anchor.height(),
            anchor.header_hash(),
        )
    }

    fn reached(
        &self,
        chain: &ChainId,
        epoch: Epoch,
        height: Height,
        hash: Option<HeaderHash>,
    ) -> Result<(), FreshnessError> {
        if *chain != self.chain {
            return Err(FreshnessError::Chain);
        }
        // An epoch that is over has no newest header, however high one may be.
        if epoch < self.epoch || height < self.height {
            return Err(FreshnessError::Old);
        }
        if height == self.height && hash.is_some_and(|hash| hash != self.header_hash) {
            return Err(FreshnessError::Fork);
        }
        Ok(())
    }
}

#[cfg(feature = "alloc")]
pub use owned::Batch;

#[cfg(feature = "alloc")]
mod owned {
    use alloc::vec::Vec;

    use super::{Claim, NONCES_MAX, Neighbour, leaf, node, way_up};
    use crate::checkpoint::encode_certificate;
    use crate::id::{Nonce, NonceRoot};
    use crate::quorum::QuorumError;
    use crate::suite::Signature;
    use crate::wire::Sink;

    /// The nonces of one second, as a tree.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Batch {
        count: u32,
        /// From the leaves up; the last level is the root alone.
        levels: Vec<Vec<[u8; 32]>>,
    }

    impl Batch {
        /// The tree over these nonces, in this order. `None`: no nonces, or more than [`NONCES_MAX`].
        #[must_use]
        pub fn new(nonces: &[Nonce]) -> Option<Self> {
            let count = u32::try_from(nonces.len()).ok()?;
            if count == 0 || count > NONCES_MAX {
                return None;
            }
            let mut level: Vec<_> = nonces.iter().map(leaf).collect();
            let mut levels = Vec::new();
            while level.len() > 1 {
                let pair = |pair: &[[u8; 32]]| match pair {
                    [left, right] => node(left, right),
                    [alone, ..] => *alone,
                    // No chunk is empty.
                    [] => [0; 32],
                };
                let next = level.chunks(2).map(pair).collect();
                levels.push(core::mem::replace(&mut level, next));
            }
            levels.push(level);
            Some(Self { count, levels })
        }

        /// The root.
        #[must_use]
        pub fn root(&self) -> NonceRoot {
            let root = self.levels.last().and_then(|level| level.first());
            // `new` makes at least one level with at least one node.
            NonceRoot::new(root.copied().unwrap_or_default())
        }

        /// How many nonces there are.
        #[must_use]
        pub const fn count(&self) -> u32 {
            self.count
        }

        /// The digests that lead from the nonce at a place to the root.
        pub fn path(&self, place: u32) -> impl Iterator<Item = &[u8; 32]> {
            let way = way_up(place, self.count).zip(&self.levels).enumerate();
            way.filter_map(move |(height, (neighbour, level))| {
                let at = place as usize >> height;
                match neighbour {
                    Neighbour::Left => level.get(at - 1),
                    Neighbour::Right => level.get(at + 1),
                    Neighbour::None => None,
                }
            })
        }

        /// The [`Branch`](super::Branch) of the nonce at a place.
        #[must_use]
        pub fn branch(&self, place: u32) -> Vec<u8> {
            let len = super::BRANCH_LEN_MIN + self.levels.len() * NonceRoot::LEN;
            let mut branch = Vec::with_capacity(len);
            branch.u32(self.count);
            branch.u32(place);
            for digest in self.path(place) {
                branch.put(digest);
            }
            branch
        }

        /// The receipts of all nonces, in order: for a claim over this batch and the votes for it, by index in a set of `n`,
        /// ascending.
        ///
        /// # Errors
        /// The rule of form that the votes break; whether they are good is not checked.
        pub fn receipts<'b>(
            &'b self,
            claim: &Claim,
            n: u8,
            votes: &[(u8, Signature)],
        ) -> Result<impl Iterator<Item = Vec<u8>> + use<'b>, QuorumError> {
            let mut head = Vec::from(claim.encode());
            encode_certificate(n, votes, &mut head)?;
            Ok((0..self.count).map(move |place| {
                let mut receipt =
                    Vec::with_capacity(head.len() + 4 + self.levels.len() * NonceRoot::LEN);
                receipt.put(&head);
                receipt.u32(place);
                for digest in self.path(place) {
                    receipt.put(digest);
                }
                receipt
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn nonces(count: u32) -> Vec<Nonce> {
        let nonce = |i: u32| Nonce::new(sha256(&[b"a nonce", &i.to_be_bytes()]));
        (0..count).map(nonce).collect()
    }

    /// RFC 6962, section 2.1, read literally.
    fn merkle_tree_hash(nonces: &[Nonce]) -> [u8; 32] {
        match nonces {
            [alone] => leaf(alone),
            _ => {
                let split = nonces.len().next_power_of_two() / 2;
                let (left, right) = nonces.split_at(split);
                node(&merkle_tree_hash(left), &merkle_tree_hash(right))
            }
        }
    }

    /// RFC 6962, section 2.1.1.
    fn audit_path(place: usize, nonces: &[Nonce]) -> Vec<[u8; 32]> {
        if nonces.len() == 1 {
            return Vec::new();
        }
        let split = nonces.len().next_power_of_two() / 2;
        let (left, right) = nonces.split_at(split);
        let (mut path, other) = if place < split {
            (audit_path(place, left), right)
        } else {
            (audit_path(place - split, right), left)
        };
        path.push(merkle_tree_hash(other));
        path
    }

    #[test]
    fn roots_and_paths_are_those_of_the_rfc() {
        for count in (1..=33).chain([63, 64, 65, 100]) {
            let nonces = nonces(count);
            let batch = Batch::new(&nonces).unwrap();
            assert_eq!(batch.root().to_bytes(), merkle_tree_hash(&nonces));
            assert_eq!(batch.count(), count);
            for place in 0..count {
                let path: Vec<_> = batch.path(place).copied().collect();
                assert_eq!(path, audit_path(place as usize, &nonces), "{place} {count}");
                assert_eq!(path.len(), steps(place, count));
            }
        }
    }

    #[test]
    fn a_batch_has_bounds() {
        assert_eq!(Batch::new(&[]), None);
        let many = nonces(NONCES_MAX + 1);
        assert_eq!(Batch::new(&many), None);
        let most = Batch::new(&many[..NONCES_MAX as usize]).unwrap();
        assert_eq!(most.path(NONCES_MAX - 1).count(), STEPS_MAX);
        assert!((0..NONCES_MAX).all(|place| steps(place, NONCES_MAX) == STEPS_MAX));
    }

    /// A statement of a vote key can be taken for no vote of the engine (spec/proof.md, "Checkpoint"), whose messages begin
    /// with the length of their label.
    #[test]
    fn no_statement_begins_as_a_vote() {
        let key = ed25519_zebra::SigningKey::from([7; 32]);
        let key = VerificationKey::ed25519(&key.verification_key().into()).unwrap();
        let claim = Claim {
            epoch: Epoch::ZERO,
            set_hash: SetHash::ZERO,
            height: Height::ZERO,
            header_hash: HeaderHash::ZERO,
            nonces: NonceRoot::ZERO,
            count: 1,
        };
        let statement = claim.statement(&ChainId::ZERO, &key);
        let label = crate::checkpoint::namespace(&ChainId::ZERO).len();
        let suffixes = ["_NOTARIZE", "_NULLIFY", "_FINALIZE", "_SEED"];
        for suffix in suffixes {
            assert_ne!(usize::from(statement.as_bytes()[0]), label + suffix.len());
        }
        assert_ne!(statement.as_bytes()[1..20], *b"kusabi.consensus.v1");
    }
}
