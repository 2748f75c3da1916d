//! A node that asks the others, before it votes, what they have of its vote key (spec/nodes.md, channel 7).
//!
//! It votes once so many have answered that they and it are a quorum. Of those at least as many are honest as may lie, its own earlier
//! self counted among the latter: one of them has whatever was decided with a vote of this key. It goes on asking for a minute, for
//! some come later than others. What they show carries the key's own signature, so nobody can keep a node from voting by a lie.

use super::{
    super::PublicKey,
    heard::Evidence,
    own::{Own, signers},
};
use crate::engine::{EngineError, Scheme, epochs::EpochEntry};
use bytes::Bytes;
use commonware_codec::Decode as _;
use commonware_consensus::{
    Epochable as _,
    simplex::types::{Activity, Attributable as _},
};
use commonware_parallel::Sequential;
use commonware_utils::Participant;
use kusabi_core::quorum::quorum;
use rand_core::CryptoRng;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::oneshot;

/// What comes of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum Told {
    /// More have to answer.
    Waits,
    /// Enough have answered.
    Enough,
}

/// One who asks.
#[derive(Debug)]
pub(in crate::engine) struct Asking {
    epoch: u64,
    me: u8,
    scheme: Arc<Scheme>,
    validators: usize,
    own: Own,
    answered: BTreeSet<PublicKey>,
    permit: Option<oneshot::Sender<()>>,
}

impl Asking {
    /// Of the validator with this index; `permit` is told once it may vote.
    pub(in crate::engine) fn new(
        epoch: &EpochEntry,
        me: u8,
        own: Own,
        permit: oneshot::Sender<()>,
    ) -> Self {
        let mut asking = Self {
            epoch: epoch.number.get(),
            me,
            scheme: epoch.shared_scheme(),
            validators: epoch.vote_keys.len(),
            own,
            answered: BTreeSet::new(),
            permit: Some(permit),
        };
        asking.count();
        asking
    }

    /// Whether answers are still waited for.
    pub(in crate::engine) const fn waits(&self) -> bool {
        self.permit.is_some()
    }

    /// How many more have to answer.
    pub(in crate::engine) fn missing(&self) -> usize {
        match self.waits() {
            true => quorum(self.validators).saturating_sub(self.answered.len() + 1),
            false => 0,
        }
    }

    /// Whether the node that holds this vote key has answered.
    pub(in crate::engine) fn has_heard(&self, key: &[u8]) -> bool {
        self.answered.iter().any(|one| one[..] == *key)
    }

    /// Takes an answer of the node that holds the vote key `from`: nothing, or what has a vote of this node's key in it. What does not
    /// read as that is no answer.
    ///
    /// # Errors
    /// [`EngineError::KeyElsewhere`]: the key has voted where this node's disk knows nothing of it.
    pub(in crate::engine) fn told<R: CryptoRng>(
        &mut self,
        rng: &mut R,
        from: &PublicKey,
        shown: Bytes,
    ) -> Result<Told, EngineError> {
        if !shown.is_empty() {
            let shown = Evidence::decode_cfg(shown, &self.validators).ok();
            match shown.filter(|shown| self.is_mine(rng, shown)) {
                None => return Ok(Told::Waits),
                Some(shown) if !self.own.knows(&shown) => {
                    return Err(EngineError::KeyElsewhere(self.epoch));
                }
                Some(_) => {}
            }
        }
        self.answered.insert(from.clone());
        Ok(self.count())
    }

    fn count(&mut self) -> Told {
        if self.answered.len() + 1 < quorum(self.validators) {
            return Told::Waits;
        }
        if let Some(permit) = self.permit.take() {
            // Gone: the node stops.
            let _ = permit.send(());
        }
        Told::Enough
    }

    /// Whether it has a good signature of this node's key, in this epoch.
    fn is_mine<R: CryptoRng>(&self, rng: &mut R, shown: &Evidence) -> bool {
        let me = Participant::new(self.me.into());
        let mine = match shown {
            Activity::Notarize(vote) => vote.signer() == me,
            Activity::Nullify(vote) => vote.signer() == me,
            Activity::Finalize(vote) => vote.signer() == me,
            _ => signers(shown).is_some_and(|signers| signers.contains(&me)),
        };
        mine && shown.epoch().get() == self.epoch && shown.verify(rng, &self.scheme, &Sequential)
    }
}
