//! Boot loaders that do what they are told and say that they could not, or are told by somebody else.

use super::*;
use crate::updater::pair::{Boot, Loader, Pair, SLOTS, Writer};

/// How a boot loader fails the next time that it is told which slot to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Before,
    After,
}

#[derive(Debug)]
struct State {
    boots: u32,
    running: &'static str,
    next: &'static str,
    /// Says which slot is started next.
    says_next: bool,
    /// The next times that it is told, the last one first.
    fails: Vec<Option<Fails>>,
    told: Vec<&'static str>,
    /// The tool that installs switches, too.
    writer_switches: bool,
    written: u32,
}

/// A machine with two slots, its boot loader and the tool that fills slots.
#[derive(Clone)]
struct Machine {
    disk: Sim,
    state: Rc<RefCell<State>>,
}

fn slot(name: &str) -> &'static str {
    SLOTS.into_iter().find(|slot| *slot == name).unwrap()
}

impl Machine {
    fn new(says_next: bool) -> Self {
        Self {
            disk: Sim::with_dirs(&["/state", "/state/staging"]),
            state: Rc::new(RefCell::new(State {
                boots: 0,
                running: "a",
                next: "a",
                says_next,
                fails: vec![],
                told: vec![],
                writer_switches: false,
                written: 0,
            })),
        }
    }

    fn state(&self) -> std::cell::RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// The power goes and comes back.
    fn boot(&self) {
        self.disk.boot(1);
        let mut state = self.state();
        state.boots += 1;
        state.running = state.next;
    }

    fn pair(&self) -> Pair<Sim, Self, Self> {
        Pair::new(
            self.disk.clone(),
            "/state/slots".into(),
            self.clone(),
            self.clone(),
        )
    }

    fn open(&self) -> Updates<Sim, Pair<Sim, Self, Self>, Self> {
        Updates::open(
            self.disk.clone(),
            "/state/update".into(),
            settings(Restart::Machine),
            self.pair(),
            self.clone(),
        )
        .unwrap()
    }

    /// Has the first release installed, beside what runs.
    fn installed(&self) -> Updates<Sim, Pair<Sim, Self, Self>, Self> {
        let update = &updates()[0];
        let mut updates = self.open();
        let staging = Staging::new(self.disk.clone(), "/state/staging".into());
        let receiving = staging.receive(&update.release, "rootfs.tar").unwrap();
        let mut receiving = receiving.unwrap();
        receiving.write(&update.payloads[0]).unwrap();
        let staged = [receiving.finish().unwrap()];
        let next = updates.install(&update.release, &staged).unwrap();
        assert_eq!(next, Next::Restart(update.release.digest()));
        updates
    }
}

impl Loader for Machine {
    fn boot(&mut self) -> Result<Boot, UpdateError> {
        let state = self.state();
        let other = if state.running == "a" { "b" } else { "a" };
        Ok(Boot {
            running: state.running.into(),
            other: other.into(),
            next: state.says_next.then(|| state.next.into()),
        })
    }

    fn activate(&mut self, name: &str) -> Result<(), UpdateError> {
        let mut state = self.state();
        let fails = state.fails.pop().flatten();
        if fails != Some(Fails::Before) {
            state.next = slot(name);
            state.told.push(slot(name));
        }
        match fails {
            None => Ok(()),
            Some(_) => Err(UpdateError::Command {
                command: "activate".into(),
                error: io::Error::other("the boot loader failed"),
            }),
        }
    }

    fn mark_good(&mut self, name: &str) -> Result<(), UpdateError> {
        assert_eq!(name, self.state().running);
        Ok(())
    }

    fn mark_bad(&mut self, _: &str) -> Result<(), UpdateError> {
        Ok(())
    }
}

impl Writer<Sim> for Machine {
    fn write(
        &mut self,
        _: &Sim,
        _: &VerifiedRelease<'_>,
        _: &[Staged<'_>],
        name: &str,
    ) -> Result<(), UpdateError> {
        let mut state = self.state();
        state.written += 1;
        assert_ne!(name, state.running, "what runs is not written over");
        assert_ne!(name, state.next, "a half-written slot would be started");
        if state.writer_switches {
            state.next = slot(name);
        }
        Ok(())
    }
}

impl System for Machine {
    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("boot {}", self.state().boots))
    }

    fn run(&mut self, _: &Command) -> io::Result<Outcome> {
        Ok(Outcome::Success)
    }

    fn ask(&mut self, command: &Command) -> io::Result<Said> {
        panic!("no tool {command}")
    }
}

#[test]
fn no_slot_is_written_while_the_boot_loader_may_start_it() {
    for says_next in [true, false] {
        for writer_switches in [true, false] {
            let what = format!("says next: {says_next}, the tool switches: {writer_switches}");
            let machine = Machine::new(says_next);
            // Told by a command that failed when it had done so: nobody has noted it.
            machine.state().next = "b";
            machine.state().writer_switches = writer_switches;
            drop(machine.installed());
            assert_eq!(machine.state().written, 1, "{what}");
            assert_eq!(machine.state().next, "a", "{what}");
            machine.boot();
            assert_eq!(machine.state().running, "a", "{what}");
        }
    }
}

#[test]
fn a_boot_loader_is_told_what_it_does_not_say_and_no_more() {
    let says = Machine::new(true);
    drop(says.installed());
    assert!(says.state().told.is_empty());
    let silent = Machine::new(false);
    drop(silent.installed());
    assert_eq!(silent.state().told, ["a", "a"]);
}

#[test]
fn where_the_boot_loader_cannot_be_told_nothing_is_written() {
    for fails in [Fails::Before, Fails::After] {
        let machine = Machine::new(false);
        machine.state().next = "b";
        machine.state().fails = vec![Some(fails)];
        let update = &updates()[0];
        let error = machine.pair().install(&update.release, &[]).unwrap_err();
        assert!(error.to_string().contains("the boot loader failed"));
        assert_eq!(machine.state().written, 0, "{fails:?}");
    }
}

#[test]
fn a_switch_that_fails_after_it_was_done_is_taken_back() {
    for says_next in [true, false] {
        let update = &updates()[0];
        let digest = update.release.digest();
        let machine = Machine::new(says_next);
        let mut updates = machine.installed();
        machine.state().fails = vec![Some(Fails::After)];
        let error = updates.restart(&update.release).unwrap_err();
        assert!(error.to_string().contains("the boot loader failed"));
        assert_eq!(updates.record().phase, Phase::Installed(digest));
        assert_eq!(machine.state().next, "a", "says next: {says_next}");
        // The power goes while the ledger is asked again: what was not asked for does not start.
        machine.boot();
        assert_eq!(machine.state().running, "a");
        let mut updates = machine.open();
        assert_eq!(updates.resume().unwrap(), Next::Restart(digest));
        assert_eq!(updates.restart(&update.release).unwrap(), Next::Down);
        machine.boot();
        assert_eq!(machine.state().running, "b");
        let mut updates = machine.open();
        assert_eq!(updates.resume().unwrap(), Next::SelfTest(digest));
        assert_eq!(updates.self_test().unwrap(), Next::Commit(digest));
        assert_eq!(updates.commit(&update.release).unwrap(), Next::Nothing);
        assert_eq!(updates.record().running, Some(digest));
    }
}

#[test]
fn a_switch_that_can_neither_be_done_nor_taken_back_is_remembered() {
    let update = &updates()[0];
    let digest = update.release.digest();
    for says_next in [true, false] {
        let machine = Machine::new(says_next);
        let mut updates = machine.installed();
        machine.state().fails = vec![Some(Fails::Before), Some(Fails::After)];
        updates.restart(&update.release).unwrap_err();
        assert_eq!(updates.record().phase.name(), "restarting");
        assert_eq!(machine.state().next, "b");
        // The agent starts again, the machine has not: before the ledger is asked, a silent boot loader is told to stay.
        let mut updates = machine.open();
        assert_eq!(updates.resume().unwrap(), Next::Restart(digest));
        if !says_next {
            assert_eq!(machine.state().next, "a");
        }
        // Where it can be refused, it is.
        assert_eq!(updates.refuse().unwrap(), Next::Nothing);
        assert_eq!(machine.state().next, "a");
        assert_eq!(updates.record().failed, Some(digest));
    }
}

#[test]
fn a_release_that_is_started_before_the_ledger_was_asked_is_rolled_back() {
    let update = &updates()[0];
    let digest = update.release.digest();
    for says_next in [true, false] {
        let machine = Machine::new(says_next);
        drop(machine.installed());
        // By hand, by a tool, by a boot loader that counts: whoever it was, the ledger was not asked.
        machine.state().next = "b";
        machine.boot();
        assert_eq!(machine.state().running, "b");
        let mut updates = machine.open();
        assert_eq!(updates.resume().unwrap(), Next::Down);
        assert_eq!(updates.record().phase.name(), "rolling back");
        assert_eq!(machine.state().next, "a");
        // The power goes once more before it has gone down.
        machine.boot();
        let mut updates = machine.open();
        assert_eq!(updates.resume().unwrap(), Next::Nothing);
        assert_eq!(machine.state().running, "a");
        let record = updates.record();
        assert_eq!((record.running, record.failed), (None, Some(digest)));
        assert_eq!((&record.phase, record.counter), (&Phase::Idle, 0));
    }
}

#[test]
fn what_is_switched_to_too_early_is_switched_back_from_at_the_next_start() {
    let machine = Machine::new(true);
    drop(machine.installed());
    machine.state().next = "b";
    let digest = updates()[0].release.digest();
    assert_eq!(machine.open().resume().unwrap(), Next::Restart(digest));
    assert_eq!(machine.state().next, "a");
}

#[test]
fn a_repair_that_is_started_too_early_goes_on() {
    let update = &updates()[0];
    let digest = update.release.digest();
    let machine = Machine::new(false);
    drop(machine.installed());
    let record = Record {
        running: Some(digest),
        phase: Phase::Installed(digest),
        ..Record::default()
    };
    let path = Path::new("/state/update");
    disk::replace(&machine.disk, path, &record.encode(), 0o600).unwrap();
    machine.state().next = "b";
    machine.boot();
    // It is the release that the device runs: there is nothing to go back to that the ledger was asked of.
    let mut updates = machine.open();
    assert_eq!(updates.resume().unwrap(), Next::Restart(digest));
    assert_eq!(machine.state().next, "b");
    assert_eq!(updates.restart(&update.release).unwrap(), Next::Down);
    machine.boot();
    let mut updates = machine.open();
    assert_eq!(updates.resume().unwrap(), Next::SelfTest(digest));
}
