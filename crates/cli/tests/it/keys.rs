//! Key files: made, shown, guarded.

use std::{fs, os::unix::fs::PermissionsExt as _};

use snapbox::str;

use crate::command::Place;

#[test]
fn new_and_show() {
    let place = Place::new();
    place.run("key new camera.key").ok().says(str![[r#"
Made camera.key
  purpose  act, device key
  handle   [HASH]

"#]]);
    place.run("key show camera.key").ok().says(str![[r#"
Device key in camera.key
  purpose        act
  suite          1, Ed25519 + X25519
  handle         [HASH]
  signing key    [HASH]
  agreement key  [HASH]

"#]]);
    let file = fs::read_to_string(place.path("camera.key")).unwrap();
    assert_eq!(
        place
            .path("camera.key")
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let secret = file
        .lines()
        .last()
        .unwrap()
        .strip_prefix("secret: ")
        .unwrap();
    let id = file
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    let shown = place.run("key show camera.key --json");
    assert!(!shown.out().contains(secret) && !shown.out().contains(id));
    assert_eq!(shown.json()["handle"].as_str().unwrap().len(), 64);
    let with_id = place.run("key show camera.key --id --json");
    with_id.exits(0);
    assert!(with_id.out().contains(id) && !with_id.out().contains(secret));
    assert!(with_id.err().contains("warning"));
}

#[test]
fn every_purpose_and_suite() {
    let place = Place::new();
    for purpose in [
        "pre", "act", "art", "ps", "writer", "officer", "revoker", "app", "recovery",
    ] {
        for suite in ["curve25519", "p256"] {
            let file = format!("{purpose}-{suite}.key");
            let made = place.run(&format!(
                "key new {file} --purpose {purpose} --suite {suite} --json"
            ));
            let shown = place.run(&format!("key show {file} --json"));
            assert_eq!(made.json()["handle"], shown.json()["handle"]);
            assert_eq!(shown.json()["purpose"], purpose);
        }
    }
}

#[test]
fn a_key_is_never_overwritten() {
    let place = Place::new();
    place.run("key new camera.key").ok();
    let before = fs::read(place.path("camera.key")).unwrap();
    place.run("key new camera.key").exits(5).complains(str![[r#"
error: camera.key could not be created: it exists already
  hint: choose another name: kusabi never overwrites a key or a proof

"#]]);
    assert_eq!(fs::read(place.path("camera.key")).unwrap(), before);
    assert_eq!(
        fs::read_dir(place.path("")).unwrap().count(),
        1,
        "no temporary file is left behind"
    );
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let place = Place::new();
    place.run("key new camera.key").ok();
    let path = place.path("camera.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    place
        .run("key show camera.key")
        .exits(5)
        .complains(str![[r#"
error: camera.key holds a secret, and others may read it (mode 0644)
  hint: chmod 600 camera.key
        and if others could have read it, replace the key: kusabi key rotate

"#]]);
}

#[test]
fn what_is_no_key_file_is_refused_without_repeating_it() {
    let place = Place::new();
    place.run("key new camera.key").ok();
    let path = place.path("camera.key");
    let good = fs::read_to_string(&path).unwrap();
    let secret = good.lines().last().unwrap();
    for (bad, why) in [
        (String::new(), "it is empty"),
        ("hello\n".to_owned(), "its first line is not kusabi-key-v1"),
        (
            good.replace("kusabi-key-v1", "kusabi-key-v2"),
            "its first line is not kusabi-key-v1",
        ),
        (
            good.replace("protection: none", "protection: age"),
            "its protection `age` is not known to this version",
        ),
        (good.replace(secret, ""), "the field `secret` is missing"),
        (
            good.replace("secret: ", "secret "),
            "a line is no `name: value`",
        ),
        (
            good.replace("suite: 1", "suite: 2"),
            "`public` and `secret` do not belong together",
        ),
        (
            good.replace(secret, "secret: 00"),
            "`secret`: the hexadecimal text has the wrong length",
        ),
    ] {
        fs::write(&path, bad).unwrap();
        let ran = place.run("key show camera.key");
        ran.exits(5);
        assert_eq!(
            ran.err().lines().next().unwrap(),
            format!("error: camera.key is not a key file: {why}")
        );
        assert!(!ran.err().contains(&secret[8..]));
    }
    fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
    place.run("key show camera.key").exits(5);
}

#[test]
fn a_key_may_come_through_a_pipe() {
    let place = Place::new();
    let made = place.run("key new camera.key --json").json();
    let text = fs::read_to_string(place.path("camera.key")).unwrap();
    let shown = place.run_with("key show /dev/stdin --json", &text).json();
    assert_eq!(shown["handle"], made["handle"]);
}

#[test]
fn errors_have_a_json_form() {
    let place = Place::new();
    let ran = place.run("key show nothing.key --json");
    ran.exits(5).says("").complains(str![[r#"
{"error":{"code":"file","exit":5,"what":"nothing.key could not be read: it does not exist","advice":"check the path; relative paths count from the current directory"}}

"#]]);
    let ran = place.run("key shwo --json");
    ran.exits(2).says("");
    let error: serde_json::Value = serde_json::from_str(&ran.err()).unwrap();
    assert_eq!(error["error"]["code"], "usage");
    assert_eq!(error["error"]["what"], "unrecognized subcommand 'shwo'");
}
