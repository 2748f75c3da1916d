//! The verbs that ask a ledger, with a real one.

use std::fs;

use snapbox::str;

use crate::{command::Place, node::Node};

/// A place with a running ledger.
fn founded() -> (Place, Node) {
    let place = Place::new();
    let node = Node::start(&place);
    (place, node)
}

fn key(place: &Place, name: &str, purpose: &str) -> String {
    let made = place.run(&format!("key new {name} --purpose {purpose} --json"));
    made.json()["handle"].as_str().unwrap().to_owned()
}

#[test]
fn register_and_look_up() {
    let (place, node) = founded();
    let handle = key(&place, "camera.key", "act");
    node.run(&place, "key lookup camera.key")
        .exits(1)
        .says(str![[r#"
Unknown: the ledger proves that it has no such key
  handle     [HASH]
  proven at  block 2, [TIME]

"#]]);
    node.run(&place, "key register camera.key")
        .ok()
        .says(str![[r#"
Registered camera.key
  handle        [HASH]
  organisation  home
  at block      3

"#]]);
    node.run(&place, "key lookup camera.key")
        .ok()
        .says(str![[r#"
Active device key of home
  handle         [HASH]
  suite          Ed25519 + X25519
  signing key    [HASH]
  agreement key  [HASH]
  registered     block 3
  binding        holds: it was made with the ID at hand
  proven at      block 3, [TIME]

"#]]);
    // By its handle, and by its ID on standard input.
    let by_handle = node
        .run(&place, &format!("key lookup {handle} --json"))
        .json();
    assert_eq!(by_handle["binding"], "unchecked");
    let id = place.run("key show camera.key --id --json").out();
    let id: serde_json::Value = serde_json::from_str(&id).unwrap();
    let by_id = place
        .run_with(
            &format!("key lookup - --json --ledger {}", node.address),
            id["id"].as_str().unwrap(),
        )
        .json();
    assert_eq!(by_id["binding"], "holds");
    assert_eq!(by_id["handle"], *handle);
    // Again is no error and changes nothing.
    let again = node.run(&place, "key register camera.key --json").json();
    assert_eq!(again["keys"][0]["new"], false);
    assert_eq!(again["keys"][0]["registered"], 3);
}

#[test]
fn both_suites_and_several_at_once() {
    let (place, node) = founded();
    place.run("key new a.key --suite p256").ok();
    place
        .run("key new b.key --suite curve25519 --purpose pre")
        .ok();
    place.run("key new c.key --purpose app").ok();
    let done = node
        .run(&place, "key register a.key b.key c.key --json")
        .json();
    let heights: Vec<_> = done["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["registered"].as_u64().unwrap())
        .collect();
    assert_eq!(heights, [3, 3, 3]);
    place.run("key new w.key --purpose writer").ok();
    node.run(&place, "key register w.key").exits(2);
}

#[test]
fn a_proof_is_checked_with_nothing_but_the_genesis_hash() {
    let (place, node) = founded();
    key(&place, "camera.key", "act");
    node.run(&place, "key register camera.key").ok();
    node.run(&place, "key lookup camera.key --save camera.proof")
        .ok();
    let chain = node.chain.clone();
    node.stop();
    // Another machine: no profile, no anchor, no node.
    fs::remove_dir_all(place.path(".config")).unwrap();
    let offline = format!("key lookup camera.key --from camera.proof --chain {chain}");
    let shown = place.run(&format!("{offline} --json")).json();
    assert_eq!(shown["binding"], "holds");
    assert_eq!(shown["offline"], true);
    assert!(!place.path(".config").exists());

    let other = key(&place, "other.key", "act");
    place
        .run(&format!(
            "key lookup {other} --from camera.proof --chain {chain}"
        ))
        .exits(6);
    place
        .run(&format!(
            "key lookup camera.key --from camera.proof --chain {}",
            "0".repeat(64)
        ))
        .exits(15);
    // Any changed character of the proof itself.
    let text = fs::read_to_string(place.path("camera.proof")).unwrap();
    let start = text.find("\"proof\": \"").unwrap() + 10;
    let end = start + text[start..].find('"').unwrap();
    for at in (start..end - 4).step_by(7) {
        let mut bad = text.clone().into_bytes();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        fs::write(place.path("camera.proof"), &bad).unwrap();
        place.run(&offline).exits(6);
    }
    fs::write(place.path("camera.proof"), "{}").unwrap();
    place.run(&offline).exits(5);
}

#[test]
fn the_floor_never_goes_back() {
    let (place, node) = founded();
    key(&place, "camera.key", "act");
    node.run(&place, "key register camera.key").ok();
    let floor = place.path(format!(".config/kusabi/anchors/{}", node.chain));
    let before = fs::read(&floor).unwrap();
    node.run(&place, "key lookup camera.key").ok();
    assert_eq!(fs::read(&floor).unwrap(), before);
    // Someone who has seen more than this node shows refuses its answers.
    let mut ahead = before.clone();
    // The last byte of the height, before two hashes.
    ahead[kusabi_core::anchor::Anchor::LEN - 65] += 5;
    fs::write(&floor, &ahead).unwrap();
    let ran = node.run(&place, "key lookup camera.key");
    ran.exits(6);
    assert_eq!(fs::read(&floor).unwrap(), ahead);
    fs::write(&floor, &before[..100]).unwrap();
    node.run(&place, "key lookup camera.key").exits(17);
}

#[test]
fn rotate_revoke_history() {
    let (place, node) = founded();
    key(&place, "one.key", "act");
    node.run(&place, "key rotate one.key two.key").exits(1);
    assert!(!place.path("two.key").exists());
    node.run(&place, "key register one.key").ok();
    node.run(&place, "key rotate one.key two.key")
        .ok()
        .says(str![[r#"
Replaced one.key by two.key
  old handle  [HASH]
  new handle  [HASH]
  at block    4

"#]]);
    // The same again: nothing new happens.
    node.run(&place, "key rotate one.key two.key").ok();
    node.run(&place, "key rotate one.key three.key").exits(1);
    node.run(&place, "key lookup one.key").exits(1);
    let history = node.run(&place, "key history two.key --json").json();
    let status: Vec<_> = history["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["record"]["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["active", "superseded"]);
    node.run(&place, "key revoke two.key --reason lost")
        .ok()
        .says(str![[r#"
Revoked
  handle      [HASH]
  from block  5

"#]]);
    node.run(&place, "key revoke two.key").ok();
    node.run(&place, "key lookup two.key").exits(1);
    // A key file with another key under the follower's handle is not the follower.
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(place.path(file)).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.to_owned()
    };
    key(&place, "four.key", "act");
    let mut mixed = fs::read_to_string(place.path("four.key")).unwrap();
    for name in ["handle: ", "id: "] {
        mixed = mixed.replace(&field("four.key", name), &field("two.key", name));
    }
    fs::write(place.path("four.key"), mixed).unwrap();
    place.run("key show four.key").ok();
    node.run(&place, "key rotate one.key four.key").exits(1);
    // Someone else's key cannot be revoked with a key that has no say.
    key(&place, "a.key", "app");
    key(&place, "b.key", "app");
    node.run(&place, "key register a.key b.key").ok();
    let ran = node.run(&place, "key revoke a.key --by b.key");
    ran.exits(3);
    assert!(
        ran.err().starts_with("error: the ledger refused: "),
        "{}",
        ran.err()
    );
    node.run(&place, "key lookup a.key").ok();
}

#[test]
fn since_when_a_key_was_in_other_hands_can_be_said_later() {
    let (place, node) = founded();
    for name in ["one", "old"] {
        key(&place, &format!("{name}.key"), "act");
    }
    node.run(&place, "key register one.key old.key").ok();
    node.run(&place, "key revoke one.key --reason lost").ok();
    let officer = "--by ledger/keys/officer.key";
    node.run(
        &place,
        &format!("key revoke one.key --reason compromised --compromised-since 3 {officer}"),
    )
    .ok()
    .says(str![[r#"
Revoked
  handle          [HASH]
  from block      4
  in other hands  since block 3

"#]]);
    let shown = node.run(&place, "key lookup one.key --json");
    let shown: serde_json::Value = serde_json::from_str(&shown.out()).unwrap();
    assert_eq!(shown["record"]["compromised_since"], 3);
    // The same or a later height says nothing new, an earlier one does.
    for (since, new) in [(3, false), (4, false), (2, true)] {
        let said = node
            .run(
                &place,
                &format!("key revoke one.key --compromised-since {since} {officer} --json"),
            )
            .json();
        assert_eq!(said["new"], new, "{since}");
        assert_eq!(said["compromised_since"], since.min(3));
    }
    // A key that ended otherwise is not revoked without such a word, and with it, it is.
    node.run(&place, "key rotate old.key new.key").ok();
    let ran = node.run(&place, "key revoke old.key");
    ran.exits(1);
    assert!(ran.err().contains("--compromised-since"), "{}", ran.err());
    node.run(
        &place,
        &format!("key revoke old.key --compromised-since 3 {officer}"),
    )
    .ok();
}

#[test]
fn a_key_that_has_ended_is_not_given_back() {
    let (place, node) = founded();
    key(&place, "w2.key", "writer");
    key(&place, "camera.key", "act");
    node.run(&place, "org grant w2.key").ok();
    node.run(&place, "key register camera.key").ok();
    node.run(&place, "org withdraw w2.key").ok();
    node.run(&place, "key revoke camera.key").ok();
    for line in ["org grant w2.key", "key register camera.key"] {
        let ran = node.run(&place, line);
        ran.exits(1).says("");
        assert!(ran.err().contains("it has ended"), "{}", ran.err());
    }
    // The organisation is the record's, and not the one that was named.
    key(&place, "mine.key", "act");
    node.run(&place, "key register mine.key").ok();
    let ran = node.run(&place, "key register mine.key --org other");
    ran.exits(1).says("");
    assert!(
        ran.err().contains("as a key of home and not of other"),
        "{}",
        ran.err()
    );
}

#[test]
fn officers_give_and_take_roles() {
    let (place, node) = founded();
    key(&place, "w2.key", "writer");
    key(&place, "camera.key", "act");
    let refused = node.run(&place, "key register camera.key --writer w2.key");
    refused.exits(3);
    node.run(&place, "org grant w2.key").ok().says(str![[r#"
Granted writer in home to w2.key
  handle    [HASH]
  at block  3

"#]]);
    node.run(&place, "org grant w2.key").ok();
    node.run(&place, "key register camera.key --writer w2.key")
        .ok();
    node.run(&place, "org withdraw w2.key").ok();
    node.run(&place, "org withdraw w2.key").ok();
    key(&place, "late.key", "act");
    node.run(&place, "key register late.key --writer w2.key")
        .exits(3);
    key(&place, "w3.key", "writer");
    node.run(&place, "org grant w3.key --officer w2.key")
        .exits(3);
    // The last officer stays.
    node.run(&place, "org withdraw ledger/keys/officer.key")
        .exits(3);
    let org = node.run(&place, "org show --json").json();
    assert_eq!(org["officers"], 1);
    assert_eq!(org["name"], "home");
    node.run(&place, "org show nobody").exits(1);
}

#[test]
fn batches_are_made_offline_and_registered_once() {
    let (place, node) = founded();
    place
        .run("batch new --count 5000 --bundle all.keys --list all.list --quiet")
        .ok();
    let done = node.run(&place, "batch submit all.list --json").json();
    assert_eq!(
        (&done["registered"], &done["transactions"]),
        (&5000.into(), &2.into())
    );
    let again = node.run(&place, "batch submit all.list --json").json();
    assert_eq!(
        (&again["registered"], &again["already"]),
        (&0.into(), &5000.into())
    );
    place
        .run("batch new --count 3 --dir keys --list few.list --purpose act")
        .ok();
    node.run(&place, "batch submit few.list").ok();
    node.run(&place, "key lookup keys/000002.key").ok();
    let org = node.run(&place, "org show --json").json();
    assert_eq!(org["active"], 5_005);
}

#[test]
fn one_key_does_not_speak_for_a_batch() {
    let (place, node) = founded();
    let batch = |name: &str| {
        place
            .run(&format!(
                "batch new --count 5 --dir {name} --list {name}.list --purpose act --quiet"
            ))
            .ok();
        let list = fs::read_to_string(place.path(format!("{name}.list"))).unwrap();
        let handles: Vec<String> = list
            .lines()
            .skip(1)
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        handles
    };
    let file_of = |name: &str, handle: &str| {
        (1..=5)
            .map(|number| format!("{name}/{number:06}.key"))
            .find(|file| {
                fs::read_to_string(place.path(file))
                    .unwrap()
                    .contains(handle)
            })
            .unwrap()
    };
    let known = |handles: &[String]| {
        handles
            .iter()
            .filter(|handle| node.run(&place, &format!("key lookup {handle}")).code() == 0)
            .count()
    };
    // The first, or one in the middle, was registered by hand: the rest follows.
    for (name, place_in_list) in [("first", 0), ("middle", 2)] {
        let handles = batch(name);
        let file = file_of(name, &handles[place_in_list]);
        node.run(&place, &format!("key register {file}")).ok();
        let done = node
            .run(&place, &format!("batch submit {name}.list --json"))
            .json();
        assert_eq!(
            (&done["registered"], &done["already"]),
            (&4.into(), &1.into())
        );
        assert_eq!(known(&handles), 5);
        let again = node
            .run(&place, &format!("batch submit {name}.list --json"))
            .json();
        assert_eq!(
            (&again["registered"], &again["already"]),
            (&0.into(), &5.into())
        );
    }
    // Somebody was there first with a key of his own: that one is named each time, the others are registered.
    let handles = batch("theirs");
    let taken = file_of("theirs", &handles[0]);
    let text = fs::read_to_string(place.path(&taken)).unwrap();
    key(&place, "thief.key", "act");
    let thief = fs::read_to_string(place.path("thief.key")).unwrap();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.to_owned()
    };
    let mut mixed = thief.clone();
    for name in ["handle: ", "id: "] {
        mixed = mixed.replace(&field(&thief, name), &field(&text, name));
    }
    fs::write(place.path("thief.key"), mixed).unwrap();
    node.run(&place, "key register thief.key").ok();
    for registered in [4, 0] {
        let ran = node.run(&place, "batch submit theirs.list --json");
        ran.exits(1);
        let said: serde_json::Value = serde_json::from_str(&ran.out()).unwrap();
        assert_eq!(said["registered"], registered);
        assert_eq!(said["foreign"], serde_json::json!([handles[0]]));
    }
    assert_eq!(known(&handles), 5);
    let ran = node.run(&place, "batch submit theirs.list");
    assert!(
        ran.out().contains("Not registered: 1 key,"),
        "{}",
        ran.out()
    );
}

#[test]
fn sign_and_verify() {
    let (place, node) = founded();
    let chain = node.chain.clone();
    fs::write(place.path("firmware"), b"firmware 1").unwrap();
    key(&place, "me.key", "app");
    node.run(&place, "sign firmware --key me.key").exits(1);
    node.run(&place, "key register me.key").ok();
    node.run(&place, "sign firmware --key me.key").ok();
    node.run(&place, "verify firmware").ok().says(str![[r#"
Valid now (key active at height 3)
  file       firmware
  SHA-256    [HASH]
  signer     [HASH]
  purpose    app
  proven at  block 3, [TIME]
  checked    with the newest proof of the ledger

"#]]);
    let offline = format!("verify firmware --chain {chain}");
    place.run(&offline).exits(1).says(str![[r#"
Unproven: the signature is good and its key was active at height 3, but no fresh proof is at hand
  file     firmware
  SHA-256  [HASH]
  signer   [HASH]
  purpose  app
  checked  offline, from the genesis hash alone

Ask the ledger whether the key is in force: give --ledger URL.

"#]]);
    place.run(&format!("{offline} --fresh-from 3")).ok();
    node.run(&place, "sign firmware --key me.key").exits(5);
    node.run(&place, "sign firmware --key me.key --anchor --force")
        .ok();
    place.run(&offline).ok().says(str![[r#"
Anchored while valid (signature on the ledger at height 4, key known up to height 4)
  file     firmware
  SHA-256  [HASH]
  signer   [HASH]
  purpose  app
  checked  offline, from the genesis hash alone

"#]]);
    // A device key signs too; the writer puts its anchor on the ledger.
    place.run("key new camera.key").ok();
    node.run(&place, "key register camera.key").ok();
    node.run(
        &place,
        "sign firmware --key camera.key --anchor --out camera.sig",
    )
    .ok();
    place
        .run(&format!("verify firmware camera.sig --chain {chain}"))
        .ok();

    node.run(&place, "key revoke me.key --reason lost").ok();
    // Good for its time, and it is said that the key has ended since.
    node.run(&place, "verify firmware").ok().says(str![[r#"
Anchored while valid (signature on the ledger at height 4, key known up to height [..])
  file       firmware
  SHA-256    [HASH]
  signer     [HASH]
  purpose    app
  its key    revoked at block 7 (lost)
  proven at  block [..], [TIME]
  checked    with the newest proof of the ledger

"#]]);
    let judged = node.run(&place, "verify firmware --json").json();
    assert_eq!(judged["key_ended"]["status"], "revoked");
    assert_eq!(judged["key_ended"]["at"], 7);
    node.run(&place, "sign firmware --key me.key --out again.sig")
        .exits(1);
    place
        .run(&format!("verify firmware --chain {}", "0".repeat(64)))
        .exits(1);
    fs::write(place.path("firmware"), b"firmware 2").unwrap();
    let ran = place.run(&format!("{offline} --json"));
    ran.exits(1);
    assert!(
        ran.out().contains("\"verdict\":\"invalid\""),
        "{}",
        ran.out()
    );
    fs::write(place.path("firmware.kusabi"), b"nonsense").unwrap();
    place.run(&offline).exits(1);
    fs::remove_file(place.path("firmware.kusabi")).unwrap();
    place.run(&offline).exits(5).complains(str![[r#"
error: firmware.kusabi could not be read: it does not exist
  hint: firmware is not signed, or its signature lies elsewhere: name it, `kusabi verify firmware SIGNATURE`; `kusabi sign` makes one

"#]]);
    place
        .run(&format!("verify firmware other.sig --chain {chain}"))
        .exits(5)
        .complains(str![[r#"
error: other.sig could not be read: it does not exist
  hint: check the path; relative paths count from the current directory

"#]]);
}
