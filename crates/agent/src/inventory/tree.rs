//! What is walked: a directory of this machine, or a tree in an image.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What something in a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A socket, pipe or device node.
    Other,
}

/// What stands under a path; links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with those of set-user and set-group.
    pub mode: u32,
    /// By what a change of its content shows; none where nothing is remembered of it.
    pub stamp: Option<Stamp>,
}

/// By what a change of a file's content shows without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When its content changed last, as whoever may write it likes: seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
    /// When it changed last, as the kernel set it: seconds and nanoseconds since 1970.
    pub changed: (i64, u32),
    /// Its number on the file system.
    pub inode: u64,
    /// The file system's number.
    pub device: u64,
}

/// A tree of files. Paths are relative to its root, without `.` and `..`; the empty one is the root.
pub trait Tree {
    /// A file that is being read.
    type File<'a>: Read
    where
        Self: 'a;

    /// What stands under a path.
    ///
    /// # Errors
    /// Those of the disk or image; `NotFound` or `NotADirectory` when nothing does.
    fn look(&self, path: &Path) -> io::Result<Node>;

    /// Hands out each name in a directory, in no order, and whether it is a directory's, until `each` says that it is enough.
    ///
    /// # Errors
    /// Those of the disk or image; as [`look`](Self::look)'s when there is no such directory.
    fn list(&self, dir: &Path, each: &mut dyn FnMut(OsString, bool) -> bool) -> io::Result<()>;

    /// Where a symbolic link points to.
    ///
    /// # Errors
    /// Those of the disk or image; as [`look`](Self::look)'s when there is none.
    fn link(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Opens a regular file, with its permission bits; `None` when it is something else by now.
    ///
    /// # Errors
    /// Those of the disk or image; as [`look`](Self::look)'s when there is none.
    fn open(&self, path: &Path) -> io::Result<Option<(Self::File<'_>, u32)>>;

    /// Whether it may change while it is walked, so that what a directory lists may be gone when it is looked at.
    fn changes(&self) -> bool {
        false
    }

    /// Makes whatever writes an open file from now on show in its stamp.
    ///
    /// # Errors
    /// It cannot; then nothing is remembered of the file.
    fn settle(&self, _file: &Self::File<'_>) -> io::Result<()> {
        Ok(())
    }

    /// An open file's stamp as it is now; none where a change of its content may not show in it.
    fn stamp(&self, _file: &Self::File<'_>) -> Option<Stamp> {
        None
    }
}

/// A directory of this machine.
#[derive(Clone, Debug)]
pub struct Live {
    root: PathBuf,
}

impl Live {
    /// The tree below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    // Nanoseconds are below 10^9.
    let nanos = |nanos: i64| u32::try_from(nanos).unwrap_or_default();
    Stamp {
        size: metadata.size(),
        modified: (metadata.mtime(), nanos(metadata.mtime_nsec())),
        changed: (metadata.ctime(), nanos(metadata.ctime_nsec())),
        inode: metadata.ino(),
        device: metadata.dev(),
    }
}

/// File systems whose stamps say little of their contents: pages in memory never go to a disk (tmpfs, ramfs), times are those that a program
/// or another machine gives (FUSE, NFS, SMB, 9P), or no time of change is kept (FAT, exFAT). Numbers of `linux/magic.h`.
const UNSTAMPED: [u32; 10] = [
    0x0102_1994,
    0x8584_58f6,
    0x6573_5546,
    0x0000_6969,
    0x0000_517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x0000_4d44,
    0x2011_bab0,
];

/// Whether an error says that there is nothing.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl Tree for Live {
    type File<'a> = File;

    fn look(&self, path: &Path) -> io::Result<Node> {
        // The root itself may be reached by a link: whoever configured it meant that.
        let metadata = match path.as_os_str().is_empty() {
            true => fs::metadata(&self.root)?,
            false => fs::symlink_metadata(self.at(path))?,
        };
        let kind = if metadata.is_dir() {
            Kind::Dir
        } else if metadata.is_symlink() {
            Kind::Link
        } else if metadata.is_file() {
            Kind::File
        } else {
            Kind::Other
        };
        Ok(Node {
            kind,
            mode: metadata.mode(),
            stamp: metadata.is_file().then(|| stamp(&metadata)),
        })
    }

    fn list(&self, dir: &Path, each: &mut dyn FnMut(OsString, bool) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(self.at(dir))? {
            let is_dir = entry.and_then(|entry| Ok((entry.file_type()?.is_dir(), entry)));
            match is_dir {
                Ok((is_dir, entry)) => {
                    if !each(entry.file_name(), is_dir) {
                        break;
                    }
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn link(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(fs::read_link(self.at(path))?.into_os_string().into_vec())
    }

    /// A file opened as nothing else: no link is followed, no pipe waits for a writer.
    fn open(&self, path: &Path) -> io::Result<Option<(File, u32)>> {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(self.at(path));
        let file = match opened {
            Ok(file) => file,
            // A link by now.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| (file, metadata.mode())))
    }

    fn changes(&self) -> bool {
        true
    }

    /// A page that was written by a shared mapping and waits to go to disk takes more writes without a trace. Once it has gone there, the
    /// next write is stamped.
    fn settle(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn stamp(&self, file: &File) -> Option<Stamp> {
        let system = rustix::fs::fstatfs(file).ok()?;
        // As wide as the kernel's numbers are; its type differs between machines.
        let magic = system.f_type as u32;
        if UNSTAMPED.contains(&magic) {
            return None;
        }
        file.metadata().ok().map(|metadata| stamp(&metadata))
    }
}
