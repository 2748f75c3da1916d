//! Tars and compressed streams that are not as the tools write them.

use std::io::{self, Read};

use kusabi_mender::{
    ArtifactError, Compression, Limits, TarFault,
    testing::{self, Parts, entry, header, put, record, sum},
};

use crate::{SEED, keys, read};

/// A signed artifact whose payload is this tar.
fn with_payload(compression: Compression, tar: &[u8]) -> Vec<u8> {
    with_stream(compression, testing::compress(compression, tar))
}

fn with_stream(compression: Compression, stream: Vec<u8>) -> Vec<u8> {
    let mut parts = Parts::new("app-1", b"one");
    parts.compression = compression;
    let mut members = parts.members(Some(SEED));
    members[4].1 = stream;
    testing::tar(&members)
}

fn payload() -> Vec<u8> {
    testing::tar(&Parts::new("app-1", b"one").payloads[0])
}

fn fault(bytes: &[u8]) -> TarFault {
    match read(bytes).unwrap_err() {
        ArtifactError::Tar { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

/// The payload's tar with its header changed.
fn changed(change: impl Fn(&mut [u8; 512])) -> Vec<u8> {
    let mut block = header("app.bin", b'0', 3);
    change(&mut block);
    let mut tar = block.to_vec();
    tar.extend(&payload()[512..]);
    with_payload(Compression::None, &tar)
}

#[test]
fn links_devices_and_folders_are_refused() {
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'S', b'D', 0] {
        let bytes = changed(|block| {
            block[156] = kind;
            sum(block);
        });
        assert_eq!(fault(&bytes), TarFault::Kind, "{kind}");
    }
    let linked = changed(|block| {
        put(block, 157, b"/etc/passwd");
        sum(block);
    });
    assert_eq!(fault(&linked), TarFault::Kind);
}

#[test]
fn a_header_is_ustar_and_nothing_else() {
    read(&changed(|_| ())).unwrap().verify(&keys()).unwrap();
    assert_eq!(fault(&changed(|block| block[0] ^= 1)), TarFault::Sum);
    for (at, bytes, expected) in [
        (257, &b"ustar  \0"[..], TarFault::Ustar),
        (257, &[0; 8], TarFault::Ustar),
        // Base 256, a sign, digits that octal does not have, more behind the digits.
        (
            124,
            &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            TarFault::Number,
        ),
        (124, b"-0000000003\0", TarFault::Number),
        (124, b"00000000008\0", TarFault::Number),
        (124, b"0000003\x004444", TarFault::Number),
        (124, b"           3", TarFault::Number),
        (136, &[0xff; 12], TarFault::Number),
        (108, &[0x80, 0, 0, 0, 0, 0, 0, 1], TarFault::Number),
        (0, &[0; 7], TarFault::Name),
        (0, b"app\0bin", TarFault::Name),
        (0, b"app\xffbin", TarFault::Name),
        (345, b"a\0b", TarFault::Name),
    ] {
        let bytes = changed(|block| {
            put(block, at, bytes);
            sum(block);
        });
        assert_eq!(fault(&bytes), expected, "{at} {bytes:?}");
    }
    let prefixed = changed(|block| {
        put(block, 345, b"..");
        sum(block);
    });
    let why = read(&prefixed).unwrap_err();
    assert!(matches!(why, ArtifactError::FileName { .. }), "{why}");
}

#[test]
fn sizes_that_lie_are_refused() {
    for size in [0_u64, 1, 2, 4, 512, 513, 1024, 4096, 0o77_777_777_777] {
        let bytes = changed(|block| {
            put(block, 124, format!("{size:011o}").as_bytes());
            sum(block);
        });
        read(&bytes).unwrap_err();
    }
}

#[test]
fn padding_is_zeros_and_the_end_is_two_blocks_of_them() {
    let whole = payload();
    assert_eq!(whole.len(), 512 * 4);
    for at in 512 + 3..1024 {
        let mut tar = whole.clone();
        tar[at] = 1;
        assert_eq!(
            fault(&with_payload(Compression::None, &tar)),
            TarFault::Padding
        );
    }
    for compression in Compression::ALL {
        for length in (0..whole.len()).step_by(64) {
            let why = read(&with_payload(compression, &whole[..length])).unwrap_err();
            let cut = TarFault::Cut;
            assert!(
                matches!(&why, ArtifactError::Tar { fault, .. } if *fault == cut)
                    || matches!(why, ArtifactError::Compressed { .. }),
                "{compression:?} {length}: {why}"
            );
        }
        for behind in [&[0][..], &[0; 512], b"x"] {
            let why = read(&with_payload(compression, &[&whole, behind].concat())).unwrap_err();
            assert!(
                matches!(why, ArtifactError::Trailing { .. }),
                "{compression:?}: {why}"
            );
        }
        // Behind the compressed stream; a second stream, too.
        if compression != Compression::None {
            let stream = testing::compress(compression, &whole);
            for behind in [&[0][..], &[0; 4], &testing::compress(compression, b"")] {
                let why =
                    read(&with_stream(compression, [&stream[..], behind].concat())).unwrap_err();
                assert!(
                    matches!(why, ArtifactError::Trailing { .. }),
                    "{compression:?}: {why}"
                );
            }
        }
    }
    let mut one_block = whole.clone();
    one_block[1024 + 512] = 1;
    assert_eq!(
        fault(&with_payload(Compression::Gzip, &one_block)),
        TarFault::Padding
    );

    let artifact = Parts::new("app-1", b"one").signed(SEED);
    for behind in [&[0][..], &[0; 512], b"x"] {
        let why = read(&[&artifact, behind].concat()).unwrap_err();
        assert!(matches!(why, ArtifactError::Trailing { .. }), "{why}");
    }
}

#[test]
fn extended_headers_are_those_that_the_tools_need() {
    let extended = |records: &[Vec<u8>], kind: u8| {
        let mut tar = entry("PaxHeaders.0/app.bin", kind, &records.concat());
        tar.extend(payload());
        with_payload(Compression::Gzip, &tar)
    };
    for records in [
        vec![record("uid", "3000000"), record("gid", "3000000")],
        vec![record("uname", "ä"), record("gname", "ö")],
        vec![record("path", "app.bin")],
        vec![record("size", "3"), record("path", "app.bin")],
    ] {
        read(&extended(&records, b'x'))
            .unwrap()
            .verify(&keys())
            .unwrap();
    }
    let long = record("uname", &"x".repeat(2048));
    for records in [
        vec![],
        vec![record("mtime", "1.5")],
        vec![record("linkpath", "/etc/passwd")],
        vec![record("GNU.sparse.major", "1")],
        vec![record("path", "app.bin"), record("path", "app.bin")],
        vec![record("path", "")],
        vec![record("path", "app.bin\0")],
        vec![record("size", "03")],
        vec![record("size", "-3")],
        vec![record("size", "18446744073709551616")],
        vec![b"5 a=b\n".to_vec()],
        vec![b"99 uid=1\n".to_vec()],
        vec![b"0 uid=1\n".to_vec()],
        vec![b"9 uid=10\n\0".to_vec()],
        vec![long],
    ] {
        assert_eq!(
            fault(&extended(&records, b'x')),
            TarFault::Extended,
            "{records:?}"
        );
    }
    let record = record("path", "app.bin");
    for kind in [b'g', b'L', b'K'] {
        let bytes = extended(std::slice::from_ref(&record), kind);
        assert_eq!(fault(&bytes), TarFault::Extended);
    }
    // Two of them, and one with nothing behind it.
    let one = entry("PaxHeaders.0/app.bin", b'x', &record);
    let two = [&one[..], &one, &payload()].concat();
    assert_eq!(
        fault(&with_payload(Compression::Gzip, &two)),
        TarFault::Extended
    );
    let alone = [&one[..], &[0; 1024]].concat();
    assert_eq!(
        fault(&with_payload(Compression::Gzip, &alone)),
        TarFault::Extended
    );
    // A name that leads elsewhere.
    let path = testing::record("path", "../app.bin");
    let why = read(&extended(&[path], b'x')).unwrap_err();
    assert!(matches!(why, ArtifactError::FileName { .. }), "{why}");
}

/// Fails after so many bytes, and comes in pieces of all sizes before.
struct Failing<'a> {
    bytes: &'a [u8],
    calls: usize,
}

impl Read for Failing<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.bytes.is_empty() {
            return Err(io::Error::other("the line is down"));
        }
        let piece = to.len().min(self.calls % 97 + 1);
        self.bytes.read(&mut to[..piece])
    }
}

#[test]
fn a_failing_input_is_told_as_such_and_never_as_a_bad_artifact() {
    for compression in Compression::ALL {
        let mut parts = Parts::new("app-1", &[5; 3000]);
        parts.compression = compression;
        let bytes = parts.signed(SEED);
        for length in (0..bytes.len()).step_by(41) {
            let input = Failing {
                bytes: &bytes[..length],
                calls: 0,
            };
            let why = kusabi_mender::read(input, &Limits::default(), &mut ()).unwrap_err();
            assert!(
                matches!(&why, ArtifactError::Read(error) if error.to_string() == "the line is down"),
                "{compression:?} {length}: {why:?}"
            );
        }
    }
}

#[test]
fn a_sink_that_fails_ends_it() {
    struct Full;
    impl kusabi_mender::Sink for Full {
        fn begin(&mut self, _: usize, _: &str, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn data(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let bytes = Parts::new("app-1", b"one").signed(SEED);
    let why = kusabi_mender::read(&bytes[..], &Limits::default(), &mut Full).unwrap_err();
    assert!(
        matches!(&why, ArtifactError::Sink { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{why}"
    );
}
