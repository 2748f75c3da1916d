//! Vote keys and node keys.
//!
//! The engine sends votes to vote keys and takes a vote only from the key that signed it. Vote keys live for one epoch and
//! authenticate nothing; connections are between node keys. So each vote key stands for the node that holds it: who sends a
//! vote that another node's key signed is not believed, as if the connection had been the vote key's own.

use super::PublicKey;
use crate::engine::{EngineError, Runtime};
use commonware_actor::{Feedback, Unreliable};
use commonware_p2p::{
    BlockedSubscription, Blocker, CheckedSender, LimitedSender, Message, Receiver, Recipients,
    Sender,
    utils::mux::{self, Muxer},
};
use commonware_runtime::{Handle, IoBufs};
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::SystemTime};

/// Which node holds which vote key, in one epoch. Ordered, so that a simulation repeats itself.
#[derive(Clone, Debug)]
pub(in super::super) struct Voters(Arc<Table>);

#[derive(Debug)]
struct Table {
    node_of: BTreeMap<PublicKey, PublicKey>,
    vote_of: BTreeMap<PublicKey, PublicKey>,
}

impl Voters {
    /// From pairs of vote key and node key.
    pub(in super::super) fn new(pairs: impl IntoIterator<Item = (PublicKey, PublicKey)>) -> Self {
        let mut table = Table {
            node_of: BTreeMap::new(),
            vote_of: BTreeMap::new(),
        };
        for (vote, node) in pairs {
            table.node_of.insert(vote.clone(), node.clone());
            table.vote_of.insert(node, vote);
        }
        Self(Arc::new(table))
    }

    /// The vote key that a node holds.
    pub(in super::super) fn vote_of(&self, node: &PublicKey) -> Option<&PublicKey> {
        self.0.vote_of.get(node)
    }

    fn nodes(&self, recipients: Recipients<PublicKey>) -> Recipients<PublicKey> {
        let node = |vote: &PublicKey| self.0.node_of.get(vote).cloned();
        Recipients::Some(match recipients {
            // Followers have no vote, and nothing to do with one.
            Recipients::All => self.0.node_of.values().cloned().collect(),
            Recipients::Some(votes) => votes.iter().filter_map(node).collect(),
            Recipients::One(vote) => node(&vote).into_iter().collect(),
        })
    }
}

/// A channel, or a blocker, whose peers are named by their vote keys.
#[derive(Clone, Debug)]
pub(in super::super) struct ByVote<T> {
    pub(in super::super) inner: T,
    pub(in super::super) voters: Voters,
}

/// A sender that knows to whom it may send now.
#[derive(Debug)]
pub(in super::super) struct MaySend<C> {
    inner: C,
    voters: Voters,
}

impl<C: CheckedSender<PublicKey = PublicKey>> CheckedSender for MaySend<C> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        let nodes = self.inner.recipients().into_iter();
        nodes
            .filter_map(|node| self.voters.0.vote_of.get(&node).cloned())
            .collect()
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        self.inner.send(message, priority)
    }
}

impl<S: LimitedSender<PublicKey = PublicKey>> LimitedSender for ByVote<S> {
    type PublicKey = PublicKey;
    type Checked<'a> = MaySend<S::Checked<'a>>;

    fn check(
        &mut self,
        recipients: Recipients<PublicKey>,
    ) -> Result<Self::Checked<'_>, SystemTime> {
        let inner = self.inner.check(self.voters.nodes(recipients))?;
        Ok(MaySend {
            inner,
            voters: self.voters.clone(),
        })
    }
}

impl<R: Receiver<PublicKey = PublicKey>> Receiver for ByVote<R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        loop {
            let (node, message) = self.inner.recv().await?;
            // A node without a vote in this epoch says nothing that counts.
            if let Some(vote) = self.voters.0.vote_of.get(&node) {
                return Ok((vote.clone(), message));
            }
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.inner.capacity()
    }
}

impl<B: Blocker<PublicKey = PublicKey>> Blocker for ByVote<B> {
    type PublicKey = PublicKey;

    fn block(&mut self, vote: PublicKey) -> Feedback {
        match self.voters.0.node_of.get(&vote) {
            Some(node) => self.inner.block(node.clone()),
            None => Feedback::Ok,
        }
    }

    /// Names nodes: the engine's voting, for which this is, does not ask.
    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        self.inner.blocked()
    }
}

/// The part of a channel that is for one epoch: who is in another one is not heard.
pub(in super::super) async fn by_epoch<E: Runtime, S, R>(
    context: &E,
    (sender, receiver): (S, R),
    epoch: u64,
    muxers: &mut Vec<Handle<()>>,
) -> Result<(mux::SubSender<S>, mux::SubReceiver<PublicKey>), EngineError>
where
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let (muxer, mut handle) = Muxer::new(context.child("lane"), sender, receiver);
    let run = context.child("muxer").spawn(move |_| async move {
        // Whatever ends it ends the node.
        let _ = muxer.run().await;
    });
    muxers.push(run);
    let registered = handle.register(epoch).await;
    registered.map_err(|_| EngineError::Ended)
}

/// A channel whose peers are named by their vote keys.
pub(in super::super) fn by_vote<S, R>(
    (sender, receiver): (S, R),
    voters: &Voters,
) -> (ByVote<S>, ByVote<R>) {
    let voters = voters.clone();
    (
        ByVote {
            inner: sender,
            voters: voters.clone(),
        },
        ByVote {
            inner: receiver,
            voters,
        },
    )
}
