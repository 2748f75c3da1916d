//! Freshness receipts (spec/freshness.md): validators vouch for the newest header, each second at most once for all who ask.
//!
//! - Nonces wait in a queue. Once a second, or at once when nobody has asked for a second, those that are there become a batch: one
//!   root, one claim with this node's newest header. This node signs, and asks all others ([`gather`]).
//! - Whoever is asked signs what was its own newest header a moment ago ([`history`]), and otherwise says why not ([`message`]).
//! - With one signature more than there may be liars, all of the batch are answered; without, after five seconds, with what is missing.
//!
//! The cost is one signature of each validator a second, however many ask.

mod gather;
mod history;
#[cfg(feature = "testing")]
pub(super) mod hostile;
mod message;

pub(super) use gather::{Parts, run};
pub(super) use message::MESSAGE_MAX;

use crate::directory::VoteKey;
use kusabi_core::{
    freshness::Claim,
    id::ChainId,
    suite::{KeyError, Signature, VerificationKey},
};

/// The vote key, which the engine's voting has, too, and `turn`, for the end of an epoch: here it signs claims, and nothing else. Its statements are no
/// votes (spec/freshness.md, "Claim").
pub(super) struct Signer {
    key: VoteKey,
    public: VerificationKey,
}

impl Signer {
    pub(super) fn new(key: VoteKey) -> Result<Self, KeyError> {
        let public = VerificationKey::ed25519(&key.public())?;
        Ok(Self { key, public })
    }

    fn sign(&self, chain: &ChainId, claim: &Claim) -> Signature {
        let statement = claim.statement(chain, &self.public);
        self.key.sign(&statement)
    }
}
