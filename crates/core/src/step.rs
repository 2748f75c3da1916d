//! One step of the walk to the newest epoch: a handover or a recovery, whichever the epoch ended with (spec/proof.md).

use crate::anchor::Anchor;
use crate::handover::{Handover, HandoverError, Recovery};
use crate::id::{Epoch, HeaderHash, Height};
use crate::set::EpochSet;
use crate::wire::WireError;

/// The number of a kind of step, before the step's bytes (spec/evidence.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StepKind {
    /// The old set and its officers name the next set.
    Handover = 1,
    /// The recovery set of the genesis document names it.
    Recovery = 2,
}

impl TryFrom<u8> for StepKind {
    type Error = WireError;

    fn try_from(number: u8) -> Result<Self, WireError> {
        Ok(match number {
            1 => Self::Handover,
            2 => Self::Recovery,
            _ => return Err(WireError::OutOfRange),
        })
    }
}

/// A decoded step: its form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The old set and its officers name the next set.
    Handover(Handover<'a>),
    /// The recovery set of the genesis document names it.
    Recovery(Recovery<'a>),
}

impl<'a> Step<'a> {
    /// Decodes exactly one step of a kind.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(kind: StepKind, bytes: &'a [u8]) -> Result<Self, HandoverError> {
        Ok(match kind {
            StepKind::Handover => Self::Handover(Handover::decode(bytes)?),
            StepKind::Recovery => Self::Recovery(Recovery::decode(bytes)?),
        })
    }

    /// Decodes exactly one step after the byte of its kind, as evidence bundles hold it.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode_tagged(bytes: &'a [u8]) -> Result<Self, HandoverError> {
        let (kind, bytes) = bytes.split_first().ok_or(WireError::Short)?;
        Self::decode(StepKind::try_from(*kind)?, bytes)
    }

    /// The epoch that it leads to, as it is claimed.
    #[must_use]
    pub const fn leads_to(&self) -> Epoch {
        self.next_set().epoch()
    }

    /// The set that it leads to, as it is claimed.
    #[must_use]
    pub const fn next_set(&self) -> &EpochSet<'a> {
        match self {
            Self::Handover(handover) => handover.appointment().next_set(),
            Self::Recovery(recovery) => recovery.next_set(),
        }
    }

    /// Whether this one says the same as another: their signatures may differ.
    #[must_use]
    pub fn says_the_same(&self, other: &Step<'_>) -> bool {
        match (self, other) {
            (Self::Handover(one), Step::Handover(other)) => one.says_the_same(other),
            (Self::Recovery(one), Step::Recovery(other)) => one.says_the_same(other),
            _ => false,
        }
    }

    /// Checks the step under `anchor`, whose set is `set`, and moves the anchor over it: gives the set that counts then, and
    /// how the epoch before has ended.
    ///
    /// # Errors
    /// The first rule broken; the anchor stands where it stood.
    pub fn take(
        &self,
        anchor: &mut Anchor,
        set: &EpochSet<'_>,
    ) -> Result<(EpochSet<'a>, End), HandoverError> {
        // What was checked under an anchor moves it, as long as it stands where it stood.
        Ok(match self {
            Self::Handover(handover) => {
                let verified = handover.check(anchor, set)?;
                anchor.follow(&verified);
                let signed = verified.signed();
                let end = End::At(signed.last_height(), signed.last_header_hash());
                (*signed.next_set(), end)
            }
            Self::Recovery(recovery) => {
                let verified = recovery.check(anchor)?;
                anchor.recover(&verified);
                (*verified.next_set(), End::Before(verified.from()))
            }
        })
    }
}

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this block, as its own validators and officers say.
    At(Height, HeaderHash),
    /// Before this height. What stood above the block that survived is lost, but was no lie.
    Before(Height),
}

impl End {
    /// Whether a block can be of the epoch that ended so.
    #[must_use]
    pub fn admits(&self, height: Height, hash: &HeaderHash) -> bool {
        match self {
            Self::At(last, last_hash) => height < *last || (height == *last && hash == last_hash),
            Self::Before(from) => height < *from,
        }
    }
}
