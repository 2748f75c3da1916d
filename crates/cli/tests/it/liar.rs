//! A network that changes, cuts or replays answers, and a node that has another history.

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::StreamExt as _;
use kusabi_api::{HttpLedger, Ledger as _};
use kusabi_core::id::Height;

use crate::{
    command::Place,
    node::Node,
    proxy::{Proxy, problem},
};

/// A ledger with four blocks.
fn founded() -> (Place, Node) {
    let place = Place::new();
    let node = Node::start(&place);
    for name in ["a", "b"] {
        place.run(&format!("key new {name}.key")).ok();
        node.run(&place, &format!("key register {name}.key")).ok();
    }
    (place, node)
}

fn block(path: &str) -> Option<u64> {
    path.strip_prefix("/v1/blocks/")?.parse().ok()
}

#[test]
fn a_copy_that_is_cut_short_is_no_backup_and_goes_on_later() {
    let (place, node) = founded();
    let honest = Arc::new(AtomicBool::new(false));
    let now = honest.clone();
    let proxy = Proxy::before(&node.address, move |path, answer| match block(path) {
        Some(height) if height > 2 && !now.load(Ordering::SeqCst) => {
            problem(404, "unknown", "no such block")
        }
        _ => answer,
    });
    let cut = place.run(&format!("backup b --ledger {}", proxy.address));
    cut.exits(6);
    assert!(cut.err().contains("it has no block 3"), "{}", cut.err());
    assert!(!place.path("b").exists());
    let audit = place.run(&format!("audit --ledger {}", proxy.address));
    audit.exits(6).says("");

    // What was copied is kept, checked again and not asked for again.
    honest.store(true, Ordering::SeqCst);
    proxy.asked();
    place
        .run(&format!("backup b --ledger {}", proxy.address))
        .ok();
    assert!(!proxy.asked().contains(&"/v1/blocks/2".to_owned()));
    assert!(!place.path("b.partial").exists());
    place.run("audit b").ok();

    // A torn end and a changed block of the unfinished copy are copied anew.
    let good = fs::read(place.path("b")).unwrap();
    for (bytes, at) in [
        (good[..good.len() - 9].to_vec(), None),
        (good[..10].to_vec(), None),
        (good.clone(), Some(good.len() / 2)),
    ] {
        let mut bytes = bytes;
        if let Some(at) = at {
            bytes[at] ^= 1;
        }
        fs::remove_file(place.path("b")).unwrap();
        fs::write(place.path("b.partial"), bytes).unwrap();
        node.run(&place, "backup b").ok();
        place.run("audit b").ok();
        assert!(fs::read(place.path("b")).unwrap().starts_with(&good));
    }
    fs::write(place.path("c.partial"), "somebody's text").unwrap();
    node.run(&place, "backup c").exits(5);
    node.stop();
    place.run("backup c --data ledger").exits(5);
    assert_eq!(
        fs::read(place.path("c.partial")).unwrap(),
        b"somebody's text"
    );
}

#[test]
fn a_changed_block_is_noticed_while_it_is_copied() {
    let (place, node) = founded();
    let proxy = Proxy::before(&node.address, |path, mut answer| {
        if block(path) == Some(3) {
            *answer.last_mut().unwrap() ^= 1;
        }
        answer
    });
    let ran = place.run(&format!("backup b --ledger {}", proxy.address));
    ran.exits(6);
    assert!(ran.err().contains("block 3: "), "{}", ran.err());
    assert!(!place.path("b").exists());
    place
        .run(&format!("audit --ledger {}", proxy.address))
        .exits(6);
    node.run(&place, "backup b").ok();
}

#[test]
fn a_copy_is_not_written_through_a_link() {
    let (place, node) = founded();
    fs::write(place.path("victim"), "x").unwrap();
    std::os::unix::fs::symlink("victim", place.path("b.partial")).unwrap();
    node.run(&place, "backup b").exits(5);
    assert_eq!(fs::read(place.path("victim")).unwrap(), b"x");
    assert!(!place.path("b").exists());
}

#[test]
fn an_audit_compares_with_what_this_machine_has_verified() {
    let place = Place::new();
    let node = Node::start(&place);
    place.run("key new a.key").ok();
    node.run(&place, "key register a.key").ok();
    node.stop();
    let copy = |from: &str, to: &str| {
        let status = Command::new("cp")
            .args(["-r", from, to])
            .current_dir(place.path(""))
            .status()
            .unwrap();
        assert!(status.success());
    };
    copy("ledger", "old");
    let node = Node::start(&place);
    place.run("key new b.key").ok();
    node.run(&place, "key register b.key").ok();
    node.run(&place, "backup honest").ok();
    node.stop();
    fs::rename(place.path("ledger"), place.path("true")).unwrap();
    fs::rename(place.path("old"), place.path("ledger")).unwrap();

    // The copy goes on by itself, with other blocks at the same heights; a second client knows only those.
    let node = Node::start(&place);
    let other = |line: &str| {
        place.run_at(
            "other",
            &format!(
                "{line} --profile ledger/profile.toml --ledger {}",
                node.address
            ),
        )
    };
    for name in ["c", "d", "e"] {
        place.run(&format!("key new {name}.key")).ok();
        other(&format!("key register {name}.key")).ok();
    }
    other("audit").ok();
    other("backup forked").ok();

    place.run("audit honest").ok();
    place.run("audit forked").exits(1);
    node.stop();
    place.run("audit --data ledger").exits(1);
    let node = Node::start(&place);
    let audit = node.run(&place, "audit");
    audit.exits(1);
    assert!(
        audit
            .out()
            .contains("Not sound: block 4 is not the one that this machine has verified"),
        "{}",
        audit.out()
    );
    // An older copy is sound, and what it lacks is said.
    let older = place.run_at("other", "audit honest --json").json();
    assert_eq!(older["good"], true);
    assert!(older["seen_above"].as_u64().unwrap() >= 6);
}

#[test]
fn a_node_moves_no_cursor() {
    let (place, node) = founded();
    let forged = "\x1b[2K\x1b[1A\u{9b}2K\rValid now\n  checked\u{202e}";
    let proxy = Proxy::before(&node.address, move |path, answer| {
        if path.starts_with("/v1/state/") {
            problem(409, "conflict", forged)
        } else {
            answer
        }
    });
    let line = format!("key lookup a.key --ledger {}", proxy.address);
    for more in ["--color always", "--json"] {
        let ran = place.run(&format!("{line} {more}"));
        ran.exits(3);
        for hidden in ["\x1b[2K", "\x1b[1A", "\u{9b}", "\r", "\u{202e}"] {
            assert!(!ran.err().contains(hidden), "{:?}", ran.err());
        }
        assert!(!ran.err().contains("\n  checked"), "{:?}", ran.err());
    }
    // Nor does a proof that somebody sent.
    let sent = serde_json::json!({ "kusabi": "proof-1", forged: 1 }).to_string();
    fs::write(place.path("sent.proof"), sent).unwrap();
    let ran = place.run("key lookup a.key --from sent.proof --color always");
    ran.exits(5);
    assert!(ran.err().contains("\\u{1b}[2K"), "{:?}", ran.err());
    assert!(!ran.err().contains("\x1b[2K") && !ran.err().contains("\n  checked"));
    let long = "x".repeat(10_000);
    let proxy = Proxy::before(&node.address, move |_, _| problem(409, "conflict", &long));
    let ran = place.run(&format!("key lookup a.key --ledger {}", proxy.address));
    ran.exits(3);
    assert!(ran.err().len() < 2_000);
}

#[test]
fn a_replayed_answer_shows_its_age() {
    let place = Place::new();
    fs::write(place.path("node.toml"), "heartbeat_s = 1\n").unwrap();
    let node = Node::start_with(&place, "--config node.toml");
    place.run("key new me.key --purpose app").ok();
    node.run(&place, "key register me.key").ok();
    fs::write(place.path("f"), "x").unwrap();
    node.run(&place, "sign f --key me.key").ok();

    let kept = Arc::new(Mutex::new(BTreeMap::new()));
    let proxy = Proxy::before(&node.address, move |path, answer| {
        let mut kept = kept.lock().unwrap();
        kept.entry(path.to_owned()).or_insert(answer).clone()
    });
    let line = format!("verify f --ledger {}", proxy.address);
    let fresh = place.run(&format!("{line} --json")).json();
    assert_eq!(fresh["verdict"], "valid-now");
    assert!(fresh["proven_age_ms"].as_u64().unwrap() < 10_000);

    // Twelve heartbeats later the key is revoked, and the man in the middle shows what was.
    let height = fresh["proven_at"].as_u64().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let http = HttpLedger::new(&node.address).unwrap();
        let mut events = http.events(Height::new(height).unwrap()).await.unwrap();
        let first = events.next().await.unwrap().unwrap().time_ms;
        while events.next().await.unwrap().unwrap().time_ms < first + 12_000 {}
    });
    let replayed = place.run(&format!("{line} --json"));
    replayed.exits(0);
    let said: serde_json::Value = serde_json::from_str(&replayed.out()).unwrap();
    assert_eq!(said["proven_at"], fresh["proven_at"]);
    assert!(said["proven_age_ms"].as_u64().unwrap() > 10_000);
    assert!(
        replayed
            .err()
            .contains("\"warning\":\"by this machine's clock"),
        "{}",
        replayed.err()
    );
    // The honest node's answer carries no warning.
    node.run(&place, "verify f").ok();
}
