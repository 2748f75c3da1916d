//! What a second version costs: bytes on the wire as a share of the payload, for images that change in different ways, and how fast they
//! are packed and looked through.
//!
//! `cargo run --release -p kusabi-chunks --example delta [MiB] [AVERAGE KiB]`

use std::collections::BTreeSet;
use std::time::Instant;

use kusabi_chunks::{cut, pack, sizes};
use kusabi_core::id::Digest;
use kusabi_core::release::{Chunk, CutSizes, check_chunk_index};

/// xorshift: the same images each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Bytes that do not shrink.
    fn noise(&mut self, size: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.roll().to_le_bytes());
        words.take(size / 8 + 1).flatten().take(size).collect()
    }
}

fn packed(payload: &[u8], sizes: &CutSizes) -> (u64, Vec<Chunk>) {
    let (index, _) = pack(payload, sizes, std::io::sink(), |_| {}).expect("memory");
    let mut chunks = Vec::new();
    check_chunk_index(&index, payload.len() as u64, |chunk| chunks.push(*chunk)).expect("an index");
    (index.len() as u64, chunks)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|text| text.parse::<usize>().ok());
    let mib = number().unwrap_or(64);
    let size = mib << 20;
    let cuts = match number() {
        Some(kib) => CutSizes::new(kib as u32 * 256, (kib as u32) << 10, (kib as u32) << 12).ok(),
        None => sizes(size as u64),
    };
    let cuts = cuts.expect("sizes of chunks, for 1 MiB to 16 GiB");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let old = dice.noise(size);

    let began = Instant::now();
    let (index, chunks) = packed(&old, &cuts);
    let took = began.elapsed().as_secs_f64();
    let average = size / chunks.len() / 1024;
    println!(
        "{mib} MiB that do not shrink: {} chunks, {average} KiB on average",
        chunks.len()
    );
    println!(
        "packed at {:.0} MiB/s; index {:.2} % of it",
        mib as f64 / took,
        share(index, size)
    );
    let began = Instant::now();
    let seen: BTreeSet<Digest> = cut(old.as_slice(), &cuts)
        .map(|chunk| Digest::of(&chunk.expect("memory")))
        .collect();
    let took = began.elapsed().as_secs_f64();
    println!("looked through as a seed at {:.0} MiB/s", mib as f64 / took);

    println!("5 % changed, in pieces of      in place    inserted   requests");
    for piece in [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 3 << 20] {
        let pieces = (size / 20 / piece).max(1);
        let mut in_place = old.clone();
        let mut inserted = Vec::with_capacity(size + size / 20);
        let stride = size / pieces;
        for number in 0..pieces {
            let room = stride.saturating_sub(piece).max(1);
            let at = number * stride + dice.roll() as usize % room;
            let new = dice.noise(piece);
            let end = (at + piece).min(size);
            in_place[at..end].copy_from_slice(&new[..end - at]);
            inserted.extend_from_slice(&old[number * stride..at]);
            inserted.extend_from_slice(&new);
            inserted.extend_from_slice(&old[at..(number + 1) * stride]);
        }
        let cost = |new: &[u8]| {
            let (index, chunks) = packed(new, &cuts);
            let missing = chunks.iter().filter(|chunk| !seen.contains(&chunk.digest));
            let (mut end, mut bytes, mut requests) = (u64::MAX, index, 1);
            for chunk in missing {
                bytes += u64::from(chunk.stored_size);
                requests += usize::from(chunk.offset != end);
                end = chunk.stored_end();
            }
            (share(bytes, new.len()), requests)
        };
        let (place, requests) = cost(&in_place);
        let (insert, _) = cost(&inserted);
        println!(
            "{:>8} KiB × {pieces:<6}     {place:>9.2} %  {insert:>9.2} %  {requests:>8}",
            piece >> 10
        );
    }
}

fn share(part: u64, whole: usize) -> f64 {
    part as f64 * 100.0 / whole as f64
}
