//! Checks a chain of blocks from genesis on, without the state: headers, links, times, bodies, epochs and certificates.
//!
//! What it does not check is what the transactions did: the engine does when it executes restored blocks at the next start,
//! and the audit ([`crate::engine::audit`]).

use crate::{
    handle::FinalBlock,
    outline::{Outline, OutlineError},
};
use bytes::Bytes;
use kusabi_core::{
    anchor::Anchor,
    checkpoint::{Checkpoint, CheckpointError},
    header::Header,
    id::{BodyHash, HeaderHash, Height, RecoveryHash},
    set::{EpochSet, SetError},
};
use kusabi_ledger::{BlockError, check_time};

/// What is wrong with a block in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Its height does not follow on the block before.
    #[error("its height does not follow on the block before")]
    Height,
    /// It does not name the block before as its parent.
    #[error("it does not name the block before as its parent")]
    Parent,
    /// Its time breaks the rule.
    #[error("{0}")]
    Time(BlockError),
    /// Its transactions are not those that its header binds.
    #[error("its transactions are not those that its header binds")]
    Body,
    /// Its epoch or validator set is not the chain's.
    #[error("its epoch or validator set is not the chain's")]
    Epoch,
    /// The transaction that must open it is missing or refused.
    #[error("the transaction that must open it is missing or refused")]
    Opening,
    /// What opens its epoch is refused.
    #[error("{0}")]
    Refused(OutlineError),
    /// The epoch has ended with the block before, whose header says so, and this one is of the same.
    #[error("its epoch has ended with the block before")]
    Ended,
    /// A handover, and the block before is not the last one of its epoch, or names another set.
    #[error("the block before is not the last of its epoch, or names another set as the next")]
    NotLast,
    /// Its validator set cannot be read.
    #[error("its validator set cannot be read: {0}")]
    Set(SetError),
    /// No certificate, or a bad one.
    #[error("its certificate is refused: {0}")]
    Certificate(CheckpointError),
    /// No certificate is near enough.
    #[error(
        "neither it nor one of the eight blocks above it has a certificate here: a node has what it missed brought by the \
         others while it runs"
    )]
    Uncovered,
    /// The blocks end before one that has a certificate of its own.
    #[error("it has no certificate of its own, and nothing follows it")]
    Uncertified,
}

/// A block that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {}: {why}", height.get())]
pub struct BadBlock {
    /// Its height, as it should be.
    pub height: Height,
    /// Why.
    pub why: HistoryError,
}

/// Follows a chain block by block.
#[derive(Clone, Debug)]
pub struct History {
    outline: Outline,
    last: Header,
    last_hash: HeaderHash,
    /// Whether the last block came with a certificate of its own.
    certified: bool,
}

impl History {
    /// Begins above the block of height 0.
    #[must_use]
    pub fn new(outline: Outline, genesis: Header) -> Self {
        Self::after(outline, genesis)
    }

    /// Goes on above a block that was checked before and came with a certificate of its own; `outline` has the epochs up to it.
    pub(crate) fn after(outline: Outline, last: Header) -> Self {
        Self {
            last_hash: last.hash(outline.chain()),
            outline,
            last,
            certified: true,
        }
    }

    /// What the chain's epochs are so far.
    #[must_use]
    pub const fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The last block's header and its hash.
    #[must_use]
    pub const fn last(&self) -> (&Header, &HeaderHash) {
        (&self.last, &self.last_hash)
    }

    /// Checks the next block and goes on to it.
    ///
    /// # Errors
    /// The first rule broken; the history stays where it was.
    pub fn push(&mut self, block: &FinalBlock) -> Result<(), BadBlock> {
        let outline = self.check(block).map_err(|why| BadBlock {
            height: block.header.height,
            why,
        })?;
        if let Some(outline) = outline {
            self.outline = outline;
        }
        self.last = block.header;
        self.last_hash = block.header.hash(self.outline.chain());
        self.certified = block
            .checkpoint
            .as_ref()
            .is_some_and(|checkpoint| checkpoint.first() == Some(&1));
        Ok(())
    }

    /// Ends the chain.
    ///
    /// # Errors
    /// [`HistoryError::Uncertified`]
    pub const fn finish(&self) -> Result<(), BadBlock> {
        if self.certified {
            Ok(())
        } else {
            Err(BadBlock {
                height: self.last.height,
                why: HistoryError::Uncertified,
            })
        }
    }

    fn check(&self, block: &FinalBlock) -> Result<Option<Outline>, HistoryError> {
        let header = &block.header;
        if header.parent != self.last_hash {
            return Err(HistoryError::Parent);
        }
        check_time(self.last.time_ms, header.time_ms).map_err(HistoryError::Time)?;
        if BodyHash::of(block.transactions.iter().map(Bytes::as_ref)) != header.body {
            return Err(HistoryError::Body);
        }
        let recovered = if header.epoch == self.last.epoch {
            None
        } else {
            let opening = block.transactions.first().ok_or(HistoryError::Opening)?;
            let mut outline = self.outline.clone();
            outline
                .open_epoch(opening.clone())
                .map_err(HistoryError::Refused)?;
            if outline.newest().parent != self.last_hash {
                return Err(HistoryError::Parent);
            }
            Some(outline)
        };
        let outline = recovered.as_ref().unwrap_or(&self.outline);
        let epoch = outline.newest();
        let position = header.height.get() - header.skipped;
        let last_position = self.last.height.get() - self.last.skipped;
        if position != last_position + 1 || header.skipped != epoch.skipped {
            return Err(HistoryError::Height);
        }
        if header.epoch != epoch.number || header.set_hash != epoch.set_hash {
            return Err(HistoryError::Epoch);
        }
        match (&recovered, self.last.next_set_hash) {
            (None, Some(_)) => return Err(HistoryError::Ended),
            // A recovery may end an epoch wherever it stands.
            (Some(_), next) if epoch.is_recovery() || next == Some(epoch.set_hash) => {}
            (Some(_), _) => return Err(HistoryError::NotLast),
            (None, None) => {}
        }
        if !outline.may_begin(position, block.transactions.first()) {
            return Err(HistoryError::Opening);
        }
        let set = EpochSet::decode(&epoch.set).map_err(HistoryError::Set)?;
        let anchor = Anchor::of_ledger(
            *outline.chain(),
            epoch.number,
            epoch.set_hash,
            Height::ZERO,
            HeaderHash::ZERO,
            RecoveryHash::ZERO,
        );
        let bytes = block.checkpoint.as_deref();
        let verified = Checkpoint::decode(bytes.ok_or(HistoryError::Uncovered)?)
            .and_then(|checkpoint| checkpoint.check(&anchor, &set))
            .map_err(HistoryError::Certificate)?;
        if *verified.hash() != header.hash(outline.chain()) {
            return Err(HistoryError::Certificate(CheckpointError::Link));
        }
        Ok(recovered)
    }
}
