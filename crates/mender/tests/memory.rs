//! Memory, while artifacts come that are larger than it may become. One test in a process of its own: what is looked at is the
//! most that the process ever had.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::{
    fs,
    io::{self, Read, Write as _},
};

use kusabi_mender::{
    ArtifactError, Compression, Limits,
    testing::{self, Parts, header},
};
use sha2::{Digest as _, Sha256};

/// What a payload file has, all of it zeros.
const FILE_BYTES: u64 = 256 << 20;
/// Buffers, and what tables the decoders of gzip and zstd have.
const GROWTH_MAX: u64 = 6 << 20;

/// The most memory that the process has had, in bytes (proc_pid_status(5)).
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// A payload's tar without its file's bytes: what is before and behind them.
fn around() -> ([u8; 512], [u8; 1024]) {
    (header("app.bin", b'0', FILE_BYTES), [0; 1024])
}

/// The artifact as far as its payload's member, whose header says this size.
fn before(compression: Compression, member_bytes: u64) -> Vec<u8> {
    let mut parts = Parts::new("app-1", b"");
    parts.compression = compression;
    let mut hasher = Sha256::new();
    for _ in 0..FILE_BYTES >> 20 {
        hasher.update(vec![0; 1 << 20]);
    }
    let mut digest = String::new();
    for byte in hasher.finalize() {
        digest += &format!("{byte:02x}");
    }
    let manifest = String::from_utf8(parts.manifest()).unwrap();
    let (_, rest) = manifest.split_at(64);
    let mut members = parts.members_under(format!("{digest}{rest}").as_bytes(), Some(1));
    let (name, _) = members.pop().unwrap();
    let mut bytes = testing::tar(&members);
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(header(&name, b'0', member_bytes));
    bytes
}

fn whole(compression: Compression, member: &[u8]) -> Vec<u8> {
    let mut bytes = before(compression, member.len() as u64);
    bytes.extend(member);
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

/// The payload's tar, in gzip.
fn gzip() -> Vec<u8> {
    let (head, end) = around();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&head).unwrap();
    io::copy(&mut io::repeat(0).take(FILE_BYTES), &mut encoder).unwrap();
    encoder.write_all(&end).unwrap();
    encoder.finish().unwrap()
}

/// The payload's tar in xz, with a dictionary of 64 MiB, as `xz -9` and mender-artifact have it: the level of the encoder is the
/// lowest, and the block's header says the size in its place (The .xz File Format, 5.3.1), under its own sum.
fn xz() -> Vec<u8> {
    let (head, end) = around();
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(&head).unwrap();
    io::copy(&mut io::repeat(0).take(FILE_BYTES), &mut encoder).unwrap();
    encoder.write_all(&end).unwrap();
    let mut stream = encoder.finish().unwrap();
    assert_eq!(&stream[12..16], &[2, 0, 0x21, 1]);
    stream[16] = 28;
    let mut crc = flate2::Crc::new();
    crc.update(&stream[12..20]);
    stream[20..24].copy_from_slice(&crc.sum().to_le_bytes());
    stream
}

/// The payload's tar in zstd, by hand: a block for the head, and blocks that repeat one byte; with a window of 2 to the `log`.
fn zstd(log: u8) -> Vec<u8> {
    const BLOCK: u64 = 128 << 10;
    let (head, end) = around();
    let mut stream = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3];
    let mut block = |kind: u32, size: u32, content: &[u8]| {
        stream.extend(&(size << 3 | kind).to_le_bytes()[..3]);
        stream.extend(content);
    };
    block(0, 512, &head);
    for _ in 0..FILE_BYTES / BLOCK {
        block(0b010, BLOCK as u32, &[0]);
    }
    block(1, 1024, &end);
    stream
}

/// An artifact with as many payloads as there may be, each with meta-data as long as it may be, of objects with one key.
fn many_values() -> Vec<u8> {
    let limits = Limits::default();
    let mut parts = Parts::new("app-1", b"");
    let payloads = vec![r#"{"type":"single-file"}"#; limits.payloads].join(",");
    let info = format!(
        r#"{{"payloads":[{payloads}],"artifact_provides":{{"artifact_name":"app-1"}},"artifact_depends":{{"device_type":["board"]}}}}"#
    );
    parts.header = vec![(String::from("header-info"), info.into_bytes())];
    let objects = vec![r#"{"a":0}"#; (limits.json_bytes as usize - 8) / 8].join(",");
    let meta_data = format!(r#"{{"a":[{objects}]}}"#);
    for number in 0..limits.payloads {
        let folder = format!("headers/{number:04}");
        let type_info = br#"{"type":"single-file"}"#.to_vec();
        parts
            .header
            .push((format!("{folder}/type-info"), type_info));
        let meta_data = meta_data.clone().into_bytes();
        parts
            .header
            .push((format!("{folder}/meta-data"), meta_data));
    }
    parts.payloads.resize(limits.payloads, Vec::new());
    parts.signed(1)
}

/// Reads it; by how many bytes the most memory that the process had meanwhile is above what it had before.
fn growth(input: impl Read) -> (Result<u64, ArtifactError>, u64) {
    // From here on the peak is counted anew (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let read = kusabi_mender::read(input, &Limits::default(), &mut ());
    let size = read.map(|artifact| artifact.payloads()[0].files[0].size);
    (size, peak() - before)
}

#[test]
fn memory_stays_flat_whatever_a_stream_becomes() {
    let mut seen = Vec::new();
    let member = 512 + FILE_BYTES + 1024;
    let (head, end) = around();
    let plain = io::Cursor::new([before(Compression::None, member), head.to_vec()].concat())
        .chain(io::repeat(0).take(FILE_BYTES))
        .chain(io::Cursor::new([&end[..], &end].concat()));
    seen.push(("none", growth(plain), GROWTH_MAX));
    let bytes = whole(Compression::Gzip, &gzip());
    seen.push(("gzip", growth(&bytes[..]), GROWTH_MAX));
    let bytes = whole(Compression::Zstd, &zstd(20));
    seen.push(("zstd", growth(&bytes[..]), GROWTH_MAX));
    let bytes = whole(Compression::Zstd, &zstd(25));
    let window = 1 << Limits::default().zstd_window_log;
    seen.push((
        "zstd with the largest window",
        growth(&bytes[..]),
        window + GROWTH_MAX,
    ));
    let bytes = whole(Compression::Xz, &xz());
    let dictionary = Limits::default().xz_memory_bytes;
    seen.push(("xz", growth(&bytes[..]), dictionary + GROWTH_MAX));
    for (name, (size, growth), max) in seen {
        println!("{name}: {growth} bytes more");
        assert_eq!(size.unwrap(), FILE_BYTES, "{name}");
        assert!(growth <= max, "{name}: {growth} bytes more");
    }

    // Of one that asks for more nothing is taken, and no memory.
    let bytes = whole(Compression::Zstd, &zstd(31));
    let (refused, more) = growth(&bytes[..]);
    assert!(
        matches!(refused, Err(ArtifactError::Window { .. })),
        "{refused:?}"
    );
    assert!(more <= GROWTH_MAX, "{more} bytes more");

    // A header of 4 MiB, and some KiB on the wire, whose values would be half a GiB.
    let bytes = many_values();
    assert!(bytes.len() < 64 << 10, "{} bytes", bytes.len());
    let (refused, more) = growth(&bytes[..]);
    println!("many values: {more} bytes more");
    match refused {
        Err(ArtifactError::Json { why, .. }) => assert!(why.contains("more than 4096 values")),
        other => panic!("{other:?}"),
    }
    assert!(more <= GROWTH_MAX, "{more} bytes more");
}
