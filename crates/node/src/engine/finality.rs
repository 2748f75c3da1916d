//! Follows blocks from "final" to "durable", and only then tells the pool.
//!
//! The engine reports a block once it and its certificate are on disk, and wants an acknowledgement when the application's
//! state is, too. This reporter stands between the two and sees the acknowledgement pass.

use super::{application::TransactionPool, block::Block};
use crate::handle::Newest;
use commonware_actor::Feedback;
use commonware_consensus::{Reporter, marshal::Update};
use commonware_cryptography::Digested;
use commonware_utils::{
    Acknowledgement as _,
    acknowledgement::{Exact, ExactWaiter},
};
use kusabi_core::id::{Epoch, TxId};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// A block on its way to disk.
pub(super) struct OnItsWay {
    block: Digested<Block>,
    durable: ExactWaiter,
    acknowledge: Exact,
}

/// Passes blocks on to the application and notes when each is durable.
#[derive(Clone)]
pub(super) struct Follower<R> {
    next: R,
    // Bounded by the engine: it has at most `max_pending_acks` blocks without acknowledgement.
    way: mpsc::UnboundedSender<OnItsWay>,
}

impl<R> Follower<R> {
    pub(super) fn new(next: R) -> (Self, mpsc::UnboundedReceiver<OnItsWay>) {
        let (way, receiver) = mpsc::unbounded_channel();
        (Self { next, way }, receiver)
    }
}

impl<R: Reporter<Activity = Update<Block>>> Reporter for Follower<R> {
    type Activity = Update<Block>;

    fn report(&mut self, activity: Update<Block>) -> Feedback {
        let Update::Block(block, acknowledge) = activity else {
            return self.next.report(activity);
        };
        let (inner, durable) = Exact::handle();
        let feedback = self.next.report(Update::Block(block.clone(), inner));
        let on_its_way = OnItsWay {
            block,
            durable,
            acknowledge,
        };
        // A closed channel means that the node stops: the acknowledgement is dropped with the message.
        if self.way.send(on_its_way).is_err() {
            return Feedback::Closed;
        }
        feedback
    }
}

/// Runs until the engine ends: each block that became durable leaves the pool and moves `newest` on. `first_vote` is
/// called before the first one of `epoch` is told of.
pub(super) async fn follow(
    mut way: mpsc::UnboundedReceiver<OnItsWay>,
    pool: Arc<TransactionPool>,
    newest: watch::Sender<Option<Newest>>,
    epoch: Epoch,
    first_vote: impl FnOnce(),
) {
    let mut first_vote = Some(first_vote);
    while let Some(OnItsWay {
        block,
        durable,
        acknowledge,
    }) = way.recv().await
    {
        if durable.await.is_err() {
            return;
        }
        let inner = block.inner();
        let ids: Vec<_> = inner
            .transactions
            .iter()
            .map(|bytes| TxId::of(bytes))
            .collect();
        if inner.header.epoch == epoch
            && let Some(note) = first_vote.take()
        {
            note();
        }
        pool.finalized(*inner.hash(), inner.position(), inner.header.height, &ids);
        newest.send_replace(Some(Newest::from(inner)));
        acknowledge.acknowledge();
    }
}
