//! Root file systems in images, read where they lie: ext2, ext3, ext4, SquashFS, a tar, or a directory.
//!
//! An [`Image`] is a [`Tree`]: the agent's own walk goes over it, so that what it says is what the agent will say on a device that installed
//! it. Nothing is mounted, nothing is unpacked, and no link is followed.
//!
//! It runs on the machine that makes a release, over files that its owner made. What cannot be read is an
//! error, never a file less. SquashFS and tar check neither names nor contents, so a spoiled one may say other things: devices then differ.

#[cfg(feature = "ext4")]
mod ext4;
mod nodes;
#[cfg(feature = "squashfs")]
mod squashfs;
mod tarball;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kusabi_agent::inventory::{Live, Node, Tree};

/// Why something is no tree of files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It cannot be read.
    #[error("{path} cannot be read: {error}", path = path.display())]
    File {
        /// What.
        path: PathBuf,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
    /// It is of a form that is not known.
    #[error("{path} is no directory, and no ext4, SquashFS or tar image; if it is compressed, or has partitions, unpack it first", path = path.display())]
    Unknown {
        /// What.
        path: PathBuf,
    },
    /// It is of a form that was left out of this program.
    #[error("{path} is {form}, which this program was built without", path = path.display())]
    LeftOut {
        /// What.
        path: PathBuf,
        /// The form.
        form: &'static str,
    },
    /// It says that it is of a form, and is not.
    #[error("{path} is no good {form}: {why}", path = path.display())]
    Damaged {
        /// What.
        path: PathBuf,
        /// The form.
        form: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// A tree of files, wherever it lies.
pub struct Image(Form);

enum Form {
    Dir(Live),
    #[cfg(feature = "ext4")]
    Ext4(ext4::Ext4Tree),
    #[cfg(feature = "squashfs")]
    Squashfs(squashfs::Squashfs),
    Tar(tarball::Tarball),
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Image").field(&self.form()).finish()
    }
}

impl Image {
    /// Opens a directory or an image; its beginning says what it is.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |error| ImageError::File {
            path: path.into(),
            error,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Ok(Self(Form::Dir(Live::new(path))));
        }
        let unknown = || ImageError::Unknown { path: path.into() };
        if !metadata.is_file() {
            return Err(unknown());
        }
        let is = |at: u64, magic: &[u8]| {
            let mut found = [0; 8];
            let found = found.get_mut(..magic.len());
            found.is_some_and(|found| file.read_exact_at(found, at).is_ok() && found == magic)
        };
        if is(0, b"hsqs") {
            #[cfg(feature = "squashfs")]
            return Ok(Self(Form::Squashfs(squashfs::Squashfs::load(path, file)?)));
            #[cfg(not(feature = "squashfs"))]
            return Err(ImageError::LeftOut {
                path: path.into(),
                form: "a SquashFS image",
            });
        }
        // The superblock begins at 1,024.
        if is(1024 + 56, &[0x53, 0xef]) {
            #[cfg(feature = "ext4")]
            return Ok(Self(Form::Ext4(ext4::Ext4Tree::load(path, file)?)));
            #[cfg(not(feature = "ext4"))]
            return Err(ImageError::LeftOut {
                path: path.into(),
                form: "an ext4 image",
            });
        }
        if is(257, b"ustar") {
            return Ok(Self(Form::Tar(tarball::Tarball::load(path, file)?)));
        }
        Err(unknown())
    }

    /// What it is.
    #[must_use]
    pub const fn form(&self) -> &'static str {
        match &self.0 {
            Form::Dir(_) => "directory",
            #[cfg(feature = "ext4")]
            Form::Ext4(_) => "ext4",
            #[cfg(feature = "squashfs")]
            Form::Squashfs(_) => "squashfs",
            Form::Tar(_) => "tar",
        }
    }
}

/// A regular file in an image: neither shorter nor longer than the image says.
pub struct ImageFile<'a> {
    content: Box<dyn Read + 'a>,
    /// `None`: the disk knows.
    left: Option<u64>,
}

impl std::fmt::Debug for ImageFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageFile")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Read for ImageFile<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buf)?;
        if let Some(left) = &mut self.left {
            let other = || {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it has another size than the image says",
                )
            };
            *left = left.checked_sub(read as u64).ok_or_else(other)?;
            if read == 0 && !buf.is_empty() && *left > 0 {
                return Err(other());
            }
        }
        Ok(read)
    }
}

impl<'a> ImageFile<'a> {
    fn new(content: impl Read + 'a, size: u64) -> Self {
        Self {
            content: Box::new(content),
            left: Some(size),
        }
    }
}

macro_rules! each {
    ($image:expr, $tree:ident => $do:expr) => {
        match &$image.0 {
            Form::Dir($tree) => $do,
            #[cfg(feature = "ext4")]
            Form::Ext4($tree) => $do,
            #[cfg(feature = "squashfs")]
            Form::Squashfs($tree) => $do,
            Form::Tar($tree) => $do,
        }
    };
}

impl Tree for Image {
    type File<'a> = ImageFile<'a>;

    fn look(&self, path: &Path) -> io::Result<Node> {
        let node = each!(self, tree => tree.look(path))?;
        // Nothing is remembered of it.
        Ok(Node {
            stamp: None,
            ..node
        })
    }

    fn list(&self, dir: &Path, each: &mut dyn FnMut(OsString, bool) -> bool) -> io::Result<()> {
        each!(self, tree => tree.list(dir, each))
    }

    fn link(&self, path: &Path) -> io::Result<Vec<u8>> {
        each!(self, tree => tree.link(path))
    }

    fn changes(&self) -> bool {
        matches!(&self.0, Form::Dir(_))
    }

    fn open(&self, path: &Path) -> io::Result<Option<(ImageFile<'_>, u32)>> {
        match &self.0 {
            Form::Dir(tree) => {
                let opened = tree.open(path)?;
                Ok(opened.map(|(file, mode)| {
                    let file = ImageFile {
                        content: Box::new(file),
                        left: None,
                    };
                    (file, mode)
                }))
            }
            #[cfg(feature = "ext4")]
            Form::Ext4(tree) => tree.open(path),
            #[cfg(feature = "squashfs")]
            Form::Squashfs(tree) => tree.open(path),
            Form::Tar(tree) => tree.open(path),
        }
    }
}
