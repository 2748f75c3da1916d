//! A network in which nobody is there.
//!
//! The engine's parts speak through channels to peers, and have some of them kept out. With one validator there are none, so no
//! port is opened and no handshake can fail. The types here are either that or a real network, so that the engine is compiled
//! once for both.

use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    BlockedSubscription, Blocker, CheckedSender, LimitedSender, Message, Receiver, Recipients,
};
use commonware_runtime::IoBufs;
use commonware_utils::{NZUsize, channel::ring, ordered::Set, sync::Mutex};
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

/// Who keeps peers out.
#[derive(Clone, Debug)]
pub(in super::super) enum Blocks<B> {
    /// There is nobody to be kept out. It holds the sending ends of subscriptions: a closed one would end the part of the engine
    /// that holds it.
    Nobody(Open),
    /// Peers.
    Peers(B),
}

/// Subscriptions to what never changes.
type Open = Arc<Mutex<Vec<ring::Sender<Set<PublicKey>>>>>;

impl<B> Blocks<B> {
    pub(in super::super) fn nobody() -> Self {
        Self::Nobody(Open::default())
    }
}

impl<B: Blocker<PublicKey = PublicKey>> Blocker for Blocks<B> {
    type PublicKey = PublicKey;

    fn block(&mut self, peer: PublicKey) -> Feedback {
        match self {
            Self::Nobody(_) => Feedback::Ok,
            Self::Peers(blocker) => blocker.block(peer),
        }
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        match self {
            Self::Nobody(open) => {
                let (sender, receiver) = ring::channel(NZUsize!(1));
                open.lock().push(sender);
                receiver
            }
            Self::Peers(blocker) => blocker.blocked(),
        }
    }
}
