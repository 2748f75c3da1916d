//! How trust moves to the next validator set: by a handover, or by a recovery (spec/proof.md).
//!
//! A handover needs both a quorum of the old set's vote keys and the officers of two thirds of its organisations, so that
//! vote keys that are stolen after their epoch forge nothing. The officers have signed before who follows
//! ([`Appointment`]); the vote keys add with which block the epoch ended. A recovery needs the recovery keys that the genesis document
//! names, and jumps over whatever was lost.

use core::fmt;

use crate::anchor::{Anchor, AnchorError};
use crate::appointment::Appointment;
use crate::crypto::sha256;
use crate::id::{ChainId, Epoch, HeaderHash, Height, NodesHash, RecoveryHash, SetHash};
use crate::quorum::{Certificate, QuorumError, count};
use crate::set::{EpochSet, RecoverySet, SetError};
use crate::statement::{Statement, StatementKind};
use crate::suite::{Purpose, Signature, VerificationKey};
use crate::wire::{Reader, WireError};

const VERSION: u8 = 1;
/// How far above the block that survived a recovery may start: far above every floor (with a hundred blocks a second it
/// takes 348 years), and 255 recoveries with a typing error still leave heights.
pub const RECOVERY_JUMP_MAX: u64 = 1 << 40;
/// Highest epoch that a recovery may open: 256 typing errors of 2^48, and as many epochs again by handovers, lie above every clock's
/// milliseconds. Without it a recovery into epoch 2^64 − 1 would be the last change of all.
pub const RECOVERY_EPOCH_MAX: u64 = 1 << 56;
const RECOVERY_SIGNATURE_LEN: usize = 1 + Signature::LEN;

/// Why a handover or a recovery is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandoverError {
    /// The bytes end early or late.
    Wire(WireError),
    /// A version other than 1.
    Version,
    /// A height of 2^48 or more.
    Height,
    /// A recovery that starts at or below the block that survived.
    From,
    /// A recovery that starts more than 2^40 heights above the block that survived.
    TooFar,
    /// A recovery into an epoch above 2^56.
    EpochTooFar,
    /// The next set is malformed, or a key of it is not valid.
    NextSet(SetError),
    /// The next set's epoch does not follow: old + 1 for a handover, above the anchor's for a recovery.
    NextEpoch,
    /// The old set given is not the one that is named.
    OldSet,
    /// It does not stand under the anchor.
    Anchor(AnchorError),
    /// The vote keys are not a quorum.
    Votes(QuorumError),
    /// A signature of an officer is out of order, unknown or wrong.
    Officers(QuorumError),
    /// The officers of fewer than two thirds of the organisations signed.
    Organisations,
    /// The recovery keys are not enough.
    Recovery(QuorumError),
}

impl fmt::Display for HandoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => write!(f, "the bytes are no handover or recovery: {error}"),
            Self::Version => f.write_str("the handover or recovery is of another version"),
            Self::Height => f.write_str("a height is out of range"),
            Self::From => f.write_str("the recovery starts below the block that survived"),
            Self::TooFar => f.write_str("the recovery starts more than 2^40 heights above the block that survived; look for a typing error in its height"),
            Self::EpochTooFar => f.write_str("the recovery opens an epoch above 2^56, after which there are too few; look for a typing error in its number"),
            Self::NextSet(error) => write!(f, "the next set is refused: {error}"),
            Self::NextEpoch => f.write_str("the next set's epoch does not follow"),
            Self::OldSet => f.write_str("the old validator set is not the one that is named"),
            Self::Anchor(error) => write!(f, "{error}"),
            Self::Votes(error) => write!(f, "the old set's votes do not count: {error}"),
            Self::Officers(error) => write!(f, "the officers' signatures do not count: {error}"),
            Self::Organisations => {
                f.write_str("the officers of fewer than two thirds of the organisations signed")
            }
            Self::Recovery(error) => write!(f, "the recovery keys do not count: {error}"),
        }
    }
}

impl core::error::Error for HandoverError {}

crate::code::codes!(HandoverError {
    Version = 0x2101,
    Height = 0x2102,
    From = 0x2103,
    TooFar = 0x2104,
    NextEpoch = 0x2105,
    OldSet = 0x2106,
    Organisations = 0x2107,
    EpochTooFar = 0x2108,
} in { Wire, NextSet, Anchor, Votes, Officers, Recovery });

impl From<WireError> for HandoverError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<SetError> for HandoverError {
    fn from(error: SetError) -> Self {
        Self::NextSet(error)
    }
}

impl From<AnchorError> for HandoverError {
    fn from(error: AnchorError) -> Self {
        Self::Anchor(error)
    }
}

fn height(reader: &mut Reader<'_>) -> Result<Height, HandoverError> {
    Height::new(reader.u64()?).map_err(|_| HandoverError::Height)
}

pub(crate) fn next_set<'a>(reader: &mut Reader<'a>) -> Result<EpochSet<'a>, HandoverError> {
    let len = usize::from(reader.u16()?);
    Ok(EpochSet::decode(reader.bytes(len)?)?)
}

/// What was read of `reader` since it stood at `start`.
pub(crate) fn consumed<'a>(start: &'a [u8], reader: &Reader<'a>) -> &'a [u8] {
    start
        .get(..start.len() - reader.rest().len())
        .unwrap_or_default()
}

/// Verifies one statement of a key without a record.
pub(crate) fn signed_by(
    key: &VerificationKey,
    chain: &ChainId,
    purpose: Purpose,
    kind: StatementKind,
    payload: &[u8],
    signature: &[u8; Signature::LEN],
) -> bool {
    let statement = Statement::new(chain, &key.bare_handle(), purpose, kind, &[payload]);
    key.verify(&statement, &Signature::new(*signature)).is_ok()
}

/// A decoded handover: its form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover<'a> {
    payload: &'a [u8],
    appointment: Appointment<'a>,
    last_height: Height,
    last_header_hash: HeaderHash,
    votes: Certificate<'a>,
}

impl<'a> Handover<'a> {
    /// Decodes exactly one handover.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, HandoverError> {
        let mut reader = Reader::new(bytes);
        let says = Appointment::read_payload(&mut reader)?;
        let last_height = height(&mut reader)?;
        let last_header_hash = HeaderHash::new(reader.array()?);
        let payload = consumed(bytes, &reader);
        let votes = Certificate::read(&mut reader).map_err(|error| match error {
            QuorumError::Wire(error) => HandoverError::Wire(error),
            error => HandoverError::Votes(error),
        })?;
        let appointment = says.read_signatures(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            payload,
            appointment,
            last_height,
            last_header_hash,
            votes,
        })
    }

    /// What the officers signed.
    #[must_use]
    pub const fn appointment(&self) -> &Appointment<'a> {
        &self.appointment
    }

    /// The last height of the old epoch, as it is claimed.
    #[must_use]
    pub const fn last_height(&self) -> Height {
        self.last_height
    }

    /// The vote keys' signatures, unchecked.
    #[must_use]
    pub const fn votes(&self) -> &Certificate<'a> {
        &self.votes
    }

    /// Whether this one says the same as another: their signatures may differ, for any quorum's will do.
    #[must_use]
    pub fn says_the_same(&self, other: &Handover<'_>) -> bool {
        self.payload == other.payload
    }

    /// Checks that this handover may move `anchor`: its signatures, and that it starts where the anchor stands.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(
        &self,
        anchor: &Anchor,
        old_set: &EpochSet<'_>,
    ) -> Result<VerifiedHandover<'a>, HandoverError> {
        if self.appointment.old_epoch() != anchor.epoch() {
            return Err(AnchorError::Epoch.into());
        }
        if self.appointment.old_set_hash() != anchor.set_hash() {
            return Err(AnchorError::Set.into());
        }
        anchor.may_end(self.last_height, &self.last_header_hash)?;
        let signed = self.check_signatures(&anchor.chain(), old_set)?;
        Ok(VerifiedHandover { signed })
    }

    /// Checks the signatures alone, under a set that the caller believes: for evidence about an epoch that the anchor has
    /// left. Moving an anchor takes [`check`](Self::check).
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check_signatures(
        &self,
        chain: &ChainId,
        old_set: &EpochSet<'_>,
    ) -> Result<SignedHandover<'a>, HandoverError> {
        self.appointment.check_officers(chain, old_set)?;
        self.votes
            .check(old_set.validator_count(), |index, signature| {
                let key = VerificationKey::ed25519(old_set.validator(index)?.vote_key).ok()?;
                Some(signed_by(
                    &key,
                    chain,
                    Purpose::Vote,
                    StatementKind::Handover,
                    self.payload,
                    signature,
                ))
            })
            .map_err(HandoverError::Votes)?;
        // Last: nobody makes a device look at up to 96 points without signatures that count.
        self.appointment.next_set().check_keys()?;
        Ok(SignedHandover {
            chain: *chain,
            handover: *self,
        })
    }
}

/// A handover with good signatures; only [`Handover::check_signatures`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedHandover<'a> {
    chain: ChainId,
    handover: Handover<'a>,
}

impl<'a> SignedHandover<'a> {
    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The epoch that ends.
    #[must_use]
    pub const fn old_epoch(&self) -> Epoch {
        self.handover.appointment.old_epoch()
    }

    /// Hash of the set that hands over.
    #[must_use]
    pub const fn old_set_hash(&self) -> SetHash {
        self.handover.appointment.old_set_hash()
    }

    /// The last height of the old epoch.
    #[must_use]
    pub const fn last_height(&self) -> Height {
        self.handover.last_height
    }

    /// Hash of the last header of the old epoch.
    #[must_use]
    pub const fn last_header_hash(&self) -> HeaderHash {
        self.handover.last_header_hash
    }

    /// The set of the next epoch.
    #[must_use]
    pub const fn next_set(&self) -> &EpochSet<'a> {
        self.handover.appointment.next_set()
    }
}

/// A handover that may move the anchor; only [`Handover::check`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedHandover<'a> {
    signed: SignedHandover<'a>,
}

impl<'a> VerifiedHandover<'a> {
    /// The handover.
    #[must_use]
    pub const fn signed(&self) -> &SignedHandover<'a> {
        &self.signed
    }
}

/// Two different handovers of one set, both with good signatures: more than a third of its validators, and officers, lied.
/// Neither may be followed until an operator has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equivocation {
    epoch: Epoch,
    payloads: [[u8; 32]; 2],
}

impl Equivocation {
    /// Compares two handovers. `None` when they say the same, or are of different chains, epochs or sets.
    #[must_use]
    pub fn between(a: &SignedHandover<'_>, b: &SignedHandover<'_>) -> Option<Self> {
        let same_place = a.chain == b.chain
            && a.old_epoch() == b.old_epoch()
            && a.old_set_hash() == b.old_set_hash();
        (same_place && a.handover.payload != b.handover.payload).then(|| Self {
            epoch: a.old_epoch(),
            payloads: [sha256(&[a.handover.payload]), sha256(&[b.handover.payload])],
        })
    }

    /// The epoch that has two ends.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// SHA-256 of each payload.
    #[must_use]
    pub const fn payloads(&self) -> &[[u8; 32]; 2] {
        &self.payloads
    }
}

/// A decoded recovery: its form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery<'a> {
    payload: &'a [u8],
    from: Height,
    parent_height: Height,
    parent_hash: HeaderHash,
    nodes_hash: NodesHash,
    next_set: EpochSet<'a>,
    recovery_set: RecoverySet<'a>,
    signatures: &'a [[u8; RECOVERY_SIGNATURE_LEN]],
}

impl<'a> Recovery<'a> {
    /// Decodes exactly one recovery.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, HandoverError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(HandoverError::Version);
        }
        let from = height(&mut reader)?;
        let parent_height = height(&mut reader)?;
        let parent_hash = HeaderHash::new(reader.array()?);
        let nodes_hash = NodesHash::new(reader.array()?);
        let next_set = next_set(&mut reader)?;
        let payload = consumed(bytes, &reader);
        let recovery_set = RecoverySet::read(&mut reader).map_err(|error| match error {
            SetError::Wire(error) => HandoverError::Wire(error),
            error => HandoverError::NextSet(error),
        })?;
        let count = usize::from(reader.u8()?);
        let (signatures, _) = reader.bytes(count * RECOVERY_SIGNATURE_LEN)?.as_chunks();
        reader.finish()?;
        if from <= parent_height {
            return Err(HandoverError::From);
        }
        if from.get() - parent_height.get() > RECOVERY_JUMP_MAX {
            return Err(HandoverError::TooFar);
        }
        if next_set.epoch().get() > RECOVERY_EPOCH_MAX {
            return Err(HandoverError::EpochTooFar);
        }
        Ok(Self {
            payload,
            from,
            parent_height,
            parent_hash,
            nodes_hash,
            next_set,
            recovery_set,
            signatures,
        })
    }

    /// Hash of the list of the next validators' machines, as it is claimed.
    #[must_use]
    pub const fn nodes_hash(&self) -> NodesHash {
        self.nodes_hash
    }

    /// The next set, as it is claimed.
    #[must_use]
    pub const fn next_set(&self) -> &EpochSet<'a> {
        &self.next_set
    }

    /// The recovery set that it says has signed.
    #[must_use]
    pub const fn recovery_set(&self) -> &RecoverySet<'a> {
        &self.recovery_set
    }

    /// Its signatures, by index in the recovery set; none is believed.
    pub fn signatures(&self) -> impl Iterator<Item = (u8, Signature)> + use<'a> {
        self.signatures.iter().filter_map(|entry| {
            let [index, signature @ ..] = entry;
            Some((*index, Signature::new(*signature.first_chunk()?)))
        })
    }

    /// The recovery keys that are said to have signed, unchecked; ascending.
    pub fn signers(&self) -> impl Iterator<Item = VerificationKey> + use<'a> {
        let keys = self.recovery_set.signatories();
        self.signatures
            .iter()
            .filter_map(move |[index, ..]| keys.key(usize::from(*index)))
    }

    /// Whether this one says the same as another: their signatures may differ.
    #[must_use]
    pub fn says_the_same(&self, other: &Recovery<'_>) -> bool {
        self.payload == other.payload
    }

    /// Checks that this recovery may move `anchor`.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, anchor: &Anchor) -> Result<VerifiedRecovery<'a>, HandoverError> {
        if self.recovery_set.hash() != anchor.recovery_hash() {
            return Err(AnchorError::RecoverySet.into());
        }
        if self.next_set.epoch() <= anchor.epoch() {
            return Err(HandoverError::NextEpoch);
        }
        let keys = self.recovery_set.signatories();
        let chain = anchor.chain();
        let signatures = self.signatures.iter().filter_map(|entry| {
            let [index, signature @ ..] = entry;
            Some((usize::from(*index), signature.first_chunk()?))
        });
        count(keys.threshold(), signatures, |index, signature| {
            let key = keys.key(index)?;
            Some(signed_by(
                &key,
                &chain,
                Purpose::Recovery,
                StatementKind::Recovery,
                self.payload,
                signature,
            ))
        })
        .map_err(HandoverError::Recovery)?;
        // Last, as in a handover.
        self.next_set.check_keys()?;
        Ok(VerifiedRecovery {
            chain,
            recovery: *self,
        })
    }
}

/// A recovery that may move the anchor; only [`Recovery::check`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedRecovery<'a> {
    chain: ChainId,
    recovery: Recovery<'a>,
}

impl<'a> VerifiedRecovery<'a> {
    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// Hash of the recovery set that signed.
    #[must_use]
    pub fn recovery_hash(&self) -> RecoveryHash {
        self.recovery.recovery_set.hash()
    }

    /// Height of the new epoch's first block.
    #[must_use]
    pub const fn from(&self) -> Height {
        self.recovery.from
    }

    /// Height of the last block that survived.
    #[must_use]
    pub const fn parent_height(&self) -> Height {
        self.recovery.parent_height
    }

    /// Hash of the last header that survived.
    #[must_use]
    pub const fn parent_hash(&self) -> HeaderHash {
        self.recovery.parent_hash
    }

    /// The set of the new epoch.
    #[must_use]
    pub const fn next_set(&self) -> &EpochSet<'a> {
        &self.recovery.next_set
    }

    /// Hash of the list of its validators' machines.
    #[must_use]
    pub const fn nodes_hash(&self) -> NodesHash {
        self.recovery.nodes_hash
    }

    /// Where a device's floor is then: the height before [`from`](Self::from).
    #[must_use]
    pub fn floor(&self) -> Height {
        // `from` is above the parent's height, so it is at least 1.
        Height::new(self.recovery.from.get().saturating_sub(1)).unwrap_or(Height::ZERO)
    }
}

#[cfg(feature = "alloc")]
pub use owned::{HandoverParts, RecoveryParts};

#[cfg(feature = "alloc")]
mod owned {
    use alloc::vec::Vec;

    use super::{Handover, HandoverError, QuorumError, Recovery, VERSION};
    use crate::appointment::{AppointmentParts, OfficerSignature, put_officers, put_set};
    use crate::checkpoint::encode_certificate;
    use crate::id::{ChainId, HeaderHash, Height, NodesHash};
    use crate::statement::{Statement, StatementKind};
    use crate::suite::{Purpose, Signature, VerificationKey};
    use crate::wire::Sink;

    /// What a handover says, to be signed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct HandoverParts {
        /// What the officers sign.
        pub appointment: AppointmentParts,
        /// The last height of the old epoch.
        pub last_height: Height,
        /// Hash of the last header of the old epoch.
        pub last_header_hash: HeaderHash,
    }

    impl HandoverParts {
        /// The payload that the vote keys sign.
        ///
        /// # Errors
        /// [`HandoverError::Wire`] when the next set is longer than a set can be.
        pub fn payload(&self) -> Result<Vec<u8>, HandoverError> {
            let mut out = self.appointment.payload()?;
            out.u64(self.last_height.get());
            out.put(self.last_header_hash.as_bytes());
            Ok(out)
        }

        /// The statement that a vote key signs.
        ///
        /// # Errors
        /// As [`payload`](Self::payload).
        pub fn statement(
            &self,
            chain: &ChainId,
            key: &VerificationKey,
        ) -> Result<Statement, HandoverError> {
            let payload = self.payload()?;
            Ok(Statement::new(
                chain,
                &key.bare_handle(),
                Purpose::Vote,
                StatementKind::Handover,
                &[&payload],
            ))
        }

        /// The handover's bytes: `n` validators, votes by index, officers by indices, all ascending.
        ///
        /// # Errors
        /// The rule of form that the parts break; signatures are not checked.
        pub fn encode(
            &self,
            n: u8,
            votes: &[(u8, Signature)],
            officers: &[OfficerSignature],
        ) -> Result<Vec<u8>, HandoverError> {
            let mut out = self.payload()?;
            encode_certificate(n, votes, &mut out).map_err(HandoverError::Votes)?;
            put_officers(&mut out, officers)?;
            Handover::decode(&out)?;
            Ok(out)
        }
    }

    /// What a recovery says, to be signed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RecoveryParts {
        /// Height of the new epoch's first block.
        pub from: Height,
        /// Height of the last block that survived.
        pub parent_height: Height,
        /// Hash of the last header that survived.
        pub parent_hash: HeaderHash,
        /// Hash of the list of the next validators' machines.
        pub nodes_hash: NodesHash,
        /// Bytes of the next set.
        pub next_set: Vec<u8>,
    }

    impl Recovery<'_> {
        /// What it says.
        #[must_use]
        pub fn parts(&self) -> RecoveryParts {
            RecoveryParts {
                from: self.from,
                parent_height: self.parent_height,
                parent_hash: self.parent_hash,
                nodes_hash: self.nodes_hash,
                next_set: self.next_set.as_bytes().to_vec(),
            }
        }
    }

    impl RecoveryParts {
        /// The payload that is signed.
        ///
        /// # Errors
        /// [`HandoverError::Wire`] when the next set is longer than a set can be.
        pub fn payload(&self) -> Result<Vec<u8>, HandoverError> {
            let mut out = Vec::new();
            out.u8(VERSION);
            out.u64(self.from.get());
            out.u64(self.parent_height.get());
            out.put(self.parent_hash.as_bytes());
            out.put(self.nodes_hash.as_bytes());
            put_set(&mut out, &self.next_set)?;
            Ok(out)
        }

        /// The statement that a recovery key signs.
        ///
        /// # Errors
        /// As [`payload`](Self::payload).
        pub fn statement(
            &self,
            chain: &ChainId,
            key: &VerificationKey,
        ) -> Result<Statement, HandoverError> {
            let payload = self.payload()?;
            Ok(Statement::new(
                chain,
                &key.bare_handle(),
                Purpose::Recovery,
                StatementKind::Recovery,
                &[&payload],
            ))
        }

        /// The recovery's bytes: the recovery set's, and signatures by index, ascending.
        ///
        /// # Errors
        /// The rule of form that the parts break; signatures are not checked.
        pub fn encode(
            &self,
            recovery_set: &[u8],
            signatures: &[(u8, Signature)],
        ) -> Result<Vec<u8>, HandoverError> {
            let mut out = self.payload()?;
            out.put(recovery_set);
            let ascending = signatures.is_sorted_by(|(a, _), (b, _)| a < b);
            let count = u8::try_from(signatures.len()).ok().filter(|_| ascending);
            out.u8(count.ok_or(HandoverError::Recovery(QuorumError::Order))?);
            for (index, signature) in signatures {
                out.u8(*index);
                out.put(signature.as_bytes());
            }
            Recovery::decode(&out)?;
            Ok(out)
        }
    }
}
