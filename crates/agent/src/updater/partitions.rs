//! Two partitions: a release is one image, written to the one that does not run.
//!
//! The boot loader is the owner's: commands say which slot runs, choose the one that the next start starts, and keep it.

use std::path::PathBuf;

use kusabi_core::release::VerifiedRelease;

use super::command::{shown, succeed};
use super::pair::{Boot, Loader, SLOTS, Writer};
use super::payload::{Checked, only};
use super::staging::{Staged, at};
use super::{Command, System, UpdateError};
use crate::disk::Disk;

/// What stands for the slot in a command of the boot loader.
pub const SLOT: &str = "{slot}";

const FORMAT: &str = "image";

/// Two partitions, or files that hold images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionsConfig {
    /// Slot a and slot b.
    pub devices: [PathBuf; 2],
    /// The boot loader.
    pub boot: BootCommands,
}

/// The owner's boot loader, in commands. In each argument, [`SLOT`] stands for "a" or "b".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootCommands {
    /// Prints which slot runs: "a" or "b", or what stands for it in `names`.
    pub current: Command,
    /// Has the next start start a slot.
    pub activate: Command,
    /// Keeps the slot that runs, where the boot loader wants to be told.
    pub mark_good: Option<Command>,
    /// What else `current` may print for slot a and slot b.
    pub names: Option<[PathBuf; 2]>,
}

/// A boot loader that is set with the owner's commands.
#[derive(Clone, Debug)]
pub(crate) struct Commands<S> {
    commands: BootCommands,
    system: S,
}

impl<S: System> Commands<S> {
    pub(super) const fn new(commands: BootCommands, system: S) -> Self {
        Self { commands, system }
    }
}

impl<S: System> Loader for Commands<S> {
    fn boot(&mut self) -> Result<Boot, UpdateError> {
        let current = &self.commands.current;
        let said = succeed(&mut self.system, current)?;
        let word = said.word().unwrap_or_default();
        let [a, b] = SLOTS;
        let is = |slot: &str, name: Option<&PathBuf>| {
            word == slot || name.and_then(|name| name.to_str()) == Some(word)
        };
        let names = self.commands.names.as_ref();
        let (running, other) = if is(a, names.map(|[a, _]| a)) {
            (a, b)
        } else if is(b, names.map(|[_, b]| b)) {
            (b, a)
        } else {
            return Err(UpdateError::Answer {
                command: current.to_string(),
                why: format!(
                    "it has to print \"a\" or \"b\", the slot that runs, and printed \"{}\"",
                    shown(word)
                ),
            });
        };
        Ok(Boot {
            running: running.into(),
            other: other.into(),
            next: None,
        })
    }

    fn activate(&mut self, slot: &str) -> Result<(), UpdateError> {
        let command = with_slot(&self.commands.activate, slot);
        succeed(&mut self.system, &command).map(drop)
    }

    fn mark_good(&mut self, slot: &str) -> Result<(), UpdateError> {
        let Some(command) = &self.commands.mark_good else {
            return Ok(());
        };
        let command = with_slot(command, slot);
        succeed(&mut self.system, &command).map(drop)
    }

    /// Nothing starts a slot that is not activated.
    fn mark_bad(&mut self, _: &str) -> Result<(), UpdateError> {
        Ok(())
    }
}

/// A command for a slot.
pub(super) fn with_slot(command: &Command, slot: &str) -> Command {
    let mut command = command.clone();
    for argument in &mut command.arguments {
        *argument = argument.replace(SLOT, slot);
    }
    command
}

/// Writes an image over a partition.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    devices: [PathBuf; 2],
}

impl Image {
    pub(super) const fn new(devices: [PathBuf; 2]) -> Self {
        Self { devices }
    }
}

impl<D: Disk> Writer<D> for Image {
    fn write(
        &mut self,
        disk: &D,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
        slot: &str,
    ) -> Result<(), UpdateError> {
        let staged = only(payloads, FORMAT)?;
        let [a, b] = &self.devices;
        let path = if slot == SLOTS[0] { a } else { b };
        let size = staged.payload().payload().content.size();
        let room = disk.room(path).map_err(at(path))?;
        if size > room {
            return Err(UpdateError::TooLarge {
                path: path.clone(),
                size,
                room,
            });
        }
        let mut checked = Checked::open(disk, release, staged)?;
        disk.overwrite(path, &mut checked).map_err(at(path))?;
        checked.finish()?;
        // And what the medium holds now is the image, too.
        Checked::open_at(disk, release, staged, path.clone())?.finish()
    }
}
