//! The ledger as the engine's application: builds blocks, re-executes blocks, follows finality.

use super::{
    Digest, PublicKey, Runtime, Scheme,
    block::{Block, position},
    epochs::Epochs,
    execute::{self, Refusal, Unmerkleized},
    head::Heads,
    state::Databases,
};
use crate::{outline::Outline, pool::Pool};
use bytes::Bytes;
use commonware_consensus::{marshal::ancestry::Ancestry, simplex::types::Context};
use commonware_cryptography::Digested;
use commonware_glue::stateful::{
    Application, Finality, Input, Proposed,
    db::{DatabaseSet, Merkleized as _, Unmerkleized as _},
};
use commonware_storage::qmdb::sync::Target;
use commonware_utils::non_empty_range;
use futures::StreamExt as _;
use kusabi_core::{
    header::Header,
    id::{BodyHash, Epoch, Height, OpsRoot, StateRoot, TxId, View},
    tx::Transaction,
};
use kusabi_ledger::{
    BlockError, BlockRun, Ran, Rejection, Room, TIME_STEP_MS_MAX, Verified, check_bounds,
    check_time, prepare_block, reads, work,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// The pool with its types.
pub(super) type TransactionPool = Pool<Verified, Refusal>;

/// What all clones of the application share.
pub(super) struct Shared {
    pub(super) epochs: Epochs,
    pub(super) genesis: Block,
    pub(super) outline: Outline,
    pub(super) pool: Arc<TransactionPool>,
    pub(super) heads: Heads,
    /// Position of the newest block that the state shows.
    pub(super) applied: watch::Sender<u64>,
    /// An empty block is made when the chain was idle for so long: as the newest block says that was looked at.
    pub(super) heartbeat: watch::Sender<Duration>,
    /// A leader that has nothing to propose gives its turn away after this long.
    pub(super) patience: Duration,
    /// How long after the beginning of its turn a leader proposes at the earliest.
    pub(super) pause: Duration,
    /// After so much of its turn a leader that has nothing to propose makes an empty block, if blocks that are not final keep
    /// somebody waiting.
    pub(super) settles: Duration,
    /// Whether that much of this turn has passed, with such blocks below.
    pub(super) settling: AtomicBool,
    /// Why blocks were refused.
    #[cfg(feature = "testing")]
    pub(super) refused: super::simulation::Refusals,
    /// How much this node puts into a block.
    pub(super) portion: Portion,
}

impl Shared {
    /// The transaction that the block at `position` must begin with.
    pub(super) fn opening(&self, position: u64) -> Option<&Bytes> {
        let mut openings = self.outline.epochs().iter().map(|epoch| &epoch.opening);
        openings
            .find(|(at, _)| *at == position)
            .map(|(_, bytes)| bytes)
    }

    /// Notes where the epoch ends and how long the heartbeat is, as a block says that was built or found good. (One that loses
    /// may say otherwise; the next one corrects it.)
    fn note(&self, epoch: Epoch, ran: &Ran) {
        tell_heartbeat(&self.heartbeat, ran.heartbeat_ms);
        if let Some(last) = ran.ends {
            self.epochs.ends_at(epoch, last.get());
        }
    }

    /// Notes why a block is refused.
    fn refuse(&self, block: &Block, why: &dyn std::fmt::Display) {
        let height = block.header.height.get();
        tracing::warn!(%why, height, "a block is refused");
        #[cfg(feature = "testing")]
        self.refused.lock().push(why.to_string());
    }

    /// How long until an empty block is due: counted from when this node saw the newest block, not from what that block's
    /// time says.
    pub(super) fn until_heartbeat(&self, now: SystemTime) -> Duration {
        let heartbeat = *self.heartbeat.borrow();
        heartbeat.saturating_sub(self.heads.moved_since(now))
    }

    fn heartbeat_is_due(&self, now: SystemTime) -> bool {
        self.until_heartbeat(now).is_zero()
    }
}

/// Tells how long the heartbeat is.
pub(super) fn tell_heartbeat(told: &watch::Sender<Duration>, ms: u32) {
    let new = Duration::from_millis(ms.into());
    told.send_if_modified(|heartbeat| std::mem::replace(heartbeat, new) != new);
}

/// How much a proposer puts into a block of its own will. The rules allow more than all can receive, check and write within a
/// turn, and a turn that is missed leaves everything in the pool for the next one, which would miss it, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion {
    bytes: usize,
    /// In units of [`work`], ten microseconds.
    work: u64,
    any: bool,
}

impl Portion {
    /// As much as the rules allow: nobody else has to look at it.
    pub(super) const ALONE: Self = Self {
        bytes: usize::MAX,
        work: u64::MAX,
        any: false,
    };

    /// What others are asked to look at within a second: a third of it for the checks, and for the tree, which takes about as
    /// long for a row as a unit of work.
    pub(super) const AMONG_OTHERS: Self = Self {
        bytes: 1 << 20,
        work: 30_000,
        any: false,
    };

    /// Whether one more fits. The first one always does.
    fn take(&mut self, transaction: &Transaction) -> bool {
        let bytes = transaction.as_bytes().len();
        let work = work(transaction) + reads(transaction).len() as u64;
        let fits = bytes <= self.bytes && work <= self.work;
        if !fits && self.any {
            return false;
        }
        self.any = true;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.work = self.work.saturating_sub(work);
        true
    }
}

/// The application; clones share everything.
#[derive(Clone)]
pub(super) struct Ledger(pub(super) Arc<Shared>);

type Merkleized<E> = <Databases<E> as DatabaseSet<E>>::Merkleized;

fn millis(time: SystemTime) -> u64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Why no block can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unbuildable {
    /// The transaction that must open the epoch is refused.
    #[error("the transaction that opens this epoch is refused: {0}")]
    Opening(Refusal),
    /// The chain that the block was to stand on lost.
    #[error("another block became final")]
    Lost,
    /// The ledger's rules about blocks.
    #[error("{0}")]
    Rules(BlockError),
}

/// What goes into a block.
#[derive(Default)]
pub(super) struct Packed {
    transactions: Vec<Bytes>,
    ids: Vec<TxId>,
    refused: Vec<(TxId, Refusal)>,
    ran: Option<Ran>,
}

impl Ledger {
    /// The parts of a header that follow from its place: everything but roots, body and time.
    pub(super) fn frame(
        &self,
        parent: &Block,
        context: &Context<Digest, PublicKey>,
    ) -> Option<Header> {
        let epoch = self
            .0
            .epochs
            .by_number(Epoch::new(context.round.epoch().get()))?;
        let position = parent.position() + 1;
        Some(Header {
            height: Height::new(position + epoch.skipped).ok()?,
            skipped: epoch.skipped,
            time_ms: 0,
            parent: *parent.hash(),
            state_root: StateRoot::ZERO,
            ops_root: OpsRoot::ZERO,
            ops_start: 0,
            ops_end: 1,
            body: BodyHash::ZERO,
            epoch: epoch.number,
            set_hash: epoch.set_hash,
            view: View::new(context.round.view().get()),
            parent_view: View::new(context.parent.0.get()),
            leader: epoch.index(&context.leader)?,
            next_set_hash: None,
        })
    }

    /// Packs transactions on top of `parent` and runs them.
    pub(super) async fn pack<E: Runtime>(
        &self,
        rng: &mut E,
        header: &Header,
        parent: &Block,
        batch: &Unmerkleized<E>,
    ) -> Result<Packed, Unbuildable> {
        let chain = self.0.epochs.chain();
        let mut candidates: Vec<(TxId, Arc<Verified>)> = Vec::new();
        let opens = self.0.opening(position(header));
        if let Some(opening) = opens {
            let verified =
                execute::verify_opening(opening, chain, rng).map_err(Unbuildable::Opening)?;
            candidates.push((verified.transaction().id(), Arc::new(verified)));
        }
        // The genesis transaction stands alone in its block.
        if header.height != Height::FIRST {
            // No more is taken from the pool than fits, and than others can look at in time.
            let mut room = Room::default();
            let mut portion = self.0.portion;
            let fits =
                |t: &Verified| portion.take(t.transaction()) && room.take(t.transaction()).is_ok();
            let more = self.0.pool.candidates(parent.hash(), fits);
            candidates.extend(more);
        }
        let transactions = candidates.iter().map(|(_, t)| t.transaction());
        let state = execute::fetch::<E>(batch, execute::keys(transactions))
            .await
            .ok_or(Unbuildable::Lost)?;
        let context = execute::block_context(chain, header, &parent.header);
        let mut run = BlockRun::new(context, &state);
        let mut packed = Packed::default();
        for (id, transaction) in candidates {
            match run.push(&transaction) {
                Ok(()) => {
                    let bytes = transaction.transaction().as_bytes();
                    packed.transactions.push(Bytes::copy_from_slice(bytes));
                    packed.ids.push(id);
                }
                // The rest has its turn in the next block.
                Err(Rejection::BlockFull) => break,
                Err(why) if opens.is_some() && packed.ids.is_empty() => {
                    return Err(Unbuildable::Opening(Refusal::Rejected(why)));
                }
                Err(why) => packed.refused.push((id, Refusal::Rejected(why))),
            }
        }
        packed.ran = Some(run.finish().map_err(Unbuildable::Rules)?);
        Ok(packed)
    }

    /// The rules on a header that depend on its place and time alone; the first that is broken.
    fn check_frame(
        &self,
        parent: &Block,
        block: &Block,
        context: &Context<Digest, PublicKey>,
    ) -> Result<(), Misplaced> {
        let header = &block.header;
        let frame = self.frame(parent, context).ok_or(Misplaced::Place)?;
        let expected = Header {
            time_ms: header.time_ms,
            state_root: header.state_root,
            ops_root: header.ops_root,
            ops_start: header.ops_start,
            ops_end: header.ops_end,
            body: header.body,
            // What the rules say of it is known when they have run.
            next_set_hash: header.next_set_hash,
            ..frame
        };
        if *header != expected {
            return Err(Misplaced::Place);
        }
        check_time(parent.header.time_ms, header.time_ms)?;
        let (position, first) = (block.position(), block.transactions.first());
        if !self.0.outline.may_begin(position, first) {
            return Err(Misplaced::Opening);
        }
        Ok(())
    }
}

/// Why a block does not belong where it is proposed.
#[derive(Debug, thiserror::Error)]
enum Misplaced {
    /// Height, epoch, view, leader, parent or version are not those of its place.
    #[error("its header is not that of its place")]
    Place,
    /// Its time does not follow its parent's.
    #[error(transparent)]
    Time(#[from] BlockError),
    /// It is the first of an epoch and does not open it, or opens one in the middle.
    #[error("it does not begin with what opens its epoch")]
    Opening,
}

/// A task of its own was ended, and so will be whoever waits for it: the node stops. "The block is refused" would be an answer.
async fn ending<T>() -> T {
    std::future::pending().await
}

impl<E: Runtime> Application<E> for Ledger {
    type SigningScheme = Scheme;
    type Context = Context<Digest, PublicKey>;
    type Block = Block;
    type Databases = Databases<E>;
    type Captured = ();
    type Provider = ();
    type Input = ();

    fn sync_targets(block: &Block) -> <Databases<E> as DatabaseSet<E>>::SyncTargets {
        let header = &block.header;
        Target::new(
            Digest::from(header.ops_root.to_bytes()),
            non_empty_range!(header.ops_start.into(), header.ops_end.into()),
        )
    }

    async fn genesis(&mut self) -> Block {
        self.0.genesis.clone()
    }

    async fn propose(
        &mut self,
        (mut context, consensus): (E, Self::Context),
        ancestry: impl Ancestry<Block>,
        batch: Unmerkleized<E>,
        _: Input<(), ()>,
    ) -> Option<Proposed<Self, E>> {
        let mut ancestry = Box::pin(ancestry);
        let parent: Digested<Block> = ancestry.next().await?;
        let parent = parent.inner();
        let mut header = self.frame(parent, &consensus)?;
        let earliest = parent.header.time_ms;
        header.time_ms = millis(context.current()).clamp(earliest, earliest + TIME_STEP_MS_MAX);
        let packed = self
            .pack(&mut context, &header, parent, &batch)
            .await
            .inspect_err(|why| tracing::error!(%why, "no block can be built"))
            .ok()?;
        let ran = packed.ran?;
        self.0.note(header.epoch, &ran);
        // An epoch that ends does so at once; what is not final below becomes so with this block (`pace`).
        let due = ran.ends.is_some()
            || self.0.heartbeat_is_due(context.current())
            || self.0.settling.load(Ordering::Relaxed);
        if packed.transactions.is_empty() && !due {
            // All candidates are refused: no reason for a block. `pace` waits for the next.
            self.0.pool.refused_on(parent.hash(), packed.refused);
            return None;
        }
        header.next_set_hash = ran.next_set_hash;
        let merkleized = execute::write::<E>(batch, ran.writes)
            .merkleize()
            .await
            .ok()?;
        let bounds = merkleized.bounds();
        header.state_root = StateRoot::new(merkleized.root().0);
        header.ops_root = OpsRoot::new(merkleized.ops_root().0);
        header.ops_start = *merkleized.sync_boundary();
        header.ops_end = bounds.tip.size.into();
        header.body = BodyHash::of(packed.transactions.iter().map(Bytes::as_ref));
        let position = parent.position() + 1;
        let block = Block::new(&self.0.epochs, header, packed.transactions)?;
        self.0.pool.placed(
            *block.hash(),
            *parent.hash(),
            position,
            &packed.ids,
            packed.refused,
        );
        self.0.heads.touch(context.current());
        Some(Proposed { block, merkleized })
    }

    async fn process(
        &mut self,
        (context, consensus): (E, Self::Context),
        ancestry: impl Ancestry<Block>,
        batch: Unmerkleized<E>,
        finality: Finality,
    ) -> Option<Merkleized<E>> {
        let mut ancestry = Box::pin(ancestry);
        let block: Digested<Block> = ancestry.next().await?;
        let block = block.inner();
        let parent: Digested<Block> = ancestry.next().await?;
        let parent = parent.inner();
        self.check_frame(parent, block, &consensus)
            .inspect_err(|why| self.0.refuse(block, why))
            .ok()?;
        let Some(transactions) = execute::decode(&block.transactions) else {
            self.0.refuse(block, &"a transaction in it cannot be read");
            return None;
        };
        let refused = |why: BlockError| self.0.refuse(block, &why);
        check_bounds(&transactions)
            .inspect_err(|why| refused(*why))
            .ok()?;
        let ids: Vec<_> = transactions.iter().map(Transaction::id).collect();
        // Until its signatures are good, a block has the rows of its signers read and no others. What takes long has tasks of its
        // own: this one is the application's, where finality waits, too.
        let chain = *self.0.epochs.chain();
        let signers = execute::signer_keys(transactions.iter());
        let signers = execute::fetch::<E>(&batch, signers).await?;
        let pool = self.0.pool.clone();
        let verifying = context.child("verify").shared(true);
        let prepared = verifying.spawn(move |mut context| async move {
            // What waits here was verified when it came.
            let known = |id: &TxId| pool.verified(id);
            prepare_block(transactions, known, &chain, &signers, &mut context)
        });
        let Ok(prepared) = prepared.await else {
            return ending().await;
        };
        let prepared = prepared.inspect_err(|why| refused(*why)).ok()?;
        let rows = execute::fetch::<E>(&batch, execute::keys(prepared.transactions())).await?;
        let ledger_context = execute::block_context(&chain, &block.header, &parent.header);
        let running = context.child("run").shared(true);
        let ran = running.spawn(move |mut context| async move {
            prepared.run(ledger_context, &rows, &mut context)
        });
        let Ok(ran) = ran.await else {
            return ending().await;
        };
        let ran = ran.inspect_err(|why| refused(*why)).ok()?;
        // That an epoch has ended stands in the header of its last block and of no other.
        if block.header.next_set_hash != ran.next_set_hash {
            self.0.refuse(block, &"its next set is another one");
            return None;
        }
        self.0.note(block.header.epoch, &ran);
        let merkleized = execute::write::<E>(batch, ran.writes)
            .merkleize()
            .await
            .ok()?;
        // The engine compares the ops root and its range; the root that proofs lead to is ours to compare.
        if merkleized.root().0 != block.header.state_root.to_bytes() {
            self.0.refuse(block, &"its state root is another one");
            return None;
        }
        self.0.pool.placed(
            *block.hash(),
            block.header.parent,
            block.position(),
            &ids,
            Vec::new(),
        );
        if finality == Finality::Candidate {
            // A block from a clock ahead of ours waits. The rule on the step above bounds the wait.
            let ahead = block
                .header
                .time_ms
                .saturating_sub(millis(context.current()));
            if ahead > 0 {
                context.sleep(Duration::from_millis(ahead)).await;
            }
        }
        Some(merkleized)
    }

    async fn capture(
        &mut self,
        (context, _): (E, Self::Context),
        block: &Block,
        _: &Merkleized<E>,
        _: <Databases<E> as DatabaseSet<E>>::Readers,
    ) {
        // Before the state moves, so that whoever reads the state always finds the header of what it reads.
        self.0.heads.push(block, context.current());
    }

    async fn finalized(
        &mut self,
        _: (E, Self::Context),
        block: &Block,
        (): (),
        _: <Databases<E> as DatabaseSet<E>>::Readers,
    ) {
        // From here on the state shows the block: clients may be told, see `finality`.
        self.0.applied.send_replace(block.position());
    }
}
