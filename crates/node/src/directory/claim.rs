//! Directories that are being made, and what is left of one that was not finished.

use super::{
    Directory, DirectoryError, ENGINE, FORMAT, FORMAT_TEXT, GENESIS, GENESIS_TRANSACTION, LOCK,
    NODE_KEY, RESTORED, RESTORING, VOTE_KEY, VOTE_KEY_NEXT, WAITING, epoch_file, io_at,
    is_epoch_file,
    keys::{NodeKey, VoteKey, seed_or_new, write_seed},
    lock, write,
};
use crate::outline::Outline;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

const RESTORING_TEXT: &str = "A backup is being restored into this directory.\n";
const WAITING_TEXT: &str =
    "The keys here wait for the ledger that they are part of to be founded.\n";

/// Whether a file can be what a founding, or a restoring, has left that did not come to its end.
fn is_unfinished(name: &str, restoring: bool) -> bool {
    let written = [LOCK, GENESIS, GENESIS_TRANSACTION, RESTORING].contains(&name)
        || if restoring {
            name == ENGINE || name == RESTORED || is_epoch_file(name)
        } else {
            name == VOTE_KEY || name == VOTE_KEY_NEXT
        }
        || name == NODE_KEY;
    let in_writing = name.strip_suffix(".new").is_some_and(|stem| {
        [
            "genesis",
            "genesis-transaction",
            "vote",
            "vote-next",
            "node",
            "format",
            "restoring",
            "restored",
        ]
        .contains(&stem)
            || stem.starts_with("epoch-")
    });
    written || in_writing
}

/// A directory that is being made: held, and not yet a ledger's.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    lock: File,
}

impl Claim {
    /// Takes an empty directory, or makes one.
    pub(crate) fn new(path: &Path) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).map_err(io_at(path))?;
        let lock = lock(path)?;
        let other = fs::read_dir(path)
            .map_err(io_at(path))?
            .filter_map(Result::ok)
            .any(|entry| entry.file_name() != LOCK);
        if other {
            return Err(DirectoryError::NotEmpty(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// Says that a backup is being restored from here on, before anything of it is written: so that what an interrupted
    /// restoring leaves is told apart from a ledger that lost its small files.
    pub(crate) fn restoring(&self) -> Result<(), DirectoryError> {
        write(&self.path.join(RESTORING), RESTORING_TEXT.as_bytes(), false)
    }

    /// Takes a directory in which a node's keys wait for their ledger, or begins one in an empty directory.
    pub(crate) fn waiting(path: &Path) -> Result<Self, DirectoryError> {
        if !path.join(WAITING).exists() {
            // All that an interrupted beginning can have left.
            let _ = fs::remove_file(path.join(WAITING).with_extension("new"));
            let claim = Self::new(path)?;
            // Before the keys: without it they would be those of an interrupted founding.
            write(&path.join(WAITING), WAITING_TEXT.as_bytes(), false)?;
            return Ok(claim);
        }
        let lock = lock(path)?;
        let names = fs::read_dir(path).map_err(io_at(path))?;
        for entry in names {
            let name = entry.map_err(io_at(path))?.file_name();
            let name = name.to_string_lossy();
            if name != WAITING && !is_unfinished(&name, false) {
                return Err(DirectoryError::NotEmpty(path.to_owned()));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// The vote key and the node key that lie there; new ones for those that do not.
    pub(crate) fn keys(&self) -> Result<(VoteKey, NodeKey), DirectoryError> {
        let vote_key = seed_or_new(&self.path.join(VOTE_KEY), DirectoryError::VoteKey)?;
        let node_key = seed_or_new(&self.path.join(NODE_KEY), DirectoryError::NodeKey)?;
        Ok((VoteKey::new(vote_key), NodeKey::new(node_key)))
    }

    /// Where the engine's files go.
    pub(crate) fn engine(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    /// Makes it a ledger's directory: a validator's, or one without a vote key and with a new node key.
    pub(crate) fn finish(
        self,
        outline: Outline,
        keys: Option<(&VoteKey, &NodeKey)>,
    ) -> Result<Directory, DirectoryError> {
        let Self { path, lock } = self;
        write(&path.join(GENESIS), outline.document(), false)?;
        for (n, epoch) in outline.epochs().iter().enumerate() {
            let file = match n {
                0 => GENESIS_TRANSACTION.to_owned(),
                n => epoch_file(n),
            };
            write(&path.join(file), &epoch.opening.1, false)?;
        }
        let node_key = match keys {
            Some((_, key)) => {
                write_seed(&path.join(NODE_KEY), key.seed())?;
                key.clone()
            }
            None => NodeKey::new(seed_or_new(&path.join(NODE_KEY), DirectoryError::NodeKey)?),
        };
        let restored = keys.is_none().then(|| outline.newest().number);
        if let Some(epoch) = restored {
            write(
                &path.join(RESTORED),
                format!("epoch {epoch}\n").as_bytes(),
                false,
            )?;
        }
        let directory = Directory {
            path,
            outline,
            restored,
            vote_key: keys.map(|(key, _)| key.clone()),
            node_key,
            _lock: lock,
        };
        if let Some((key, _)) = keys {
            directory.write_vote_key(key)?;
            directory.voter()?;
        }
        write(&directory.path.join(FORMAT), FORMAT_TEXT.as_bytes(), false)?;
        directory.remove_marks()?;
        Ok(directory)
    }
}

impl Directory {
    /// Removes what a founding or a restoring that was interrupted left in `path`, so that it can begin again. A directory
    /// that is not there, or empty, stays as it is.
    ///
    /// What it removes has never been a ledger's: the format file, which is written last, is not there, and neither are the
    /// engine's files, unless the mark of a restoring lies beside them, and no vote key.
    ///
    /// # Errors
    /// [`DirectoryError::NotEmpty`] when anything else is in it, and then nothing is removed; [`DirectoryError::InUse`].
    pub fn discard_unfinished(path: &Path) -> Result<(), DirectoryError> {
        let Ok(entries) = fs::read_dir(path) else {
            return Ok(());
        };
        let _lock = lock(path)?;
        let names: Vec<String> = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .map_err(io_at(path))?;
        let restoring = names.iter().any(|name| name == RESTORING);
        if !names.iter().all(|name| is_unfinished(name, restoring)) {
            return Err(DirectoryError::NotEmpty(path.to_owned()));
        }
        // The mark goes last: interrupted here, too, the directory can still be told from a ledger's.
        let (mark, others): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| *name == RESTORING);
        for name in others.into_iter().chain(mark) {
            let entry = path.join(name);
            if name == ENGINE {
                fs::remove_dir_all(&entry)
            } else {
                fs::remove_file(&entry)
            }
            .map_err(io_at(&entry))?;
        }
        Ok(())
    }
}

/// Whether a directory holds keys that wait for their ledger.
pub(crate) fn is_waiting(path: &Path) -> bool {
    path.join(WAITING).exists() && !path.join(FORMAT).exists()
}
