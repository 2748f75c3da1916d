//! A node without a vote, to which a script brings blocks.

use super::{CACHES, Faults, LIMITS, World, note_end};
use crate::{
    engine::{
        disk::{Disk, Place},
        follow::{Instructions, run},
        run::Outcome,
    },
    follower::{self, Feed},
    handle::{FinalBlock, NodeHandle, Stop},
    history::BadBlock,
    node,
    outline::Outline,
};
use commonware_runtime::{
    Spawner as _, Supervisor as _,
    deterministic::{Checkpoint, Config, Runner},
};
use commonware_utils::{NZUsize, sync::Mutex};
use futures::{FutureExt as _, future::BoxFuture};
use kusabi_core::id::Height;
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc, oneshot, watch};

/// The way of blocks into a follower.
pub struct Bring(Feed);

impl Bring {
    /// The height after the newest block that is kept, once what was kept is read; `None`: the follower stops.
    pub async fn next(&mut self) -> Option<Height> {
        self.0.next().await
    }

    /// Brings a block. Its verdict comes when it is on disk; without one the follower stops.
    pub async fn bring(
        &self,
        block: FinalBlock,
    ) -> Option<oneshot::Receiver<Result<(), BadBlock>>> {
        self.0.bring(block).await
    }
}

/// What a test does with a running follower. Boxed, so that the engine is compiled here and not in every test.
type Script = Box<dyn FnOnce(NodeHandle, Bring, World) -> BoxFuture<'static, ()> + Send>;

/// A follower and its disk, through any number of power cuts.
pub struct Follower {
    /// What its directory says.
    outline: Arc<Mutex<Outline>>,
    disk: Option<Checkpoint>,
    seed: u64,
    start: SystemTime,
}

impl Follower {
    /// A new one with an empty disk.
    #[must_use]
    pub fn new(seed: u64, outline: &Outline) -> Self {
        Self {
            start: UNIX_EPOCH + Duration::from_millis(outline.created_ms()),
            outline: Arc::new(Mutex::new(outline.until(0))),
            disk: None,
            seed,
        }
    }

    /// Runs it with `script` until the script ends, then cuts the power; the second value says why it stopped, if it did.
    pub fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &mut self,
        faults: Faults,
        script: impl FnOnce(NodeHandle, Bring, World) -> F + Send + 'static,
    ) -> (Option<T>, Option<Stop>) {
        let out = Arc::new(Mutex::new(None));
        let result = out.clone();
        let stop = self.run_boxed(
            faults,
            Box::new(move |node, bring, world| {
                let script = script(node, bring, world);
                async move { *result.lock() = Some(script.await) }.boxed()
            }),
        );
        let out = out.lock().take();
        (out, stop)
    }

    fn run_boxed(&mut self, faults: Faults, script: Script) -> Option<Stop> {
        let outline = self.outline.lock().clone();
        let (mut handle, ends) = node::link(&outline, LIMITS);
        let (_seen, following) = watch::channel(follower::unasked(&[]));
        handle.following = Some(following);
        let link = handle.link.clone();
        let (blocks, blocks_end) = mpsc::channel(follower::BLOCKS);
        let (kept, kept_end) = watch::channel(None);
        let bring = Bring(Feed::new(blocks, kept_end, ends.begun.clone()));
        let noted = self.outline.clone();
        let shared = link.clone();
        let instructions = Instructions {
            outline,
            caches: CACHES,
            threads: NZUsize!(1),
            pool: link.pool.clone(),
            blocks: blocks_end,
            kept,
            new_epoch: Box::new(move |outline, _| {
                *noted.lock() = outline.clone();
                shared.set_outline(outline);
                Ok(())
            }),
        };
        let runner = match self.disk.take() {
            Some(disk) => Runner::from(disk),
            None => Runner::new(
                Config::new()
                    .with_seed(self.seed)
                    .with_start_time(self.start)
                    .with_catch_panics(true)
                    .with_storage_fault_config(faults.config()),
            ),
        };
        let begun = ends.begun.clone();
        let (link, disk) = runner.start_and_recover(move |context| async move {
            *context.storage_fault_config().write() = faults.config();
            let slow = Arc::new(AtomicU64::new(faults.slow_ms.into()));
            let slow_disk = slow.clone();
            let node = context.child("node").spawn(move |context| async move {
                let context = Disk::simulated(context, slow_disk, Place::default());
                let ready = move || {
                    begun.send_replace(true);
                };
                Box::pin(run(context, instructions, ends, ready)).await
            });
            context.child("end").spawn({
                let link = link.clone();
                move |_| async move {
                    let ended = node.await;
                    note_end(&link, ended.map(|ended| ended.map(|()| Outcome::Asked)));
                }
            });
            script(handle, bring, World::new(&context, slow)).await;
            link
        });
        self.disk = Some(disk);
        link.stopped.get().cloned()
    }
}
