//! What a device believes: its anchor with the set that it names.

use core::fmt;

use crate::anchor::{Anchor, AnchorError};
use crate::checkpoint::{Checkpoint, CheckpointError, VerifiedCheckpoint};
use crate::freshness::{Branch, FreshnessError, Receipt, VerifiedReceipt};
use crate::genesis::Genesis;
use crate::handover::HandoverError;
use crate::id::{Nonce, StateKey};
use crate::proof::{Proof, ProofError, VerifiedProof};
use crate::protocol::{Floor, Steps};
use crate::row::RowBytes;
use crate::set::{EPOCH_SET_LEN_MAX, EpochSet, SetError};
use crate::step::Step;
use crate::wire::{Reader, Sink, WireError};

/// Why something is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustError {
    /// The stored set is none, or not the one that the anchor names.
    Set(SetError),
    /// The anchor names another set.
    Anchor(AnchorError),
    /// A step is refused, or is neither a handover nor a recovery.
    Step(HandoverError),
    /// A proof is refused.
    Proof(ProofError),
    /// A checkpoint is refused.
    Checkpoint(CheckpointError),
    /// A freshness receipt is refused, or what was shown with it is not as new as it says.
    Freshness(FreshnessError),
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(error) => write!(f, "{error}"),
            Self::Anchor(error) => write!(f, "{error}"),
            Self::Step(error) => write!(f, "{error}"),
            Self::Proof(error) => write!(f, "{error}"),
            Self::Checkpoint(error) => write!(f, "{error}"),
            Self::Freshness(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for TrustError {}

/// An anchor and the bytes of the set that it names.
#[derive(Clone, PartialEq, Eq)]
pub struct Trust {
    anchor: Anchor,
    set: [u8; EPOCH_SET_LEN_MAX],
    set_len: usize,
}

impl Trust {
    /// Trust in an anchor, with its set.
    ///
    /// # Errors
    /// [`TrustError::Set`], [`TrustError::Anchor`]
    pub fn new(anchor: Anchor, set: &[u8]) -> Result<Self, TrustError> {
        let decoded = EpochSet::decode(set).map_err(TrustError::Set)?;
        anchor.names(&decoded).map_err(TrustError::Anchor)?;
        let mut trust = Self {
            anchor,
            set: [0; EPOCH_SET_LEN_MAX],
            set_len: set.len(),
        };
        // A decoded set is not longer than the longest one.
        for (to, from) in trust.set.iter_mut().zip(set) {
            *to = *from;
        }
        Ok(trust)
    }

    /// Trust in a genesis document, with nothing seen yet.
    ///
    /// # Errors
    /// None that a decoded document could cause.
    pub fn from_genesis(genesis: &Genesis<'_>) -> Result<Self, TrustError> {
        Self::new(
            Anchor::from_genesis(genesis),
            genesis.epoch_set().as_bytes(),
        )
    }

    /// Writes it: `anchor ‖ length u16 ‖ set`.
    pub(super) fn put(&self, w: &mut impl Sink) -> Result<(), WireError> {
        let set = self.set_bytes();
        w.put(&self.anchor.encode());
        w.u16(u16::try_from(set.len()).map_err(|_| WireError::OutOfRange)?);
        w.put(set);
        Ok(())
    }

    /// Reads what [`put`](Self::put) wrote; whether it holds together.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Result<Self, TrustError>, WireError> {
        let anchor = Anchor::decode(r.bytes(Anchor::LEN)?);
        let len = usize::from(r.u16()?);
        let set = r.bytes(len)?;
        Ok(anchor
            .map_err(TrustError::Anchor)
            .and_then(|anchor| Self::new(anchor, set)))
    }

    /// The anchor.
    #[must_use]
    pub const fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Bytes of the set that the anchor names.
    #[must_use]
    pub fn set_bytes(&self) -> &[u8] {
        self.set.get(..self.set_len).unwrap_or_default()
    }

    /// Epoch and height of the anchor.
    #[must_use]
    pub const fn floor(&self) -> Floor {
        Floor {
            epoch: self.anchor.epoch(),
            height: self.anchor.height(),
        }
    }

    /// Where these steps lead; `None` when there are none.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn follow(&self, steps: &Steps<'_>) -> Result<Option<Self>, TrustError> {
        if steps.is_empty() {
            return Ok(None);
        }
        let mut trust = self.clone();
        for step in steps.iter() {
            trust = trust.step(step)?;
        }
        Ok(Some(trust))
    }

    fn step(&self, step: &[u8]) -> Result<Self, TrustError> {
        let (mut anchor, set) = (self.anchor, self.set()?);
        let (set, _) = Step::decode_tagged(step)
            .and_then(|step| step.take(&mut anchor, &set))
            .map_err(TrustError::Step)?;
        Self::new(anchor, set.as_bytes())
    }

    /// What a proof says about `key`: its row, or `None` when its absence is proven; and the checkpoint it stands under.
    ///
    /// # Errors
    /// [`TrustError::Proof`]
    pub fn prove(
        &self,
        proof: &[u8],
        key: &StateKey,
    ) -> Result<(Option<RowBytes>, VerifiedCheckpoint), TrustError> {
        let verified = self.verify(proof, key)?;
        Ok((verified.row().copied(), *verified.checkpoint()))
    }

    /// Checks a proof of what stands under `key`.
    ///
    /// # Errors
    /// [`TrustError::Proof`]
    pub fn verify<'p>(
        &self,
        proof: &'p [u8],
        key: &StateKey,
    ) -> Result<VerifiedProof<'p>, TrustError> {
        Proof::decode(proof)
            .and_then(|proof| {
                let set = self.set().map_err(|_| ProofError::OtherHeader)?;
                proof.check(&self.anchor, &set, key)
            })
            .map_err(TrustError::Proof)
    }

    /// Checks a checkpoint.
    ///
    /// # Errors
    /// [`TrustError::Checkpoint`]
    pub fn check(&self, checkpoint: &[u8]) -> Result<VerifiedCheckpoint, TrustError> {
        let checkpoint = Checkpoint::decode(checkpoint).map_err(TrustError::Checkpoint)?;
        checkpoint
            .check(&self.anchor, &self.set()?)
            .map_err(TrustError::Checkpoint)
    }

    /// Checks that a receipt vouches for a header after a nonce was made, which this branch leads to what the receipt is for.
    ///
    /// # Errors
    /// [`TrustError::Freshness`]
    pub fn vouched(
        &self,
        receipt: &[u8],
        branch: &[u8],
        nonce: &Nonce,
    ) -> Result<VerifiedReceipt, TrustError> {
        let set = self.set()?;
        Branch::decode(branch)
            .and_then(|branch| branch.carried(nonce))
            .and_then(|carried| Receipt::decode(receipt)?.check(&self.anchor, &set, &carried))
            .map_err(TrustError::Freshness)
    }

    /// Raises the floor. Says whether it rose.
    pub fn advance(&mut self, checkpoint: &VerifiedCheckpoint) -> bool {
        self.anchor.advance(checkpoint)
    }

    fn set(&self) -> Result<EpochSet<'_>, TrustError> {
        EpochSet::decode(self.set_bytes()).map_err(TrustError::Set)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("anchor", &self.anchor)
            .finish_non_exhaustive()
    }
}
