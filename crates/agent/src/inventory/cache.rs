//! What was hashed before, so that it need not be read again.
//!
//! ```text
//! cache  = "kusabi inventory cache 1\n" ‖ record*                                   ascending by name, as the walk goes
//! record = length of name u16 ‖ name ‖ size u64 ‖ modified i64, u32 ‖ changed i64, u32 ‖ inode u64 ‖ device u64 ‖ digest 32 ‖ check 8
//! ```
//! Big-endian; `check` is the beginning of the SHA-256 of what stands before it in the record. Each record says by itself "a file with
//! these five had this digest", and goes on being true whatever became of the rest: one that is torn or damaged ends the cache there, and
//! files that come later are read.
//!
//! It saves reads and is trusted for nothing else. A program that may write the disk below the file system, or set the clock, can change
//! a file under an unchanged stamp; that is why every file is read again at times that nobody can wait for.

use std::cmp::Ordering;
use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, SystemTime};

use kusabi_core::id::Digest;
use kusabi_core::inventory::NAME_BYTES_MAX;

use super::tree::Stamp;

const HEAD: &[u8] = b"kusabi inventory cache 1\n";
/// Bytes of a record that are no name, without its check.
const FIXED_BYTES: usize = 2 + 8 + 12 + 12 + 8 + 8 + 32;
const CHECK_BYTES: usize = 8;
/// Bytes that are written at a time.
const PIECE_BYTES: usize = 64 << 10;
/// The coarsest time that a file system keeps: two seconds, FAT's. A file that changed more recently than that may change once more without
/// showing it.
const TICK: Duration = Duration::from_secs(2);
/// In that time whatever was written in memory has gone to disk, whoever waits for the disk to spin.
const WRITTEN: Duration = Duration::from_secs(24 * 3600);

/// What was hashed in the walk before, and what is hashed in this one. Memory holds one record of each.
pub struct HashCache<'a> {
    before: Option<BufReader<&'a mut dyn Read>>,
    /// The next record of the walk before.
    next: Option<Record>,
    after: Option<&'a mut dyn Write>,
    piece: Vec<u8>,
    /// Files that changed at this time or later are not remembered: seconds and nanoseconds since 1970.
    recent: (i64, u32),
    /// Files that changed at this time or later may have pages in memory that have not gone to disk yet.
    lately: (i64, u32),
    trouble: Option<io::Error>,
}

struct Record {
    name: Vec<u8>,
    stamp: Stamp,
    digest: Digest,
}

impl std::fmt::Debug for HashCache<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashCache").finish_non_exhaustive()
    }
}

impl<'a> HashCache<'a> {
    /// `before` is what the walk before wrote, if it is to be believed; what this one finds goes to `after`. `now` is the time at which the
    /// walk begins.
    pub fn new(
        before: Option<&'a mut dyn Read>,
        after: Option<&'a mut dyn Write>,
        now: SystemTime,
    ) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let ago = |time| {
            let at = since.clone().unwrap_or_default().saturating_sub(time);
            let secs = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
            (secs, at.subsec_nanos())
        };
        let (recent, lately) = (ago(TICK), ago(WRITTEN));
        let mut cache = Self {
            before: before.map(BufReader::new),
            next: None,
            piece: Vec::new(),
            after,
            recent,
            lately,
            trouble: None,
        };
        if cache.after.is_some() {
            cache.piece.extend_from_slice(HEAD);
        }
        let mut head = [0; HEAD.len()];
        match cache.before.as_mut().map(|file| file.read_exact(&mut head)) {
            Some(Ok(())) if head == HEAD => cache.advance(),
            _ => cache.before = None,
        }
        cache
    }

    /// Whether a file is to go to disk before it is read, for it to be remembered.
    pub(super) fn changed_lately(&self, stamp: &Stamp) -> bool {
        self.after.is_some() && (stamp.changed >= self.lately || stamp.modified >= self.lately)
    }

    /// Remembers nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::new(None, None, SystemTime::UNIX_EPOCH)
    }

    /// Why what was found could not be written, if it could not; the walk went on without.
    #[must_use]
    pub const fn trouble(&self) -> Option<&io::Error> {
        self.trouble.as_ref()
    }

    /// The digest of a file that has not changed since. Names come in ascending order.
    pub(super) fn find(&mut self, name: &str, stamp: &Stamp) -> Option<Digest> {
        loop {
            let record = self.next.as_ref()?;
            match record.name.as_slice().cmp(name.as_bytes()) {
                Ordering::Less => self.advance(),
                Ordering::Equal => return (record.stamp == *stamp).then_some(record.digest),
                Ordering::Greater => return None,
            }
        }
    }

    /// A file that was read: it is remembered, unless it changed so recently that it may change once more without showing it, or at a time
    /// that is yet to come.
    pub(super) fn learn(&mut self, name: &str, stamp: &Stamp, digest: &Digest) {
        if stamp.changed < self.recent && stamp.modified < self.recent {
            self.keep(name, stamp, digest);
        }
    }

    /// A file that is remembered again.
    pub(super) fn keep(&mut self, name: &str, stamp: &Stamp, digest: &Digest) {
        if self.after.is_none() {
            return;
        }
        let from = self.piece.len();
        // A component's name has 1,024 bytes at most; what is longer makes no inventory.
        let Ok(length) = u16::try_from(name.len()) else {
            return;
        };
        let out = &mut self.piece;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&stamp.size.to_be_bytes());
        for (secs, nanos) in [stamp.modified, stamp.changed] {
            out.extend_from_slice(&secs.to_be_bytes());
            out.extend_from_slice(&nanos.to_be_bytes());
        }
        out.extend_from_slice(&stamp.inode.to_be_bytes());
        out.extend_from_slice(&stamp.device.to_be_bytes());
        out.extend_from_slice(digest.as_bytes());
        let check = check(out.get(from..).unwrap_or_default());
        out.extend_from_slice(&check);
        if out.len() >= PIECE_BYTES {
            self.flush();
        }
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        if let Some(after) = &mut self.after
            && let Err(error) = after.write_all(&self.piece)
        {
            self.trouble = Some(error);
            self.after = None;
        }
        self.piece.clear();
    }

    /// Reads the next record; one that is not whole, or out of order, is the end.
    fn advance(&mut self) {
        let before = self.next.take();
        let Some(file) = &mut self.before else { return };
        match read(file) {
            Some(record) if before.is_none_or(|before| before.name < record.name) => {
                self.next = Some(record);
            }
            _ => self.before = None,
        }
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    for (to, from) in check.iter_mut().zip(Digest::of(bytes).as_bytes()) {
        *to = *from;
    }
    check
}

fn read(file: &mut impl Read) -> Option<Record> {
    let mut length = [0; 2];
    file.read_exact(&mut length).ok()?;
    let name = usize::from(u16::from_be_bytes(length));
    if name > NAME_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; FIXED_BYTES + CHECK_BYTES + name];
    let (head, rest) = bytes.split_at_mut_checked(length.len())?;
    head.copy_from_slice(&length);
    file.read_exact(rest).ok()?;
    let (said, kept) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    if check(said) != *kept {
        return None;
    }
    let rest = said.get(length.len()..)?;
    let (name, rest) = rest.split_at_checked(name)?;
    let (size, rest) = rest.split_first_chunk()?;
    let (modified, rest) = time(rest)?;
    let (changed, rest) = time(rest)?;
    let (inode, rest) = rest.split_first_chunk()?;
    let (device, digest) = rest.split_first_chunk()?;
    Some(Record {
        name: name.to_vec(),
        stamp: Stamp {
            size: u64::from_be_bytes(*size),
            modified,
            changed,
            inode: u64::from_be_bytes(*inode),
            device: u64::from_be_bytes(*device),
        },
        digest: Digest::new(digest.try_into().ok()?),
    })
}

fn time(bytes: &[u8]) -> Option<((i64, u32), &[u8])> {
    let (secs, rest) = bytes.split_first_chunk()?;
    let (nanos, rest) = rest.split_first_chunk()?;
    Some((
        (i64::from_be_bytes(*secs), u32::from_be_bytes(*nanos)),
        rest,
    ))
}
