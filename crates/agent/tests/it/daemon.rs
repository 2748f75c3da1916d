//! The daemon in this process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kusabi_agent::config::Config;
use kusabi_agent::daemon::{Daemon, DaemonError, Enrolment, Once, Stop};
use kusabi_agent::log::{Log, LogLevel};
use kusabi_core::id::Digest;
use kusabi_core::protocol::reply::Task;
use kusabi_core::protocol::request::OutcomeCode;
use kusabi_core::release::{CutSizes, SignedManifest, check_chunk_index};
use kusabi_core::suite::Purpose;
use kusabi_sim::ledger::Ledger;
use kusabi_sim::server::Courier;
use zeroize::Zeroizing;

use crate::server::{Fault, Served};

/// A device with a directory of its own.
pub(crate) struct Site {
    pub(crate) server: Served,
    pub(crate) root: tempfile::TempDir,
    /// More of the configuration's section `server`.
    pub(crate) more: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::of(Served::start())
    }

    /// A device of this server.
    pub(crate) fn of(server: Served) -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["slots", "files"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("files/a"), "a file").unwrap();
        let site = Self {
            server,
            root,
            more: String::new(),
            lines: Arc::default(),
        };
        let file = site
            .server
            .world()
            .provisioning(Some(9), &[&site.server.url]);
        site.put("device.kusabi", &file, 0o600);
        site.self_test("grep -q good $1/current/camera");
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn self_test(&self, script: &str) {
        self.put(
            "self-test",
            format!("#!/bin/sh\n{script}\n").as_bytes(),
            0o755,
        );
    }

    pub(crate) fn text(&self, hold: u16) -> String {
        let root = self.root.path().display();
        let more = &self.more;
        format!(
            r#"
state = "{root}/state"
provisioning = "{root}/device.kusabi"
log = "debug"
[device]
type = "cam-a"
[server]
hold-s = {hold}
{more}
[inventory]
root = "{root}"
paths = ["files"]
[update.slots]
directory = "{root}/slots"
restart = ["/bin/true"]
restarts = "service"
self-test = ["{root}/self-test", "{root}/slots"]
"#
        )
    }

    pub(crate) fn config(&self, hold: u16) -> Config {
        Config::parse(&self.text(hold)).unwrap()
    }

    pub(crate) fn log(&self) -> Log {
        let lines = Arc::clone(&self.lines);
        Log::new(LogLevel::Debug, move |_, line| {
            lines.lock().unwrap().push(line.to_owned());
        })
    }

    pub(crate) fn said(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Opens the directory. While another test's thread starts a program, the child holds a copy of every file until it runs it, the
    /// lock of a daemon that has ended among them.
    fn open(&self, hold: u16) -> Daemon {
        for _ in 0..100 {
            match Daemon::open_with(self.config(hold), self.log()) {
                Err(DaemonError::Running { .. }) => {
                    let lock = fs::File::open(self.config(hold).lock_file()).unwrap();
                    lock.lock().unwrap();
                }
                daemon => return daemon.unwrap_or_else(|error| panic!("{error}")),
            }
        }
        panic!("the directory stays locked");
    }

    pub(crate) fn once(&self) -> Once {
        self.open(0)
            .once(&Stop::new())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs rounds until one of them has nothing left to do.
    pub(crate) fn rounds(&self) -> Once {
        for _ in 0..10 {
            let once = self.once();
            if !matches!(once, Once::Unfinished | Once::Unreachable) {
                return once;
            }
        }
        panic!("it does not end\n{}", self.said());
    }

    fn run(&self, hold: u16) -> Running {
        let stop = Stop::new();
        let daemon = self.open(hold);
        let rung = stop.clone();
        let thread = thread::spawn(move || daemon.run(&rung));
        Running {
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn release(&self, version: &str, camera: &[u8]) -> Digest {
        let mut world = self.server.world();
        world.release(version, 0, &[("camera", camera)])
    }

    pub(crate) fn order(&self, task: Task) -> u64 {
        let order = self.server.world().order(task);
        self.server.ring();
        order
    }

    pub(crate) fn outcome(&self, order: u64) -> Option<OutcomeCode> {
        self.server.world().outcome(order)
    }
}

struct Running {
    stop: Stop,
    thread: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl Running {
    fn end(mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

#[test]
fn a_first_start_activates_polls_and_reports() {
    let site = Site::new();
    assert_eq!(site.once(), Once::Done, "{}", site.said());
    assert!(!site.path("device.kusabi").exists(), "the file is wiped");
    let status = Daemon::status(&site.config(0)).unwrap();
    assert_eq!(status.purpose, Purpose::Act);
    assert_eq!((status.serial.as_str(), status.phase), ("CAM-0001", "idle"));
    let (age, server) = status.contact.unwrap();
    assert!(age.as_secs() < 60 && server == site.server.url);
    let world = site.server.world();
    assert!(
        world
            .shop
            .ledger
            .record(&status.handle)
            .unwrap()
            .is_active()
    );
    assert!(!world.shop.reports[&0].is_empty());
}

#[test]
fn a_good_release_is_installed_and_a_bad_one_rolled_back() {
    let site = Site::new();
    let good = site.release("2", b"good two");
    let order = site.order(Task::Update(good));
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    assert_eq!(site.outcome(order), Some(OutcomeCode::Done));
    assert_eq!(Daemon::status(&site.config(0)).unwrap().release, Some(good));
    let bad = site.release("3", b"bad three");
    let order = site.order(Task::Update(bad));
    assert_eq!(site.rounds(), Once::OrderFailed, "{}", site.said());
    assert_eq!(site.outcome(order), Some(OutcomeCode::Failed));
    assert_eq!(Daemon::status(&site.config(0)).unwrap().release, Some(good));
    let camera = fs::read(site.path("slots/current/camera")).unwrap();
    assert_eq!(camera, b"good two");
    assert_eq!(site.server.world().shop.alarms, []);
}

#[test]
fn an_order_reaches_a_device_that_waits_at_once() {
    let site = Site::new();
    let running = site.run(300);
    site.server
        .wait_until("a held poll", |world| world.shop.polls > 0);
    let release = site.release("2", b"good two");
    let order = site.order(Task::Update(release));
    // The whole update, while polls are held for minutes: each of its steps is asked for at once.
    site.server
        .wait_until("the outcome", |world| world.outcome(order).is_some());
    assert_eq!(
        site.outcome(order),
        Some(OutcomeCode::Done),
        "{}",
        site.said()
    );
    running.end();
}

/// A seized server: what it shows was true, and has been withdrawn since.
#[test]
fn a_device_that_slept_installs_nothing_that_a_seized_server_shows_of_the_past() {
    let site = Site::new();
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    let release = site.release("2", b"good two");
    let order = site.order(Task::Update(release));
    {
        let mut world = site.server.world();
        let mut present = Ledger::new();
        present.grow_to(world.shop.ledger.height().get() + 100);
        world.shop.present = Some(present);
    }
    let running = site.run(0);
    site.server
        .wait_until("the refusal", |world| world.outcome(order).is_some());
    running.end();
    assert_eq!(
        site.outcome(order),
        Some(OutcomeCode::Stale),
        "{}",
        site.said()
    );
    let status = Daemon::status(&site.config(0)).unwrap();
    assert_eq!(status.release, None);
    assert!(status.freshness.unwrap().1.starts_with("stale "));
    let said = site.said();
    for line in [
        "is not proven: this is older than what the validators have",
        "until then nothing is installed and no server adopted",
        "why=\"nothing shows that what the server shows is of now\"",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    // The owner has the server back.
    {
        let mut world = site.server.world();
        world.shop.present = None;
        world.heartbeats(101);
    }
    let order = site.order(Task::Update(release));
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    assert_eq!(site.outcome(order), Some(OutcomeCode::Done));
    let status = Daemon::status(&site.config(0)).unwrap();
    assert!(status.freshness.unwrap().1.starts_with("shown "));
}

#[test]
fn a_device_whose_server_has_no_receipts_polls_on_and_says_so() {
    let site = Site::new();
    site.server.world().server.courier = Courier::Withholds;
    let release = site.release("2", b"good two");
    let order = site.order(Task::Update(release));
    let running = site.run(0);
    site.server
        .wait_until("the refusal", |world| world.outcome(order).is_some());
    running.end();
    // It was activated, and refuses what needs the present.
    let status = Daemon::status(&site.config(0)).unwrap();
    assert_eq!((status.purpose, status.release), (Purpose::Act, None));
    assert!(status.freshness.unwrap().1.starts_with("stale "));
    assert_eq!(
        site.outcome(order),
        Some(OutcomeCode::Stale),
        "{}",
        site.said()
    );
    assert!(site.said().contains("no freshness receipt was to be had"));
}

#[test]
fn a_poll_on_demand_comes_at_once() {
    let site = Site::new();
    let running = site.run(0);
    site.server
        .wait_until("a poll", |world| world.shop.polls > 0);
    let polls = site.server.world().shop.polls;
    running.stop.poll_now();
    site.server
        .wait_until("another poll", |world| world.shop.polls > polls);
    running.end();
}

#[test]
fn a_download_that_is_cut_goes_on_behind_what_came() {
    let site = Site::new();
    let big: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let release = {
        let mut world = site.server.world();
        world.release("2", 0, &[("camera", b"good two"), ("big", &big)])
    };
    site.server.fault("/payloads/", Fault::Cut(500_000));
    site.server.fault("/payloads/", Fault::Cut(200_000));
    let order = site.order(Task::Update(release));
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    assert_eq!(site.outcome(order), Some(OutcomeCode::Done));
    let requests = site.server.shared.requests.lock().unwrap();
    let ranges: Vec<u64> = requests
        .iter()
        .filter_map(|line| line.split_once("bytes=")?.1.split('-').next()?.parse().ok())
        .collect();
    let [first, second, third] = ranges.as_slice() else {
        panic!("three requests, not {ranges:?}");
    };
    // What lay in the network's buffers when the line broke may be lost.
    assert!(*first == 0 && *second > 0 && third > second, "{ranges:?}");
}

#[test]
fn lies_and_floods_end_and_change_nothing() {
    for (path, fault) in [
        ("/device/v1", Fault::Other(vec![7; 100])),
        ("/device/v1", Fault::Other(vec![])),
        ("/device/v1", Fault::Cut(10)),
        ("/device/v1", Fault::Endless),
        ("/device/v1", Fault::Headers),
        ("/device/v1", Fault::Status(500, "")),
        (
            "/device/v1",
            Fault::Status(302, "Location: http://127.0.0.1:1/\r\n"),
        ),
    ] {
        let site = Site::new();
        let what = format!("{fault:?}");
        site.server.fault(path, fault);
        assert_eq!(site.once(), Once::Unreachable, "{what}\n{}", site.said());
        assert_eq!(site.once(), Once::Done, "{what}\n{}", site.said());
        assert_eq!(site.server.world().shop.alarms, []);
    }
}

#[test]
fn a_lying_store_of_releases_installs_nothing() {
    let site = Site::new();
    let release = site.release("2", b"good two");
    let other = site.release("other", b"good other");
    let other = site.server.world().manifests[&other].clone();
    let order = site.order(Task::Update(release));
    for (path, fault) in [
        ("/releases/", Fault::Other(other)),
        ("/releases/", Fault::Endless),
        (
            "/proofs",
            Fault::Other(vec![0x83, 0x41, 0, 0x41, 0, 0x81, 0x41, 0]),
        ),
        ("/proofs", Fault::Endless),
        ("/payloads/", Fault::Other(vec![9; 2000])),
        ("/payloads/", Fault::Endless),
        ("/payloads/", Fault::Status(416, "")),
    ] {
        let what = format!("{path} {fault:?}");
        site.server.fault(path, fault);
        assert_eq!(site.once(), Once::Unfinished, "{what}\n{}", site.said());
        assert!(!site.path("slots/b/camera").exists(), "{what}");
    }
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    assert_eq!(site.outcome(order), Some(OutcomeCode::Done));
}

#[test]
fn a_lying_store_of_chunks_costs_a_whole_download_and_no_more() {
    for (of_index, fault) in [
        (true, Fault::Other(vec![9; 2000])),
        (true, Fault::Headers),
        (true, Fault::Status(500, "")),
        (false, Fault::Other(vec![9; 2000])),
        (false, Fault::Endless),
        (false, Fault::Cut(5000)),
        (false, Fault::Status(404, "")),
    ] {
        let site = Site::new();
        let what = format!("{fault:?}, of the index: {of_index}");
        let big: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let (release, index, pack) = {
            let mut world = site.server.world();
            world.cuts = CutSizes::new(4096, 8192, 32_768).ok();
            let release = world.release("2", 0, &[("camera", b"good two"), ("big", &big)]);
            let manifest = SignedManifest::decode(&world.manifests[&release]).unwrap();
            let payload = manifest.manifest().payloads().next().unwrap();
            let index = payload.chunk_index.unwrap().digest();
            let bytes = &world.payloads[&index];
            let head = check_chunk_index(bytes, payload.content.size(), |_| {}).unwrap();
            (release, index, head.pack().digest())
        };
        let path = if of_index { index } else { pack };
        let path: &str = Box::leak(path.to_string().into_boxed_str());
        site.server.fault(path, fault.clone());
        let order = site.order(Task::Update(release));
        // A cut, or a server that fails, is tried again.
        assert_eq!(site.rounds(), Once::Done, "{what}\n{}", site.said());
        assert_eq!(site.outcome(order), Some(OutcomeCode::Done), "{what}");
        let installed = fs::read(site.path("slots/current/big")).unwrap();
        assert!(installed == big, "{what}");
    }
}

#[test]
fn a_limit_of_downloads_is_kept_to() {
    let mut site = Site::new();
    site.more = "[update]\nmax-bytes-per-s = 100000\n".into();
    let big: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let release = {
        let mut world = site.server.world();
        world.release("2", 0, &[("camera", b"good two"), ("big", &big)])
    };
    let order = site.order(Task::Update(release));
    let began = Instant::now();
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    // Four seconds' worth, of which one may come at once.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
    assert_eq!(site.outcome(order), Some(OutcomeCode::Done));
}

#[test]
fn a_silent_or_slow_server_does_not_hold_up_the_end() {
    for fault in [Fault::Silent, Fault::Slow] {
        let site = Site::new();
        site.server.fault("/device/v1", fault);
        let running = site.run(0);
        site.server.wait_until("a request", |_| {
            !site.server.shared.requests.lock().unwrap().is_empty()
        });
        running.end();
        // Nothing of it holds the directory.
        assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    }
}

#[test]
fn the_end_does_not_wait_for_a_download() {
    let site = Site::new();
    let release = site.release("2", b"good two");
    site.order(Task::Update(release));
    site.server.fault("/payloads/", Fault::Silent);
    let running = site.run(0);
    site.server
        .wait_until("a download", |_| site.server.count("/payloads/") > 0);
    running.end();
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
}

#[test]
fn the_end_does_not_wait_for_a_limit() {
    let mut site = Site::new();
    // Minutes, at this pace.
    site.more = "[update]\nmax-bytes-per-s = 1024\n".into();
    let big: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let release = {
        let mut world = site.server.world();
        world.release("2", 0, &[("camera", b"good two"), ("big", &big)])
    };
    site.order(Task::Update(release));
    let running = site.run(0);
    site.server
        .wait_until("a download", |_| site.server.count("/payloads/") > 0);
    running.end();
    assert!(!site.path("slots/b/camera").exists());
}

#[test]
fn a_server_that_was_gone_is_found_again() {
    let site = Site::new();
    site.server.leave();
    assert_eq!(site.once(), Once::Unreachable);
    site.server.come_back();
    assert_eq!(site.once(), Once::Done);
    // And while a poll is held.
    let running = site.run(300);
    let polls = site.server.world().shop.polls;
    site.server
        .wait_until("a poll", |world| world.shop.polls > polls);
    site.server.leave();
    site.server.come_back();
    let polls = site.server.world().shop.polls;
    running.stop.poll_now();
    site.server
        .wait_until("a poll again", |world| world.shop.polls > polls);
    running.end();
}

#[test]
fn two_agents_do_not_run_on_one_directory() {
    let site = Site::new();
    let running = site.run(300);
    site.server
        .wait_until("a poll", |world| world.shop.polls > 0);
    let error = Daemon::open_with(site.config(0), site.log()).unwrap_err();
    assert!(matches!(error, DaemonError::Running { .. }));
    assert!(
        error.to_string().starts_with("another agent runs on "),
        "{error}"
    );
    // Who only looks may.
    Daemon::status(&site.config(0)).unwrap();
    running.end();
    assert_eq!(site.once(), Once::Done);
}

#[test]
fn a_device_in_the_field_is_enrolled() {
    let site = Site::new();
    fs::remove_file(site.path("device.kusabi")).unwrap();
    let public = site.server.world().provisioning(None, &[&site.server.url]);
    site.put("organisation", &public, 0o644);
    let token = *b"a token of 24 characters";
    site.server.world().shop.token = token.to_vec();
    let enrolment = |token: &[u8], file: &Path| Enrolment {
        file: file.into(),
        token: Zeroizing::new(token.to_vec()),
        label: "CAM-0007".into(),
    };
    let file = site.path("organisation");
    let enrol = |enrolment: &Enrolment| Daemon::enrol(site.config(0), enrolment, site.log());
    assert!(matches!(
        enrol(&enrolment(b"short", &file)),
        Err(DaemonError::Token)
    ));
    assert!(matches!(
        Daemon::open_with(site.config(0), site.log()),
        Err(DaemonError::NotProvisioned { .. })
    ));
    drop(enrol(&enrolment(&token, &file)).unwrap());

    // It waits, also over a restart.
    assert_eq!(site.once(), Once::Waiting, "{}", site.said());
    {
        let world = site.server.world();
        let (_, label) = world.shop.enrolments.values().next().unwrap();
        assert_eq!(label, "CAM-0007");
    }
    // Accepted; the next start makes it one of the fleet.
    site.server.world().shop.registers = true;
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    let status = Daemon::status(&site.config(0)).unwrap();
    assert!(status.registered && status.purpose == Purpose::Act);
    assert!(matches!(
        enrol(&enrolment(&token, &file)),
        Err(DaemonError::Enrolled)
    ));
    assert!(!site.said().contains("a token"), "a token is never logged");
    let keys = fs::read(site.path("state/keys")).unwrap();
    assert!(!keys.windows(token.len()).any(|bytes| bytes == token));
}

#[test]
fn a_refused_enrolment_says_so() {
    let site = Site::new();
    let public = site.server.world().provisioning(None, &[&site.server.url]);
    site.put("organisation", &public, 0o644);
    let enrolment = Enrolment {
        file: site.path("organisation"),
        token: Zeroizing::new(vec![b'x'; 20]),
        label: String::new(),
    };
    let daemon = Daemon::enrol(site.config(0), &enrolment, site.log()).unwrap();
    assert_eq!(
        daemon.wait_for_enrolment(&Stop::new()).unwrap(),
        Once::Refused
    );
}

#[test]
fn what_a_server_says_is_one_line_in_the_log() {
    let site = Site::new();
    site.server
        .fault("/device/v1", Fault::Other(b"\x1b[2Jerror\ngone\n".to_vec()));
    site.once();
    for line in site.lines.lock().unwrap().iter() {
        assert!(
            line.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            "{line:?}"
        );
    }
}
