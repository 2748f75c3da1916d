//! The rules of the format, one by one.

use kusabi_mender::{
    ArtifactError, Compression, Limits, ManifestFault,
    testing::{self, Files, Parts},
};

use crate::{SEED, keys, read, refusal};

fn parts() -> Parts {
    Parts::new("app-1", b"one")
}

/// With its members changed once they are signed.
fn with_members(change: impl Fn(&mut Files)) -> Vec<u8> {
    let mut members = parts().members(Some(SEED));
    change(&mut members);
    testing::tar(&members)
}

fn named(name: &str, content: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), content.to_vec())
}

#[test]
fn every_compression_is_read() {
    for compression in Compression::ALL {
        let mut parts = parts();
        parts.compression = compression;
        let artifact = read(&parts.signed(SEED)).unwrap();
        assert_eq!(artifact.compression(), compression);
        assert_eq!(artifact.verify(&keys()).unwrap().key(), 0);
    }
}

#[test]
fn two_payloads() {
    let mut parts = parts();
    parts.header[0].1 = br#"{"payloads":[{"type":"single-file"},{"type":"docker"}],"artifact_provides":{"artifact_name":"app-1"},"artifact_depends":{"device_type":["board"]}}"#.to_vec();
    parts.header.push(named(
        "headers/0001/type-info",
        br#"{"type":"docker","artifact_provides":{"a":"b"},"artifact_depends":{"c":["d","e"]}}"#,
    ));
    parts
        .payloads
        .push(vec![named("app.bin", b"other"), named("b,c-d_E.1", b"")]);
    let artifact = read(&parts.signed(SEED)).unwrap();
    let [first, second] = artifact.payloads() else {
        panic!("{artifact:?}");
    };
    assert_eq!(first.module.as_deref(), Some("single-file"));
    assert_eq!(second.module.as_deref(), Some("docker"));
    assert_ne!(first.files[0].digest, second.files[0].digest);
    assert_eq!(
        (&*second.files[1].name, second.files[1].size),
        ("b,c-d_E.1", 0)
    );
    assert_eq!(artifact.provides().get("a"), Some(&"b"));
    assert_eq!(artifact.depends().get("c").unwrap(), &["d", "e"]);

    // Both payloads speak of one key.
    for both in ["artifact_provides", "artifact_depends"] {
        let mut parts = parts.clone();
        let text = format!(r#"{{"type":"single-file","{both}":{{"a":"x","c":"x"}}}}"#);
        parts.header[1].1 = text.into_bytes();
        let why = refusal(&parts.signed(SEED));
        assert!(
            why.contains("headers/0001/type-info in header.tar.gz:")
                && why.contains("stands there twice"),
            "{why}"
        );
    }

    // Payloads the other way round, one too many, and one that is missing.
    let members = parts.members(Some(SEED));
    let mut swapped = members.clone();
    swapped.swap(4, 5);
    assert!(
        refusal(&testing::tar(&swapped)).contains("data/0001.tar.gz stands where data/0000.tar.gz")
    );
    let mut more = members.clone();
    more.push(named("data/0002.tar.gz", &members[5].1));
    assert!(refusal(&testing::tar(&more)).contains("stands where the artifact's end"));
    assert!(refusal(&testing::tar(&members[..5])).contains("ends where data/0001.tar.gz"));
}

#[test]
fn members_stand_in_their_order_each_once() {
    let count = parts().members(Some(SEED)).len();
    for at in 0..count {
        read(&with_members(|members| {
            members.insert(at, members[at].clone())
        }))
        .unwrap_err();
        // Without its signature an artifact is unsigned, and no more.
        if at != 2 {
            read(&with_members(|members| drop(members.remove(at)))).unwrap_err();
        }
        if at > 0 {
            read(&with_members(|members| members.swap(at - 1, at))).unwrap_err();
        }
    }
    let unsigned = read(&with_members(|members| drop(members.remove(2)))).unwrap();
    assert!(!unsigned.is_signed());
    for name in [
        "../version",
        "./version",
        "version/",
        "/etc/passwd",
        "data/../x",
    ] {
        for at in 1..=count {
            read(&with_members(|members| {
                members.insert(at, named(name, b"x"))
            }))
            .unwrap_err();
        }
    }
}

#[test]
fn sections_that_nobody_signs_are_refused_wherever_they_are() {
    let augmented = |at: usize, name: &str| {
        let why = read(&with_members(|members| {
            members.insert(at, named(name, b"x"))
        }))
        .unwrap_err();
        assert!(matches!(why, ArtifactError::Augmented { .. }), "{why}");
    };
    augmented(2, "manifest-augment");
    augmented(3, "manifest-augment");
    augmented(4, "header-augment.tar.gz");
    augmented(4, "header-augment.tar");
}

#[test]
fn other_formats_are_refused_by_name() {
    for (version, expected) in [
        (
            &br#"{"format":"mender","version":1}"#[..],
            "format version 1,",
        ),
        (br#"{"format":"mender","version":2}"#, "format version 2,"),
        (br#"{"format":"mender","version":4}"#, "format version 4,"),
        (br#"{"format":"other","version":3}"#, "no Mender artifact"),
        (br#"{"format":"mender","version":3} "#, "no Mender artifact"),
        (br#"{"version":3,"format":"mender"}"#, "no Mender artifact"),
        (b"", "no Mender artifact"),
        (b"[[[[", "no Mender artifact"),
    ] {
        let mut parts = parts();
        parts.version = version.to_vec();
        let why = refusal(&parts.signed(SEED));
        assert!(why.contains(expected), "{why}");
    }
    for other in [&b"PK\x03\x04"[..], &[0; 4096], &[0x1f; 5000], b""] {
        let why = refusal(other);
        assert!(
            why.contains("no Mender artifact") || why.contains("did not arrive whole"),
            "{why}"
        );
    }
    assert!(refusal(&[7; 1024]).contains("no Mender artifact"));
}

#[test]
fn a_manifest_is_of_one_form() {
    let right = parts().manifest();
    let text = String::from_utf8(right.clone()).unwrap();
    let zeros = "0".repeat(64);
    let refused = |manifest: &str| {
        read(&testing::tar(
            &parts().members_under(manifest.as_bytes(), Some(SEED)),
        ))
        .unwrap_err()
    };
    for (manifest, line, fault) in [
        (text.replacen("  ", " ", 1), 1, ManifestFault::Form),
        (text.replacen("  ", "   ", 1), 1, ManifestFault::Name),
        (text.to_uppercase(), 1, ManifestFault::Form),
        (format!("\n{text}"), 1, ManifestFault::Form),
        (text.replace('\n', "\r\n"), 1, ManifestFault::Name),
        (text.trim_end().to_owned(), 3, ManifestFault::Form),
        (format!("{text}{zeros}  version\n"), 4, ManifestFault::Twice),
        (
            format!("{text}{zeros}  header.tar\n"),
            4,
            ManifestFault::Twice,
        ),
        (
            format!("{text}{zeros}  data/0000/app.bin\n"),
            4,
            ManifestFault::Twice,
        ),
        (
            format!("{text}{zeros}  data/0000/../x\n"),
            4,
            ManifestFault::Name,
        ),
        (
            format!("{text}{zeros}  data/0000/..\n"),
            4,
            ManifestFault::Name,
        ),
        (
            format!("{text}{zeros}  data/0000/\n"),
            4,
            ManifestFault::Name,
        ),
        (
            format!("{text}{zeros}  data/0000/a b\n"),
            4,
            ManifestFault::Name,
        ),
        (
            format!("{text}{zeros}  data/+001/a\n"),
            4,
            ManifestFault::Name,
        ),
        (
            format!("{text}{zeros}  data/00000/a\n"),
            4,
            ManifestFault::Name,
        ),
        (
            format!("{text}{zeros}  manifest-augment\n"),
            4,
            ManifestFault::Name,
        ),
    ] {
        let why = refused(&manifest);
        assert!(
            matches!(&why, ArtifactError::Manifest { line: at, fault: is } if (*at, *is) == (line, fault)),
            "{manifest}: {why}"
        );
    }
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for (left_out, expected) in [
        (
            0,
            "app.bin in data/0000.tar.gz does not stand in the manifest",
        ),
        (1, "header.tar does not stand in the manifest"),
        (2, "version does not stand in the manifest"),
    ] {
        let mut lines = lines.clone();
        lines.remove(left_out);
        let why = refused(&lines.concat()).to_string();
        assert!(why.contains(expected), "{why}");
    }
    // A file that is not there, of a payload that is and of one that is not.
    for name in ["data/0000/other", "data/0001/app.bin"] {
        let why = refused(&format!("{text}{zeros}  {name}\n"));
        assert!(
            matches!(&why, ArtifactError::Absent { name: is } if is == name),
            "{why}"
        );
    }
    let mut not_utf8 = right;
    not_utf8.extend(b"\xff\n");
    let why = read(&testing::tar(&parts().members_under(&not_utf8, None))).unwrap_err();
    assert!(
        matches!(why, ArtifactError::Manifest { line: 4, .. }),
        "{why}"
    );
}

#[test]
fn what_the_manifest_names_is_what_is_there() {
    let manifest = parts().manifest();
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parts();
        change(&mut parts);
        refusal(&testing::tar(&parts.members_under(&manifest, Some(SEED))))
    };
    let why = with(&|parts| parts.payloads[0][0].1 = b"two".to_vec());
    assert!(
        why.contains("app.bin in data/0000.tar.gz has the SHA-256"),
        "{why}"
    );
    let why = with(&|parts| parts.header[1].1.push(b' '));
    assert!(why.contains("header.tar.gz has the SHA-256"), "{why}");
    let why = with(&|parts| parts.payloads[0].push(named("more", b"")));
    assert!(
        why.contains("more in data/0000.tar.gz does not stand in the manifest"),
        "{why}"
    );
    let why = with(&|parts| {
        let again = parts.payloads[0][0].clone();
        parts.payloads[0].push(again);
    });
    assert!(why.contains("does not stand in the manifest"), "{why}");
    let why = with(&|parts| parts.payloads[0].clear());
    assert!(
        why.contains("names data/0000/app.bin, which the artifact does not have"),
        "{why}"
    );

    let mut wrong_version = manifest.clone();
    let length = wrong_version.len();
    wrong_version[length - 74] = if wrong_version[length - 74] == b'0' {
        b'1'
    } else {
        b'0'
    };
    let why = refusal(&testing::tar(
        &parts().members_under(&wrong_version, Some(SEED)),
    ));
    assert!(why.contains("version has the SHA-256"), "{why}");

    // Recompressing a payload changes nothing that is signed.
    let again = with_members(|members| {
        let tar = testing::tar(&parts().payloads[0]);
        members[4] = named(
            "data/0000.tar.zst",
            &testing::compress(Compression::Zstd, &tar),
        );
    });
    read(&again).unwrap().verify(&keys()).unwrap();
}

#[test]
fn names_of_payload_files_are_safe_on_a_device() {
    for name in [
        "../app.bin",
        "/app.bin",
        "a/b",
        "..",
        ".",
        "a b",
        "ä",
        "a\n",
        "a\\b",
        "a:b",
        "C:",
    ] {
        let mut parts = parts();
        parts.payloads[0][0].0 = name.to_owned();
        // Under a manifest that does not name it, for with its name there the manifest is refused before.
        let members = parts.members_under(&Parts::new("app-1", b"one").manifest(), Some(SEED));
        let why = read(&testing::tar(&members)).unwrap_err();
        assert!(
            matches!(why, ArtifactError::FileName { .. }),
            "{name}: {why}"
        );
        let why = read(&parts.signed(SEED)).unwrap_err();
        assert!(
            matches!(why, ArtifactError::Manifest { .. }),
            "{name}: {why}"
        );
    }
}

#[test]
fn every_bound_holds_where_it_stands() {
    let mut parts = parts();
    parts
        .header
        .insert(1, named("scripts/ArtifactInstall_Enter_00", b"0123456789"));
    parts.payloads[0].push(named("more", b"01234"));
    let bytes = parts.signed(SEED);
    let manifest = parts.manifest().len() as u64;
    let json = parts.header[0].1.len() as u64;
    type Set = fn(&mut Limits, u64);
    let bounds: [(u64, Set, &str); 10] = [
        (
            bytes.len() as u64,
            |l, n| l.artifact_bytes = n,
            "the artifact has more than",
        ),
        (2, |l, n| l.files = n as usize, "payload files"),
        (
            5,
            |l, n| l.file_bytes = n,
            "more in data/0000.tar.gz: more than",
        ),
        (8, |l, n| l.payload_bytes = n, "all payloads together"),
        (manifest, |l, n| l.manifest_bytes = n, "manifest: more than"),
        (1, |l, n| l.scripts = n as usize, "state scripts"),
        (
            10,
            |l, n| l.script_bytes = n,
            "ArtifactInstall_Enter_00 in header.tar.gz: more than",
        ),
        (
            json,
            |l, n| l.json_bytes = n,
            "header-info in header.tar.gz: more than",
        ),
        // Nine of header-info, two of type-info.
        (
            11,
            |l, n| l.json_values = n as usize,
            "values in all documents of the header",
        ),
        (1, |l, n| l.payloads = n as usize, "payloads"),
    ];
    for (fits, set, expected) in bounds {
        let mut limits = Limits::default();
        set(&mut limits, fits);
        kusabi_mender::read(&bytes[..], &limits, &mut ()).unwrap();
        set(&mut limits, fits - 1);
        let why = kusabi_mender::read(&bytes[..], &limits, &mut ())
            .unwrap_err()
            .to_string();
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn what_a_stranger_wrote_is_printed_harmlessly() {
    let name = format!("\u{1b}[2J\u{202e}{}", "x".repeat(90));
    let why = refusal(&with_members(|members| members.push(named(&name, b""))));
    assert!(why.contains(r"\u{1b}[2J\u{202e}xxx"), "{why}");
    assert!(
        why.chars().all(|character| !character.is_control()),
        "{why:?}"
    );
}
