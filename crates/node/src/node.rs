//! Starts and stops a node: the engine on its own thread and runtime.

use crate::{
    directory::{Directory, DirectoryError, FollowerDirectory},
    engine::{self, Caches, EngineError, FollowInstructions, Instructions, Outcome},
    follower::{self, Feed, Follow, Source, Times},
    handle::{Keys, Link, NodeHandle, Stop},
    outline::Outline,
    pool::{Pool, PoolLimits},
};
use bytes::Bytes;
use std::{
    any::Any,
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread,
};
use tokio::sync::{mpsc, watch};

/// Lookups waiting at most.
const LOOKUPS: usize = 4_096;
/// Other questions waiting at most.
const QUERIES: usize = 256;
/// Nonces waiting for the second's batch at most.
const NONCES: usize = 16_384;

/// What the engine's storage errors are called in its last words.
const STORAGE_WORDS: [&str; 6] = [
    "Failed",
    "failed to sync",
    "io error",
    "Io(",
    "sync failed",
    CORRUPT,
];
/// The one of them that says what is on the disk, and not what the disk did.
const CORRUPT: &str = "Corrupt";

/// What a full disk is called there.
const FULL_WORDS: [&str; 3] = ["StorageFull", "No space left", "os error 28"];

/// What a node may be told beyond its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bounds of the pool.
    pub pool: PoolLimits,
    /// Memory for the state's pages and for starting.
    pub caches: Caches,
    /// Threads of the engine.
    pub threads: NonZeroUsize,
    /// Where it listens for the ledger's other nodes. Unless this says otherwise, at the port that the ledger names, on each of this
    /// machine's addresses. A lone validator listens nowhere.
    pub peers: Option<SocketAddr>,
    /// Addresses of other nodes that are not where the ledger says, `host:port` by node key.
    pub addresses: HashMap<[u8; 32], String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pool: PoolLimits {
                count: 65_536,
                bytes: 64 << 20,
            },
            caches: Caches::default(),
            threads: NonZeroUsize::new(2).unwrap_or(NonZeroUsize::MIN),
            peers: None,
            addresses: HashMap::new(),
        }
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its directory.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// It stopped before it could answer.
    #[error("{0}")]
    Stopped(Stop),
}

/// A node that runs on its own thread.
#[derive(Debug)]
pub struct Node {
    handle: NodeHandle,
    stopped: watch::Receiver<Option<Stop>>,
    thread: Option<thread::JoinHandle<()>>,
}

fn queue<T>(receiver: T) -> engine::Queue<T> {
    Arc::new(tokio::sync::Mutex::new(receiver))
}

/// Both ends of the queues between a handle and the engine.
pub(crate) fn link(outline: &Outline, limits: PoolLimits) -> (NodeHandle, engine::Ends) {
    let (ingest, ingest_end) = mpsc::unbounded_channel();
    let (lookups, lookups_end) = mpsc::channel(LOOKUPS);
    let (queries, queries_end) = mpsc::channel(QUERIES);
    let (nonces, nonces_end) = mpsc::channel(NONCES);
    let (newest_end, newest) = watch::channel(None);
    let (begun_end, begun) = watch::channel(false);
    let (pulse_end, pulse) = watch::channel(None);
    let (tally_end, tally) = watch::channel(None);
    let (heartbeat_end, heartbeat) = watch::channel(outline.heartbeat());
    let (stop, stop_end) = watch::channel(false);
    let link = Arc::new(Link::new(outline, Pool::new(limits)));
    let again = ingest.downgrade();
    let handle = NodeHandle {
        link,
        ingest,
        lookups,
        queries,
        nonces,
        newest,
        begun,
        pulse,
        tally,
        heartbeat,
        following: None,
        stop,
    };
    let ends = engine::Ends {
        ingest: queue(ingest_end),
        again,
        lookups: queue(lookups_end),
        queries: queue(queries_end),
        nonces: queue(nonces_end),
        newest: newest_end,
        begun: begun_end,
        pulse: pulse_end,
        tally: tally_end,
        heartbeat: heartbeat_end,
        stop: stop_end,
    };
    (handle, ends)
}

impl Node {
    /// Starts the engine and waits, blocking, until it answers: among others that takes a quorum the first time.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(directory: Directory, config: Config) -> Result<Self, StartError> {
        let mut node = Self::begin(directory, config)?;
        futures::executor::block_on(node.begun()).map_err(|stop| {
            node.join();
            StartError::Stopped(stop)
        })?;
        Ok(node)
    }

    /// Starts the engine and does not wait. It goes on through the epochs in which this node has a vote.
    ///
    /// # Errors
    /// [`StartError`]: what is known before the engine runs.
    pub fn begin(mut directory: Directory, config: Config) -> Result<Self, StartError> {
        directory.voter()?;
        directory.has_voted()?;
        let (handle, ends) = link(directory.outline(), config.pool);
        handle.link.set_keys(Keys::of(&directory)?);
        let begun = ends.begun.clone();
        let link = handle.link.clone();
        // The directory, and its lock, are given back before anyone is told.
        Self::on_thread(handle, move || {
            loop {
                let turned = match run(&directory, &config, &link, ends.clone(), &begun) {
                    Ok(opening) => opening,
                    Err(stop) => return stop,
                };
                if let Err(stop) = turn(&mut directory, &link, turned) {
                    return stop;
                }
            }
        })
    }

    /// Starts a node that follows `sources`, and does not wait. What is returned beside it has to run for as long as the node does:
    /// it brings the blocks.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn follow(
        directory: FollowerDirectory,
        config: &Config,
        sources: Arc<[Source]>,
        times: Times,
    ) -> Result<(Self, Follow), StartError> {
        let (mut handle, ends) = link(directory.outline(), config.pool);
        let (seen, following) = watch::channel(follower::unasked(&sources));
        handle.following = Some(following);
        let (blocks, blocks_end) = mpsc::channel(follower::BLOCKS);
        let (kept, kept_end) = watch::channel(None);
        let feed = Feed::new(blocks, kept_end, ends.begun.clone());
        let follow = Follow::new(sources, times, feed, handle.clone(), seen);
        let link = handle.link.clone();
        let (path, storage) = (directory.path().to_owned(), directory.engine());
        let outline = directory.outline().clone();
        let mut directory = directory;
        let noted = link.clone();
        let instructions = FollowInstructions {
            outline,
            caches: config.caches,
            threads: config.threads,
            pool: link.pool.clone(),
            blocks: blocks_end,
            kept,
            new_epoch: Box::new(move |outline, n| {
                let begun = directory.begin_epoch(outline, n);
                begun.map_err(|why| why.to_string())?;
                noted.set_outline(outline);
                Ok(())
            }),
        };
        let begun = ends.begun.clone();
        let seen = begun.clone();
        let ready = move || {
            begun.send_replace(true);
        };
        let node = Self::on_thread(handle, move || {
            let run = || engine::follow_on_disk(&storage, instructions, ends, ready);
            match caught(&path, &seen, run) {
                Ok(()) => Stop::Asked,
                Err(stop) => stop,
            }
        })?;
        Ok((node, follow))
    }

    /// Runs the engine on a thread of its own until it stops.
    fn on_thread(
        handle: NodeHandle,
        engine: impl FnOnce() -> Stop + Send + 'static,
    ) -> Result<Self, StartError> {
        let (stopped_sender, stopped) = watch::channel(None);
        let link = handle.link.clone();
        let thread = thread::Builder::new()
            .name("kusabi-engine".into())
            .spawn(move || {
                let stop = engine();
                let stop = link.stopped.get_or_init(|| stop).clone();
                link.pool.stop();
                stopped_sender.send_replace(Some(stop));
            })
            .map_err(|error| StartError::Stopped(Stop::Fault(error.to_string())))?;
        Ok(Self {
            handle,
            stopped,
            thread: Some(thread),
        })
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// Why it stopped before it did.
    pub async fn begun(&mut self) -> Result<(), Stop> {
        let mut begun = self.handle.begun.clone();
        tokio::select! {
            biased;
            stop = self.stopped() => Err(stop),
            Ok(_) = begun.wait_for(|begun| *begun) => Ok(()),
        }
    }

    /// A handle to it.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Waits until it has stopped, for whatever reason.
    pub async fn stopped(&mut self) -> Stop {
        match self.stopped.wait_for(Option::is_some).await {
            Ok(stop) => stop.clone().unwrap_or(Stop::Asked),
            Err(_) => Stop::Fault("the engine's thread is gone".into()),
        }
    }

    /// Waits, blocking, until it has stopped.
    pub fn join(&mut self) -> Stop {
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was caught there.
            let _ = thread.join();
        }
        let stop = self.stopped.borrow().clone();
        stop.unwrap_or_else(|| Stop::Fault("the engine's thread is gone".into()))
    }
}

/// Runs the engine in the newest epoch; gives the transaction that opens the next one, once this one has ended.
fn run(
    directory: &Directory,
    config: &Config,
    link: &Link,
    ends: engine::Ends,
    begun: &watch::Sender<bool>,
) -> Result<Bytes, Stop> {
    let refused = |why: DirectoryError| Stop::Storage(why.to_string());
    let instructions = Instructions {
        outline: directory.outline().clone(),
        vote_key: directory.voter().map_err(refused)?.clone(),
        node_key: directory.node_key().clone(),
        voted: directory.has_voted().map_err(refused)?,
        caches: config.caches,
        threads: config.threads,
        pool: link.pool.clone(),
        // Another port may have been appointed since the start.
        listen: config.peers.or_else(|| named_port(directory)),
        addresses: config.addresses.clone(),
    };
    let ready = {
        let begun = begun.clone();
        move || {
            begun.send_replace(true);
        }
    };
    let marker = directory.voted_marker();
    #[expect(
        clippy::panic,
        reason = "caught below, as the engine's own storage failures are"
    )]
    let first_vote = move || {
        if let Err(error) = marker.write() {
            panic!("{error}");
        }
    };
    let storage = directory.engine();
    let run = || engine::run_on_disk(&storage, instructions, ends, ready, first_vote);
    match caught(directory.path(), begun, run)? {
        Outcome::Asked => Err(Stop::Asked),
        Outcome::Turned(opening) => Ok(opening),
    }
}

/// Runs the engine on the files in a directory; an error says why it ended. What makes it panic before it has `begun`, and is no fault
/// of the disk, are its files: it reads them all by then.
fn caught<T>(
    directory: &Path,
    begun: &watch::Sender<bool>,
    engine: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, Stop> {
    match catch_unwind(AssertUnwindSafe(engine)) {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(EngineError::Ended)) => Err(why(directory, "a part of it ended")),
        Ok(Err(error)) => {
            if let EngineError::Store { why: said, .. } = &error
                && matches!(why(directory, said), Stop::DiskFull)
            {
                return Err(Stop::DiskFull);
            }
            Err(Stop::Refused(error))
        }
        Err(panic) => Err(match why(directory, &message(&*panic)) {
            Stop::Fault(said) if !*begun.borrow() => Stop::Refused(EngineError::Files(said)),
            Stop::Storage(said) if !*begun.borrow() && said.contains(CORRUPT) => {
                Stop::Refused(EngineError::Files(said))
            }
            stop => stop,
        }),
    }
}

/// Where the ledger says that other nodes reach this one: that port, on each of this machine's addresses, for a router may stand in
/// between. What is said to be on this machine is reached from this machine only.
#[must_use]
pub fn named_port(directory: &Directory) -> Option<SocketAddr> {
    let mine = directory.node_key().public();
    let nodes = &directory.outline().newest().nodes;
    let node = nodes.iter().find(|node| node.key == mine)?;
    if let Ok(named) = node.address.parse::<SocketAddr>()
        && named.ip().is_loopback()
    {
        return Some(named);
    }
    let (_, port) = node.address.rsplit_once(':')?;
    Some(SocketAddr::from((
        Ipv4Addr::UNSPECIFIED,
        port.parse().ok()?,
    )))
}

/// Writes down how the epoch ended. The engine does not run meanwhile.
fn turn(directory: &mut Directory, link: &Link, opening: Bytes) -> Result<(), Stop> {
    link.pool.turn();
    directory
        .open_epoch(opening)
        .map_err(|error| why(directory.path(), &error.to_string()))?;
    link.set_outline(directory.outline());
    let epoch = directory.outline().newest().number;
    if directory.voter().is_err() {
        return Err(Stop::Left(epoch));
    }
    let keys = Keys::of(directory).map_err(|error| why(directory.path(), &error.to_string()))?;
    link.set_keys(keys);
    tracing::info!(epoch = epoch.get(), "an epoch begins");
    Ok(())
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no reason given".into())
}

/// Whether words of the engine's storage, or of what it stands on, say that the disk is full.
fn is_full(what: &str) -> bool {
    FULL_WORDS.iter().any(|word| what.contains(word))
}

/// Bytes that a disk has room for which is not full: more than the engine writes at once where it begins a file.
const PROBE: usize = 4 << 20;

/// The engine gives up by panicking and its storage errors do not always keep their cause, so the disk is asked, too.
fn why(directory: &Path, what: &str) -> Stop {
    if is_full(what) {
        return Stop::DiskFull;
    }
    let probe = directory.join("probe");
    let written = std::fs::write(&probe, vec![0u8; PROBE]);
    // Best effort: a leftover is overwritten by the next probe.
    let _ = std::fs::remove_file(&probe);
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Stop::DiskFull,
        Err(error) => Stop::Storage(error.to_string()),
        Ok(()) if STORAGE_WORDS.iter().any(|word| what.contains(word)) => {
            Stop::Storage(what.to_owned())
        }
        Ok(()) => Stop::Fault(what.to_owned()),
    }
}
