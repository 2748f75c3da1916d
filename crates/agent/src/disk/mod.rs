//! The operations on a disk that the agent relies on, each of which a power cut can precede, follow or tear.
//!
//! What a name stands for survives a power cut only after [`Disk::sync_dir`] of its directory, and what a file holds only
//! after [`Disk::sync`]; [`replace`] does both in the right order.

mod linux;
#[cfg(test)]
pub(crate) mod sim;

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use linux::Linux;

/// What stands under a name; links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file of so many bytes with these permission bits.
    File {
        /// Size in bytes.
        size: u64,
        /// Permission bits.
        mode: u32,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A socket, pipe or device node.
    Other,
}

/// A disk. All paths are absolute, or relative to the same directory.
pub trait Disk {
    /// What stands under a name, if anything.
    ///
    /// # Errors
    /// Those of the disk.
    fn node(&self, path: &Path) -> io::Result<Option<Node>>;

    /// Opens a file to read it.
    ///
    /// # Errors
    /// Those of the disk; `NotFound` when there is none.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// Opens a file to read it from a place on; from its end on when it is shorter.
    ///
    /// # Errors
    /// Those of the disk; `NotFound` when there is none.
    fn open_at(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = self.open(path)?;
        io::copy(&mut file.by_ref().take(from), &mut io::sink())?;
        Ok(file)
    }

    /// Names in a directory, in no order.
    ///
    /// # Errors
    /// Those of the disk.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Where a symbolic link points to; `None` when there is none.
    ///
    /// # Errors
    /// Those of the disk; `InvalidInput` when the name stands for something else.
    fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>>;

    /// Makes an empty file that was not there, with exactly these permission bits.
    ///
    /// # Errors
    /// Those of the disk; `AlreadyExists`.
    fn create(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Appends to a file that is there.
    ///
    /// # Errors
    /// Those of the disk; a part may have been written.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's content durable.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory (not those above it) that only its owner may enter, or with other permission bits.
    ///
    /// # Errors
    /// Those of the disk; `AlreadyExists`.
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Makes a symbolic link that was not there.
    ///
    /// # Errors
    /// Those of the disk; `AlreadyExists`.
    fn link(&self, target: &Path, path: &Path) -> io::Result<()>;

    /// Gives a file or link another name in the same directory, at once, also if that is taken.
    ///
    /// # Errors
    /// Those of the disk.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, a link, or a directory with all that is in it. Nothing there is no error.
    ///
    /// # Errors
    /// Those of the disk; a part may have been removed.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Writes zeros over a file's bytes, makes them durable, and removes the file. Nothing there is no error. (A flash chip
    /// may keep the old bytes in pages that nothing points to.)
    ///
    /// # Errors
    /// Those of the disk; a part may have been overwritten.
    fn wipe(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which names stand in a directory.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// How many bytes a partition or a file has room for without growing.
    ///
    /// # Errors
    /// Those of the disk; `NotFound`.
    fn room(&self, path: &Path) -> io::Result<u64>;

    /// Writes what is read over the beginning of a partition or file, which neither grows nor shrinks, and makes it durable. What
    /// is read there afterwards is read from the medium.
    ///
    /// # Errors
    /// Those of the disk; `ResourceBusy` for a partition that is mounted. A part may have been written.
    fn overwrite(&self, path: &Path, from: &mut dyn Read) -> io::Result<()>;

    /// Reads a file of at most `limit` bytes; `None` when there is none.
    ///
    /// # Errors
    /// Those of the disk; `FileTooLarge`.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Room for all of it at once: growing would leave copies of a secret behind.
        let size = match self.node(path)? {
            Some(Node::File { size, .. }) => size.min(limit),
            _ => 0,
        };
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(bytes))
    }
}

/// Replaces a file, or makes it: after a power cut there is the old one or the new one, whole.
///
/// # Errors
/// Those of the disk; the old file then stands, unless only the last step failed.
pub fn replace(disk: &impl Disk, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = beside(path, "new");
    disk.remove(&new)?;
    disk.create(&new, mode)?;
    disk.append(&new, bytes)?;
    disk.sync(&new)?;
    disk.rename(&new, path)?;
    disk.sync_dir(folder(path))
}

/// Points a symbolic link elsewhere, or makes it: after a power cut it points to the old or to the new target.
///
/// # Errors
/// Those of the disk.
pub fn point(disk: &impl Disk, path: &Path, target: &Path) -> io::Result<()> {
    let new = beside(path, "new");
    disk.remove(&new)?;
    disk.link(target, &new)?;
    disk.rename(&new, path)?;
    disk.sync_dir(folder(path))
}

/// The directory that a path stands in.
#[must_use]
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}
