//! Epochs: which validators certify which heights.
//!
//! An epoch begins at a block and lasts until the next one begins. On this page a *position* is the engine's own height,
//! which has no gaps: the header's height less the heights that recoveries skipped (spec/proof.md, "Header").

use super::{EngineError, PublicKey, Scheme};
use crate::outline::{EpochOutline, Outline};
use commonware_codec::DecodeExt as _;
use commonware_consensus::types::{Epoch, EpochInfo, Epocher, Height};
use commonware_cryptography::{
    certificate::{Provider, Scoped},
    ed25519::PrivateKey,
};
use commonware_utils::{ordered::Set, sync::RwLock};
use kusabi_core::appointment::CLOSING_BLOCKS;
use kusabi_core::{
    checkpoint,
    id::{ChainId, Epoch as EpochNumber, Height as ChainHeight, SetHash},
};
use std::sync::Arc;

/// One epoch of the chain.
#[derive(Clone, Debug)]
pub(super) struct EpochEntry {
    /// Its number; recoveries may leave numbers out.
    pub(super) number: EpochNumber,
    /// Position of its first block. The first epoch also holds position 0.
    pub(super) first: u64,
    /// Heights skipped by all recoveries up to and with this epoch's beginning.
    pub(super) skipped: u64,
    /// Hash of its set.
    pub(super) set_hash: SetHash,
    /// Its vote keys, by index.
    pub(super) vote_keys: Vec<PublicKey>,
    scheme: Arc<Scheme>,
    signs: bool,
}

/// Why a validator set cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// A vote key is not a point on the curve.
    #[error("vote key {0} of the validator set is not an Ed25519 key")]
    VoteKey(usize),
    /// Epochs must follow one another in number and position.
    #[error("epoch {0} does not follow the epochs before it")]
    Order(u64),
}

/// All epochs known to this node, shared by everything in the engine that asks who signs.
#[derive(Clone, Debug)]
pub(super) struct Epochs {
    chain: ChainId,
    entries: Arc<RwLock<Vec<EpochEntry>>>,
    /// Number of the newest epoch and height of its last block, as far as it is decided. Blocks that are not final say so, too,
    /// and may lose: the rules on blocks do not depend on it. The engine proposes the last block again where its certificate
    /// was missed, and looks for nothing above it.
    end: Arc<RwLock<Option<(EpochNumber, u64)>>>,
}

impl Epochs {
    /// No epoch yet.
    pub(super) fn new(chain: ChainId) -> Self {
        Self {
            chain,
            entries: Arc::default(),
            end: Arc::default(),
        }
    }

    /// All epochs of an outline.
    pub(super) fn of(outline: &Outline, key: Option<&PrivateKey>) -> Result<Self, EngineError> {
        let epochs = Self::new(*outline.chain());
        for epoch in outline.epochs() {
            epochs.push(epoch, key).map_err(EngineError::Set)?;
        }
        Ok(epochs)
    }

    /// The chain whose epochs these are.
    pub(super) const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// Adds the next epoch. `key` signs in it, if it belongs to one of its validators.
    pub(super) fn push(
        &self,
        epoch: &EpochOutline,
        key: Option<&PrivateKey>,
    ) -> Result<(), SetError> {
        let EpochOutline {
            number,
            first,
            skipped,
            ..
        } = *epoch;
        let vote_keys = epoch
            .vote_keys
            .iter()
            .enumerate()
            .map(|(index, key)| {
                PublicKey::decode(bytes::Bytes::copy_from_slice(key))
                    .map_err(|_| SetError::VoteKey(index))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let participants: Set<PublicKey> = Set::from_iter_dedup(vote_keys.iter().cloned());
        let namespace = checkpoint::namespace(&self.chain);
        let signer =
            key.and_then(|key| Scheme::signer(&namespace, participants.clone(), key.clone()));
        let signs = signer.is_some();
        let scheme = signer.unwrap_or_else(|| Scheme::verifier(&namespace, participants));
        let mut entries = self.entries.write();
        if entries.last().is_some_and(|last| {
            last.number >= number || last.first >= first || last.skipped > skipped
        }) {
            return Err(SetError::Order(number.get()));
        }
        entries.push(EpochEntry {
            number,
            first,
            skipped,
            set_hash: epoch.set_hash,
            vote_keys,
            scheme: Arc::new(scheme),
            signs,
        });
        Ok(())
    }

    /// An epoch ends with the block of this height.
    pub(super) fn ends_at(&self, epoch: EpochNumber, last: u64) {
        *self.end.write() = Some((epoch, last));
    }

    /// A block is final that appoints the next validators, or does not: what was said of this height before counts no more.
    pub(super) fn settle(&self, epoch: EpochNumber, height: u64, appoints: bool) {
        let last = height + CLOSING_BLOCKS;
        let mut end = self.end.write();
        if appoints {
            *end = Some((epoch, last));
        } else if *end == Some((epoch, last)) {
            *end = None;
        }
    }

    /// Height of the last block of the newest epoch, once that is decided.
    pub(super) fn end(&self) -> Option<u64> {
        let newest = self.last()?.number;
        let (epoch, last) = (*self.end.read())?;
        (epoch == newest).then_some(last)
    }

    /// The epoch with this number.
    pub(super) fn by_number(&self, number: EpochNumber) -> Option<EpochEntry> {
        let entries = self.entries.read();
        entries.iter().find(|e| e.number == number).cloned()
    }

    /// The epoch that the block at `position` belongs to.
    pub(super) fn at(&self, position: u64) -> Option<EpochEntry> {
        let entries = self.entries.read();
        entries.iter().rev().find(|e| e.first <= position).cloned()
    }

    /// The newest epoch.
    pub(super) fn last(&self) -> Option<EpochEntry> {
        self.entries.read().last().cloned()
    }

    /// Position of the first block at or above a height.
    pub(super) fn position_from(&self, height: ChainHeight) -> u64 {
        let height = height.get();
        let entries = self.entries.read();
        // A recovery that skipped heights put its first block above them.
        entries
            .iter()
            .rev()
            .find(|e| e.first + e.skipped <= height)
            .map_or(height, |e| {
                let position = height - e.skipped;
                let next = entries.iter().find(|next| next.first > e.first);
                next.map_or(position, |next| position.min(next.first))
            })
    }

    /// The public key of the validator that led the round of a block.
    pub(super) fn leader(&self, epoch: EpochNumber, index: u8) -> Option<PublicKey> {
        let entries = self.entries.read();
        let entry = entries.iter().find(|e| e.number == epoch)?;
        entry.vote_keys.get(usize::from(index)).cloned()
    }
}

impl EpochEntry {
    /// The engine's scheme: signs if the node's key is in the set.
    pub(super) fn scheme(&self) -> Scheme {
        self.scheme.as_ref().clone()
    }

    /// The same, shared.
    pub(super) fn shared_scheme(&self) -> Arc<Scheme> {
        self.scheme.clone()
    }

    /// Index of a vote key.
    pub(super) fn index(&self, key: &PublicKey) -> Option<u8> {
        let index = self.vote_keys.iter().position(|k| k == key)?;
        u8::try_from(index).ok()
    }
}

impl Epocher for Epochs {
    fn containing(&self, height: Height) -> Option<EpochInfo> {
        let number = Epoch::new(self.at(height.get())?.number.get());
        // What follows on an end that is decided is of an epoch that is not known yet.
        self.last_of(number).filter(|last| height <= *last)?;
        Some(EpochInfo::new(
            number,
            height,
            self.first(number)?,
            self.last_of(number)?,
        ))
    }

    fn first(&self, epoch: Epoch) -> Option<Height> {
        self.by_number(EpochNumber::new(epoch.get()))
            .map(|e| Height::new(e.first))
    }

    fn last(&self, epoch: Epoch) -> Option<Height> {
        self.last_of(epoch)
    }
}

impl Epochs {
    fn last_of(&self, epoch: Epoch) -> Option<Height> {
        let end = self.end();
        let entries = self.entries.read();
        let index = entries.iter().position(|e| e.number.get() == epoch.get())?;
        let last = match (entries.get(index), entries.get(index + 1)) {
            (_, Some(next)) => next.first - 1,
            (Some(newest), None) => {
                end.map_or(u64::MAX - 1, |height| height.saturating_sub(newest.skipped))
            }
            (None, None) => return None,
        };
        Some(Height::new(last))
    }
}

impl Provider for Epochs {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        let entry = self.by_number(EpochNumber::new(epoch.get()))?;
        Some(if entry.signs {
            Scoped::scheme(entry.scheme)
        } else {
            Scoped::verifier(entry.scheme)
        })
    }
}
