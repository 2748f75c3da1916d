//! Streams that would become more than anybody has room for. How much memory they take is seen in `tests/memory.rs`.

use kusabi_mender::{
    ArtifactError, Compression, Limits,
    testing::{self, Parts, header},
};

use crate::{SEED, read};

fn with_payload(compression: Compression, stream: Vec<u8>) -> Vec<u8> {
    let mut parts = Parts::new("app-1", b"one");
    parts.compression = compression;
    let mut members = parts.members(Some(SEED));
    members[4].1 = stream;
    testing::tar(&members)
}

#[test]
fn a_size_above_the_bound_is_refused_before_a_byte_of_it_is_made() {
    let mut limits = Limits::default();
    limits.file_bytes = 1 << 20;
    for compression in Compression::ALL {
        // 8 GiB less a byte, says the header; nothing of it is there.
        let tar = header("app.bin", b'0', (8 << 30) - 1);
        let bytes = with_payload(compression, testing::compress(compression, &tar));
        let why = kusabi_mender::read(&bytes[..], &limits, &mut ()).unwrap_err();
        assert!(
            matches!(why, ArtifactError::TooMany { max: 0x10_0000, .. }),
            "{why}"
        );
    }
}

#[test]
fn what_comes_behind_the_end_is_not_waited_for() {
    let mut tar = testing::tar(&Parts::new("app-1", b"one").payloads[0]);
    tar.resize(tar.len() + (64 << 20), 0);
    for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
        let why = read(&with_payload(
            compression,
            testing::compress(compression, &tar),
        ))
        .unwrap_err();
        assert!(matches!(why, ArtifactError::Trailing { .. }), "{why}");
    }
}

#[test]
fn an_xz_dictionary_above_the_bound_is_refused() {
    let tar = testing::tar(&Parts::new("app-1", b"one").payloads[0]);
    let mut stream = testing::compress(Compression::Xz, &tar);
    // After the stream's header of 12 bytes the block's: its size, flags, LZMA2, one byte of properties, the dictionary.
    assert_eq!(&stream[12..16], &[2, 0, 0x21, 1]);
    for (dictionary, fits) in [(28, true), (29, false), (40, false)] {
        stream[16] = dictionary;
        let mut crc = flate2::Crc::new();
        crc.update(&stream[12..20]);
        stream[20..24].copy_from_slice(&crc.sum().to_le_bytes());
        match read(&with_payload(Compression::Xz, stream.clone())) {
            Ok(_) => assert!(fits, "{dictionary}"),
            Err(why) => assert!(
                !fits && matches!(why, ArtifactError::Window { .. }),
                "{dictionary}: {why}"
            ),
        }
    }
}

#[test]
fn a_zstd_window_above_the_bound_is_refused() {
    let tar = testing::tar(&Parts::new("app-1", b"one").payloads[0]);
    for (log, fits) in [
        (20, true),
        (25, true),
        (26, false),
        (31, false),
        (41, false),
    ] {
        // RFC 8878: magic, a descriptor without anything, the window, and one block as it is.
        let mut stream = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3];
        let block = (tar.len() as u32) << 3 | 1;
        stream.extend(&block.to_le_bytes()[..3]);
        stream.extend(&tar);
        match read(&with_payload(Compression::Zstd, stream)) {
            Ok(_) => assert!(fits, "{log}"),
            Err(why) => assert!(
                !fits && matches!(why, ArtifactError::Window { .. }),
                "{log}: {why}"
            ),
        }
    }
}

#[test]
fn a_gzip_header_with_an_endless_name_is_refused() {
    let mut stream = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255];
    stream.resize(1 << 20, b'n');
    let why = read(&with_payload(Compression::Gzip, stream)).unwrap_err();
    assert!(matches!(why, ArtifactError::Compressed { .. }), "{why}");
}

#[test]
fn frames_that_hold_nothing_are_no_payload() {
    // Skippable frames of zstd, and an empty one; an empty member of gzip.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18][..], &4_u32.to_le_bytes(), &[0; 4]].concat();
    let tar = testing::tar(&Parts::new("app-1", b"one").payloads[0]);
    for (compression, before) in [
        (Compression::Zstd, skippable),
        (Compression::Zstd, testing::compress(Compression::Zstd, b"")),
        (Compression::Gzip, testing::compress(Compression::Gzip, b"")),
        (Compression::Xz, testing::compress(Compression::Xz, b"")),
    ] {
        let stream = [before, testing::compress(compression, &tar)].concat();
        read(&with_payload(compression, stream)).unwrap_err();
    }
}
