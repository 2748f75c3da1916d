//! RAUC: bundles are installed by the `rauc` that the device has, and RAUC's boot loader backend does the rest.
//!
//! What RAUC calls activating, `rauc install` does by itself unless its system.conf says `activate-installed=false`. It should:
//! else a power cut in the moment between leads into a release that was not asked for again.

use std::time::Duration;

use kusabi_core::release::VerifiedRelease;
use serde::Deserialize;

use super::command::{ask, failed, shown, succeed};
use super::pair::{Boot, Loader, NAME_BYTES_MAX, Writer};
use super::payload::{Checked, only};
use super::staging::Staged;
use super::{Command, Outcome, Said, System, UpdateError};
use crate::disk::Disk;

const FORMAT: &str = "raucb";

/// How `rauc` is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaucConfig {
    /// The program.
    pub program: String,
    /// How long it may take to install a bundle.
    pub install_deadline: Duration,
    /// How long it may take for anything else.
    pub deadline: Duration,
}

impl RaucConfig {
    fn command(&self, arguments: &[&str], deadline: Duration) -> Command {
        Command {
            program: self.program.clone(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment: vec![],
            deadline,
        }
    }

    fn status(&self, arguments: &[&str]) -> Command {
        let words: Vec<&str> = ["status"].iter().chain(arguments).copied().collect();
        self.command(&words, self.deadline)
    }
}

/// RAUC, asked and told with its command.
#[derive(Clone, Debug)]
pub(crate) struct Rauc<S> {
    config: RaucConfig,
    system: S,
}

impl<S: System> Rauc<S> {
    pub(super) const fn new(config: RaucConfig, system: S) -> Self {
        Self { config, system }
    }

    fn mark(&mut self, how: &str, slot: &str) -> Result<(), UpdateError> {
        let command = self.config.status(&[how, slot]);
        succeed(&mut self.system, &command).map(drop)
    }
}

impl<S: System> Loader for Rauc<S> {
    fn boot(&mut self) -> Result<Boot, UpdateError> {
        let command = self.config.status(&["--output-format=json"]);
        let said = succeed(&mut self.system, &command)?;
        boot(&said).map_err(|why| UpdateError::Answer {
            command: command.to_string(),
            why,
        })
    }

    fn activate(&mut self, slot: &str) -> Result<(), UpdateError> {
        self.mark("mark-active", slot)
    }

    fn mark_good(&mut self, slot: &str) -> Result<(), UpdateError> {
        self.mark("mark-good", slot)
    }

    fn mark_bad(&mut self, slot: &str) -> Result<(), UpdateError> {
        self.mark("mark-bad", slot)
    }
}

/// Installs bundles. RAUC chooses the slots that do not run by itself.
#[derive(Clone, Debug)]
pub(crate) struct RaucInstall<S>(pub(super) Rauc<S>);

impl<D: Disk, S: System> Writer<D> for RaucInstall<S> {
    fn write(
        &mut self,
        disk: &D,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
        _: &str,
    ) -> Result<(), UpdateError> {
        let staged = only(payloads, FORMAT)?;
        Checked::open(disk, release, staged)?.finish()?;
        let Rauc { config, system } = &mut self.0;
        let path = staged.path().to_string_lossy();
        let command = config.command(&["install", &path], config.install_deadline);
        let said = ask(system, &command)?;
        if said.outcome == Outcome::Success {
            return Ok(());
        }
        Err(failed(&command, &said, reason(&said)))
    }
}

/// What RAUC says of a failure, which is not its last line.
fn reason(said: &Said) -> Option<String> {
    let mut lines = said.last_lines().into_iter().rev();
    lines.find_map(|line| Some(line.strip_prefix("LastError: ")?.to_owned()))
}

/// What `rauc status --output-format=json` says, as far as it is needed.
#[derive(Deserialize)]
struct Status {
    /// Boot name of the slot that runs.
    booted: Option<String>,
    /// Name of the slot that the next start starts.
    boot_primary: Option<String>,
    slots: Vec<std::collections::BTreeMap<String, SlotStatus>>,
}

#[derive(Deserialize)]
struct SlotStatus {
    class: String,
    bootname: Option<String>,
}

fn boot(said: &Said) -> Result<Boot, String> {
    let status: Status = serde_json::from_slice(&said.out)
        .map_err(|why| format!("its status cannot be read: {why}"))?;
    let booted = status.booted.unwrap_or_default();
    let slots: Vec<(&String, &SlotStatus)> = status.slots.iter().flatten().collect();
    let running = slots
        .iter()
        .find(|(name, slot)| slot.bootname.as_deref() == Some(booted.as_str()) || **name == booted)
        .ok_or_else(|| {
            format!(
                "RAUC says that \"{}\" was booted, which is none of its slots; see `rauc status`",
                shown(&booted)
            )
        })?;
    let others: Vec<&String> = slots
        .iter()
        .filter(|(name, slot)| {
            slot.bootname.is_some() && slot.class == running.1.class && *name != running.0
        })
        .map(|(name, _)| *name)
        .collect();
    let [other] = others.as_slice() else {
        return Err(format!(
            "RAUC has {} slots of class \"{}\" beside the one that runs; an update needs exactly one",
            others.len(),
            shown(&running.1.class)
        ));
    };
    if running.0.len().max(other.len()) > NAME_BYTES_MAX {
        return Err(format!(
            "a slot's name has more than {NAME_BYTES_MAX} bytes"
        ));
    }
    Ok(Boot {
        running: running.0.clone(),
        other: (*other).clone(),
        next: status.boot_primary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `rauc` 1.8 of Debian 12 says it.
    const STATUS: &str = r#"{"compatible":"cam-a","variant":"","booted":"A","boot_primary":"rootfs.0","slots":[{"rootfs.1":{"class":"rootfs","device":"/dev/loop1","type":"ext4","bootname":"B","state":"inactive","parent":null,"mountpoint":null,"boot_status":"bad"}},{"rootfs.0":{"class":"rootfs","device":"/dev/loop0","type":"ext4","bootname":"A","state":"booted","parent":null,"mountpoint":null,"boot_status":"good"}}]}

"#;

    fn said(out: &str, last: &str) -> Said {
        Said {
            outcome: Outcome::Success,
            out: out.into(),
            last: last.into(),
        }
    }

    #[test]
    fn what_rauc_says_is_understood() {
        let found = boot(&said(STATUS, "")).unwrap();
        assert_eq!(
            (found.running.as_str(), found.other.as_str()),
            ("rootfs.0", "rootfs.1")
        );
        assert_eq!(found.next.as_deref(), Some("rootfs.0"));
        let after = STATUS.replace("\"booted\":\"A\"", "\"booted\":\"B\"");
        let after = after.replace("primary\":\"rootfs.0", "primary\":\"rootfs.1");
        let found = boot(&said(&after, "")).unwrap();
        assert_eq!(
            (found.running.as_str(), found.next.as_deref()),
            ("rootfs.1", Some("rootfs.1"))
        );
        for (from, to, why) in [
            (
                "\"booted\":\"A\"",
                "\"booted\":\"_external_\"",
                "none of its slots",
            ),
            ("\"booted\":\"A\"", "\"booted\":null", "none of its slots"),
            (
                "\"bootname\":\"B\"",
                "\"bootname\":null",
                "RAUC has 0 slots",
            ),
            ("{\"compatible", "compatible", "cannot be read"),
            (
                "{\"rootfs.1\"",
                "{\"rootfs-rootfs-rootfs-rootfs-rootfs-rootfs-rootfs-rootfs-rootfs-rootfs-1\"",
                "more than 64 bytes",
            ),
        ] {
            assert!(STATUS.contains(from), "{from}");
            let error = boot(&said(&STATUS.replacen(from, to, 1), "")).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_reason_of_a_failure_is_found() {
        let last = " 40% Verifying signature failed.\n100% Installing failed.\nLastError: signature verification failed: Verify error: self-signed certificate\nidle\nInstalling `/x.raucb` failed\n";
        assert_eq!(
            reason(&said("", last)).unwrap(),
            "signature verification failed: Verify error: self-signed certificate"
        );
        assert_eq!(reason(&said("", "D-Bus error\n")), None);
    }
}
