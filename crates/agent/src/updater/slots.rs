//! Two directories, one of which runs.
//!
//! ```text
//! a/ b/                  the slots
//! current -> a           what the next start starts
//! committed -> a         what is known to work
//! ```
//! A release is installed into the slot that is not committed; switching renames a symbolic link over `current`, which is one
//! step. Everything in a slot is on the disk before anything points to it.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use kusabi_core::release::VerifiedRelease;
use tar::{Archive, EntryType};

use super::payload::Checked;
use super::staging::{Staged, at, each_piece};
use super::{Runs, UpdateError, Updater};
use crate::disk::{self, Disk, Node};

const SLOTS: [&str; 2] = ["a", "b"];

/// The updater of two directories.
#[derive(Clone, Debug)]
pub struct Slots<D> {
    disk: D,
    dir: PathBuf,
}

impl<D: Disk> Slots<D> {
    /// Slots in this directory, where [`found`](Self::found) made them.
    pub const fn new(disk: D, dir: PathBuf) -> Self {
        Self { disk, dir }
    }

    /// Makes the slots and links that are not there; what the factory installed lies in slot a.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub fn found(&self) -> Result<(), UpdateError> {
        for slot in SLOTS {
            let path = self.dir.join(slot);
            if self.disk.node(&path).map_err(at(&path))?.is_none() {
                self.disk.make_dir(&path, 0o755).map_err(at(&path))?;
            }
        }
        for link in ["current", "committed"] {
            let path = self.dir.join(link);
            if self.disk.node(&path).map_err(at(&path))?.is_none() {
                disk::point(&self.disk, &path, Path::new(SLOTS[0])).map_err(at(&path))?;
            }
        }
        self.disk.sync_dir(&self.dir).map_err(at(&self.dir))
    }

    /// The slot that a link points to.
    fn slot(&self, link: &str) -> Result<&'static str, UpdateError> {
        let path = self.dir.join(link);
        let target = self.disk.read_link(&path).map_err(at(&path))?;
        SLOTS
            .into_iter()
            .find(|slot| target.as_deref() == Some(Path::new(slot)))
            .ok_or_else(|| UpdateError::NoSlots {
                path: self.dir.clone(),
            })
    }

    /// The slot that is not committed.
    fn other(&self) -> Result<&'static str, UpdateError> {
        let [a, b] = SLOTS;
        Ok(if self.slot("committed")? == a { b } else { a })
    }

    fn point(&self, link: &str, slot: &str) -> Result<(), UpdateError> {
        let path = self.dir.join(link);
        disk::point(&self.disk, &path, Path::new(slot)).map_err(at(&path))
    }
}

impl<D: Disk> Updater for Slots<D> {
    fn install(
        &mut self,
        release: &VerifiedRelease<'_>,
        payloads: &[Staged<'_>],
    ) -> Result<(), UpdateError> {
        let slot = self.dir.join(self.other()?);
        // An earlier attempt may have been switched to and dropped before it was started.
        self.switch_back()?;
        self.disk.remove(&slot).map_err(at(&slot))?;
        self.disk.make_dir(&slot, 0o755).map_err(at(&slot))?;
        let mut filling = Filling {
            disk: &self.disk,
            slot: &slot,
            dirs: vec![slot.clone()],
        };
        for staged in payloads {
            filling.payload(release, staged)?;
        }
        for dir in filling.dirs.iter().rev() {
            self.disk.sync_dir(dir).map_err(at(dir))?;
        }
        self.disk.sync_dir(&self.dir).map_err(at(&self.dir))
    }

    fn switch(&mut self) -> Result<(), UpdateError> {
        self.point("current", self.other()?)
    }

    fn is_switched(&mut self) -> Result<bool, UpdateError> {
        Ok(self.slot("current")? != self.slot("committed")?)
    }

    /// The links say what the next start starts, and nothing of this one.
    fn runs(&mut self) -> Result<Runs, UpdateError> {
        Ok(Runs::Unknown)
    }

    fn commit(&mut self) -> Result<(), UpdateError> {
        self.point("committed", self.slot("current")?)
    }

    fn switch_back(&mut self) -> Result<(), UpdateError> {
        self.point("current", self.slot("committed")?)
    }
}

/// A slot that is being filled.
struct Filling<'d, D> {
    disk: &'d D,
    slot: &'d Path,
    /// Directories that were made, each after the one that it stands in.
    dirs: Vec<PathBuf>,
}

impl<D: Disk> Filling<'_, D> {
    /// Puts a payload into the slot, and hashes it again on the way: between download and now the disk had it.
    fn payload(
        &mut self,
        release: &VerifiedRelease<'_>,
        staged: &Staged<'_>,
    ) -> Result<(), UpdateError> {
        let payload = staged.payload().payload();
        let name = payload.name.as_str();
        let mut checked = Checked::open(self.disk, release, staged)?;
        match payload.format.as_str() {
            "raw" => self.file(&self.slot.join(name), 0o644, &mut checked)?,
            "tar" => self.archive(name, &mut checked)?,
            format => {
                return Err(UpdateError::Format {
                    name: name.into(),
                    format: format.into(),
                });
            }
        }
        // What an archive's reader leaves behind the end belongs to the payload too.
        checked.finish()
    }

    fn file(&self, path: &Path, mode: u32, from: &mut impl Read) -> Result<(), UpdateError> {
        self.disk.create(path, mode).map_err(at(path))?;
        each_piece(from, |piece| self.disk.append(path, piece)).map_err(at(path))?;
        self.disk.sync(path).map_err(at(path))
    }

    fn archive(&mut self, name: &str, from: &mut impl Read) -> Result<(), UpdateError> {
        let damaged = |error: io::Error| UpdateError::Disk {
            path: name.into(),
            error,
        };
        let mut archive = Archive::new(from);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let inside = entry.path().map_err(damaged)?.into_owned();
            let refused = |why| UpdateError::Archive {
                name: name.into(),
                entry: inside.display().to_string(),
                why,
            };
            let mode = entry.header().mode().map_err(damaged)? & 0o7777;
            let kind = entry.header().entry_type();
            let mut path = self.slot.to_owned();
            for part in inside.components() {
                match part {
                    Component::CurDir => {}
                    Component::Normal(part) => {
                        self.dir(&path, 0o755).map_err(|why| why.or_else(refused))?;
                        path.push(part);
                    }
                    _ => return Err(refused("its path leads out of the slot")),
                }
            }
            if kind == EntryType::Directory {
                self.dir(&path, mode).map_err(|why| why.or_else(refused))?;
                continue;
            }
            if self.disk.node(&path).map_err(at(&path))?.is_some() {
                return Err(refused("its name is taken"));
            }
            match kind {
                EntryType::Regular => self.file(&path, mode, &mut entry)?,
                EntryType::Symlink => {
                    let target = entry.link_name().map_err(damaged)?;
                    let target = target.ok_or_else(|| refused("a link without a target"))?;
                    self.disk.link(&target, &path).map_err(at(&path))?;
                }
                _ => return Err(refused("it is neither file, directory nor symbolic link")),
            }
        }
        Ok(())
    }

    /// Makes a directory unless it is there. A link in its place is not followed.
    fn dir(&mut self, path: &Path, mode: u32) -> Result<(), NoDir> {
        match self
            .disk
            .node(path)
            .map_err(|error| NoDir::Disk(path.into(), error))?
        {
            Some(Node::Dir) => Ok(()),
            Some(_) => Err(NoDir::Taken),
            None => {
                self.disk
                    .make_dir(path, mode)
                    .map_err(|error| NoDir::Disk(path.into(), error))?;
                self.dirs.push(path.into());
                Ok(())
            }
        }
    }
}

/// Why a directory of an archive is not there.
enum NoDir {
    Disk(PathBuf, io::Error),
    Taken,
}

impl NoDir {
    fn or_else(self, refused: impl FnOnce(&'static str) -> UpdateError) -> UpdateError {
        match self {
            Self::Disk(path, error) => UpdateError::Disk { path, error },
            Self::Taken => refused("a part of its path is no directory"),
        }
    }
}
