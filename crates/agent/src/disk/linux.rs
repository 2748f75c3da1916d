//! The real disk.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _, symlink,
};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise};

use super::{Disk, Node};

/// Bytes that are written to a partition at a time, and how many of them before they are made durable: else a slow medium would fill
/// the memory with what waits for it.
const PIECE_BYTES: usize = 1 << 20;
const PIECES_UNSYNCED: usize = 16;

/// The disk of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

impl Disk for Linux {
    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = metadata.file_type();
        Ok(Some(if kind.is_file() {
            Node::File {
                size: metadata.len(),
                mode: metadata.mode() & 0o7777,
            }
        } else if kind.is_dir() {
            Node::Dir
        } else if kind.is_symlink() {
            Node::Link
        } else {
            Node::Other
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(open(path)?))
    }

    fn open_at(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match fs::read_link(path) {
            Ok(target) => Ok(Some(target)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<()> {
        // With no permission beyond the mode's at any time; then the bits that the process's mask took away.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode & 0o700)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(mode))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).open(path)?.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode & 0o700).create(path)?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        symlink(target, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = match self.node(path)? {
            None => return Ok(()),
            Some(Node::Dir) => fs::remove_dir_all(path),
            Some(_) => fs::remove_file(path),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn wipe(&self, path: &Path) -> io::Result<()> {
        let mut file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        io::copy(&mut io::repeat(0).take(size), &mut file)?;
        file.sync_all()?;
        self.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn room(&self, path: &Path) -> io::Result<u64> {
        // A block device's size is where its end is.
        File::open(path)?.seek(SeekFrom::End(0))
    }

    fn overwrite(&self, path: &Path, from: &mut dyn Read) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true);
        if fs::metadata(path)?.file_type().is_block_device() {
            // Alone: the kernel refuses it for a partition that somebody has mounted.
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        }
        let mut file = options.open(path)?;
        let room = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut written = 0;
        let mut piece = vec![0; PIECE_BYTES];
        for number in 1_usize.. {
            let read = full(from, &mut piece)?;
            let bytes = piece.get(..read).unwrap_or_default();
            written += read as u64;
            if written > room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if bytes.is_empty() {
                break;
            }
            file.write_all(bytes)?;
            if number % PIECES_UNSYNCED == 0 {
                file.sync_data()?;
            }
        }
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
        Ok(())
    }
}

/// A pipe that was put in a file's place does not make it wait.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    options.open(path)
}

/// Reads until the piece is full or nothing more comes.
fn full(from: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match from.read(piece.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => return Ok(filled),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
