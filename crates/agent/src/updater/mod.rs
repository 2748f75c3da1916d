//! Updates: from a verified release to a device that runs it, or runs what it ran before.
//!
//! [`Updater`] is what differs between update systems; [`Updates`] is what does not: the order of the phases, each of which is
//! on the disk before it begins. Whatever the power cut interrupts, [`Updates::resume`] goes on from the last phase recorded.
//!
//! ```text
//!        install              restart                        self-test         commit
//! Idle ──────────→ Installed ─────────→ Restarting ──→ Trial ─────────→ Trial ───────→ Committing ──→ Idle
//!   ↑     Installing  │ refuse                           │ failed, refused, too many starts
//!   └─────────────────┴──────────────────────────────────┴───→ RollingBack ──→ Idle
//! ```
//! One door: installing, restarting and committing each take a [`VerifiedRelease`], so that the caller has checked it again,
//! with the newest proofs and this device's counter.

mod any;
mod command;
mod error;
mod index;
mod mender;
mod pair;
mod partitions;
mod payload;
mod rauc;
mod record;
mod script;
mod seeds;
mod slots;
mod staging;
mod swupdate;

use std::path::PathBuf;

use kusabi_core::id::Digest;
use kusabi_core::release::VerifiedRelease;

pub(crate) use any::AnyUpdater;
pub use any::UpdaterConfig;
pub use command::{BOOT_ID, Command, Machine, Outcome, Said, System};
pub use error::UpdateError;
pub(crate) use index::{BadIndex, ChunkIndex, ReceivingIndex};
pub use mender::MenderConfig;
pub use pair::SLOTS;
pub use partitions::{BootCommands, PartitionsConfig, SLOT};
pub use rauc::RaucConfig;
pub use record::{Phase, Record};
pub use script::ScriptConfig;
pub(crate) use seeds::{Seeds, found as found_seeds};
pub use slots::Slots;
pub(crate) use staging::PIECE_BYTES;
pub use staging::{Receiving, Staged, Staging};
pub use swupdate::SwupdateConfig;

use crate::disk::{self, Disk};

/// What differs between update systems. Each step may be repeated after a power cut, and then ends as if it had been done once.
pub trait Updater {
    /// Puts the payloads where they can be started from, beside what runs. Until [`switch`](Self::switch) the next start
    /// starts what runs now.
    ///
    /// # Errors
    /// [`UpdateError`]; what runs is untouched then.
    fn install(
        &mut self,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
    ) -> Result<(), UpdateError>;

    /// From the next start on, what was installed is started.
    ///
    /// # Errors
    /// [`UpdateError`]
    fn switch(&mut self) -> Result<(), UpdateError>;

    /// Whether the next start starts something that is not committed, as far as this device has asked for it.
    ///
    /// # Errors
    /// [`UpdateError`]
    fn is_switched(&mut self) -> Result<bool, UpdateError>;

    /// What runs now: a boot loader may have gone back by itself.
    ///
    /// # Errors
    /// [`UpdateError`]
    fn runs(&mut self) -> Result<Runs, UpdateError>;

    /// What was switched to is kept from now on.
    ///
    /// # Errors
    /// [`UpdateError::FellBack`] when it is known that something else runs, and others. It may be switched to again then.
    fn commit(&mut self) -> Result<(), UpdateError>;

    /// From the next start on, what was committed last is started. What was installed may be switched to again.
    ///
    /// # Errors
    /// [`UpdateError`]
    fn switch_back(&mut self) -> Result<(), UpdateError>;
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// What was committed last.
    Committed,
    /// What was installed, and is not committed.
    Installed,
    /// The update system cannot say.
    Unknown,
}

/// What a restart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The machine restarts: the command's end means nothing, the agent is started again.
    Machine,
    /// Only what is updated restarts: when the command has ended well, it runs.
    Service,
}

/// How this device restarts and tests what it installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Command that restarts.
    pub restart: Command,
    /// What it restarts.
    pub restarts: Restart,
    /// Command whose success says that what was installed works; without one, that the agent runs is enough.
    pub self_test: Option<Command>,
    /// How many starts of the agent an update may take until it is committed; 1 or more.
    pub starts_max: u8,
}

/// What has to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: no update is under way.
    Nothing,
    /// Check the release again and call [`Updates::restart`], or [`Updates::refuse`].
    Restart(Digest),
    /// Wait until the machine goes down.
    Down,
    /// Call [`Updates::self_test`].
    SelfTest(Digest),
    /// Check the release again and call [`Updates::commit`], or [`Updates::refuse`].
    Commit(Digest),
}

/// The updates of a device; see the module.
#[derive(Debug)]
pub struct Updates<D, U, S> {
    disk: D,
    path: PathBuf,
    settings: Settings,
    updater: U,
    system: S,
    record: Record,
}

impl<D: Disk, U: Updater, S: System> Updates<D, U, S> {
    /// Reads the record of updates in this file; one that is not there says that the factory image runs and the counter is 0.
    ///
    /// # Errors
    /// [`UpdateError::Disk`], [`UpdateError::Record`]
    pub fn open(
        disk: D,
        path: PathBuf,
        settings: Settings,
        updater: U,
        system: S,
    ) -> Result<Self, UpdateError> {
        let bytes = match disk.read(&path, Record::BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => return Err(UpdateError::Disk { path, error }),
        };
        let record = match bytes.map(|bytes| Record::decode(&bytes)) {
            None => Record::default(),
            Some(Ok(record)) => record,
            Some(Err(_)) => return Err(UpdateError::Record { path }),
        };
        Ok(Self {
            disk,
            path,
            settings,
            updater,
            system,
            record,
        })
    }

    /// What is recorded: the counter, the running release, the phase.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Called once after the agent's start: finds out how far an update came, and does what needs no release.
    ///
    /// # Errors
    /// [`UpdateError`]; call it again then.
    pub fn resume(&mut self) -> Result<Next, UpdateError> {
        match self.record.phase.clone() {
            Phase::Idle => Ok(Next::Nothing),
            Phase::Installing(release) => {
                // Nothing of it is started and the downloads are still there, unless a tool has switched by itself.
                if self.updater.runs()? == Runs::Installed {
                    return self.roll_back(release);
                }
                if self.updater.is_switched()? {
                    self.updater.switch_back()?;
                }
                self.enter(Phase::Idle).map(|()| Next::Nothing)
            }
            Phase::Installed(release) => {
                // Whoever told the boot loader, nobody had asked the ledger: it was to be asked before the restart.
                if self.updater.runs()? == Runs::Installed {
                    if self.record.running != Some(release) {
                        return self.roll_back(release);
                    }
                } else if self.updater.is_switched()? {
                    self.updater.switch_back()?;
                }
                Ok(Next::Restart(release))
            }
            Phase::Restarting { release, boot } => {
                let runs = self.updater.runs()?;
                if !self.updater.is_switched()? {
                    if runs != Runs::Installed {
                        // The power went before the switch, or in it: not every boot loader says which.
                        self.updater.switch_back()?;
                        self.enter(Phase::Installed(release))?;
                        return Ok(Next::Restart(release));
                    }
                    // It went when the switch was done and not noted yet.
                    self.updater.switch()?;
                }
                if boot == self.boot_id()? {
                    // The restart command was not run, or not to its end; it may be run again.
                    return Ok(Next::Restart(release));
                }
                if runs == Runs::Committed {
                    return self.roll_back(release);
                }
                self.enter(Phase::Trial { release, starts: 1 })?;
                Ok(Next::SelfTest(release))
            }
            Phase::Trial { release, starts } => {
                let starts = starts.saturating_add(1);
                if starts > self.settings.starts_max || self.updater.runs()? == Runs::Committed {
                    return self.roll_back(release);
                }
                self.enter(Phase::Trial { release, starts })?;
                Ok(Next::SelfTest(release))
            }
            Phase::Committing(release) => self.finish_commit(release, true),
            Phase::RollingBack { release, boot } => {
                if self.updater.is_switched()? || boot == self.boot_id()? {
                    return self.roll_back(release);
                }
                if self.updater.runs()? == Runs::Installed {
                    return Err(UpdateError::NotBack);
                }
                self.rolled_back(release)
            }
        }
    }

    /// Installs a release beside what runs.
    ///
    /// # Errors
    /// [`UpdateError`]; what runs is untouched then, and another one may be installed.
    pub fn install(
        &mut self,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
    ) -> Result<Next, UpdateError> {
        if !matches!(self.record.phase, Phase::Idle | Phase::Installing(_)) {
            return Err(UpdateError::OutOfTurn(self.record.phase.name()));
        }
        if !release.admits(self.record.counter) {
            return Err(UpdateError::Counter);
        }
        let verified: Vec<_> = payloads.iter().map(|staged| *staged.payload()).collect();
        if !release.is_complete(&verified) {
            return Err(UpdateError::Payloads);
        }
        self.enter(Phase::Installing(release.digest()))?;
        if let Err(error) = self.updater.install(release, payloads) {
            // What the next start may start stays on the record until it was switched back from.
            if !matches!(self.updater.is_switched(), Ok(true)) {
                self.enter(Phase::Idle)?;
            }
            return Err(error);
        }
        self.enter(Phase::Installed(release.digest()))?;
        Ok(Next::Restart(release.digest()))
    }

    /// Switches to what was installed and restarts.
    ///
    /// # Errors
    /// [`UpdateError`]; it may be called again then.
    pub fn restart(&mut self, release: &VerifiedRelease<'_>) -> Result<Next, UpdateError> {
        let digest = match &self.record.phase {
            Phase::Installed(digest) => *digest,
            Phase::Restarting { release, .. } => *release,
            other => return Err(UpdateError::OutOfTurn(other.name())),
        };
        self.admit(release, digest)?;
        let boot = self.boot_id()?;
        self.enter(Phase::Restarting {
            release: digest,
            boot,
        })?;
        if let Err(error) = self.updater.switch() {
            // It may have been done all the same. Nothing is started before it is asked for again, and giving it up needs no restart.
            if self.updater.switch_back().is_ok() {
                self.enter(Phase::Installed(digest))?;
            }
            return Err(error);
        }
        self.run_restart()?;
        match self.settings.restarts {
            Restart::Machine => Ok(Next::Down),
            Restart::Service => {
                self.enter(Phase::Trial {
                    release: digest,
                    starts: 1,
                })?;
                Ok(Next::SelfTest(digest))
            }
        }
    }

    /// Runs the self-test; rolls back when it does not succeed within its deadline.
    ///
    /// # Errors
    /// [`UpdateError`]
    pub fn self_test(&mut self) -> Result<Next, UpdateError> {
        let Phase::Trial { release, .. } = self.record.phase else {
            return Err(UpdateError::OutOfTurn(self.record.phase.name()));
        };
        // A test that cannot even be run has not succeeded.
        let passed = match &self.settings.self_test {
            None => true,
            Some(command) => matches!(self.system.run(command), Ok(Outcome::Success)),
        };
        if passed {
            Ok(Next::Commit(release))
        } else {
            self.roll_back(release)
        }
    }

    /// Keeps what runs now. The device's counter rises here and nowhere else.
    ///
    /// # Errors
    /// [`UpdateError`]
    pub fn commit(&mut self, release: &VerifiedRelease<'_>) -> Result<Next, UpdateError> {
        let Phase::Trial {
            release: digest, ..
        } = self.record.phase
        else {
            return Err(UpdateError::OutOfTurn(self.record.phase.name()));
        };
        self.admit(release, digest)?;
        if self.updater.runs()? == Runs::Committed {
            return self.roll_back(digest);
        }
        self.write(Record {
            counter: release.counter_after_commit(self.record.counter),
            phase: Phase::Committing(digest),
            ..self.record.clone()
        })?;
        self.finish_commit(digest, false)
    }

    /// The release was refused when it was checked again: drops what is not started yet, rolls back what is.
    ///
    /// # Errors
    /// [`UpdateError`]
    pub fn refuse(&mut self) -> Result<Next, UpdateError> {
        match self.record.phase.clone() {
            Phase::Installed(release) => {
                // A switch that failed may have been done all the same.
                self.updater.switch_back()?;
                self.rolled_back(release)
            }
            Phase::Restarting { release, .. } | Phase::Trial { release, .. } => {
                self.roll_back(release)
            }
            other => Err(UpdateError::OutOfTurn(other.name())),
        }
    }

    fn admit(&self, release: &VerifiedRelease<'_>, wanted: Digest) -> Result<(), UpdateError> {
        if release.digest() != wanted {
            return Err(UpdateError::OtherRelease);
        }
        if !release.admits(self.record.counter) {
            return Err(UpdateError::Counter);
        }
        Ok(())
    }

    fn finish_commit(&mut self, release: Digest, after_cut: bool) -> Result<Next, UpdateError> {
        match self.updater.commit() {
            // The counter has risen. What was tested and went with the power is started once more; what never ran is given up.
            Err(UpdateError::FellBack) if after_cut => {
                self.enter(Phase::Installed(release))?;
                return Ok(Next::Restart(release));
            }
            Err(UpdateError::FellBack) => return self.roll_back(release),
            committed => committed?,
        }
        self.write(Record {
            running: Some(release),
            failed: None,
            phase: Phase::Idle,
            ..self.record.clone()
        })?;
        Ok(Next::Nothing)
    }

    fn roll_back(&mut self, release: Digest) -> Result<Next, UpdateError> {
        let boot = self.boot_id()?;
        self.enter(Phase::RollingBack { release, boot })?;
        self.updater.switch_back()?;
        if self.settings.restarts == Restart::Machine && self.updater.runs()? == Runs::Committed {
            return self.rolled_back(release);
        }
        self.run_restart()?;
        match self.settings.restarts {
            Restart::Machine => Ok(Next::Down),
            Restart::Service => self.rolled_back(release),
        }
    }

    fn rolled_back(&mut self, release: Digest) -> Result<Next, UpdateError> {
        self.write(Record {
            failed: Some(release),
            phase: Phase::Idle,
            ..self.record.clone()
        })?;
        Ok(Next::Nothing)
    }

    fn run_restart(&mut self) -> Result<(), UpdateError> {
        let command = &self.settings.restart;
        let outcome = self.system.run(command);
        match outcome {
            Ok(Outcome::Success) => Ok(()),
            Ok(outcome) => Err(UpdateError::Restart {
                command: command.to_string(),
                outcome,
            }),
            Err(error) => Err(UpdateError::Command {
                command: command.to_string(),
                error,
            }),
        }
    }

    fn boot_id(&self) -> Result<String, UpdateError> {
        self.system.boot_id().map_err(|error| UpdateError::Command {
            command: "reading the boot ID".into(),
            error,
        })
    }

    fn enter(&mut self, phase: Phase) -> Result<(), UpdateError> {
        self.write(Record {
            phase,
            ..self.record.clone()
        })
    }

    /// The record is on the disk before anything that relies on it happens.
    fn write(&mut self, record: Record) -> Result<(), UpdateError> {
        disk::replace(&self.disk, &self.path, &record.encode(), 0o600).map_err(|error| {
            UpdateError::Disk {
                path: self.path.clone(),
                error,
            }
        })?;
        self.record = record;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
