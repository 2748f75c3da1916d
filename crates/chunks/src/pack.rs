//! Index and pack of a payload.

use std::io::{self, Read, Write};

use kusabi_core::id::Digest;
use kusabi_core::release::{ChunkIndexDraft, ChunkIndexError, ChunkIndexHead, CutSizes};
use zstd::bulk::Compressor;

use crate::cut;

/// Bytes become few, and 4 GiB of them in minutes: higher levels take several times as long for a few parts in a hundred.
const LEVEL: i32 = 9;

/// Why a payload was not packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Reading, compressing or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has more chunks than an index may have.
    #[error("{0}")]
    Index(#[from] ChunkIndexError),
}

/// Cuts and compresses a payload: writes its pack, and gives its index and the index's head. `each` hears how many bytes were read.
///
/// The same payload and sizes give the same bytes with the same program. In memory are two chunks and the index.
///
/// # Errors
/// [`PackError`]; what was written of the pack is of no use then.
pub fn pack(
    payload: impl Read,
    sizes: &CutSizes,
    mut to: impl Write,
    mut each: impl FnMut(u64),
) -> Result<(Vec<u8>, ChunkIndexHead), PackError> {
    let mut draft = ChunkIndexDraft::new(*sizes);
    let mut compressor = Compressor::new(LEVEL)?;
    for chunk in cut(payload, sizes) {
        let chunk = chunk?;
        let digest = Digest::of(&chunk);
        if !draft.repeat(&digest) {
            let compressed = compressor.compress(&chunk)?;
            to.write_all(draft.put(digest, &chunk, &compressed))?;
        }
        each(chunk.len() as u64);
    }
    to.flush()?;
    Ok(draft.finish()?)
}

#[cfg(test)]
mod tests {
    use kusabi_core::release::{Chunk, check_chunk_index};

    use super::*;

    /// Bytes without a pattern, the same for the same seed.
    fn noise(mut seed: u64, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes.extend_from_slice(&seed.to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }

    fn packed(payload: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<Chunk>) {
        let sizes = crate::sizes(payload.len() as u64).unwrap();
        let (mut pack_bytes, mut read) = (Vec::new(), 0);
        let (index, head) = pack(payload, &sizes, &mut pack_bytes, |more| read += more).unwrap();
        assert_eq!(read, payload.len() as u64);
        let mut chunks = Vec::new();
        let again = check_chunk_index(&index, read, |chunk| chunks.push(*chunk)).unwrap();
        assert_eq!(again, head);
        assert_eq!(head.pack().digest(), Digest::of(&pack_bytes));
        (index, pack_bytes, chunks)
    }

    #[test]
    fn the_pack_gives_the_payload_back_and_is_the_same_each_time() {
        let mut payload = noise(1, 1_500_000);
        payload.extend_from_slice(&vec![0; 3_000_000]);
        payload.extend_from_slice(&noise(1, 1_500_000));
        let (index, pack, chunks) = packed(&payload);
        assert_eq!(packed(&payload), (index, pack.clone(), chunks.clone()));
        let mut again = Vec::new();
        for chunk in &chunks {
            let stored = &pack[chunk.offset as usize..chunk.stored_end() as usize];
            match chunk.is_plain() {
                true => again.extend_from_slice(stored),
                false => again.extend(zstd::bulk::decompress(stored, chunk.size as usize).unwrap()),
            }
        }
        assert_eq!(again, payload);
        // Zeros take nearly nothing, and what comes again stands once.
        assert!(pack.len() < 1_700_000, "{}", pack.len());
    }

    #[test]
    fn what_is_moved_is_cut_alike() {
        let payload = noise(7, 8 << 20);
        let mut moved = noise(8, 12_345);
        moved.extend_from_slice(&payload);
        let (old, new) = (packed(&payload).2, packed(&moved).2);
        let known = |chunk: &&Chunk| old.iter().any(|old| old.digest == chunk.digest);
        let missing: u64 = new
            .iter()
            .filter(|chunk| !known(chunk))
            .map(|chunk| u64::from(chunk.size))
            .sum();
        assert!(missing < 300_000, "{missing}");
    }

    #[test]
    fn a_payload_is_cut_when_it_pays() {
        assert_eq!(crate::sizes((1 << 20) - 1), None);
        let average = |size| crate::sizes(size).map(|sizes| sizes.average());
        assert_eq!(average(1 << 20), Some(16 << 10));
        assert_eq!(average(4 << 30), Some(64 << 10));
        assert_eq!(average(16 << 30), Some(256 << 10));
        assert_eq!(average((16 << 30) + 1), None);
    }
}
