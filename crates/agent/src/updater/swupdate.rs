//! SWUpdate: an update file is installed by the `swupdate` that the device has, into the selection of the slot that does not
//! run. The boot loader is set with the owner's commands.

use std::time::Duration;

use kusabi_core::release::VerifiedRelease;

use super::command::{ask, failed};
use super::pair::{SLOTS, Writer};
use super::partitions::BootCommands;
use super::payload::{Checked, only};
use super::staging::Staged;
use super::{Command, Outcome, Said, System, UpdateError};
use crate::disk::Disk;

const FORMAT: &str = "swu";

/// How `swupdate` is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwupdateConfig {
    /// The program.
    pub program: String,
    /// Its options: the key, the hardware's revision, a configuration file.
    pub options: Vec<String>,
    /// What it is to select to fill slot a and slot b, as `software,mode`.
    pub select: [String; 2],
    /// The boot loader.
    pub boot: BootCommands,
    /// How long an installation may take.
    pub install_deadline: Duration,
}

/// Installs update files.
#[derive(Clone, Debug)]
pub(crate) struct SwupdateInstall<S> {
    config: SwupdateConfig,
    system: S,
}

impl<S: System> SwupdateInstall<S> {
    pub(super) const fn new(config: SwupdateConfig, system: S) -> Self {
        Self { config, system }
    }
}

impl<D: Disk, S: System> Writer<D> for SwupdateInstall<S> {
    fn write(
        &mut self,
        disk: &D,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
        slot: &str,
    ) -> Result<(), UpdateError> {
        let staged = only(payloads, FORMAT)?;
        Checked::open(disk, release, staged)?.finish()?;
        let [a, b] = &self.config.select;
        let select = if slot == SLOTS[0] { a } else { b };
        let path = staged.path().to_string_lossy();
        let rest = ["-e", select, "-i", &path].map(str::to_owned);
        let command = Command {
            program: self.config.program.clone(),
            arguments: self.config.options.iter().cloned().chain(rest).collect(),
            environment: vec![],
            deadline: self.config.install_deadline,
        };
        let said = ask(&mut self.system, &command)?;
        if succeeded(&said) {
            return Ok(());
        }
        Err(failed(&command, &said, reason(&said)))
    }
}

/// Whether the installation was finished. The exit code of `swupdate -i` is 1 now and then although it was (2022.12: the
/// program tears its processes down and one of them is counted as failed), so its own word decides where there is one.
fn succeeded(said: &Said) -> bool {
    let out = String::from_utf8_lossy(&said.out);
    let successful = out.contains("SWUPDATE successful");
    let failed = out.contains("SWUPDATE failed")
        || said
            .last_lines()
            .iter()
            .any(|line| line.contains("SWUPDATE failed"));
    match said.outcome {
        Outcome::Success => !failed,
        Outcome::Failure(Some(1)) => successful && !failed,
        _ => false,
    }
}

/// The first of SWUpdate's last lines that says what went wrong; those behind it follow from it.
fn reason(said: &Said) -> Option<String> {
    let mut lines = said.last_lines().into_iter();
    lines.find_map(|line| {
        Some(
            line.split_once("] : ")?
                .1
                .strip_prefix("SWUPDATE failed ")?
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(outcome: Outcome, out: &str) -> Said {
        Said {
            outcome,
            out: out.into(),
            last: out.into(),
        }
    }

    /// As `swupdate` 2022.12 of Debian 12 says it.
    const DONE: &str = "SWUpdate v\n\nLicensed under GPLv2. See source distribution for detailed copyright notices.\n\n[INFO ] : SWUPDATE started :  Software Update started !\n[INFO ] : SWUPDATE running :  Installation in progress\n[INFO ] : SWUPDATE successful ! SWUPDATE successful !\n[INFO ] : No SWUPDATE running :  Waiting for requests...\n";
    const REFUSED: &str = "SWUpdate v\n\n[INFO ] : SWUPDATE started :  Software Update started !\n[ERROR] : SWUPDATE failed [0] ERROR : Authentication of all signatures failed\n[ERROR] : SWUPDATE failed [0] ERROR : Compatible SW not found\n[ERROR] : SWUPDATE failed [1] Image invalid or corrupted. Not installing ...\n[INFO ] : No SWUPDATE running :  Waiting for requests...\n";

    #[test]
    fn what_swupdate_says_is_understood() {
        let one = Outcome::Failure(Some(1));
        for (outcome, out, good) in [
            (Outcome::Success, DONE, true),
            (one, DONE, true),
            (one, REFUSED, false),
            (Outcome::Success, REFUSED, false),
            (Outcome::Late, DONE, false),
            (Outcome::Failure(None), DONE, false),
            (
                one,
                "Error: SWUpdate is built for signed images, provide a public key file.\n",
                false,
            ),
        ] {
            assert_eq!(succeeded(&said(outcome, out)), good, "{outcome:?} {out}");
        }
        let why = reason(&said(one, REFUSED)).unwrap();
        assert_eq!(why, "[0] ERROR : Authentication of all signatures failed");
    }
}
