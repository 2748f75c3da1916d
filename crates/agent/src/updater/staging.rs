//! Where downloads lie until they are installed.
//!
//! A payload's bytes go to `<digest>.part`, and when all of them are there and right, to `<digest>`. A download that was
//! interrupted goes on behind what is there, after that was hashed again. What a power cut made of the end of a part shows
//! only when all bytes have come: the part is dropped then, and the download begins anew; or, when the payload comes by chunks, set aside
//! as a *seed*, of which the good chunks are taken (`<digest>.seed`, like what other releases left). `<digest>.index` is the payload's
//! chunk index.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kusabi_core::id::Digest;
use kusabi_core::release::{ContentError, Payload, PayloadCheck, VerifiedPayload, VerifiedRelease};

use super::UpdateError;
use super::index::ReceivingIndex;
use crate::disk::{Disk, Node};

/// Endings of file names.
const PART: &str = "part";
const SEED: &str = "seed";
const INDEX: &str = "index";

/// After so many bytes a part is made durable: what a power cut takes is fetched again.
const SYNC_BYTES: u64 = 8 << 20;

/// Bytes that are read at a time.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// The directory of downloads.
#[derive(Clone, Debug)]
pub struct Staging<D> {
    disk: D,
    dir: PathBuf,
}

/// A payload that lies on the disk, whole.
#[derive(Clone, Debug)]
pub struct Staged<'a> {
    payload: VerifiedPayload<'a>,
    path: PathBuf,
}

impl<'a> Staged<'a> {
    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &VerifiedPayload<'a> {
        &self.payload
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<D: Disk + Clone> Staging<D> {
    /// Downloads lie in this directory, which is there.
    pub const fn new(disk: D, dir: PathBuf) -> Self {
        Self { disk, dir }
    }

    /// Begins to receive a payload of a release, or goes on; `None` when this device takes none of this name.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub fn receive<'a>(
        &self,
        release: &VerifiedRelease<'a>,
        name: &str,
    ) -> Result<Option<Receiving<'a, D>>, UpdateError> {
        let Some(check) = release.receive(name) else {
            return Ok(None);
        };
        let path = self.dir.join(check.payload().content.digest().to_string());
        let mut receiving = Receiving {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            part: path.with_extension(PART),
            path,
            check,
            unsynced: 0,
        };
        receiving.take_up(release, name)?;
        Ok(Some(receiving))
    }

    /// Begins to receive the chunk index of a payload, or goes on; `None` when it has none.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub(crate) fn receive_index(
        &self,
        payload: &Payload<'_>,
    ) -> Result<Option<ReceivingIndex<D>>, UpdateError> {
        let Some(content) = payload.chunk_index else {
            return Ok(None);
        };
        let path = self.dir.join(payload.content.digest().to_string());
        let (path, size) = (path.with_extension(INDEX), payload.content.size());
        ReceivingIndex::take_up(self.disk.clone(), path, content, size).map(Some)
    }

    /// Makes seeds of what other payloads than these left.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub(crate) fn set_aside(&self, wanted: &[Digest]) -> Result<(), UpdateError> {
        for name in self.disk.list(&self.dir).map_err(at(&self.dir))? {
            let path = self.dir.join(&name);
            let is_download = path.extension().is_none_or(|ending| ending == PART);
            if is_download && !is_of(&path, wanted) {
                let seed = path.with_extension(SEED);
                self.disk.rename(&path, &seed).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Downloads that were set aside.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub(crate) fn seeds(&self) -> Result<Vec<PathBuf>, UpdateError> {
        let names = self.disk.list(&self.dir).map_err(at(&self.dir))?;
        let paths = names.iter().map(|name| self.dir.join(name));
        Ok(paths.filter(|path| is_seed(path)).collect())
    }

    /// Removes what was set aside; says whether there was something.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub(crate) fn drop_seeds(&self) -> Result<bool, UpdateError> {
        let seeds = self.seeds()?;
        for path in &seeds {
            self.disk.remove(path).map_err(at(path))?;
        }
        Ok(!seeds.is_empty())
    }

    /// Removes all downloads but those of these payloads, and seeds.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub fn retain(&self, wanted: &[Digest]) -> Result<(), UpdateError> {
        for name in self.disk.list(&self.dir).map_err(at(&self.dir))? {
            let path = self.dir.join(&name);
            if !is_of(&path, wanted) && !is_seed(&path) {
                self.disk.remove(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Removes all downloads.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub fn clear(&self) -> Result<(), UpdateError> {
        let names = self.disk.list(&self.dir).map_err(at(&self.dir))?;
        for name in names {
            let path = self.dir.join(name);
            self.disk.remove(&path).map_err(at(&path))?;
        }
        self.disk.sync_dir(&self.dir).map_err(at(&self.dir))
    }
}

/// A payload that is being received.
#[derive(Debug)]
pub struct Receiving<'a, D> {
    disk: D,
    dir: PathBuf,
    part: PathBuf,
    path: PathBuf,
    check: PayloadCheck<'a>,
    unsynced: u64,
}

impl<'a, D: Disk> Receiving<'a, D> {
    /// Where the next byte belongs: what is before it is here already.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.check
            .payload()
            .content
            .size()
            .saturating_sub(self.check.remaining())
    }

    /// Digest of the payload.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.check.payload().content.digest()
    }

    /// How many bytes are to come.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.check.remaining()
    }

    /// Where the bytes that came lie.
    #[must_use]
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`UpdateError::Changed`] for more bytes than the payload has, [`UpdateError::Disk`]; receive it anew then, it goes on
    /// behind what is on the disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UpdateError> {
        self.check.feed(bytes).map_err(|error| self.wrong(error))?;
        self.disk
            .append(&self.part, bytes)
            .map_err(at(&self.part))?;
        self.unsynced = self.unsynced.saturating_add(bytes.len() as u64);
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.disk.sync(&self.part).map_err(at(&self.part))?;
            self.disk.sync_dir(&self.dir).map_err(at(&self.dir))?;
        }
        Ok(())
    }

    /// All bytes have come: the payload, if it is the one that the release names. Wrong bytes are dropped, so that the next
    /// attempt begins anew; or set aside, so that it takes from them what is right.
    ///
    /// # Errors
    /// [`UpdateError::Changed`], [`UpdateError::Disk`]
    pub fn finish(self) -> Result<Staged<'a>, UpdateError> {
        let payload = match self.check.clone().finish() {
            Ok(payload) => payload,
            Err(error) => {
                if error != ContentError::TooShort {
                    self.drop_part()?;
                }
                return Err(self.wrong(error));
            }
        };
        self.disk.sync(&self.part).map_err(at(&self.part))?;
        self.disk
            .rename(&self.part, &self.path)
            .map_err(at(&self.path))?;
        self.disk.sync_dir(&self.dir).map_err(at(&self.dir))?;
        Ok(Staged {
            payload,
            path: self.path,
        })
    }

    /// Hashes what an earlier attempt left. What is wrong or too much is dropped.
    fn take_up(&mut self, release: &VerifiedRelease<'a>, name: &str) -> Result<(), UpdateError> {
        // A payload that came whole is a part to which nothing is missing.
        if self
            .disk
            .node(&self.path)
            .map_err(at(&self.path))?
            .is_some()
        {
            self.disk.remove(&self.part).map_err(at(&self.part))?;
            self.disk
                .rename(&self.path, &self.part)
                .map_err(at(&self.path))?;
        }
        let begin = self.check.clone();
        let whole = begin.remaining();
        let fits = match self.disk.node(&self.part).map_err(at(&self.part))? {
            None => return self.begin(),
            Some(Node::File { size, .. }) => size <= whole,
            Some(_) => false,
        };
        if fits {
            let mut file = self.disk.open(&self.part).map_err(at(&self.part))?;
            each_piece(&mut file, |piece| {
                self.check.feed(piece).map_err(io::Error::other)
            })
            .map_err(at(&self.part))?;
            if self.check.remaining() > 0 || self.check.clone().finish().is_ok() {
                return Ok(());
            }
        }
        self.check = release.receive(name).unwrap_or(begin);
        self.drop_part()?;
        self.begin()
    }

    fn drop_part(&self) -> Result<(), UpdateError> {
        let part = &self.part;
        match self.check.payload().chunk_index {
            Some(_) => self.disk.rename(part, &part.with_extension(SEED)),
            None => self.disk.remove(part),
        }
        .map_err(at(part))
    }

    fn begin(&self) -> Result<(), UpdateError> {
        self.disk.create(&self.part, 0o600).map_err(at(&self.part))
    }

    fn wrong(&self, error: ContentError) -> UpdateError {
        UpdateError::Changed {
            name: self.check.payload().name.to_string(),
            error,
        }
    }
}

/// Whether a file belongs to one of these payloads.
fn is_of(path: &Path, wanted: &[Digest]) -> bool {
    !is_seed(path)
        && path.file_stem().is_some_and(|stem| {
            let mut names = wanted.iter().map(Digest::to_string);
            names.any(|name| stem == name.as_str())
        })
}

fn is_seed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == SEED)
}

/// Reads to the end, piece by piece.
pub(super) fn each_piece(
    file: &mut (impl Read + ?Sized),
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => each(piece.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Names the file at which the disk refused.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> UpdateError + use<> {
    let path = path.to_owned();
    move |error| UpdateError::Disk { path, error }
}
