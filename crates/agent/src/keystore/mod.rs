//! Where a device keeps what it must not lose and nobody else may read: keys, and the values that move with them.
//!
//! A [`FileKeyStore`] is a small map from names to bytes in one file. Changes are committed together: when
//! [`FileKeyStore::commit`] returns, all of them are on the disk; when the power goes before that, all or none of them are.
//! The file is written whole each time: it has a few kilobytes and changes a few times an hour, and what was removed or
//! replaced is gone from it when the commit returns (a flash chip may keep old pages; only a key that never leaves its chip is
//! safe from whoever takes the chip apart).

mod device_key;
mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use device_key::DeviceKey;

use crate::disk::{self, Disk, Node};

/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest value in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Longest file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const FIRST_LINE: &[u8] = b"kusabi-store-v1\n";
/// The owner alone.
const MODE: u32 = 0o600;

/// Why the key store does not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileKeyStoreError {
    /// The disk refused.
    #[error("{path}: {error}", path = path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("{path} holds this device's keys, and others may read it (mode {mode:04o}); if nobody did: chmod 600 {path}, else replace the keys", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a file.
    #[error("{path} is not a file", path = path.display())]
    NotAFile {
        /// What should be a file.
        path: PathBuf,
    },
    /// It is not a key store, or it is damaged.
    #[error("{path} is damaged or no key store; it is left as it is, bring it back from a backup or provision the device again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A name or value, or all of them together, are longer than allowed.
    #[error(
        "too much for the key store: names have 1 to 64 bytes, values up to 65,536, and all together 1 MiB"
    )]
    TooMuch,
    /// A stored key is not of the expected form.
    #[error("the stored key is damaged or of a newer format")]
    Key,
}

/// A change of one name.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The name stands for this value from now on.
    Put(&'a str, &'a [u8]),
    /// The name stands for nothing any more.
    Remove(&'a str),
}

type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// A key store in a file; see the module.
pub struct FileKeyStore<D> {
    disk: D,
    path: PathBuf,
    values: Values,
}

impl<D> std::fmt::Debug for FileKeyStore<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileKeyStore")
            .field("path", &self.path)
            .field("names", &self.values.keys())
            .finish_non_exhaustive()
    }
}

impl<D: Disk> FileKeyStore<D> {
    /// Opens the store in this file; one that is not there is empty. One process at a time: the caller holds a lock.
    ///
    /// # Errors
    /// [`FileKeyStoreError`]; nothing was changed then.
    pub fn open(disk: D, path: &Path) -> Result<Self, FileKeyStoreError> {
        let failed = |error| FileKeyStoreError::Disk {
            path: path.into(),
            error,
        };
        let mut store = Self {
            values: Values::new(),
            path: path.into(),
            disk,
        };
        match store.disk.node(path).map_err(failed)? {
            None => return Ok(store),
            Some(Node::File { mode, .. }) if mode & 0o077 != 0 => {
                return Err(FileKeyStoreError::Exposed {
                    path: path.into(),
                    mode,
                });
            }
            Some(Node::File { .. }) => {}
            Some(_) => return Err(FileKeyStoreError::NotAFile { path: path.into() }),
        }
        let bytes = store.disk.read(path, FILE_BYTES_MAX).map_err(failed)?;
        let bytes = Zeroizing::new(bytes.unwrap_or_default());
        store.values =
            file::decode(&bytes).map_err(|_| FileKeyStoreError::Damaged { path: path.into() })?;
        Ok(store)
    }

    /// The value of a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.values.get(name).map(|value| value.as_slice())
    }

    /// The names that have values, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The key of a name.
    ///
    /// # Errors
    /// [`FileKeyStoreError::Key`]
    pub fn key(&self, name: &str) -> Result<Option<DeviceKey>, FileKeyStoreError> {
        self.value(name).map(DeviceKey::decode).transpose()
    }

    /// Commits changes, all or none; on the disk when it returns.
    ///
    /// # Errors
    /// [`FileKeyStoreError`]. The store then holds what it held before; the disk holds that, or (if only the last step failed)
    /// the changed state, until the next commit succeeds.
    pub fn commit(&mut self, changes: &[Change<'_>]) -> Result<(), FileKeyStoreError> {
        let mut values = self.values.clone();
        for change in changes {
            match *change {
                Change::Put(name, value) => {
                    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
                        && value.len() <= VALUE_BYTES_MAX;
                    if !fits {
                        return Err(FileKeyStoreError::TooMuch);
                    }
                    let value = Zeroizing::new(value.to_vec());
                    values.insert(name.to_owned(), value);
                }
                Change::Remove(name) => {
                    values.remove(name);
                }
            }
        }
        let file = file::encode(&values);
        if file.len() as u64 > FILE_BYTES_MAX {
            return Err(FileKeyStoreError::TooMuch);
        }
        disk::replace(&self.disk, &self.path, &file, MODE).map_err(|error| {
            FileKeyStoreError::Disk {
                path: self.path.clone(),
                error,
            }
        })?;
        self.values = values;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
