//! SquashFS 4.0, little-endian: what Linux has made since 2009.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use backhand::{FilesystemReader, InnerNode, SquashfsFileReader};
use kusabi_agent::inventory::Node;

use crate::nodes::{Entry, Nodes, What};
use crate::{ImageError, ImageFile};

pub(crate) struct Squashfs {
    image: FilesystemReader<'static>,
    nodes: Nodes<SquashfsFileReader>,
}

impl Squashfs {
    pub(crate) fn load(path: &Path, file: File) -> Result<Self, ImageError> {
        let damaged = |why| ImageError::Damaged {
            path: path.into(),
            form: "SquashFS image",
            why,
        };
        // Files in the superblock: names of one file are one there, so that the list is no shorter.
        let mut inodes = [0; 4];
        file.read_exact_at(&mut inodes, 4)
            .map_err(|error| damaged(error.to_string()))?;
        let inodes = u32::from_le_bytes(inodes);
        let image = FilesystemReader::from_reader(BufReader::new(file))
            .map_err(|error| damaged(error.to_string()))?;
        let mut nodes = Nodes::new();
        for node in image.files() {
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
        let listed = image.files().count();
        if u32::try_from(listed).is_ok_and(|listed| listed < inodes) {
            return Err(damaged(format!("it lists {listed} of its {inodes} files")));
        }
        Ok(Self { image, nodes })
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
        let content = self.image.file(file).reader_checked();
        let content = content.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Some((
            ImageFile::new(content, file.file_len() as u64),
            entry.mode,
        )))
    }
}
