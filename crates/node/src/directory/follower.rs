//! The directory of a follower: what a node's holds, without any key.

use super::{
    DirectoryError, ENGINE, FOLLOWER_TEXT, FORMAT, GENESIS, GENESIS_TRANSACTION, LOCK, NODE_KEY,
    RESTORING, VOTE_KEY, VOTE_KEY_NEXT, VOTED, WAITING, epoch_file, io_at, lock, read_outline,
    remove, without_format, write,
};
use crate::outline::Outline;
use kusabi_core::id::ChainId;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// What says that a directory is a validator's, or is about to be one's.
const OF_VALIDATORS: [&str; 6] = [VOTE_KEY, VOTE_KEY_NEXT, NODE_KEY, VOTED, WAITING, RESTORING];

/// A follower's directory, which this process holds.
#[derive(Debug)]
pub struct FollowerDirectory {
    path: PathBuf,
    outline: Outline,
    // Held until the directory is dropped.
    _lock: File,
}

impl FollowerDirectory {
    /// Makes a directory, in an empty one or where there is none; what an interrupted making has left is written again.
    ///
    /// # Errors
    /// [`DirectoryError::Validator`], [`DirectoryError::NotEmpty`] and others; one that fails half-way holds no ledger.
    pub fn create(path: &Path, outline: Outline) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).map_err(io_at(path))?;
        let lock = lock(path)?;
        refuse_validators(path)?;
        for entry in fs::read_dir(path).map_err(io_at(path))? {
            let name = entry.map_err(io_at(path))?.file_name();
            let name = name.to_string_lossy();
            let stem = name.strip_suffix(".new").unwrap_or(&name);
            let unfinished = [LOCK, GENESIS, GENESIS_TRANSACTION].contains(&&*name)
                || ["genesis", "genesis-transaction", "format"].contains(&stem);
            if !unfinished {
                return Err(DirectoryError::NotEmpty(path.to_owned()));
            }
        }
        write(&path.join(GENESIS), outline.document(), false)?;
        let outline = outline.until(0);
        let founding = &outline.newest().opening.1;
        write(&path.join(GENESIS_TRANSACTION), founding, false)?;
        write(&path.join(FORMAT), FOLLOWER_TEXT.as_bytes(), false)?;
        Ok(Self {
            path: path.to_owned(),
            outline,
            _lock: lock,
        })
    }

    /// Opens one.
    ///
    /// # Errors
    /// [`DirectoryError::NoLedger`] where there is none yet, [`DirectoryError::NoFormat`], [`DirectoryError::Validator`], [`DirectoryError::OtherChain`] and
    /// others.
    pub fn open(path: &Path, chain: Option<&ChainId>) -> Result<Self, DirectoryError> {
        refuse_validators(path)?;
        let format = path.join(FORMAT);
        match fs::read_to_string(&format) {
            Ok(text) if text == FOLLOWER_TEXT => {}
            Ok(text) if text == super::FORMAT_TEXT => {
                return Err(DirectoryError::Validator(path.to_owned()));
            }
            Ok(found) => {
                return Err(DirectoryError::Format {
                    path: path.to_owned(),
                    found,
                    expected: FOLLOWER_TEXT.trim_ascii_end(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(without_format(path));
            }
            Err(error) => return Err(io_at(&format)(error)),
        }
        let lock = lock(path)?;
        let outline = read_outline(path)?;
        let found = *outline.chain();
        if let Some(expected) = chain.copied().filter(|expected| *expected != found) {
            return Err(DirectoryError::OtherChain {
                path: path.to_owned(),
                expected,
                found,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            outline,
            _lock: lock,
        })
    }

    /// The chain's outline, with the epochs that are known.
    #[must_use]
    pub const fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn engine(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    /// Notes the `n`-th epoch after the first one, and forgets what was noted of later ones.
    pub(crate) fn begin_epoch(
        &mut self,
        outline: &Outline,
        n: usize,
    ) -> Result<(), DirectoryError> {
        let Some(epoch) = outline.epochs().get(n) else {
            return Ok(());
        };
        // A recovery may have taken the place of what had no block yet.
        for later in n + 1..self.outline.epochs().len() {
            remove(&self.path.join(epoch_file(later)))?;
        }
        write(&self.path.join(epoch_file(n)), &epoch.opening.1, false)?;
        self.outline = outline.clone();
        Ok(())
    }
}

fn refuse_validators(path: &Path) -> Result<(), DirectoryError> {
    let there = |name: &&str| path.join(name).symlink_metadata().is_ok();
    match OF_VALIDATORS.iter().any(there) {
        true => Err(DirectoryError::Validator(path.to_owned())),
        false => Ok(()),
    }
}
