//! Whatever is changed on the way: it is refused, or nothing that is signed is another.

use std::sync::LazyLock;

use kusabi_mender::{
    Artifact, ArtifactError, Compression,
    testing::{self, Parts},
};
use proptest::prelude::*;

use crate::{SEED, keys, read};

/// Those of the tests: all compressions, and state scripts.
static ARTIFACTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut artifacts: Vec<_> = Compression::ALL
        .into_iter()
        .map(|compression| {
            let mut parts = Parts::with_types(
                "app-1",
                &["board", "other"],
                &[("app.bin", b"one"), ("more", &[9; 700])],
            );
            parts.compression = compression;
            parts.signed(SEED)
        })
        .collect();
    let mut scripts = Parts::new("app-1", b"one");
    scripts.header.insert(
        1,
        (
            String::from("scripts/ArtifactInstall_Enter_00"),
            b"#!/bin/sh\n".to_vec(),
        ),
    );
    artifacts.push(scripts.signed(SEED));
    artifacts
});

/// All of an artifact that a signature stands for. How it came is nothing of that.
fn signed(artifact: &Artifact) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        artifact.name().to_owned(),
        artifact.group().map(str::to_owned),
        artifact.device_types().to_vec(),
        artifact.scripts().to_vec(),
        artifact.payloads().to_vec(),
        artifact.manifest().bytes().to_vec(),
    )
}

/// Refused, or the same.
fn holds(original: &Artifact, changed: &[u8]) {
    if let Ok(artifact) = read(changed)
        && let Ok(verified) = artifact.verify(&keys())
    {
        assert_eq!(signed(verified.artifact()), signed(original));
    }
}

#[test]
fn every_flipped_bit_is_refused_or_changes_nothing_that_is_signed() {
    for bytes in &*ARTIFACTS {
        let original = read(bytes).unwrap();
        let mut harmless = 0;
        for at in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                holds(&original, &changed);
                harmless += usize::from(read(&changed).is_ok());
            }
        }
        // Nothing but the bits of compressed streams that decompress to the same, and of a signature.
        assert!(harmless < 400, "{harmless}");
    }
}

#[test]
fn every_truncation_is_refused_as_one() {
    for bytes in &*ARTIFACTS {
        for length in 0..bytes.len() {
            let why = read(&bytes[..length]).unwrap_err();
            assert!(
                matches!(&why, ArtifactError::Cut { bytes, .. } if *bytes == length as u64),
                "{length}: {why:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes_written_over_cut_out_or_put_in_are_no_other_artifact(
        which in 0..5_usize,
        at in any::<prop::sample::Index>(),
        new in prop::collection::vec(any::<u8>(), 0..600),
        out in 0..600_usize,
    ) {
        let bytes = &ARTIFACTS[which];
        let original = read(bytes).unwrap();
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + out);
        let changed = [&bytes[..at], &new, &bytes[end..]].concat();
        holds(&original, &changed);
    }

    #[test]
    fn members_in_any_order_and_number_are_no_other_artifact(
        picks in prop::collection::vec((0..2_usize, 0..5_usize), 0..8),
    ) {
        let one = Parts::new("app-1", b"one");
        let made = [one.members(Some(SEED)), Parts::new("app-2", b"two").members(Some(SEED))];
        let members: Vec<_> = picks.iter().map(|(which, at)| made[*which][*at].clone()).collect();
        let bytes = testing::tar(&members);
        let whole = |which: usize| picks == (0..5).map(|at| (which, at)).collect::<Vec<_>>();
        if let Ok(artifact) = read(&bytes) {
            // Of two good ones only the version, which is the same in both, and an own signature can be exchanged.
            if artifact.verify(&keys()).is_ok() {
                prop_assert_eq!(picks.len(), 5);
                let which = picks[1].0;
                prop_assert!(whole(which) || picks[0].0 != which, "{:?}", picks);
            }
        }
    }
}
