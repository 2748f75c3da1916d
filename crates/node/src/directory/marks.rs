//! What is noted beside a ledger: that its key has voted, that it was made of a backup.

use super::{DirectoryError, RESTORED, io_at, write};
use kusabi_core::id::Epoch;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Notes that a key has voted.
#[derive(Clone, Debug)]
pub(crate) struct VotedMarker {
    file: PathBuf,
    text: String,
}

impl VotedMarker {
    /// Writes the note.
    pub(crate) fn write(&self) -> Result<(), DirectoryError> {
        write(&self.file, self.text.as_bytes(), false)
    }
}

impl VotedMarker {
    /// For the file, and what it says.
    pub(super) const fn new(file: PathBuf, text: String) -> Self {
        Self { file, text }
    }
}

/// The newest epoch in the backup that a directory was made of, if it was.
pub(super) fn restored(path: &Path) -> Result<Option<Epoch>, DirectoryError> {
    let file = path.join(RESTORED);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(&file)(error)),
    };
    let number = text.trim_end().strip_prefix("epoch ");
    let number = number.and_then(|number| number.parse().ok());
    number
        .map(|number| Some(Epoch::new(number)))
        .ok_or(DirectoryError::RestoredMark(file))
}
