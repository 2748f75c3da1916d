//! What an image that is a list of paths holds, as a tree.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use kusabi_agent::inventory::{Kind, Node};

/// Most nodes of an image: eight times what an inventory can have.
pub(crate) const NODES_MAX: usize = 1 << 20;
/// Longest path in bytes (`PATH_MAX`): each part of one may be a directory that nobody named.
const PATH_BYTES_MAX: usize = 4096;
/// Most bytes of all paths together. They are held in memory.
const PATHS_BYTES_MAX: usize = 256 << 20;

/// What stands under a path.
#[derive(Clone, Debug)]
pub(crate) enum What<F> {
    Dir,
    File(F),
    Link(Vec<u8>),
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<F> {
    pub(crate) what: What<F>,
    pub(crate) mode: u32,
}

/// All of them by their paths below the root, and the names in each directory.
#[derive(Debug)]
pub(crate) struct Nodes<F> {
    entries: BTreeMap<PathBuf, Entry<F>>,
    names: BTreeMap<PathBuf, Vec<OsString>>,
    /// What is left of the bytes of all paths.
    bytes_left: usize,
}

impl<F> Nodes<F> {
    pub(crate) fn new() -> Self {
        let root = Entry {
            what: What::Dir,
            mode: 0o755,
        };
        Self {
            entries: BTreeMap::from([(PathBuf::new(), root)]),
            names: BTreeMap::new(),
            bytes_left: PATHS_BYTES_MAX,
        }
    }

    /// Adds what stands under a path, with the directories above it that have not been named.
    pub(crate) fn add(&mut self, path: &Path, entry: Entry<F>) -> Result<(), String> {
        let path = below(path)?;
        let named = |path: &Path, why: &str| format!("{}: {why}", path.display());
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let start: PathBuf = path.components().take(3).collect();
            return Err(named(
                &start,
                &format!("a path below it has more than {PATH_BYTES_MAX} bytes"),
            ));
        }
        if let Some(before) = self.entries.get_mut(&path) {
            return match (&before.what, &entry.what) {
                (What::Dir, What::Dir) => {
                    before.mode = entry.mode;
                    Ok(())
                }
                _ => Err(named(&path, "it stands there twice")),
            };
        }
        // From the path upwards, until one is there.
        let mut missing = Vec::new();
        for above in path.ancestors().skip(1) {
            match self.entries.get(above) {
                None => missing.push(above.to_owned()),
                Some(Entry {
                    what: What::Dir, ..
                }) => break,
                Some(_) => return Err(named(&path, "what it lies in is no directory")),
            }
        }
        for above in missing {
            let dir = Entry {
                what: What::Dir,
                mode: 0o755,
            };
            self.insert(above, dir)?;
        }
        self.insert(path, entry)
    }

    fn insert(&mut self, path: PathBuf, entry: Entry<F>) -> Result<(), String> {
        let left = self.bytes_left.checked_sub(path.as_os_str().len());
        let Some(left) = left.filter(|_| self.entries.len() < NODES_MAX) else {
            return Err(format!(
                "it has more than {NODES_MAX} files, or paths of more than {PATHS_BYTES_MAX} bytes together"
            ));
        };
        self.bytes_left = left;
        self.name(&path);
        self.entries.insert(path, entry);
        Ok(())
    }

    fn name(&mut self, path: &Path) {
        if let (Some(dir), Some(name)) = (path.parent(), path.file_name()) {
            let names = self.names.entry(dir.to_owned()).or_default();
            names.push(name.to_owned());
        }
    }

    pub(crate) fn get(&self, path: &Path) -> io::Result<&Entry<F>> {
        self.entries
            .get(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn look(&self, path: &Path) -> io::Result<Node> {
        let entry = self.get(path)?;
        Ok(Node {
            kind: match entry.what {
                What::Dir => Kind::Dir,
                What::File(_) => Kind::File,
                What::Link(_) => Kind::Link,
                What::Other => Kind::Other,
            },
            mode: entry.mode,
            stamp: None,
        })
    }

    pub(crate) fn list(
        &self,
        dir: &Path,
        each: &mut dyn FnMut(OsString, bool) -> bool,
    ) -> io::Result<()> {
        let Entry {
            what: What::Dir, ..
        } = self.get(dir)?
        else {
            return Err(io::ErrorKind::NotADirectory.into());
        };
        for name in self.names.get(dir).into_iter().flatten() {
            let is_dir = matches!(self.get(&dir.join(name))?.what, What::Dir);
            if !each(name.clone(), is_dir) {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn link(&self, path: &Path) -> io::Result<Vec<u8>> {
        match &self.get(path)?.what {
            What::Link(target) => Ok(target.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A path's parts below the root.
pub(crate) fn below(path: &Path) -> Result<PathBuf, String> {
    let mut below = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => below.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(format!("{}: it leads out of the image", path.display()));
            }
        }
    }
    Ok(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Entry<()> {
        Entry {
            what: What::File(()),
            mode: 0o644,
        }
    }

    #[test]
    fn the_parts_of_a_path_are_bounded() {
        let mut nodes = Nodes::new();
        nodes.add(Path::new(&"a/".repeat(2048)), file()).unwrap();
        assert_eq!(nodes.entries.len(), 2049);
        let why = nodes
            .add(Path::new(&"b/".repeat(16_000)), file())
            .unwrap_err();
        assert!(why.starts_with("b/b/b: a path below it"), "{why}");
        assert_eq!(nodes.entries.len(), 2049);
    }

    #[test]
    fn the_bytes_of_all_paths_are_bounded() {
        let mut nodes = Nodes::new();
        nodes.bytes_left = 10;
        nodes.add(Path::new("abc/def"), file()).unwrap();
        nodes.add(Path::new("g"), file()).unwrap_err();
        assert_eq!(nodes.entries.len(), 3);
    }
}
