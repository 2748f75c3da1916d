//! The network of a ledger with one validator: nobody to talk to.
//!
//! The engine's parts speak through channels to peers and ask who the peers are. With one validator both answers are
//! empty, so no port is opened and no handshake can fail. A consortium puts an authenticated network in this place.

use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    BlockedSubscription, Blocker, CheckedSender, LimitedSender, Message, PeerSetSubscription,
    PeerSetUpdate, Provider, Receiver, Recipients, TrackedPeers,
};
use commonware_runtime::IoBufs;
use commonware_utils::{
    NZUsize,
    channel::{mpsc, ring},
    ordered::Set,
    sync::Mutex,
};
use std::{convert::Infallible, future::pending, num::NonZeroUsize, sync::Arc, time::SystemTime};

/// A sender with nobody at the other end.
#[derive(Clone, Debug)]
pub(super) struct NoSender;

/// A receiver that never receives.
#[derive(Debug)]
pub(super) struct NoReceiver;

/// The peers of a lone validator: none.
#[derive(Clone, Debug, Default)]
pub(super) struct NoPeers {
    /// The sending ends of subscriptions: a closed subscription would end the part of the engine that holds it.
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    peers: Vec<mpsc::UnboundedSender<PeerSetUpdate<PublicKey>>>,
    blocked: Vec<ring::Sender<Set<PublicKey>>>,
}

impl CheckedSender for NoSender {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        Vec::new()
    }

    fn send(self, _: impl Into<IoBufs> + Send, _: bool) -> Unreliable<Feedback> {
        Unreliable::Outcome(Feedback::Ok)
    }
}

impl LimitedSender for NoSender {
    type PublicKey = PublicKey;
    type Checked<'a> = Self;

    fn check(&mut self, _: Recipients<PublicKey>) -> Result<Self, SystemTime> {
        Ok(Self)
    }
}

impl Receiver for NoReceiver {
    type Error = Infallible;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, Infallible> {
        pending().await
    }

    fn capacity(&self) -> NonZeroUsize {
        NZUsize!(1)
    }
}

impl Provider for NoPeers {
    type PublicKey = PublicKey;

    async fn peer_set(&mut self, _: u64) -> Option<TrackedPeers<PublicKey>> {
        Some(TrackedPeers::default())
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<PublicKey> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.open.lock().peers.push(sender);
        receiver
    }
}

impl Blocker for NoPeers {
    type PublicKey = PublicKey;

    fn block(&mut self, _: PublicKey) -> Feedback {
        Feedback::Ok
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        let (sender, receiver) = ring::channel(NZUsize!(1));
        self.open.lock().blocked.push(sender);
        receiver
    }
}
