//! What mender-artifact 3.9 made (`tests/data/make.sh`).

use std::io;

use kusabi_core::id::Digest;
use kusabi_mender::{
    Artifact, ArtifactError, ArtifactKey, Compression, Limits, SignatureError, Sink,
};

use crate::read;

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("../data/", $name))
    };
}

fn p256() -> ArtifactKey {
    ArtifactKey::from_spki(vector!("p256.spki")).unwrap()
}

fn rsa() -> ArtifactKey {
    ArtifactKey::from_spki(vector!("rsa.spki")).unwrap()
}

fn good(bytes: &[u8]) -> Artifact {
    let verified = read(bytes).unwrap().verify(&[rsa(), p256()]).unwrap();
    assert_eq!(verified.key(), 1);
    verified.into_artifact()
}

#[test]
fn four_files_in_gzip_under_a_p256_key() {
    let bytes = vector!("p256-gzip.mender");
    let artifact = good(bytes);
    assert_eq!(artifact.name(), "p256-gzip");
    assert_eq!(artifact.group(), None);
    assert_eq!(artifact.device_types(), ["kusabi-dev"]);
    assert_eq!(artifact.compression(), Compression::Gzip);
    assert_eq!(artifact.bytes(), bytes.len() as u64);
    assert!(artifact.scripts().is_empty());
    let [payload] = artifact.payloads() else {
        panic!("{artifact:?}");
    };
    assert_eq!(payload.module.as_deref(), Some("single-file"));
    assert_eq!(payload.meta_data, None);
    let files: Vec<_> = payload
        .files
        .iter()
        .map(|file| (&*file.name, file.size, file.digest))
        .collect();
    assert_eq!(
        files,
        [
            ("dest_dir", 8, Digest::of(b"/opt/app")),
            ("filename", 7, Digest::of(b"app.bin")),
            ("permissions", 3, Digest::of(b"755")),
            ("app.bin", 14, Digest::of(b"first version\n")),
        ]
    );
    assert_eq!(
        artifact.provides().get("rootfs-image.single-file.version"),
        Some(&"p256-gzip")
    );
    assert_eq!(payload.clears, ["rootfs-image.single-file.*"]);
    assert_eq!(artifact.manifest().signature().unwrap().len(), 64);
}

#[test]
fn every_compression_and_both_kinds_of_keys() {
    for (bytes, compression) in [
        (&vector!("p256-none.mender")[..], Compression::None),
        (vector!("p256-xz.mender"), Compression::Xz),
    ] {
        assert_eq!(good(bytes).compression(), compression);
    }
    let artifact = read(vector!("rsa-gzip.mender")).unwrap();
    let verified = artifact.clone().verify(&[p256(), rsa()]).unwrap();
    assert_eq!(verified.key(), 1);
    assert_eq!(
        artifact.verify(&[p256()]),
        Err(SignatureError::Mismatch { keys: 1 })
    );
}

#[test]
fn all_that_a_header_can_say() {
    let artifact = good(vector!("everything.mender"));
    assert_eq!(artifact.group(), Some("fix"));
    assert_eq!(artifact.device_types(), ["kusabi-dev", "board2"]);
    assert_eq!(
        artifact.scripts(),
        ["ArtifactInstall_Enter_05_stop", "ArtifactCommit_Leave_00"]
    );
    let provides = artifact.provides();
    for (key, value) in [
        ("artifact_name", "everything"),
        ("artifact_group", "fix"),
        ("app.version", "2"),
        ("rootfs-image.single-file.version", "everything"),
    ] {
        assert_eq!(provides.get(key), Some(&value), "{key}");
    }
    assert_eq!(provides.len(), 4);
    let depends = artifact.depends();
    for (key, values) in [
        ("artifact_name", &["vec-0", "vec-1"][..]),
        ("artifact_group", &["stable"]),
        ("device_type", &["kusabi-dev", "board2"]),
        ("app.version", &["1"]),
    ] {
        assert_eq!(depends.get(key).unwrap(), &values, "{key}");
    }
    assert_eq!(depends.len(), 4);
    let [payload] = artifact.payloads() else {
        panic!("{artifact:?}");
    };
    assert_eq!(payload.clears, ["app.*", "rootfs-image.single-file.*"]);
    let meta_data = payload.meta_data.as_ref().unwrap();
    assert_eq!(meta_data["nested"]["deep"][1], 2.5);
}

#[test]
fn a_root_file_system_an_owner_with_a_large_number_and_a_long_name() {
    let rootfs = good(vector!("rootfs.mender"));
    let [payload] = rootfs.payloads() else {
        panic!("{rootfs:?}");
    };
    assert_eq!(payload.module.as_deref(), Some("rootfs-image"));
    let [file] = &payload.files[..] else {
        panic!("{payload:?}");
    };
    assert_eq!((&*file.name, file.size), ("root.ext4", 1 << 20));
    assert_eq!(
        rootfs.provides().get("rootfs-image.checksum"),
        Some(&&*file.digest.to_string())
    );
    assert_eq!(
        good(vector!("owner.mender")).payloads()[0].files[0].digest,
        Digest::of(b"owned\n")
    );
    let long = good(vector!("long-name.mender"));
    assert_eq!(long.payloads()[0].files[0].name, "a".repeat(120));
}

#[test]
fn one_that_installs_nothing() {
    let bootstrap = good(vector!("bootstrap.mender"));
    let [payload] = bootstrap.payloads() else {
        panic!("{bootstrap:?}");
    };
    assert_eq!(payload.module, None);
    assert!(payload.files.is_empty());
}

#[test]
fn an_unsigned_one_is_read_and_is_never_verified() {
    let unsigned = read(vector!("unsigned.mender")).unwrap();
    assert!(!unsigned.is_signed());
    assert_eq!(
        unsigned.verify(&[p256(), rsa()]),
        Err(SignatureError::Unsigned)
    );
}

#[test]
fn augmented_sections_and_an_older_format_are_refused_by_name() {
    let why = read(vector!("augmented.mender")).unwrap_err();
    assert!(
        matches!(&why, ArtifactError::Augmented { member } if member == "manifest-augment"),
        "{why}"
    );
    let why = read(vector!("version-2.mender")).unwrap_err();
    assert!(
        matches!(why, ArtifactError::Version { version: 2 }),
        "{why}"
    );
    assert!(why.to_string().contains("--version 3"), "{why}");
}

/// Keeps what it is given.
#[derive(Default)]
struct Kept(Vec<(usize, String, u64, Vec<u8>)>);

impl Sink for Kept {
    fn begin(&mut self, payload: usize, name: &str, size: u64) -> io::Result<()> {
        self.0.push((payload, name.to_owned(), size, Vec::new()));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.last_mut().unwrap().3.extend(bytes);
        Ok(())
    }
}

#[test]
fn the_files_come_out_as_they_went_in() {
    let mut kept = Kept::default();
    let bytes = &vector!("p256-gzip.mender")[..];
    kusabi_mender::read(bytes, &Limits::default(), &mut kept).unwrap();
    assert_eq!(kept.0.len(), 4);
    let (payload, name, size, content) = &kept.0[3];
    assert_eq!((*payload, &**name, *size), (0, "app.bin", 14));
    assert_eq!(content, b"first version\n");
}

#[test]
fn a_stranger_is_refused_before_the_rest_comes() {
    let bytes = vector!("p256-gzip.mender");
    // The member that follows the signature begins; nothing of it is there.
    let begun = 512 * (2 + 1 + 1 + 1 + 2 + 1);
    let opened = kusabi_mender::open(&bytes[..begun], &Limits::default()).unwrap();
    assert_eq!(
        opened.manifest().verify(&[rsa()]),
        Err(SignatureError::Mismatch { keys: 1 })
    );
    assert_eq!(opened.manifest().verify(&[p256()]), Ok(0));
    let why = opened.read(&mut ()).unwrap_err();
    assert!(
        matches!(&why, ArtifactError::Cut { bytes, .. } if *bytes == begun as u64),
        "{why}"
    );
}
