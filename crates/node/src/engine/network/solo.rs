//! A network in which nobody is there.
//!
//! The engine's parts speak through channels to peers and ask who the peers are. With one validator both answers are
//! empty, so no port is opened and no handshake can fail. The types here are either that or a real network, so that the
//! engine is compiled once for both.

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
use std::{future::pending, num::NonZeroUsize, sync::Arc, time::SystemTime};

/// The sending end of a channel.
#[derive(Clone, Debug)]
pub(in super::super) enum Sends<S> {
    /// Nobody is at the other end.
    ToNobody,
    /// Peers.
    To(S),
}

/// A [`Sends`] that knows to whom it may send now.
#[derive(Debug)]
pub(in super::super) enum MaySend<C> {
    /// To nobody.
    ToNobody,
    /// To peers.
    To(C),
}

impl<C: CheckedSender<PublicKey = PublicKey>> CheckedSender for MaySend<C> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        match self {
            Self::ToNobody => Vec::new(),
            Self::To(checked) => checked.recipients(),
        }
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        match self {
            Self::ToNobody => Unreliable::Outcome(Feedback::Ok),
            Self::To(checked) => checked.send(message, priority),
        }
    }
}

impl<S: LimitedSender<PublicKey = PublicKey>> LimitedSender for Sends<S> {
    type PublicKey = PublicKey;
    type Checked<'a> = MaySend<S::Checked<'a>>;

    fn check(
        &mut self,
        recipients: Recipients<PublicKey>,
    ) -> Result<Self::Checked<'_>, SystemTime> {
        Ok(match self {
            Self::ToNobody => MaySend::ToNobody,
            Self::To(sender) => MaySend::To(sender.check(recipients)?),
        })
    }
}

/// The receiving end of a channel.
#[derive(Debug)]
pub(in super::super) enum Receives<R> {
    /// Nothing ever comes.
    FromNobody,
    /// From peers.
    From(R),
}

impl<R: Receiver<PublicKey = PublicKey>> Receiver for Receives<R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        match self {
            Self::FromNobody => pending().await,
            Self::From(receiver) => receiver.recv().await,
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        match self {
            Self::FromNobody => NZUsize!(1),
            Self::From(receiver) => receiver.capacity(),
        }
    }
}

/// Who is there: nobody, or who `P` says.
#[derive(Clone, Debug)]
pub(in super::super) enum Peers<P> {
    /// No one. It holds the sending ends of subscriptions: a closed one would end the part of the engine that holds it.
    Nobody(Arc<Mutex<Open>>),
    /// Peers.
    There(P),
}

/// Subscriptions to what never changes.
#[derive(Debug, Default)]
pub(in super::super) struct Open {
    peers: Vec<mpsc::UnboundedSender<PeerSetUpdate<PublicKey>>>,
    blocked: Vec<ring::Sender<Set<PublicKey>>>,
}

impl<P> Peers<P> {
    pub(in super::super) fn nobody() -> Self {
        Self::Nobody(Arc::default())
    }
}

impl<P: Provider<PublicKey = PublicKey>> Provider for Peers<P> {
    type PublicKey = PublicKey;

    async fn peer_set(&mut self, id: u64) -> Option<TrackedPeers<PublicKey>> {
        match self {
            Self::Nobody(_) => Some(TrackedPeers::default()),
            Self::There(peers) => peers.peer_set(id).await,
        }
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<PublicKey> {
        match self {
            Self::Nobody(open) => {
                let (sender, receiver) = mpsc::unbounded_channel();
                open.lock().peers.push(sender);
                receiver
            }
            Self::There(peers) => peers.subscribe().await,
        }
    }
}

impl<P: Blocker<PublicKey = PublicKey>> Blocker for Peers<P> {
    type PublicKey = PublicKey;

    fn block(&mut self, peer: PublicKey) -> Feedback {
        match self {
            Self::Nobody(_) => Feedback::Ok,
            Self::There(peers) => peers.block(peer),
        }
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        match self {
            Self::Nobody(open) => {
                let (sender, receiver) = ring::channel(NZUsize!(1));
                open.lock().blocked.push(sender);
                receiver
            }
            Self::There(peers) => peers.blocked(),
        }
    }
}
