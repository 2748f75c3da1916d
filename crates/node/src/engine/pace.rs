//! When a block is proposed: when there are transactions, by a lone validator at once and among several after a pause; otherwise at
//! the heartbeat, or when what stands in the blocks below does not become final.
//!
//! A block that enough have voted for may miss the last votes: they were lost, or their senders had given the turn up already. It
//! is final once a block on top of it is, and so it is for a node that alone has missed how it became final; until then whoever
//! waits for what stands in it waits. So a leader that does not see it become final in time makes an empty block on it. (Nobody
//! waits for an empty one: a disk that is slow gets no more of them for being slow.)
//!
//! The wait stands in front of the engine's application actor and not inside the application's `propose`, because that
//! actor applies no finalized block while a proposal is being built: waiting inside would hold back the very block whose
//! clients wait for their answer.

use super::{Digest, PublicKey, Runtime, Scheme, application::Shared, block::Block};
use commonware_consensus::{Application, marshal::ancestry::Ancestry, simplex::types::Context};
use commonware_cryptography::Digested;
#[cfg(feature = "testing")]
use commonware_cryptography::Digestible as _;
use commonware_macros::select;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

/// How long a leader without transactions waits for what stands in the blocks below to become final. Longer than that takes, also
/// between continents; what is made in vain is an empty block.
pub(super) const SETTLES: Duration = Duration::from_millis(400);

/// Times of a round, from the number of validators and the heartbeat.
pub(super) struct Times {
    pub(super) leader: Duration,
    pub(super) certification: Duration,
    pub(super) retry: Duration,
    pub(super) skip: Duration,
    /// How long a leader waits for transactions: always shorter than `leader`.
    pub(super) patience: Duration,
    /// From the beginning of a turn to its block. What comes meanwhile goes into the same block, and the votes for the one before
    /// have the processors for themselves: measured on two cores, a fifth more is final in a second, and a single registration
    /// sooner (docs/performance.md).
    pub(super) pause: Duration,
}

impl Times {
    pub(super) fn new(validators: usize, heartbeat: Duration) -> Self {
        if validators == 1 {
            // Nobody else could take the turn: the leader keeps it until the heartbeat.
            return Self {
                leader: heartbeat * 2,
                certification: heartbeat * 3,
                retry: heartbeat,
                skip: heartbeat * 4,
                // Longer than the heartbeat, which is counted from a little later than the turn's beginning.
                patience: heartbeat * 3 / 2,
                pause: Duration::ZERO,
            };
        }
        Self {
            leader: Duration::from_secs(1),
            certification: Duration::from_secs(2),
            retry: Duration::from_millis(500),
            skip: Duration::from_secs(5),
            patience: Duration::from_millis(900),
            pause: Duration::from_millis(10),
        }
    }
}

/// How long after a build that gave nothing the next is tried.
const RETRY: Duration = Duration::from_millis(10);

/// An application that waits before it proposes.
#[derive(Clone)]
pub(super) struct Paced<A> {
    pub(super) inner: A,
    pub(super) shared: Arc<Shared>,
    /// What a hostile member makes of its blocks.
    #[cfg(feature = "testing")]
    pub(super) tamper: Option<Tamper>,
}

/// Makes another block of a proposal.
#[cfg(feature = "testing")]
pub(super) type Tamper = Arc<dyn Fn(&super::epochs::Epochs, &Block) -> Option<Block> + Send + Sync>;

impl<A> Paced<A> {
    /// Waits until a block on top of `parent` is due, in a turn that began then. `false`: nothing is due before the leader's patience
    /// ends.
    async fn wait<E: Runtime>(&self, context: &E, parent: &Block, began: SystemTime) -> bool {
        let shared = &self.shared;
        // What opens an epoch waits for nothing, and an epoch that is to end does so at once.
        let opens = shared.opening(parent.position() + 1).is_some();
        if opens || shared.epochs.end().is_some() {
            return true;
        }
        let (end, settled) = (began + shared.patience, began + shared.settles);
        loop {
            let mut any = false;
            shared.pool.candidates(parent.hash(), |_| {
                any = true;
                false
            });
            let now = context.current();
            let heartbeat = shared.until_heartbeat(now);
            let settles = settled.duration_since(now).unwrap_or_default();
            let unsettled = settles.is_zero() && shared.pool.unsettled(parent.hash());
            if any || unsettled || heartbeat.is_zero() {
                // From now on, and not until a time of the clock, which people set.
                let passed = now.duration_since(began).unwrap_or_default();
                let left = shared.pause.saturating_sub(passed);
                if !left.is_zero() {
                    context.sleep(left).await;
                }
                shared.settling.store(unsettled, Ordering::Relaxed);
                return true;
            }
            let left = end.duration_since(now).unwrap_or_default();
            if left.is_zero() {
                return false;
            }
            let left = if settles.is_zero() {
                left
            } else {
                left.min(settles)
            };
            select! {
                () = shared.pool.arrived() => {},
                () = context.sleep(left.min(heartbeat)) => {},
            }
        }
    }
}

impl<E, A> Application<E> for Paced<A>
where
    E: Runtime,
    A: Application<
            E,
            SigningScheme = Scheme,
            Context = Context<Digest, PublicKey>,
            Block = Block,
            Input = (),
        > + Sync,
{
    type SigningScheme = Scheme;
    type Context = Context<Digest, PublicKey>;
    type Block = Block;
    type Input = ();

    async fn propose(
        &mut self,
        (context, consensus): (E, Self::Context),
        ancestry: impl Ancestry<Block>,
        (): (),
    ) -> Option<Digested<Block>> {
        let parent = ancestry.peek()?.clone();
        let began = context.current();
        while self.wait(&context, parent.inner(), began).await {
            let inner_context = (context.child("build"), consensus.clone());
            let block = self
                .inner
                .propose(inner_context, ancestry.clone(), ())
                .await;
            #[cfg(feature = "testing")]
            let block = match (&self.tamper, block) {
                (Some(tamper), Some(block)) => {
                    let other = tamper(&self.shared.epochs, block.inner());
                    other.map(|block| {
                        let digest = block.digest();
                        Digested::precomputed(block, digest)
                    })
                }
                (_, block) => block,
            };
            if block.is_some() {
                return block;
            }
            context.sleep(RETRY).await;
        }
        None
    }

    async fn verify(
        &mut self,
        context: (E, Self::Context),
        ancestry: impl Ancestry<Block>,
    ) -> bool {
        self.inner.verify(context, ancestry).await
    }
}
