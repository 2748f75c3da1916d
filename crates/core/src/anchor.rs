//! What a device keeps: the set that it trusts, and a floor below which it never goes (spec/proof.md, "Anchor").
//!
//! An anchor moves in three ways, each by a type that only a check makes: [`Anchor::advance`] by a checkpoint,
//! [`Anchor::follow`] by a handover, [`Anchor::recover`] by a recovery. None of them can fail, none goes back to an epoch, and
//! only a recovery, which begins a higher one, may bring the floor down. Each says whether the anchor moved, so that a caller
//! persists it only then.

use core::fmt;

use crate::checkpoint::VerifiedCheckpoint;
use crate::genesis::Genesis;
use crate::handover::{VerifiedHandover, VerifiedRecovery};
use crate::header::Header;
use crate::id::{ChainId, Epoch, HeaderHash, Height, RecoveryHash, SetHash};
use crate::set::EpochSet;
use crate::wire::{Reader, Sink, WireError, fixed};

/// Why something does not stand under an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnchorError {
    /// The bytes are no anchor.
    Wire(WireError),
    /// A height of 2^48 or more.
    Height,
    /// It is of another epoch: first walk the handovers from the anchor's epoch to that one.
    Epoch,
    /// It is of another validator set with the anchor's epoch.
    Set,
    /// The set given is not the one that the anchor names.
    SetBytes,
    /// It is below the floor.
    BelowFloor,
    /// It is at the floor's height, with other content, or ends the floor's epoch below the floor: two histories exist.
    Fork,
    /// The recovery set given is not the one that the anchor names.
    RecoverySet,
}

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wire(error) => return write!(f, "the bytes are no anchor: {error}"),
            Self::Height => "the anchor's height is out of range",
            Self::Epoch => "this is of another epoch than the anchor; fetch the handovers between",
            Self::Set => "this was certified by another validator set than the anchor's",
            Self::SetBytes => "the validator set is not the one that the anchor names",
            Self::BelowFloor => "this is older than what was seen before",
            Self::Fork => "this contradicts what was seen before: the ledger has two histories",
            Self::RecoverySet => "the recovery set is not the one that the anchor names",
        })
    }
}

impl core::error::Error for AnchorError {}

crate::code::codes!(AnchorError {
    Height = 0x2001,
    Epoch = 0x2002,
    Set = 0x2003,
    SetBytes = 0x2004,
    BelowFloor = 0x2005,
    Fork = 0x2006,
    RecoverySet = 0x2007,
} in { Wire });

impl From<WireError> for AnchorError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// What a device trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    chain: ChainId,
    epoch: Epoch,
    set_hash: SetHash,
    height: Height,
    /// Zero when the block at `height` was not seen.
    header_hash: HeaderHash,
    recovery_hash: RecoveryHash,
}

impl Anchor {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 144;

    /// The anchor of someone who knows the genesis document and has seen nothing else.
    #[must_use]
    pub fn from_genesis(genesis: &Genesis<'_>) -> Self {
        Self {
            chain: genesis.chain(),
            epoch: genesis.epoch_set().epoch(),
            set_hash: genesis.epoch_set().hash(),
            height: Height::ZERO,
            header_hash: HeaderHash::ZERO,
            recovery_hash: genesis.recovery_set().hash(),
        }
    }

    /// The anchor of someone who knows otherwise which set counts: a ledger from its own row, a node from its archive.
    #[must_use]
    pub const fn of_ledger(
        chain: ChainId,
        epoch: Epoch,
        set_hash: SetHash,
        height: Height,
        header_hash: HeaderHash,
        recovery_hash: RecoveryHash,
    ) -> Self {
        Self {
            chain,
            epoch,
            set_hash,
            height,
            header_hash,
            recovery_hash,
        }
    }

    /// Decodes a stored anchor. The caller answers for where it was stored: its bytes are believed.
    ///
    /// # Errors
    /// [`AnchorError::Wire`], [`AnchorError::Height`]
    pub fn decode(bytes: &[u8]) -> Result<Self, AnchorError> {
        let mut reader = Reader::new(bytes);
        let anchor = Self {
            chain: ChainId::new(reader.array()?),
            epoch: Epoch::new(reader.u64()?),
            set_hash: SetHash::new(reader.array()?),
            height: Height::new(reader.u64()?).map_err(|_| AnchorError::Height)?,
            header_hash: HeaderHash::new(reader.array()?),
            recovery_hash: RecoveryHash::new(reader.array()?),
        };
        reader.finish()?;
        Ok(anchor)
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        fixed(|out| {
            out.put(self.chain.as_bytes());
            out.u64(self.epoch.get());
            out.put(self.set_hash.as_bytes());
            out.u64(self.height.get());
            out.put(self.header_hash.as_bytes());
            out.put(self.recovery_hash.as_bytes());
        })
    }

    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// The epoch whose set is trusted.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Hash of the trusted set.
    #[must_use]
    pub const fn set_hash(&self) -> SetHash {
        self.set_hash
    }

    /// The floor: nothing below it is accepted any more, and the anchor's epoch goes on above it.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.height
    }

    /// Hash of the header at the floor, if it was seen.
    #[must_use]
    pub fn header_hash(&self) -> Option<HeaderHash> {
        (!self.header_hash.is_zero()).then_some(self.header_hash)
    }

    /// Hash of the recovery set.
    #[must_use]
    pub const fn recovery_hash(&self) -> RecoveryHash {
        self.recovery_hash
    }

    /// Checks that a header, if a quorum of `set` certified it, may be believed under this anchor.
    ///
    /// # Errors
    /// The first rule broken.
    pub(crate) fn admits(
        &self,
        header: &Header,
        hash: &HeaderHash,
        set: &EpochSet<'_>,
    ) -> Result<(), AnchorError> {
        if header.epoch != self.epoch {
            return Err(AnchorError::Epoch);
        }
        if header.set_hash != self.set_hash {
            return Err(AnchorError::Set);
        }
        self.names(set)?;
        if header.height < self.height {
            return Err(AnchorError::BelowFloor);
        }
        self.no_fork(header.height, hash)
    }

    /// Checks that `set` is the trusted one.
    pub(crate) fn names(&self, set: &EpochSet<'_>) -> Result<(), AnchorError> {
        if set.hash() == self.set_hash {
            Ok(())
        } else {
            Err(AnchorError::SetBytes)
        }
    }

    /// Checks that a block is not another one at the floor's height.
    pub(crate) fn no_fork(&self, height: Height, hash: &HeaderHash) -> Result<(), AnchorError> {
        match self.header_hash() {
            Some(seen) if height == self.height && seen != *hash => Err(AnchorError::Fork),
            _ => Ok(()),
        }
    }

    /// Checks that the anchor's epoch may end with this block: below the floor it cannot, for it was seen to go on there, and
    /// at the floor only with the block that was seen.
    pub(crate) fn may_end(&self, height: Height, hash: &HeaderHash) -> Result<(), AnchorError> {
        if height < self.height {
            return Err(AnchorError::Fork);
        }
        self.no_fork(height, hash)
    }

    /// Raises the floor to a verified checkpoint, unless it is there already. Says whether the anchor changed.
    pub fn advance(&mut self, checkpoint: &VerifiedCheckpoint) -> bool {
        let header = checkpoint.header();
        // What was verified under another anchor, or under this one before it moved to a new epoch, has no say here.
        let mine = *checkpoint.chain() == self.chain
            && header.epoch == self.epoch
            && header.set_hash == self.set_hash;
        let higher = header.height > self.height;
        // The hash of a floor that a recovery has set, or that of height 0, is learnt from the block that stands there.
        let fills_in = header.height == self.height && self.header_hash.is_zero();
        if mine && (higher || fills_in) {
            self.height = header.height;
            self.header_hash = *checkpoint.hash();
        }
        mine && (higher || fills_in)
    }

    /// Moves to the set that a verified handover names. Says whether the anchor changed.
    pub fn follow(&mut self, handover: &VerifiedHandover<'_>) -> bool {
        let handover = handover.signed();
        let mine = *handover.chain() == self.chain
            && handover.old_epoch() == self.epoch
            && handover.old_set_hash() == self.set_hash
            // The floor may have risen since the check, to another block than the handover's last.
            && self
                .may_end(handover.last_height(), &handover.last_header_hash())
                .is_ok();
        if mine {
            self.epoch = handover.next_set().epoch();
            self.set_hash = handover.next_set().hash();
            self.height = handover.last_height();
            self.header_hash = handover.last_header_hash();
        }
        mine
    }

    /// Moves to the set that a verified recovery names, and to the floor from which it counts, higher or lower than before:
    /// floors that were lifted with stolen vote keys end here. Only the epoch keeps an old recovery from being used again.
    /// Says whether the anchor changed.
    pub fn recover(&mut self, recovery: &VerifiedRecovery<'_>) -> bool {
        let mine = *recovery.chain() == self.chain
            && recovery.recovery_hash() == self.recovery_hash
            && recovery.next_set().epoch() > self.epoch;
        if mine {
            self.epoch = recovery.next_set().epoch();
            self.set_hash = recovery.next_set().hash();
            self.height = recovery.floor();
            self.header_hash = HeaderHash::ZERO;
        }
        mine
    }
}
