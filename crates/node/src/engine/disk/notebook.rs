//! Small blobs, all in one file.
//!
//! The engine keeps the votes of each view in a blob of its own: it makes one, synchronises it four times, and removes it
//! 64 views later. As files of their own that costs a synchronisation of the new file, of its folder and of the folder above,
//! one more for the removal, and each synchronisation of a growing file makes the file system write its journal. The
//! certificates of the newest views, and what the engine notes of its other files, are synchronised with each block, several
//! blobs at the same time. Here all of them are entries of one file whose room was written before, so that a synchronisation is
//! one write of one place, and those who come while one is under way share the next.
//!
//! **Order instead of haste.** What was synchronised survives, and with it everything that was done to any blob of the
//! notebook before it. Making and removing a blob alone touch no disk: after a crash they may not have happened, as if the
//! crash had come a little earlier, but never without what came before them. Where other files have to know, whoever removes
//! synchronises.
//!
//! The file is `‖` of entries: length of the body (u32), chain (16 bytes), body. The chain is the beginning of
//! SHA-256(chain before ‖ body), so a torn or stale entry ends the reading. (A sector that holds acknowledged entries is
//! written again with what follows them: like most journals this takes it that a cut leaves the bytes that did not change.) When the room is used up, a new file begins with what
//! is alive; it counts once its first entries are complete on disk, and only then the old one goes.

use super::super::Runtime;
use commonware_formatting::hex;
use commonware_runtime::{
    Blob as _, BlobVersion, Buf as _, Error, IoBufs, IoBufsMut, ReadOptions, WriteOptions,
};
use commonware_utils::sync::AsyncMutex;
use kusabi_core::crypto::{first_16, sha256};
use std::{
    collections::BTreeMap,
    io,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Bytes of a file that are written in advance.
const ROOM: usize = 2 << 20;
/// Bytes of length and chain before a body.
const FRAME: usize = 4 + 16;
/// A body is not longer than this: what the engine writes at once is far shorter.
const BODY_MAX: usize = 64 << 20;

type Chain = [u8; 16];
type Name = Vec<u8>;
type Bytes = Arc<Mutex<Vec<u8>>>;

/// What becomes of a notebook of which no file is whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is begun anew: whoever needs what was lost finds out by itself.
    BeginAnew,
    /// It is not opened, and nothing is written; unless nothing at all stands in it: then its first beginning was broken off, and
    /// nobody was told of anything.
    RefuseDamaged,
    /// It is not opened, and nothing is written: there is what was only begun after it.
    Refuse,
}

/// Blobs of the engine's storage, in one file.
pub(super) struct Notebook<E: Runtime> {
    world: E,
    partition: String,
    memory: Mutex<Memory>,
    /// Held while the file is written. Taken before `memory`, where both are needed.
    file: AsyncMutex<Pages<E>>,
}

/// What the partition holds, and what of it the file does not know yet.
#[derive(Default)]
struct Memory {
    blobs: BTreeMap<Name, Entry>,
    /// Bodies that wait for the next synchronisation, in order.
    waiting: Vec<Vec<u8>>,
    /// After a failed synchronisation nobody knows what the file holds: it is never tried again.
    failed: Option<Error>,
}

struct Entry {
    version: BlobVersion,
    bytes: Bytes,
    /// Alive while somebody has the blob open.
    open: Weak<()>,
}

/// The file: a blob of the world below, in a partition of the same name.
struct Pages<E: Runtime> {
    blob: E::Blob,
    /// Number of the next file. Each one that is begun gets its own, also when beginning it was broken off.
    next: u64,
    used: usize,
    room: usize,
    chain: Chain,
}

/// One change of a blob.
enum Change<'a> {
    /// The first entry of a file.
    Begin,
    Make(&'a [u8], u16),
    Write(&'a [u8], u64, &'a [u8]),
    Resize(&'a [u8], u64),
    Remove(&'a [u8]),
    RemoveAll,
    /// What was alive when the file was begun stands before this.
    Begun,
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics between two halves of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Change<'_> {
    fn encode(&self) -> Vec<u8> {
        let named = |kind: u8, name: &[u8], rest: &[&[u8]]| {
            let mut body = vec![kind];
            // `open_blob` refuses longer ones.
            body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            body.extend_from_slice(name);
            rest.iter().for_each(|part| body.extend_from_slice(part));
            body
        };
        match self {
            Self::Begin => b"\0kusabi notebook 1".to_vec(),
            Self::Make(name, version) => named(1, name, &[&version.to_be_bytes()]),
            Self::Write(name, offset, bytes) => named(2, name, &[&offset.to_be_bytes(), bytes]),
            Self::Resize(name, len) => named(3, name, &[&len.to_be_bytes()]),
            Self::Remove(name) => named(4, name, &[]),
            Self::RemoveAll => vec![5],
            Self::Begun => vec![6],
        }
    }

    fn decode(body: &[u8]) -> Option<Change<'_>> {
        let (&kind, rest) = body.split_first()?;
        if !(1..=4).contains(&kind) {
            return match (kind, body) {
                (0, b"\0kusabi notebook 1") => Some(Change::Begin),
                (5, [_]) => Some(Change::RemoveAll),
                (6, [_]) => Some(Change::Begun),
                _ => None,
            };
        }
        let (&len, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(len))?;
        Some(match kind {
            1 => Change::Make(name, u16::from_be_bytes(rest.try_into().ok()?)),
            2 => {
                let (offset, bytes) = rest.split_first_chunk()?;
                Change::Write(name, u64::from_be_bytes(*offset), bytes)
            }
            3 => Change::Resize(name, u64::from_be_bytes(rest.try_into().ok()?)),
            _ if rest.is_empty() => Change::Remove(name),
            _ => return None,
        })
    }
}

/// Writes into a blob's bytes; beyond their end there are zeros.
fn write(blob: &mut Vec<u8>, offset: u64, bytes: &[u8]) -> Option<()> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(bytes.len())?;
    if blob.len() < end {
        blob.resize(end, 0);
    }
    blob.get_mut(start..end)?.copy_from_slice(bytes);
    Some(())
}

impl Memory {
    /// What the entries of a file say. `None`: they contradict themselves.
    fn apply(&mut self, change: &Change<'_>) -> Option<()> {
        match change {
            Change::Begin | Change::Begun => {}
            Change::Make(name, version) => {
                let entry = Entry {
                    version: BlobVersion::new(*version),
                    bytes: Arc::default(),
                    open: Weak::new(),
                };
                self.blobs.insert(name.to_vec(), entry);
            }
            Change::Write(name, offset, bytes) => {
                // A handle may outlive its blob's removal: what it writes then is nobody's.
                if let Some(entry) = self.blobs.get(*name) {
                    write(&mut guard(&entry.bytes), *offset, bytes)?;
                }
            }
            Change::Resize(name, len) => {
                if let Some(entry) = self.blobs.get(*name) {
                    guard(&entry.bytes).resize(usize::try_from(*len).ok()?, 0);
                }
            }
            Change::Remove(name) => {
                self.blobs.remove(*name);
            }
            Change::RemoveAll => self.blobs.clear(),
        }
        Some(())
    }

    /// Entries that say what is alive.
    fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut bodies = vec![Change::Begin.encode()];
        for (name, entry) in &self.blobs {
            bodies.push(Change::Make(name, entry.version.get()).encode());
            bodies.push(Change::Write(name, 0, &guard(&entry.bytes)).encode());
        }
        bodies.push(Change::Begun.encode());
        bodies
    }
}

fn frame(chain: &mut Chain, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bodies.iter().map(|body| FRAME + body.len()).sum());
    for body in bodies {
        *chain = first_16(&sha256(&[chain, body]));
        // Bounded by what the engine writes at once.
        out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(chain);
        out.extend_from_slice(body);
    }
    out
}

/// The next body of a file, if it is whole and follows from the ones before.
fn unframe<'a>(chain: &mut Chain, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (expected, tail) = tail.split_first_chunk::<16>()?;
    let (body, tail) = tail.split_at_checked(len)?;
    let next = first_16(&sha256(&[chain, body]));
    if body.is_empty() || len > BODY_MAX || next != *expected {
        return None;
    }
    *chain = next;
    *rest = tail;
    Some(body)
}

/// What a file says, or `None` when it was never completely begun.
fn read(file: &[u8]) -> Option<Memory> {
    let (mut chain, mut rest) = (Chain::default(), file);
    let mut memory = Memory::default();
    let mut begun = false;
    while let Some(body) = unframe(&mut chain, &mut rest) {
        let change = Change::decode(body)?;
        memory.apply(&change)?;
        begun |= matches!(change, Change::Begun);
    }
    begun.then_some(memory)
}

/// Name of a file in its partition.
fn name(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Numbers of the files there are, ascending.
async fn numbers<E: Runtime>(world: &E, partition: &str) -> Result<Vec<u64>, Error> {
    let names = match world.scan(partition).await {
        Ok(names) => names,
        Err(Error::PartitionMissing(_)) => Vec::new(),
        Err(why) => return Err(why),
    };
    let names = names.into_iter().filter_map(|name| name.try_into().ok());
    let mut numbers: Vec<_> = names.map(u64::from_be_bytes).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl<E: Runtime> Pages<E> {
    /// Begins a file with these bodies: afterwards it alone counts, and `replaces` those before it.
    async fn begin(
        world: &E,
        partition: &str,
        number: u64,
        bodies: &[Vec<u8>],
        replaces: bool,
    ) -> Result<Self, Error> {
        let mut chain = Chain::default();
        let mut all = frame(&mut chain, bodies);
        let used = all.len();
        let room = ROOM.max(2 * used);
        // Zeros that are really written: a later write then changes nothing but its own place.
        all.resize(room, 0);
        let (blob, _) = world.open(partition, &name(number)).await?;
        let written = async {
            blob.resize(0).await?;
            blob.write_at(0, all, WriteOptions::default()).await?;
            blob.sync().await
        };
        if let Err(why) = written.await {
            // It does not count yet, and its room may be what is missing.
            let _ = world.remove(partition, Some(&name(number))).await;
            return Err(why);
        }
        if replaces {
            for old in numbers(world, partition).await? {
                if old != number {
                    world.remove(partition, Some(&name(old))).await?;
                }
            }
        }
        Ok(Self {
            blob,
            next: number + 1,
            used,
            room,
            chain,
        })
    }

    async fn append(&mut self, bodies: &[Vec<u8>]) -> Result<(), Error> {
        let mut chain = self.chain;
        let bytes = frame(&mut chain, bodies);
        let (at, len) = (self.used as u64, bytes.len());
        self.blob.write_at(at, bytes, WriteOptions::SYNC).await?;
        self.used += len;
        self.chain = chain;
        Ok(())
    }
}

impl<E: Runtime> Notebook<E> {
    /// Opens a partition of the world below.
    pub(super) async fn open(
        world: E,
        partition: &str,
        unreadable: Unreadable,
    ) -> Result<Self, Error> {
        let numbers = numbers(&world, partition).await?;
        let mut memory = None;
        let mut blank = true;
        for number in numbers.iter().rev() {
            let (blob, size) = world.open(partition, &name(*number)).await?;
            let size = usize::try_from(size).map_err(|_| Error::OffsetOverflow)?;
            let bytes = blob.read_at(0, size, ReadOptions::default()).await?;
            let bytes = bytes.coalesce();
            blank &= bytes.as_ref().iter().all(|byte| *byte == 0);
            // One that was not completely begun: the one before it still counts.
            memory = read(bytes.as_ref());
            if memory.is_some() {
                break;
            }
        }
        let refuse = match unreadable {
            Unreadable::BeginAnew => false,
            Unreadable::RefuseDamaged => !blank,
            Unreadable::Refuse => true,
        };
        if memory.is_none() && refuse {
            return Err(Error::PartitionCorrupt(partition.to_owned()));
        }
        let whole = memory.is_some() || blank;
        let memory = memory.unwrap_or_default();
        let next = numbers.last().map_or(0, |last| last + 1);
        // What cannot be read stays, for whoever wants to know why.
        let file = Pages::begin(&world, partition, next, &memory.snapshot(), whole).await?;
        Ok(Self {
            world,
            partition: partition.to_owned(),
            memory: Mutex::new(memory),
            file: AsyncMutex::new(file),
        })
    }

    /// As the storage does, but making one touches no disk.
    pub(super) fn open_blob(
        self: &Arc<Self>,
        name: &[u8],
        versions: &RangeInclusive<BlobVersion>,
    ) -> Result<(Note<E>, u64, BlobVersion), Error> {
        if name.len() > usize::from(u8::MAX) {
            let why = io::Error::from(io::ErrorKind::InvalidFilename);
            return Err(Error::BlobOpenFailed(
                self.partition.clone(),
                hex(name),
                why.into(),
            ));
        }
        let mut memory = guard(&self.memory);
        if !memory.blobs.contains_key(name) {
            let change = Change::Make(name, versions.end().get());
            memory.apply(&change);
            memory.waiting.push(change.encode());
        }
        let entry = memory.blobs.get_mut(name).ok_or(Error::ReadFailed)?;
        if !versions.contains(&entry.version) {
            return Err(Error::BlobVersionMismatch {
                expected: versions.clone(),
                found: entry.version,
            });
        }
        if entry.open.strong_count() > 0 {
            return Err(Error::BlobAlreadyOpen(self.partition.clone(), hex(name)));
        }
        let open = Arc::new(());
        entry.open = Arc::downgrade(&open);
        let size = guard(&entry.bytes).len() as u64;
        let note = Note {
            notebook: self.clone(),
            name: name.into(),
            bytes: entry.bytes.clone(),
            _open: open,
        };
        Ok((note, size, entry.version))
    }

    /// As the storage does, but touches no disk.
    pub(super) fn remove(&self, name: Option<&[u8]>) -> Result<(), Error> {
        let mut memory = guard(&self.memory);
        let change = match name {
            Some(name) if memory.blobs.contains_key(name) => Change::Remove(name),
            Some(name) => return Err(Error::BlobMissing(self.partition.clone(), hex(name))),
            None => Change::RemoveAll,
        };
        memory.apply(&change);
        memory.waiting.push(change.encode());
        Ok(())
    }

    /// The names of all blobs.
    pub(super) fn scan(&self) -> Vec<Name> {
        guard(&self.memory).blobs.keys().cloned().collect()
    }

    /// Makes durable whatever was done before.
    pub(super) async fn sync(&self) -> Result<(), Error> {
        let mut file = self.file.lock().await;
        let (begin, bodies, waiting) = {
            let memory = guard(&self.memory);
            if let Some(error) = &memory.failed {
                return Err(error.clone());
            }
            if memory.waiting.is_empty() {
                return Ok(());
            }
            let needed: usize = memory.waiting.iter().map(|body| FRAME + body.len()).sum();
            let begin = file.used + needed > file.room;
            let bodies = if begin {
                memory.snapshot()
            } else {
                memory.waiting.clone()
            };
            (begin, bodies, memory.waiting.len())
        };
        // Whoever waits may go away in the middle: then what was waiting waits still, and is written again in the same place.
        let written = if begin {
            let number = file.next;
            file.next += 1;
            Pages::begin(&self.world, &self.partition, number, &bodies, true)
                .await
                .map(|pages| *file = pages)
        } else {
            file.append(&bodies).await
        };
        let mut memory = guard(&self.memory);
        match written {
            Ok(()) => {
                memory.waiting.drain(..waiting);
            }
            Err(error) => {
                memory.failed = Some(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }
}

/// A blob of a notebook.
pub(in crate::engine) struct Note<E: Runtime> {
    notebook: Arc<Notebook<E>>,
    name: Name,
    bytes: Bytes,
    _open: Arc<()>,
}

impl<E: Runtime> Note<E> {
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<IoBufsMut, Error> {
        let bytes = guard(&self.bytes);
        let start = usize::try_from(offset).map_err(|_| Error::OffsetOverflow)?;
        let end = start.checked_add(len).ok_or(Error::OffsetOverflow)?;
        let range = bytes.get(start..end).ok_or(Error::BlobInsufficientLength)?;
        Ok(range.to_vec().into())
    }

    pub(super) fn read_many(
        &self,
        ranges: &[(u64, usize)],
    ) -> Vec<Result<(usize, IoBufsMut), Error>> {
        let read = |(index, &(offset, len))| self.read(offset, len).map(|bytes| (index, bytes));
        ranges.iter().enumerate().map(read).collect()
    }

    pub(super) async fn write_at(
        &self,
        offset: u64,
        mut bufs: IoBufs,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let bytes = bufs.copy_to_bytes(bufs.remaining());
        self.change(|name| Change::Write(name, offset, &bytes))?;
        if options.contains(WriteOptions::SYNC) {
            self.sync().await?;
        }
        Ok(())
    }

    pub(super) fn resize(&self, len: u64) -> Result<(), Error> {
        self.change(|name| Change::Resize(name, len))
    }

    pub(super) async fn sync(&self) -> Result<(), Error> {
        self.notebook.sync().await
    }

    fn change<'a>(&'a self, make: impl FnOnce(&'a [u8]) -> Change<'a>) -> Result<(), Error> {
        let mut memory = guard(&self.notebook.memory);
        // Not if the blob was removed, and perhaps made anew, since this handle was opened.
        let mine = memory.blobs.get(&self.name);
        if !mine.is_some_and(|entry| Arc::ptr_eq(&entry.bytes, &self.bytes)) {
            return Err(Error::WriteFailed);
        }
        let change = make(&self.name);
        memory.apply(&change).ok_or(Error::OffsetOverflow)?;
        memory.waiting.push(change.encode());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
