//! Who the peers are.
//!
//! They are the same for one run of the engine: a new epoch runs it anew. So nobody has to be asked, and above all not the
//! network: it answers only once it speaks with peers, which it does not before what is on the disk was read, and what reads it
//! wants to know first who the peers are.

use crate::engine::PublicKey;
use commonware_p2p::{PeerSetSubscription, PeerSetUpdate, Provider, TrackedPeers};
use commonware_utils::{channel::mpsc, ordered::Set, sync::Mutex};
use std::sync::Arc;

/// The one set of peers there is.
const SET: u64 = 0;

/// The peers of one run. Clones are the same.
#[derive(Clone, Debug)]
pub(in super::super) struct Known(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    peers: TrackedPeers<PublicKey>,
    /// The other ends of subscriptions: a closed one would end the part of the engine that holds it.
    open: Mutex<Vec<mpsc::UnboundedSender<PeerSetUpdate<PublicKey>>>>,
}

impl Known {
    /// These, without the node itself.
    pub(in super::super) fn new(peers: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(Arc::new(Inner {
            peers: TrackedPeers::primary(Set::from_iter_dedup(peers)),
            open: Mutex::default(),
        }))
    }
}

impl Provider for Known {
    type PublicKey = PublicKey;

    async fn peer_set(&mut self, _: u64) -> Option<TrackedPeers<PublicKey>> {
        Some(self.0.peers.clone())
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<PublicKey> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // The other end is here.
        let _ = sender.send(PeerSetUpdate {
            index: SET,
            latest: self.0.peers.clone(),
            all: self.0.peers.clone(),
        });
        self.0.open.lock().push(sender);
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
    use futures::FutureExt as _;

    #[test]
    fn who_the_peers_are_is_told_at_once_and_to_everyone() {
        let peers = [3, 1, 2].map(|seed| PrivateKey::from_seed(seed).public_key());
        let mut known = Known::new(peers.clone());
        for _ in 0..3 {
            let mut subscription = known.clone().subscribe().now_or_never().unwrap();
            let told = subscription.try_recv().unwrap();
            for peer in &peers {
                assert!(told.all.primary.position(peer).is_some());
            }
            assert_eq!(told.all, told.latest);
            // Nothing more, and it stays open.
            let next = subscription.recv().now_or_never();
            assert!(next.is_none());
        }
        let set = known.peer_set(7).now_or_never().unwrap().unwrap();
        assert_eq!(set.union().len(), 3);
    }
}
