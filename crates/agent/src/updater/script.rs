//! An update system of the owner's own: five commands.

use kusabi_core::release::VerifiedRelease;

use super::command::{shown, succeed};
use super::payload::Checked;
use super::staging::Staged;
use super::{Command, Runs, System, UpdateError, Updater};
use crate::disk::Disk;

/// The owner's commands. Each may be repeated after a power cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptConfig {
    /// Installs a payload, whose path is its last argument; called for each in the manifest's order. `KUSABI_RELEASE`,
    /// `KUSABI_PAYLOAD`, `KUSABI_FORMAT`, `KUSABI_INDEX` (from 1) and `KUSABI_COUNT` say which.
    pub install: Command,
    /// Has the next start start what was installed.
    pub switch: Command,
    /// Prints "yes" when the next start starts what is not committed, else "no".
    pub is_switched: Command,
    /// Keeps what was switched to.
    pub commit: Command,
    /// Has the next start start what was committed last.
    pub switch_back: Command,
}

/// The owner's update system.
#[derive(Clone, Debug)]
pub(crate) struct Script<D, S> {
    disk: D,
    config: ScriptConfig,
    system: S,
}

impl<D: Disk, S: System> Script<D, S> {
    pub(super) const fn new(disk: D, config: ScriptConfig, system: S) -> Self {
        Self {
            disk,
            config,
            system,
        }
    }
}

impl<D: Disk, S: System> Updater for Script<D, S> {
    fn install(
        &mut self,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
    ) -> Result<(), UpdateError> {
        for (index, staged) in payloads.iter().enumerate() {
            Checked::open(&self.disk, release, staged)?.finish()?;
            let payload = staged.payload().payload();
            let mut command = self.config.install.clone();
            let path = staged.path().to_string_lossy().into_owned();
            command.arguments.push(path);
            command.environment = vec![
                ("KUSABI_RELEASE", release.digest().to_string()),
                ("KUSABI_PAYLOAD", payload.name.to_string()),
                ("KUSABI_FORMAT", payload.format.to_string()),
                ("KUSABI_INDEX", index.saturating_add(1).to_string()),
                ("KUSABI_COUNT", payloads.len().to_string()),
            ];
            succeed(&mut self.system, &command)?;
        }
        Ok(())
    }

    fn switch(&mut self) -> Result<(), UpdateError> {
        succeed(&mut self.system, &self.config.switch).map(drop)
    }

    fn is_switched(&mut self) -> Result<bool, UpdateError> {
        let command = &self.config.is_switched;
        let said = succeed(&mut self.system, command)?;
        match said.word() {
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            other => Err(UpdateError::Answer {
                command: command.to_string(),
                why: format!(
                    "it has to print \"yes\" or \"no\", and printed \"{}\"",
                    shown(other.unwrap_or_default())
                ),
            }),
        }
    }

    fn runs(&mut self) -> Result<Runs, UpdateError> {
        Ok(Runs::Unknown)
    }

    fn commit(&mut self) -> Result<(), UpdateError> {
        succeed(&mut self.system, &self.config.commit).map(drop)
    }

    fn switch_back(&mut self) -> Result<(), UpdateError> {
        succeed(&mut self.system, &self.config.switch_back).map(drop)
    }
}
