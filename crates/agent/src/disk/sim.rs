//! A disk in memory whose power can be cut before any operation.
//!
//! What was not synced when the power went is kept or lost piece by piece, in no order, as a seed says: names, contents, and
//! of the contents a beginning only. What the tests show to survive here survives on any file system that keeps the promises
//! of fsync.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, Node, folder};

#[derive(Clone, PartialEq, Eq, Debug)]
enum Entry {
    File(usize),
    Dir,
    Link(PathBuf),
}

type Names = BTreeMap<PathBuf, Entry>;

/// Something that is not durable yet.
#[derive(Clone, Debug)]
enum Pending {
    /// In this directory, these names came to stand for something else.
    Names(PathBuf, Vec<(PathBuf, Option<Entry>)>),
    /// These bytes came to stand in this file at this place.
    Bytes(usize, usize, Vec<u8>),
}

#[derive(Clone, Default)]
struct State {
    names: Names,
    contents: Vec<Vec<u8>>,
    modes: Vec<u32>,
    durable_names: Names,
    durable_contents: BTreeMap<usize, Vec<u8>>,
    pending: Vec<Pending>,
    operations: usize,
    cut_at: Option<usize>,
    free: Option<usize>,
}

/// A disk in memory; clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<State>>);

/// xorshift: enough to choose what a power cut keeps.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % sides.max(1)
    }
}

impl Sim {
    /// A disk with these directories, and all above them.
    pub(crate) fn with_dirs(dirs: &[&str]) -> Self {
        let sim = Self::default();
        let mut state = sim.state();
        for dir in dirs {
            for dir in Path::new(dir).ancestors() {
                state.names.insert(dir.to_owned(), Entry::Dir);
                state.durable_names.insert(dir.to_owned(), Entry::Dir);
            }
        }
        drop(state);
        sim
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// An independent disk with the same content.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// How many operations have changed it.
    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Cuts the power before the operation after `more` further ones.
    pub(crate) fn cut_after(&self, more: usize) {
        let mut state = self.state();
        state.cut_at = Some(state.operations + more);
    }

    /// Whether the power is cut.
    pub(crate) fn is_cut(&self) -> bool {
        let state = self.state();
        state.cut_at.is_some_and(|at| state.operations >= at)
    }

    /// Lets it take only so many more bytes.
    pub(crate) fn free(&self, bytes: Option<usize>) {
        self.state().free = bytes;
    }

    /// An orderly restart: everything is on the disk. A cut that was announced is still to come.
    pub(crate) fn restart(&self) {
        let cut_at = self.state().cut_at;
        self.boot(0);
        self.state().cut_at = cut_at;
    }

    /// The power comes back: what was not synced is there or not.
    pub(crate) fn boot(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        let mut state = self.state();
        for pending in std::mem::take(&mut state.pending) {
            // A third of the seeds keep everything, a third nothing, a third this and that.
            let keep = match seed % 3 {
                0 => true,
                1 => false,
                _ => dice.roll(2) == 0,
            };
            if !keep {
                continue;
            }
            match pending {
                Pending::Names(_, changes) => apply(&mut state.durable_names, changes),
                Pending::Bytes(file, at, mut bytes) => {
                    if seed % 3 == 2 {
                        bytes.truncate(dice.roll(bytes.len() + 1));
                    }
                    place(state.durable_contents.entry(file).or_default(), at, &bytes);
                }
            }
        }
        // A name counts only with the directory that it stands in.
        let mut names = Names::new();
        for (path, entry) in &state.durable_names {
            let above = path.parent().unwrap_or_else(|| Path::new(""));
            if above.as_os_str().is_empty()
                || path == above
                || names.get(above) == Some(&Entry::Dir)
            {
                names.insert(path.clone(), entry.clone());
            }
        }
        state.names = names.clone();
        state.durable_names = names;
        for file in 0..state.contents.len() {
            let content = state.durable_contents.entry(file).or_default().clone();
            state.contents[file] = content;
        }
        state.cut_at = None;
    }

    /// Changes a file behind the back of the program.
    pub(crate) fn spoil(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let Some(Entry::File(file)) = state.names.get(path).cloned() else {
            panic!("no file {}", path.display());
        };
        change(&mut state.contents[file]);
        let content = state.contents[file].clone();
        state.durable_contents.insert(file, content);
    }

    /// Changes a file's permission bits.
    pub(crate) fn chmod(&self, path: &Path, mode: u32) {
        let mut state = self.state();
        if let Some(Entry::File(file)) = state.names.get(path).cloned() {
            state.modes[file] = mode;
        }
    }

    /// All files below a directory with their contents, and links with their targets.
    pub(crate) fn tree(&self, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let below = state.names.iter().filter_map(|(path, entry)| {
            let path = path.strip_prefix(dir).ok()?.to_owned();
            match entry {
                Entry::File(file) => Some((path, state.contents[*file].clone())),
                Entry::Link(target) => Some((path, target.to_str()?.as_bytes().to_vec())),
                Entry::Dir => None,
            }
        });
        below.collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        if self.is_cut() {
            return Err(io::Error::other("the power is cut"));
        }
        let mut state = self.state();
        state.operations += 1;
        change(&mut state)
    }
}

fn apply(names: &mut Names, changes: Vec<(PathBuf, Option<Entry>)>) {
    for (path, entry) in changes {
        match entry {
            Some(entry) => {
                names.insert(path, entry);
            }
            // What lay in a directory was removed before it, name by name.
            None => {
                names.remove(&path);
            }
        }
    }
}

fn place(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl State {
    fn set(&mut self, dir: &Path, changes: Vec<(PathBuf, Option<Entry>)>) {
        apply(&mut self.names, changes.clone());
        self.pending.push(Pending::Names(dir.to_owned(), changes));
    }

    fn vacant(&self, path: &Path) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match self.names.get(folder(path)) {
            Some(Entry::Dir) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Entry::File(file)) => Ok(*file),
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for Sim {
    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        let state = self.state();
        Ok(state.names.get(path).map(|entry| match entry {
            Entry::File(file) => Node::File {
                size: state.contents[*file].len() as u64,
                mode: state.modes[*file],
            },
            Entry::Dir => Node::Dir,
            Entry::Link(_) => Node::Link,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let file = state.file(path)?;
        Ok(Box::new(Cursor::new(state.contents[file].clone())))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state();
        let here = state
            .names
            .keys()
            .filter(|name| name.parent() == Some(path));
        Ok(here
            .filter_map(|name| Some(name.file_name()?.to_owned()))
            .collect())
    }

    fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match self.state().names.get(path) {
            None => Ok(None),
            Some(Entry::Link(target)) => Ok(Some(target.clone())),
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.change(|state| {
            state.vacant(path)?;
            state.contents.push(Vec::new());
            state.modes.push(mode);
            let file = Entry::File(state.contents.len() - 1);
            state.set(folder(path), vec![(path.to_owned(), Some(file))]);
            Ok(())
        })
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.change(|state| {
            let file = state.file(path)?;
            let fits = state.free.map_or(bytes.len(), |free| free.min(bytes.len()));
            state.free = state.free.map(|free| free - fits);
            let at = state.contents[file].len();
            state.contents[file].extend_from_slice(&bytes[..fits]);
            let written = bytes[..fits].to_vec();
            state.pending.push(Pending::Bytes(file, at, written));
            if fits < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            let file = state.file(path)?;
            let content = state.contents[file].clone();
            state.durable_contents.insert(file, content);
            state
                .pending
                .retain(|pending| !matches!(pending, Pending::Bytes(other, ..) if *other == file));
            Ok(())
        })
    }

    fn make_dir(&self, path: &Path, _: u32) -> io::Result<()> {
        self.change(|state| {
            state.vacant(path)?;
            state.set(folder(path), vec![(path.to_owned(), Some(Entry::Dir))]);
            Ok(())
        })
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.vacant(path)?;
            let link = Entry::Link(target.to_owned());
            state.set(folder(path), vec![(path.to_owned(), Some(link))]);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let entry = state.names.get(from).cloned();
            let entry = entry.ok_or(io::ErrorKind::NotFound)?;
            assert_eq!(folder(from), folder(to), "a rename within one directory");
            assert_ne!(entry, Entry::Dir, "a rename of a file or link");
            let changes = vec![(from.to_owned(), None), (to.to_owned(), Some(entry))];
            state.set(folder(to), changes);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let below: Vec<PathBuf> = {
            let state = self.state();
            let names = state.names.keys().rev();
            names
                .filter(|name| name.starts_with(path))
                .cloned()
                .collect()
        };
        for name in below {
            self.change(|state| {
                state.set(folder(&name), vec![(name.clone(), None)]);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn wipe(&self, path: &Path) -> io::Result<()> {
        if self.state().names.contains_key(path) {
            self.change(|state| {
                let file = state.file(path)?;
                let size = state.contents[file].len();
                state.contents[file] = vec![0; size];
                state.durable_contents.insert(file, vec![0; size]);
                Ok(())
            })?;
        }
        self.remove(path)
    }

    fn room(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        let file = state.file(path)?;
        Ok(state.contents[file].len() as u64)
    }

    fn overwrite(&self, path: &Path, from: &mut dyn Read) -> io::Result<()> {
        let mut at = 0;
        let mut piece = [0; 4096];
        loop {
            let read = from.read(&mut piece)?;
            if read == 0 {
                return self.sync(path);
            }
            self.change(|state| {
                let file = state.file(path)?;
                if at + read > state.contents[file].len() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let bytes = piece[..read].to_vec();
                place(&mut state.contents[file], at, &bytes);
                state.pending.push(Pending::Bytes(file, at, bytes));
                Ok(())
            })?;
            at += read;
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            let (here, elsewhere) = std::mem::take(&mut state.pending)
                .into_iter()
                .partition(|pending| matches!(pending, Pending::Names(dir, _) if dir == path));
            state.pending = elsewhere;
            let here: Vec<Pending> = here;
            for pending in here {
                if let Pending::Names(_, changes) = pending {
                    apply(&mut state.durable_names, changes);
                }
            }
            Ok(())
        })
    }
}
