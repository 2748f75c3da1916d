//! The updater that a configuration names.

use std::path::{Path, PathBuf};

use kusabi_core::release::VerifiedRelease;

use super::mender::{Mender, MenderConfig};
use super::pair::Pair;
use super::partitions::{Commands, Image, PartitionsConfig};
use super::rauc::{Rauc, RaucConfig, RaucInstall};
use super::script::{Script, ScriptConfig};
use super::swupdate::{SwupdateConfig, SwupdateInstall};
use super::{Command, Machine, Runs, Slots, Staged, System, UpdateError, Updater};
use crate::disk::{Disk, Linux};

/// How releases are installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdaterConfig {
    /// Into one of two directories below this one.
    Slots(PathBuf),
    /// Into one of two partitions.
    Partitions(PartitionsConfig),
    /// By RAUC.
    Rauc(RaucConfig),
    /// By SWUpdate.
    Swupdate(SwupdateConfig),
    /// By Mender's client.
    Mender(MenderConfig),
    /// By commands of the owner.
    Script(ScriptConfig),
}

impl UpdaterConfig {
    /// The programs that it needs.
    fn programs(&self) -> Vec<&str> {
        fn boot(boot: &super::BootCommands) -> impl Iterator<Item = &Command> {
            [&boot.current, &boot.activate]
                .into_iter()
                .chain(&boot.mark_good)
        }
        match self {
            Self::Slots(_) => vec![],
            Self::Partitions(config) => boot(&config.boot)
                .map(|command| command.program.as_str())
                .collect(),
            Self::Rauc(config) => vec![&config.program],
            Self::Swupdate(config) => [config.program.as_str()]
                .into_iter()
                .chain(boot(&config.boot).map(|command| command.program.as_str()))
                .collect(),
            Self::Mender(config) => vec![&config.program],
            Self::Script(config) => [
                &config.install,
                &config.switch,
                &config.is_switched,
                &config.commit,
                &config.switch_back,
            ]
            .map(|command| command.program.as_str())
            .to_vec(),
        }
    }

    /// The first program that is not there.
    ///
    /// # Errors
    /// [`UpdateError::Missing`]
    pub fn programs_are_there(&self) -> Result<(), UpdateError> {
        for program in self.programs() {
            // A symbolic link's target counts: distributions have many.
            if !Path::new(program).exists() {
                let program = program.to_owned();
                return Err(UpdateError::Missing { program });
            }
        }
        Ok(())
    }

    /// Whether an update could be installed on this machine: programs, partitions, and what the update system says. Nothing is
    /// changed.
    ///
    /// # Errors
    /// [`UpdateError`]
    pub fn check(&self, state: &Path) -> Result<(), UpdateError> {
        self.programs_are_there()?;
        if let Self::Partitions(config) = self {
            for device in &config.devices {
                Linux.room(device).map_err(super::staging::at(device))?;
            }
        }
        match AnyUpdater::new(Linux, state, self, Machine::default()) {
            AnyUpdater::Partitions(mut pair) => pair.look(),
            AnyUpdater::Rauc(mut pair) => pair.look(),
            AnyUpdater::Swupdate(mut pair) => pair.look(),
            AnyUpdater::Script(mut script) => script.is_switched().map(drop),
            AnyUpdater::Slots(_) | AnyUpdater::Mender(_) => Ok(()),
        }
    }
}

/// One of the updaters.
#[derive(Clone, Debug)]
pub(crate) enum AnyUpdater<D, S> {
    /// Two directories.
    Slots(Slots<D>),
    /// Two partitions.
    Partitions(Box<Pair<D, Commands<S>, Image>>),
    /// RAUC.
    Rauc(Box<Pair<D, Rauc<S>, RaucInstall<S>>>),
    /// SWUpdate.
    Swupdate(Box<Pair<D, Commands<S>, SwupdateInstall<S>>>),
    /// Mender.
    Mender(Mender<D, S>),
    /// The owner's.
    Script(Box<Script<D, S>>),
}

impl<D: Disk + Clone, S: System + Clone> AnyUpdater<D, S> {
    /// The updater of this configuration; what it keeps lies in the state directory.
    pub(crate) fn new(disk: D, state: &Path, config: &UpdaterConfig, system: S) -> Self {
        let path = state.join("slots");
        match config {
            UpdaterConfig::Slots(directory) => Self::Slots(Slots::new(disk, directory.clone())),
            UpdaterConfig::Partitions(config) => {
                let loader = Commands::new(config.boot.clone(), system);
                let image = Image::new(config.devices.clone());
                Self::Partitions(Box::new(Pair::new(disk, path, loader, image)))
            }
            UpdaterConfig::Rauc(config) => {
                let rauc = Rauc::new(config.clone(), system);
                let install = RaucInstall(rauc.clone());
                Self::Rauc(Box::new(Pair::new(disk, path, rauc, install)))
            }
            UpdaterConfig::Swupdate(config) => {
                let loader = Commands::new(config.boot.clone(), system.clone());
                let install = SwupdateInstall::new(config.clone(), system);
                Self::Swupdate(Box::new(Pair::new(disk, path, loader, install)))
            }
            UpdaterConfig::Mender(config) => Self::Mender(Mender::new(
                disk,
                state.join("artifact"),
                config.clone(),
                system,
            )),
            UpdaterConfig::Script(config) => {
                Self::Script(Box::new(Script::new(disk, config.clone(), system)))
            }
        }
    }

    /// Makes what an update system of the agent's own needs and is not there yet.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub(crate) fn found(&self) -> Result<(), UpdateError> {
        match self {
            Self::Slots(slots) => slots.found(),
            _ => Ok(()),
        }
    }

    fn updater(&mut self) -> &mut dyn Updater {
        match self {
            Self::Slots(slots) => slots,
            Self::Partitions(pair) => pair.as_mut(),
            Self::Rauc(pair) => pair.as_mut(),
            Self::Swupdate(pair) => pair.as_mut(),
            Self::Mender(mender) => mender,
            Self::Script(script) => script.as_mut(),
        }
    }
}

impl<D: Disk + Clone, S: System + Clone> Updater for AnyUpdater<D, S> {
    fn install(
        &mut self,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
    ) -> Result<(), UpdateError> {
        self.updater().install(release, payloads)
    }

    fn switch(&mut self) -> Result<(), UpdateError> {
        self.updater().switch()
    }

    fn is_switched(&mut self) -> Result<bool, UpdateError> {
        self.updater().is_switched()
    }

    fn runs(&mut self) -> Result<Runs, UpdateError> {
        self.updater().runs()
    }

    fn commit(&mut self) -> Result<(), UpdateError> {
        self.updater().commit()
    }

    fn switch_back(&mut self) -> Result<(), UpdateError> {
        self.updater().switch_back()
    }
}
