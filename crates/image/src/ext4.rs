//! ext2, ext3 and ext4.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ext4_view::{Ext4, PathBuf as Ext4Path};
use kusabi_agent::inventory::{Kind, Node};

use crate::{ImageError, ImageFile};

/// Where `s_feature_incompat` stands: at 0x60 in the superblock, which begins at 1,024 (linux/fs/ext4/ext4.h).
const INCOMPAT_AT: u64 = 1024 + 0x60;
/// `EXT4_FEATURE_INCOMPAT_RECOVER`: the journal holds what the file system does not yet.
const RECOVER: u32 = 4;
/// Longest target of a link in bytes (`PATH_MAX`): the library takes memory for as much as the inode says.
const TARGET_BYTES_MAX: u64 = 4096;

/// A name in an indexed directory is looked up by its hash, in which the library takes bytes to be signed, whatever the superblock says
/// (`EXT2_FLAGS_UNSIGNED_HASH`). It lists such a directory all the same, so that the walk sees that something is not found.
pub(crate) struct Ext4Tree(Ext4);

/// The form takes absolute paths.
fn at(path: &Path) -> Result<Ext4Path, io::Error> {
    let absolute = [b"/", path.as_os_str().as_bytes()].concat();
    Ext4Path::try_from(OsString::from_vec(absolute)).map_err(io::Error::other)
}

impl Ext4Tree {
    pub(crate) fn load(path: &Path, file: File) -> Result<Self, ImageError> {
        let damaged = |why| ImageError::Damaged {
            path: path.into(),
            form: "ext4 image",
            why,
        };
        let mut features = [0; 4];
        file.read_exact_at(&mut features, INCOMPAT_AT)
            .map_err(|error| damaged(error.to_string()))?;
        // The library plays the journal in memory, and not all of it as the kernel does: what the two see may differ.
        if u32::from_le_bytes(features) & RECOVER != 0 {
            let path = path.display();
            return Err(damaged(format!("it was not unmounted: e2fsck -fy {path}")));
        }
        Ext4::load(Box::new(file))
            .map(Self)
            .map_err(|error| damaged(error.to_string()))
    }

    pub(crate) fn look(&self, path: &Path) -> io::Result<Node> {
        let metadata = self.0.symlink_metadata(&at(path)?)?;
        let kind = metadata.file_type();
        Ok(Node {
            kind: if kind.is_dir() {
                Kind::Dir
            } else if kind.is_symlink() {
                Kind::Link
            } else if kind.is_regular_file() {
                Kind::File
            } else {
                Kind::Other
            },
            mode: metadata.mode().into(),
            stamp: None,
        })
    }

    pub(crate) fn list(
        &self,
        dir: &Path,
        each: &mut dyn FnMut(OsString, bool) -> bool,
    ) -> io::Result<()> {
        for entry in self.0.read_dir(&at(dir)?)? {
            let entry = entry?;
            let name = entry.file_name();
            let name: &[u8] = name.as_ref();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let is_dir = entry.file_type()?.is_dir();
            if !each(OsStr::from_bytes(name).to_owned(), is_dir) {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn link(&self, path: &Path) -> io::Result<Vec<u8>> {
        let at = at(path)?;
        if self.0.symlink_metadata(&at)?.len() > TARGET_BYTES_MAX {
            let why = "a link whose target has more than 4,096 bytes";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let target = self.0.read_link(&at)?;
        let target: &[u8] = target.as_ref();
        Ok(target.to_vec())
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<Option<(ImageFile<'_>, u32)>> {
        let file = self.0.open(&at(path)?)?;
        let (size, mode) = (file.metadata().len(), file.metadata().mode());
        Ok(Some((ImageFile::new(file, size), mode.into())))
    }
}
