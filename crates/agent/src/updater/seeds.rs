//! What of a payload is on this device already.
//!
//! Seeds are files and partitions that an earlier version may lie in: what runs, downloads that came to nothing, and what has been written
//! of the payload itself. Each is read once and cut like the payload was; where the digest of a wanted chunk comes out is kept in a table
//! of 16 bytes for each chunk of the payload, however large the seeds are. The table is a hint and no more: what is read there is hashed
//! again before it is used.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use kusabi_core::id::Digest;
use kusabi_core::release::{Chunk, CutSizes};

use super::index::ChunkIndex;
use crate::disk::{Disk, Node, folder};

/// Files smaller than this are not looked through: no chunk of theirs would be one of the payload's.
const SEED_BYTES_MIN: u64 = 16 << 10;
/// Most seeds.
const SEEDS_MAX: usize = 64;
/// A seed's number stands above its offset.
const OFFSET_BITS: u32 = 48;

/// A chunk that is wanted, and where it was seen.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// The first bytes of its digest.
    key: u64,
    /// Number of the seed and offset there.
    place: Option<std::num::NonZeroU64>,
}

/// Where the chunks of one payload were seen.
#[derive(Debug)]
pub(crate) struct Seeds {
    payload: Digest,
    sizes: CutSizes,
    /// Ascending by key; no key twice.
    wanted: Vec<Wanted>,
    /// Number 1 is the first.
    files: Vec<PathBuf>,
    missing: usize,
}

impl Seeds {
    /// Nothing of it was seen yet.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn new<D: Disk>(payload: Digest, index: &ChunkIndex<D>) -> io::Result<Self> {
        let count = usize::try_from(index.head().count()).unwrap_or_default();
        let mut wanted = Vec::with_capacity(count);
        for chunk in index.records()? {
            let key = key(&chunk?.digest);
            wanted.push(Wanted { key, place: None });
        }
        wanted.sort_unstable_by_key(|wanted| wanted.key);
        wanted.dedup_by_key(|wanted| wanted.key);
        Ok(Self {
            payload,
            sizes: *index.head().sizes(),
            missing: wanted.len(),
            wanted,
            files: Vec::new(),
        })
    }

    /// Digest of the payload that is looked for.
    pub(crate) const fn payload(&self) -> Digest {
        self.payload
    }

    /// Looks through a seed, until all was seen, `most` bytes were looked through, or `stopped` says so; `most` is less by as many. What cannot be read is no seed; what was read before counts.
    pub(crate) fn look_through(
        &mut self,
        disk: &impl Disk,
        path: &Path,
        most: &mut u64,
        stopped: impl Fn() -> bool,
    ) {
        let Ok(file) = disk.open(path) else { return };
        let mut offset = 0;
        for chunk in kusabi_chunks::cut(file.take(*most), &self.sizes.clone()) {
            let Ok(chunk) = chunk else { break };
            if self.missing == 0 || stopped() {
                break;
            }
            self.saw(&Digest::of(&chunk), path, offset);
            offset += chunk.len() as u64;
        }
        *most = most.saturating_sub(offset);
    }

    /// Notes where a chunk lies.
    pub(crate) fn saw(&mut self, digest: &Digest, path: &Path, offset: u64) {
        let found = self
            .wanted
            .binary_search_by_key(&key(digest), |one| one.key);
        let Some(wanted) = found.ok().and_then(|at| self.wanted.get_mut(at)) else {
            return;
        };
        if wanted.place.is_some() || offset >> OFFSET_BITS != 0 {
            return;
        }
        // The one that is being looked through is the last, mostly.
        let known = self.files.iter().rposition(|file| file == path);
        let number = known.unwrap_or_else(|| {
            self.files.push(path.to_owned());
            self.files.len() - 1
        });
        let number = (number as u64).saturating_add(1);
        if number >> (u64::BITS - OFFSET_BITS) == 0 {
            wanted.place = std::num::NonZeroU64::new(number << OFFSET_BITS | offset);
            self.missing -= usize::from(wanted.place.is_some());
        }
    }

    /// Whether a chunk was seen somewhere.
    pub(crate) fn has(&self, chunk: &Chunk) -> bool {
        self.place(chunk).is_some()
    }

    /// A chunk's bytes, if they are still where they were seen; if not, they were seen nowhere.
    pub(crate) fn read(&mut self, disk: &impl Disk, chunk: &Chunk) -> Option<Vec<u8>> {
        let (path, offset) = self.place(chunk)?;
        let mut bytes = vec![0; usize::try_from(chunk.size).ok()?];
        let read = disk
            .open_at(path, offset)
            .and_then(|mut file| file.read_exact(&mut bytes));
        if read.is_ok() && Digest::of(&bytes) == chunk.digest {
            return Some(bytes);
        }
        let key = key(&chunk.digest);
        let at = self.wanted.binary_search_by_key(&key, |one| one.key).ok()?;
        if self.wanted.get_mut(at)?.place.take().is_some() {
            self.missing += 1;
        }
        None
    }

    fn place(&self, chunk: &Chunk) -> Option<(&Path, u64)> {
        let key = key(&chunk.digest);
        let at = self.wanted.binary_search_by_key(&key, |one| one.key).ok()?;
        let place = self.wanted.get(at)?.place?.get();
        let number = usize::try_from(place >> OFFSET_BITS).ok()?.checked_sub(1)?;
        let offset = place & ((1 << OFFSET_BITS) - 1);
        Some((self.files.get(number)?, offset))
    }
}

fn key(digest: &Digest) -> u64 {
    let bytes = digest.to_bytes();
    bytes
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

/// The files and partitions that these paths stand for: a link stands for what it points to, a directory for the files in it.
pub(crate) fn found(disk: &impl Disk, paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut seeds = Vec::new();
    for path in paths {
        let mut path = path.clone();
        let mut node = disk.node(&path).unwrap_or_default();
        if node == Some(Node::Link)
            && let Ok(Some(target)) = disk.read_link(&path)
        {
            path = folder(&path).join(target);
            node = disk.node(&path).unwrap_or_default();
        }
        match node {
            Some(Node::Dir) => {
                let mut names = disk.list(&path).unwrap_or_default();
                names.sort_unstable();
                let files = names.into_iter().map(|name| path.join(name));
                seeds.extend(files.filter(|file| is_seed(disk, file)));
            }
            Some(Node::File { .. }) if is_seed(disk, &path) => seeds.push(path),
            // A partition, which is read to its end.
            Some(Node::Other) => seeds.push(path),
            _ => {}
        }
    }
    seeds.truncate(SEEDS_MAX);
    seeds
}

fn is_seed(disk: &impl Disk, path: &Path) -> bool {
    matches!(disk.node(path), Ok(Some(Node::File { size, .. })) if size >= SEED_BYTES_MIN)
}
