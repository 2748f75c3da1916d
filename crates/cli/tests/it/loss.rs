//! Backup, audit, a lost disk and a recovery.

use std::fs;

use snapbox::str;

use crate::{command::Place, node::Node};

#[test]
fn a_lost_disk_is_recovered_and_nothing_old_loses_its_worth() {
    let place = Place::new();
    let node = Node::start(&place);
    let chain = node.chain.clone();
    fs::write(place.path("firmware"), b"firmware 1").unwrap();
    for (key, purpose) in [
        ("camera.key", "act"),
        ("me.key", "app"),
        ("late.key", "act"),
    ] {
        place
            .run(&format!("key new {key} --purpose {purpose}"))
            .ok();
    }
    node.run(&place, "key register camera.key me.key").ok();
    node.run(&place, "key lookup camera.key --save camera.proof")
        .ok();
    node.run(&place, "sign firmware --key me.key --anchor").ok();
    node.run(&place, "backup old.backup").ok();
    node.run(&place, "backup old.backup").exits(5);
    node.run(&place, "audit").ok();
    // After the backup; it will be lost with the disk.
    node.run(&place, "key register late.key").ok();
    node.stop();
    place.run("backup whole.backup --data ledger").ok();
    place.run("audit --data ledger").ok();

    for key in ["recovery", "officer", "writer"] {
        fs::rename(
            place.path(format!("ledger/keys/{key}.key")),
            place.path(format!("{key}.key")),
        )
        .unwrap();
    }
    fs::remove_dir_all(place.path("ledger")).unwrap();
    place
        .run("restore old.backup --data ledger")
        .ok()
        .says(str![[r#"
Restored 4 blocks to ledger
  chain  [HASH]
  up to  block 4

To go on with it, with the recovery key at hand:
  kusabi recover --data ledger --key recovery.key

"#]]);
    place
        .run("node run --data ledger --listen 127.0.0.1:0")
        .exits(17);
    place
        .run("recover --data ledger --key officer.key")
        .exits(2);
    place.run("key new stranger.key --purpose recovery").ok();
    place
        .run("recover --data ledger --key stranger.key")
        .exits(15);
    // Devices may have seen block 5.
    place
        .run("recover --data ledger --key recovery.key --from 5")
        .exits(2);
    place
        .run("recover --data ledger --key recovery.key")
        .ok()
        .says(str![[r#"
Recovered the ledger in ledger
  chain    [HASH]
  kept     up to block 4
  goes on  at block 1,000,000,004, in epoch 1

What was registered after that block is lost: register it again. Now start the node:
  kusabi node run --data ledger

"#]]);

    let node = Node::start(&place);
    assert_eq!(node.chain, chain);
    // The floor of before the loss is respected: the recovery leads above it.
    node.run(&place, "key lookup camera.key").ok();
    node.run(&place, "key lookup late.key").exits(1);
    node.run(&place, "key register late.key --writer writer.key")
        .ok();
    // Someone who knows the genesis hash only finds the way through both epochs.
    fs::remove_dir_all(place.path(".config/kusabi/anchors")).unwrap();
    node.run(&place, "key lookup late.key").ok();
    node.run(&place, "sign firmware --key me.key --out new.sig --anchor")
        .ok();
    place
        .run(&format!("verify firmware new.sig --genesis {chain}"))
        .ok();
    // What was proven before is proven now.
    place
        .run(&format!(
            "key lookup camera.key --from camera.proof --genesis {chain}"
        ))
        .ok();
    place
        .run(&format!("verify firmware --genesis {chain}"))
        .ok();
    node.run(&place, "audit").ok();
    node.run(&place, "backup new.backup").ok();
    node.stop();
    place.run("audit new.backup").ok();
}

#[test]
fn a_backup_that_is_not_whole_or_of_another_chain_is_refused() {
    let place = Place::new();
    let node = Node::start(&place);
    place.run("key new camera.key").ok();
    node.run(&place, "key register camera.key").ok();
    node.run(&place, "backup a.backup").ok();
    node.stop();
    let good = fs::read(place.path("a.backup")).unwrap();
    let refused = |bytes: &[u8], codes: &[i32]| {
        fs::write(place.path("bad.backup"), bytes).unwrap();
        let ran = place.run("restore bad.backup --data restored");
        assert!(codes.contains(&ran.code()), "{}: {}", ran.code(), ran.err());
        assert!(!place.path("restored/node/format").exists());
        let _ = fs::remove_dir_all(place.path("restored"));
    };
    refused(b"", &[5]);
    refused(b"hello", &[5]);
    refused(&good[..good.len() - 1], &[17]);
    refused(&good[..40], &[17]);
    // One changed bit, anywhere.
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        refused(&bad, &[5, 15, 16, 17]);
        let audited = place.run("audit bad.backup");
        assert!(
            [1, 5, 15, 16, 17].contains(&audited.code()),
            "{at}: {}",
            audited.out()
        );
    }
    let other = "0".repeat(64);
    place
        .run(&format!("restore a.backup --data restored --chain {other}"))
        .exits(15);
    place
        .run(&format!("audit a.backup --chain {other}"))
        .exits(15);
    place.run("restore a.backup --data restored").ok();
    place.run("restore a.backup --data restored").exits(5);
}
