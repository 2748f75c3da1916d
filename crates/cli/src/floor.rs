//! The floor: the newest anchor that was verified for a chain, with the validator set that it names.
//!
//! One file per chain under `anchors/` in kusabi's home: `anchor 144 ‖ set` (spec/proof.md). It is replaced as a whole and
//! never goes back, also when several commands run at once: not in epochs, and within an epoch not in heights. A recovery, which
//! begins a higher epoch, may bring the height down.

use std::{fs::File, path::PathBuf};

use kusabi_api::verify::Trust;
use kusabi_core::{anchor::Anchor, id::ChainId, set::EPOCH_SET_LEN_MAX};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    profile,
};

/// The file of one chain.
pub(crate) struct Floor {
    chain: ChainId,
    path: PathBuf,
}

impl Floor {
    /// The floor of a chain; nothing is read yet.
    pub(crate) fn of(chain: &ChainId) -> Result<Self> {
        Ok(Self {
            chain: *chain,
            path: profile::home()?.join("anchors").join(chain.to_string()),
        })
    }

    /// What is stored; nothing for a chain that was never asked.
    pub(crate) fn read(&self) -> Result<Option<Trust>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&self.path, (Anchor::LEN + EPOCH_SET_LEN_MAX) as u64)?;
        let damaged = |why: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Damaged,
                format!("{} is damaged: {why}", self.path.display()),
            )
            .advise(
                "bring it back from a copy; without it a node could show you an older state of the ledger \
                 than you have seen: delete it only if you accept that once",
            )
        };
        let (anchor, set) = bytes
            .split_at_checked(Anchor::LEN)
            .ok_or_else(|| damaged(&"it is too short"))?;
        let anchor = Anchor::decode(anchor).map_err(|why| damaged(&why))?;
        if anchor.chain() != self.chain {
            return Err(damaged(&"it is of another chain"));
        }
        Trust::stored(anchor, set.to_vec().into())
            .map(Some)
            .map_err(|why| damaged(&why))
    }

    /// Stores what was verified, unless another command has stored something newer.
    pub(crate) fn raise(&self, trust: &Trust) -> Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        files::make_folder(folder)?;
        let lock_path = self.path.with_extension("lock");
        let locked = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .and_then(|file| file.lock().map(|()| file));
        let _lock = locked.map_err(|error| Failure::io("locked", &lock_path, &error))?;
        let place = |trust: &Trust| (trust.anchor().epoch(), trust.anchor().height());
        if self
            .read()?
            .is_some_and(|stored| place(&stored) >= place(trust))
        {
            return Ok(());
        }
        let bytes = [&trust.anchor().encode()[..], trust.set()].concat();
        files::replace(&self.path, &bytes, Mode::Public)
    }
}
