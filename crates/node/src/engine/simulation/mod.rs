//! Nodes in a simulated world, for tests: virtual time, a disk in memory that a power cut tears, and faults by a seed. Here one
//! alone; in [`consortium`] several, and a network between them; in [`follower`] one without a vote.

pub mod consortium;
pub mod follower;
pub mod hostile;

pub(super) use hostile::{Crimes, Refusals};

use super::{
    Audit, AuditError, EngineError,
    archive::{self, ImportError},
    audit,
    disk::{Disk, Place},
    network::{Links, Tcp},
    run::{Instructions, Keyed, Outcome, run},
    state::Caches,
};
use crate::{
    backup::BackupError,
    directory::{NodeKey, VoteKey},
    handle::{FinalBlock, Link, NodeHandle, Stop},
    node,
    outline::Outline,
    pool::PoolLimits,
};
use commonware_runtime::{
    Clock as _, Runner as _, Spawner as _, Supervisor as _,
    deterministic::{
        Checkpoint, Config, Context, FaultConfig, PartialWriteMode, ResizeConfig, Runner,
        WriteConfig,
    },
};
use commonware_utils::{NZUsize, Probability, probability, sync::Mutex};
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How often the disk fails, in thousandths of its operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Reads.
    pub read: u16,
    /// Writes, of which a part may reach the disk.
    pub write: u16,
    /// Syncs.
    pub sync: u16,
    /// Changes of a file's length.
    pub resize: u16,
    /// Openings of files.
    pub open: u16,
    /// Not a failure: the longest that a sync takes, in milliseconds.
    pub slow_ms: u16,
}

impl Faults {
    /// A disk as it should be.
    pub const NONE: Self = Self {
        read: 0,
        write: 0,
        sync: 0,
        resize: 0,
        open: 0,
        slow_ms: 0,
    };

    /// A full disk: nothing can be written any more.
    pub const FULL: Self = Self {
        write: 1000,
        resize: 1000,
        ..Self::NONE
    };

    fn config(self) -> FaultConfig {
        let of = |n: u16| Probability::new(u64::from(n), 1000).unwrap_or(probability!(0.0));
        // What a power cut leaves of writes that were not synced: about half of the bytes, torn anywhere.
        let half = of(500);
        FaultConfig::default()
            .read(of(self.read))
            .open(of(self.open))
            .sync(of(self.sync))
            .write(WriteConfig {
                failure_rate: of(self.write),
                retention_rate: half,
                mode: PartialWriteMode::Subset,
            })
            .resize(ResizeConfig {
                failure_rate: of(self.resize),
                partial_rate: half,
            })
    }
}

/// Says why a node stopped.
fn note_end(link: &Link, ended: Result<Result<Outcome, EngineError>, commonware_runtime::Error>) {
    let stop = match ended {
        Ok(Ok(Outcome::Asked)) => Stop::Asked,
        Ok(Ok(Outcome::Turned(_))) => Stop::Fault("it goes on in the next epoch".into()),
        Ok(Err(EngineError::Ended)) => Stop::Fault("a part of it ended".into()),
        Ok(Err(error)) => Stop::Refused(error),
        Err(error) => Stop::Fault(error.to_string()),
    };
    let _ = link.stopped.set(stop);
    link.pool.stop();
}

/// The world as a script sees it.
#[derive(Clone)]
pub struct World {
    sleep: Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    faults: Arc<dyn Fn(Faults) + Send + Sync>,
}

impl World {
    /// `slow` is the longest that a sync of the disk takes.
    fn new(context: &Context, slow: Arc<AtomicU64>) -> Self {
        let clock = Arc::new(context.child("clock"));
        let fault_config = context.storage_fault_config();
        Self {
            sleep: Arc::new(move |time| {
                let clock = clock.clone();
                Box::pin(async move { clock.sleep(time).await })
            }),
            faults: Arc::new(move |faults| {
                *fault_config.write() = faults.config();
                slow.store(faults.slow_ms.into(), Ordering::Relaxed);
            }),
        }
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, time: Duration) {
        (self.sleep)(time).await;
    }

    /// Changes how the disk behaves.
    pub fn set_faults(&self, faults: Faults) {
        (self.faults)(faults);
    }
}

/// What a test does with a running node. Boxed, so that the engine is compiled here and not in every test.
type Script = Box<dyn FnOnce(NodeHandle, World) -> BoxFuture<'static, ()> + Send>;

/// Small, so that the state's log is pruned while a test looks.
const CACHES: Caches = Caches {
    page_cache: 1 << 20,
    init_cache: NZUsize!(64),
    init_buffer: NZUsize!(1 << 16),
    prune_every: NZUsize!(5),
};

/// Bounds of the pool.
const LIMITS: PoolLimits = PoolLimits {
    count: 1_024,
    bytes: 4 << 20,
};

/// A validator and its disk, through any number of power cuts.
pub struct Simulation {
    outline: Outline,
    vote_key: VoteKey,
    node_key: NodeKey,
    voted: Arc<AtomicBool>,
    disk: Option<Checkpoint>,
    seed: u64,
    start: SystemTime,
}

impl Simulation {
    /// A new validator with an empty disk.
    #[must_use]
    pub fn new(seed: u64, outline: Outline, vote_key: VoteKey, node_key: NodeKey) -> Self {
        Self {
            start: UNIX_EPOCH + Duration::from_millis(outline.created_ms()),
            outline,
            vote_key,
            node_key,
            voted: Arc::default(),
            disk: None,
            seed,
        }
    }

    /// Empties the disk, as if it was replaced; the vote key's note stays if `keep_note`.
    pub fn lose_disk(&mut self, keep_note: bool) {
        self.disk = None;
        self.seed = self.seed.wrapping_add(1);
        if !keep_note {
            self.voted.store(false, Ordering::SeqCst);
        }
    }

    /// Goes on in another epoch and with another vote key.
    pub fn recover(&mut self, outline: Outline, vote_key: VoteKey) {
        self.outline = outline;
        self.vote_key = vote_key;
        self.voted.store(false, Ordering::SeqCst);
    }

    fn runner(&mut self, faults: Faults) -> Runner {
        match self.disk.take() {
            Some(disk) => Runner::from(disk),
            None => Runner::new(
                Config::new()
                    .with_seed(self.seed)
                    .with_start_time(self.start)
                    .with_catch_panics(true)
                    .with_storage_fault_config(faults.config()),
            ),
        }
    }

    /// Runs the node with `script` until the script ends, then cuts the power. `None`: the node did not get ready; the
    /// second value says why it stopped, if it did.
    pub fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &mut self,
        faults: Faults,
        script: impl FnOnce(NodeHandle, World) -> F + Send + 'static,
    ) -> (Option<T>, Option<Stop>) {
        let out = Arc::new(Mutex::new(None));
        let result = out.clone();
        let script = Box::new(move |node, world| {
            let script = script(node, world);
            async move { *result.lock() = Some(script.await) }.boxed()
        });
        let stop = self.run_boxed(faults, script);
        let out = out.lock().take();
        (out, stop)
    }

    fn run_boxed(&mut self, faults: Faults, script: Script) -> Option<Stop> {
        let (handle, ends) = node::link(&self.outline, LIMITS);
        let link = handle.link.clone();
        let instructions = Instructions {
            outline: self.outline.clone(),
            vote_key: self.vote_key.clone(),
            node_key: self.node_key.clone(),
            voted: self.voted.load(Ordering::SeqCst),
            caches: CACHES,
            threads: NZUsize!(1),
            pool: link.pool.clone(),
            listen: None,
            addresses: HashMap::new(),
        };
        let voted = self.voted.clone();
        let runner = self.runner(faults);
        let (link, disk) = runner.start_and_recover(move |context| async move {
            *context.storage_fault_config().write() = faults.config();
            let slow = Arc::new(AtomicU64::new(faults.slow_ms.into()));
            let slow_disk = slow.clone();
            let (ready_sender, ready) = tokio::sync::oneshot::channel();
            let node = context.child("node").spawn(move |context| async move {
                let ready = move || {
                    let _ = ready_sender.send(());
                };
                let first_vote = move || voted.store(true, Ordering::SeqCst);
                let context = Disk::simulated(context, slow_disk, Place::default());
                let node = Keyed::new(instructions)?;
                let links = Links::<Tcp>::solo();
                Box::pin(run(context, node, ends, links, ready, first_vote)).await
            });
            let ended = context.child("end").spawn({
                let link = link.clone();
                move |_| async move { note_end(&link, node.await) }
            });
            // A disk that fails before the node is ready ends it, and with it the sender.
            let ready = ready.await.is_ok();
            if ready {
                script(handle, World::new(&context, slow)).await;
            } else {
                // Its value is in `link`, too.
                let _ = ended.await;
            }
            link
        });
        self.disk = Some(disk);
        link.stopped.get().cloned()
    }

    /// Writes blocks to an empty disk, as a restored backup.
    ///
    /// # Errors
    /// Why they are refused.
    pub fn import(&mut self, blocks: Vec<FinalBlock>) -> Result<Outline, ImportError> {
        let outline = self.outline.clone();
        let (result, disk) =
            self.runner(Faults::default())
                .start_and_recover(|context| async move {
                    let mut blocks = blocks.into_iter().map(Ok);
                    let context = Disk::simulated(context, Arc::default(), Place::default());
                    archive::write_all(context, outline, &mut blocks).await
                });
        self.disk = Some(disk);
        result.map(|imported| imported.outline)
    }

    /// Replays blocks on a disk of its own.
    ///
    /// # Errors
    /// The first difference.
    pub fn audit(&self, blocks: Vec<FinalBlock>) -> Result<Audit, AuditError> {
        let outline = Outline::new(
            self.outline.document().clone(),
            self.outline.epochs()[0].opening.1.clone(),
        )
        .map_err(BackupError::from)?;
        Runner::seeded(self.seed).start(|context| async move {
            let mut blocks = blocks.into_iter().map(Ok);
            let context = Disk::simulated(context, Arc::default(), Place::default());
            audit::replay(context, outline, &mut blocks, &mut |_| {}).await
        })
    }
}
