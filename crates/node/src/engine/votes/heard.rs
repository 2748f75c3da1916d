//! What this node has of each validator's votes: the newest one that came, and the newest certificate with one.

use super::super::{Digest, PublicKey, Scheme, block::Block, epochs::EpochEntry};
use commonware_codec::DecodeExt as _;
use commonware_consensus::{
    Viewable as _,
    marshal::{core::Mailbox, standard::Standard},
    simplex::types::{Activity, Vote},
    types::Height,
};
use commonware_p2p::{Message, Receiver};
use commonware_utils::sync::Mutex;
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

/// Certificates of blocks that are looked at for one who asks.
const CERTIFICATES: u64 = 64;

/// What has a vote in it.
pub(in crate::engine) type Evidence = Activity<Scheme, Digest>;

/// The newest vote of each validator, in one epoch. Clones are the same.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Heard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    vote_keys: Vec<PublicKey>,
    /// By vote key. A vote is not verified: it came from the node that holds the key, and whoever is told of it does that.
    newest: Mutex<BTreeMap<PublicKey, Arc<Evidence>>>,
}

impl Heard {
    pub(in crate::engine) fn new(epoch: &EpochEntry) -> Self {
        Self(Arc::new(Inner {
            vote_keys: epoch.vote_keys.clone(),
            newest: Mutex::default(),
        }))
    }

    fn keep(&self, key: &PublicKey, evidence: &Arc<Evidence>) {
        let mut newest = self.0.newest.lock();
        let there = newest.get(key);
        if there.is_none_or(|there| there.view() < evidence.view()) {
            newest.insert(key.clone(), evidence.clone());
        }
    }

    fn vote(&self, key: &PublicKey, vote: Vote<Scheme, Digest>) {
        self.keep(
            key,
            &Arc::new(match vote {
                Vote::Notarize(vote) => Activity::Notarize(vote),
                Vote::Nullify(vote) => Activity::Nullify(vote),
                Vote::Finalize(vote) => Activity::Finalize(vote),
            }),
        );
    }

    /// A certificate that the engine has verified.
    pub(super) fn certificate(&self, activity: &Evidence) {
        let certificate = match activity {
            Activity::Notarization(of) => &of.certificate,
            Activity::Nullification(of) => &of.certificate,
            Activity::Finalization(of) => &of.certificate,
            _ => return,
        };
        let evidence = Arc::new(activity.clone());
        for signer in certificate.signers.iter() {
            let index = usize::try_from(signer.get()).ok();
            if let Some(key) = index.and_then(|index| self.0.vote_keys.get(index)) {
                self.keep(key, &evidence);
            }
        }
    }

    /// The newest that is known of a validator's votes, and if nothing was heard, from the newest blocks of the epoch, which are here up
    /// to `newest`.
    pub(in crate::engine) async fn of(
        &self,
        key: &PublicKey,
        mailbox: &Mailbox<Scheme, Standard<Block>>,
        first: u64,
        newest: u64,
    ) -> Option<Arc<Evidence>> {
        let heard = self.0.newest.lock().get(key).cloned();
        if heard.is_some() {
            return heard;
        }
        let index = self.0.vote_keys.iter().position(|one| one == key)?;
        let oldest = first.max(1).max(newest.saturating_sub(CERTIFICATES));
        for position in (oldest..=newest).rev() {
            let Some(found) = mailbox.get_finalization(Height::new(position)).await else {
                continue;
            };
            let has_signed = {
                let mut signers = found.certificate.signers.iter();
                signers.any(|signer| usize::try_from(signer.get()) == Ok(index))
            };
            if has_signed {
                return Some(Arc::new(Activity::Finalization(found)));
            }
        }
        None
    }
}

/// The receiving end of the channel of votes, by vote keys.
#[derive(Debug)]
pub(in crate::engine) struct Hearing<R> {
    pub(in crate::engine) inner: R,
    pub(in crate::engine) heard: Heard,
}

impl<R: Receiver<PublicKey = PublicKey>> Receiver for Hearing<R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        let (key, message) = self.inner.recv().await?;
        if let Ok(vote) = Vote::decode(message.clone()) {
            self.heard.vote(&key, vote);
        }
        Ok((key, message))
    }

    fn capacity(&self) -> NonZeroUsize {
        self.inner.capacity()
    }
}
