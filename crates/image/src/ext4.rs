//! ext2, ext3 and ext4.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use ext4_view::{Ext4, PathBuf as Ext4Path};
use kusabi_agent::inventory::{Kind, Node};

use crate::{ImageError, ImageFile};

pub(crate) struct Ext4Tree(Ext4);

/// The form takes absolute paths.
fn at(path: &Path) -> Result<Ext4Path, io::Error> {
    let absolute = [b"/", path.as_os_str().as_bytes()].concat();
    Ext4Path::try_from(OsString::from_vec(absolute)).map_err(io::Error::other)
}

impl Ext4Tree {
    pub(crate) fn load(path: &Path) -> Result<Self, ImageError> {
        Ext4::load_from_path(path)
            .map(Self)
            .map_err(|error| ImageError::Damaged {
                path: path.into(),
                form: "ext4 image",
                why: error.to_string(),
            })
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
        let target = self.0.read_link(&at(path)?)?;
        let target: &[u8] = target.as_ref();
        Ok(target.to_vec())
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<Option<(ImageFile<'_>, u32)>> {
        let file = self.0.open(&at(path)?)?;
        let (size, mode) = (file.metadata().len(), file.metadata().mode());
        Ok(Some((ImageFile::new(file, size), mode.into())))
    }
}
