//! The chunk index: which pieces a payload is made of, and where each lies compressed (spec/firmware.md, "Chunk index").
//!
//! A head, then records of one length, read one at a time and in order, so that whoever reads it holds none of them. What a
//! [`ChunkWalk`] gives is within every bound; that it is the index that someone signed is for whoever hashed it to say.

use core::fmt;

use super::Content;
use crate::id::Digest;
use crate::wire::{Reader, Sink, WireError, Writer};

/// Bytes before the first record.
pub const CHUNK_INDEX_HEAD_BYTES: usize = 66;
/// Bytes of a record.
pub const CHUNK_RECORD_BYTES: usize = 80;
/// Most chunks of a payload.
pub const CHUNKS_MAX: u32 = 1 << 17;
/// The smallest least size of chunks that a cutter may be given, in bytes.
pub const CHUNK_BYTES_MIN: u32 = 4 << 10;
/// The largest chunk in bytes.
pub const CHUNK_BYTES_MAX: u32 = 1 << 20;

const VERSION: u8 = 1;
/// FastCDC of 2020 with normalisation level 1.
const FAST_CDC_2020: u8 = 1;

/// Why bytes are no chunk index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkIndexError {
    /// A format version other than 1.
    Version,
    /// A cutter other than FastCDC of 2020.
    Cutter,
    /// The cutter's sizes are no powers of two, out of order or out of bounds.
    CutSizes,
    /// No chunk, too many, or another number than the index has room for.
    Count,
    /// It is about a payload of another size.
    OtherPayload,
    /// The pack is empty, or its digest is zero.
    Pack,
    /// A chunk is above the largest size, or below the least one and not the last.
    ChunkSize,
    /// A digest is zero.
    Zero,
    /// A chunk is stored in no bytes, in more than it has, or plain under another digest.
    Stored,
    /// A chunk's stored bytes neither follow on those before nor lie among them.
    Offset,
    /// The chunks' sizes do not add up to the payload's.
    PayloadSize,
    /// The stored sizes do not add up to the pack's.
    PackSize,
    /// The index ends too early.
    Short,
    /// There are bytes after the last record.
    Trailing,
}

impl fmt::Display for ChunkIndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "the chunk index has a format version that this program does not know; use a newer program",
            Self::Cutter => "the chunk index was made by a cutter that this program does not know; use a newer program",
            Self::CutSizes => "the cutter's sizes are powers of two from 4 KiB to 1 MiB, in ascending order",
            Self::Count => "the chunk index has no chunk, too many, or another number than its size says",
            Self::OtherPayload => "the chunk index is about a payload of another size",
            Self::Pack => "the chunk index names no pack",
            Self::ChunkSize => "a chunk is larger or smaller than the cutter's sizes allow",
            Self::Zero => "a digest in the chunk index is zero",
            Self::Stored => "a chunk is stored in no bytes, in more than it has, or plain under another digest",
            Self::Offset => "a chunk's stored bytes neither follow on those before nor lie among them",
            Self::PayloadSize => "the sizes of the chunks do not add up to the payload's",
            Self::PackSize => "the stored sizes of the chunks do not add up to the pack's",
            Self::Short => "the chunk index ends too early",
            Self::Trailing => "there are bytes after the chunk index",
        })
    }
}

impl core::error::Error for ChunkIndexError {}

impl From<WireError> for ChunkIndexError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Trailing => Self::Trailing,
            _ => Self::Short,
        }
    }
}

/// What the cutter is told: the least size of a chunk, the one around which most are, and the largest, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutSizes {
    minimum: u32,
    average: u32,
    maximum: u32,
}

impl CutSizes {
    /// Powers of two from 4 KiB to 1 MiB, ascending.
    ///
    /// # Errors
    /// [`ChunkIndexError::CutSizes`]
    pub fn new(minimum: u32, average: u32, maximum: u32) -> Result<Self, ChunkIndexError> {
        let sizes = [minimum, average, maximum];
        if sizes.iter().all(|size| size.is_power_of_two())
            && (CHUNK_BYTES_MIN..=average).contains(&minimum)
            && (average..=CHUNK_BYTES_MAX).contains(&maximum)
        {
            return Ok(Self {
                minimum,
                average,
                maximum,
            });
        }
        Err(ChunkIndexError::CutSizes)
    }

    /// The least size of a chunk that is not the last.
    #[must_use]
    pub const fn minimum(&self) -> u32 {
        self.minimum
    }

    /// The size around which most chunks are.
    #[must_use]
    pub const fn average(&self) -> u32 {
        self.average
    }

    /// The largest size.
    #[must_use]
    pub const fn maximum(&self) -> u32 {
        self.maximum
    }
}

/// What stands before the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkIndexHead {
    sizes: CutSizes,
    count: u32,
    payload_size: u64,
    pack: Content,
}

impl ChunkIndexHead {
    /// Reads the head of an index of `index_size` bytes about a payload of `payload_size`.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn decode(
        bytes: &[u8; CHUNK_INDEX_HEAD_BYTES],
        index_size: u64,
        payload_size: u64,
    ) -> Result<Self, ChunkIndexError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(ChunkIndexError::Version);
        }
        if reader.u8()? != FAST_CDC_2020 {
            return Err(ChunkIndexError::Cutter);
        }
        let sizes = CutSizes::new(reader.u32()?, reader.u32()?, reader.u32()?)?;
        let count = reader.u32()?;
        if count == 0 || count > CHUNKS_MAX || Self::index_size(count) != index_size {
            return Err(ChunkIndexError::Count);
        }
        if reader.u64()? != payload_size {
            return Err(ChunkIndexError::OtherPayload);
        }
        let pack = Content::new(reader.u64()?, Digest::new(reader.array()?))
            .map_err(|_| ChunkIndexError::Pack)?;
        reader.finish()?;
        Ok(Self {
            sizes,
            count,
            payload_size,
            pack,
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; CHUNK_INDEX_HEAD_BYTES] {
        let mut bytes = [0; CHUNK_INDEX_HEAD_BYTES];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(VERSION);
        writer.u8(FAST_CDC_2020);
        writer.u32(self.sizes.minimum);
        writer.u32(self.sizes.average);
        writer.u32(self.sizes.maximum);
        writer.u32(self.count);
        writer.u64(self.payload_size);
        writer.u64(self.pack.size());
        writer.put(&self.pack.digest().to_bytes());
        debug_assert!(writer.finish() == Ok(CHUNK_INDEX_HEAD_BYTES), "a head");
        bytes
    }

    /// Bytes of an index with so many chunks.
    #[must_use]
    pub fn index_size(count: u32) -> u64 {
        let records = u64::from(count).saturating_mul(CHUNK_RECORD_BYTES as u64);
        records.saturating_add(CHUNK_INDEX_HEAD_BYTES as u64)
    }

    /// What the payload was cut with.
    #[must_use]
    pub const fn sizes(&self) -> &CutSizes {
        &self.sizes
    }

    /// How many chunks the payload has, repetitions counted.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// What the stored bytes of all chunks lie in.
    #[must_use]
    pub const fn pack(&self) -> &Content {
        &self.pack
    }

    /// Begins to read the records.
    #[must_use]
    pub const fn walk(&self) -> ChunkWalk {
        ChunkWalk {
            head: *self,
            read: 0,
            payload: 0,
            pack: 0,
        }
    }
}

/// A piece of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where in the payload it begins.
    pub start: u64,
    /// Its size in bytes.
    pub size: u32,
    /// Its SHA-256.
    pub digest: Digest,
    /// Where in the pack its stored bytes begin.
    pub offset: u64,
    /// How many these are: as many as its size when it is stored plain, fewer when it is compressed.
    pub stored_size: u32,
    /// Their SHA-256.
    pub stored_digest: Digest,
}

impl Chunk {
    /// Whether the stored bytes are its own, not compressed.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.stored_size == self.size
    }

    /// Where in the payload it ends.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.size as u64)
    }

    /// Where in the pack its stored bytes end.
    #[must_use]
    pub const fn stored_end(&self) -> u64 {
        self.offset.saturating_add(self.stored_size as u64)
    }

    /// Its record.
    #[must_use]
    pub fn encode(&self) -> [u8; CHUNK_RECORD_BYTES] {
        let mut bytes = [0; CHUNK_RECORD_BYTES];
        let mut writer = Writer::new(&mut bytes);
        writer.u32(self.size);
        writer.put(&self.digest.to_bytes());
        writer.u64(self.offset);
        writer.u32(self.stored_size);
        writer.put(&self.stored_digest.to_bytes());
        debug_assert!(writer.finish() == Ok(CHUNK_RECORD_BYTES), "a record");
        bytes
    }
}

/// Reads records in their order, each against those before it.
#[derive(Clone, Debug)]
pub struct ChunkWalk {
    head: ChunkIndexHead,
    read: u32,
    payload: u64,
    pack: u64,
}

impl ChunkWalk {
    /// How many records are to come.
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.head.count.saturating_sub(self.read)
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// The first rule broken; [`ChunkIndexError::Trailing`] after the last one.
    pub fn next(&mut self, bytes: &[u8; CHUNK_RECORD_BYTES]) -> Result<Chunk, ChunkIndexError> {
        if self.left() == 0 {
            return Err(ChunkIndexError::Trailing);
        }
        let mut reader = Reader::new(bytes);
        let chunk = Chunk {
            start: self.payload,
            size: reader.u32()?,
            digest: Digest::new(reader.array()?),
            offset: reader.u64()?,
            stored_size: reader.u32()?,
            stored_digest: Digest::new(reader.array()?),
        };
        reader.finish()?;
        let least = if self.left() == 1 {
            1
        } else {
            self.head.sizes.minimum
        };
        if !(least..=self.head.sizes.maximum).contains(&chunk.size) {
            return Err(ChunkIndexError::ChunkSize);
        }
        if chunk.digest.is_zero() || chunk.stored_digest.is_zero() {
            return Err(ChunkIndexError::Zero);
        }
        if chunk.stored_size == 0
            || chunk.stored_size > chunk.size
            || chunk.is_plain() != (chunk.digest == chunk.stored_digest)
        {
            return Err(ChunkIndexError::Stored);
        }
        let end = chunk
            .offset
            .checked_add(chunk.stored_size.into())
            .ok_or(ChunkIndexError::Offset)?;
        if chunk.offset != self.pack && end > self.pack {
            return Err(ChunkIndexError::Offset);
        }
        if end > self.head.pack.size() {
            return Err(ChunkIndexError::PackSize);
        }
        if chunk.end() > self.head.payload_size {
            return Err(ChunkIndexError::PayloadSize);
        }
        self.read = self.read.saturating_add(1);
        self.payload = chunk.end();
        self.pack = self.pack.max(end);
        Ok(chunk)
    }

    /// Says whether that was all of it.
    ///
    /// # Errors
    /// [`ChunkIndexError::Short`], [`ChunkIndexError::PayloadSize`], [`ChunkIndexError::PackSize`]
    pub const fn finish(self) -> Result<(), ChunkIndexError> {
        if self.left() > 0 {
            return Err(ChunkIndexError::Short);
        }
        if self.payload != self.head.payload_size {
            return Err(ChunkIndexError::PayloadSize);
        }
        if self.pack != self.head.pack.size() {
            return Err(ChunkIndexError::PackSize);
        }
        Ok(())
    }
}

/// Reads a whole index that is in memory: its head, and that all of it is well formed.
///
/// # Errors
/// The first rule broken.
pub fn check_chunk_index(
    bytes: &[u8],
    payload_size: u64,
    mut each: impl FnMut(&Chunk),
) -> Result<ChunkIndexHead, ChunkIndexError> {
    let (head, mut records) = bytes.split_first_chunk().ok_or(ChunkIndexError::Short)?;
    let size = u64::try_from(bytes.len()).map_err(|_| ChunkIndexError::Count)?;
    let head = ChunkIndexHead::decode(head, size, payload_size)?;
    let mut walk = head.walk();
    while let Some((record, rest)) = records.split_first_chunk() {
        each(&walk.next(record)?);
        records = rest;
    }
    if !records.is_empty() {
        return Err(ChunkIndexError::Trailing);
    }
    walk.finish()?;
    Ok(head)
}

#[cfg(feature = "alloc")]
pub use draft::ChunkIndexDraft;

#[cfg(feature = "alloc")]
mod draft {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use super::{Chunk, ChunkIndexError, ChunkIndexHead, CutSizes, check_chunk_index};
    use crate::crypto::Hasher;
    use crate::id::Digest;
    use crate::release::Content;
    use crate::wire::Sink as _;

    /// An index that is being made, with its pack: whoever makes it cuts, compresses and writes; this one says what.
    #[derive(Debug)]
    pub struct ChunkIndexDraft {
        sizes: CutSizes,
        payload_size: u64,
        pack_size: u64,
        pack: Hasher,
        known: BTreeMap<Digest, Chunk>,
        records: Vec<u8>,
        count: u32,
    }

    impl ChunkIndexDraft {
        /// The index of a payload that is cut like this.
        #[must_use]
        pub fn new(sizes: CutSizes) -> Self {
            Self {
                sizes,
                payload_size: 0,
                pack_size: 0,
                pack: Hasher::default(),
                known: BTreeMap::new(),
                records: Vec::new(),
                count: 0,
            }
        }

        /// Takes the next chunk of the payload if it was there before: nothing of it goes into the pack then.
        pub fn repeat(&mut self, digest: &Digest) -> bool {
            let Some(chunk) = self.known.get(digest).copied() else {
                return false;
            };
            self.note(chunk);
            true
        }

        /// Takes the next chunk of the payload, which was not there before, with its compressed bytes. Gives what follows in the pack:
        /// the shorter of the two.
        pub fn put<'b>(
            &mut self,
            digest: Digest,
            plain: &'b [u8],
            compressed: &'b [u8],
        ) -> &'b [u8] {
            let stored = if compressed.len() < plain.len() {
                compressed
            } else {
                plain
            };
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let chunk = Chunk {
                start: 0,
                size: length(plain),
                digest,
                offset: self.pack_size,
                stored_size: length(stored),
                stored_digest: Digest::of(stored),
            };
            self.pack.put(stored);
            self.pack_size = chunk.stored_end();
            self.known.insert(digest, chunk);
            self.note(chunk);
            stored
        }

        fn note(&mut self, chunk: Chunk) {
            self.records.put(&chunk.encode());
            self.payload_size = self.payload_size.saturating_add(chunk.size.into());
            self.count = self.count.saturating_add(1);
        }

        /// Size and digest of the pack so far.
        ///
        /// # Errors
        /// [`ChunkIndexError::Pack`]: it is empty.
        fn pack(&self) -> Result<Content, ChunkIndexError> {
            let digest = Digest::new(self.pack.clone().finish());
            Content::new(self.pack_size, digest).map_err(|_| ChunkIndexError::Pack)
        }

        /// The index, read again as everybody reads it, and what its head says.
        ///
        /// # Errors
        /// The first rule that it breaks: the cutter did not keep to its sizes, or there are too many chunks.
        pub fn finish(self) -> Result<(Vec<u8>, ChunkIndexHead), ChunkIndexError> {
            let head = ChunkIndexHead {
                sizes: self.sizes,
                count: self.count,
                payload_size: self.payload_size,
                pack: self.pack()?,
            };
            let mut index = head.encode().to_vec();
            index.put(&self.records);
            check_chunk_index(&index, self.payload_size, |_| {})?;
            Ok((index, head))
        }
    }
}
