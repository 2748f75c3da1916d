//! Two slots that a boot loader chooses between, whoever writes them and whoever sets the boot loader.
//!
//! What the boot loader is told is its own matter ([`Loader`]), and so is how a release gets into a slot ([`Writer`]). Which
//! slot is committed, which one was installed into and whether the boot loader was told to start it stands in a file of the
//! agent's, `[1, committed, installed / null, switched]`. Before a slot is written it says that the boot loader may have been
//! told to start it, and says no more so only after it was told not to: so a power cut leaves at worst something that is told
//! once more.

use std::path::PathBuf;

use kusabi_core::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use kusabi_core::release::VerifiedRelease;
use kusabi_core::wire::Sink;

use super::staging::{Staged, at};
use super::{Runs, UpdateError, Updater};
use crate::disk::{self, Disk};

/// What the slots are called where nobody else names them.
pub const SLOTS: [&str; 2] = ["a", "b"];

const VERSION: u64 = 1;
/// Longest name of a slot in bytes.
pub(super) const NAME_BYTES_MAX: usize = 64;
/// Longest file in bytes.
const BYTES_MAX: u64 = 256;

/// What the boot loader says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// The slot that runs.
    pub(super) running: String,
    /// The other one.
    pub(super) other: String,
    /// The slot that the next start starts, from a boot loader that says it.
    pub(super) next: Option<String>,
}

/// A boot loader. Each step may be repeated.
pub(crate) trait Loader {
    /// What it says.
    fn boot(&mut self) -> Result<Boot, UpdateError>;

    /// From the next start on, this slot is started.
    fn activate(&mut self, slot: &str) -> Result<(), UpdateError>;

    /// This slot, which runs, is kept.
    fn mark_good(&mut self, slot: &str) -> Result<(), UpdateError>;

    /// This slot is not to be started any more.
    fn mark_bad(&mut self, slot: &str) -> Result<(), UpdateError>;
}

/// How a release gets into a slot.
pub(crate) trait Writer<D> {
    /// Fills a slot that does not run, and has it on the disk when it returns.
    fn write(
        &mut self,
        disk: &D,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
        slot: &str,
    ) -> Result<(), UpdateError>;
}

/// An updater of two slots.
#[derive(Clone, Debug)]
pub(crate) struct Pair<D, L, W> {
    disk: D,
    path: PathBuf,
    loader: L,
    writer: W,
}

impl<D: Disk, L: Loader, W: Writer<D>> Pair<D, L, W> {
    /// Two slots whose state lies in this file.
    pub(super) const fn new(disk: D, path: PathBuf, loader: L, writer: W) -> Self {
        Self {
            disk,
            path,
            loader,
            writer,
        }
    }

    /// Whether the boot loader can be asked at all; changes nothing.
    pub(super) fn look(&mut self) -> Result<(), UpdateError> {
        self.loader.boot().map(drop)
    }

    /// What is kept of an update, if one was ever installed.
    fn kept(&self) -> Result<Option<Kept>, UpdateError> {
        let bytes = self.disk.read(&self.path, BYTES_MAX);
        let bytes = bytes.map_err(at(&self.path))?;
        let kept = bytes.map(|bytes| decode_canonical(&bytes)).transpose();
        kept.map_err(|_| UpdateError::Record {
            path: self.path.clone(),
        })
    }

    fn keep(&self, kept: &Kept) -> Result<(), UpdateError> {
        let bytes = kept.to_cbor_vec();
        disk::replace(&self.disk, &self.path, &bytes, 0o600).map_err(at(&self.path))
    }

    /// Has the boot loader start what runs, unless it says that it will: one that does not say may have been told otherwise, by a
    /// command that failed after it had done so, or by the tool that installed.
    fn stay(&mut self, running: &str, switched: bool) -> Result<(), UpdateError> {
        let next = self.loader.boot()?.next;
        if switched || next.as_deref() != Some(running) {
            self.loader.activate(running)?;
        }
        Ok(())
    }
}

impl<D: Disk, L: Loader, W: Writer<D>> Updater for Pair<D, L, W> {
    fn install(
        &mut self,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
    ) -> Result<(), UpdateError> {
        let boot = self.loader.boot()?;
        let switched = self.kept()?.is_some_and(|kept| kept.switched);
        // What runs while no update is under way is what the device keeps.
        self.stay(&boot.running, switched)?;
        // There are tools that switch when they have installed: until the boot loader was told, it may start what they wrote.
        let mut kept = Kept {
            committed: boot.running,
            installed: Some(boot.other.clone()),
            switched: true,
        };
        self.keep(&kept)?;
        let written = self
            .writer
            .write(&self.disk, release, payloads, &boot.other);
        self.stay(&kept.committed, false)?;
        kept.switched = false;
        self.keep(&kept)?;
        written
    }

    fn switch(&mut self) -> Result<(), UpdateError> {
        let Some(mut kept) = self.kept()? else {
            return Err(UpdateError::FellBack);
        };
        let Some(installed) = &kept.installed else {
            return Err(UpdateError::FellBack);
        };
        self.loader.activate(installed)?;
        kept.switched = true;
        self.keep(&kept)
    }

    fn is_switched(&mut self) -> Result<bool, UpdateError> {
        match self.kept()? {
            Some(Kept { switched: true, .. }) => Ok(true),
            Some(kept) if kept.installed.is_some() => {
                let next = self.loader.boot()?.next;
                Ok(next.is_some() && next == kept.installed)
            }
            _ => Ok(false),
        }
    }

    fn runs(&mut self) -> Result<Runs, UpdateError> {
        let kept = self.kept()?;
        let Some(installed) = kept.and_then(|kept| kept.installed) else {
            return Ok(Runs::Committed);
        };
        Ok(if self.loader.boot()?.running == installed {
            Runs::Installed
        } else {
            Runs::Committed
        })
    }

    fn commit(&mut self) -> Result<(), UpdateError> {
        // It was committed before the power went.
        let Some(installed) = self.kept()?.and_then(|kept| kept.installed) else {
            return Ok(());
        };
        let boot = self.loader.boot()?;
        if boot.running != installed {
            return Err(UpdateError::FellBack);
        }
        self.stay(&installed, false)?;
        self.loader.mark_good(&installed)?;
        self.keep(&Kept {
            committed: installed,
            installed: None,
            switched: false,
        })
    }

    fn switch_back(&mut self) -> Result<(), UpdateError> {
        let Some(mut kept) = self.kept()? else {
            return Ok(());
        };
        let Some(installed) = &kept.installed else {
            return Ok(());
        };
        self.loader.activate(&kept.committed)?;
        self.loader.mark_bad(installed)?;
        kept.switched = false;
        self.keep(&kept)
    }
}

/// What is kept of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    /// The slot that is known to work.
    committed: String,
    /// The slot that was installed into, and is not committed.
    installed: Option<String>,
    /// The boot loader was told to start it.
    switched: bool,
}

impl<'b> FromCbor<'b> for Kept {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        d.array(4)?;
        if d.u64()? != VERSION {
            return Err(CborError::OutOfBounds);
        }
        let committed = d.text(1..=NAME_BYTES_MAX)?.to_owned();
        let installed = d.optional(|d| d.text(1..=NAME_BYTES_MAX))?;
        let switched = match d.u64()? {
            0 => false,
            1 => true,
            _ => return Err(CborError::OutOfBounds),
        };
        Ok(Self {
            committed,
            installed: installed.map(str::to_owned),
            switched,
        })
    }
}

impl ToCbor for Kept {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(4).u64(VERSION).text(&self.committed);
        e.optional(self.installed.as_deref(), |e, installed| {
            e.text(installed);
        });
        e.u64(self.switched.into());
    }
}
