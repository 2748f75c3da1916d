//! The walk.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component as Part, Path, PathBuf};

use kusabi_core::crypto::Hasher;
use kusabi_core::id::Digest;
use kusabi_core::inventory::{
    COMPONENTS_MAX, Component, ComponentKind, InventoryError, InventorySummary, InventoryWriter,
    escape_name,
};
use kusabi_core::wire::Sink as _;

use super::WalkError;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Most names of one directory that are held in memory.
const NAMES_MAX: usize = COMPONENTS_MAX as usize;
/// Set-user and set-group bits.
const PRIVILEGED: u32 = 0o6000;
const EXECUTABLE: u32 = 0o111;

/// What is to be inventoried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    root: PathBuf,
    /// Below the root, in the order of the format.
    paths: Vec<PathBuf>,
    /// Below the root; what lies there is passed over.
    excluded: Vec<PathBuf>,
}

impl Walk {
    /// Everything below `paths`, which are taken relative to `root` with or without a leading `/`, without what lies below
    /// `excluded`. A component's name is its path below `root`, so that a slot can be inventoried before it is started.
    ///
    /// # Errors
    /// [`WalkError::Path`], [`WalkError::Nested`]
    pub fn new(root: &Path, paths: &[PathBuf], excluded: &[PathBuf]) -> Result<Self, WalkError> {
        let below = |paths: &[PathBuf]| -> Result<Vec<PathBuf>, WalkError> {
            let mut below: Vec<PathBuf> = paths
                .iter()
                .map(|path| below(path))
                .collect::<Result<_, _>>()?;
            // As directories: nested ones then follow one another, and the others are in the order of what lies in them.
            below.sort_by_cached_key(|path| sort_key(path.as_os_str().as_bytes(), true));
            Ok(below)
        };
        let paths = below(paths)?;
        for pair in paths.windows(2) {
            if let [outer, inner] = pair
                && inner.starts_with(outer)
            {
                return Err(WalkError::Nested {
                    inner: inner.clone(),
                    outer: outer.clone(),
                });
            }
        }
        Ok(Self {
            root: root.into(),
            excluded: below(excluded)?,
            paths,
        })
    }

    /// Whether no path is to be inventoried.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The same paths below another root: an image's, before it is on a device.
    #[must_use]
    pub fn at(&self, root: &Path) -> Self {
        Self {
            root: root.into(),
            ..self.clone()
        }
    }

    /// Takes the inventory and writes it to `out`.
    ///
    /// # Errors
    /// [`WalkError`]; what was written then is no inventory.
    pub fn take(&self, out: &mut impl Write) -> Result<InventorySummary, WalkError> {
        let mut taker = Taker {
            walk: self,
            writer: InventoryWriter::new(Vec::new()),
            out,
            piece: vec![0; PIECE_BYTES],
        };
        let mut found = Vec::new();
        for path in &self.paths {
            // A path that is not there is a component less, which the comparison says.
            if let Some(metadata) = taker.look(path)? {
                found.push((
                    sort_key(path.as_os_str().as_bytes(), metadata.is_dir()),
                    path,
                ));
            }
        }
        found.sort();
        for (_, path) in found {
            taker.visit(path)?;
        }
        let (summary, rest) = taker.writer.finish();
        out.write_all(&rest).map_err(WalkError::Write)?;
        Ok(summary)
    }
}

/// The path's parts, without the leading `/`.
fn below(path: &Path) -> Result<PathBuf, WalkError> {
    let refused = || WalkError::Path { path: path.into() };
    let parts = path.strip_prefix("/").unwrap_or(path);
    let normal = parts
        .components()
        .all(|part| matches!(part, Part::Normal(_)));
    if !normal {
        return Err(refused());
    }
    Ok(parts.components().collect())
}

/// What names are sorted by: the escaped name, of a directory with the `/` that all names in it go on with.
fn sort_key(name: &[u8], is_dir: bool) -> String {
    let mut key = escape_name(name);
    if is_dir {
        key.push('/');
    }
    key
}

struct Taker<'a, W> {
    walk: &'a Walk,
    writer: InventoryWriter<Vec<u8>>,
    out: &'a mut W,
    piece: Vec<u8>,
}

impl<W: Write> Taker<'_, W> {
    /// Takes what stands under a path, and what lies below it.
    fn visit(&mut self, path: &Path) -> Result<(), WalkError> {
        // Directories that are being walked, each with what is left of it: the next name is the last one.
        let mut levels = vec![(path.to_owned(), vec![OsString::new()])];
        while let Some((dir, names)) = levels.last_mut() {
            let Some(name) = names.pop() else {
                levels.pop();
                continue;
            };
            let path = if name.is_empty() {
                dir.clone()
            } else {
                dir.join(name)
            };
            if self.walk.excluded.contains(&path) {
                continue;
            }
            let Some(metadata) = self.look(&path)? else {
                continue;
            };
            if metadata.is_dir() {
                let names = self.names(&path)?;
                levels.push((path, names));
            } else if metadata.is_symlink() {
                self.take_link(&path)?;
            } else if metadata.is_file() {
                self.take_file(&path)?;
            }
        }
        Ok(())
    }

    /// What stands under a path; `None` when it is gone.
    fn look(&self, path: &Path) -> Result<Option<Metadata>, WalkError> {
        there(path, fs::symlink_metadata(self.walk.root.join(path)))
    }

    /// The names in a directory, last one first.
    fn names(&self, dir: &Path) -> Result<Vec<OsString>, WalkError> {
        let Some(entries) = there(dir, fs::read_dir(self.walk.root.join(dir)))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            let Some(entry) = there(dir, entry)? else {
                continue;
            };
            let is_dir = there(dir, entry.file_type())?.is_some_and(|kind| kind.is_dir());
            let name = entry.file_name();
            names.push((sort_key(name.as_bytes(), is_dir), name));
            if names.len() > NAMES_MAX {
                return Err(WalkError::Component {
                    path: dir.into(),
                    error: InventoryError::TooMany,
                });
            }
        }
        names.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }

    fn take_link(&mut self, path: &Path) -> Result<(), WalkError> {
        let Some(target) = there(path, fs::read_link(self.walk.root.join(path)))? else {
            return Ok(());
        };
        let target = target.as_os_str().as_bytes();
        let digest = Digest::of(target);
        self.put(path, ComponentKind::Link, target.len() as u64, digest)
    }

    fn take_file(&mut self, path: &Path) -> Result<(), WalkError> {
        let Some((mut file, mode)) = there(path, open_file(&self.walk.root.join(path)))?.flatten()
        else {
            return Ok(());
        };
        let mut hasher = Hasher::default();
        let mut size = 0u64;
        loop {
            let read = match file.read(&mut self.piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(WalkError::Disk {
                        path: path.into(),
                        error,
                    });
                }
            };
            hasher.put(self.piece.get(..read).unwrap_or_default());
            size = size.saturating_add(read as u64);
        }
        let kind = if mode & PRIVILEGED != 0 {
            ComponentKind::Privileged
        } else if mode & EXECUTABLE != 0 {
            ComponentKind::Program
        } else {
            ComponentKind::File
        };
        self.put(path, kind, size, Digest::new(hasher.finish()))
    }

    fn put(
        &mut self,
        path: &Path,
        kind: ComponentKind,
        size: u64,
        digest: Digest,
    ) -> Result<(), WalkError> {
        let name = escape_name(path.as_os_str().as_bytes());
        Component::new(&name, None, kind, size, digest)
            .and_then(|component| self.writer.put(&component))
            .map_err(|error| WalkError::Component {
                path: path.into(),
                error,
            })?;
        let written = self.writer.sink();
        if written.len() >= PIECE_BYTES {
            self.out.write_all(written).map_err(WalkError::Write)?;
            written.clear();
        }
        Ok(())
    }
}

/// A file opened as nothing else: no link is followed, no pipe waits for a writer. With its permission bits; `None` when it
/// has become something else.
fn open_file(path: &Path) -> io::Result<Option<(File, u32)>> {
    use rustix::fs::OFlags;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
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

/// A result about a path; `None` when the path is gone.
fn there<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, WalkError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(WalkError::Disk {
            path: path.into(),
            error,
        }),
    }
}
