//! A tar: what the updater of slots unpacks.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kusabi_agent::inventory::Node;
use tar::{Archive, EntryType};

use crate::nodes::{Entry, Nodes, What, below};
use crate::{ImageError, ImageFile};

/// Where a file's bytes lie.
#[derive(Clone, Copy, Debug)]
struct Place {
    from: u64,
    size: u64,
}

pub(crate) struct Tarball {
    file: File,
    nodes: Nodes<Place>,
}

impl Tarball {
    pub(crate) fn load(path: &Path, file: File) -> Result<Self, ImageError> {
        let damaged = |why| ImageError::Damaged {
            path: path.into(),
            form: "tar",
            why,
        };
        let nodes = index(&file).map_err(damaged)?;
        Ok(Self { file, nodes })
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
        let What::File(place) = &entry.what else {
            return Ok(None);
        };
        let content = Piece {
            file: &self.file,
            at: place.from,
            end: place.from.saturating_add(place.size),
        };
        Ok(Some((ImageFile::new(content, place.size), entry.mode)))
    }
}

fn index(file: &File) -> Result<Nodes<Place>, String> {
    let text = |error: io::Error| error.to_string();
    let mut archive = Archive::new(file);
    let mut nodes = Nodes::new();
    for entry in archive.entries_with_seek().map_err(text)? {
        let entry = entry.map_err(text)?;
        let path = entry.path().map_err(text)?.into_owned();
        let mode = entry.header().mode().map_err(text)?;
        let target = || {
            let target = entry.link_name_bytes();
            target.ok_or_else(|| format!("{}: a link that points nowhere", path.display()))
        };
        let what = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => What::File(Place {
                from: entry.raw_file_position(),
                size: entry.size(),
            }),
            EntryType::Directory => What::Dir,
            EntryType::Symlink => What::Link(target()?.into_owned()),
            // The same file once more, with what it may do.
            EntryType::Link => {
                let other = entry.link_name().map_err(text)?.unwrap_or_default();
                let found = below(&other).ok().and_then(|other| nodes.get(&other).ok());
                let Some(
                    found @ Entry {
                        what: What::File(_),
                        ..
                    },
                ) = found
                else {
                    let (path, other) = (path.display(), other.display());
                    return Err(format!(
                        "{path}: another name of {other}, which is no file before it"
                    ));
                };
                let found = found.clone();
                nodes.add(&path, found)?;
                continue;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => What::Other,
            EntryType::XGlobalHeader => continue,
            kind => {
                let path = path.display();
                return Err(format!("{path}: a {kind:?}, which is not known here"));
            }
        };
        nodes.add(&path, Entry { what, mode })?;
    }
    Ok(nodes)
}

/// Bytes of a file.
struct Piece<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Piece<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let room = buf.len().min(left);
        let read = self
            .file
            .read_at(buf.get_mut(..room).unwrap_or_default(), self.at)?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folders above such a file would be more than the image: 256 MB for 32 KB.
    #[test]
    fn a_name_of_endless_parts_is_refused() {
        let mut tar = tar::Builder::new(tempfile::tempfile().unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        // What does not fit into the header stands before it, as GNU tar writes it.
        let path = "a/".repeat(16_000) + "b";
        tar.append_data(&mut header, path, io::empty()).unwrap();
        let mut file = tar.into_inner().unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let refused = Tarball::load(Path::new("long.tar"), file);
        match refused {
            Err(ImageError::Damaged { why, .. }) => assert!(why.contains("4096 bytes"), "{why}"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it is read"),
        }
    }
}
