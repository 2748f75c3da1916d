//! Mender artifacts: as they come, and with the digests around a part made right, so that what lies behind them is reached.
#![no_main]

use kusabi_mender::{
    ArtifactKey, Compression, Limits,
    testing::{Parts, compress, tar},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else {
        return;
    };
    let mut parts = Parts::new("app-1", b"one");
    parts.compression = Compression::ALL[usize::from(mode >> 4) % 4];
    let artifact = match mode & 15 {
        // The artifact itself.
        0 => bytes.to_vec(),
        // Its manifest.
        1 => tar(&parts.members_under(bytes, None)),
        // The payload's member.
        2 => {
            let mut members = parts.members(None);
            members[3].1 = bytes.to_vec();
            tar(&members)
        }
        // The payload's tar.
        3 => {
            let mut members = parts.members(None);
            members[3].1 = compress(parts.compression, bytes);
            tar(&members)
        }
        // A document of the header.
        4..7 => {
            parts.header[usize::from(mode & 15) - 4].1 = bytes.to_vec();
            parts.unsigned()
        }
        // A signature, and a key.
        7 => {
            let _ = ArtifactKey::from_spki(bytes);
            let mut members = parts.members(Some(1));
            members[2].1 = bytes.to_vec();
            tar(&members)
        }
        _ => return,
    };
    let mut limits = Limits::default();
    limits.payload_bytes = 1 << 20;
    limits.xz_memory_bytes = 4 << 20;
    limits.zstd_window_log = 20;
    let Ok(read) = kusabi_mender::read(&artifact[..], &limits, &mut ()) else {
        return;
    };
    assert_eq!(read.bytes(), artifact.len() as u64);
    // Every line of the manifest stands for something that was there.
    let lines = read.manifest().bytes().split(|byte| *byte == b'\n').count() - 1;
    let files: usize = read.payloads().iter().map(|payload| payload.files.len()).sum();
    assert_eq!(lines, files + 2);
    let _ = read.verify(&[]);
});
