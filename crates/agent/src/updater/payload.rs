//! Payloads on their way from the staging directory into a slot, hashed once more: between download and now the disk had them.

use std::io::{self, Read};
use std::path::PathBuf;

use kusabi_core::release::{PayloadCheck, VerifiedRelease};

use super::UpdateError;
use super::staging::{Staged, at, each_piece};
use crate::disk::Disk;

/// A payload's file whose bytes are checked as they are read.
pub(super) struct Checked<'a> {
    file: Box<dyn Read>,
    check: PayloadCheck<'a>,
    path: PathBuf,
}

impl<'a> Checked<'a> {
    /// Opens what was received of a release.
    ///
    /// # Errors
    /// [`UpdateError::Payloads`], [`UpdateError::Disk`]
    pub(super) fn open(
        disk: &impl Disk,
        release: &VerifiedRelease<'a>,
        staged: &Staged<'_>,
    ) -> Result<Self, UpdateError> {
        Self::open_at(disk, release, staged, staged.path().to_owned())
    }

    /// The same of a copy that stands elsewhere, perhaps with more behind it.
    ///
    /// # Errors
    /// [`UpdateError::Payloads`], [`UpdateError::Disk`]
    pub(super) fn open_at(
        disk: &impl Disk,
        release: &VerifiedRelease<'a>,
        staged: &Staged<'_>,
        path: PathBuf,
    ) -> Result<Self, UpdateError> {
        let name = staged.payload().payload().name;
        let check = release
            .receive(name.as_str())
            .ok_or(UpdateError::Payloads)?;
        let file = disk.open(&path).map_err(at(&path))?;
        let size = check.remaining();
        let file: Box<dyn Read> = if path == staged.path() {
            file
        } else {
            Box::new(file.take(size))
        };
        Ok(Self { file, check, path })
    }

    /// Reads to the end: whether it is the payload.
    ///
    /// # Errors
    /// [`UpdateError::Changed`], [`UpdateError::Disk`]
    pub(super) fn finish(mut self) -> Result<(), UpdateError> {
        let path = self.path.clone();
        each_piece(&mut self, |_| Ok(())).map_err(at(&path))?;
        let name = self.check.payload().name.to_string();
        let changed = |error| UpdateError::Changed { name, error };
        self.check.finish().map(drop).map_err(changed)
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(piece)?;
        let bytes = piece.get(..read).unwrap_or_default();
        self.check.feed(bytes).map_err(io::Error::other)?;
        Ok(read)
    }
}

/// The one payload of an update system that takes one, in its format.
///
/// # Errors
/// [`UpdateError::Format`], [`UpdateError::OnePayload`]
pub(super) fn only<'s, 'a>(
    payloads: &'s [Staged<'a>],
    format: &'static str,
) -> Result<&'s Staged<'a>, UpdateError> {
    for staged in payloads {
        let payload = staged.payload().payload();
        if payload.format.as_str() != format {
            return Err(UpdateError::Format {
                name: payload.name.to_string(),
                format: payload.format.to_string(),
            });
        }
    }
    match payloads {
        [staged] => Ok(staged),
        _ => Err(UpdateError::OnePayload { format }),
    }
}
