//! Why an update does not go on.

use std::io;
use std::path::PathBuf;

use kusabi_core::release::ContentError;

use super::Outcome;

/// Why an update does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The disk refused.
    #[error("{path}: {error}", path = path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
    /// The record of updates cannot be read.
    #[error("{path} is damaged; it says which release this device runs and its counter, bring it back from a backup", path = path.display())]
    Record {
        /// The file.
        path: PathBuf,
    },
    /// Another update is under way, or this step is not the next one.
    #[error("the update is in phase \"{0}\", where this is not the next step")]
    OutOfTurn(&'static str),
    /// It is not the release of the update that is under way.
    #[error("another release is being installed; finish or refuse that one first")]
    OtherRelease,
    /// The device's counter has risen above the release's since it was checked.
    #[error("the device's counter has risen above this release's; check the release again")]
    Counter,
    /// Not all payloads of the release are there, or others are.
    #[error("the payloads are not those of the release, all of them, in its order")]
    Payloads,
    /// A payload is not what was received: the disk has changed it.
    #[error("payload {name} has changed on the disk: {error}")]
    Changed {
        /// The payload.
        name: String,
        /// How.
        #[source]
        error: ContentError,
    },
    /// The updater cannot install this kind of payload.
    #[error("the updater does not know payloads of format {format} ({name})")]
    Format {
        /// The payload.
        name: String,
        /// Its format.
        format: String,
    },
    /// The updater takes one payload, in one format.
    #[error("the updater takes releases of exactly one payload, of format {format}")]
    OnePayload {
        /// The format.
        format: &'static str,
    },
    /// The slot is smaller than the image.
    #[error("the image has {size} bytes and {path} takes {room}; make a smaller image", path = path.display())]
    TooLarge {
        /// The slot.
        path: PathBuf,
        /// Bytes of the image.
        size: u64,
        /// Bytes of the slot.
        room: u64,
    },
    /// An archive holds what is not unpacked: a path out of the slot, a device node, a name twice.
    #[error("the archive {name} holds {entry}, which is not unpacked: {why}")]
    Archive {
        /// The payload.
        name: String,
        /// The entry.
        entry: String,
        /// Why.
        why: &'static str,
    },
    /// There is no slot that is known to be good.
    #[error("{path} is no directory of slots: the link \"committed\" must name a or b", path = path.display())]
    NoSlots {
        /// The directory.
        path: PathBuf,
    },
    /// A command could not be run.
    #[error("{command} could not be run: {error}")]
    Command {
        /// The command.
        command: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The restart command failed.
    #[error("the restart command {command} {outcome}")]
    Restart {
        /// The command.
        command: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// A program of the update system is not there.
    #[error(
        "{program} is not there; install {}, or correct its path in the configuration",
        package(program)
    )]
    Missing {
        /// The program.
        program: String,
    },
    /// A tool of the update system did not succeed.
    #[error("{command} {outcome}; it said last: {said}")]
    Tool {
        /// The command.
        command: String,
        /// How it ended.
        outcome: Outcome,
        /// The last line that it said.
        said: String,
    },
    /// A tool said what is not understood.
    #[error("{command}: {why}")]
    Answer {
        /// The command.
        command: String,
        /// What was wrong with it.
        why: String,
    },
    /// What was installed does not run: the machine has gone back by itself.
    #[error(
        "what was installed does not run any more: the machine has gone back by itself to what it ran before"
    )]
    FellBack,
    /// The machine was told to go back and has not.
    #[error(
        "the machine was told to start what it ran before, has restarted, and runs the new release all the same; see to its boot loader"
    )]
    NotBack,
}

/// Which package brings a program.
fn package(program: &str) -> &'static str {
    let name = program.rsplit('/').next().unwrap_or_default();
    match name {
        "rauc" => "RAUC (Debian: apt-get install rauc rauc-service)",
        "swupdate" => "SWUpdate (Debian: apt-get install swupdate)",
        "mender" | "mender-update" => "the Mender client (Debian: apt-get install mender-client)",
        "fw_setenv" | "fw_printenv" => "U-Boot's tools (Debian: apt-get install libubootenv-tool)",
        _ => "the package that brings it",
    }
}
