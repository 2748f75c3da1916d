//! The daemon: a device of `kusabi-core`, its disk, its clock and its servers.
//!
//! ```text
//!            requests            ┌──────────┐  tasks        ┌────────┐
//! servers ←──────────── threads ←│  Heart   │──────────────→│ Worker │ downloads, updates, inventories
//!         ────────────→         →│ (Device) │←──────────────│        │
//!            answers             └──────────┘  what came    └────────┘
//! ```
//! [`heart`] does what the machine asks for, in its order ([`heed`]: what orders want; [`stocktake`]: its inventory; [`servers`]: whom it
//! asks); [`worker`] does what takes long. Both are without threads, so that
//! the tests run them on a simulated disk and cut the power between any two operations. [`Daemon::run`] puts them on threads.
//!
//! Everything that a power cut must not lose is in the key store and in the record of updates before anything relies on it.
//! Ending a daemon at any moment is therefore safe; ending it in order only spares the next start some work.

mod fetch;
mod heart;
mod heed;
mod http;
mod inventory;
mod net;
mod pace;
mod provision;
mod random;
mod receipts;
mod report;
mod servers;
mod stocktake;
mod stop;
mod store;
mod tls;
mod update;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kusabi_core::device::ProvisioningError;
use kusabi_core::id::{Digest, Handle, Height};
use kusabi_core::protocol::Time;
use kusabi_core::protocol::hello::Enrolment as EnrolmentStatus;
use kusabi_core::suite::Purpose;
use rustix::time::{ClockId, clock_gettime};

pub use http::Http;
pub use net::{Net, NetError, Sink};
pub use provision::{Enrolment, TOKEN_BYTES};
pub use stop::Stop;
pub use store::StoreError;
pub use tls::CaError;

use crate::config::Config;
use crate::disk::{self, Disk as _, Linux};
use crate::log::Log;
use crate::updater::{Machine, Record, UpdateError};
use heart::{Happened, Heart, Want};
use stop::Ring;
use store::Store;
use worker::{Task, Worked, Worker};

/// How long the end of a daemon waits for a task that is under way.
const ENDING: Duration = Duration::from_secs(10);
/// After the disk has refused, the daemon begins again from what is stored, after so long.
const BEGIN_AGAIN: Duration = Duration::from_secs(30);
/// Most requests whose threads have not ended yet; all but one were given up.
const THREADS_MAX: usize = 8;
const THREAD_STACK_BYTES: usize = 512 << 10;

/// Why a daemon does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// Another one does.
    #[error("another agent runs on {state}; stop it first (systemctl stop kusabi-agent)", state = state.display())]
    Running {
        /// The state directory.
        state: PathBuf,
    },
    /// There is neither a state nor a file to make one of.
    #[error("this device is not provisioned, and {path} is not there; copy its provisioning file to that path (mode 0600), or enrol the device: kusabi-agent enrol", path = path.display())]
    NotProvisioned {
        /// Where the file should be.
        path: PathBuf,
    },
    /// The file is refused.
    #[error("{path}: {error}", path = path.display())]
    Provisioning {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: ProvisioningError,
    },
    /// Others could read the file, and with it the device's key.
    #[error("{path} holds this device's key, and others may read it (mode {mode:04o}); if nobody did: chmod 600 {path}, else provision the device again", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is one for enrolments.
    #[error("{path} holds no key: it is the organisation's public file; enrol the device with it: kusabi-agent enrol --file {path} --token-file …", path = path.display())]
    PublicFile {
        /// The file.
        path: PathBuf,
    },
    /// The file is one device's own.
    #[error("{path} holds a device's key; enrolling needs the organisation's public file", path = path.display())]
    PrivateFile {
        /// The file.
        path: PathBuf,
    },
    /// The device has a record already.
    #[error("this device is on the ledger already; nothing is to be enrolled")]
    Enrolled,
    /// The token cannot be one.
    #[error("a token has 16 to 64 bytes; is the file the right one?")]
    Token,
    /// The label cannot be one.
    #[error("a label has at most 64 bytes and no control characters")]
    Label,
    /// The address needs what this build has not.
    #[error(
        "{url} needs TLS, and this agent was built without it; use an http:// address (the protocol protects itself), or build with the feature \"tls\""
    )]
    NoTls {
        /// The address.
        url: String,
    },
    /// The certificates of TLS's authorities.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The key store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The updater.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The disk refused.
    #[error("{path}: {error}", path = path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        #[source]
        error: io::Error,
    },
}

impl DaemonError {
    fn disk(path: &Path, error: io::Error) -> Self {
        let path = path.into();
        Self::Disk { path, error }
    }
}

/// How a single round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Once {
    /// A server answered a poll, and all that it brought was done.
    Done,
    /// The same, but an order failed or was refused.
    OrderFailed,
    /// The same, and the machine is to restart for an update, or an update waits to be tried again.
    Unfinished,
    /// No server answered a poll.
    Unreachable,
    /// The enrolment waits to be accepted.
    Waiting,
    /// The enrolment was refused.
    Refused,
    /// It was stopped.
    Stopped,
}

/// What a device is, for people. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Handle of the key that counts.
    pub handle: Handle,
    /// Its purpose: pre (factory key) or act (device key).
    pub purpose: Purpose,
    /// Whether it has a record on the ledger.
    pub registered: bool,
    /// The serial number, perhaps empty.
    pub serial: String,
    /// Server addresses.
    pub servers: Vec<String>,
    /// The newest height that was verified and stored.
    pub floor: Height,
    /// Its epoch.
    pub epoch: u64,
    /// The release that runs; none with the factory image.
    pub release: Option<Digest>,
    /// The device's counter.
    pub counter: u64,
    /// The update's phase.
    pub phase: &'static str,
    /// How long ago a server answered a poll, by this machine's clock, and which one.
    pub contact: Option<(Duration, String)>,
    /// Whether the device knows the present, as it said last, and how long ago that was; none before its first start.
    pub freshness: Option<(Duration, String)>,
}

/// An agent on a state directory, ready to run. No other one runs on it until this one and its threads have ended.
#[derive(Debug)]
pub struct Daemon {
    config: Arc<Config>,
    log: Log,
    lock: Arc<Lock>,
}

/// The state directory's lock: gone when the process is, whatever ends it.
#[derive(Debug)]
struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl Daemon {
    /// Locks the state directory and takes in the provisioning file, if it is the first start.
    ///
    /// # Errors
    /// [`DaemonError`]
    pub fn open(config: Config) -> Result<Self, DaemonError> {
        let log = Log::to_stderr(config.log);
        Self::open_with(config, log)
    }

    /// The same, with its lines going elsewhere.
    ///
    /// # Errors
    /// [`DaemonError`]
    pub fn open_with(config: Config, log: Log) -> Result<Self, DaemonError> {
        let daemon = Self::lock(config, log)?;
        provision::take_in(&Linux, &daemon.config, &daemon.log)?;
        daemon.check_addresses()?;
        Ok(daemon)
    }

    /// Locks the state directory and prepares the enrolment of a device that has no key yet; one that waits already goes on.
    ///
    /// # Errors
    /// [`DaemonError`]
    pub fn enrol(config: Config, enrolment: &Enrolment, log: Log) -> Result<Self, DaemonError> {
        let daemon = Self::lock(config, log)?;
        provision::enrol(&Linux, &daemon.config, enrolment, &daemon.log)?;
        daemon.check_addresses()?;
        Ok(daemon)
    }

    fn lock(config: Config, log: Log) -> Result<Self, DaemonError> {
        let state = &config.state;
        if Linux
            .node(state)
            .map_err(|error| DaemonError::disk(state, error))?
            .is_none()
        {
            Linux
                .make_dir(state, 0o700)
                // Before anything in it is relied on.
                .and_then(|()| Linux.sync_dir(disk::folder(state)))
                .map_err(|error| DaemonError::disk(state, error))?;
        }
        let path = config.lock_file();
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| DaemonError::disk(&path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let state = state.clone();
                return Err(DaemonError::Running { state });
            }
            Err(TryLockError::Error(error)) => return Err(DaemonError::disk(&path, error)),
        }
        Ok(Self {
            config: Arc::new(config),
            log,
            lock: Arc::new(Lock(file)),
        })
    }

    fn check_addresses(&self) -> Result<(), DaemonError> {
        let profile = Store::open(Linux, &self.config)?.profile()?;
        let mut urls = profile
            .addresses
            .iter()
            .chain(&self.config.server.addresses);
        urls.try_for_each(|url| speaks(url))
    }

    /// Runs until `stop` is rung.
    ///
    /// # Errors
    /// [`DaemonError`] at the start; later the daemon goes on trying, and says so.
    pub fn run(self, stop: &Stop) -> Result<(), DaemonError> {
        let net = Http::new(&self.config.server)?.limited(self.config.bytes_per_s);
        self.run_until(stop, net, false, |_, _| None).map(|_| ())
    }

    /// One poll, with everything that it brings.
    ///
    /// # Errors
    /// [`DaemonError`]
    pub fn once(self, stop: &Stop) -> Result<Once, DaemonError> {
        let net = Http::new(&self.config.server)?.limited(self.config.bytes_per_s);
        let ended = self.run_until(stop, net, true, once)?;
        Ok(ended.unwrap_or(Once::Stopped))
    }

    /// Asks to be enrolled until that is decided.
    ///
    /// # Errors
    /// [`DaemonError`]
    pub fn wait_for_enrolment(self, stop: &Stop) -> Result<Once, DaemonError> {
        let net = Http::new(&self.config.server)?.limited(self.config.bytes_per_s);
        let ended = self.run_until(stop, net, false, |heart, _| {
            let seen = heart.seen();
            if seen.enrolled {
                Some(Once::Done)
            } else if seen.enrolment == Some(EnrolmentStatus::Refused) {
                Some(Once::Refused)
            } else {
                None
            }
        })?;
        Ok(ended.unwrap_or(Once::Stopped))
    }

    fn run_until(
        self,
        stop: &Stop,
        net: Http,
        once: bool,
        ended: impl Fn(&Heart<Linux>, Time) -> Option<Once>,
    ) -> Result<Option<Once>, DaemonError> {
        let net: Arc<dyn Net> = Arc::new(net);
        let (happened, heard) = mpsc::channel();
        stop.listen(happened.clone(), |ring| match ring {
            Ring::Poll => Message::Happened(0, Happened::Poll),
            Ring::Stop => Message::Stop,
        });
        let update = self.config.update.as_ref();
        let machine = update.map(|update| Machine::new(update.boot_id.clone()));
        let machine = machine.unwrap_or_default().with_log(self.log.clone());
        if let Some(Err(why)) = update.map(|update| update.updater.programs_are_there()) {
            let values: [(&str, &dyn std::fmt::Display); 1] = [("why", &why)];
            self.log.error("no release can be installed", &values);
        }
        let begun = since_boot();
        let worker = Worker::open(
            Linux,
            Arc::clone(&self.config),
            Arc::clone(&net),
            stop.clone(),
            machine,
            Box::new(move || since(begun)),
        )?;
        let record = worker.record();
        let (tasks, worker) = work(worker, happened.clone(), Arc::clone(&self.lock));
        let mut runner = Runner {
            tasks: Some(tasks),
            worker: Some(worker),
            config: self.config,
            log: self.log,
            net,
            happened,
            heard,
            begun,
            life: 0,
            threads: Arc::default(),
            working: false,
        };
        let mut last = record;
        loop {
            let result = runner.live(stop, &mut last, once, &ended);
            match result {
                Ok(end) => {
                    runner.finish();
                    return Ok(end);
                }
                Err(error) if once || runner.life == 0 => {
                    runner.finish();
                    return Err(error);
                }
                Err(error) => {
                    runner.log.error(
                        "what has to be kept cannot be stored; it begins again from what is",
                        &[("why", &error)],
                    );
                    if runner.pause(stop) {
                        runner.finish();
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// What a device is, without stopping the agent that runs.
    ///
    /// # Errors
    /// [`DaemonError`]
    pub fn status(config: &Config) -> Result<Status, DaemonError> {
        let store = Store::open(Linux, config)?;
        let Some(kept) = store.kept()? else {
            let path = config.provisioning.clone();
            return Err(DaemonError::NotProvisioned { path });
        };
        let profile = store.profile()?;
        let path = config.update_file();
        let record = match Linux
            .read(&path, Record::BYTES_MAX)
            .map_err(|error| DaemonError::disk(&path, error))?
        {
            None => Record::default(),
            Some(bytes) => Record::decode(&bytes).map_err(|_| UpdateError::Record { path })?,
        };
        let contact = noted(&config.contact_file());
        let freshness = noted(&config.freshness_file());
        let current = kept.current();
        Ok(Status {
            handle: current.handle,
            purpose: current.purpose,
            registered: kept.is_registered(),
            serial: profile.serial,
            servers: if config.server.addresses.is_empty() {
                profile.addresses
            } else {
                config.server.addresses.clone()
            },
            floor: kept.trust().floor().height,
            epoch: kept.trust().floor().epoch.get(),
            release: record.running,
            counter: record.counter,
            phase: record.phase.name(),
            contact,
            freshness,
        })
    }

    /// What a configuration leads to: whether this device has its update system, and its state or a provisioning file that is in
    /// order.
    ///
    /// # Errors
    /// [`DaemonError`]
    pub fn check(config: &Config) -> Result<(), DaemonError> {
        for url in &config.server.addresses {
            speaks(url)?;
        }
        Http::new(&config.server)?;
        if let Some(update) = &config.update {
            update.updater.check(&config.state)?;
        }
        let store = Store::open(Linux, config)?;
        if store.kept()?.is_some() {
            store.profile()?;
            return Ok(());
        }
        match provision::look(&Linux, &config.provisioning)? {
            Some(provisioning) if provisioning.key.is_some() => Ok(()),
            Some(_) => Err(DaemonError::PublicFile {
                path: config.provisioning.clone(),
            }),
            None => Err(DaemonError::NotProvisioned {
                path: config.provisioning.clone(),
            }),
        }
    }
}

/// A line that the agent left for whoever only looks, and its age by this machine's clock.
fn noted(path: &Path) -> Option<(Duration, String)> {
    let at = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    Some((at.ok()?.elapsed().unwrap_or_default(), text))
}

/// How long ago the machine was started, the time in which it was suspended included: what a server showed before that is of the past.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn since(begun: Duration) -> Time {
    let ms = since_boot().saturating_sub(begun).as_millis();
    Time::from_ms(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// Whether this build can speak to an address.
fn speaks(url: &str) -> Result<(), DaemonError> {
    if url.starts_with("https://") && !cfg!(feature = "tls") {
        return Err(DaemonError::NoTls { url: url.into() });
    }
    Ok(())
}

/// What reaches the runner's thread.
enum Message {
    /// In this life; 0 in every one.
    Happened(u64, Happened),
    Stop,
}

/// Puts a heart's wants on threads.
struct Runner {
    config: Arc<Config>,
    log: Log,
    net: Arc<dyn Net>,
    tasks: Option<Sender<(u64, Task)>>,
    worker: Option<JoinHandle<()>>,
    happened: Sender<Message>,
    heard: Receiver<Message>,
    begun: Duration,
    /// How often it has begun from what is stored. What came of an earlier life's tasks means nothing.
    life: u64,
    threads: Arc<AtomicUsize>,
    working: bool,
}

impl Runner {
    fn now(&self) -> Time {
        since(self.begun)
    }

    /// From what is stored until the end, or until something cannot be stored.
    fn live(
        &mut self,
        stop: &Stop,
        record: &mut Record,
        once: bool,
        ended: &impl Fn(&Heart<Linux>, Time) -> Option<Once>,
    ) -> Result<Option<Once>, DaemonError> {
        let config = Arc::clone(&self.config);
        let now = self.now();
        let heart = Heart::open(Linux, config, self.log.clone(), record.clone(), once, now)?;
        let path = &self.config.provisioning;
        let mut heart = heart.ok_or_else(|| DaemonError::NotProvisioned { path: path.clone() })?;
        self.life += 1;
        if self.life == 1 {
            self.introduce(&heart);
        }
        let mut happened = Happened::Tick;
        loop {
            if stop.is_stopped() {
                return Ok(None);
            }
            heart.handle(self.now(), happened)?;
            for want in heart.wants() {
                match want {
                    Want::Work(task) => {
                        self.working = true;
                        if let Some(tasks) = &self.tasks {
                            // The worker's thread ends after this one.
                            let _ = tasks.send((self.life, task));
                        }
                    }
                    Want::Send {
                        sending,
                        url,
                        request,
                        within_ms,
                        instead,
                    } => {
                        if instead {
                            self.net.give_up();
                        }
                        self.send(sending, url, request, Duration::from_millis(within_ms));
                    }
                }
            }
            if let Some(end) = ended(&heart, self.now()) {
                return Ok(Some(end));
            }
            happened = loop {
                let wait = Duration::from_millis(heart.wake().since_ms(self.now()));
                match self.heard.recv_timeout(wait) {
                    Ok(Message::Happened(life, happened)) => {
                        self.working &= !matches!(happened, Happened::Worked(_));
                        if let Happened::Worked(Worked::Step(_, now) | Worked::Failed(_, _, now)) =
                            &happened
                        {
                            record.clone_from(now);
                        }
                        if life == self.life || life == 0 {
                            break happened;
                        }
                    }
                    Ok(Message::Stop) => return Ok(None),
                    Err(RecvTimeoutError::Timeout) => break Happened::Tick,
                    Err(RecvTimeoutError::Disconnected) => return Ok(None),
                }
            };
        }
    }

    fn introduce(&self, heart: &Heart<Linux>) {
        let kept = heart.device().kept();
        let (current, floor) = (kept.current(), kept.trust().floor());
        let servers = heart.addresses().join(" ");
        self.log.info(
            "started",
            &[
                ("version", &env!("CARGO_PKG_VERSION")),
                ("handle", &current.handle),
                ("purpose", &current.purpose),
                ("serial", &heart.profile().serial),
                ("floor", &floor.height.get()),
                ("servers", &servers),
            ],
        );
    }

    /// Sends on a thread of its own: a request that nobody waits for any more must not hold up the next one.
    fn send(&self, sending: u64, url: String, request: Vec<u8>, within: Duration) {
        let (net, happened) = (Arc::clone(&self.net), self.happened.clone());
        let threads = Arc::clone(&self.threads);
        let life = self.life;
        let answered = move |answer| {
            let happened_now = Happened::Answered { sending, answer };
            // The runner may have ended meanwhile.
            let _ = happened.send(Message::Happened(life, happened_now));
        };
        if threads.fetch_add(1, Ordering::SeqCst) >= THREADS_MAX {
            threads.fetch_sub(1, Ordering::SeqCst);
            answered(Err(NetError::Unreachable(
                "too many requests have not ended yet".into(),
            )));
            return;
        }
        let refused = answered.clone();
        let counted = Arc::clone(&threads);
        let spawned = thread::Builder::new()
            .name("ask".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                let answer = net.ask(&url, &request, within);
                threads.fetch_sub(1, Ordering::SeqCst);
                answered(answer);
            });
        if let Err(error) = spawned {
            counted.fetch_sub(1, Ordering::SeqCst);
            refused(Err(NetError::Unreachable(error.to_string())));
        }
    }

    /// Waits before the next life; true when it was stopped meanwhile.
    fn pause(&mut self, stop: &Stop) -> bool {
        let until = Instant::now() + BEGIN_AGAIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok(Message::Happened(_, Happened::Worked(_))) => self.working = false,
                Ok(Message::Happened(..)) => {}
                Ok(Message::Stop) => return true,
                Err(_) => return stop.is_stopped(),
            }
        }
    }

    /// Ends requests, and waits a little for a task that is under way: a restart spares itself work then.
    fn finish(&mut self) {
        self.net.stop();
        let until = Instant::now() + ENDING;
        while self.working {
            let left = until.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok(Message::Happened(_, Happened::Worked(_))) => self.working = false,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.tasks = None;
        if let Some(worker) = self.worker.take()
            && !self.working
        {
            // It has nothing left to do. What it panicked of was said by the panic.
            let _ = worker.join();
        }
        self.log.info("stopped", &[]);
    }
}

/// Starts the worker's thread. It keeps the state directory locked until it has ended.
fn work(
    mut worker: Worker<Linux, Machine>,
    happened: Sender<Message>,
    lock: Arc<Lock>,
) -> (Sender<(u64, Task)>, JoinHandle<()>) {
    let (tasks, next) = mpsc::channel::<(u64, Task)>();
    let thread = thread::spawn(move || {
        let _locked = lock;
        for (life, task) in next {
            let worked = worker.work(&task);
            if happened
                .send(Message::Happened(life, Happened::Worked(worked)))
                .is_err()
            {
                break;
            }
        }
    });
    (tasks, thread)
}

/// How a single round has ended, if it has.
fn once(heart: &Heart<Linux>, now: Time) -> Option<Once> {
    let seen = heart.seen();
    if seen.down {
        return Some(Once::Unfinished);
    }
    if !heart.is_at_rest(now) {
        return None;
    }
    let kept = heart.device().kept();
    if !kept.is_registered() && seen.enrolment.is_some() {
        return Some(match seen.enrolment {
            Some(EnrolmentStatus::Refused) => Once::Refused,
            _ => Once::Waiting,
        });
    }
    if seen.polls == 0 {
        let tried = usize::try_from(seen.troubles).unwrap_or(usize::MAX);
        return (tried >= heart.addresses().len()).then_some(Once::Unreachable);
    }
    Some(if heart.is_unfinished() {
        Once::Unfinished
    } else if seen.failed > 0 {
        Once::OrderFailed
    } else {
        Once::Done
    })
}
