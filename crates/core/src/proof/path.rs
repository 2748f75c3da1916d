//! The path from one operation of the log to the state root (spec/proof.md, "Path").
//!
//! The ledger's state is a log of operations in a Merkle mountain range, grafted with a bitmap that has one bit per
//! operation: set while the operation is the current word on its key. One path shows both, that an operation stands at a
//! location and that it is current. The walk needs no memory beyond a few digests: the siblings are read where they lie,
//! the loops are bounded by the height of a peak (at most 62), and the number of digests must be exact.
//!
//! Not checked here: that the state root and the leaf count are the ones of a certified header ([`super`]).

use crate::crypto::sha256;
use crate::row::ROW_BYTES;
use crate::wire::{Reader, Sink, WireError};

/// The most leaves that a log may have (2^62), so that no position overflows.
pub const LEAVES_MAX: u64 = 1 << 62;
/// The most digests that a path carries on the wire; an honest one needs at most 62.
pub const DIGESTS_MAX: usize = 64;
/// Operations per chunk of the activity bitmap: a chunk is one 32-byte string.
pub const CHUNK_BITS: u64 = 256;

/// The height at which a chunk of the bitmap is grafted onto the log's tree: log2 of [`CHUNK_BITS`].
const GRAFTING_HEIGHT: u32 = CHUNK_BITS.trailing_zeros();
/// Family (mountain range) and bagging (from the newest peak back), the first two bytes under every tree root.
const ROOT_DOMAIN: [u8; 2] = [0, 1];
const UPDATE: u8 = 0xD2;
const COMMIT: u8 = 0xD3;
/// What fills a commit up to the length of an update (1 + 32 + 192 + 32 bytes).
const COMMIT_PADDING: usize = (1 + 32 + ROW_BYTES + 32) - (1 + 1 + ROW_BYTES + 8);

/// Why a path does not lead to the state root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// The bytes end early, or the flag is neither 0 nor 1.
    Wire(WireError),
    /// More than [`DIGESTS_MAX`] digests.
    DigestsMax,
    /// The log is empty or has more than [`LEAVES_MAX`] leaves.
    Leaves,
    /// The location is not in the log.
    Location,
    /// The operation's bit in the activity chunk is not set: it is no longer current.
    Inactive,
    /// More inactive peaks than the log has peaks.
    InactivePeaks,
    /// The log ends inside a chunk, and the digest of that chunk is missing.
    PartialMissing,
    /// The log ends at a chunk's border, and there is a digest of a partial chunk.
    PartialUnexpected,
    /// The activity chunk is the partial one, and its digest is not the one given.
    PartialMismatch,
    /// Fewer digests than the path needs.
    DigestsMissing,
    /// More digests than the path needs.
    DigestsLeft,
    /// The path leads to another root.
    Root,
}

impl core::fmt::Display for PathError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Wire(error) => return write!(f, "the bytes are no path: {error}"),
            Self::DigestsMax => "a path has at most 64 digests",
            Self::Leaves => "the header's log is empty or too long",
            Self::Location => "the path's location is not in the log",
            Self::Inactive => "the row that the path shows is no longer current",
            Self::InactivePeaks => "the path names more inactive peaks than the log has",
            Self::PartialMissing => "the path lacks the digest of the partial chunk",
            Self::PartialUnexpected => {
                "the path has the digest of a partial chunk where there is none"
            }
            Self::PartialMismatch => {
                "the path's activity chunk is not the partial chunk of the log"
            }
            Self::DigestsMissing => "the path has too few digests",
            Self::DigestsLeft => "the path has too many digests",
            Self::Root => "the path does not lead to the header's state root",
        })
    }
}

impl core::error::Error for PathError {}

crate::code::codes!(PathError {
    DigestsMax = 0x0e01,
    Leaves = 0x0e02,
    Location = 0x0e03,
    Inactive = 0x0e04,
    InactivePeaks = 0x0e05,
    PartialMissing = 0x0e06,
    PartialUnexpected = 0x0e07,
    PartialMismatch = 0x0e08,
    DigestsMissing = 0x0e09,
    DigestsLeft = 0x0e0a,
    Root = 0x0e0b,
} in { Wire });

impl From<WireError> for PathError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// What stands at the path's location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The current row of a key, and the next key in the map's cyclic order.
    Update {
        /// The state key.
        key: &'a [u8; 32],
        /// Its row.
        row: &'a [u8; ROW_BYTES],
        /// The next state key, or the first one after the last, or `key` itself when it is alone.
        next_key: &'a [u8; 32],
    },
    /// A commit that left no key alive: its floor is its own location.
    EmptyCommit {
        /// What the engine stored with the commit, if anything.
        metadata: Option<&'a [u8; ROW_BYTES]>,
    },
}

/// What a certified header says about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log<'a> {
    /// Number of operations (`ops end`).
    pub leaves: u64,
    /// Root of the log alone (`ops root`).
    pub ops_root: &'a [u8; 32],
}

/// A decoded path: shapes are checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// Index of the operation in the log.
    pub location: u64,
    /// The 256 activity bits around it; bit i of the chunk is bit `i % 8` (least significant first) of byte `i / 8`.
    pub chunk: [u8; 32],
    /// How many leading peaks the state root folds as inactive.
    pub inactive_peaks: u8,
    /// Digest of the trailing partial chunk, when the log does not end at a chunk's border.
    pub partial: Option<[u8; 32]>,
    /// The digests, in the order of the spec.
    pub digests: &'a [[u8; 32]],
}

impl<'a> Path<'a> {
    /// Reads a path from where `reader` stands.
    ///
    /// # Errors
    /// [`PathError::Wire`], [`PathError::DigestsMax`]
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, PathError> {
        Ok(Self {
            location: reader.u64()?,
            chunk: reader.array()?,
            inactive_peaks: reader.u8()?,
            partial: if reader.flag()? {
                Some(reader.array()?)
            } else {
                None
            },
            digests: {
                let count = usize::from(reader.u8()?);
                if count > DIGESTS_MAX {
                    return Err(PathError::DigestsMax);
                }
                let (digests, _) = reader.bytes(count * 32)?.as_chunks();
                digests
            },
        })
    }

    /// Writes the path.
    ///
    /// # Errors
    /// [`PathError::DigestsMax`]
    pub fn encode(&self, out: &mut impl Sink) -> Result<(), PathError> {
        let count = u8::try_from(self.digests.len()).map_err(|_| PathError::DigestsMax)?;
        if self.digests.len() > DIGESTS_MAX {
            return Err(PathError::DigestsMax);
        }
        out.u64(self.location);
        out.put(&self.chunk);
        out.u8(self.inactive_peaks);
        out.flag(self.partial.is_some());
        if let Some(digest) = &self.partial {
            out.put(digest);
        }
        out.u8(count);
        for digest in self.digests {
            out.put(digest);
        }
        Ok(())
    }

    /// Checks that `operation` stands at the path's location and is current under `state_root`.
    ///
    /// # Errors
    /// The first rule broken, in the order of [`PathError`].
    pub fn verify(
        &self,
        log: Log<'_>,
        operation: Operation<'_>,
        state_root: &[u8; 32],
    ) -> Result<(), PathError> {
        let root = self.root(log, operation)?;
        // Both are public: a plain comparison leaks nothing.
        if root == *state_root {
            Ok(())
        } else {
            Err(PathError::Root)
        }
    }

    /// The state root that this path leads to from `operation`. Whether it is a certified header's is for the caller to
    /// compare: [`Path::verify`] does.
    ///
    /// # Errors
    /// The first rule broken, in the order of [`PathError`], but for [`PathError::Root`].
    pub fn root(&self, log: Log<'_>, operation: Operation<'_>) -> Result<[u8; 32], PathError> {
        if log.leaves == 0 || log.leaves > LEAVES_MAX {
            return Err(PathError::Leaves);
        }
        if self.location >= log.leaves {
            return Err(PathError::Location);
        }
        if !self.is_active() {
            return Err(PathError::Inactive);
        }
        let shape = Shape::new(log.leaves, self.location, self.inactive_peaks)?;
        let next_bit = log.leaves % CHUNK_BITS;
        match self.partial {
            None if next_bit != 0 => return Err(PathError::PartialMissing),
            Some(_) if next_bit == 0 => return Err(PathError::PartialUnexpected),
            Some(digest)
                if self.location / CHUNK_BITS == log.leaves / CHUNK_BITS
                    && sha256(&[&self.chunk]) != digest =>
            {
                return Err(PathError::PartialMismatch);
            }
            _ => {}
        }
        let (before, rest) = self
            .digests
            .split_at_checked(shape.entries_before)
            .ok_or(PathError::DigestsMissing)?;
        let (after, siblings) = rest
            .split_at_checked(shape.entries_after)
            .ok_or(PathError::DigestsMissing)?;
        let peak = self.peak(shape.height, leaf(self.location, operation), siblings)?;
        let folded = shape.bag(before, &peak, after)?;

        let inactive = u64::from(self.inactive_peaks).to_be_bytes();
        let grafted_root = sha256(&[
            &ROOT_DOMAIN,
            &log.leaves.to_be_bytes(),
            if self.inactive_peaks == 0 {
                &[]
            } else {
                &inactive
            },
            &folded,
        ]);
        Ok(match self.partial {
            None => sha256(&[log.ops_root, &grafted_root]),
            Some(digest) => sha256(&[
                log.ops_root,
                &grafted_root,
                &next_bit.to_be_bytes(),
                &digest,
            ]),
        })
    }

    fn is_active(&self) -> bool {
        let bit = self.location % CHUNK_BITS;
        usize::try_from(bit / 8)
            .ok()
            .and_then(|byte| self.chunk.get(byte))
            .is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }

    /// Walks from the leaf to its peak, grafting the activity chunk on the way.
    ///
    /// A proof lists the siblings as a left-first walk down from the peak meets them: first the left ones, from the top
    /// down, then the right ones, from the bottom up. So a walk up takes left siblings from the back of the first group and
    /// right siblings from the front of the second.
    fn peak(
        &self,
        height: u32,
        leaf: [u8; 32],
        siblings: &[[u8; 32]],
    ) -> Result<[u8; 32], PathError> {
        let needed = height as usize;
        if siblings.len() > needed {
            return Err(PathError::DigestsLeft);
        }
        if siblings.len() < needed {
            return Err(PathError::DigestsMissing);
        }
        let turns = (self.location & low_bits(height)).count_ones();
        let (mut left, mut right) = siblings
            .split_at_checked(turns as usize)
            .ok_or(PathError::DigestsMissing)?;
        let mut digest = leaf;
        for level in 1..=height {
            // The node's position: that of its first leaf, plus the nodes of a perfect tree, less one for the count.
            let first = self.location & !low_bits(level);
            let position = (position(first) + low_bits(level + 1) - 1).to_be_bytes();
            digest = if self.location >> (level - 1) & 1 == 1 {
                let (sibling, others) = left.split_last().ok_or(PathError::DigestsMissing)?;
                left = others;
                sha256(&[&position, sibling, &digest])
            } else {
                let (sibling, others) = right.split_first().ok_or(PathError::DigestsMissing)?;
                right = others;
                sha256(&[&position, &digest, sibling])
            };
            // An all-zero chunk would leave the digest as it is; here the chunk has at least the operation's own bit.
            if level == GRAFTING_HEIGHT {
                digest = sha256(&[&self.chunk, &digest]);
            }
        }
        Ok(digest)
    }
}

/// How the peaks of a log lie around one location, and how many digests stand for them.
struct Shape {
    /// Height of the peak over the location.
    height: u32,
    /// Digests for the peaks before it: one for the folded inactive ones, one for each other.
    entries_before: usize,
    /// Digests for the peaks after it: one for each inactive one, one for all others.
    entries_after: usize,
    /// How many leading entries are folded from the front, as the inactive peaks are.
    fold: u32,
}

impl Shape {
    /// `location < leaves ≤ 2^62`.
    fn new(leaves: u64, location: u64, inactive_peaks: u8) -> Result<Self, PathError> {
        // The set bits of the leaf count are the peaks, highest first. The highest bit in which a smaller location differs
        // is the peak that covers it.
        let height = (leaves ^ location).ilog2();
        let before = (leaves & !low_bits(height + 1)).count_ones();
        let after = (leaves & low_bits(height)).count_ones();
        let inactive = u32::from(inactive_peaks);
        if inactive > before + 1 + after {
            return Err(PathError::InactivePeaks);
        }
        let folded = inactive.min(before);
        let listed_after = inactive.saturating_sub(before + 1);
        Ok(Self {
            height,
            entries_before: (u32::from(folded > 0) + before - folded) as usize,
            entries_after: (listed_after + u32::from(after > listed_after)) as usize,
            fold: if folded > 0 {
                inactive - folded + 1
            } else {
                inactive
            },
        })
    }

    /// Bags the peaks: the inactive ones from the front, the others from the back, then both together.
    fn bag(
        &self,
        before: &[[u8; 32]],
        peak: &[u8; 32],
        after: &[[u8; 32]],
    ) -> Result<[u8; 32], PathError> {
        let mut entries = before.iter().chain(core::iter::once(peak)).chain(after);
        let mut front = *entries.next().ok_or(PathError::DigestsMissing)?;
        for _ in 1..self.fold {
            let entry = entries.next().ok_or(PathError::DigestsMissing)?;
            front = sha256(&[&front, entry]);
        }
        let back = entries
            .rev()
            .copied()
            .reduce(|bag, entry| sha256(&[&entry, &bag]));
        Ok(match back {
            None => front,
            Some(back) => sha256(&[&front, &back]),
        })
    }
}

/// The digest of an operation as a leaf: its position, then the operation in the engine's fixed encoding.
fn leaf(location: u64, operation: Operation<'_>) -> [u8; 32] {
    let position = position(location).to_be_bytes();
    match operation {
        Operation::Update { key, row, next_key } => {
            sha256(&[&position, &[UPDATE], key, row, next_key])
        }
        Operation::EmptyCommit { metadata } => sha256(&[
            &position,
            &[COMMIT, u8::from(metadata.is_some())],
            metadata.unwrap_or(&[0; ROW_BYTES]),
            &location.to_be_bytes(),
            &[0; COMMIT_PADDING],
        ]),
    }
}

/// The position of a leaf among all nodes, numbered as they are made: two per leaf, less those whose sibling is not there
/// yet. `location ≤ 2^62`.
fn position(location: u64) -> u64 {
    2 * location - u64::from(location.count_ones())
}

/// A mask of the lowest `bits < 64` bits.
const fn low_bits(bits: u32) -> u64 {
    (1 << bits) - 1
}
