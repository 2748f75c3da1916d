//! Updates over power cuts: a machine whose disk is [`Sim`], which starts whatever `current` points to.
//!
//! The releases and their proofs are those of `spec/vectors/firmware.json`: "good-1" has counter 0, "bad-2" fails its
//! self-test, "good-3" closes a hole and raises the device's counter to 2.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use kusabi_core::anchor::Anchor;
use kusabi_core::id::{Height, StateKey};
use kusabi_core::proof::{Proof, VerifiedProof};
use kusabi_core::release::{
    ContentError, DeviceFacts, Label, ReleaseProofs, SignedManifest, VerifiedRelease,
};
use kusabi_core::set::EpochSet;

mod loaders;
mod tools;

use super::*;
use crate::disk::sim::{Dice, Sim};
use crate::disk::{Disk, Linux};

/// A release with its payloads by name.
struct Update {
    release: VerifiedRelease<'static>,
    payloads: Vec<Vec<u8>>,
}

fn hex(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The releases of the vectors, verified once.
fn updates() -> &'static [Update] {
    static UPDATES: OnceLock<Vec<Update>> = OnceLock::new();
    UPDATES.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/firmware.json");
        let all: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let all: &'static serde_json::Value = Box::leak(Box::new(all));
        let keep = |value: &serde_json::Value| -> &'static [u8] { Box::leak(hex(value).into()) };
        let anchor = Anchor::decode(keep(&all["anchors"]["own"])).unwrap();
        let set = EpochSet::decode(keep(&all["epoch set"])).unwrap();
        let one = |case: &'static serde_json::Value| {
            let proofs: Vec<VerifiedProof<'static>> = case["proofs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|index| {
                    let proof = &all["proofs"][index.as_u64().unwrap() as usize];
                    let key = StateKey::new(hex(&proof["key"]).try_into().unwrap());
                    let proof = Proof::decode(keep(&proof["proof"])).unwrap();
                    proof.check(&anchor, &set, &key).unwrap()
                })
                .collect();
            let [release, policy, signers @ ..] = proofs.as_slice() else {
                panic!("too few proofs");
            };
            let signed = SignedManifest::decode(keep(&case["signed"])).unwrap();
            let release = VerifiedRelease::check(
                &signed,
                &ReleaseProofs {
                    release,
                    policy,
                    signers,
                },
                &DeviceFacts {
                    chain: anchor.chain(),
                    org: signed.manifest().org(),
                    device_type: Label::new("cam-a").unwrap(),
                    channel: Label::new("stable").unwrap(),
                    counter: 0,
                    channel_minimum: 0,
                    floor: Height::ZERO,
                },
            )
            .unwrap();
            let payloads = case["payloads"].as_array().unwrap().iter().map(hex);
            Update {
                release,
                payloads: payloads.collect(),
            }
        };
        all["updates"].as_array().unwrap().iter().map(one).collect()
    })
}

fn update_of(digest: Digest) -> &'static Update {
    let mut all = updates().iter();
    all.find(|update| update.release.digest() == digest)
        .unwrap()
}

const DIRS: [&str; 3] = ["/slots", "/state", "/state/staging"];

fn settings(restarts: Restart) -> Settings {
    let command = |program: &str| Command {
        program: program.into(),
        arguments: vec![],
        environment: vec![],
        deadline: Duration::from_secs(1),
    };
    Settings {
        restart: command("restart"),
        restarts,
        self_test: Some(command("self-test")),
        starts_max: 3,
    }
}

/// A machine: what it runs is what `current` pointed to when it started.
#[derive(Clone)]
struct World {
    disk: Sim,
    boots: Rc<Cell<u32>>,
    running: Rc<RefCell<String>>,
    restarts: Restart,
}

impl World {
    fn new(restarts: Restart) -> Self {
        let disk = Sim::with_dirs(&DIRS);
        Slots::new(disk.clone(), "/slots".into()).found().unwrap();
        let factory = Path::new("/slots/a/factory");
        disk.create(factory, 0o644).unwrap();
        disk.append(factory, b"good factory").unwrap();
        disk.sync(factory).unwrap();
        disk.sync_dir(Path::new("/slots/a")).unwrap();
        let world = Self {
            disk,
            boots: Rc::default(),
            running: Rc::default(),
            restarts,
        };
        world.start_current();
        world
    }

    fn start_current(&self) {
        let current = self
            .disk
            .read_link(Path::new("/slots/current"))
            .unwrap()
            .unwrap();
        *self.running.borrow_mut() = current.to_str().unwrap().to_owned();
    }

    /// The machine goes down in order and starts again.
    fn restart(&self) {
        self.disk.restart();
        self.boots.set(self.boots.get() + 1);
        self.start_current();
    }

    /// The power goes, if it has not gone yet, and comes back.
    fn boot(&self, seed: u64) {
        self.disk.boot(seed);
        self.boots.set(self.boots.get() + 1);
        self.start_current();
    }

    fn open(&self) -> Result<Updates<Sim, Slots<Sim>, Self>, UpdateError> {
        Updates::open(
            self.disk.clone(),
            "/state/update".into(),
            settings(self.restarts),
            Slots::new(self.disk.clone(), "/slots".into()),
            self.clone(),
        )
    }

    fn slot(&self, slot: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        self.disk.tree(&Path::new("/slots").join(slot))
    }

    fn runs_well(&self) -> bool {
        let running = self.slot(&self.running.borrow());
        running
            .values()
            .any(|content| content.windows(4).any(|bytes| bytes == b"good"))
    }
}

impl System for World {
    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("boot {}", self.boots.get()))
    }

    fn run(&mut self, command: &Command) -> io::Result<Outcome> {
        if self.disk.is_cut() {
            return Err(io::Error::other("the power is cut"));
        }
        match command.program.as_str() {
            "restart" => {
                if self.restarts == Restart::Service {
                    self.start_current();
                }
                Ok(Outcome::Success)
            }
            "self-test" if self.runs_well() => Ok(Outcome::Success),
            "self-test" => Ok(Outcome::Failure(Some(1))),
            other => panic!("no command {other}"),
        }
    }

    fn ask(&mut self, command: &Command) -> io::Result<Said> {
        panic!("no tool {command}")
    }
}

/// What an agent does from its start on until nothing is left to do, or the machine goes down.
fn agent(world: &World, wanted: &Update) -> Result<Next, UpdateError> {
    live(world.open()?, &world.disk, wanted, update_of)
}

fn live<U: Updater, S: System>(
    mut updates: Updates<Sim, U, S>,
    disk: &Sim,
    wanted: &Update,
    update_of: impl Fn(Digest) -> &'static Update,
) -> Result<Next, UpdateError> {
    let mut next = updates.resume()?;
    let settled = [updates.record().running, updates.record().failed];
    if next == Next::Nothing && !settled.contains(&Some(wanted.release.digest())) {
        let staging = Staging::new(disk.clone(), "/state/staging".into());
        let mut staged = Vec::new();
        for (payload, bytes) in wanted.release.payloads().zip(&wanted.payloads) {
            let mut receiving = staging
                .receive(&wanted.release, payload.name.as_str())?
                .unwrap();
            for piece in bytes[receiving.offset() as usize..].chunks(3000) {
                receiving.write(piece)?;
            }
            staged.push(receiving.finish()?);
        }
        next = updates.install(&wanted.release, &staged)?;
    }
    loop {
        next = match next {
            Next::Nothing => {
                Staging::new(disk.clone(), "/state/staging".into()).clear()?;
                return Ok(next);
            }
            Next::Down => return Ok(next),
            Next::Restart(digest) => updates.restart(&update_of(digest).release)?,
            Next::SelfTest(_) => updates.self_test()?,
            Next::Commit(digest) => updates.commit(&update_of(digest).release)?,
        };
    }
}

/// Lets the agent run over restarts until it has nothing to do.
fn settle(world: &World, wanted: &Update) {
    for _ in 0..20 {
        match agent(world, wanted) {
            Ok(Next::Nothing) => return,
            Ok(Next::Down) => world.restart(),
            other => panic!("{other:?}"),
        }
    }
    panic!("the update does not settle");
}

/// Everything that a slot may ever be started with.
fn whole_slots() -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
    let world = World::new(Restart::Service);
    let mut whole = vec![world.slot("a")];
    for update in updates() {
        let mut updates = world.open().unwrap();
        let staging = Staging::new(world.disk.clone(), "/state/staging".into());
        let mut staged = Vec::new();
        for (payload, bytes) in update.release.payloads().zip(&update.payloads) {
            let receiving = staging.receive(&update.release, payload.name.as_str());
            let mut receiving = receiving.unwrap().unwrap();
            receiving.write(bytes).unwrap();
            staged.push(receiving.finish().unwrap());
        }
        updates.install(&update.release, &staged).unwrap();
        whole.push(world.slot("b"));
        updates.refuse().unwrap();
    }
    whole
}

fn check(world: &World, whole: &[BTreeMap<PathBuf, Vec<u8>>], what: &str) {
    let [factory, good, bad, better] = whole else {
        panic!("four slots");
    };
    let running = world.slot(&world.running.borrow());
    assert!(whole.contains(&running), "{what}: it runs {running:?}");
    let committed = world
        .disk
        .read_link(Path::new("/slots/committed"))
        .unwrap()
        .unwrap();
    let committed = world.slot(committed.to_str().unwrap());
    assert!([factory, good, better].contains(&&committed), "{what}");
    assert_ne!(&committed, bad, "{what}");
    let mut updates = world
        .open()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let record = updates.record().clone();
    // Nothing that is not committed is started without the record knowing it.
    if updates.updater.is_switched().unwrap() {
        let name = record.phase.name();
        let knowing = ["restarting", "trial", "committing", "rolling back"];
        assert!(knowing.contains(&name), "{what}: {name}");
    }
    // The counter rises with the commit of the release that closes the hole, and not before.
    if record.counter != 0 {
        assert_eq!(record.counter, 2, "{what}");
        assert_eq!(&running, better, "{what}");
    }
}

fn finished(world: &World, what: &str) {
    let mut updates = world.open().unwrap();
    let all = self::updates();
    let record = updates.record().clone();
    assert_eq!(record.running, Some(all[2].release.digest()), "{what}");
    assert_eq!((record.counter, &record.phase), (2, &Phase::Idle), "{what}");
    assert!(!updates.updater.is_switched().unwrap(), "{what}");
    assert!(world.runs_well(), "{what}");
}

#[test]
fn a_good_one_a_bad_one_a_better_one() {
    for restarts in [Restart::Machine, Restart::Service] {
        let world = World::new(restarts);
        let [one, bad, better] = updates() else {
            panic!("three updates");
        };
        settle(&world, one);
        assert!(String::from_utf8_lossy(&world.slot("b")[Path::new("bin/camera")]).contains("one"));
        settle(&world, bad);
        let record = world.open().unwrap().record().clone();
        assert_eq!(record.running, Some(one.release.digest()));
        assert_eq!(record.failed, Some(bad.release.digest()));
        assert_eq!(record.counter, 0);
        assert!(world.runs_well());
        settle(&world, better);
        finished(&world, "at the end");
        let slot = world.slot(&world.running.borrow());
        assert_eq!(slot[Path::new("model.bin")], better.payloads[1]);
        assert_eq!(slot[Path::new("bin/cam")], b"camera");
        assert!(world.disk.tree(Path::new("/state/staging")).is_empty());
        // From here on the way back to the hole is shut, whatever was verified when.
        let mut updates = world.open().unwrap();
        assert!(matches!(
            updates.install(&one.release, &[]),
            Err(UpdateError::Counter)
        ));
    }
}

#[test]
fn a_power_cut_before_any_operation_of_any_phase() {
    let whole = whole_slots();
    let mut cuts = 0;
    for restarts in [Restart::Machine, Restart::Service] {
        for at in 0.. {
            let before = cuts;
            for seed in 0..6 {
                let what = format!("{restarts:?}, cut at {at}, seed {seed}");
                let world = World::new(restarts);
                world.disk.cut_after(at);
                for update in updates() {
                    loop {
                        match agent(&world, update) {
                            Ok(Next::Nothing) => break,
                            Ok(_) => world.restart(),
                            // A download that the cut left holes in is dropped, and begun anew.
                            Err(UpdateError::Changed { .. }) => {}
                            Err(error) => {
                                assert!(world.disk.is_cut(), "{what}: {error}");
                                world.boot(seed);
                                cuts += 1;
                            }
                        }
                        check(&world, &whole, &what);
                    }
                }
                finished(&world, &what);
            }
            if cuts == before {
                break;
            }
        }
    }
    assert!(cuts > 500, "{cuts}");
}

#[test]
fn one_power_cut_after_the_other() {
    let whole = whole_slots();
    let mut cuts = 0;
    for seed in 0..150 {
        let mut dice = Dice::new(seed + 1);
        let restarts = [Restart::Machine, Restart::Service][dice.roll(2)];
        let world = World::new(restarts);
        for update in updates() {
            for round in 0.. {
                let what = format!("seed {seed}, round {round}");
                // After some rounds the power stays, else a self-test would never be reached.
                if round < 12 {
                    world.disk.cut_after(dice.roll(60));
                }
                match agent(&world, update) {
                    Ok(Next::Nothing) => break,
                    Ok(_) => world.restart(),
                    Err(UpdateError::Changed { .. }) => {}
                    Err(error) => {
                        assert!(world.disk.is_cut(), "{what}: {error}");
                        world.boot(dice.roll(1000) as u64);
                        cuts += 1;
                    }
                }
                check(&world, &whole, &what);
            }
            world.restart();
        }
        // A good update may have been given up after too many starts; the device then runs what it ran, and takes it again.
        let record = world.open().unwrap().record().clone();
        assert_eq!(record.phase, Phase::Idle);
        assert!(world.runs_well(), "seed {seed}");
    }
    assert!(cuts > 1000, "{cuts}");
}

#[test]
fn an_update_that_never_comes_to_its_test_is_given_up() {
    let world = World::new(Restart::Machine);
    let update = &updates()[0];
    assert_eq!(agent(&world, update).unwrap(), Next::Down);
    world.restart();
    for start in 1..=3 {
        // The agent starts and is killed before the self-test.
        let next = world.open().unwrap().resume().unwrap();
        assert_eq!(next, Next::SelfTest(update.release.digest()), "{start}");
    }
    assert_eq!(world.open().unwrap().resume().unwrap(), Next::Down);
    world.restart();
    assert_eq!(world.open().unwrap().resume().unwrap(), Next::Nothing);
    assert_eq!(
        world.open().unwrap().record().failed,
        Some(update.release.digest())
    );
    assert_eq!(world.slot(&world.running.borrow()).len(), 1);
}

#[test]
fn a_release_that_is_refused_when_it_is_checked_again() {
    // Before the restart: it is dropped and never started. Before the commit: it is rolled back.
    for before_restart in [true, false] {
        let world = World::new(Restart::Service);
        let update = &updates()[0];
        let mut updates = world.open().unwrap();
        let staging = Staging::new(world.disk.clone(), "/state/staging".into());
        let mut receiving = staging
            .receive(&update.release, "rootfs.tar")
            .unwrap()
            .unwrap();
        receiving.write(&update.payloads[0]).unwrap();
        let staged = [receiving.finish().unwrap()];
        assert!(matches!(
            updates.install(&update.release, &[]),
            Err(UpdateError::Payloads)
        ));
        let digest = update.release.digest();
        assert_eq!(
            updates.install(&update.release, &staged).unwrap(),
            Next::Restart(digest)
        );
        let other = &self::updates()[2].release;
        assert!(matches!(
            updates.restart(other),
            Err(UpdateError::OtherRelease)
        ));
        assert!(matches!(
            updates.commit(&update.release),
            Err(UpdateError::OutOfTurn("installed"))
        ));
        if !before_restart {
            assert_eq!(
                updates.restart(&update.release).unwrap(),
                Next::SelfTest(digest)
            );
            assert_eq!(updates.self_test().unwrap(), Next::Commit(digest));
            assert!(matches!(
                updates.commit(other),
                Err(UpdateError::OtherRelease)
            ));
        }
        assert_eq!(updates.refuse().unwrap(), Next::Nothing);
        assert_eq!(updates.record().failed, Some(digest));
        assert_eq!(*world.running.borrow(), "a");
        assert!(!updates.updater.is_switched().unwrap());
        assert!(matches!(
            updates.refuse(),
            Err(UpdateError::OutOfTurn("idle"))
        ));
    }
}

#[test]
fn a_full_disk_fails_the_update_and_nothing_else() {
    let update = &updates()[2];
    let whole = whole_slots();
    let mut failed = 0;
    for free in (0..60_000).step_by(1777) {
        let world = World::new(Restart::Service);
        world.disk.free(Some(free));
        if agent(&world, update).is_err() {
            failed += 1;
            assert_eq!(*world.running.borrow(), "a");
            world.boot(2);
            check(&world, &whole, "full");
        }
        world.disk.free(None);
        settle(&world, update);
        finished(&world, "with room again");
    }
    assert!(failed > 5, "{failed}");
}

#[test]
fn a_download_goes_on_where_it_was_cut_and_never_with_other_bytes() {
    let update = &updates()[2];
    let bytes = &update.payloads[1];
    let disk = Sim::with_dirs(&DIRS);
    let staging = Staging::new(disk.clone(), "/state/staging".into());
    let receive = || {
        staging
            .receive(&update.release, "model.bin")
            .unwrap()
            .unwrap()
    };
    assert!(staging.receive(&update.release, "other").unwrap().is_none());

    let mut first = receive();
    first.write(&bytes[..1000]).unwrap();
    assert!(matches!(
        first.finish(),
        Err(UpdateError::Changed {
            error: ContentError::TooShort,
            ..
        })
    ));
    let mut second = receive();
    assert_eq!(second.offset(), 1000);
    second.write(&bytes[1000..2000]).unwrap();
    drop(second);
    let mut third = receive();
    assert_eq!(
        (third.offset(), third.remaining()),
        (2000, bytes.len() as u64 - 2000)
    );
    // Endless data: not a byte more is written.
    let endless = vec![0; bytes.len()];
    assert!(matches!(
        third.write(&endless),
        Err(UpdateError::Changed {
            error: ContentError::TooLong,
            ..
        })
    ));
    // Wrong bytes of the right number: refused at the end, and the next attempt begins anew.
    third.write(&endless[..bytes.len() - 2000]).unwrap();
    assert!(matches!(
        third.finish(),
        Err(UpdateError::Changed {
            error: ContentError::Digest,
            ..
        })
    ));
    let mut fourth = receive();
    assert_eq!(fourth.offset(), 0);
    fourth.write(bytes).unwrap();
    let staged = fourth.finish().unwrap();
    assert_eq!(&disk.read(staged.path(), 1 << 20).unwrap().unwrap(), bytes);
    // Here already: nothing is to come.
    assert_eq!(receive().remaining(), 0);
    receive().finish().unwrap();
    // Changed on the disk meanwhile, or longer than it may be: begun anew.
    disk.spoil(staged.path(), |file| file[7] ^= 1);
    assert_eq!(receive().offset(), 0);
    let part = staged.path().with_extension("part");
    disk.spoil(&part, |file| *file = vec![0; bytes.len() + 1]);
    assert_eq!(receive().offset(), 0);
}

#[test]
fn what_the_disk_changed_after_the_download_is_not_installed() {
    let update = &updates()[0];
    // In headers, in a program (where the archive's own sums do not look), and behind the archive's end.
    for at in [0, 700, 1100, 1536, update.payloads[0].len() - 1] {
        let world = World::new(Restart::Service);
        let staging = Staging::new(world.disk.clone(), "/state/staging".into());
        let mut receiving = staging
            .receive(&update.release, "rootfs.tar")
            .unwrap()
            .unwrap();
        receiving.write(&update.payloads[0]).unwrap();
        let staged = [receiving.finish().unwrap()];
        world.disk.spoil(staged[0].path(), |file| file[at] ^= 1);
        let mut updates = world.open().unwrap();
        updates.install(&update.release, &staged).unwrap_err();
        assert_eq!(updates.record().phase, Phase::Idle);
        assert!(!updates.updater.is_switched().unwrap());
    }
}

#[test]
fn a_damaged_record_is_said_and_left() {
    let world = World::new(Restart::Service);
    settle(&world, &updates()[2]);
    let path = Path::new("/state/update");
    let whole = world.disk.read(path, 256).unwrap().unwrap();
    assert_eq!(Record::decode(&whole).unwrap().encode(), whole);
    for length in 0..whole.len() {
        world.disk.spoil(path, |file| file.truncate(length));
        assert!(
            matches!(world.open(), Err(UpdateError::Record { .. })),
            "{length}"
        );
        world.disk.spoil(path, |file| *file = whole.clone());
    }
    world.disk.spoil(path, |file| file.resize(257, 0));
    assert!(world.open().is_err());
}

#[test]
fn on_the_real_disk_with_real_commands() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (slots, staging) = (dir("slots"), dir("staging"));
    Slots::new(Linux, slots.clone()).found().unwrap();
    let sh = |script: &str| Command {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into(), slots.to_str().unwrap().into()],
        environment: vec![],
        deadline: Duration::from_secs(60),
    };
    for update in updates() {
        let mut updates = Updates::open(
            Linux,
            folder.path().join("update"),
            Settings {
                restart: sh("true"),
                restarts: Restart::Service,
                self_test: Some(sh("grep -q good \"$0\"/current/bin/camera")),
                starts_max: 3,
            },
            Slots::new(Linux, slots.clone()),
            Machine::default(),
        )
        .unwrap();
        assert_eq!(updates.resume().unwrap(), Next::Nothing);
        let staging = Staging::new(Linux, staging.clone());
        let mut staged = Vec::new();
        for (payload, bytes) in update.release.payloads().zip(&update.payloads) {
            let mut receiving = staging
                .receive(&update.release, payload.name.as_str())
                .unwrap()
                .unwrap();
            receiving.write(bytes).unwrap();
            staged.push(receiving.finish().unwrap());
        }
        updates.install(&update.release, &staged).unwrap();
        updates.restart(&update.release).unwrap();
        if let Next::Commit(_) = updates.self_test().unwrap() {
            updates.commit(&update.release).unwrap();
        }
        staging.clear().unwrap();
    }
    let current = slots.join("current");
    assert_eq!(
        std::fs::read(current.join("bin/cam")).unwrap(),
        b"camera good three"
    );
    assert_eq!(
        std::fs::read(current.join("model.bin")).unwrap(),
        updates()[2].payloads[1]
    );
    let mode = |path: &str| current.join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("bin/camera"), mode("etc/deep/er/conf")),
        (0o755, 0o600)
    );
}

#[test]
fn commands_end_in_time() {
    let run = |script: &str, deadline| {
        Machine::default()
            .run(&Command {
                program: "/bin/sh".into(),
                arguments: vec!["-c".into(), script.into()],
                environment: vec![],
                deadline,
            })
            .unwrap()
    };
    let long = Duration::from_secs(60);
    assert_eq!(run("true", long), Outcome::Success);
    assert_eq!(run("exit 3", long), Outcome::Failure(Some(3)));
    assert_eq!(run("kill -9 $$", long), Outcome::Failure(None));
    // A test that hangs is killed with what it has started: the pipe closes only when all of them are gone.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let nonblocking = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
    let end = rustix::fs::open(&pipe, nonblocking, rustix::fs::Mode::empty()).unwrap();
    let script = format!("sleep 60 > {} & wait", pipe.display());
    assert_eq!(run(&script, Duration::from_millis(200)), Outcome::Late);
    rustix::fs::fcntl_setfl(&end, rustix::fs::OFlags::empty()).unwrap();
    let begun = std::time::Instant::now();
    let mut rest = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(end), &mut rest).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30));

    let missing = Machine::default().run(&Command {
        program: "/no/such/program".into(),
        arguments: vec![],
        environment: vec![],
        deadline: long,
    });
    assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    let boot = Machine::default().boot_id().unwrap();
    assert!((1..=64).contains(&boot.len()), "{boot}");
}

#[test]
fn tools_are_listened_to_and_end_with_what_they_started() {
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&lines);
    let log = crate::log::Log::new(crate::log::LogLevel::Warn, move |_, line| {
        kept.lock().unwrap().push(line.to_owned());
    });
    let mut machine = Machine::default().with_log(log);
    let mut ask = |script: &str, deadline| {
        machine.ask(&Command {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("KUSABI_PAYLOAD", "rootfs".into())],
            deadline,
        })
    };
    let long = Duration::from_secs(60);
    let said = ask("echo $KUSABI_PAYLOAD; echo aside >&2", long).unwrap();
    assert_eq!(
        (said.outcome, said.out.as_slice()),
        (Outcome::Success, b"rootfs\n".as_slice())
    );
    assert_eq!(said.last_lines(), ["rootfs", "aside"]);
    assert!(lines.lock().unwrap().is_empty());

    // More than anybody keeps, then words for a terminal, then the reason.
    let flood =
        "yes | head -c 3000000; printf '\\033[2J\\nforged error\\nthe reason\\n' >&2; exit 7";
    let said = ask(flood, long).unwrap();
    assert_eq!(said.outcome, Outcome::Failure(Some(7)));
    assert!(said.out.len() == 64 << 10 && said.last.len() < 9 << 10);
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    assert_eq!(lines.len(), 11, "{lines:?}");
    assert_eq!(lines[9], "warn tool said tool=/bin/sh line=\"the reason\"");
    assert_eq!(lines[7], "warn tool said tool=/bin/sh line=\"\\u{1b}[2J\"");
    assert!(
        lines[10].ends_with("outcome=\"failed with exit code 7\""),
        "{}",
        lines[10]
    );

    // One that hangs, and one that leaves somebody behind who holds its output: neither is waited for.
    let begun = std::time::Instant::now();
    let said = ask(
        "echo begun; sleep 60 & sleep 60",
        Duration::from_millis(300),
    )
    .unwrap();
    assert_eq!(
        (said.outcome, said.out.as_slice()),
        (Outcome::Late, b"begun\n".as_slice())
    );
    let said = ask("echo done; sleep 60 &", long).unwrap();
    assert_eq!(
        (said.outcome, said.out.as_slice()),
        (Outcome::Success, b"done\n".as_slice())
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_partition_is_written_over_and_keeps_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("partition");
    std::fs::write(&path, vec![7; 3 << 20]).unwrap();
    assert_eq!(Linux.room(&path).unwrap(), 3 << 20);
    let image: Vec<u8> = (0..2_500_000_u32).map(|byte| byte as u8).collect();
    Linux.overwrite(&path, &mut image.as_slice()).unwrap();
    let now = std::fs::read(&path).unwrap();
    assert_eq!(
        (&now[..image.len()], now.len()),
        (image.as_slice(), 3 << 20)
    );
    assert!(now[image.len()..].iter().all(|byte| *byte == 7));
    let large = vec![1; (3 << 20) + 1];
    let error = Linux.overwrite(&path, &mut large.as_slice()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 << 20);
    let missing = folder.path().join("none");
    assert_eq!(
        Linux.room(&missing).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
}
