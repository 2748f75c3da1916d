//! Updates by chunks: what comes over the wire, what is on the device already, and what happens when either is not what it should be.

use kusabi_core::release::{Chunk, ChunkIndexHead, Content, CutSizes, check_chunk_index};

use super::*;

/// Bytes without a pattern that begin with "good", the same for the same seed.
pub(super) fn image(seed: u64, size: usize) -> Vec<u8> {
    let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = b"good".to_vec();
    while bytes.len() < size {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.world().cuts = CutSizes::new(4096, 8192, 32_768).ok();
    bench
}

impl Bench {
    /// Brings the device to a release of this image; gives the order's outcome and how many bytes of payloads, indexes and packs came over the wire.
    fn update(&mut self, version: &str, image: &[u8]) -> (Option<OutcomeCode>, u64) {
        let mut world = self.world();
        let release = world.release_of(version, 0, "raw", image.to_vec());
        let order = world.order(OrderTask::Update(release));
        drop(world);
        let before = self.sent();
        self.reach(&|world| world.outcome(order).is_some());
        let outcome = self.world().outcome(order);
        (outcome, self.sent() - before)
    }

    fn sent(&self) -> u64 {
        self.wire.sent.load(Ordering::SeqCst)
    }

    /// What runs.
    fn system(&self) -> Vec<u8> {
        let slot = Path::new("/slots").join(&*self.machine.running.borrow());
        self.machine.disk.tree(&slot)[Path::new("system")].clone()
    }

    /// Changes the bytes under which the world keeps the contents that `is_it` knows.
    fn change(&self, is_it: impl Fn(&[u8]) -> bool, change: impl Fn(&mut Vec<u8>)) {
        let mut found = 0;
        for bytes in self.world().payloads.values_mut() {
            if is_it(bytes) {
                change(bytes);
                found += 1;
            }
        }
        assert_eq!(found, 1);
    }
}

/// Whether bytes are the index of a payload of this size.
fn is_index(size: usize) -> impl Fn(&[u8]) -> bool {
    move |bytes| check_chunk_index(bytes, size as u64, |_| {}).is_ok()
}

#[test]
fn a_second_version_costs_what_changed() {
    let mut bench = bench();
    let old = image(1, 4 << 20);
    assert_eq!(bench.update("1", &old).0, Some(OutcomeCode::Done));
    // A twentieth in place, and everything behind it moved.
    let mut new = old.clone();
    new[1_400_000..1_600_000].copy_from_slice(&image(2, 200_000));
    new.splice(3_000_000..3_000_000, image(3, 5_000));
    let (outcome, sent) = bench.update("2", &new);
    assert_eq!(outcome, Some(OutcomeCode::Done), "{}", bench.said());
    assert_eq!(bench.system(), new);
    assert!(sent > 200_000, "{sent}");
    assert!(
        sent * 100 <= new.len() as u64 * 8,
        "{sent} of {}",
        new.len()
    );
    // Going back costs no more.
    let (outcome, sent) = bench.update("3", &old);
    assert_eq!(outcome, Some(OutcomeCode::Done));
    assert!(sent * 100 <= new.len() as u64 * 8, "{sent}");
    bench.check("after three versions");
}

#[test]
fn what_repeats_or_shrinks_comes_once_and_small() {
    let mut bench = bench();
    let mut new = image(1, 200_000);
    new.extend_from_slice(&image(1, 200_000));
    new.extend_from_slice(&vec![7; 600_000]);
    let (outcome, sent) = bench.update("1", &new);
    assert_eq!(outcome, Some(OutcomeCode::Done), "{}", bench.said());
    assert_eq!(bench.system(), new);
    assert!(sent < 260_000, "{sent}");
}

#[test]
fn without_index_or_pack_or_with_other_bytes_it_comes_whole() {
    let size = 300_000;
    let wrong = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let is_pack = |bytes: &[u8]| bytes.len() > 100_000 && bytes.len() < 299_000;
    for case in 0..4 {
        let mut bench = bench();
        // Half of it shrinks, so that the pack is smaller than the payload.
        let mut new = image(1, size / 2);
        new.extend_from_slice(&vec![1; size / 2]);
        let mut world = bench.world();
        let release = world.release_of("1", 0, "raw", new.clone());
        let order = world.order(OrderTask::Update(release));
        match case {
            0 => world.payloads.retain(|_, bytes| !is_index(size)(bytes)),
            1 => world.payloads.retain(|_, bytes| !is_pack(bytes)),
            _ => {}
        }
        drop(world);
        match case {
            2 => bench.change(is_index(size), wrong),
            3 => bench.change(is_pack, wrong),
            _ => {}
        }
        bench.reach(&|world| world.outcome(order).is_some());
        let outcome = bench.world().outcome(order);
        assert_eq!(outcome, Some(OutcomeCode::Done), "{case}: {}", bench.said());
        assert_eq!(bench.system(), new, "{case}");
        let lines = bench.lines.lock().unwrap();
        let said = lines.iter().any(|line| line.contains("fetched whole"));
        assert!(said, "{case}: {lines:#?}");
    }
}

#[test]
fn a_signed_index_that_leads_astray_is_followed_once() {
    let mut bench = bench();
    let new = image(1, 300_000);
    let other = image(2, 300_000);
    let mut world = bench.world();
    // What devices are told to be the index of one is that of another.
    world.index_of = Some(other);
    let release = world.release_of("1", 0, "raw", new.clone());
    let order = world.order(OrderTask::Update(release));
    drop(world);
    bench.reach(&|world| world.outcome(order).is_some());
    let outcome = bench.world().outcome(order);
    assert_eq!(outcome, Some(OutcomeCode::Done), "{}", bench.said());
    assert_eq!(bench.system(), new);
    let sent = bench.sent();
    assert!(sent < 650_000, "{sent}");
}

#[test]
fn what_came_before_the_line_broke_does_not_come_again() {
    let mut bench = bench();
    bench.reach(&polled);
    let new = image(1, 400_000);
    *bench.wire.breaks.lock().unwrap() = Some(3_000);
    let (outcome, sent) = bench.update("1", &new);
    assert_eq!(outcome, Some(OutcomeCode::Done), "{}", bench.said());
    // The index was what broke off; next, the pack, in the middle of a chunk, and the power with it.
    assert!(sent < 406_000, "{sent}");
    let newer = image(2, 400_000);
    let release = bench.world().release_of("2", 0, "raw", newer.clone());
    let order = bench.world().order(OrderTask::Update(release));
    let before = bench.sent();
    bench
        .wire
        .stops_after
        .store(before + 200_000, Ordering::SeqCst);
    let seen = std::cell::Cell::new(0);
    let wire = Arc::clone(&bench.wire);
    // Some rounds without a server; then the machine starts anew.
    let ended = bench.life(&|_| {
        seen.set(seen.get() + usize::from(wire.sent.load(Ordering::SeqCst) >= before + 200_000));
        seen.get() > 2
    });
    assert_eq!(ended, End::Goal);
    bench.restart();
    bench.wire.stops_after.store(u64::MAX, Ordering::SeqCst);
    bench.reach(&|world| world.outcome(order).is_some());
    assert_eq!(bench.system(), newer, "{}", bench.said());
    let sent = bench.sent() - before;
    // One chunk, a manifest and proofs, and nothing else twice.
    assert!(sent < 400_000 + 6_000 + 32_768, "{sent}");
}

#[test]
fn what_a_power_cut_spoilt_is_fetched_again_and_no_more() {
    let mut bench = bench();
    bench.reach(&polled);
    let new = image(1, 400_000);
    let release = bench.world().release_of("1", 0, "raw", new.clone());
    let order = bench.world().order(OrderTask::Update(release));
    bench.wire.stops_after.store(300_000, Ordering::SeqCst);
    let wire = Arc::clone(&bench.wire);
    let ended = bench.life(&|_| wire.sent.load(Ordering::SeqCst) >= 300_000);
    assert_eq!(ended, End::Goal);
    bench.restart();
    let part = format!("/state/staging/{}.part", Digest::of(&new));
    bench.machine.disk.spoil(Path::new(&part), |bytes| {
        let (middle, end) = (bytes.len() / 2, bytes.len());
        bytes[middle] ^= 1;
        bytes[end - 100..].fill(0);
    });
    bench.wire.stops_after.store(u64::MAX, Ordering::SeqCst);
    bench.reach(&|world| world.outcome(order).is_some());
    let outcome = bench.world().outcome(order);
    assert_eq!(outcome, Some(OutcomeCode::Done), "{}", bench.said());
    assert_eq!(bench.system(), new);
    let sent = bench.sent();
    // The chunk in the middle, those at the end, and one that was on its way.
    assert!(sent < 400_000 + 6_000 + 4 * 32_768, "{sent}");
    let staging = Path::new("/state/staging");
    assert_eq!(bench.machine.disk.list(staging).unwrap().len(), 0);
}

#[test]
fn an_update_by_chunks_over_a_power_cut_before_every_operation() {
    let old = image(1, 40_000);
    let mut new = old.clone();
    new[10_000..14_000].copy_from_slice(&image(2, 4_000));
    let first = |bench: &mut Bench| {
        let (outcome, _) = bench.update("1", &old);
        assert_eq!(outcome, Some(OutcomeCode::Done));
        let release = bench.world().release_of("2", 0, "raw", new.clone());
        (release, bench.world().order(OrderTask::Update(release)))
    };
    let mut calm = bench();
    let (release, order) = first(&mut calm);
    let (begun, sent) = (calm.machine.disk.operations(), calm.sent());
    calm.reach(&|world| world.outcome(order).is_some());
    assert_eq!(calm.running(), Some(release));
    assert!(calm.sent() - sent < 30_000, "{}", calm.sent() - sent);
    let operations = calm.machine.disk.operations() - begun;
    assert!(operations > 40, "{operations}");

    // What was not synced is kept, lost, or kept in part, in turn.
    for cut in 0..operations {
        let what = format!("cut before operation {cut}");
        let mut bench = bench();
        let (release, order) = first(&mut bench);
        bench.machine.disk.cut_after(cut);
        loop {
            match bench.life(&|world| world.outcome(order).is_some()) {
                End::Goal => break,
                End::Down => bench.restart(),
                End::Cut => bench.boot(cut as u64),
            }
        }
        bench.machine.disk.boot(0);
        assert_eq!(bench.running(), Some(release), "{what}\n{}", bench.said());
        let outcome = bench.world().outcome(order);
        assert_eq!(outcome, Some(OutcomeCode::Done), "{what}");
        assert_eq!(bench.system(), new, "{what}");
        bench.check(&what);
    }
}

#[test]
fn seeds_that_leave_no_room_make_place() {
    let mut bench = bench();
    bench.reach(&polled);
    // What another release left takes the room that this one needs.
    let seed = Path::new("/state/staging/0000.seed");
    write(&bench.machine.disk, seed, &image(5, 100_000), 0o600);
    let new = image(1, 200_000);
    bench.machine.disk.free(Some(60_000));
    let disk = bench.machine.disk.clone();
    bench.wire.when_seed_gone(disk, seed);
    let (outcome, _) = bench.update("1", &new);
    assert_eq!(outcome, Some(OutcomeCode::Done), "{}", bench.said());
    assert_eq!(bench.system(), new);
}

/// What an index may name, and nothing may unpack.
#[test]
fn bombs_do_not_unpack() {
    use super::super::fetch::Unpacker;
    let frame = |header: &[u8], blocks: &[u8]| [b"\x28\xb5\x2f\xfd", header, blocks].concat();
    // One block of a repeated byte, the last.
    let block = |size: u32| {
        let bytes = (size << 3 | 0b011).to_le_bytes();
        [bytes[0], bytes[1], bytes[2], 0]
    };
    let size = 8192u32;
    let single = |size: u32| [&[0xa0][..], &size.to_le_bytes()].concat();
    let zeros = vec![0; size as usize];
    let good = frame(&single(size), &block(size));
    let larger = frame(&single(1 << 17), &block(1 << 17));
    let more = [
        [0, 0, 16, 0].map(|byte: u8| byte | 2).to_vec(),
        block(size).to_vec(),
    ]
    .concat();
    for (what, stored, unpacks) in [
        ("as it should be", good.clone(), true),
        ("more than its size", larger, false),
        ("less", frame(&single(4096), &block(4096)), false),
        ("a block too many", frame(&single(size), &more), false),
        (
            "a window of 2 GiB",
            frame(&[0x80, 0xa8, 0, 0x20, 0, 0], &block(size)),
            false,
        ),
        (
            "a dictionary",
            frame(&[0xa1, 7, 0, 32, 0, 0], &block(size)),
            false,
        ),
        ("two frames", [good.clone(), good.clone()].concat(), false),
        (
            "a frame and its beginning",
            [&good[..], &good[..9]].concat(),
            false,
        ),
        ("nothing", vec![1], false),
        ("cut short", good[..good.len() - 1].to_vec(), false),
    ] {
        let chunk = Chunk {
            start: 0,
            size,
            digest: Digest::of(&zeros),
            offset: 0,
            stored_size: stored.len() as u32,
            stored_digest: Digest::of(&stored),
        };
        let unpacked = Unpacker::default().unpack(&chunk, &stored).is_some();
        assert_eq!(unpacked, unpacks, "{what}");
    }
}

/// The oracle's packs give its payloads.
#[test]
fn the_vectors_unpack() {
    use super::super::fetch::Unpacker;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/chunks.json");
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in all["indexes"].as_array().unwrap() {
        let bytes = |name: &str| {
            let text = case[name].as_str().unwrap();
            let pairs = (0..text.len()).step_by(2);
            let bytes = pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap());
            bytes.collect::<Vec<u8>>()
        };
        let (index, payload, pack) = (bytes("index"), bytes("payload"), bytes("pack"));
        let mut unpacker = Unpacker::default();
        let mut again = Vec::new();
        let head: ChunkIndexHead = check_chunk_index(&index, payload.len() as u64, |chunk| {
            let stored = &pack[chunk.offset as usize..chunk.stored_end() as usize];
            again.extend_from_slice(unpacker.unpack(chunk, stored).unwrap());
        })
        .unwrap();
        assert_eq!(again, payload);
        let content = Content::new(pack.len() as u64, Digest::of(&pack)).unwrap();
        assert_eq!(head.pack(), &content);
    }
}
