//! A node without a vote: it takes blocks that others bring, believes none of them, and runs each.
//!
//! A block is checked as in a backup ([`History`]: link, time, body, epoch and its opening, certificate), put into the archive, and
//! only then run on the state, whose roots are compared with its header. So a crash leaves the state behind the archive at most,
//! and a start makes it up from there. Nothing is run or shown above the newest block that a certificate is of; a checkpoint of
//! several headers brings that of the last one.

use super::{
    EngineError, Runtime,
    application::{Ledger, TransactionPool, tell_heartbeat},
    archive,
    block::Block,
    disk,
    epochs::Epochs,
    execute,
    finality::raise,
    head::Heads,
    network::{Sends, Tcp, Wire},
    pulse, replay,
    run::Ends,
    service::{self, Certificate, Services, Sources},
    shelf::{Own, Shelf},
    state::{self, Caches, Databases, PAGE},
    tally,
};
use crate::{
    handle::{FinalBlock, Newest},
    history::{BadBlock, History},
    outline::{Outline, OutlineError},
};
use commonware_glue::stateful::{Application, db::DatabaseSet};
use commonware_macros::select;
use commonware_runtime::{Spawner as _, Supervisor as _, buffer::paged::CacheRef};
use commonware_utils::NZUsize;
use kusabi_core::{
    header::Header,
    id::{ChainId, Height, TxId},
    tx::{ActionCode, code_of},
};
use std::{collections::VecDeque, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch};

/// Blocks that are checked and written together.
const BATCH: usize = 64;

/// A block that somebody brings.
#[derive(Debug)]
pub(crate) struct Brought {
    pub(crate) block: FinalBlock,
    /// Told once it is on disk, or why it is not taken.
    pub(crate) verdict: oneshot::Sender<Result<(), BadBlock>>,
    /// Its share of what may wait here.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// Notes an epoch that has begun, as number `n` of those that followed the first one, before a block of it is kept.
pub(crate) type NewEpoch = Box<dyn FnMut(&Outline, usize) -> Result<(), String> + Send>;

/// What the engine of a follower is told.
pub(crate) struct Instructions {
    /// With all epochs that are known; maybe one more than there are blocks of.
    pub(crate) outline: Outline,
    pub(crate) caches: Caches,
    pub(crate) threads: NonZeroUsize,
    pub(crate) pool: Arc<TransactionPool>,
    pub(crate) blocks: mpsc::Receiver<Brought>,
    /// Where the height of the newest block is told that is kept.
    pub(crate) kept: watch::Sender<Option<Height>>,
    pub(crate) new_epoch: NewEpoch,
}

/// Runs on disk until it stops or fails. `ready` is called when it shows all that it had before, if that is anything.
pub(crate) fn follow_on_disk(
    storage: &Path,
    instructions: Instructions,
    ends: Ends,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    disk::start(storage, instructions.threads, |context| async move {
        // In a task of its own, so that the runner reports the first part that fails.
        let all = context.child("follower").spawn(move |context| async move {
            let pulse = ends.pulse.clone();
            context.child("pulse").spawn(move |context| {
                let nobody = None::<pulse::Asked<Sends<<Tcp as Wire>::Sender>>>;
                pulse::feel(context, nobody, pulse)
            });
            let mut stop = ends.stop.clone();
            let run = Box::pin(run(context, instructions, ends, ready));
            select! {
                ended = run => ended,
                _ = stop.wait_for(|stop| *stop) => Ok(()),
            }
        });
        all.await.unwrap_or(Err(EngineError::Ended))
    })
}

/// Runs in any world.
pub(super) async fn run<E: Runtime>(
    context: E,
    instructions: Instructions,
    ends: Ends,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    let Instructions {
        outline,
        caches,
        threads,
        pool,
        blocks,
        kept,
        new_epoch,
    } = instructions;
    let epochs = Epochs::new(*outline.chain());
    let pages = CacheRef::new(PAGE, NZUsize!(1024));
    disk::open_notes(&context).await?;
    let shelf = Own::open(&context, &pages, &epochs).await?;
    let newest = shelf.newest().await;
    let outline = outline.until(newest);
    for epoch in outline.epochs() {
        epochs.push(epoch, None).map_err(EngineError::Set)?;
    }
    let genesis = Arc::new(archive::genesis::<E>(&epochs, &outline)?);
    let last = match newest {
        0 => genesis.clone(),
        position => at(&shelf, position).await?,
    };
    let strategy = context.child("strategy").strategy(threads);
    let config = state::config(&caches, strategy);
    let state = <Databases<E> as DatabaseSet<E>>::init(context.child("state"), config, None).await;
    let mut shown = shown(&shelf, &state, &genesis, newest).await?;

    let heads = Heads::new(context.current());
    heads.push(&shown, context.current());
    let announced = watch::Sender::new(Some(Newest::from(&*shown)));
    ends.newest
        .send_if_modified(|newest| raise(newest, Newest::from(&*shown)));
    pool.resume(shown.position(), *shown.hash());
    let serving = context.child("service").spawn({
        let services = Services {
            ingest: ends.ingest,
            again: ends.again,
            lookups: ends.lookups,
            queries: ends.queries,
            stop: ends.stop,
        };
        let sources = Sources {
            epochs: epochs.clone(),
            databases: state.clone(),
            heads: heads.clone(),
            shelf: Shelf::Own(shelf.clone()),
            newest: announced.subscribe(),
        };
        move |context| service::serve(context, services, sources, None)
    });
    let moved = Arc::new(Notify::new());
    let counting = context.child("tally").spawn({
        let parts = tally::Parts {
            epochs: epochs.clone(),
            founded_ms: genesis.header.time_ms,
            shelf: Shelf::Own(shelf.clone()),
            newest: announced.subscribe(),
            moved: moved.clone(),
            tally: ends.tally,
        };
        move |_| tally::count(parts)
    });
    // What takes long has a thread of its own.
    let following = context.child("blocks").dedicated();
    let following = following.spawn(move |context| async move {
        let mut follower = Follower {
            chain: *outline.chain(),
            history: History::after(outline, last.header),
            epochs,
            shelf,
            state,
            heads,
            pool,
            announced,
            outside: ends.newest,
            heartbeat: ends.heartbeat,
            moved,
            waiting: VecDeque::new(),
            due: None,
            unpruned: 0,
            prune_every: caches.prune_every.get(),
            shown: shown.clone(),
            new_epoch,
            context,
        };
        show_heartbeat(&follower.state, &follower.heartbeat).await;
        while shown.position() < newest {
            let next = at(&follower.shelf, shown.position() + 1).await?;
            follower.show(next.clone()).await?;
            shown = next;
        }
        kept.send_replace(Some(last.header.height));
        if newest > 0 {
            ready();
        }
        follower.run(blocks, kept).await
    });
    select! {
        ended = following => ended.unwrap_or(Err(EngineError::Ended)),
        _ = serving => Ok(()),
        _ = counting => Err(EngineError::Ended),
    }
}

async fn at<E: Runtime>(shelf: &Own<E>, position: u64) -> Result<Arc<Block>, EngineError> {
    let block = shelf.block(position).await;
    block.ok_or(EngineError::NotWhole("block that others follow on"))
}

/// The block whose state is on disk: each block makes the log of operations longer.
async fn shown<E: Runtime>(
    shelf: &Own<E>,
    state: &Databases<E>,
    genesis: &Arc<Block>,
    newest: u64,
) -> Result<Arc<Block>, EngineError> {
    let target = DatabaseSet::<E>::committed_targets(state).await;
    let end = u64::from(target.range.end());
    let (mut low, mut high) = (0, newest);
    while low < high {
        let middle = low + (high - low) / 2;
        let reaches = middle > 0 && at(shelf, middle).await?.header.ops_end >= end;
        if reaches || (middle == 0 && genesis.header.ops_end >= end) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let block = match low {
        0 => genesis.clone(),
        position => at(shelf, position).await?,
    };
    if <Ledger as Application<E>>::sync_targets(&block) == target {
        Ok(block)
    } else {
        Err(EngineError::ForeignState)
    }
}

/// Tells how long the heartbeat is in the state that is shown.
async fn show_heartbeat<E: Runtime>(state: &Databases<E>, told: &watch::Sender<Duration>) {
    if let Some(members) = execute::final_members(state).await {
        tell_heartbeat(told, members.heartbeat_ms);
    }
}

/// A follower's blocks and state.
struct Follower<E: Runtime> {
    context: E,
    chain: ChainId,
    /// Up to the newest block that is kept.
    history: History,
    epochs: Epochs,
    shelf: Own<E>,
    state: Databases<E>,
    heads: Heads,
    pool: Arc<TransactionPool>,
    announced: watch::Sender<Option<Newest>>,
    outside: watch::Sender<Option<Newest>>,
    heartbeat: watch::Sender<Duration>,
    /// Told of each block that is shown.
    moved: Arc<Notify>,
    /// Kept and not run: the block that is certified has not come yet.
    waiting: VecDeque<Arc<Block>>,
    /// That block's header and certificate.
    due: Option<(Header, Certificate)>,
    /// Blocks since the state was last put on disk.
    unpruned: usize,
    prune_every: usize,
    /// The block that the state shows.
    shown: Arc<Block>,
    new_epoch: NewEpoch,
}

impl<E: Runtime> Follower<E> {
    /// Takes what is brought. When nobody brings anything any more, what is shown goes on being served.
    async fn run(
        mut self,
        mut blocks: mpsc::Receiver<Brought>,
        kept: watch::Sender<Option<Height>>,
    ) -> Result<(), EngineError> {
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            if blocks.recv_many(&mut batch, BATCH).await == 0 {
                return std::future::pending().await;
            }
            let mut new = Vec::with_capacity(batch.len());
            let mut good = Vec::with_capacity(batch.len());
            for Brought { block, verdict, .. } in batch {
                match self.take(block)? {
                    Ok(taken) => {
                        new.push(taken);
                        good.push(verdict);
                    }
                    Err(why) => {
                        // Who brought it may be gone.
                        let _ = verdict.send(Err(why));
                    }
                }
            }
            if new.is_empty() {
                continue;
            }
            self.shelf.put(&new).await?;
            kept.send_replace(Some(self.history.last().0.height));
            for verdict in good {
                let _ = verdict.send(Ok(()));
            }
            for (block, certificate) in new {
                self.waiting.push_back(block);
                if certificate.is_some() {
                    for block in std::mem::take(&mut self.waiting) {
                        self.show(block).await?;
                    }
                }
            }
        }
    }

    /// Checks a block; an epoch that it opens is noted before it is kept.
    fn take(&mut self, block: FinalBlock) -> Result<Result<Taken, BadBlock>, EngineError> {
        let known = self.history.outline().epochs().len();
        if let Err(why) = self.history.push(&block) {
            if forsakes(self.history.outline(), self.history.last().0, &block) {
                return Err(EngineError::Forsaken(self.history.last().0.height.get()));
            }
            return Ok(Err(why));
        }
        let outline = self.history.outline();
        for (n, epoch) in outline.epochs().iter().enumerate().skip(known) {
            (self.new_epoch)(outline, n).map_err(|why| EngineError::Store {
                what: "epochs",
                why,
            })?;
            self.epochs.push(epoch, None).map_err(EngineError::Set)?;
        }
        // A certificate that came with this block or with one below it: of whichever comes first, so that no more than the headers of
        // one checkpoint ever wait.
        let came = archive::certificate(&self.chain, &block);
        let header = block.header;
        let due = self.due.take_if(|(of, _)| of.height <= header.height);
        let mut certificate = due.filter(|(of, _)| *of == header);
        match came {
            Some((of, _)) if of == header => certificate = certificate.or(came),
            of_later if self.due.is_none() => self.due = of_later,
            _ => {}
        }
        let certificate = certificate.map(|(_, certificate)| certificate);
        let block = Block::new(&self.epochs, block.header, block.transactions);
        let block = block.ok_or(EngineError::NotWhole("validator that has led its block"))?;
        Ok(Ok((Arc::new(block), certificate)))
    }

    /// Runs the next block and shows what it gives.
    async fn show(&mut self, block: Arc<Block>) -> Result<(), EngineError> {
        let parent = self.shown.header;
        let (header, transactions) = (&block.header, &block.transactions);
        let (context, state) = (&mut self.context, &self.state);
        let ran = replay::replay(context, &self.chain, state, &parent, header, transactions);
        let ran = ran
            .await
            .map_err(|why| EngineError::Diverged(why.to_string()))?;
        // Before the state moves, so that whoever reads the state always finds the header of what it reads.
        self.heads.push(&block, self.context.current());
        DatabaseSet::<E>::apply(&self.state, ran).await;
        self.shown = block.clone();
        show_heartbeat(&self.state, &self.heartbeat).await;
        let told = Newest::after(*self.announced.borrow(), &block);
        self.announced.send_replace(Some(told));
        self.outside
            .send_if_modified(|outside| raise(outside, told));
        self.moved.notify_one();
        let ids: Vec<_> = transactions.iter().map(|bytes| TxId::of(bytes)).collect();
        let (hash, position) = (*block.hash(), block.position());
        self.pool.finalized(hash, position, header.height, &ids);
        self.unpruned += 1;
        if self.unpruned >= self.prune_every {
            self.unpruned = 0;
            if DatabaseSet::<E>::finalize(&self.state)
                .await
                .durable()
                .await
            {
                let target = <Ledger as Application<E>>::sync_targets(&block);
                DatabaseSet::<E>::prune(&self.state, &target).await;
            }
        }
        Ok(())
    }
}

type Taken = (Arc<Block>, Option<Certificate>);

/// Whether a block begins with a recovery that this ledger's recovery keys have signed and that goes on from a block below the
/// newest one here: then what is kept above it is the ledger's no more.
fn forsakes(outline: &Outline, last: &Header, block: &FinalBlock) -> bool {
    let Some(opening) = block.transactions.first() else {
        return false;
    };
    if code_of(opening) != Some(ActionCode::Recovery as u8) {
        return false;
    }
    let mut outline = outline.clone();
    match outline.open_epoch(opening.clone()) {
        Ok(()) => outline.newest().first <= last.height.get() - last.skipped,
        Err(why) => why == OutlineError::RecoveryParent,
    }
}
