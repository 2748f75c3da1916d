//! Mender's own tool and ours, about the same artifacts.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use kusabi_core::id::Digest;
use kusabi_mender::{Artifact, ArtifactError, ArtifactKey, Compression, Limits, testing};

/// What a missing program is told with.
const INSTALL: &str =
    "mender-artifact and openssl are needed: apt-get install mender-artifact openssl";

/// A folder with keys and something to put into artifacts.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        // The tool of Debian 12 takes no PKCS#8.
        bench.openssl("ecparam -name prime256v1 -genkey -noout -out p256.key");
        bench.openssl("ecparam -name prime256v1 -genkey -noout -out other.key");
        bench.openssl("genrsa -traditional -out rsa.key 3072");
        for key in ["p256", "other", "rsa"] {
            bench.openssl(&format!("pkey -in {key}.key -pubout -out {key}.pub"));
            bench.openssl(&format!(
                "pkey -in {key}.key -pubout -outform DER -out {key}.spki"
            ));
        }
        let content: Vec<u8> = (0..70_000_u32)
            .flat_map(|number| (number / 7).to_le_bytes())
            .collect();
        for (name, content) in [
            ("app.bin", &content[..]),
            ("more,1", b"more"),
            ("ArtifactInstall_Enter_05_stop", b"#!/bin/sh\n"),
            ("ArtifactFailure_Leave_00", b"#!/bin/sh\n"),
            ("meta.json", br#"{"a":{"b":[1,"c"]}}"#),
        ] {
            fs::write(bench.path(name), content).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &str) -> Output {
        Command::new(program)
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .unwrap_or_else(|why| panic!("{program}: {why}; {INSTALL}"))
    }

    fn openssl(&self, arguments: &str) {
        let output = self.run("openssl", arguments);
        assert!(output.status.success(), "openssl {arguments}: {output:?}");
    }

    /// Makes an artifact `name` with these arguments; its bytes.
    fn write(&self, name: &str, arguments: &str) -> Vec<u8> {
        let arguments = format!(
            "write module-image -T single-file -t board -n {name} -o {name}.mender -f app.bin {arguments}"
        );
        let output = self.run("mender-artifact", &arguments);
        assert!(output.status.success(), "{arguments}: {output:?}");
        fs::read(self.path(&format!("{name}.mender"))).unwrap()
    }

    fn key(&self, name: &str) -> ArtifactKey {
        let spki = fs::read(self.path(&format!("{name}.spki"))).unwrap();
        ArtifactKey::from_spki(&spki).unwrap()
    }

    /// Whether their tool calls an artifact good, and signed by a key.
    fn they_take(&self, bytes: &[u8], key: &str) -> bool {
        fs::write(self.path("asked.mender"), bytes).unwrap();
        let arguments = format!("validate -k {key}.pub asked.mender");
        self.run("mender-artifact", &arguments).status.success()
    }

    /// Whether ours does.
    fn we_take(&self, bytes: &[u8], key: &str) -> bool {
        read(bytes).is_ok_and(|artifact| artifact.verify(&[self.key(key)]).is_ok())
    }
}

fn read(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
    kusabi_mender::read(bytes, &Limits::default(), &mut ())
}

#[test]
fn what_mender_artifact_makes_is_read_as_it_was_made() {
    let bench = Bench::new();
    let content = Digest::of(&fs::read(bench.path("app.bin")).unwrap());
    for (at, (compression, option)) in [
        (Compression::None, "none"),
        (Compression::Gzip, "gzip"),
        (Compression::Xz, "lzma"),
    ]
    .into_iter()
    .enumerate()
    {
        for (other, key) in [("rsa", "p256"), ("p256", "rsa")] {
            let name = format!("app-{key}-{at}");
            let bytes = bench.write(&name, &format!(
                "-f more,1 -k {key}.key --compression {option} -t board-2 -g ring-1 -N app-0 -G ring-0 -d lib:4 -p app:5 \
                 --clears-provides app -s ArtifactInstall_Enter_05_stop -s ArtifactFailure_Leave_00 -m meta.json"
            ));
            let artifact = read(&bytes).unwrap();
            assert!(artifact.clone().verify(&[bench.key(other)]).is_err());
            let keys = [bench.key(other), bench.key(key)];
            let verified = artifact.verify(&keys).unwrap();
            assert_eq!(verified.key(), 1);
            let artifact = verified.artifact();
            assert_eq!(artifact.name(), name);
            assert_eq!(artifact.compression(), compression);
            assert_eq!(artifact.bytes(), bytes.len() as u64);
            assert_eq!(artifact.device_types(), ["board", "board-2"]);
            // The tool writes them in any order.
            let mut scripts = artifact.scripts().to_vec();
            scripts.sort();
            assert_eq!(
                scripts,
                ["ArtifactFailure_Leave_00", "ArtifactInstall_Enter_05_stop"]
            );
            let provides = artifact.provides();
            assert_eq!(provides["artifact_group"], "ring-1");
            assert_eq!(provides["app"], "5");
            let depends = artifact.depends();
            assert_eq!(depends["artifact_name"], ["app-0"]);
            assert_eq!(depends["artifact_group"], ["ring-0"]);
            assert_eq!(depends["lib"], ["4"]);
            let [payload] = artifact.payloads() else {
                panic!("{artifact:?}");
            };
            assert_eq!(payload.module.as_deref(), Some("single-file"));
            assert!(payload.clears.iter().any(|key| key == "app"));
            assert!(payload.meta_data.as_ref().unwrap().contains_key("a"));
            let [app, more] = &payload.files[..] else {
                panic!("{payload:?}");
            };
            assert_eq!((app.size, app.digest), (280_000, content));
            assert_eq!((&*more.name, more.digest), ("more,1", Digest::of(b"more")));
            assert!(bench.they_take(&bytes, key));
        }
    }
}

#[test]
fn an_artifact_that_is_signed_later_is_signed() {
    let bench = Bench::new();
    let unsigned = bench.write("app-1", "");
    assert!(!read(&unsigned).unwrap().is_signed());
    assert!(!bench.we_take(&unsigned, "p256"));
    assert!(!bench.they_take(&unsigned, "p256"));
    let output = bench.run(
        "mender-artifact",
        "sign app-1.mender -k rsa.key -o signed.mender",
    );
    assert!(output.status.success(), "{output:?}");
    let signed = fs::read(bench.path("signed.mender")).unwrap();
    for (key, good) in [("rsa", true), ("p256", false), ("other", false)] {
        assert_eq!(bench.we_take(&signed, key), good, "{key}");
        assert_eq!(bench.they_take(&signed, key), good, "{key}");
    }
}

/// What they refuse we refuse, and what we take they take. The other way round it need not be: we take less.
#[test]
fn whatever_we_take_of_what_was_changed_mender_artifact_takes_too() {
    let bench = Bench::new();
    let (mut both, mut neither, mut only_they) = (0, 0, Vec::new());
    let mut ask = |what: String, bytes: &[u8], key: &str| match (
        bench.we_take(bytes, key),
        bench.they_take(bytes, key),
    ) {
        (true, true) => both += 1,
        (false, false) => neither += 1,
        (false, true) => only_they.push(what),
        (true, false) => panic!("we take it and they do not: {what}"),
    };
    for (key, option) in [("p256", "none"), ("rsa", "gzip"), ("p256", "lzma")] {
        let bytes = bench.write(
            "app-1",
            &format!(
                "-k {key}.key --compression {option} -s ArtifactInstall_Enter_05_stop -m meta.json"
            ),
        );
        ask(format!("{option} as it was made"), &bytes, key);
        ask(format!("{option} under another key"), &bytes, "other");
        // Bits in what is signed and around it, and ends that come too early: more of them where the small members are.
        let places = (0..bytes.len().min(6144))
            .step_by(97)
            .chain((6144..bytes.len()).step_by(9973));
        for at in places {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            ask(format!("{option}, bit at {at}"), &flipped, key);
            if at % 4 == 0 {
                ask(format!("{option}, cut at {at}"), &bytes[..at], key);
            }
        }
    }
    let augmented = bench.write(
        "app-2",
        "-k p256.key --augment-file more,1 --augment-type single-file",
    );
    ask(String::from("augmented"), &augmented, "p256");

    println!(
        "both take {both}, neither {neither}, only they {}: {only_they:?}",
        only_they.len()
    );
    assert!(both >= 3 && neither >= 100, "{both} {neither}");
    assert!(
        only_they.iter().any(|what| what == "augmented"),
        "{only_they:?}"
    );
}

/// Members out of order, twice and left out; and artifacts of our own writer, one with two payloads among them.
#[test]
fn mender_artifact_reads_what_our_tests_are_made_of() {
    let bench = Bench::new();
    let spki = testing::spki(7);
    fs::write(bench.path("seven.spki"), &spki).unwrap();
    bench.openssl("pkey -pubin -inform DER -in seven.spki -out seven.pub");
    let mut parts = testing::Parts::new("app-1", b"one");
    parts.header[0].1 = br#"{"payloads":[{"type":"single-file"},{"type":"docker"}],"artifact_provides":{"artifact_name":"app-1"},"artifact_depends":{"device_type":["board"]}}"#.to_vec();
    parts.header.push((
        String::from("headers/0001/type-info"),
        br#"{"type":"docker"}"#.to_vec(),
    ));
    parts
        .payloads
        .push(vec![(String::from("b"), b"two".to_vec())]);
    for compression in [Compression::None, Compression::Gzip, Compression::Xz] {
        parts.compression = compression;
        for (bytes, good) in [
            (parts.signed(7), true),
            (parts.signed(8), false),
            (parts.unsigned(), false),
        ] {
            assert_eq!(bench.we_take(&bytes, "seven"), good, "{compression:?}");
            assert_eq!(bench.they_take(&bytes, "seven"), good, "{compression:?}");
        }
    }
    let members = parts.members(Some(7));
    for at in 0..members.len() {
        let mut without = members.clone();
        without.remove(at);
        let mut twice = members.clone();
        twice.insert(at, members[at].clone());
        let mut swapped = members.clone();
        swapped.swap(at, (at + 1) % members.len());
        for changed in [without, twice, swapped] {
            assert!(!bench.we_take(&testing::tar(&changed), "seven"), "{at}");
        }
    }
}
