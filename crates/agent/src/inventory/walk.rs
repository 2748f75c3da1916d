//! The walk.

use std::ffi::OsString;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component as Part, Path, PathBuf};

use kusabi_core::crypto::Hasher;
use kusabi_core::id::Digest;
use kusabi_core::inventory::{
    COMPONENTS_MAX, Component, ComponentKind, InventoryError, InventorySummary, InventoryWriter,
    NAME_BYTES_MAX, Pattern, Rules, RulesError, TypeRules, escape_name, unescape_name,
};
use kusabi_core::wire::Sink as _;

use super::cache::HashCache;
use super::tree::{Kind, Live, Node, Tree};
use super::{Bounds, WalkError};

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Most names that are held in memory, of all directories that are open, and most bytes of them, escaped.
const NAMES_MAX: usize = COMPONENTS_MAX as usize;
const NAMES_BYTES_MAX: usize = 4 << 20;
/// Most files and directories that are walked: eight times what an inventory can have.
const NODES_MAX: usize = 8 * NAMES_MAX;
/// Set-user and set-group bits.
const PRIVILEGED: u32 = 0o6000;
const EXECUTABLE: u32 = 0o111;

/// What is to be inventoried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    root: PathBuf,
    /// Below the root, in the order of the format.
    paths: Vec<PathBuf>,
    /// Of names below the root; what lies there is passed over.
    excluded: Vec<Pattern>,
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The inventory.
    pub summary: InventorySummary,
    /// Files that were read.
    pub read: u32,
    /// Files that were not: the cache knew them.
    pub remembered: u32,
}

impl Walk {
    /// Everything below `paths`, which are taken relative to `root` with or without a leading `/`, without what lies below
    /// `excluded`, in which a `*` stands for any characters within one part of a path. A component's name is its path below `root`, so
    /// that a slot can be inventoried before it is started.
    ///
    /// # Errors
    /// [`WalkError::Path`], [`WalkError::Pattern`], [`WalkError::Nested`]
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
        let excluded = excluded.iter().map(|path| pattern(path));
        Ok(Self {
            root: root.into(),
            excluded: excluded.collect::<Result<_, _>>()?,
            paths,
        })
    }

    /// What signed rules say, below a root, without what lies below `own` as well.
    ///
    /// # Errors
    /// As [`new`](Self::new)'s.
    pub fn by(root: &Path, rules: &TypeRules, own: Option<PathBuf>) -> Result<Self, WalkError> {
        let path = |name: &String| {
            // The root's is empty, which no name is; rules hold nothing else that is no path.
            let path = unescape_name(name).unwrap_or_default();
            PathBuf::from(OsString::from_vec(path))
        };
        let paths: Vec<PathBuf> = rules.paths.iter().map(path).collect();
        let mut walk = Self::new(root, &paths, own.as_slice())?;
        walk.excluded.extend_from_slice(&rules.excluded);
        Ok(walk)
    }

    /// What it walks and passes over, to be signed for the devices of a type.
    ///
    /// # Errors
    /// [`RulesError`]: more of it than rules hold.
    pub fn rules(&self, device_type: &str) -> Result<TypeRules, RulesError> {
        let name = |path: &PathBuf| escape_name(path.as_os_str().as_bytes());
        let mut rules = TypeRules {
            device_type: device_type.to_owned(),
            paths: self.paths.iter().map(name).collect(),
            excluded: self.excluded.clone(),
        };
        rules.excluded.sort();
        rules.excluded.dedup();
        Rules::new(vec![rules.clone()])?;
        Ok(rules)
    }

    /// The paths, below the root, in the order of the format.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What is passed over.
    #[must_use]
    pub fn excluded(&self) -> &[Pattern] {
        &self.excluded
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
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

    /// Takes the inventory of the root and writes it to `out`. Every file is read.
    ///
    /// # Errors
    /// [`WalkError`]; what was written then is no inventory.
    pub fn take(&self, out: &mut impl Write) -> Result<InventorySummary, WalkError> {
        self.take_of(&Live::new(&self.root), out)
    }

    /// Takes the inventory of another tree with the same rules: an image's, before it is on a device.
    ///
    /// # Errors
    /// [`WalkError`]; what was written then is no inventory.
    pub fn take_of(
        &self,
        tree: &impl Tree,
        out: &mut impl Write,
    ) -> Result<InventorySummary, WalkError> {
        let mut cache = HashCache::none();
        Ok(self.walk(tree, out, &mut cache, &Bounds::NONE)?.summary)
    }

    /// Takes the inventory of the root; a file that the cache knows is not read.
    ///
    /// # Errors
    /// [`WalkError`]; what was written then is no inventory. That the cache failed is none: it says so itself.
    pub fn take_with(
        &self,
        out: &mut impl Write,
        cache: &mut HashCache<'_>,
    ) -> Result<Walked, WalkError> {
        self.take_within(out, cache, &Bounds::NONE)
    }

    /// The same within bounds.
    ///
    /// # Errors
    /// As [`take_with`](Self::take_with)'s; [`WalkError::TooMuch`] and [`WalkError::Ended`].
    pub fn take_within(
        &self,
        out: &mut impl Write,
        cache: &mut HashCache<'_>,
        bounds: &Bounds<'_>,
    ) -> Result<Walked, WalkError> {
        self.walk(&Live::new(&self.root), out, cache, bounds)
    }

    fn walk<T: Tree>(
        &self,
        tree: &T,
        out: &mut impl Write,
        cache: &mut HashCache<'_>,
        bounds: &Bounds<'_>,
    ) -> Result<Walked, WalkError> {
        let mut taker = Taker {
            walk: self,
            tree,
            writer: InventoryWriter::new(Vec::new()),
            out,
            cache,
            piece: vec![0; PIECE_BYTES],
            nodes: 0,
            bounds,
            held: Held::default(),
            bytes: 0,
            read: 0,
            remembered: 0,
        };
        let mut found = Vec::new();
        for path in &self.paths {
            taker.refuse_links_above(path)?;
            // A path that is not there is a component less, which the comparison says.
            if let Some(node) = taker.look(path)? {
                let key = sort_key(path.as_os_str().as_bytes(), node.kind == Kind::Dir);
                found.push((key, path));
            }
        }
        found.sort();
        for (_, path) in found {
            taker.visit(path)?;
        }
        let (read, remembered) = (taker.read, taker.remembered);
        let (summary, rest) = taker.writer.finish();
        out.write_all(&rest).map_err(WalkError::Write)?;
        cache.finish();
        Ok(Walked {
            summary,
            read,
            remembered,
        })
    }
}

/// What is passed over.
fn pattern(path: &Path) -> Result<Pattern, WalkError> {
    let path = below(path)?;
    Pattern::new(&escape_name(path.as_os_str().as_bytes()))
        .map_err(|error: RulesError| WalkError::Pattern { path, error })
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

/// How many names are held in memory, and how many bytes they have, escaped.
#[derive(Clone, Copy, Default)]
struct Held {
    names: usize,
    bytes: usize,
}

struct Taker<'a, 'c, T, W> {
    walk: &'a Walk,
    tree: &'a T,
    writer: InventoryWriter<Vec<u8>>,
    out: &'a mut W,
    cache: &'a mut HashCache<'c>,
    piece: Vec<u8>,
    /// What was listed and is not passed over: bounds time, and the names that all levels hold together.
    nodes: usize,
    bounds: &'a Bounds<'a>,
    held: Held,
    /// Bytes that were read.
    bytes: u64,
    read: u32,
    remembered: u32,
}

impl<T: Tree, W: Write> Taker<'_, '_, T, W> {
    /// Links are not followed, those above a configured path neither: what lies behind one may be on another disk, or on the machine
    /// that an image is looked at.
    fn refuse_links_above(&self, path: &Path) -> Result<(), WalkError> {
        for above in path.ancestors().skip(1) {
            if self
                .look(above)?
                .is_some_and(|node| node.kind == Kind::Link)
            {
                return Err(WalkError::BelowLink {
                    path: path.into(),
                    link: above.into(),
                });
            }
        }
        Ok(())
    }

    /// Takes what stands under a path, and what lies below it.
    fn visit(&mut self, path: &Path) -> Result<(), WalkError> {
        self.nodes = self.nodes.saturating_add(1);
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
                self.held.names = self.held.names.saturating_sub(1);
                self.held.bytes = self.held.bytes.saturating_sub(escaped(&name));
                dir.join(name)
            };
            go_on(self.bounds, &path)?;
            let name = escape_name(path.as_os_str().as_bytes());
            if self.walk.excluded.iter().any(|one| one.is(&name)) {
                self.nodes = self.nodes.saturating_sub(1);
                continue;
            }
            let Some(node) = self.listed(&path, self.tree.look(&path))? else {
                continue;
            };
            match node.kind {
                // Nothing that lies in it could stand in an inventory, and how deep it goes has to end.
                Kind::Dir if name.len() >= NAME_BYTES_MAX => {
                    let error = InventoryError::Name;
                    return Err(WalkError::Component { path, error });
                }
                Kind::Dir => {
                    let names = self.names(&path)?;
                    levels.push((path, names));
                }
                Kind::Link => self.take_link(&path, &name)?,
                Kind::File => self.take_file(&path, &name, &node)?,
                Kind::Other => {}
            }
        }
        Ok(())
    }

    /// What stands under a path; `None` when it is gone.
    fn look(&self, path: &Path) -> Result<Option<Node>, WalkError> {
        there(path, self.tree.look(path))
    }

    /// A result about what was listed; `None` when it is gone by now, as it can be only from a tree that changes: an inventory of an
    /// image that lacks a file would make every device differ, or pass over what an attacker put there.
    fn listed<V>(&self, path: &Path, result: io::Result<V>) -> Result<Option<V>, WalkError> {
        match there(path, result)? {
            None if !self.tree.changes() => Err(WalkError::Lost { path: path.into() }),
            found => Ok(found),
        }
    }

    /// The names in a directory, last one first.
    fn names(&mut self, dir: &Path) -> Result<Vec<OsString>, WalkError> {
        let mut names = Vec::new();
        let mut held = self.held;
        let listed = self.tree.list(dir, &mut |name, is_dir| {
            held.names += 1;
            held.bytes += escaped(&name);
            names.push((sort_key(name.as_bytes(), is_dir), name));
            held.names <= NAMES_MAX && held.bytes <= NAMES_BYTES_MAX
        });
        if self.listed(dir, listed)?.is_none() {
            return Ok(Vec::new());
        }
        if held.names > NAMES_MAX || held.bytes > NAMES_BYTES_MAX {
            return Err(WalkError::Names { path: dir.into() });
        }
        self.nodes = self.nodes.saturating_add(names.len());
        if self.nodes > NODES_MAX {
            return Err(WalkError::TooMany {
                path: dir.into(),
                max: NODES_MAX,
            });
        }
        self.held = held;
        names.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }

    fn take_link(&mut self, path: &Path, name: &str) -> Result<(), WalkError> {
        let Some(target) = self.listed(path, self.tree.link(path))? else {
            return Ok(());
        };
        let digest = Digest::of(&target);
        self.put(path, name, ComponentKind::Link, target.len() as u64, digest)
    }

    fn take_file(&mut self, path: &Path, name: &str, node: &Node) -> Result<(), WalkError> {
        if let Some(stamp) = &node.stamp
            && let Some(digest) = self.cache.find(name, stamp)
        {
            self.remembered = self.remembered.saturating_add(1);
            self.cache.keep(name, stamp, &digest);
            return self.put(path, name, kind_of(node.mode), stamp.size, digest);
        }
        let opened = self.tree.open(path);
        let opened = opened.and_then(|file| file.ok_or_else(|| io::ErrorKind::NotFound.into()));
        let Some((mut file, mode)) = self.listed(path, opened)? else {
            return Ok(());
        };
        let too_much = |_| WalkError::TooMuch {
            path: path.into(),
            bytes: self.bounds.bytes,
        };
        let left = self.bounds.bytes.saturating_sub(self.bytes);
        let mut before = self.tree.stamp(&file);
        // At once, where it shows.
        if let Some(stamp) = before.filter(|stamp| stamp.size > left) {
            return Err(too_much(stamp.size));
        }
        if before.is_some_and(|stamp| self.cache.changed_lately(&stamp)) {
            let settled = self.tree.settle(&file).is_ok();
            before = self.tree.stamp(&file).filter(|_| settled);
        }
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
            if size > left {
                return Err(too_much(size));
            }
            go_on(self.bounds, path)?;
        }
        self.bytes = self.bytes.saturating_add(size);
        self.read = self.read.saturating_add(1);
        let digest = Digest::new(hasher.finish());
        if let Some(stamp) = self.tree.stamp(&file)
            && before == Some(stamp)
            && stamp.size == size
        {
            self.cache.learn(name, &stamp, &digest);
        }
        self.put(path, name, kind_of(mode), size, digest)
    }

    fn put(
        &mut self,
        path: &Path,
        name: &str,
        kind: ComponentKind,
        size: u64,
        digest: Digest,
    ) -> Result<(), WalkError> {
        Component::new(name, None, kind, size, digest)
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

/// Bytes of a name as it is held.
fn escaped(name: &OsString) -> usize {
    escape_name(name.as_bytes()).len()
}

fn go_on(bounds: &Bounds<'_>, path: &Path) -> Result<(), WalkError> {
    (bounds.ends)().map_or(Ok(()), |why| {
        let path = path.into();
        Err(WalkError::Ended { path, why })
    })
}

const fn kind_of(mode: u32) -> ComponentKind {
    if mode & PRIVILEGED != 0 {
        ComponentKind::Privileged
    } else if mode & EXECUTABLE != 0 {
        ComponentKind::Program
    } else {
        ComponentKind::File
    }
}

/// A result about a path; `None` when the path is gone.
fn there<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, WalkError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if super::tree::is_gone(&error) => Ok(None),
        Err(error) => Err(WalkError::Disk {
            path: path.into(),
            error,
        }),
    }
}
