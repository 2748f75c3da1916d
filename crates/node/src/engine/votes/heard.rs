//! What this node has of each validator's votes: the newest one that came, and the newest certificate with one.

use super::{
    super::{Digest, PublicKey, Scheme, block::Block, epochs::EpochEntry},
    own::signers,
};
use commonware_codec::DecodeExt as _;
use commonware_consensus::{
    Epochable as _, Viewable as _,
    marshal::{core::Mailbox, standard::Standard},
    simplex::types::{Activity, Attributable as _, Vote},
    types::Height,
};
use commonware_p2p::{Message, Receiver};
use commonware_parallel::Sequential;
use commonware_utils::sync::Mutex;
use rand_core::CryptoRng;
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

/// Certificates of blocks that are looked at for one who asks.
const CERTIFICATES: u64 = 64;

/// What has a vote in it.
pub(in crate::engine) type Evidence = Activity<Scheme, Digest>;

/// The newest of each validator's votes, in one epoch. Clones are the same.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Heard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: u64,
    scheme: Arc<Scheme>,
    vote_keys: Vec<PublicKey>,
    /// By vote key.
    newest: Mutex<BTreeMap<PublicKey, Newest>>,
}

#[derive(Debug, Default)]
struct Newest {
    /// As it came from the node that holds the key, or whoever has its node key: not verified.
    vote: Option<Arc<Evidence>>,
    /// Verified by the engine.
    certificate: Option<Arc<Evidence>>,
}

fn keep(newest: &mut Option<Arc<Evidence>>, evidence: &Arc<Evidence>) {
    let older = newest
        .as_ref()
        .is_none_or(|there| there.view() < evidence.view());
    if older {
        *newest = Some(evidence.clone());
    }
}

impl Heard {
    pub(in crate::engine) fn new(epoch: &EpochEntry) -> Self {
        Self(Arc::new(Inner {
            epoch: epoch.number.get(),
            scheme: epoch.shared_scheme(),
            vote_keys: epoch.vote_keys.clone(),
            newest: Mutex::default(),
        }))
    }

    fn vote(&self, key: &PublicKey, vote: Vote<Scheme, Digest>) {
        let evidence = Arc::new(match vote {
            Vote::Notarize(vote) => Activity::Notarize(vote),
            Vote::Nullify(vote) => Activity::Nullify(vote),
            Vote::Finalize(vote) => Activity::Finalize(vote),
        });
        let mut newest = self.0.newest.lock();
        keep(&mut newest.entry(key.clone()).or_default().vote, &evidence);
    }

    /// A certificate that the engine has verified.
    pub(super) fn certificate(&self, activity: &Evidence) {
        let Some(signers) = signers(activity) else {
            return;
        };
        let evidence = Arc::new(activity.clone());
        let mut newest = self.0.newest.lock();
        for signer in signers {
            let index = usize::try_from(signer.get()).ok();
            if let Some(key) = index.and_then(|index| self.0.vote_keys.get(index)) {
                let known = newest.entry(key.clone()).or_default();
                keep(&mut known.certificate, &evidence);
            }
        }
    }

    /// The newest that is known of a validator's votes and carries its signature; if nothing was heard, from the newest blocks of the
    /// epoch, which are here up to `newest`.
    pub(in crate::engine) async fn of<R: CryptoRng>(
        &self,
        rng: &mut R,
        key: &PublicKey,
        mailbox: &Mailbox<Scheme, Standard<Block>>,
        first: u64,
        newest: u64,
    ) -> Option<Arc<Evidence>> {
        let index = self.0.vote_keys.iter().position(|one| one == key)?;
        let known = {
            let newest = self.0.newest.lock();
            newest
                .get(key)
                .map(|of| (of.vote.clone(), of.certificate.clone()))
        };
        let (vote, certificate) = known.unwrap_or_default();
        let newer = vote.filter(|vote| {
            let above = certificate
                .as_ref()
                .is_none_or(|of| of.view() < vote.view());
            above && self.is_good(rng, index, vote)
        });
        if newer.is_none()
            && let Some(known) = self.0.newest.lock().get_mut(key)
        {
            // Whoever has its node key alone says what is no vote, and would hide those that are.
            known.vote = None;
        }
        if let Some(known) = newer.or(certificate) {
            return Some(known);
        }
        let oldest = first.max(1).max(newest.saturating_sub(CERTIFICATES));
        for position in (oldest..=newest).rev() {
            let Some(found) = mailbox.get_finalization(Height::new(position)).await else {
                continue;
            };
            let found = Activity::Finalization(found);
            let signers = signers(&found).unwrap_or_default();
            if signers
                .iter()
                .any(|signer| usize::try_from(signer.get()) == Ok(index))
            {
                return Some(Arc::new(found));
            }
        }
        None
    }

    /// Whether a vote is this validator's.
    fn is_good<R: CryptoRng>(&self, rng: &mut R, index: usize, vote: &Evidence) -> bool {
        let signer = match vote {
            Activity::Notarize(vote) => vote.signer(),
            Activity::Nullify(vote) => vote.signer(),
            Activity::Finalize(vote) => vote.signer(),
            _ => return false,
        };
        usize::try_from(signer.get()) == Ok(index)
            && vote.epoch().get() == self.0.epoch
            && vote.verify(rng, &self.0.scheme, &Sequential)
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
