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

#[test]
fn an_id_never_stands_on_the_command_line() {
    let place = Place::new();
    place.run("key new camera.key").ok();
    let shown = place.run("key show camera.key --id --json");
    let shown: serde_json::Value = serde_json::from_str(&shown.out()).unwrap();
    let id = shown["id"].as_str().unwrap();
    let ran = place.run(&format!("key lookup {id}"));
    ran.exits(2).complains(str![[r#"
error: a kusabi-ID stands on the command line, where the shell's history and other users see it
  hint: give `-` and write the ID to standard input; or name the key by its file or handle

"#]]);
    // On standard input it is taken, and the next thing that is missing is the chain.
    let ran = place.run_with("key lookup -", id);
    ran.exits(2);
    assert!(ran.err().contains("no chain is named"), "{}", ran.err());
    let ran = place.run_with("key lookup -", "kid1nonsense");
    ran.exits(2);
    assert!(!ran.err().contains("nonsense"), "{}", ran.err());
}

#[test]
fn what_is_missing_or_wrong_in_the_profile_is_said() {
    let place = Place::new();
    let chain = "0".repeat(64);
    place.run("key new camera.key").ok();
    place
        .run(&format!("key lookup camera.key --chain {chain}"))
        .exits(2)
        .complains(str![[r#"
error: no ledger is named: there is no profile at [..]/.config/kusabi/profile.toml
  hint: give --ledger URL, or write  ledger = "http://…"  to [..]/.config/kusabi/profile.toml
        if yours lies elsewhere, name it with --profile FILE, or its folder with KUSABI_HOME; `kusabi up` and `kusabi node run` write one when they found a ledger

"#]]);
    fs::write(place.path("p.toml"), "ledgre = 1\n").unwrap();
    place
        .run("org show home --profile p.toml")
        .exits(10)
        .complains(str![[r#"
error: p.toml is not valid

TOML parse error at line 1, column 1
  |
1 | ledgre = 1
  | ^^^^^^
unknown field `ledgre`, expected one of `ledger`, `chain`, `org`, `writer`, `officers`, `art`, `server`, `token_file`, `server_ca`
  hint: mend the line; docs/cli.md lists every setting

"#]]);
    fs::write(place.path("p.toml"), "chain = \"beef\"\n").unwrap();
    place.run("org show home --profile p.toml").exits(10);
    place.run("org show home --profile none.toml").exits(5);
    place
        .run(&format!("org show home --chain {chain} --ledger ftp://x"))
        .exits(2);
}

#[test]
fn a_ledger_that_is_not_there_is_unavailable() {
    let place = Place::new();
    let chain = "0".repeat(64);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ran = place.run(&format!(
        "org show home --chain {chain} --ledger http://127.0.0.1:{port}"
    ));
    ran.exits(4);
    assert!(
        ran.err().contains("hint: is the node running?"),
        "{}",
        ran.err()
    );
}

#[test]
fn a_list_that_is_damaged_is_refused() {
    let place = Place::new();
    let chain = "0".repeat(64);
    place
        .run(&format!(
            "batch new --count 3 --dir keys --list list --org home --chain {chain}"
        ))
        .ok();
    assert_eq!(fs::read_dir(place.path("keys")).unwrap().count(), 3);
    let good = fs::read_to_string(place.path("list")).unwrap();
    let lines: Vec<_> = good.lines().collect();
    for bad in [
        String::new(),
        good.replace("kusabi-list-v1", "kusabi-list-v2"),
        lines[0].to_owned(),
        good.replace(" pre ", " per "),
        [lines[0], lines[2], lines[1]].join("\n"),
        [lines[0], lines[1], lines[1]].join("\n"),
        good[..good.len() - 9].to_owned(),
    ] {
        fs::write(place.path("list"), bad).unwrap();
        let ran = place.run(&format!("batch submit list --chain {chain}"));
        ran.exits(5);
        assert!(
            ran.err().contains("is not a list of keys: line "),
            "{}",
            ran.err()
        );
    }
    fs::write(place.path("list"), good).unwrap();
    let other = "1".repeat(64);
    place
        .run(&format!("batch submit list --chain {other}"))
        .exits(15);
}

#[test]
fn an_interrupted_batch_goes_on() {
    let place = Place::new();
    let chain = "0".repeat(64);
    let new = |count: u32, list: &str| {
        place.run(&format!(
            "batch new --count {count} --dir keys --list {list} --org home --chain {chain}"
        ))
    };
    new(2, "a").ok();
    let first = fs::read(place.path("keys/000001.key")).unwrap();
    new(4, "b").ok();
    assert_eq!(fs::read(place.path("keys/000001.key")).unwrap(), first);
    assert_eq!(fs::read_dir(place.path("keys")).unwrap().count(), 4);
    new(4, "b").exits(5);
    // All in one file, every key of it can be read and stands in the list.
    place
        .run(&format!(
            "batch new --count 5 --bundle all.keys --list c --org home --chain {chain}"
        ))
        .ok();
    let list = fs::read_to_string(place.path("c")).unwrap();
    let keys = fs::read_to_string(place.path("all.keys")).unwrap();
    let handles: Vec<_> = keys
        .lines()
        .filter_map(|line| line.strip_prefix("handle: "))
        .collect();
    assert_eq!(handles.len(), 5);
    assert!(handles.iter().all(|handle| list.contains(handle)));
    for secret in keys
        .lines()
        .filter_map(|line| line.strip_prefix("secret: "))
    {
        assert!(!list.contains(secret));
    }
}
