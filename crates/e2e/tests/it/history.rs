//! What clients were told while nodes were killed and lines cut, and whether all of it is true.
//!
//! Writers register keys, each at its node. Readers look them up, each at another node every time, with one anchor for all: as
//! a device does that is handed round. Watchers take down the hash of each block of each node. What contradicts what was said
//! before is a lie, and the first one ends the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kusabi_api::{
    HttpLedger, Ledger as _,
    verify::{Done, Trust, VerifyError, VerifyingLedger},
};
use kusabi_core::{
    anchor::AnchorError,
    checkpoint::CheckpointError,
    header::Header,
    id::{ChainId, Epoch, Handle, HeaderHash, Height, OrgName},
    proof::ProofError,
};
use tokio::sync::watch;

use crate::{
    consortium::{PATIENCE, has},
    middle::Chance,
    netns::Namespace,
    storm::Writer,
};

/// Until a client asks a node again that did not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Whom the clients speak with.
#[derive(Clone)]
pub(crate) struct Nodes {
    pub(crate) urls: Vec<String>,
    pub(crate) chain: ChainId,
    /// Whose keys are registered, signed by whom.
    pub(crate) org: OrgName,
    pub(crate) writer: Arc<Writer>,
}

/// For so long after a cut something may still end that was under way.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// How many there are of each.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    /// At each node.
    pub(crate) writers: usize,
    pub(crate) readers: usize,
    /// Keys below this number are on the ledger already, or may be.
    pub(crate) first: usize,
}

#[derive(Default)]
struct Seen {
    next: usize,
    /// What was said to be final, and by which node.
    acknowledged: Vec<(Handle, Height, usize)>,
    /// How long each took.
    took: Vec<Duration>,
    /// Registrations of which nothing is known: refused, not final in time, or cut off.
    open: usize,
    lookups: usize,
    /// Lookups that showed a key that was acknowledged before, as it was acknowledged.
    found: usize,
    /// Answers that a reader refused because it had seen newer ones: of nodes that were behind.
    older: usize,
    /// Lookups without an answer.
    unanswered: usize,
    /// The hash of each block, as the first node said it.
    blocks: BTreeMap<u64, HeaderHash>,
    /// The newest block that each node has told of.
    reached: Vec<u64>,
    compared: usize,
    lie: Option<String>,
}

struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<T>(&self, what: impl FnOnce(&mut Seen) -> T) -> T {
        let noted = what(&mut self.lock());
        self.changed.notify_all();
        noted
    }

    fn lie(&self, what: String) {
        self.note(|seen| seen.lie.get_or_insert(what).len());
    }

    /// A node's block, which has to be the one that others told of.
    fn block(&self, node: usize, height: u64, hash: HeaderHash) {
        let known = self.note(|seen| {
            seen.compared += 1;
            seen.reached[node] = seen.reached[node].max(height);
            *seen.blocks.entry(height).or_insert(hash)
        });
        if known != hash {
            self.lie(format!(
                "block {height} of node {node} is {hash}, and another node's is {known}"
            ));
        }
    }
}

/// Clients that are at it.
pub(crate) struct Clients {
    nodes: Nodes,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What they were told in all.
pub(crate) struct Told {
    /// What was said to be final, and where.
    pub(crate) acknowledged: Vec<(Handle, Height)>,
    /// The number of the next key that nobody has tried to register.
    pub(crate) next: usize,
    /// Lookups that showed a key as it was acknowledged.
    pub(crate) found: usize,
    /// Blocks, each of which was compared on all nodes.
    pub(crate) blocks: usize,
    pub(crate) compared: usize,
}

impl Clients {
    /// Sends clients to these nodes, from a namespace.
    pub(crate) fn send(from: &Namespace, nodes: Nodes, crowd: Crowd, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::new(Seen {
                next: crowd.first,
                reached: vec![0; nodes.urls.len()],
                ..Seen::default()
            }),
            changed: Condvar::new(),
        });
        let (stop, stopped) = watch::channel(false);
        let (at_it, whom) = (shared.clone(), nodes.clone());
        let thread = from.spawn(move || {
            runtime().block_on(work(at_it, whom, crowd, seed, stopped));
        });
        Self {
            nodes,
            shared,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits until it is so, at most for `PATIENCE`.
    fn wait(&self, for_what: &str, mut so: impl FnMut(&Seen) -> bool) -> Duration {
        let started = Instant::now();
        let seen = self.shared.lock();
        let goes_on = |seen: &mut Seen| seen.lie.is_none() && !so(seen);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(seen, PATIENCE, goes_on);
        let (seen, late) = waited.unwrap_or_else(PoisonError::into_inner);
        assert_eq!(seen.lie, None);
        assert!(!late.timed_out(), "{for_what}: not within {PATIENCE:?}");
        started.elapsed()
    }

    /// Registrations that were acknowledged so far by these nodes.
    pub(crate) fn acknowledged_by(&self, nodes: &[usize]) -> usize {
        let seen = self.shared.lock();
        let by = |(_, _, node): &&(Handle, Height, usize)| nodes.contains(node);
        seen.acknowledged.iter().filter(by).count()
    }

    /// Waits until so many more are acknowledged by these nodes: how long it took.
    pub(crate) fn some(&self, count: usize, nodes: &[usize]) -> Duration {
        let before = self.acknowledged_by(nodes);
        self.wait("registrations go on", |seen| {
            let by = |(_, _, node): &&(Handle, Height, usize)| nodes.contains(node);
            seen.acknowledged.iter().filter(by).count() >= before + count
        })
    }

    /// Sees to it that, once what was under way has ended, nothing is acknowledged for so long and no node has a new block: how
    /// long it took to come to rest.
    pub(crate) fn rest_for(&self, time: Duration) -> Duration {
        let state = |seen: &Seen| (seen.acknowledged.len(), seen.blocks.len());
        let started = Instant::now();
        loop {
            let began = started.elapsed();
            let seen = self.shared.lock();
            let before = state(&seen);
            let still = |seen: &mut Seen| seen.lie.is_none() && state(seen) == before;
            let waited = self.shared.changed.wait_timeout_while(seen, time, still);
            let (seen, quiet) = waited.unwrap_or_else(PoisonError::into_inner);
            assert_eq!(seen.lie, None);
            if quiet.timed_out() {
                return began;
            }
            let now = state(&seen);
            assert!(
                started.elapsed() < UNDER_WAY,
                "without a quorum {before:?} became {now:?} after {:?}",
                started.elapsed()
            );
        }
    }

    /// The newest block that any node has told of.
    pub(crate) fn newest(&self) -> u64 {
        self.shared.lock().reached.iter().copied().max().unwrap()
    }

    /// Waits until a node tells of this block, and so of all before it: how long it took.
    pub(crate) fn reaches(&self, node: usize, height: u64) -> Duration {
        self.wait(&format!("node {node} comes to block {height}"), |seen| {
            seen.reached[node] >= height
        })
    }

    /// Median and largest time from a registration to its acknowledgement among the last `count`, in the order of ending.
    pub(crate) fn times(&self, count: usize) -> [Duration; 2] {
        let seen = self.shared.lock();
        let mut last = seen.took[seen.took.len() - count..].to_vec();
        last.sort_unstable();
        [last[count / 2], last[count - 1]]
    }

    /// Sends them home, and has every node say once more, from its disk, what was acknowledged and which its blocks are.
    pub(crate) fn prove(mut self, from: &Namespace) -> Told {
        for node in 0..self.nodes.urls.len() {
            self.reaches(node, self.newest());
        }
        self.stop.send_replace(true);
        self.thread.take().unwrap().join().unwrap();
        let (shared, nodes) = (self.shared.clone(), self.nodes.clone());
        let proven = from.spawn(move || runtime().block_on(all_again(&shared, &nodes)));
        proven.join().unwrap();
        let seen = self.shared.lock();
        assert_eq!(seen.lie, None);
        let told = Told {
            acknowledged: seen
                .acknowledged
                .iter()
                .map(|(handle, height, _)| (*handle, *height))
                .collect(),
            next: seen.next + 1,
            found: seen.found,
            blocks: seen.blocks.len(),
            compared: seen.compared,
        };
        println!(
            "{} keys acknowledged and {} open; {} lookups: {} found, {} at nodes that were behind, {} not answered; {} blocks, \
             {} times compared",
            told.acknowledged.len(),
            seen.open,
            seen.lookups,
            told.found,
            seen.older,
            seen.unanswered,
            told.blocks,
            told.compared
        );
        told
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn work(
    shared: Arc<Shared>,
    nodes: Nodes,
    crowd: Crowd,
    seed: u64,
    mut stopped: watch::Receiver<bool>,
) {
    for node in 0..nodes.urls.len() {
        tokio::spawn(watch(node, nodes.clone(), shared.clone()));
        for _ in 0..crowd.writers {
            tokio::spawn(write(node, nodes.clone(), shared.clone()));
        }
    }
    for reader in 0..crowd.readers {
        let chance = Chance::new(seed.wrapping_add(reader as u64 + 1));
        tokio::spawn(read(nodes.clone(), chance, shared.clone()));
    }
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Until a node answers again, which it does not announce.
pub(crate) async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

async fn opened(url: &str, chain: &ChainId) -> VerifyingLedger<HttpLedger> {
    loop {
        let http = HttpLedger::new(url).unwrap();
        match VerifyingLedger::found(http, chain).await {
            Ok(ledger) => return ledger,
            Err(_) => pause().await,
        }
    }
}

async fn write(node: usize, nodes: Nodes, shared: Arc<Shared>) {
    let ledger = opened(&nodes.urls[node], &nodes.chain).await;
    loop {
        let number = shared.note(|seen| {
            seen.next += 1;
            seen.next
        });
        let (handle, register) = nodes.writer.register(&nodes.chain, &nodes.org, number);
        let began = Instant::now();
        let done = ledger.submit(register.into_bytes().into(), PATIENCE).await;
        match done {
            Ok(Done::Final { height, .. }) => shared.note(|seen| {
                seen.took.push(began.elapsed());
                seen.acknowledged.push((handle, height, node));
            }),
            Err(why) if refuses_lies(&why) => {
                shared.lie(format!("node {node} to a writer: {why}"));
            }
            Ok(Done::Pending(_)) | Err(_) => {
                shared.note(|seen| seen.open += 1);
                pause().await;
            }
        }
    }
}

/// Whether a client refuses an answer for another reason than that the node is behind.
fn refuses_lies(why: &VerifyError) -> bool {
    why.is_refusal() && !is_older(why)
}

/// Whether a node is behind what the client has seen: in height, or in the epoch.
fn is_older(why: &VerifyError) -> bool {
    let behind = |why: &CheckpointError| {
        matches!(
            why,
            CheckpointError::Anchor(AnchorError::BelowFloor | AnchorError::Epoch)
        )
    };
    match why {
        VerifyError::Proof(ProofError::Checkpoint(why)) | VerifyError::Checkpoint(why) => {
            behind(why)
        }
        _ => false,
    }
}

async fn read(nodes: Nodes, mut chance: Chance, shared: Arc<Shared>) {
    let first = opened(&nodes.urls[0], &nodes.chain).await;
    let mut trust: Trust = first.trust();
    let ledgers: Vec<_> = nodes
        .urls
        .iter()
        .map(|url| Arc::new(HttpLedger::new(url).unwrap()))
        .collect();
    let mut newest = (trust.anchor().epoch(), trust.anchor().height());
    loop {
        let about = shared.note(|seen| {
            let count = seen.acknowledged.len();
            (count > 0).then(|| seen.acknowledged[chance.below(count)])
        });
        let Some((handle, height, _)) = about else {
            pause().await;
            continue;
        };
        let node = chance.below(ledgers.len());
        let ledger = VerifyingLedger::new(ledgers[node].clone(), trust.clone());
        let answer = ledger.record(&handle).await;
        match answer {
            Ok(record) => {
                trust = ledger.trust();
                let at = (record.checkpoint().header().epoch, record.height());
                if at < newest {
                    shared.lie(format!(
                        "node {node} led a reader from {newest:?} to {at:?}"
                    ));
                }
                newest = at;
                let registered = record.value().as_ref().map(|record| record.registered());
                if record.height() >= height && registered != Some(height) {
                    shared.lie(format!(
                        "{handle} was acknowledged at {height}; node {node} at {}: {registered:?}",
                        record.height()
                    ));
                }
                shared.note(|seen| {
                    seen.lookups += 1;
                    seen.found += usize::from(registered == Some(height));
                });
            }
            Err(why) if is_older(&why) => shared.note(|seen| seen.older += 1),
            Err(why) if why.is_refusal() => {
                shared.lie(format!("node {node} to a reader: {why}"));
            }
            Err(_) => {
                shared.note(|seen| seen.unanswered += 1);
                pause().await;
            }
        }
    }
}

async fn hash(http: &HttpLedger, chain: &ChainId, height: Height) -> Option<HeaderHash> {
    let block = http.block(height).await.ok()?;
    let header = Header::decode(&block.header).ok()?;
    (header.height == height).then(|| header.hash(chain))
}

async fn watch(node: usize, nodes: Nodes, shared: Arc<Shared>) {
    let http = HttpLedger::new(&nodes.urls[node]).unwrap();
    let mut after = Height::ZERO;
    loop {
        if let Ok(mut events) = http.events(after).await {
            while let Some(Ok(block)) = events.next().await {
                let height = Height::new(block.height).unwrap();
                let Some(hash) = hash(&http, &nodes.chain, height).await else {
                    break;
                };
                shared.block(node, block.height, hash);
                after = height;
            }
        }
        pause().await;
    }
}

/// A node shows everything that was acknowledged.
async fn has_all(
    node: usize,
    ledger: &VerifyingLedger<HttpLedger>,
    acknowledged: &[(Handle, Height)],
) {
    let records = stream::iter(acknowledged).map(|(handle, height)| async move {
        let record = ledger.record(handle).await?;
        let registered = record.value().as_ref().map(|record| record.registered());
        assert_eq!(registered, Some(*height), "{handle} at node {node}");
        Ok::<_, VerifyError>(())
    });
    let told: Result<Vec<()>, _> = records.buffered(8).try_collect().await;
    told.unwrap_or_else(|why| panic!("node {node}: {why}"));
}

/// What a device trusts that was founded now, and has seen the newest block.
pub(crate) fn trust_of(from: &Namespace, nodes: &Nodes) -> Trust {
    let nodes = nodes.clone();
    let trusts = from.spawn(move || {
        runtime().block_on(async {
            let ledger = opened(&nodes.urls[0], &nodes.chain).await;
            ledger.checkpoint().await.unwrap();
            ledger.trust()
        })
    });
    trusts.join().unwrap()
}

/// That device finds all of this at each node, following the ledger to its present epoch: which that is.
pub(crate) fn finds_all(
    from: &Namespace,
    nodes: &Nodes,
    trust: Trust,
    acknowledged: &[(Handle, Height)],
) -> Epoch {
    let (nodes, acknowledged) = (nodes.clone(), acknowledged.to_vec());
    let found = from.spawn(move || {
        runtime().block_on(async {
            let mut trust = trust;
            for (node, url) in nodes.urls.iter().enumerate() {
                let ledger = VerifyingLedger::new(HttpLedger::new(url).unwrap(), trust);
                has_all(node, &ledger, &acknowledged).await;
                trust = ledger.trust();
            }
            trust.anchor().epoch()
        })
    });
    found.join().unwrap()
}

/// Everything that was acknowledged, and every block, at every node.
async fn all_again(shared: &Shared, nodes: &Nodes) {
    let acknowledged: Vec<_> = {
        let seen = shared.lock();
        let all = seen.acknowledged.iter();
        all.map(|(handle, height, _)| (*handle, *height)).collect()
    };
    let heights: BTreeSet<u64> = shared.lock().blocks.keys().copied().collect();
    let once: BTreeSet<_> = acknowledged.iter().map(|(handle, _)| handle).collect();
    assert_eq!(once.len(), acknowledged.len(), "each key once");
    let at_node = |(node, url): (usize, String)| {
        let (acknowledged, heights) = (&acknowledged, &heights);
        async move {
            // One that was behind comes there first.
            if let Some(newest) = acknowledged.iter().map(|(_, height)| *height).max() {
                has(&url, newest).await;
            }
            let ledger = opened(&url, &nodes.chain).await;
            has_all(node, &ledger, acknowledged).await;
            let http = ledger.unverified();
            let blocks = stream::iter(heights).map(|height| async move {
                let hash = hash(http, &nodes.chain, Height::new(*height).unwrap()).await;
                let hash = hash.unwrap_or_else(|| panic!("node {node} has no block {height}"));
                shared.block(node, *height, hash);
            });
            blocks.buffered(8).collect::<Vec<()>>().await;
        }
    };
    stream::iter(nodes.urls.clone().into_iter().enumerate())
        .map(at_node)
        .buffered(4)
        .collect::<Vec<()>>()
        .await;
}
