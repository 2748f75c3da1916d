//! What the header may say, and what may be in it.

use kusabi_mender::{ArtifactError, InfoFault, testing::Parts};

use crate::{SEED, read};

fn parts() -> Parts {
    Parts::new("app-1", b"one")
}

fn named(name: &str, content: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), content.to_vec())
}

/// Signed, with the header's first file changed.
fn with_info(info: &str) -> Vec<u8> {
    let mut parts = parts();
    parts.header[0].1 = info.as_bytes().to_vec();
    parts.signed(SEED)
}

fn with_type(type_info: &str) -> Vec<u8> {
    let mut parts = parts();
    parts.header[1].1 = type_info.as_bytes().to_vec();
    parts.signed(SEED)
}

#[test]
fn state_scripts_have_names_of_their_states() {
    let scripts = |names: &[&str]| {
        let mut parts = parts();
        for (at, name) in names.iter().enumerate() {
            parts.header.insert(1 + at, named(name, b"#!/bin/sh\n"));
        }
        read(&parts.signed(SEED))
    };
    let names = [
        "scripts/ArtifactInstall_Enter_00",
        "scripts/ArtifactRollbackReboot_Leave_99_a-b.sh",
        "scripts/ArtifactFailure_Error_05_x_y",
    ];
    let artifact = scripts(&names).unwrap();
    assert_eq!(artifact.scripts().len(), 3);
    assert_eq!(
        artifact.scripts()[1],
        "ArtifactRollbackReboot_Leave_99_a-b.sh"
    );
    for name in [
        "scripts/Download_Enter_00",
        "scripts/ArtifactInstall_Enter_0",
        "scripts/ArtifactInstall_Enter_000",
        "scripts/ArtifactInstall_Enter_00_",
        "scripts/ArtifactInstall_Enter_00x",
        "scripts/ArtifactInstall_enter_00",
        "scripts/ArtifactInstall_Enter_00_a b",
        "scripts/ArtifactInstall_Enter_00_../x",
        "scripts/../ArtifactInstall_Enter_00",
        "scripts/",
    ] {
        let why = scripts(&[name]).unwrap_err();
        assert!(matches!(why, ArtifactError::Script { .. }), "{name}: {why}");
    }
    let why = scripts(&[names[0], names[0]]).unwrap_err().to_string();
    assert!(why.contains("a script that is not there yet"), "{why}");
}

#[test]
fn a_header_says_what_it_is_for() {
    let fault = |bytes: &[u8]| match read(bytes).unwrap_err() {
        ArtifactError::Info { fault, .. } => fault,
        other => panic!("{other}"),
    };
    let info = |payloads: &str, provides: &str, depends: &str| {
        with_info(&format!(
            r#"{{"payloads":{payloads},"artifact_provides":{provides},"artifact_depends":{depends}}}"#
        ))
    };
    let (payloads, provides, depends) = (
        r#"[{"type":"single-file"}]"#,
        r#"{"artifact_name":"app-1"}"#,
        r#"{"device_type":["board"]}"#,
    );
    read(&info(payloads, provides, depends)).unwrap();
    assert_eq!(fault(&info("[]", provides, depends)), InfoFault::NoPayload);
    for none in ["{}", r#"{"device_type":[]}"#, r#"{"device_type":null}"#] {
        assert_eq!(
            fault(&info(payloads, provides, none)),
            InfoFault::NoDeviceType
        );
    }
    for name in ["", r"a\u0000", r"a\nb", &"n".repeat(257)] {
        let provides = format!(r#"{{"artifact_name":"{name}"}}"#);
        assert!(matches!(
            fault(&info(payloads, &provides, depends)),
            InfoFault::Text(_)
        ));
    }
    for module in ["", "..", "../sh", "a/b", "a b"] {
        let payloads = format!(r#"[{{"type":"{module}"}}]"#);
        assert!(matches!(
            fault(&info(&payloads, provides, depends)),
            InfoFault::Type(_)
        ));
    }
    let twice = r#"{"device_type":["board","board"]}"#;
    assert_eq!(
        fault(&info(payloads, provides, twice)),
        InfoFault::Twice(String::from("board"))
    );
    let many: Vec<_> = (0..257).map(|number| number.to_string()).collect();
    let many = format!(
        r#"{{"device_type":{}}}"#,
        serde_json::to_string(&many).unwrap()
    );
    assert!(matches!(
        fault(&info(payloads, provides, &many)),
        InfoFault::TooMany(256, _)
    ));
    let many = format!("[{}]", vec![r#"{"type":"x"}"#; 17].join(","));
    assert!(matches!(
        fault(&info(&many, provides, depends)),
        InfoFault::TooMany(16, _)
    ));

    for no_json in [
        info("[{}]", provides, depends),
        info(r#"[{"Type":"single-file"}]"#, provides, depends),
        info(
            payloads,
            r#"{"artifact_name":"app-1","Artifact_Name":"b"}"#,
            depends,
        ),
        info(
            payloads,
            r#"{"artifact_name":"app-1","artifact_name":"b"}"#,
            depends,
        ),
        info(payloads, "{}", depends),
        info(payloads, "null", depends),
        info(payloads, provides, r#"{"device_type":"board"}"#),
        info(payloads, provides, "null"),
        with_info("{}"),
        with_info(""),
        with_info("[]"),
        with_type("{}"),
        with_type(""),
        with_type(r#"{"type":"single-file","x":1}"#),
        with_type(r#"{"type":"single-file","artifact_provides":{"a":1}}"#),
        with_type(r#"{"type":"single-file","artifact_depends":{"a":[["b"]]}}"#),
    ] {
        let why = read(&no_json).unwrap_err();
        assert!(matches!(why, ArtifactError::Json { .. }), "{why}");
    }
}

#[test]
fn a_payload_says_what_header_info_says() {
    let fault = |text: &str| match read(&with_type(text)).unwrap_err() {
        ArtifactError::Info { fault, .. } => fault,
        other => panic!("{other}"),
    };
    for other in ["null", r#""""#, r#""docker""#] {
        assert_eq!(
            fault(&format!(r#"{{"type":{other}}}"#)),
            InfoFault::OtherType
        );
    }
    for key in ["artifact_name", "artifact_group"] {
        let text = format!(r#"{{"type":"single-file","artifact_provides":{{"{key}":"x"}}}}"#);
        assert_eq!(fault(&text), InfoFault::Twice(key.to_owned()));
    }
    let text = r#"{"type":"single-file","artifact_depends":{"device_type":"x"}}"#;
    assert_eq!(fault(text), InfoFault::Twice(String::from("device_type")));
    read(&with_type(r#"{"type":"single-file","artifact_provides":null,"artifact_depends":null,"clears_artifact_provides":null}"#)).unwrap();
}

#[test]
fn meta_data_is_an_object_of_bounded_depth() {
    let with = |text: &str| {
        let mut parts = parts();
        parts.header[2].1 = text.as_bytes().to_vec();
        read(&parts.signed(SEED))
    };
    let nested = |depth: usize| {
        format!(
            r#"{{"a":{}1{}}}"#,
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    let artifact = with(&nested(16)).unwrap();
    assert!(artifact.payloads()[0].meta_data.is_some());
    for wrong in [&*nested(17), "[]", "1", "{", r#"{"a":1,"a":2}"#, "{} {}"] {
        let why = with(wrong).unwrap_err();
        assert!(matches!(why, ArtifactError::Json { .. }), "{why}");
    }
    let mut parts = parts();
    parts.header.pop();
    assert_eq!(
        read(&parts.signed(SEED)).unwrap().payloads()[0].meta_data,
        None
    );
}

#[test]
fn a_header_holds_nothing_else() {
    for (at, name) in [
        (0, "x"),
        (1, "x"),
        (2, "headers/0000/files"),
        (3, "headers/0001/type-info"),
        (3, "headers/0000/meta-data"),
        (3, "scripts/ArtifactInstall_Enter_00"),
        (3, "../../etc/passwd"),
    ] {
        let mut parts = parts();
        parts.header.insert(at, named(name, b"{}"));
        let why = read(&parts.signed(SEED)).unwrap_err();
        assert!(matches!(why, ArtifactError::Member { .. }), "{name}: {why}");
    }
}
