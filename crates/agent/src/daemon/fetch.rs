//! Payloads from servers: by their chunks, of which only those come that this device has not, or whole.
//!
//! ```text
//! index ─ seeds ─┬─ here already ──────────────────────────┐
//!                └─ a range of the pack ─ hash ─ unpack ───┴─ hash ─ write, in the payload's order ─ hash of the whole
//! ```
//! Whatever way its bytes come, a payload grows from its beginning, so that each way goes on where another one ended: when a server has
//! neither index nor pack, or they say nothing that holds, the rest comes whole.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;

use kusabi_core::id::Digest;
use kusabi_core::protocol::Time;
use kusabi_core::release::{CHUNK_BYTES_MAX, Chunk, Payload};
use ruzstd::decoding::FrameDecoder;

use super::net::{Net, NetError};
use super::stop::Stop;
use super::worker::{Clock, Failure, broken};
use crate::disk::Disk;
use crate::updater::{
    BadIndex, ChunkIndex, Receiving, ReceivingIndex, Seeds, Staging, UpdateError, found_seeds,
};

/// How much of a download is asked for at a time.
const PART_BYTES: u64 = 4 << 20;
/// With a limit: as much as comes in so many seconds, well within the time of a request.
const PART_SECS: u64 = 60;
/// A part in which less came counts as nothing.
const PROGRESS_BYTES_MIN: u64 = 1 << 10;
/// Most bytes of seeds that are looked through: more than a device's storage has, and less than a sparse file can pretend to.
const SEED_BYTES_MAX: u64 = 64 << 30;
/// Most chunks that are asked for at a time.
const RUN_MAX: usize = 1024;

/// What fetching needs.
pub(super) struct Fetcher<'w, D> {
    pub(super) disk: &'w D,
    pub(super) net: &'w dyn Net,
    pub(super) stop: &'w Stop,
    pub(super) staging: &'w Staging<D>,
    /// Servers, the one that served last first.
    pub(super) urls: &'w [String],
    /// Files, directories and partitions that an earlier version may lie in.
    pub(super) seeds: &'w [PathBuf],
    /// Most bytes in a second, if there is a limit.
    pub(super) bytes_per_s: Option<u64>,
    /// Index of the server that is asked next.
    pub(super) server: Cell<usize>,
    pub(super) clock: &'w Clock,
    /// Then other tasks have their turn.
    pub(super) until: Time,
}

/// What was learnt of a payload in an earlier attempt.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// Where its chunks were seen.
    seeds: Option<Seeds>,
    /// The payload whose index led to other bytes than its own.
    misled: Option<Digest>,
}

impl Learnt {
    /// The files that they are in are gone.
    pub(super) fn forget_places(&mut self) {
        self.seeds = None;
    }
}

/// How much came from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    /// Bytes that came from servers.
    pub(crate) bytes: u64,
    /// Bytes that were on this device.
    pub(crate) here: u64,
    /// Why a payload with a chunk index came whole, or the rest of it.
    pub(crate) whole: Option<String>,
}

/// Why a part did not come.
enum Gone {
    /// No server has it, or none has it right.
    Nowhere(String),
    Failed(Failure),
}

impl From<Failure> for Gone {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<UpdateError> for Gone {
    fn from(error: UpdateError) -> Self {
        Self::Failed(broken(error))
    }
}

impl<D: Disk + Clone> Fetcher<'_, D> {
    /// Receives what is missing of a payload.
    pub(super) fn payload(
        &self,
        payload: &Payload<'_>,
        mut receiving: Receiving<'_, D>,
        learnt: &mut Learnt,
        brought: &mut Brought,
    ) -> Result<(), Failure> {
        let digest = receiving.digest();
        let is_new = receiving.offset() == 0;
        let mut by_chunks = false;
        if receiving.remaining() > 0
            && learnt.misled != Some(digest)
            && let Some(index) = self.staging.receive_index(payload).map_err(broken)?
        {
            match self.by_chunks(index, &mut receiving, learnt, brought) {
                Ok(()) => by_chunks = true,
                Err(Gone::Failed(failure)) => return Err(failure),
                Err(Gone::Nowhere(why)) => brought.whole = Some(why),
            }
        }
        self.whole(&mut receiving, brought)?;
        match receiving.finish() {
            Ok(_) => Ok(()),
            // Dropped or set aside; the next attempt begins anew, perhaps with another server.
            Err(UpdateError::Changed { name, error }) => {
                learnt.seeds = None;
                if is_new && by_chunks {
                    learnt.misled = Some(digest);
                }
                Err(Failure::Lie(format!("payload {name}: {error}")))
            }
            Err(error) => Err(broken(error)),
        }
    }

    /// Receives the rest of a payload as it is.
    fn whole(
        &self,
        receiving: &mut Receiving<'_, D>,
        brought: &mut Brought,
    ) -> Result<(), Failure> {
        let digest = receiving.digest();
        let end = receiving.offset().saturating_add(receiving.remaining());
        let begun = receiving.offset();
        let mut sink = |bytes: &[u8]| receiving.write(bytes).map_err(Wrong::Disk);
        let came = self.range(digest, begun..end, &mut sink);
        brought.bytes += receiving.offset().saturating_sub(begun);
        match came {
            Ok(()) => Ok(()),
            Err(Gone::Nowhere(why)) => Err(Failure::Later(why)),
            Err(Gone::Failed(failure)) => Err(failure),
        }
    }

    /// Receives the rest of a payload by its chunks.
    fn by_chunks(
        &self,
        index: ReceivingIndex<D>,
        receiving: &mut Receiving<'_, D>,
        learnt: &mut Learnt,
        brought: &mut Brought,
    ) -> Result<(), Gone> {
        let index = self.index(index, brought)?;
        let read = |error| {
            let path = index.path().to_owned();
            Gone::Failed(broken(UpdateError::Disk { path, error }))
        };
        let seeds = match learnt.seeds.take() {
            Some(seeds) if seeds.payload() == receiving.digest() => seeds,
            _ => self.look(receiving.digest(), &index).map_err(read)?,
        };
        let seeds = learnt.seeds.insert(seeds);
        let pack = index.head().pack().digest();
        let mut unpacker = Unpacker::default();
        let mut records = index.records().map_err(read)?.peekable();
        while let Some(chunk) = records.next().transpose().map_err(read)? {
            if chunk.end() <= receiving.offset() {
                seeds.saw(&chunk.digest, receiving.part(), chunk.start);
                continue;
            }
            self.go_on()?;
            if let Some(bytes) = seeds.read(self.disk, &chunk) {
                brought.here += put(receiving, &chunk, &bytes)?;
                seeds.saw(&chunk.digest, receiving.part(), chunk.start);
                continue;
            }
            // Those behind it that are missing as well, as far as they lie side by side.
            let mut run = vec![chunk];
            let mut end = chunk.stored_end();
            while let Some(Ok(next)) = records.peek().filter(|_| run.len() < RUN_MAX) {
                let fits = next.stored_end().saturating_sub(chunk.offset) <= self.part_bytes();
                if next.offset != end || !fits || seeds.has(next) {
                    break;
                }
                end = next.stored_end();
                run.push(*next);
                records.next();
            }
            self.run(pack, &run, receiving, &mut unpacker, brought)?;
            for chunk in &run {
                seeds.saw(&chunk.digest, receiving.part(), chunk.start);
            }
        }
        Ok(())
    }

    /// Receives what is missing of an index.
    fn index(
        &self,
        mut index: ReceivingIndex<D>,
        brought: &mut Brought,
    ) -> Result<ChunkIndex<D>, Gone> {
        let begun = index.offset();
        let end = begun.saturating_add(index.remaining());
        let digest = index.digest();
        let mut sink = |bytes: &[u8]| index.write(bytes).map_err(Wrong::Disk);
        let came = self.range(digest, begun..end, &mut sink);
        brought.bytes += index.offset().saturating_sub(begun);
        came?;
        index.finish().map_err(|bad| match bad {
            // Gone from the disk: another server may have it right the next time. Until then the payload comes whole.
            BadIndex::Bytes(error) => Gone::Nowhere(format!("chunk index: {error}")),
            BadIndex::Form(error) => Gone::Nowhere(error.to_string()),
            BadIndex::Disk(error) => error.into(),
        })
    }

    /// Looks for a payload's chunks on this device.
    fn look(&self, payload: Digest, index: &ChunkIndex<D>) -> io::Result<Seeds> {
        let mut seeds = Seeds::new(payload, index)?;
        let mut paths = self.staging.seeds().unwrap_or_default();
        paths.extend(found_seeds(self.disk, self.seeds));
        let mut most = SEED_BYTES_MAX;
        for path in paths {
            seeds.look_through(self.disk, &path, &mut most, || self.go_on().is_err());
        }
        Ok(seeds)
    }

    /// Receives chunks that lie side by side in a pack.
    fn run(
        &self,
        pack: Digest,
        run: &[Chunk],
        receiving: &mut Receiving<'_, D>,
        unpacker: &mut Unpacker,
        brought: &mut Brought,
    ) -> Result<(), Gone> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let mut chunks = run.iter();
        let mut next = chunks.next();
        let mut stored = Vec::new();
        let mut came = 0;
        let received = self.range(pack, first.offset..last.stored_end(), &mut |mut bytes| {
            came += bytes.len() as u64;
            while let Some(chunk) = next
                && !bytes.is_empty()
            {
                let size = usize::try_from(chunk.stored_size).unwrap_or(usize::MAX);
                let take = size.saturating_sub(stored.len()).min(bytes.len());
                let (now, rest) = bytes.split_at(take);
                stored.extend_from_slice(now);
                bytes = rest;
                if stored.len() < size {
                    break;
                }
                // Nothing is unpacked that was not signed.
                if Digest::of(&stored) != chunk.stored_digest {
                    stored.clear();
                    return Err(Wrong::Bytes(chunk.offset));
                }
                let plain = unpacker.unpack(chunk, &stored).ok_or(Wrong::Index)?;
                put(receiving, chunk, plain).map_err(Wrong::Disk)?;
                stored.clear();
                next = chunks.next();
            }
            Ok(())
        });
        brought.bytes += came;
        received
    }

    /// Gets a range of a content, part by part, from whichever server gives it. Each call of the sink goes on where the last one ended, or
    /// where it said that the bytes were wrong.
    fn range(
        &self,
        content: Digest,
        range: std::ops::Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Wrong>,
    ) -> Result<(), Gone> {
        let mut last = Gone::Failed(Failure::Later("there is no server address".into()));
        let mut at = range.start;
        // From here on all that came is from the server that is being asked.
        let mut since = at;
        let (mut silent, mut mixed) = (0, 0);
        // Nobody is asked again who lied: two could go on for ever, each with a good beginning.
        let mut liars = vec![false; self.urls.len()];
        while at < range.end {
            self.go_on()?;
            let left = liars.iter().filter(|lied| !**lied).count();
            let asked = self.next_of(&liars).filter(|_| silent < left);
            let Some((server, url)) = asked else {
                return Err(last);
            };
            let url = format!("{url}/device/v1/payloads/{content}");
            let (from, end) = (at, at.saturating_add(self.part_bytes()).min(range.end));
            let mut wrong = None;
            let got = self.net.get_part(&url, from, end, &mut |bytes| {
                if self.stop.is_stopped() {
                    return Err(NetError::Stopped);
                }
                sink(bytes).map_err(|error| {
                    wrong = Some(error);
                    NetError::Stopped
                })?;
                at = at.saturating_add(bytes.len() as u64);
                Ok(())
            });
            let lied = match wrong {
                None => false,
                Some(Wrong::Disk(error)) => return Err(error.into()),
                Some(Wrong::Index) => {
                    let why = "a chunk unpacks to other bytes than its index says";
                    return Err(Gone::Nowhere(why.into()));
                }
                // Another server began it: which of them lied shows when one gives all of it.
                Some(Wrong::Bytes(offset)) if offset < since => {
                    (at, since) = (offset, offset);
                    mixed += 1;
                    if mixed > self.urls.len() {
                        let why = "other bytes than those signed, from several servers";
                        return Err(Gone::Nowhere(why.into()));
                    }
                    continue;
                }
                Some(Wrong::Bytes(offset)) => {
                    at = offset;
                    true
                }
            };
            let came = at.saturating_sub(from);
            let progress = !lied && came >= PROGRESS_BYTES_MIN.min(end - from);
            silent = if progress || lied { 0 } else { silent + 1 };
            if progress && got.is_ok() && at == end {
                continue;
            }
            // What did not come whole may come faster from the next one.
            if let Some(liar) = liars.get_mut(server) {
                *liar = lied;
            }
            self.server.set(server + 1);
            if self.next_of(&liars).is_none_or(|(next, _)| next != server) {
                since = at;
            }
            if progress {
                continue;
            }
            let why = match &got {
                _ if lied => "other bytes than those signed".into(),
                Ok(()) => "the server sent nothing".into(),
                Err(error) => error.to_string(),
            };
            let why = format!("{url}: {why}");
            // One that cannot be reached may have it, but who knows when.
            if lied || matches!(got, Err(NetError::Status(404, _))) {
                last = Gone::Nowhere(why);
            } else if !matches!(last, Gone::Nowhere(_)) {
                last = Gone::Failed(Failure::Later(why));
            }
        }
        Ok(())
    }

    /// The server that is asked next, with its number.
    fn next_of(&self, liars: &[bool]) -> Option<(usize, &str)> {
        let count = self.urls.len();
        let mut numbers = (0..count).map(|step| (self.server.get() + step) % count);
        let number = numbers.find(|number| liars.get(*number) == Some(&false))?;
        Some((number, self.urls.get(number)?))
    }

    fn part_bytes(&self) -> u64 {
        let in_time = |rate: u64| rate.saturating_mul(PART_SECS);
        self.bytes_per_s.map_or(PART_BYTES, in_time).min(PART_BYTES)
    }

    fn go_on(&self) -> Result<(), Failure> {
        if self.stop.is_stopped() {
            return Err(Failure::Later("stopped".into()));
        }
        if (self.clock)() >= self.until {
            return Err(Failure::Turn("it takes long, and goes on soon".into()));
        }
        Ok(())
    }
}

/// Why bytes that came are not taken.
enum Wrong {
    Disk(UpdateError),
    /// From here on they have to come anew.
    Bytes(u64),
    /// They are those that were signed, and unpack to something else.
    Index,
}

/// Writes what is missing of a chunk; how many bytes that was.
fn put<D: Disk>(
    receiving: &mut Receiving<'_, D>,
    chunk: &Chunk,
    plain: &[u8],
) -> Result<u64, UpdateError> {
    // An earlier attempt may have ended inside of it.
    let there = receiving.offset().saturating_sub(chunk.start);
    let rest = usize::try_from(there).ok().and_then(|at| plain.get(at..));
    let rest = rest.unwrap_or_default();
    receiving.write(rest)?;
    Ok(rest.len() as u64)
}

/// Unpacks chunks, with memory for one of them.
#[derive(Default)]
pub(super) struct Unpacker {
    decoder: Option<FrameDecoder>,
    plain: Vec<u8>,
}

impl Unpacker {
    /// A chunk's own bytes; `None`: they are not what its digest says, or more, or need more memory than a chunk has bytes.
    pub(super) fn unpack<'p>(&'p mut self, chunk: &Chunk, stored: &'p [u8]) -> Option<&'p [u8]> {
        if chunk.is_plain() {
            // Its digest is that of the stored bytes.
            return Some(stored);
        }
        let decoder = self.decoder.get_or_insert_with(|| {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(CHUNK_BYTES_MAX.into());
            decoder
        });
        self.plain.clear();
        self.plain.resize(usize::try_from(chunk.size).ok()?, 0);
        let size = decoder.decode_all(stored, &mut self.plain).ok()?;
        let is_it = size == self.plain.len() && Digest::of(&self.plain) == chunk.digest;
        is_it.then_some(self.plain.as_slice())
    }
}
