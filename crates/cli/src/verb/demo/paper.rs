//! The paper's own mode: the server made the device keys, handed them over and deleted them. Is that so?

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    time::Instant,
};

use kusabi_agent::{disk::Linux, keystore::FileKeyStore};
use zeroize::Zeroizing;

use super::{
    acts,
    play::{Play, Seen},
    stage::broke,
};
use crate::failure::{Failure, Result};

/// A secret that is looked for: the private key's seed, or a kusabi-ID.
type Needle = Zeroizing<Vec<u8>>;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Searches the server's disk and its memory for every private key and every kusabi-ID that its devices hold.
pub(super) fn keys_gone(play: &mut Play) -> Result<Seen> {
    let start = Instant::now();
    let mut needles: Vec<Needle> = Vec::new();
    for index in acts::at_work(play) {
        needles.extend(secrets(&play.camera(index)?.key_file())?);
    }
    let search = Search::new(&needles);
    // The devices' own disks hold them, so the search finds what there is to be found.
    let control = search.folder(&play.stage.root.join("cameras"))?;
    let disk = search.folder(&play.stage.data())?;
    let process = play
        .stage
        .process()
        .ok_or_else(|| broke("the server does not run"))?;
    let memory = search.memory(process)?;
    let found = disk.found + memory.found;
    Ok(Seen {
        ok: found == 0 && control.found >= needles.len() && memory.bytes > PIECE as u64,
        times: vec![start.elapsed()],
        words: format!(
            "the server made {} device keys and handed them over; {} of their secrets were searched for in {} MB of its disk and {} MB of its memory: {} found (and {} on the devices' own disks)",
            needles.len() / 2,
            needles.len(),
            disk.bytes >> 20,
            memory.bytes >> 20,
            found,
            control.found
        ),
    })
}

/// The seed and the ID of the device key in a key store.
fn secrets(path: &Path) -> Result<Vec<Needle>> {
    let store = FileKeyStore::open(Linux, path).map_err(broke)?;
    // version, purpose, suite, ID 16, seed 32 (kusabi-agent's keystore).
    let keys = store
        .names()
        .filter(|name| name.starts_with("key-"))
        .filter_map(|name| store.value(name))
        .filter(|value| value.len() == 51);
    Ok(keys
        .flat_map(|value| [value.get(3..19), value.get(19..51)])
        .flatten()
        .map(|secret| Zeroizing::new(secret.to_vec()))
        .collect())
}

/// Needles by their first two bytes.
struct Search<'n> {
    needles: &'n [Needle],
    first: Vec<bool>,
    longest: usize,
}

#[derive(Default)]
struct Tally {
    bytes: u64,
    found: usize,
}

impl<'n> Search<'n> {
    fn new(needles: &'n [Needle]) -> Self {
        let mut first = vec![false; 1 << 16];
        for needle in needles {
            if let [a, b, ..] = needle.as_slice()
                && let Some(place) = first.get_mut(usize::from(u16::from_be_bytes([*a, *b])))
            {
                *place = true;
            }
        }
        Self {
            needles,
            first,
            longest: needles.iter().map(|needle| needle.len()).max().unwrap_or(2),
        }
    }

    /// How many needles begin in the first `ends` bytes.
    fn count(&self, bytes: &[u8], ends: usize) -> usize {
        let mut found = 0;
        for (at, pair) in bytes.windows(2).enumerate().take(ends) {
            let [a, b] = [pair.first(), pair.get(1)].map(|byte| byte.copied().unwrap_or_default());
            let pair = usize::from(u16::from_be_bytes([a, b]));
            if self.first.get(pair).copied().unwrap_or_default() {
                let rest = bytes.get(at..).unwrap_or_default();
                found += self
                    .needles
                    .iter()
                    .filter(|needle| rest.starts_with(needle))
                    .count();
            }
        }
        found
    }

    /// Searches `len` bytes of a file, in pieces that overlap by what a needle may stand across.
    fn stream(&self, file: &mut File, len: u64, tally: &mut Tally) {
        let mut piece = Zeroizing::new(vec![0; PIECE + self.longest]);
        let mut kept = 0;
        let mut left = len;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let Some(room) = piece.get_mut(kept..kept + wanted) else {
                return;
            };
            // What cannot be read, like a device's memory, holds no key of ours.
            let Ok(read @ 1..) = file.read(room) else {
                break;
            };
            left -= read as u64;
            tally.bytes += read as u64;
            let all = kept + read;
            let next = all.min(self.longest - 1);
            let filled = piece.get(..all).unwrap_or_default();
            tally.found += self.count(filled, all - next);
            piece.copy_within(all - next..all, 0);
            kept = next;
        }
        let rest = piece.get(..kept).unwrap_or_default();
        tally.found += self.count(rest, kept);
    }

    /// Every file below a folder.
    fn folder(&self, folder: &Path) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut open = vec![folder.to_owned()];
        while let Some(at) = open.pop() {
            let entries = fs::read_dir(&at).map_err(|error| Failure::io("read", &at, &error))?;
            for entry in entries.flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(path),
                    Ok(kind) if kind.is_file() => {
                        // A file that the ledger has just taken away holds nothing.
                        if let Ok(mut file) = File::open(&path) {
                            self.stream(&mut file, u64::MAX, &mut tally);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(tally)
    }

    /// Everything that a process of ours may read and write, and that it ever has: an allocator reserves a thousand times as much.
    fn memory(&self, process: u32) -> Result<Tally> {
        let folder = Path::new("/proc").join(process.to_string());
        let path = folder.join("pagemap");
        let mut pages = File::open(&path).map_err(|error| Failure::io("read", &path, &error))?;
        let maps = folder.join("maps");
        let text = fs::read_to_string(&maps).map_err(|error| Failure::io("read", &maps, &error))?;
        let path = folder.join("mem");
        let mut memory = File::open(&path).map_err(|error| Failure::io("read", &path, &error))?;
        let mut tally = Tally::default();
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let range = fields.next().and_then(|range| range.split_once('-'));
            let readable = fields.next().is_some_and(|mode| mode.starts_with("rw"));
            let parsed = range
                .map(|(from, to)| (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)));
            let (true, Some((Ok(from), Ok(to)))) = (readable, parsed) else {
                continue;
            };
            for (from, to) in touched(&mut pages, from, to) {
                if memory.seek(SeekFrom::Start(from)).is_ok() {
                    self.stream(&mut memory, to - from, &mut tally);
                }
            }
        }
        Ok(tally)
    }
}

/// The parts of a range of a process's memory that are in memory or swapped out, by its `pagemap` (eight bytes a page, the two
/// highest bits; Linux, Documentation/admin-guide/mm/pagemap.rst). What cannot be told is taken for touched.
fn touched(pages: &mut File, from: u64, to: u64) -> Vec<(u64, u64)> {
    let page = rustix::param::page_size() as u64;
    let count = usize::try_from((to - from) / page).unwrap_or(usize::MAX);
    let mut entries = vec![0; count.saturating_mul(8)];
    let read = pages
        .seek(SeekFrom::Start(from / page * 8))
        .and_then(|_| pages.read_exact(&mut entries));
    if read.is_err() {
        return vec![(from, to)];
    }
    let mut parts: Vec<(u64, u64)> = Vec::new();
    let (entries, _) = entries.as_chunks::<8>();
    for (entry, start) in entries
        .iter()
        .zip((from..).step_by(rustix::param::page_size()))
    {
        if u64::from_ne_bytes(*entry) >> 62 == 0 {
            continue;
        }
        match parts.last_mut() {
            Some((_, end)) if *end == start => *end += page,
            _ => parts.push((start, start + page)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        let secret: Vec<u8> = (100..132).collect();
        let needles = [Zeroizing::new(secret.clone())];
        let search = Search::new(&needles);
        let folder = tempfile::tempdir().unwrap();
        for at in [
            0,
            1,
            PIECE - 31,
            PIECE - 1,
            PIECE,
            PIECE + 5,
            2 * PIECE - 16,
        ] {
            let mut bytes = vec![7; 2 * PIECE + 100];
            bytes[at..at + 32].copy_from_slice(&secret);
            fs::write(folder.path().join("f"), &bytes).unwrap();
            let tally = search.folder(folder.path()).unwrap();
            assert_eq!((tally.found, tally.bytes), (1, bytes.len() as u64), "{at}");
        }
    }

    #[test]
    fn this_process_has_what_it_has() {
        let secret = Zeroizing::new(kusabi_core::crypto::sha256(&[b"in memory"]).to_vec());
        let needles = [secret];
        let tally = Search::new(&needles).memory(std::process::id()).unwrap();
        assert!(tally.found >= 1);
    }
}
