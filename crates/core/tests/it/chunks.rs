//! Chunk indexes: `spec/vectors/chunks.json` is accepted and refused alike, and whatever is accepted keeps every bound.

use kusabi_core::id::Digest;
use kusabi_core::release::{
    CHUNK_INDEX_HEAD_BYTES, CHUNK_RECORD_BYTES, CHUNKS_MAX, Chunk, ChunkIndexDraft,
    ChunkIndexError, ChunkIndexHead, CutSizes, check_chunk_index,
};
use proptest::prelude::*;
use serde::Deserialize;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Vectors {
    indexes: Vec<Index>,
    payload_size: u64,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Index {
    index: Hex,
    digest: Hex,
    payload: Hex,
    pack: Hex,
    /// Size, offset, stored size.
    chunks: Vec<(u32, u64, u32)>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    bytes: Hex,
}

fn encode(head: &ChunkIndexHead, chunks: &[Chunk]) -> Vec<u8> {
    let records = chunks.iter().flat_map(Chunk::encode);
    head.encode().into_iter().chain(records).collect()
}

#[test]
fn indexes() {
    let vectors: Vectors = read("chunks.json");
    for case in &vectors.indexes {
        let (payload, pack) = (&case.payload.0, &case.pack.0);
        let mut chunks = Vec::new();
        let head = check_chunk_index(&case.index.0, payload.len() as u64, |chunk| {
            chunks.push(*chunk);
        })
        .unwrap();
        assert_eq!(Digest::of(&case.index.0).to_bytes(), case.digest.array());
        assert_eq!(head.pack().size(), pack.len() as u64);
        assert_eq!(head.pack().digest(), Digest::of(pack));
        assert_eq!(encode(&head, &chunks), case.index.0);
        let told: Vec<_> = chunks
            .iter()
            .map(|chunk| (chunk.size, chunk.offset, chunk.stored_size))
            .collect();
        assert_eq!(told, case.chunks);
        // The maker makes the oracle's bytes, index and pack.
        let mut draft = ChunkIndexDraft::new(*head.sizes());
        let mut packed = Vec::new();
        for chunk in &chunks {
            let plain = &payload[chunk.start as usize..chunk.end() as usize];
            let stored = &pack[chunk.offset as usize..chunk.stored_end() as usize];
            assert_eq!(Digest::of(plain), chunk.digest);
            assert_eq!(Digest::of(stored), chunk.stored_digest);
            if !draft.repeat(&chunk.digest) {
                packed.extend_from_slice(draft.put(chunk.digest, plain, stored));
            }
        }
        assert_eq!(draft.finish(), Ok((case.index.0.clone(), head)));
        assert_eq!(&packed, pack);
    }
    for (number, case) in vectors.refused.iter().enumerate() {
        let refused = check_chunk_index(&case.bytes.0, vectors.payload_size_of(case), |_| {});
        let error = format!("{:?}", refused.unwrap_err());
        assert_eq!(error, case.error, "index {number}");
    }
}

impl Vectors {
    /// Cases that are about another payload say their size themselves.
    fn payload_size_of(&self, case: &Refused) -> u64 {
        match (case.error.as_str(), case.bytes.0.get(18..26)) {
            ("OtherPayload", _) | (_, None) => self.payload_size,
            (_, Some(size)) => u64::from_be_bytes(size.try_into().unwrap()),
        }
    }
}

#[test]
fn the_largest_index_is_within_its_bound() {
    let size = ChunkIndexHead::index_size(CHUNKS_MAX);
    assert!(
        size <= kusabi_core::release::CHUNK_INDEX_BYTES_MAX,
        "{size}"
    );
}

#[test]
fn after_the_last_record_nothing_is_read() {
    let vectors: Vectors = read("chunks.json");
    let case = &vectors.indexes[0];
    let (head, rest) = case.index.0.split_first_chunk().unwrap();
    let size = case.payload.0.len() as u64;
    let head = ChunkIndexHead::decode(head, case.index.0.len() as u64, size).unwrap();
    let mut walk = head.walk();
    let record = rest.first_chunk().unwrap();
    assert_eq!(head.walk().finish(), Err(ChunkIndexError::Short));
    walk.next(record).unwrap();
    assert_eq!(walk.next(record), Err(ChunkIndexError::Trailing));
    assert_eq!(walk.finish(), Ok(()));
}

/// A payload's chunks: what each is filled with, and how large it is.
fn pieces() -> impl Strategy<Value = Vec<(u8, usize)>> {
    prop::collection::vec((0..6u8, 4096..=8192usize), 1..20)
}

fn made(pieces: &[(u8, usize)]) -> (Vec<u8>, u64) {
    let sizes = CutSizes::new(4096, 8192, 8192).unwrap();
    let mut draft = ChunkIndexDraft::new(sizes);
    let mut size = 0;
    for (fill, length) in pieces {
        let plain = vec![*fill; *length];
        let compressed = vec![fill ^ 0x80; 1 + length / 9];
        size += *length as u64;
        let digest = Digest::of(&plain);
        if !draft.repeat(&digest) {
            draft.put(digest, &plain, &compressed);
        }
    }
    (draft.finish().unwrap().0, size)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_made_is_read_and_a_changed_byte_keeps_the_bounds(
        pieces in pieces(), at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let (mut bytes, size) = made(&pieces);
        let mut chunks = Vec::new();
        let head = check_chunk_index(&bytes, size, |chunk| chunks.push(*chunk)).unwrap();
        prop_assert_eq!(chunks.len(), pieces.len());
        prop_assert_eq!(&encode(&head, &chunks), &bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let mut chunks = Vec::new();
        if let Ok(head) = check_chunk_index(&bytes, size, |chunk| chunks.push(*chunk)) {
            prop_assert_eq!(&encode(&head, &chunks), &bytes);
            prop_assert_eq!(chunks.iter().map(|chunk| u64::from(chunk.size)).sum::<u64>(), size);
            let pack = head.pack().size();
            prop_assert!(chunks.iter().all(|chunk| chunk.stored_end() <= pack && chunk.stored_size <= chunk.size));
            prop_assert_eq!(chunks.iter().map(Chunk::stored_end).max(), Some(pack));
        }
    }

    #[test]
    fn a_beginning_is_none(pieces in pieces(), at in any::<prop::sample::Index>()) {
        let (bytes, size) = made(&pieces);
        let cut = at.index(bytes.len());
        let refused = check_chunk_index(&bytes[..cut], size, |_| ());
        prop_assert!(refused.is_err(), "{refused:?}");
        // Nor is it one when it says that it is shorter.
        let count = cut.saturating_sub(CHUNK_INDEX_HEAD_BYTES) / CHUNK_RECORD_BYTES;
        let mut short = bytes[..CHUNK_INDEX_HEAD_BYTES + count * CHUNK_RECORD_BYTES].to_vec();
        short[14..18].copy_from_slice(&(count as u32).to_be_bytes());
        let refused = check_chunk_index(&short, size, |_| ());
        prop_assert!(refused.is_err(), "{refused:?}");
    }
}
