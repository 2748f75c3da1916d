//! Mender without its server: `mender install`, `mender commit`, `mender rollback`.
//!
//! `mender install` switches in the same step, so it is run when it is time to switch; until then only the artifact's place is
//! noted. Of an installation that was interrupted Mender remembers nothing, and a second one over a first would lose what is to
//! be rolled back to. So how far it came is kept in a file, `[1, stage, artifact's path, name before, root before]`, and an
//! installation that the power cut is given up, with a restart, in which Mender's boot loader goes back from what was not
//! committed. The name and the root file system of before tell a commit that was done from one that has nothing to commit any
//! more: Mender's exit code is the same.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kusabi_core::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use kusabi_core::release::VerifiedRelease;
use kusabi_core::wire::Sink;

use super::command::{ask, failed, succeed};
use super::payload::{Checked, only};
use super::staging::{Staged, at};
use super::{Command, Outcome, Runs, System, UpdateError, Updater};
use crate::disk::{self, Disk};

const FORMAT: &str = "mender";
const VERSION: u64 = 1;
/// Exit code of commit and rollback when there is nothing to commit or to roll back.
const NOTHING: i32 = 2;
/// What the client says of an artifact whose update module cannot roll back.
const FINAL: &str = "doesn't support rollback";
const PATH_BYTES_MAX: usize = 4096;
/// Longest name of an artifact, and of a root file system, that is kept, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// What the kernel was started with, its root file system among it.
const COMMAND_LINE: &str = "/proc/cmdline";
const COMMAND_LINE_BYTES_MAX: u64 = 64 << 10;

/// How Mender's client is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenderConfig {
    /// The program: `mender` up to 3.x, `mender-update` from 4.0 on.
    pub program: String,
    /// Its options before the verb.
    pub options: Vec<String>,
    /// How long it may take to install an artifact.
    pub install_deadline: Duration,
    /// How long it may take for anything else.
    pub deadline: Duration,
}

/// Mender's client.
#[derive(Clone, Debug)]
pub(crate) struct Mender<D, S> {
    disk: D,
    path: PathBuf,
    config: MenderConfig,
    system: S,
}

impl<D: Disk, S: System> Mender<D, S> {
    pub(super) const fn new(disk: D, path: PathBuf, config: MenderConfig, system: S) -> Self {
        Self {
            disk,
            path,
            config,
            system,
        }
    }

    fn command(&self, words: &[&str], deadline: Duration) -> Command {
        let words = words.iter().map(|&word| word.to_owned());
        Command {
            program: self.config.program.clone(),
            arguments: self.config.options.iter().cloned().chain(words).collect(),
            environment: vec![],
            deadline,
        }
    }

    fn kept(&self) -> Result<Option<Kept>, UpdateError> {
        let limit = (PATH_BYTES_MAX + 2 * NAME_BYTES_MAX) as u64 + 32;
        let bytes = self.disk.read(&self.path, limit).map_err(at(&self.path))?;
        let kept = bytes.map(|bytes| decode_canonical(&bytes)).transpose();
        kept.map_err(|_| UpdateError::Record {
            path: self.path.clone(),
        })
    }

    fn keep(&self, kept: &mut Kept, stage: Stage) -> Result<(), UpdateError> {
        kept.stage = stage;
        let bytes = kept.to_cbor_vec();
        disk::replace(&self.disk, &self.path, &bytes, 0o600).map_err(at(&self.path))
    }

    fn forget(&self) -> Result<(), UpdateError> {
        self.disk.remove(&self.path).map_err(at(&self.path))?;
        let folder = disk::folder(&self.path);
        self.disk.sync_dir(folder).map_err(at(folder))
    }

    /// The name of the artifact that is committed, as Mender says it.
    fn name(&mut self) -> Result<String, UpdateError> {
        let command = self.command(&["show-artifact"], self.config.deadline);
        let said = succeed(&mut self.system, &command)?;
        Ok(bounded(said.word().unwrap_or_default()))
    }

    /// The root file system that the kernel was told; empty where it was told none.
    fn root(&self) -> Result<String, UpdateError> {
        let path = Path::new(COMMAND_LINE);
        let line = self.disk.read(path, COMMAND_LINE_BYTES_MAX);
        let line = line.map_err(at(path))?.unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split_ascii_whitespace();
        Ok(bounded(
            words
                .find_map(|word| word.strip_prefix("root="))
                .unwrap_or_default(),
        ))
    }

    /// Commits or rolls back; whether there was something.
    fn finish(&mut self, verb: &str) -> Result<bool, UpdateError> {
        let command = self.command(&[verb], self.config.deadline);
        let said = ask(&mut self.system, &command)?;
        match said.outcome {
            Outcome::Success => Ok(true),
            Outcome::Failure(Some(NOTHING)) => Ok(false),
            _ => Err(failed(&command, &said, None)),
        }
    }
}

impl<D: Disk, S: System> Updater for Mender<D, S> {
    fn install(
        &mut self,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
    ) -> Result<(), UpdateError> {
        let staged = only(payloads, FORMAT)?;
        Checked::open(&self.disk, release, staged)?.finish()?;
        self.switch_back()?;
        let mut kept = Kept {
            stage: Stage::Noted,
            artifact: staged.path().to_string_lossy().into_owned(),
            name: self.name()?,
            root: self.root()?,
        };
        self.keep(&mut kept, Stage::Noted)
    }

    fn switch(&mut self) -> Result<(), UpdateError> {
        let Some(mut kept) = self.kept()? else {
            return Err(UpdateError::FellBack);
        };
        match kept.stage {
            Stage::Installed | Stage::Committing => return Ok(()),
            // The agent ended in the middle of it, the machine did not.
            Stage::Installing | Stage::RolledBack => {
                self.finish("rollback")?;
            }
            Stage::Noted => {}
        }
        self.keep(&mut kept, Stage::Installing)?;
        let command = self.command(&["install", &kept.artifact], self.config.install_deadline);
        match succeed(&mut self.system, &command) {
            // Mender has committed what it could not have rolled back.
            Ok(said) if String::from_utf8_lossy(&said.out).contains(FINAL) => {
                self.keep(&mut kept, Stage::Committing)
            }
            Ok(_) => self.keep(&mut kept, Stage::Installed),
            Err(error) => {
                self.finish("rollback")?;
                self.keep(&mut kept, Stage::Noted)?;
                Err(error)
            }
        }
    }

    fn is_switched(&mut self) -> Result<bool, UpdateError> {
        let stage = self.kept()?.map(|kept| kept.stage);
        Ok(matches!(
            stage,
            Some(Stage::Installing | Stage::Installed | Stage::Committing)
        ))
    }

    fn runs(&mut self) -> Result<Runs, UpdateError> {
        Ok(match self.kept()?.map(|kept| kept.stage) {
            // Not to be relied on when it was interrupted.
            None | Some(Stage::Noted | Stage::Installing) => Runs::Committed,
            Some(Stage::Installed | Stage::Committing | Stage::RolledBack) => Runs::Unknown,
        })
    }

    fn commit(&mut self) -> Result<(), UpdateError> {
        let Some(mut kept) = self.kept()? else {
            return Ok(());
        };
        let again = kept.stage == Stage::Committing;
        if !again {
            self.keep(&mut kept, Stage::Committing)?;
        }
        // Nothing to commit: it was done before the power went, or the boot loader has gone back meanwhile.
        let done = self.finish("commit")?
            || again && (self.name()? != kept.name || self.root()? != kept.root);
        if done {
            return self.forget();
        }
        self.keep(&mut kept, Stage::Noted)?;
        Err(UpdateError::FellBack)
    }

    fn switch_back(&mut self) -> Result<(), UpdateError> {
        let Some(mut kept) = self.kept()? else {
            return Ok(());
        };
        if kept.stage == Stage::Noted {
            return Ok(());
        }
        // Nothing to roll back: it was done before the power went, or an installation was interrupted. A restart is needed anyway.
        self.finish("rollback")?;
        self.keep(&mut kept, Stage::RolledBack)
    }
}

/// How far an artifact has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its place is known.
    Noted,
    /// `mender install` was begun.
    Installing,
    /// `mender install` has succeeded.
    Installed,
    /// `mender commit` was begun.
    Committing,
    /// `mender rollback` has succeeded; until the machine has restarted it may still run.
    RolledBack,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Noted,
        Self::Installing,
        Self::Installed,
        Self::Committing,
        Self::RolledBack,
    ];
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    stage: Stage,
    /// Where the artifact lies.
    artifact: String,
    /// The name of the artifact that was committed before.
    name: String,
    /// The root file system that ran before.
    root: String,
}

/// As much of a name as is kept.
fn bounded(text: &str) -> String {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl<'b> FromCbor<'b> for Kept {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        d.array(5)?;
        if d.u64()? != VERSION {
            return Err(CborError::OutOfBounds);
        }
        let code = usize::try_from(d.u64()?).map_err(|_| CborError::OutOfBounds)?;
        let stage = Stage::ALL.get(code).ok_or(CborError::OutOfBounds)?;
        Ok(Self {
            stage: *stage,
            artifact: d.text(1..=PATH_BYTES_MAX)?.to_owned(),
            name: d.text(0..=NAME_BYTES_MAX)?.to_owned(),
            root: d.text(0..=NAME_BYTES_MAX)?.to_owned(),
        })
    }
}

impl ToCbor for Kept {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(5).u64(VERSION).u64(self.stage as u64);
        e.text(&self.artifact).text(&self.name).text(&self.root);
    }
}
