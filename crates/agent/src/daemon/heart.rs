//! The conversation with the server, and what follows from it: inputs of the machine in, its outputs done, in order.
//!
//! No thread, clock or socket is in here. [`Heart::handle`] takes what happened and leaves what is wanted in
//! [`Heart::wants`]; whoever runs it sends requests and works on tasks as he likes, and says what came of them.

use std::collections::VecDeque;
use std::sync::Arc;

use arrayvec::{ArrayString, ArrayVec};
use kusabi_core::device::{
    Device, DeviceError, Event, Gate, Input, Output, Settings, SignedReceipt,
};
use kusabi_core::id::{Digest, KusabiId};
use kusabi_core::inventory::InventorySummary;
use kusabi_core::keystore::Seed;
use kusabi_core::protocol::Time;
use kusabi_core::protocol::hello::Enrolment;
use kusabi_core::protocol::reply::Order;
use kusabi_core::protocol::request::{Facts, OutcomeCode};
use rand_core::Rng as _;

use super::net::NetError;
use super::random::Random;
use super::report::{Report, Wanted};
use super::servers::urls;
use super::store::{Profile, Store, StoreError};
use super::update::Update;
use super::worker::{Task, Worked};
use crate::config::Config;
use crate::disk::Disk;
use crate::log::Log;
use crate::updater::{Phase, Record};

/// Longest wait that a busy server can ask for before the machine's own time limit.
const RETRY_AFTER_S_MAX: u32 = 3600;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Happened {
    /// Time has passed.
    Tick,
    /// A request was answered, or was not.
    Answered {
        /// Its number.
        sending: u64,
        /// The answer.
        answer: Result<Vec<u8>, NetError>,
    },
    /// Someone wants a poll now.
    Poll,
    /// A task has ended.
    Worked(Worked),
}

/// Something that is wanted.
#[derive(Debug)]
pub(crate) enum Want {
    /// Send this request. If `instead`, nobody waits for the last one any more.
    Send {
        sending: u64,
        url: String,
        request: Vec<u8>,
        within_ms: u64,
        instead: bool,
    },
    /// Work on this. There is never more than one.
    Work(Task),
}

/// An input for the machine, given once its outputs are done.
pub(super) enum Feed {
    KeyMade,
    Lost,
    Facts,
    Poll,
    Ready(Gate, Digest),
    Outcome(Order, OutcomeCode),
    ReportPart,
    Reach,
}

/// An output that means more than something to be done at once.
enum Due {
    Event(Event),
    Install(Digest, u64, bool),
    Go(Gate, Digest),
    Hint(String),
    Receipt(Box<SignedReceipt>),
}

/// What has happened since the start, for `--once` and `enrol`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Polls answered.
    pub(crate) polls: u32,
    /// Attempts that came to nothing since the last poll that was answered.
    pub(crate) troubles: u32,
    /// How an enrolment stands.
    pub(crate) enrolment: Option<Enrolment>,
    /// The enrolled key stands on the ledger.
    pub(crate) enrolled: bool,
    /// Orders that did not end well.
    pub(crate) failed: u32,
    /// The machine is to go down for an update.
    pub(crate) down: bool,
}

/// The conversation; see the module.
pub(crate) struct Heart<D> {
    pub(super) disk: D,
    pub(super) config: Arc<Config>,
    pub(super) log: Log,
    pub(super) store: Store<D>,
    pub(super) device: Device,
    pub(super) random: Random,
    profile: Profile,
    /// One for each of the machine's servers: those that the device was given, and one that a server named.
    pub(super) urls: Vec<String>,
    /// How many of them it was given.
    pub(super) given: usize,
    pub(super) feeds: VecDeque<Feed>,
    due: VecDeque<Due>,
    wants: Vec<Want>,
    wake: Time,
    /// Index of the address that was used last.
    pub(super) server: usize,
    sending: u64,
    in_flight: bool,
    /// A server asked for patience: only then the request counts as lost.
    lost_at: Option<Time>,
    /// With `--once` nothing is said before the inventory is taken.
    silent: bool,
    pub(super) record: Record,
    /// How far an update came is known.
    pub(super) resumed: bool,
    pub(super) resume_at: Option<Time>,
    pub(super) update: Option<Update>,
    /// Orders that wait for the update that is under way.
    pub(super) queue: VecDeque<super::store::UpdateOrder>,
    pub(super) tasks: VecDeque<Task>,
    pub(super) busy: Option<&'static str>,
    /// The inventory that was taken last, of the release that runs.
    pub(super) taken: Option<InventorySummary>,
    pub(super) inventory_at: Time,
    /// When every file is read.
    full_at: Time,
    pub(super) report: Option<Report>,
    pub(super) wanted: VecDeque<Wanted>,
    /// A poll was asked for because a report needs a session.
    pub(super) calling: bool,
    pub(super) contact: Option<Time>,
    pub(super) seen: Seen,
}

impl<D: Disk + Clone> Heart<D> {
    /// A device that goes on with what is stored; `None` before it was provisioned.
    pub(crate) fn open(
        disk: D,
        config: Arc<Config>,
        log: Log,
        record: Record,
        once: bool,
        now: Time,
    ) -> Result<Option<Self>, StoreError> {
        let mut store = Store::open(disk.clone(), &config)?;
        let Some(mut kept) = store.kept()? else {
            return Ok(None);
        };
        let profile = store.profile()?;
        let settings = settings(&config, &profile, &store, once);
        let (urls, given) = urls(&config, &profile, store.hint(), &mut kept);
        let random = store.random()?;
        let mut heart = Self {
            device: Device::start(settings, kept, now),
            store,
            random,
            profile,
            urls,
            given,
            // Which address was named last, the machine does not keep.
            feeds: VecDeque::from([Feed::Facts, Feed::Reach]),
            due: VecDeque::new(),
            wants: Vec::new(),
            wake: now,
            server: 0,
            sending: 0,
            in_flight: false,
            lost_at: None,
            silent: once,
            record,
            resumed: false,
            resume_at: None,
            update: None,
            queue: VecDeque::new(),
            tasks: VecDeque::from([Task::Resume]),
            busy: None,
            taken: None,
            inventory_at: now,
            full_at: now,
            report: None,
            wanted: VecDeque::new(),
            calling: false,
            contact: None,
            seen: Seen::default(),
            disk,
            config,
            log,
        };
        heart.inventory_at = now.plus_ms(heart.inventory_ms());
        heart.full_at = now.plus_ms(heart.full_ms());
        heart.take_inventory(false);
        // What was known before the start is not known now.
        heart.note_freshness();
        Ok(Some(heart))
    }

    /// Takes something that happened. What is wanted then lies in [`wants`](Self::wants).
    ///
    /// # Errors
    /// What the machine wanted stored was not stored: drop all this, and open it again.
    pub(crate) fn handle(&mut self, now: Time, happened: Happened) -> Result<(), StoreError> {
        match happened {
            Happened::Tick => {}
            Happened::Poll => self.feeds.push_back(Feed::Poll),
            Happened::Answered { sending, answer } => {
                if sending == self.sending && self.in_flight {
                    self.answered(now, answer)?;
                }
            }
            Happened::Worked(worked) => {
                self.busy = None;
                self.worked(now, worked)?;
            }
        }
        self.look_at_the_clock(now)?;
        // What runs on trial is heard before its inventory is taken.
        self.silent &= self.busy.is_some() || self.next_task().is_some();
        if !self.silent {
            // Time alone is never refused.
            let _ = self.give(now, Input::Tick)?;
            self.settle(now)?;
        }
        if self.busy.is_none()
            && let Some(task) = self.next_task().and_then(|at| self.tasks.remove(at))
        {
            self.busy = Some(task.name());
            if let Task::Inventory { full } = task {
                for wanted in &mut self.wanted {
                    wanted.walk_begins(full);
                }
            }
            self.log.debug("task", &[("name", &task.name())]);
            self.wants.push(Want::Work(task));
        }
        Ok(())
    }

    /// What is wanted, in order.
    pub(crate) fn wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wants)
    }

    /// When something has to be handled at the latest.
    pub(crate) fn wake(&self) -> Time {
        let mut wake = self.inventory_at.min(self.full_at);
        if !self.silent {
            wake = wake.min(self.wake);
        }
        for at in [self.lost_at, self.resume_at, self.update_wake()] {
            wake = at.map_or(wake, |at| wake.min(at));
        }
        wake
    }

    /// What has happened since the start.
    pub(crate) const fn seen(&self) -> &Seen {
        &self.seen
    }

    pub(crate) const fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(crate) const fn device(&self) -> &Device {
        &self.device
    }

    /// Whether nothing goes on before the next poll; or nothing can, for every address was tried in vain.
    pub(crate) fn is_at_rest(&self, now: Time) -> bool {
        let still = !self.silent
            && !self.in_flight
            && self.busy.is_none()
            && self.next_task().is_none()
            && self.wake.since_ms(now) > 3_000;
        let tried = usize::try_from(self.seen.troubles).unwrap_or(usize::MAX);
        let moving = self.update.as_ref().is_some_and(Update::is_moving);
        // Before the first poll there is nobody to report to.
        let reports = !self.wanted.is_empty() && self.seen.polls > 0 && self.is_settled();
        still && (tried >= self.urls.len() || !(moving || self.owes() || reports))
    }

    /// Whether a server is to be told something yet.
    fn owes(&self) -> bool {
        self.device.untold() > 0 || self.report.is_some()
    }

    /// Whether something of what was ordered is left for another time.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.update.is_some() || self.owes()
    }

    pub(super) fn task(&mut self, task: Task) {
        self.tasks.push_back(task);
    }

    /// Whether it is settled which release runs: with an update under way, the disk may hold what the record does not say yet.
    pub(super) fn is_settled(&self) -> bool {
        self.record.phase == Phase::Idle
    }

    /// The task that is worked on next. An inventory waits until it is known whose it is.
    fn next_task(&self) -> Option<usize> {
        let settled = self.is_settled();
        let mut tasks = self.tasks.iter();
        tasks.position(|task| settled || !matches!(task, Task::Inventory { .. }))
    }

    /// 90 to 110 per cent of a time.
    pub(super) fn jitter(&mut self, ms: u64) -> u64 {
        let tenth = ms / 10;
        ms - tenth + self.random.next_u64() % (2 * tenth + 1)
    }

    fn answered(&mut self, now: Time, answer: Result<Vec<u8>, NetError>) -> Result<(), StoreError> {
        self.in_flight = false;
        match answer {
            Ok(mut bytes) => match self.give(now, Input::Answer(&mut bytes))? {
                Ok(()) => {}
                Err(error) => {
                    // Nothing else will come to this request.
                    self.seen.troubles += 1;
                    self.log.warn(
                        "answer refused",
                        &[
                            ("server", &self.url()),
                            ("code", &error.code()),
                            ("why", &error),
                        ],
                    );
                    self.feeds.push_back(Feed::Lost);
                }
            },
            Err(error) => {
                self.log
                    .debug("no answer", &[("server", &self.url()), ("why", &error)]);
                match error {
                    NetError::Status(_, Some(after)) => {
                        let after = after.min(RETRY_AFTER_S_MAX);
                        self.lost_at = Some(now.plus_ms(u64::from(after) * 1000));
                    }
                    _ => self.feeds.push_back(Feed::Lost),
                }
            }
        }
        Ok(())
    }

    fn look_at_the_clock(&mut self, now: Time) -> Result<(), StoreError> {
        if self.lost_at.is_some_and(|at| now >= at) {
            self.lost_at = None;
            self.feeds.push_back(Feed::Lost);
        }
        if now >= self.inventory_at {
            self.inventory_at = now.plus_ms(self.inventory_ms());
            if !self.config.inventory.is_empty() {
                self.want_report(Wanted::daily());
            }
            self.take_inventory(false);
        }
        if now >= self.full_at {
            self.full_at = now.plus_ms(self.full_ms());
            if !self.config.inventory.is_empty() {
                self.take_inventory(true);
            }
        }
        self.update_due(now)
    }

    /// Does what follows from the machine's outputs until nothing follows.
    fn settle(&mut self, now: Time) -> Result<(), StoreError> {
        loop {
            while let Some(due) = self.due.pop_front() {
                match due {
                    Due::Event(event) => self.heed(now, event)?,
                    Due::Install(digest, order, repair) => {
                        self.may_install(digest, order, repair)?
                    }
                    Due::Go(gate, digest) => self.may_go_on(gate, digest)?,
                    Due::Hint(url) => self.try_beside(url)?,
                    Due::Receipt(receipt) => self.keep_receipt(&receipt),
                }
            }
            if self.feeds.is_empty() {
                self.report_next(now)?;
            }
            let Some(feed) = self.feeds.pop_front() else {
                return Ok(());
            };
            self.feed(now, feed)?;
        }
    }

    fn feed(&mut self, now: Time, feed: Feed) -> Result<(), StoreError> {
        let given = match feed {
            Feed::KeyMade => self.give(now, Input::KeyMade)?,
            Feed::Lost => self.give(now, Input::Lost)?,
            Feed::Poll => self.give(now, Input::Poll)?,
            Feed::Reach => match self.named() {
                Some(addresses) => self.give(now, Input::Reach(addresses))?,
                None => return Ok(()),
            },
            Feed::Facts => {
                let release = self.record.running;
                // Until one is taken, the one that was told last.
                let told = self.store.reported().filter(|held| held.release == release);
                let taken = self.taken.map(|taken| taken.digest());
                let walks = !self.config.inventory.is_empty();
                let told = told.filter(|_| walks).map(|held| held.inventory);
                let facts = Facts {
                    inventory: taken.or(told),
                    release,
                    counter: self.record.counter,
                    ..Facts::default()
                };
                self.give(now, Input::Facts(facts))?
            }
            Feed::Outcome(order, code) => self.give(now, Input::Outcome { order, code })?,
            Feed::Ready(gate, digest) => {
                let given = self.give(now, Input::Ready { gate, digest })?;
                if given.is_err() {
                    self.ask_again(now, gate, digest);
                }
                return Ok(());
            }
            Feed::ReportPart => {
                let Some(report) = self.report.take() else {
                    return Ok(());
                };
                let given = self.give(now, report.input())?;
                self.report = Some(report);
                given
            }
        };
        if let Err(error) = given {
            self.log.warn("input refused", &[("why", &error)]);
        }
        Ok(())
    }

    /// Gives an input and does what comes out, in order.
    fn give(&mut self, now: Time, input: Input<'_>) -> Result<Result<(), DeviceError>, StoreError> {
        // What the machine wants from its start on comes before the first input.
        self.drain(now)?;
        let given = self
            .device
            .handle(now, &self.store, &mut self.random, input);
        self.drain(now)?;
        Ok(given)
    }

    fn drain(&mut self, now: Time) -> Result<(), StoreError> {
        loop {
            match self.device.poll() {
                Output::Persist(kept) => self.store.keep(kept)?,
                Output::MakeKey { slot, suite } => {
                    let id = KusabiId::generate(&mut self.random);
                    let seed = Seed::generate(&mut self.random);
                    self.store.put_key(slot, suite, id, seed)?;
                    self.feeds.push_front(Feed::KeyMade);
                }
                Output::StoreKey {
                    slot,
                    suite,
                    id,
                    seed,
                } => {
                    self.store.put_key(slot, suite, id, seed)?;
                    self.feeds.push_front(Feed::KeyMade);
                }
                Output::Wipe(slot) => self.store.wipe_key(slot)?,
                Output::Send {
                    server,
                    request,
                    answer_by,
                } => {
                    self.server = server;
                    self.sending += 1;
                    let Some(url) = self.urls.get(server) else {
                        self.feeds.push_back(Feed::Lost);
                        continue;
                    };
                    self.wants.push(Want::Send {
                        sending: self.sending,
                        url: format!("{url}/device/v1"),
                        request: request.to_vec(),
                        within_ms: answer_by.since_ms(now),
                        instead: std::mem::replace(&mut self.in_flight, true),
                    });
                    self.lost_at = None;
                }
                Output::Install {
                    release,
                    order,
                    repair,
                } => self
                    .due
                    .push_back(Due::Install(release.digest(), order, repair)),
                Output::Reboot(release) => {
                    self.due.push_back(Due::Go(Gate::Reboot, release.digest()));
                }
                Output::Commit(release) => {
                    self.due.push_back(Due::Go(Gate::Commit, release.digest()));
                }
                Output::Receipt(receipt) => {
                    self.due.push_back(Due::Receipt(Box::new(receipt.clone())));
                }
                Output::Hint(url) => self.due.push_back(Due::Hint(url.to_owned())),
                Output::Event(event) => self.due.push_back(Due::Event(event)),
                Output::Wait(until) => {
                    self.wake = until.max(now);
                    return Ok(());
                }
            }
        }
    }

    fn worked(&mut self, now: Time, worked: Worked) -> Result<(), StoreError> {
        match worked {
            Worked::Inventory(taken) => {
                self.silent = false;
                self.inventory_taken(now, taken)
            }
            Worked::Step(next, record) => self.stepped(now, next, record),
            Worked::Fetched(brought) => {
                self.fetched(&brought);
                Ok(())
            }
            Worked::Cleared => Ok(()),
            Worked::Failed(task, failure, record) => {
                self.record = record;
                self.failed(now, task, failure)
            }
        }
    }
}

fn settings<D: Disk>(config: &Config, profile: &Profile, store: &Store<D>, once: bool) -> Settings {
    let (token, label) = store.enrolment().unwrap_or_default();
    Settings {
        key_origin: profile.key_origin,
        poll_secs: config.server.poll_secs,
        hold_secs: if once { 0 } else { config.server.hold_secs },
        // Both were measured before they were stored.
        token: ArrayVec::try_from(token).unwrap_or_default(),
        label: ArrayString::from(label).unwrap_or_default(),
        ..Settings::default()
    }
}
