//! The daemon's heart and worker on a simulated disk in virtual time: the power is cut before every operation of a whole life.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kusabi_core::id::Digest;
use kusabi_core::inventory::{Inventory, Pattern, RULES_KIND, Rules, SignedInventory, TypeRules};
use kusabi_core::protocol::reply::Task as OrderTask;
use kusabi_core::protocol::request::OutcomeCode;
use kusabi_core::suite::Purpose;
use kusabi_sim::server::Server;

use super::*;
use crate::config::LogLevel;
use crate::disk::sim::Sim;
use crate::disk::{Disk, Node};
use crate::updater::{Command, Outcome, Said, Slots, System};

#[path = "../../tests/it/world.rs"]
pub(crate) mod world;
use world::World;

mod chunks;
mod named;

const CONFIG: &str = r#"
state = "/state"
[device]
type = "cam-a"
[server]
hold-s = 0
[inventory]
root = "ROOT"
paths = ["files"]
[update.slots]
directory = "/slots"
restart = ["/restart"]
restarts = "machine"
self-test = ["/self-test"]
"#;

/// The world's server without a wire, and what goes wrong on it.
struct Wire {
    world: Arc<Mutex<World>>,
    /// How many bytes of a payload come before the line breaks, if it does.
    breaks: Mutex<Option<usize>>,
    gone: Mutex<bool>,
    /// Milliseconds.
    clock: AtomicU64,
    /// Bytes of payloads, indexes and packs.
    sent: AtomicU64,
    /// After so many nothing comes any more.
    stops_after: AtomicU64,
    /// What `http://slow` gives to a request, before two minutes are over; and whether what `http://bad` gives are other bytes, and how
    /// many of them before the line breaks.
    slow: Mutex<usize>,
    bad: Mutex<Option<usize>>,
    /// Servers at other addresses, and where requests went.
    elsewhere: Mutex<BTreeMap<String, Server>>,
    asked: Mutex<Vec<String>>,
    /// Once this file is gone, the disk has room again.
    room: Mutex<Option<(Sim, PathBuf)>>,
}

impl Wire {
    /// The disk has room again once this file is gone from it.
    fn when_seed_gone(&self, disk: Sim, seed: &Path) {
        *self.room.lock().unwrap() = Some((disk, seed.to_owned()));
    }

    /// What is left of so many bytes before the line breaks.
    fn send(&self, bytes: usize) -> usize {
        let room = self.room.lock().unwrap();
        if let Some((disk, seed)) = &*room
            && disk.node(seed).unwrap().is_none()
        {
            disk.free(None);
        }
        drop(room);
        let left = self.stops_after.load(Ordering::SeqCst) - self.sent.load(Ordering::SeqCst);
        let sent = bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.sent.fetch_add(sent as u64, Ordering::SeqCst);
        sent
    }
}

impl Net for Wire {
    fn ask(&self, url: &str, request: &[u8], _: Duration) -> Result<Vec<u8>, NetError> {
        let url = url.strip_suffix("/device/v1").unwrap();
        self.asked.lock().unwrap().push(url.to_owned());
        if *self.gone.lock().unwrap() {
            return Err(NetError::Unreachable("gone".into()));
        }
        let mut world = self.world.lock().unwrap();
        world.now = world.now.max(self.clock.load(Ordering::SeqCst));
        let mut elsewhere = self.elsewhere.lock().unwrap();
        if let Some(server) = elsewhere.get_mut(url) {
            return Ok(world.answer_by(server, request));
        }
        if url.contains("newcomer") {
            return Err(NetError::Unreachable("there is nobody".into()));
        }
        Ok(world.answer(request))
    }

    fn give_up(&self) {}

    fn get(&self, url: &str, limit: usize) -> Result<Vec<u8>, NetError> {
        let bytes = self.world.lock().unwrap().get(path(url));
        let bytes = bytes.ok_or(NetError::Status(404, None))?;
        if bytes.len() > limit {
            return Err(NetError::TooLong);
        }
        if self.sent.load(Ordering::SeqCst) == self.stops_after.load(Ordering::SeqCst) {
            return Err(NetError::Unreachable("the line broke".into()));
        }
        Ok(bytes)
    }

    fn get_part(
        &self,
        url: &str,
        from: u64,
        end: u64,
        sink: &mut Sink<'_>,
    ) -> Result<(), NetError> {
        let bytes = self.world.lock().unwrap().get(path(url));
        let bytes = bytes.ok_or(NetError::Status(404, None))?;
        let mut bytes =
            bytes[usize::try_from(from).unwrap()..usize::try_from(end).unwrap()].to_vec();
        let mut come = self.breaks.lock().unwrap().take().unwrap_or(bytes.len());
        if url.starts_with("http://slow") {
            come = come.min(*self.slow.lock().unwrap());
            self.clock.fetch_add(120_000, Ordering::SeqCst);
        }
        if let Some(breaks) = *self.bad.lock().unwrap()
            && url.starts_with("http://bad")
        {
            bytes.iter_mut().for_each(|byte| *byte ^= 1);
            come = come.min(breaks);
        }
        let come = self.send(come.min(bytes.len()));
        for piece in bytes[..come.min(bytes.len())].chunks(4000) {
            sink(piece)?;
        }
        if come < bytes.len() {
            return Err(NetError::Unreachable("the line broke".into()));
        }
        Ok(())
    }

    fn stop(&self) {}
}

fn path(url: &str) -> &str {
    let path = url.strip_prefix("http://").unwrap();
    &path[path.find('/').unwrap()..]
}

/// A machine with a disk, which starts what `current` points to.
#[derive(Clone)]
struct Machine {
    disk: Sim,
    boots: Rc<Cell<u32>>,
    running: Rc<RefCell<String>>,
}

impl System for Machine {
    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("boot {}", self.boots.get()))
    }

    fn run(&mut self, command: &Command) -> io::Result<Outcome> {
        if self.disk.is_cut() {
            return Err(io::Error::other("the power is cut"));
        }
        if command.program == "/restart" {
            return Ok(Outcome::Success);
        }
        let slot = self
            .disk
            .tree(&Path::new("/slots").join(&*self.running.borrow()));
        let works = slot.values().any(|content| content.starts_with(b"good"));
        Ok(if works {
            Outcome::Success
        } else {
            Outcome::Failure(Some(1))
        })
    }

    fn ask(&mut self, command: &Command) -> io::Result<Said> {
        panic!("no tool {command}")
    }
}

struct Bench {
    machine: Machine,
    wire: Arc<Wire>,
    config: Arc<Config>,
    now: u64,
    lines: Arc<Mutex<Vec<String>>>,
    _root: Rc<tempfile::TempDir>,
}

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Goal,
    Down,
    Cut,
}

impl Bench {
    fn new() -> Self {
        Self::of(&["http://server"])
    }

    /// A device that knows servers at these addresses.
    fn of(servers: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("files")).unwrap();
        std::fs::write(root.path().join("files/a"), vec![7; 5000]).unwrap();
        for number in 0..60 {
            std::fs::write(root.path().join(format!("files/number-{number}")), [number]).unwrap();
        }
        let config = CONFIG.replace("ROOT", root.path().to_str().unwrap());
        let disk = Sim::with_dirs(&["/state", "/slots"]);
        Slots::new(disk.clone(), "/slots".into()).found().unwrap();
        let factory = Path::new("/slots/a/factory");
        write(&disk, factory, b"good factory", 0o644);
        let mut world = World::new();
        let file = world.provisioning(Some(9), servers);
        write(&disk, Path::new("/state/device.kusabi"), &file, 0o600);
        Self {
            machine: Machine {
                disk,
                boots: Rc::default(),
                running: Rc::new(RefCell::new("a".into())),
            },
            wire: Arc::new(Wire {
                world: Arc::new(Mutex::new(world)),
                breaks: Mutex::default(),
                slow: Mutex::new(1024),
                bad: Mutex::default(),
                gone: Mutex::default(),
                elsewhere: Mutex::default(),
                asked: Mutex::default(),
                clock: AtomicU64::default(),
                sent: AtomicU64::default(),
                stops_after: AtomicU64::new(u64::MAX),
                room: Mutex::default(),
            }),
            config: Arc::new(Config::parse(&config).unwrap()),
            now: 0,
            lines: Arc::default(),
            _root: Rc::new(root),
        }
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.wire.world.lock().unwrap()
    }

    fn log(&self) -> Log {
        let lines = Arc::clone(&self.lines);
        Log::new(LogLevel::Debug, move |_, line| {
            lines.lock().unwrap().push(line.to_owned());
        })
    }

    /// One start of the agent, until the goal is reached, the machine goes down or the power is cut.
    fn life(&mut self, goal: &dyn Fn(&World) -> bool) -> End {
        self.try_life(goal).unwrap_or_else(|error| {
            assert!(self.machine.disk.is_cut(), "{error}\n{}", self.said());
            End::Cut
        })
    }

    fn try_life(&mut self, goal: &dyn Fn(&World) -> bool) -> Result<End, DaemonError> {
        let disk = self.machine.disk.clone();
        let log = self.log();
        provision::take_in(&disk, &self.config, &log)?;
        let net: Arc<dyn Net> = Arc::clone(&self.wire) as Arc<dyn Net>;
        let mut worker = Worker::open(
            disk.clone(),
            Arc::clone(&self.config),
            net,
            Stop::new(),
            self.machine.clone(),
            Box::new({
                let wire = Arc::clone(&self.wire);
                move || Time::from_ms(wire.clock.load(Ordering::SeqCst))
            }),
        )?;
        let record = worker.record();
        let config = Arc::clone(&self.config);
        let heart = Heart::open(
            disk.clone(),
            config,
            log,
            record,
            false,
            Time::from_ms(self.now),
        )?;
        let mut heart = heart.unwrap();
        let mut happened = vec![Happened::Tick];
        for _ in 0..20_000 {
            let wants = match happened.pop() {
                Some(happened) => {
                    heart.handle(Time::from_ms(self.now), happened)?;
                    heart.wants()
                }
                None => {
                    if disk.is_cut() {
                        return Ok(End::Cut);
                    }
                    if heart.seen().down {
                        return Ok(End::Down);
                    }
                    if goal(&self.world()) {
                        return Ok(End::Goal);
                    }
                    self.now = heart.wake().ms().max(self.now + 1);
                    self.wire.clock.store(self.now, Ordering::SeqCst);
                    happened.push(Happened::Tick);
                    continue;
                }
            };
            self.now += 1;
            let mut then = Vec::new();
            for want in wants {
                then.push(match want {
                    Want::Work(task) => {
                        let worked = worker.work(&task);
                        // What takes long took that long.
                        self.now = self.now.max(self.wire.clock.load(Ordering::SeqCst));
                        Happened::Worked(worked)
                    }
                    Want::Send {
                        sending,
                        url,
                        request,
                        within_ms,
                        ..
                    } => Happened::Answered {
                        sending,
                        answer: self
                            .wire
                            .ask(&url, &request, Duration::from_millis(within_ms)),
                    },
                });
            }
            then.reverse();
            happened.extend(then);
        }
        panic!("the goal is not reached\n{}", self.said());
    }

    fn said(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn boot(&mut self, seed: u64) {
        self.machine.disk.boot(seed);
        self.started();
    }

    fn restart(&mut self) {
        self.machine.disk.restart();
        self.started();
    }

    fn started(&self) {
        self.machine.boots.set(self.machine.boots.get() + 1);
        let current = self.machine.disk.read_link(Path::new("/slots/current"));
        let current = current.unwrap().unwrap();
        *self.machine.running.borrow_mut() = current.to_str().unwrap().to_owned();
    }

    /// Lives, over restarts and cuts, until the goal is reached.
    fn reach(&mut self, goal: &dyn Fn(&World) -> bool) {
        for seed in 0..30 {
            match self.life(goal) {
                End::Goal => return,
                End::Down => self.restart(),
                End::Cut => self.boot(seed),
            }
        }
        panic!("the goal is not reached\n{}", self.said());
    }

    fn running(&self) -> Option<Digest> {
        let bytes = self
            .machine
            .disk
            .read(Path::new("/state/update"), 256)
            .unwrap();
        bytes.and_then(|bytes| Record::decode(&bytes).unwrap().running)
    }

    fn store(&self) -> Store<Sim> {
        Store::open(self.machine.disk.clone(), &self.config).unwrap()
    }

    /// What must hold whatever happened: a key that counts, no false alarm, no provisioning file.
    fn check(&self, what: &str) {
        let kept = self.store().kept().unwrap().unwrap();
        let world = self.world();
        let record = world.shop.ledger.record(&kept.current().handle);
        let record = record.unwrap_or_else(|| panic!("{what}: no record"));
        assert!(record.is_active(), "{what}: {:?}", record.status());
        assert_eq!(record.purpose(), Purpose::Act, "{what}");
        assert_eq!(world.shop.alarms, [], "{what}");
        let left = self.machine.disk.node(&self.config.provisioning).unwrap();
        assert_eq!(left, None, "{what}");
    }
}

fn write(disk: &Sim, path: &Path, bytes: &[u8], mode: u32) {
    disk.create(path, mode).unwrap();
    disk.append(path, bytes).unwrap();
    disk.sync(path).unwrap();
    disk.sync_dir(path.parent().unwrap()).unwrap();
}

/// Rules of the walk that go with a release.
fn rules(paths: &[&str], excluded: &[&str]) -> (String, Vec<u8>) {
    let rules = TypeRules {
        device_type: "cam-a".into(),
        paths: paths.iter().map(ToString::to_string).collect(),
        excluded: excluded
            .iter()
            .map(|one| Pattern::new(one).unwrap())
            .collect(),
    };
    let rules = Rules::new(vec![rules]).unwrap();
    (RULES_KIND.to_owned(), rules.encode())
}

/// How many components the newest report has; none while it has not come whole.
fn reported(world: &World) -> Option<u32> {
    let report = world.shop.reports.get(&0)?.get(SignedInventory::LEN..)?;
    let inventory = Inventory::decode(report).ok()?;
    Some(inventory.summary().count())
}

fn polled(world: &World) -> bool {
    world.shop.polls > 0
}

/// An update and a report are ordered before the device is switched on for the first time.
fn ordered(bench: &Bench) -> (Digest, u64, u64) {
    let mut world = bench.world();
    world.documents = vec![rules(&["files"], &["files/number-5*"])];
    let big = vec![3; 30_000];
    let release = world.release("2", 1, &[("camera", b"good two"), ("data", &big)]);
    let update = world.order(OrderTask::Update(release));
    let report = world.order(OrderTask::ReportInventory([5; 32]));
    (release, update, report)
}

#[test]
fn a_whole_life_over_a_power_cut_before_every_operation() {
    let mut calm = Bench::new();
    let (release, update, report) = ordered(&calm);
    let goal = move |world: &World| {
        [update, report]
            .iter()
            .all(|order| world.outcome(*order).is_some())
    };
    calm.reach(&goal);
    assert_eq!(calm.running(), Some(release));
    calm.check("without a cut");
    assert_eq!(calm.world().outcome(update), Some(OutcomeCode::Done));
    assert_eq!(calm.world().outcome(report), Some(OutcomeCode::Done));
    let operations = calm.machine.disk.operations();
    assert!(operations > 100, "{operations}");

    // What was not synced is kept, lost, or kept in part.
    for seed in 0..3u64 {
        for cut in 0..operations {
            let what = format!("cut before operation {cut}, seed {seed}");
            let mut bench = Bench::new();
            let (release, update, report) = ordered(&bench);
            bench.machine.disk.cut_after(cut);
            loop {
                match bench.life(&goal) {
                    End::Goal => break,
                    End::Down => bench.restart(),
                    End::Cut => bench.boot(seed),
                }
            }
            bench.machine.disk.boot(0);
            assert_eq!(bench.running(), Some(release), "{what}\n{}", bench.said());
            assert_eq!(
                bench.world().outcome(update),
                Some(OutcomeCode::Done),
                "{what}"
            );
            assert_eq!(
                bench.world().outcome(report),
                Some(OutcomeCode::Done),
                "{what}"
            );
            bench.check(&what);
        }
    }
}

#[test]
fn a_release_that_fails_its_self_test_is_rolled_back_and_not_tried_again() {
    let mut bench = Bench::new();
    let (good, bad) = {
        let mut world = bench.world();
        let good = world.release("2", 0, &[("camera", b"good two")]);
        let bad = world.release("3", 0, &[("camera", b"bad three")]);
        (good, bad)
    };
    let first = bench.world().order(OrderTask::Update(good));
    bench.reach(&|world| world.outcome(first).is_some());
    let second = bench.world().order(OrderTask::Update(bad));
    bench.reach(&|world| world.outcome(second).is_some());
    assert_eq!(bench.world().outcome(second), Some(OutcomeCode::Failed));
    assert_eq!(bench.running(), Some(good));
    // The order comes again, as if its outcome had been lost.
    bench.world().shop.outcomes.clear();
    let again = kusabi_sim::server::order(second, OrderTask::Update(bad));
    bench.world().shop.orders.insert(0, vec![again]);
    let operations = bench.machine.boots.get();
    bench.reach(&|world| world.outcome(second).is_some());
    assert_eq!(bench.world().outcome(second), Some(OutcomeCode::Failed));
    assert_eq!(
        bench.machine.boots.get(),
        operations,
        "it was tried again\n{}",
        bench.said()
    );
    bench.check("after a bad release");
}

#[test]
fn what_was_said_of_one_order_is_not_said_of_another_under_its_number() {
    let mut bench = Bench::new();
    let (two, three) = {
        let mut world = bench.world();
        let two = world.release("2", 0, &[("camera", b"good two")]);
        let three = world.release("3", 0, &[("camera", b"good three")]);
        (two, three)
    };
    let order = bench.world().order(OrderTask::Update(two));
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(bench.running(), Some(two));
    // What is said is signed: "done" of this number was about the other release.
    bench.world().shop.outcomes.clear();
    let other = kusabi_sim::server::order(order, OrderTask::Update(three));
    bench.world().shop.orders.insert(0, vec![other]);
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(bench.world().outcome(order), Some(OutcomeCode::Done));
    assert_eq!(bench.running(), Some(three), "{}", bench.said());
    bench.check("after two orders of one number");
}

#[test]
fn what_is_not_for_this_device_is_refused() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    let withdrawn = {
        let mut world = bench.world();
        let release = world.release("2", 0, &[("camera", b"good two")]);
        world.withdraw(release);
        release
    };
    let high = bench.world().release("3", 4, &[("camera", b"good three")]);
    let low = bench.world().release("4", 2, &[("camera", b"good four")]);
    for (task, code) in [
        (OrderTask::Update(withdrawn), OutcomeCode::Unproven),
        (
            OrderTask::Update(Digest::new([8; 32])),
            OutcomeCode::Unproven,
        ),
        (OrderTask::Update(high), OutcomeCode::Done),
        // The device has committed to counter 4 now.
        (OrderTask::Update(low), OutcomeCode::Unsupported),
        (OrderTask::Repair(high), OutcomeCode::Done),
        (OrderTask::Rotate, OutcomeCode::Done),
    ] {
        let order = bench.world().order(task);
        bench.reach(&|world| world.outcome(order).is_some());
        assert_eq!(
            bench.world().outcome(order),
            Some(code),
            "{task:?}\n{}",
            bench.said()
        );
    }
    assert_eq!(bench.running(), Some(high));
    bench.check("after refusals");
}

#[test]
fn a_download_goes_on_where_the_line_broke() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    let big: Vec<u8> = (0..200_000u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let release = bench
        .world()
        .release("2", 0, &[("camera", b"good two"), ("big", &big)]);
    *bench.wire.breaks.lock().unwrap() = Some(100_000);
    let order = bench.world().order(OrderTask::Update(release));
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(
        bench.world().outcome(order),
        Some(OutcomeCode::Done),
        "{}",
        bench.said()
    );
}

#[test]
fn a_payload_of_other_bytes_is_never_installed() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    let release = bench.world().release("2", 0, &[("camera", b"good two")]);
    for payload in bench.world().payloads.values_mut() {
        let last = payload.len() - 1000;
        payload[last] ^= 1;
    }
    let order = bench.world().order(OrderTask::Update(release));
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(
        bench.world().outcome(order),
        Some(OutcomeCode::Failed),
        "{}",
        bench.said()
    );
    assert_eq!(bench.running(), None);
    let slot = bench.machine.disk.tree(Path::new("/slots/b"));
    assert!(slot.is_empty());
}

#[test]
fn reports_are_signed_whole_and_unasked_ones_come_by_themselves() {
    let mut bench = Bench::new();
    let whole = |report: &Vec<u8>| {
        let inventory = report.get(SignedInventory::LEN..);
        inventory.is_some_and(|bytes| Inventory::decode(bytes).is_ok())
    };
    bench.reach(&|world| world.shop.reports.get(&0).is_some_and(whole));
    let world = bench.world();
    let report = &world.shop.reports[&0];
    let (head, inventory) = report.split_at(SignedInventory::LEN);
    let signed = SignedInventory::decode(head).unwrap();
    let inventory = Inventory::decode(inventory).unwrap();
    assert_eq!(signed.claimed().digest(), inventory.summary().digest());
    assert_eq!(inventory.summary().count(), 61);
    assert_eq!(signed.claimed().nonce(), None);
}

#[test]
fn a_server_that_is_gone_for_a_month_is_found_again() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    *bench.wire.gone.lock().unwrap() = true;
    let (begun, wire) = (bench.now, Arc::clone(&bench.wire));
    let polls = bench.world().shop.polls;
    // After a thousand attempts the server is back.
    let attempts = Cell::new(0);
    let order = bench.world().order(OrderTask::ReportInventory([6; 32]));
    bench.reach(&|world| {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 1000 {
            *wire.gone.lock().unwrap() = false;
        }
        world.outcome(order).is_some()
    });
    assert!(bench.now - begun > 10 * 86_400_000, "{}", bench.now - begun);
    assert!(bench.world().shop.polls > polls);
    bench.check("after a month");
}

#[test]
fn a_full_disk_ends_an_update_and_nothing_else() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    let release = bench.world().release(
        "2",
        0,
        &[("camera", b"good two"), ("big", &vec![1; 300_000])],
    );
    let order = bench.world().order(OrderTask::Update(release));
    bench.machine.disk.free(Some(150_000));
    // What had to be stored next could not be: it begins again from what is, once there is room.
    let goal = |world: &World| world.outcome(order).is_some();
    let refused = bench.try_life(&goal).unwrap_err();
    assert!(
        refused.to_string().contains("no storage space"),
        "{refused}"
    );
    let staging = Path::new("/state/staging");
    assert_eq!(
        bench.machine.disk.list(staging).unwrap().len(),
        0,
        "the room is free"
    );
    bench.machine.disk.free(None);
    bench.reach(&goal);
    assert_eq!(
        bench.world().outcome(order),
        Some(OutcomeCode::Done),
        "{}",
        bench.said()
    );
    bench.check("after a full disk");
}

#[test]
fn a_provisioning_file_is_taken_in_once_and_only_whole() {
    let path = Path::new("/state/device.kusabi");
    let refused = |change: &dyn Fn(&Sim)| {
        let bench = Bench::new();
        change(&bench.machine.disk);
        let before = bench.machine.disk.tree(Path::new("/state"));
        let error = provision::take_in(&bench.machine.disk, &bench.config, &bench.log());
        assert_eq!(bench.machine.disk.tree(Path::new("/state")), before);
        error.unwrap_err().to_string()
    };
    for at in [0, 20, 60, 300] {
        let said = refused(&|disk| disk.spoil(path, |bytes| bytes[at] ^= 1));
        assert!(said.contains("provisioning file"), "{said}");
    }
    let said = refused(&|disk| disk.spoil(path, |bytes| bytes.truncate(100)));
    assert!(said.contains("changed or cut"), "{said}");
    let said = refused(&|disk| disk.chmod(path, 0o644));
    assert!(said.contains("others may read it (mode 0644)"), "{said}");
    let said = refused(&|disk| disk.remove(path).unwrap());
    assert!(said.contains("not provisioned"), "{said}");

    // Taken in; another one that is put there later is not touched, and the device goes on.
    let mut bench = Bench::new();
    bench.reach(&polled);
    let handle = bench.store().kept().unwrap().unwrap().current().handle;
    let other = bench.world().provisioning(Some(8), &["http://server"]);
    write(&bench.machine.disk, path, &other, 0o600);
    provision::take_in(&bench.machine.disk, &bench.config, &bench.log()).unwrap();
    assert!(matches!(
        bench.machine.disk.node(path),
        Ok(Some(Node::File { .. }))
    ));
    assert_eq!(
        bench.store().kept().unwrap().unwrap().current().handle,
        handle
    );
}

#[test]
fn a_release_that_cannot_reach_the_server_is_rolled_back() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    let release = bench.world().release("2", 0, &[("camera", b"good two")]);
    let order = bench.world().order(OrderTask::Update(release));
    // Down for the new release …
    assert_eq!(
        bench.life(&|world| world.outcome(order).is_some()),
        End::Down
    );
    bench.restart();
    // … which has no network, until it is rolled back.
    *bench.wire.gone.lock().unwrap() = true;
    assert_eq!(
        bench.life(&|world| world.outcome(order).is_some()),
        End::Down
    );
    bench.restart();
    *bench.wire.gone.lock().unwrap() = false;
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(
        bench.world().outcome(order),
        Some(OutcomeCode::Failed),
        "{}",
        bench.said()
    );
    assert_eq!(bench.running(), None);
    assert_eq!(*bench.machine.running.borrow(), "a");
    bench.check("after a rollback");
}

#[test]
fn a_year_in_a_drawer_is_no_matter() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    let polls = bench.world().shop.polls;
    bench.now += 365 * 86_400_000;
    bench.wire.clock.store(bench.now, Ordering::SeqCst);
    let release = bench.world().release("2", 0, &[("camera", b"good two")]);
    let order = bench.world().order(OrderTask::Update(release));
    bench.reach(&|world| world.outcome(order).is_some());
    assert!(bench.world().shop.polls > polls);
    assert_eq!(
        bench.world().outcome(order),
        Some(OutcomeCode::Done),
        "{}",
        bench.said()
    );
    bench.check("after a year");
}

#[test]
fn a_release_that_is_withdrawn_on_trial_is_rolled_back() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    let release = bench.world().release("2", 0, &[("camera", b"good two")]);
    let order = bench.world().order(OrderTask::Update(release));
    let told = |world: &World| world.outcome(order).is_some();
    assert_eq!(bench.life(&told), End::Down);
    bench.restart();
    bench.world().withdraw(release);
    assert_eq!(bench.life(&told), End::Down);
    bench.restart();
    bench.reach(&told);
    let outcome = bench.world().outcome(order);
    let refused = [Some(OutcomeCode::Unproven), Some(OutcomeCode::Failed)];
    assert!(refused.contains(&outcome), "{outcome:?}\n{}", bench.said());
    assert_eq!(
        (bench.running(), bench.machine.running.borrow().as_str()),
        (None, "a")
    );
    bench.check("after a withdrawal");
}

/// What a device walks is what its owner signed with the release that it runs: from the commit on, after a rollback that of the release
/// before, and the configuration's where the release says nothing.
#[test]
fn the_rules_of_the_release_that_runs_are_walked_by() {
    let mut bench = Bench::new();
    bench.reach(&|world| reported(world) == Some(61));
    let update = |bench: &mut Bench, version: &str, content: &[u8]| {
        let mut world = bench.world();
        let release = world.release(version, 1, &[("camera", content)]);
        let order = world.order(OrderTask::Update(release));
        drop(world);
        bench.reach(&|world| world.outcome(order).is_some());
        let outcome = bench.world().outcome(order);
        (release, outcome)
    };
    // Fewer files, by a pattern; the configured root is where they lie, and nothing leads out of it.
    bench.world().documents = vec![rules(&["files"], &["files/number-*"])];
    let (first, outcome) = update(&mut bench, "2", b"good two");
    assert_eq!(
        (bench.running(), outcome),
        (Some(first), Some(OutcomeCode::Done))
    );
    bench.reach(&|world| reported(world) == Some(1));
    assert!(bench.said().contains("rules=release"), "{}", bench.said());

    // A release that fails has brought other rules: those of the one that goes on running hold, over restarts.
    bench.world().documents = vec![rules(&["files"], &["files/number-1*"])];
    let (_, outcome) = update(&mut bench, "3", b"bad three");
    assert_eq!(
        (bench.running(), outcome),
        (Some(first), Some(OutcomeCode::Failed))
    );
    let report = bench.world().order(OrderTask::ReportInventory([8; 32]));
    bench.reach(&|world| world.outcome(report).is_some());
    assert_eq!(reported(&bench.world()), Some(1));

    // One that brings none: the configuration's.
    bench.world().documents.clear();
    let (third, outcome) = update(&mut bench, "4", b"good four");
    assert_eq!(
        (bench.running(), outcome),
        (Some(third), Some(OutcomeCode::Done))
    );
    bench.reach(&|world| reported(world) == Some(61));

    // One whose rules are none is not installed: whoever made it made a mistake.
    bench.world().documents = vec![(RULES_KIND.to_owned(), b"no rules".to_vec())];
    let (_, outcome) = update(&mut bench, "5", b"good five");
    assert_eq!(
        (bench.running(), outcome),
        (Some(third), Some(OutcomeCode::Failed))
    );
    // What damaged the file of the rules gets no fewer files walked than the configuration says.
    bench.world().documents = vec![rules(&["files"], &["files/number-*"])];
    let (fifth, _) = update(&mut bench, "6", b"good six");
    bench.reach(&|world| reported(world) == Some(1));
    assert_eq!(bench.running(), Some(fifth));
    for file in ["/state/rules", "/state/rules.next"] {
        let path = Path::new(file);
        if let Some(mut bytes) = bench.machine.disk.read(path, 1 << 20).unwrap() {
            bytes.truncate(40);
            disk::replace(&bench.machine.disk, path, &bytes, 0o600).unwrap();
        }
    }
    bench.restart();
    bench.reach(&|world| reported(world) == Some(61));
    assert!(bench.said().contains("cannot be used"), "{}", bench.said());
}

/// A report that was ordered is of files that were all read after the order came; besides, all are read at times that nobody can foresee.
#[test]
fn every_file_is_read_when_someone_asks_and_at_times_nobody_can_wait_for() {
    let mut bench = Bench::new();
    bench.reach(&|world| reported(world).is_some());
    let walks = |bench: &Bench, full: &str| {
        let lines = bench.lines.lock().unwrap();
        let taken = lines.iter().filter(|line| line.contains("inventory taken"));
        taken.filter(|line| line.contains(full)).count()
    };
    assert_eq!(walks(&bench, "full=true"), 0, "{}", bench.said());
    let order = bench.world().order(OrderTask::ReportInventory([8; 32]));
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(walks(&bench, "full=true"), 1);

    // Of half a year, one day in seven or so: and the times between are not alike.
    let mut between = Vec::new();
    let mut last = bench.now;
    let end = bench.now + 180 * 86_400_000;
    while bench.now < end {
        let before = walks(&bench, "full=true");
        let lines = Arc::clone(&bench.lines);
        bench.reach(&move |_| {
            let lines = lines.lock().unwrap();
            let full = lines.iter().filter(|line| line.contains("full=true"));
            full.count() > before
        });
        between.push((bench.now - last) / 3_600_000);
        last = bench.now;
    }
    assert!((8..60).contains(&between.len()), "{between:?}");
    let (least, most) = (between.iter().min().unwrap(), between.iter().max().unwrap());
    assert!(*least < 72 && *most > 9 * 24, "{between:?}");
}

/// Which release the newest report is about, once it has come whole.
fn reported_of(world: &World) -> Option<Option<Digest>> {
    reported(world)?;
    let head = world.shop.reports.get(&0)?.get(..SignedInventory::LEN)?;
    Some(SignedInventory::decode(head).ok()?.claimed().release())
}

/// A machine that was restarted into a new release walks other files by other rules, while what is recorded is still the release before:
/// nothing is walked and nothing signed before it is settled which of both runs. The same files under another release are told as such.
#[test]
fn nothing_is_signed_of_a_release_on_trial() {
    let mut bench = Bench::new();
    bench.reach(&|world| reported(world) == Some(61));
    let root = bench._root.path().to_owned();
    for (version, content, outcome, files) in [
        ("2", b"good two".as_slice(), OutcomeCode::Done, 62),
        ("3", b"bad three", OutcomeCode::Failed, 62),
        ("4", b"good four", OutcomeCode::Done, 62),
    ] {
        let before = bench.running();
        let release = bench.world().release(version, 1, &[("camera", content)]);
        let order = bench.world().order(OrderTask::Update(release));
        let walks = |bench: &Bench| {
            let lines = bench.lines.lock().unwrap();
            lines
                .iter()
                .filter(|line| line.contains("inventory taken"))
                .count()
        };
        let told = |world: &World| world.outcome(order).is_some();
        assert_eq!(bench.life(&told), End::Down);
        let walked = walks(&bench);
        // The slot that is tried holds another file.
        std::fs::write(root.join("files/new"), version).unwrap();
        bench.restart();
        *bench.wire.gone.lock().unwrap() = true;
        // What is ordered on trial waits as well.
        let report = bench.world().order(OrderTask::ReportInventory([7; 32]));
        let heard = Arc::clone(&bench.wire);
        let looked = Cell::new(0);
        let on_trial = |world: &World| {
            // While it cannot be kept, it stays on trial.
            looked.set(looked.get() + 1);
            if looked.get() > 3 {
                *heard.gone.lock().unwrap() = false;
            }
            if version == "2" {
                let of = reported_of(world);
                assert!(of.is_none_or(|of| of == before || reported(world) == Some(62)));
                assert!(of != Some(before) || reported(world) == Some(61));
            }
            told(world)
        };
        if outcome == OutcomeCode::Done {
            bench.reach(&on_trial);
        } else {
            assert_eq!(bench.life(&on_trial), End::Down);
            assert_eq!(walks(&bench), walked, "{}", bench.said());
            // What was tried is gone again.
            std::fs::write(root.join("files/new"), "2").unwrap();
            bench.restart();
            *bench.wire.gone.lock().unwrap() = false;
            bench.reach(&told);
        }
        assert_eq!(
            bench.world().outcome(order),
            Some(outcome),
            "{}",
            bench.said()
        );
        bench.reach(&|world| world.outcome(report).is_some());
        let running = bench.running();
        bench.reach(&|world| (reported(world), reported_of(world)) == (Some(files), Some(running)));
        bench.check(version);
    }
    // The same files.
    let last = bench.world().release("5", 1, &[("camera", b"good five")]);
    let order = bench.world().order(OrderTask::Update(last));
    let begun = bench.now;
    bench.reach(&|world| world.outcome(order).is_some());
    bench.reach(&|world| reported_of(world) == Some(Some(last)));
    assert!(bench.now - begun < 3_600_000, "{}", bench.now - begun);
}

/// A server that gives a thousand bytes to each request, and lets its time run out, is left for another one; where there is no other one,
/// the rest of the device's work goes on meanwhile, and what came is kept.
#[test]
fn a_server_that_retrieves_slowly_holds_nothing_up() {
    let big = chunks::image(1, 60_000);
    let mut bench = Bench::of(&["http://slow", "http://server"]);
    bench.reach(&polled);
    let release = bench
        .world()
        .release("2", 0, &[("camera", b"good two"), ("big", &big)]);
    let order = bench.world().order(OrderTask::Update(release));
    let begun = bench.now;
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(
        bench.world().outcome(order),
        Some(OutcomeCode::Done),
        "{}",
        bench.said()
    );
    assert!(bench.now - begun < 600_000, "{}", bench.now - begun);

    let mut bench = Bench::of(&["http://slow"]);
    bench.reach(&polled);
    let release = bench
        .world()
        .release("2", 0, &[("camera", b"good two"), ("big", &big)]);
    let order = bench.world().order(OrderTask::Update(release));
    let report = bench.world().order(OrderTask::ReportInventory([5; 32]));
    bench.reach(&|world| world.outcome(report).is_some());
    assert_eq!(bench.world().outcome(report), Some(OutcomeCode::Done));
    assert_eq!(bench.world().outcome(order), None, "{}", bench.said());
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(
        bench.world().outcome(order),
        Some(OutcomeCode::Done),
        "{}",
        bench.said()
    );
    let sent = bench.wire.sent.load(Ordering::SeqCst);
    assert!(sent < 70_000, "each byte came once: {sent}");
}

/// One of two servers has other bytes: what it gave costs one more time, and no more, whether it gives all of it or breaks off within a chunk.
#[test]
fn one_of_two_servers_that_lies_costs_one_download() {
    let size = 300_000;
    for (cuts, breaks) in [(false, usize::MAX), (true, usize::MAX), (true, 2000)] {
        let mut bench = Bench::of(&["http://bad", "http://server"]);
        if cuts {
            bench.world().cuts = kusabi_core::release::CutSizes::new(4096, 8192, 32_768).ok();
        }
        bench.reach(&polled);
        let mut image = chunks::image(2, size);
        let mut world = bench.world();
        let release = world.release_of("2", 0, "raw", std::mem::take(&mut image));
        let order = world.order(OrderTask::Update(release));
        drop(world);
        *bench.wire.bad.lock().unwrap() = Some(breaks);
        bench.reach(&|world| world.outcome(order).is_some());
        let outcome = bench.world().outcome(order);
        assert_eq!(
            outcome,
            Some(OutcomeCode::Done),
            "{cuts} {breaks}\n{}",
            bench.said()
        );
        let sent = bench.wire.sent.load(Ordering::SeqCst);
        assert!(
            sent < 2 * size as u64 + 100_000,
            "{cuts} {breaks}: {sent}\n{}",
            bench.said()
        );
    }
}

/// Rules that were damaged on the disk come anew with the next order to bring the release, also where they still have a form.
#[test]
fn damaged_rules_are_replaced() {
    let mut bench = Bench::new();
    bench.reach(&polled);
    bench.world().documents = vec![rules(&["files"], &["files/number-*"])];
    let release = bench.world().release("2", 1, &[("camera", b"good two")]);
    let order = bench.world().order(OrderTask::Update(release));
    bench.reach(&|world| world.outcome(order).is_some());
    bench.reach(&|world| reported(world) == Some(1));
    for damage in 0..2 {
        let mut found = 0;
        for file in ["/state/rules", "/state/rules.next"] {
            let path = Path::new(file);
            let Some(mut bytes) = bench.machine.disk.read(path, 1 << 20).unwrap() else {
                continue;
            };
            found += 1;
            match damage {
                0 => bytes.resize(2 << 20, 0),
                // "number-*" that is another pattern.
                _ => {
                    let star = bytes.iter().rposition(|byte| *byte == b'*').unwrap();
                    bytes[star - 1] ^= 1;
                }
            }
            disk::replace(&bench.machine.disk, path, &bytes, 0o600).unwrap();
        }
        assert!(found > 0);
        bench.restart();
        bench.reach(&|world| reported(world).is_some_and(|count| count != 1));
        let order = bench.world().order(OrderTask::Repair(release));
        bench.reach(&|world| world.outcome(order).is_some());
        assert_eq!(bench.world().outcome(order), Some(OutcomeCode::Done));
        bench.reach(&|world| reported(world) == Some(1));
    }
}
