//! Chunk indexes: one encoding, sums that are right, and places that lie in the pack.
#![no_main]

use kusabi_core::release::{Chunk, check_chunk_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The size of the payload that the index says itself, so that more than the head is reached.
    let Some(size) = bytes.get(18..26) else {
        return;
    };
    let size = u64::from_be_bytes(size.try_into().unwrap());
    let mut chunks = Vec::new();
    let Ok(head) = check_chunk_index(bytes, size, |chunk| chunks.push(*chunk)) else {
        return;
    };
    let mut again = head.encode().to_vec();
    again.extend(chunks.iter().flat_map(Chunk::encode));
    assert_eq!(again, bytes);
    let (mut start, mut packed) = (0, 0);
    for chunk in &chunks {
        assert_eq!(chunk.start, start);
        assert!(chunk.size <= head.sizes().maximum() && chunk.stored_size <= chunk.size);
        assert!(chunk.offset == packed || chunk.stored_end() <= packed);
        (start, packed) = (chunk.end(), packed.max(chunk.stored_end()));
    }
    assert_eq!((start, packed), (size, head.pack().size()));
});
