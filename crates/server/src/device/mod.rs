//! The device door: core's end of the device protocol (spec/device-protocol.md), driven by requests.
//!
//! ```text
//! http::device ─▶ Door::answer ─▶ greet   (handshakes: bounded, cookies, on threads of their own)
//!                             └─▶ serve   (messages) ─▶ at once, from memory: a poll when there is nothing new
//!                                                  └─▶ a task of its own: journal (disk), ledger, held polls
//! ```
//! - [`view`]: the ledger, as far as it must be at hand. [`fleet`]: the devices, likewise.
//! - [`journal`]: what is on disk before the answer goes out. [`contacts`]: what may be written a second later.
//! - [`freshness`]: nonces of devices on their way to the validators.
//! - [`report`]: inventories that devices signed; [`arriving`]: those of which a part has come.
//!
//! A quiet poll asks neither database nor ledger. Sessions live in this process only.

mod arriving;
mod contacts;
mod edge;
mod fleet;
mod follow;
mod freshness;
mod greet;
mod hold;
pub(crate) mod journal;
mod policy;
mod receipt;
mod report;
mod serve;
mod view;

pub(crate) use report::item;

use crate::App;
use kusabi_core::{
    id::{ChainId, Handle, OrgId, SessionId},
    keystore::SoftKey,
    protocol::{
        Time,
        frame::{AnswerFrame, Problem, RequestFrame},
    },
    server::{Limits, Sessions, door, redirect},
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

/// What is bounded, and how.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From so many handshakes at once on, a cookie is asked for.
    pub handshakes_calm: u32,
    /// So many handshakes at once are never exceeded.
    pub handshakes_max: u32,
    /// So many of them are computed at once.
    pub handshake_threads: usize,
    /// Polls that are held back at once.
    pub held_max: usize,
    /// Devices that wait for a freshness receipt at once.
    pub fresh_max: usize,
    /// Requests that are worked on at once, held ones apart.
    pub working_max: usize,
    /// Requests whose body is on its way.
    pub arriving_max: usize,
    /// Bytes of inventories that are on their way, together.
    pub report_bytes_max: usize,
    /// How long a device's record counts until it is proven anew, though no event of the ledger spoke of it.
    pub record_counts: Duration,
    /// Time to the next poll, in seconds.
    pub next_poll_secs: u32,
    /// Sessions.
    pub sessions: Limits,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            handshakes_calm: 256,
            handshakes_max: 1024,
            handshake_threads: std::thread::available_parallelism().map_or(2, usize::from),
            held_max: 30_000,
            fresh_max: 30_000,
            working_max: 2048,
            arriving_max: 8192,
            report_bytes_max: 256 << 20,
            record_counts: Duration::from_secs(600),
            next_poll_secs: 1800,
            sessions: Limits::default(),
        }
    }
}

/// The server's key with which it greets devices, of purpose ps.
#[derive(Clone, Debug)]
pub struct DoorKey {
    /// The ledger's chain.
    pub chain: ChainId,
    /// Handle of its record.
    pub handle: Handle,
    /// Its private half.
    pub key: Arc<SoftKey>,
}

/// Where the servers of other organisations are, for devices that came to them: addresses, of which devices believe nothing.
pub type Successors = HashMap<OrgId, Arc<str>>;

/// What it counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Handshakes that opened a session.
    pub welcomed: AtomicU64,
    /// Handshakes that were sent away for a cookie.
    pub retried: AtomicU64,
    /// Handshakes that found no room.
    pub busy: AtomicU64,
    /// Handshakes that could not be read.
    pub unreadable: AtomicU64,
    /// Handshakes that the ledger does not bear out.
    pub refused: AtomicU64,
    /// Handshakes of keys that were not at hand, for which the ledger was not asked now.
    pub put_off: AtomicU64,
    /// Enrolments that were looked at.
    pub enrolments: AtomicU64,
    /// Polls.
    pub polls: AtomicU64,
    /// Messages of all kinds, repeats left out.
    pub messages: AtomicU64,
    /// Freshness receipts that were carried to devices.
    pub receipts: AtomicU64,
    /// Questions for them: one for all who wait at the time.
    pub receipt_questions: AtomicU64,
    /// Polls that are held back now.
    pub held: AtomicU64,
    /// Sessions that are open, as of the last second.
    pub sessions: AtomicU64,
}

/// Sessions, and who waits for an answer in one.
struct Table {
    sessions: Sessions,
    waiters: HashMap<SessionId, Vec<oneshot::Sender<Vec<u8>>>>,
}

/// The device door of one server process.
pub struct Door {
    app: Arc<App>,
    key: DoorKey,
    bounds: Bounds,
    successors: Successors,
    began: Instant,
    gate: door::Door,
    greeting: AtomicU32,
    threads: Arc<Semaphore>,
    /// Turns to look for a hello's key in the database.
    knocking: Semaphore,
    /// Places for hellos of this fleet's keys that wait for the ledger.
    looking: Semaphore,
    held: Semaphore,
    working: Semaphore,
    arriving: Semaphore,
    table: Mutex<Table>,
    view: view::View,
    fleet: fleet::Fleet,
    /// Up to this number orders were looked at, and their devices told.
    orders: AtomicU64,
    journal: journal::Journal,
    contacts: contacts::Contacts,
    courier: freshness::Courier,
    reports: arriving::Arriving,
    counts: Arc<Counts>,
    stopping: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("key", &self.key.handle)
            .finish_non_exhaustive()
    }
}

/// Most copies of one request that wait for its answer.
const WAITERS_MAX: usize = 4;

/// How often sessions and contacts are looked through.
const TICK: Duration = Duration::from_secs(1);

impl Door {
    /// Opens the door: its tasks run until [`stop`](Self::stop).
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn start(
        app: Arc<App>,
        key: DoorKey,
        bounds: Bounds,
        successors: Successors,
    ) -> std::io::Result<Arc<Self>> {
        let secret = app.edge.random()?;
        let (journal, pending) = journal::Journal::new();
        let (stopping, stop) = watch::channel(false);
        let door = Arc::new(Self {
            gate: door::Door::new(secret, bounds.handshakes_calm, bounds.handshakes_max),
            key,
            bounds,
            successors,
            began: Instant::now(),
            greeting: AtomicU32::new(0),
            threads: Arc::new(Semaphore::new(bounds.handshake_threads.max(1))),
            knocking: Semaphore::new(greet::KNOCKING_MAX),
            looking: Semaphore::new(greet::LOOKING_MAX),
            held: Semaphore::new(bounds.held_max),
            working: Semaphore::new(bounds.working_max),
            arriving: Semaphore::new(bounds.arriving_max),
            table: Mutex::new(Table {
                sessions: Sessions::new(bounds.sessions),
                waiters: HashMap::new(),
            }),
            view: view::View::new(bounds.record_counts),
            fleet: fleet::Fleet::default(),
            orders: AtomicU64::new(0),
            journal,
            contacts: contacts::Contacts::default(),
            courier: freshness::Courier::new(bounds.fresh_max),
            reports: arriving::Arriving::new(bounds.report_bytes_max),
            counts: Arc::default(),
            stopping,
            tasks: Mutex::new(JoinSet::new()),
            app: Arc::clone(&app),
        });
        // The first door's; there is one in a server.
        let _ = door.app.door.set(Arc::clone(&door.counts));
        let mut tasks = door.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // It ends when nobody can ask it any more.
        drop(tokio::spawn(pending.run(app)));
        tasks.spawn(follow::ledger(Arc::clone(&door), stop.clone()));
        tasks.spawn(follow::orders(Arc::clone(&door), stop.clone()));
        tasks.spawn(freshness::carry(Arc::clone(&door), stop.clone()));
        tasks.spawn(tick(Arc::clone(&door), stop));
        drop(tasks);
        Ok(door)
    }

    /// Closes it: polls that are held back are answered, what is not on disk is written. New requests are told that it is busy.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        while tasks.join_next().await.is_some() {}
        self.contacts.write(&self.journal).await;
    }

    /// Waits until it knows the ledger from this height on, at least the first block: before that, devices are told to try elsewhere.
    pub async fn reached(&self, height: u64) {
        self.view.reached(height.max(1)).await;
    }

    /// A place among those whose request is on its way; `None`: there are too many.
    pub(crate) fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.arriving.try_acquire().ok()
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many sessions are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.table().sessions.len()
    }

    /// Answers a request from this address. Whatever it says, there is an answer.
    pub async fn answer(self: &Arc<Self>, source: IpAddr, request: &[u8]) -> Vec<u8> {
        let frame = match RequestFrame::decode(request) {
            Ok(frame) => frame,
            Err(kusabi_core::protocol::frame::FrameError::Version) => {
                return problem(Problem::Version, 0);
            }
            Err(_) => return problem(Problem::Malformed, 0),
        };
        if *self.stopping.borrow() {
            return problem(Problem::Busy, 1);
        }
        // Whoever knows the ledger no better than this must not speak for it.
        if self.view.fresh().is_none() {
            return problem(Problem::Behind, 30);
        }
        match frame {
            RequestFrame::Hello {
                suite,
                cookie,
                noise,
            } => self.hello(source, suite, cookie, noise).await,
            RequestFrame::Message {
                session,
                counter,
                sealed,
            } => self.message(session, counter, sealed).await,
            RequestFrame::Seek { epoch, .. } => self.seek(source, epoch).await,
        }
    }

    async fn seek(&self, source: IpAddr, epoch: kusabi_core::id::Epoch) -> Vec<u8> {
        let Some(seen) = self.view.fresh() else {
            return problem(Problem::Behind, 30);
        };
        if !self.view.has_way(epoch, seen.epoch) && self.app.strangers.share(source).is_err() {
            return problem(Problem::Busy, greet::BUSY_SECS);
        }
        match self.view.way(&self.app, epoch, seen.epoch).await {
            Ok(way) => redirect(
                way.iter().map(Vec::as_slice),
                self.key.handle,
                &seen.ps_proof,
            ),
            Err(why) => {
                tracing::warn!(%why, "the way from an older epoch cannot be shown");
                problem(Problem::Behind, 30)
            }
        }
    }

    fn now(&self) -> Time {
        Time::from_ms(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics between two halves of a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the door is closing.
    fn stops(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

/// Once a second: what was heard is written, what is over is forgotten.
async fn tick(door: Arc<Door>, mut stop: watch::Receiver<bool>) {
    let mut seconds: u64 = 0;
    while !wait(&mut stop, TICK).await {
        seconds += 1;
        door.contacts.write(&door.journal).await;
        door.counts.sessions.store(door.sessions() as u64, Relaxed);
        if seconds.is_multiple_of(60) {
            door.reports.expire(Instant::now());
            let now = door.now();
            door.table().sessions.expire(now);
        }
    }
}

/// Waits; true when the door is closing.
async fn wait(stop: &mut watch::Receiver<bool>, time: Duration) -> bool {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => true,
        () = tokio::time::sleep(time) => false,
    }
}

fn frame(frame: &AnswerFrame<'_>) -> Vec<u8> {
    use kusabi_core::cbor::ToCbor as _;
    frame.to_cbor_vec()
}

fn problem(problem: Problem, wait_secs: u16) -> Vec<u8> {
    frame(&AnswerFrame::Problem { problem, wait_secs })
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
