//! Follows blocks from "final" to "acknowledged".
//!
//! The engine reports a block once it and its certificate are on disk: from then on nothing can take it back, for a state that
//! was lost is made again from the blocks. Clients are told as soon as the state shows the block in memory, so that the proof
//! in their answer is of a state with their rows. The engine itself wants an acknowledgement when the state is on disk, too;
//! this reporter stands in between and sees it pass.

use super::{application::TransactionPool, block::Block, epochs::Epochs};
use crate::handle::Newest;
use commonware_actor::Feedback;
use commonware_consensus::{Reporter, marshal::Update};
use commonware_cryptography::Digested;
use commonware_utils::{
    Acknowledgement as _,
    acknowledgement::{Exact, ExactWaiter},
};
use futures::future::{Either, select};
use kusabi_core::{
    id::{Epoch, TxId},
    tx::{ActionCode, code_of},
};
use std::{pin::pin, sync::Arc};
use tokio::sync::{Notify, mpsc, watch};

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

/// What tells the state's durability, and what is to be told of it. `None` when that has come to pass.
type Acknowledgement = (Option<ExactWaiter>, Exact);

/// Where acknowledgements wait, in order.
pub(super) type Acknowledgements = mpsc::UnboundedSender<Acknowledgement>;

/// Where it is told that there is a newer block.
pub(super) struct Announce {
    pub(super) newest: watch::Sender<Option<Newest>>,
    /// The same for those outside the engine, over all of its runs: it never goes back.
    pub(super) outside: watch::Sender<Option<Newest>>,
    /// Where it is noted whether the epoch ends.
    pub(super) epochs: Epochs,
    /// For each part that waits for nothing else than that it moves.
    pub(super) moved: [Arc<Notify>; 4],
}

/// Puts a block in the place of an older one.
pub(super) fn raise(newest: &mut Option<Newest>, by: Newest) -> bool {
    let older = newest.is_none_or(|newest| newest.height < by.height);
    if older {
        *newest = Some(by);
    }
    older
}

impl Announce {
    fn tell(&self, block: &Block) {
        let header = &block.header;
        self.epochs
            .settle(header.epoch, header.height.get(), appoints(block));
        let told = Newest::after(*self.newest.borrow(), block);
        self.newest.send_replace(Some(told));
        self.outside
            .send_if_modified(|outside| raise(outside, told));
        for part in &self.moved {
            part.notify_one();
        }
    }
}

/// Runs until the engine ends: each block that is durable and that the state shows (`applied` tells its position) leaves the
/// pool and is announced. `first_vote`, if there is one, is called before the first one of `epoch` is told of.
pub(super) async fn follow(
    mut way: mpsc::UnboundedReceiver<OnItsWay>,
    mut applied: watch::Receiver<u64>,
    acknowledgements: Acknowledgements,
    pool: Arc<TransactionPool>,
    announce: Announce,
    epoch: Epoch,
    mut first_vote: Option<impl FnOnce()>,
) {
    while let Some(OnItsWay {
        block,
        durable,
        acknowledge,
    }) = way.recv().await
    {
        let inner = block.inner();
        // One that the state on disk held already at the start is not applied again, only acknowledged.
        let shown = pin!(applied.wait_for(|position| *position >= inner.position()));
        let durable = match select(shown, durable).await {
            Either::Left((Ok(_), durable)) => Some(durable),
            Either::Right((Ok(()), _)) => None,
            Either::Left((Err(_), _)) | Either::Right((Err(_), _)) => return,
        };
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
        // First, so that whoever is answered finds the height that the answer names.
        announce.tell(inner);
        pool.finalized(*inner.hash(), inner.position(), inner.header.height, &ids);
        if acknowledgements.send((durable, acknowledge)).is_err() {
            return;
        }
    }
}

/// Whether a block that is final decides the end of its epoch. Every transaction of such a block has taken effect.
fn appoints(block: &Block) -> bool {
    let code = Some(ActionCode::Appoint as u8);
    block
        .transactions
        .iter()
        .any(|bytes| code_of(bytes) == code)
}

/// Runs until the engine ends: tells it of each block whose state is on disk.
pub(super) async fn acknowledge(mut waiting: mpsc::UnboundedReceiver<Acknowledgement>) {
    while let Some((durable, acknowledge)) = waiting.recv().await {
        if let Some(durable) = durable
            && durable.await.is_err()
        {
            return;
        }
        acknowledge.acknowledge();
    }
}
