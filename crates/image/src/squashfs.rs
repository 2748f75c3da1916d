//! SquashFS 4.0, little-endian: what Linux has made since 2009.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use backhand::{BackhandError, FilesystemReader, InnerNode, SquashfsFileReader};
use kusabi_agent::inventory::Node;

use crate::nodes::{Entry, NODES_MAX, Nodes, What};
use crate::{ImageError, ImageFile};

/// Most bytes of decompressed fragments that are held in memory.
const FRAGMENTS_BYTES_MAX: u64 = 32 << 20;

pub(crate) struct Squashfs {
    file: File,
    loaded: RefCell<Loaded>,
    nodes: Nodes<SquashfsFileReader>,
}

/// The library's image keeps each fragment that it has decompressed, for good. So it is loaded anew when it has too many of them.
struct Loaded {
    image: Rc<FilesystemReader<'static>>,
    /// Where the fragments begin that it may keep.
    fragments: BTreeSet<u64>,
}

impl Loaded {
    fn load(file: &File) -> io::Result<Self> {
        let mut reader = BufReader::new(file.try_clone()?);
        reader.rewind()?;
        let image = caught(|| FilesystemReader::from_reader(reader))?;
        Ok(Self {
            image: Rc::new(image),
            fragments: BTreeSet::new(),
        })
    }
}

/// Runs the library, which panics over some images that contradict themselves instead of refusing them: backhand 0.25.5 adds and cuts
/// without a check in `Squashfs::dir_from_index`, so that an extended directory of 0xffffffff bytes is one
/// (https://github.com/wcampbell0x2a/backhand, src/v4/squashfs.rs). What it has then is not used again, or is behind its poisoned lock.
fn caught<T>(run: impl FnOnce() -> Result<T, BackhandError>) -> io::Result<T> {
    let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| damaged(error.to_string())),
        Err(_) => Err(damaged(String::from("it contradicts itself"))),
    }
}

impl Squashfs {
    pub(crate) fn load(path: &Path, file: File) -> Result<Self, ImageError> {
        let damaged = |why| ImageError::Damaged {
            path: path.into(),
            form: "SquashFS image",
            why,
        };
        let text = |error: io::Error| damaged(error.to_string());
        // Files in the superblock: names of one file are one there, so that the list is no shorter.
        let mut inodes = [0; 4];
        file.read_exact_at(&mut inodes, 4).map_err(text)?;
        let inodes = u32::from_le_bytes(inodes);
        if inodes as usize > NODES_MAX {
            return Err(damaged(format!("it has more than {NODES_MAX} files")));
        }
        let loaded = Loaded::load(&file).map_err(text)?;
        let mut nodes = Nodes::new();
        for node in loaded.image.files() {
            let what = match &node.inner {
                InnerNode::File(file) => What::File(file.clone()),
                InnerNode::Symlink(link) => {
                    What::Link(link.link.clone().into_os_string().into_vec())
                }
                InnerNode::Dir(_) => What::Dir,
                _ => What::Other,
            };
            let mode = node.header.permissions.into();
            nodes
                .add(&node.fullpath, Entry { what, mode })
                .map_err(damaged)?;
        }
        let listed = loaded.image.files().count();
        if u32::try_from(listed).is_ok_and(|listed| listed < inodes) {
            return Err(damaged(format!("it lists {listed} of its {inodes} files")));
        }
        Ok(Self {
            file,
            loaded: RefCell::new(loaded),
            nodes,
        })
    }

    /// The image, from which this file is to be read.
    fn image(&self, file: &SquashfsFileReader) -> io::Result<Rc<FilesystemReader<'static>>> {
        let mut loaded = self.loaded.borrow_mut();
        let start = loaded
            .image
            .file(file)
            .fragment()
            .map(|fragment| fragment.start);
        if let Some(start) = start
            && !loaded.fragments.contains(&start)
        {
            let kept = (loaded.fragments.len() as u64).saturating_add(1);
            if kept.saturating_mul(loaded.image.block_size.into()) > FRAGMENTS_BYTES_MAX {
                *loaded = Loaded::load(&self.file)?;
            }
            loaded.fragments.insert(start);
        }
        Ok(Rc::clone(&loaded.image))
    }

    pub(crate) fn look(&self, path: &Path) -> io::Result<Node> {
        self.nodes.look(path)
    }

    pub(crate) fn list(
        &self,
        dir: &Path,
        each: &mut dyn FnMut(OsString, bool) -> bool,
    ) -> io::Result<()> {
        self.nodes.list(dir, each)
    }

    pub(crate) fn link(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.nodes.link(path)
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<Option<(ImageFile<'_>, u32)>> {
        let entry = self.nodes.get(path)?;
        let What::File(file) = &entry.what else {
            return Ok(None);
        };
        let content = Content {
            tree: self,
            file,
            at: 0,
            block: Vec::new(),
            used: 0,
        };
        Ok(Some((
            ImageFile::new(content, file.file_len() as u64),
            entry.mode,
        )))
    }
}

/// A file's bytes, block by block. The library's own reader would hold on to an image with all that it keeps.
struct Content<'a> {
    tree: &'a Squashfs,
    file: &'a SquashfsFileReader,
    /// Where the next block begins.
    at: u64,
    block: Vec<u8>,
    /// What was read of the block.
    used: usize,
}

impl Content<'_> {
    fn next_block(&mut self) -> io::Result<()> {
        self.block.clear();
        self.used = 0;
        if self.at >= self.file.file_len() as u64 {
            return Ok(());
        }
        let image = self.tree.image(self.file)?;
        caught(|| {
            let mut reader = image.file(self.file).reader_checked()?;
            reader.seek(SeekFrom::Start(self.at))?;
            let block_bytes = image.block_size.into();
            reader.take(block_bytes).read_to_end(&mut self.block)?;
            Ok(())
        })?;
        self.at = self.at.saturating_add(self.block.len() as u64);
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.used >= self.block.len() {
            self.next_block()?;
        }
        let mut rest = self.block.get(self.used..).unwrap_or_default();
        let read = rest.read(buf)?;
        self.used = self.used.saturating_add(read);
        Ok(read)
    }
}
