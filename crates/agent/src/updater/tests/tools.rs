//! Updates over power cuts with other people's update systems: boot loaders and tools that keep what they know on the same disk,
//! and lose power in the middle of what they do.
//!
//! The machine has two partitions. Of four releases "one" and "better" are good, "bad" fails its self-test, and "dead" does not
//! start: the boot loader goes back by itself.

use std::collections::BTreeMap;

use kusabi_core::device::Trust;
use kusabi_core::release::ProofBundle;

use super::*;
use crate::daemon::tests::world::World as Fleet;

mod failing;

const BYTES: usize = 20_000;
const PARTITIONS: [&str; 2] = ["/dev-a", "/dev-b"];

/// An update system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Partitions,
    Rauc,
    /// RAUC whose owner has left it to activate what it installs.
    RaucActivating,
    Swupdate,
    Mender,
    Script,
}

const ALL: [Kind; 6] = [
    Kind::Partitions,
    Kind::Rauc,
    Kind::RaucActivating,
    Kind::Swupdate,
    Kind::Mender,
    Kind::Script,
];

impl Kind {
    const fn format(self) -> &'static str {
        match self {
            Self::Partitions => "image",
            Self::Rauc | Self::RaucActivating => "raucb",
            Self::Swupdate => "swu",
            Self::Mender => "mender",
            Self::Script => "whatever",
        }
    }

    fn config(self) -> UpdaterConfig {
        let deadline = Duration::from_secs(1);
        let command = |words: &[&str]| Command {
            program: words[0].into(),
            arguments: words[1..].iter().map(|&word| word.into()).collect(),
            environment: vec![],
            deadline,
        };
        let boot = BootCommands {
            current: command(&["current"]),
            activate: command(&["activate", SLOT]),
            mark_good: Some(command(&["mark-good", SLOT])),
            names: None,
        };
        match self {
            Self::Partitions => UpdaterConfig::Partitions(PartitionsConfig {
                devices: PARTITIONS.map(PathBuf::from),
                boot,
            }),
            Self::Rauc | Self::RaucActivating => UpdaterConfig::Rauc(RaucConfig {
                program: "rauc".into(),
                install_deadline: deadline,
                deadline,
            }),
            Self::Swupdate => UpdaterConfig::Swupdate(SwupdateConfig {
                program: "swupdate".into(),
                options: vec!["-k".into(), "key".into()],
                select: ["stable,a".into(), "stable,b".into()],
                boot,
                install_deadline: deadline,
            }),
            Self::Mender => UpdaterConfig::Mender(MenderConfig {
                program: "mender".into(),
                options: vec![],
                install_deadline: deadline,
                deadline,
            }),
            Self::Script => UpdaterConfig::Script(ScriptConfig {
                install: command(&["script", "install"]),
                switch: command(&["script", "switch"]),
                is_switched: command(&["script", "is-switched"]),
                commit: command(&["script", "commit"]),
                switch_back: command(&["script", "switch-back"]),
            }),
        }
    }
}

/// The releases in the format of an update system.
fn updates_of(kind: Kind) -> &'static [Update] {
    static UPDATES: OnceLock<BTreeMap<&'static str, Vec<Update>>> = OnceLock::new();
    let all = UPDATES.get_or_init(|| {
        let formats = ALL.map(Kind::format);
        formats.map(|format| (format, make(format))).into()
    });
    &all[kind.format()]
}

fn image(text: &str) -> Vec<u8> {
    let mut image = text.as_bytes().to_vec();
    image.resize(BYTES, text.as_bytes()[text.len() - 1]);
    image
}

fn make(format: &str) -> Vec<Update> {
    let mut fleet = Fleet::new();
    let releases = [("one", 0), ("bad", 0), ("dead", 0), ("better", 2)];
    let made = releases.map(|(version, counter)| {
        let good = if counter == 0 && version != "one" {
            ""
        } else {
            "good "
        };
        let payload = image(&format!("{good}{version}"));
        let digest = fleet.release_of(version, counter, format, payload.clone());
        (digest, payload)
    });
    let org = fleet.shop.ledger.world.org;
    let anchor = fleet.provisioning(None, &["http://server"]);
    let trust = kusabi_core::device::Provisioning::decode(&anchor)
        .unwrap()
        .trust;
    let trust: &'static Trust = Box::leak(Box::new(trust));
    made.map(|(digest, payload)| {
        let path = format!("/device/v1/releases/{digest}");
        let signed: &'static [u8] = Box::leak(fleet.get(&path).unwrap().into());
        let signed = SignedManifest::decode(signed).unwrap();
        let proofs = fleet.get(&format!("{path}/proofs")).unwrap();
        let device = DeviceFacts {
            chain: trust.anchor().chain(),
            org,
            device_type: Label::new("cam-a").unwrap(),
            channel: Label::new("stable").unwrap(),
            counter: 0,
            channel_minimum: 0,
            floor: Height::ZERO,
        };
        let proofs = ProofBundle::decode(&proofs).unwrap();
        Update {
            release: proofs.check(&signed, trust, &device).unwrap(),
            payloads: vec![payload],
        }
    })
    .into()
}

/// A machine with two partitions, a boot loader and the tools of an update system.
#[derive(Clone)]
struct Machine {
    kind: Kind,
    disk: Sim,
    boots: Rc<Cell<u32>>,
    running: Rc<Cell<usize>>,
    /// How many commands of the update system end well before one acts and says that it failed.
    failing: Rc<Cell<Option<u32>>>,
}

impl Machine {
    fn new(kind: Kind) -> Self {
        let disk = Sim::with_dirs(&["/state", "/state/staging", "/boot", "/proc"]);
        let machine = Self {
            kind,
            disk,
            boots: Rc::default(),
            running: Rc::default(),
            failing: Rc::default(),
        };
        for (path, content) in [
            (PARTITIONS[0], image("good factory")),
            (PARTITIONS[1], vec![0; BYTES]),
            ("/boot/next", b"a".into()),
            ("/boot/bad", b"".into()),
            ("/boot/mender", b"factory".into()),
            ("/proc/cmdline", b"".into()),
        ] {
            machine.put(path, &content).unwrap();
        }
        machine.start();
        machine
    }

    fn put(&self, path: &str, content: &[u8]) -> io::Result<()> {
        crate::disk::replace(&self.disk, Path::new(path), content, 0o600)
    }

    fn text(&self, path: &str) -> String {
        let bytes = self.disk.read(Path::new(path), 100).unwrap();
        String::from_utf8(bytes.unwrap_or_default()).unwrap()
    }

    fn partition(&self, slot: usize) -> Vec<u8> {
        let path = Path::new(PARTITIONS[slot]);
        self.disk.read(path, BYTES as u64).unwrap().unwrap()
    }

    /// The slot that is started next, and how often it is tried: 0 is for ever. Mender sets both in one step.
    fn next(&self) -> (usize, u8) {
        let text = self.text("/boot/next");
        let tries = text.as_bytes().get(1).map_or(0, |digit| digit - b'0');
        (usize::from(text.starts_with('b')), tries)
    }

    /// What the boot loader starts.
    fn start(&self) {
        let set = |content: String| {
            let path = Path::new("/boot/next");
            self.disk.spoil(path, |file| *file = content.into());
        };
        let (mut next, tries) = self.next();
        let dead = self.partition(next).starts_with(b"dead");
        match tries {
            0 => {}
            1 if !dead => set(format!("{}2", SLOTS[next])),
            // It was tried and not committed.
            _ => {
                next = 1 - next;
                set(SLOTS[next].into());
            }
        }
        if self.text("/boot/bad") == SLOTS[next] || self.partition(next).starts_with(b"dead") {
            next = 1 - next;
        }
        let line = format!("console=ttyS0 root={} quiet\n", PARTITIONS[next]);
        let path = Path::new("/proc/cmdline");
        self.disk.spoil(path, |file| *file = line.into());
        self.running.set(next);
        self.boots.set(self.boots.get() + 1);
    }

    fn restart(&self) {
        self.disk.restart();
        self.start();
    }

    fn boot(&self, seed: u64) {
        self.disk.boot(seed);
        self.start();
    }

    fn open(&self) -> Result<Updates<Sim, AnyUpdater<Sim, Self>, Self>, UpdateError> {
        let config = self.kind.config();
        let updater = AnyUpdater::new(
            self.disk.clone(),
            Path::new("/state"),
            &config,
            self.clone(),
        );
        let settings = settings(Restart::Machine);
        Updates::open(
            self.disk.clone(),
            "/state/update".into(),
            settings,
            updater,
            self.clone(),
        )
    }

    fn fill(&self, slot: usize, from: &str) -> io::Result<()> {
        let mut file = self.disk.open(Path::new(from))?;
        self.disk.overwrite(Path::new(PARTITIONS[slot]), &mut file)
    }

    fn rauc(&self, words: &[&str]) -> io::Result<String> {
        let name = |slot: usize| format!("rootfs.{slot}");
        let slot = |name: &str| usize::from(name == "rootfs.1");
        match words {
            ["status", "--output-format=json"] => {
                let booted = ["A", "B"][self.running.get()];
                let primary = name(self.next().0);
                return Ok(format!(
                    r#"{{"booted":"{booted}","boot_primary":"{primary}","slots":[{{"rootfs.0":{{"class":"rootfs","bootname":"A"}}}},{{"rootfs.1":{{"class":"rootfs","bootname":"B"}}}},{{"data.0":{{"class":"data","bootname":null}}}}]}}"#
                ));
            }
            ["install", path] => {
                let other = 1 - self.running.get();
                self.put("/boot/bad", SLOTS[other].as_bytes())?;
                self.fill(other, path)?;
                if self.kind == Kind::RaucActivating {
                    self.rauc(&["status", "mark-active", &name(other)])?;
                }
            }
            ["status", "mark-active", name] => {
                if self.text("/boot/bad") == SLOTS[slot(name)] {
                    self.put("/boot/bad", b"")?;
                }
                self.put("/boot/next", SLOTS[slot(name)].as_bytes())?;
            }
            ["status", "mark-good", name] => assert_eq!(slot(name), self.running.get()),
            ["status", "mark-bad", name] => self.put("/boot/bad", SLOTS[slot(name)].as_bytes())?,
            other => panic!("no rauc {other:?}"),
        }
        Ok(String::new())
    }

    /// Exit code 2 when there is nothing to finish. What Mender knows: the name of what is committed, and of what is installed, which
    /// it notes when it is done with installing.
    fn mender(&self, words: &[&str]) -> io::Result<(i32, String)> {
        let known = self.text("/boot/mender");
        let (name, noted) = match known.split_once('|') {
            Some((name, noted)) => (name, Some(noted)),
            None => (known.as_str(), None),
        };
        let know = |known: &str| self.put("/boot/mender", known.as_bytes());
        let (next, tries) = self.next();
        let code = match (words, noted) {
            (["show-artifact"], _) => return Ok((0, format!("{name}\n"))),
            (["install", path], _) => {
                let other = 1 - self.running.get();
                self.fill(other, path)?;
                self.put("/boot/next", format!("{}1", SLOTS[other]).as_bytes())?;
                let installed = String::from_utf8_lossy(&self.partition(other)[..8]).into_owned();
                know(&format!("{name}|{installed}"))?;
                0
            }
            (_, None) => 2,
            (["commit"], Some(installed)) if tries > 0 => {
                self.put("/boot/next", SLOTS[next].as_bytes())?;
                know(installed)?;
                0
            }
            (["commit"], Some(_)) => {
                know(name)?;
                2
            }
            (["rollback"], Some(_)) => {
                if tries > 0 {
                    self.put("/boot/next", SLOTS[1 - next].as_bytes())?;
                }
                know(name)?;
                0
            }
            other => panic!("no mender {other:?}"),
        };
        Ok((code, String::new()))
    }

    fn script(&self, command: &Command) -> io::Result<String> {
        let words: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        let committed = usize::from(self.text("/boot/committed") == "b");
        match words.as_slice() {
            ["install", path] => {
                assert!(
                    command
                        .environment
                        .contains(&("KUSABI_FORMAT", "whatever".into()))
                );
                self.fill(1 - committed, path)?;
            }
            ["switch"] => self.put("/boot/next", SLOTS[1 - committed].as_bytes())?,
            ["is-switched"] => {
                let switched = self.text("/boot/next") != SLOTS[committed];
                return Ok(if switched { "yes\n" } else { "no\n" }.into());
            }
            ["commit"] => {
                let next = self.text("/boot/next");
                self.put("/boot/committed", next.as_bytes())?;
            }
            ["switch-back"] => self.put("/boot/next", SLOTS[committed].as_bytes())?,
            other => panic!("no script {other:?}"),
        }
        Ok(String::new())
    }
}

impl System for Machine {
    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("boot {}", self.boots.get()))
    }

    fn run(&mut self, command: &Command) -> io::Result<Outcome> {
        if self.disk.is_cut() {
            return Err(io::Error::other("the power is cut"));
        }
        let running = self.partition(self.running.get());
        Ok(match command.program.as_str() {
            "restart" => Outcome::Success,
            "self-test" if running.starts_with(b"good") => Outcome::Success,
            "self-test" => Outcome::Failure(Some(1)),
            other => panic!("no command {other}"),
        })
    }

    fn ask(&mut self, command: &Command) -> io::Result<Said> {
        if self.disk.is_cut() {
            return Err(io::Error::other("the power is cut"));
        }
        let words: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        let (code, out) = match (command.program.as_str(), words.as_slice()) {
            ("rauc", words) => (0, self.rauc(words)?),
            ("mender", words) => self.mender(words)?,
            ("script", _) => (0, self.script(command)?),
            ("swupdate", ["-k", "key", "-e", select, "-i", path]) => {
                let slot = usize::from(*select == "stable,b");
                assert_ne!(slot, self.running.get());
                self.fill(slot, path)?;
                (
                    1,
                    "[INFO ] : SWUPDATE successful ! SWUPDATE successful !\n".into(),
                )
            }
            ("current", []) => (0, format!("{}\n", SLOTS[self.running.get()])),
            ("activate", [slot]) => {
                self.put("/boot/next", slot.as_bytes())?;
                (0, String::new())
            }
            ("mark-good", [slot]) => {
                assert_eq!(*slot, SLOTS[self.running.get()]);
                (0, String::new())
            }
            (program, words) => panic!("no tool {program} {words:?}"),
        };
        let left = self.failing.get();
        self.failing.set(left.and_then(|left| left.checked_sub(1)));
        let (code, out) = if left == Some(0) {
            (100, String::new())
        } else {
            (code, out)
        };
        Ok(Said {
            outcome: if code == 0 {
                Outcome::Success
            } else {
                Outcome::Failure(Some(code))
            },
            last: out.clone().into_bytes(),
            out: out.into_bytes(),
        })
    }
}

fn agent(machine: &Machine, wanted: &Update) -> Result<Next, UpdateError> {
    let all = updates_of(machine.kind);
    live(machine.open()?, &machine.disk, wanted, |digest| {
        all.iter()
            .find(|update| update.release.digest() == digest)
            .unwrap()
    })
}

/// What must hold whenever the agent has ended or the power has come back.
fn check(machine: &Machine, what: &str) {
    let all = updates_of(machine.kind);
    let running = machine.partition(machine.running.get());
    let factory = image("good factory");
    let whole = running == factory || all.iter().any(|update| update.payloads[0] == running);
    assert!(
        whole && !running.starts_with(b"dead"),
        "{what}: it runs {:?}",
        &running[..20]
    );
    let updates = machine
        .open()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let record = updates.record();
    if record.phase == Phase::Idle {
        let recorded = all
            .iter()
            .find(|update| Some(update.release.digest()) == record.running);
        let recorded = recorded.map_or(&factory, |update| &update.payloads[0]);
        assert!(
            running == *recorded,
            "{what}: it runs {:?}, and the record says {:?}",
            &running[..20],
            &recorded[..20]
        );
    }
    if record.counter != 0 && record.phase == Phase::Idle {
        // Mender does not say what runs: a release that the boot loader went back from may have raised the counter and failed.
        let better = Some(all[3].release.digest());
        let failed = machine.kind == Kind::Mender && record.failed == better;
        assert!(record.running == better || failed, "{what}: {record:?}");
    }
}

/// Lets the agent run over restarts and cuts until it has nothing to do; how often the power was cut.
fn settle(machine: &Machine, wanted: &Update, seed: u64, what: &str) -> usize {
    let mut cuts = 0;
    for _ in 0..30 {
        match agent(machine, wanted) {
            Ok(Next::Nothing) => return cuts,
            Ok(Next::Down) => machine.restart(),
            Err(UpdateError::Changed { .. }) => {}
            Err(error) => {
                assert!(machine.disk.is_cut(), "{what}: {error}");
                machine.boot(seed);
                cuts += 1;
            }
            other => panic!("{what}: {other:?}"),
        }
        check_power(machine, what);
    }
    panic!("{what}: the update does not settle");
}

/// Where an update system has switched by itself, what runs is told apart by the next start of the agent only.
fn check_power(machine: &Machine, what: &str) {
    if machine.kind != Kind::Mender {
        check(machine, what);
    }
}

#[test]
fn good_ones_stay_and_others_go_with_each_update_system() {
    for kind in ALL {
        let machine = Machine::new(kind);
        let [one, bad, dead, better] = updates_of(kind) else {
            panic!("four updates");
        };
        for (update, stays) in [(one, true), (bad, false), (dead, false), (better, true)] {
            // An owner's script that does not say what runs is believed.
            if kind == Kind::Script && std::ptr::eq(update, dead) {
                continue;
            }
            let what = format!(
                "{kind:?}, {:?}",
                String::from_utf8_lossy(&update.payloads[0][..8])
            );
            settle(&machine, update, 0, &what);
            check(&machine, &what);
            let record = machine.open().unwrap().record().clone();
            let digest = Some(update.release.digest());
            assert_eq!(record.phase, Phase::Idle, "{what}");
            assert_eq!(
                [record.running == digest, record.failed == digest],
                [stays, !stays],
                "{what}"
            );
        }
        assert_eq!(machine.open().unwrap().record().counter, 2, "{kind:?}");
    }
}

#[test]
fn a_power_cut_before_any_operation_of_each_update_system() {
    for kind in ALL {
        let mut cuts = 0;
        let mut given_up = 0;
        for at in 0.. {
            let before = cuts;
            for seed in 0..3 {
                let what = format!("{kind:?}, cut at {at}, seed {seed}");
                let machine = Machine::new(kind);
                machine.disk.cut_after(at);
                let [one, bad, dead, better] = updates_of(kind) else {
                    panic!("four updates");
                };
                for update in [one, bad, dead, better] {
                    if kind == Kind::Script && std::ptr::eq(update, dead) {
                        continue;
                    }
                    cuts += settle(&machine, update, seed, &what);
                    check(&machine, &what);
                    let record = machine.open().unwrap().record().clone();
                    let digest = Some(update.release.digest());
                    assert_eq!(record.phase, Phase::Idle, "{what}");
                    if std::ptr::eq(update, one) || std::ptr::eq(update, better) {
                        given_up += usize::from(record.running != digest);
                    } else {
                        assert_eq!(record.failed, digest, "{what}");
                    }
                }
            }
            if cuts == before {
                break;
            }
        }
        println!("{kind:?}: {cuts} cuts, {given_up} good updates given up");
        assert!(cuts > 100, "{kind:?}: {cuts}");
        // Only where a tool does not say how far it came is a good update given up, and never is one kept that is not.
        let gives_up = [Kind::Mender, Kind::RaucActivating].contains(&kind);
        assert!(gives_up || given_up == 0, "{kind:?}: {given_up}");
    }
}

#[test]
fn one_power_cut_after_the_other_with_each_update_system() {
    for kind in ALL {
        let mut cuts = 0;
        for seed in 0..60 {
            let mut dice = Dice::new(seed + 7);
            let machine = Machine::new(kind);
            for (number, update) in updates_of(kind).iter().enumerate() {
                if kind == Kind::Script && number == 2 {
                    continue;
                }
                let what = format!("{kind:?}, seed {seed}, update {number}");
                for round in 0.. {
                    // After some rounds the power stays, else a self-test would never be reached.
                    if round < 12 {
                        machine.disk.cut_after(dice.roll(50));
                    }
                    match agent(&machine, update) {
                        Ok(Next::Nothing) => break,
                        Ok(_) => machine.restart(),
                        Err(UpdateError::Changed { .. }) => {}
                        Err(error) => {
                            assert!(machine.disk.is_cut(), "{what}: {error}");
                            machine.boot(dice.roll(1000) as u64);
                            cuts += 1;
                        }
                    }
                    check_power(&machine, &what);
                    assert!(round < 60, "{what}: the update does not settle");
                }
                machine.restart();
                check(&machine, &what);
            }
        }
        println!("{kind:?}: {cuts} cuts");
        assert!(cuts > 300, "{kind:?}: {cuts}");
    }
}

/// Has a release installed whose payload has this format; nothing has changed when it is refused.
fn refused(kind: Kind, format: &str, spoil: impl FnOnce(&Machine, &Staged<'_>)) -> UpdateError {
    let machine = Machine::new(kind);
    let update = &make(format)[0];
    let staging = Staging::new(machine.disk.clone(), "/state/staging".into());
    let mut receiving = staging.receive(&update.release, "system").unwrap().unwrap();
    receiving.write(&update.payloads[0]).unwrap();
    let staged = [receiving.finish().unwrap()];
    spoil(&machine, &staged[0]);
    let mut updates = machine.open().unwrap();
    let error = updates.install(&update.release, &staged).unwrap_err();
    assert_eq!(updates.record().phase, Phase::Idle);
    machine.restart();
    check(&machine, format);
    assert!(
        machine
            .partition(machine.running.get())
            .starts_with(b"good factory")
    );
    error
}

#[test]
fn what_is_not_for_an_update_system_is_refused_before_it_is_touched() {
    for kind in [Kind::Partitions, Kind::Rauc, Kind::Swupdate, Kind::Mender] {
        let error = refused(kind, "tar", |_, _| {});
        assert!(
            matches!(error, UpdateError::Format { .. }),
            "{kind:?}: {error}"
        );
    }
    // What the disk changed after the download reaches no tool.
    for kind in [Kind::Rauc, Kind::Swupdate, Kind::Mender, Kind::Script] {
        let error = refused(kind, kind.format(), |machine, staged| {
            machine
                .disk
                .spoil(staged.path(), |file| file[BYTES / 2] ^= 1);
        });
        assert!(
            matches!(error, UpdateError::Changed { .. }),
            "{kind:?}: {error}"
        );
    }
    let error = refused(Kind::Partitions, "image", |machine, _| {
        let path = Path::new(PARTITIONS[1]);
        machine.disk.spoil(path, |file| file.truncate(BYTES - 1));
    });
    assert!(matches!(error, UpdateError::TooLarge { .. }), "{error}");
}
