//! Backup, audit, a lost disk and a recovery.

use std::fs;

use kusabi_core::{
    handover::{Recovery, RecoveryParts},
    id::{Epoch, OrgId},
    set::{EpochSet, EpochSetParts, OrganisationParts},
    suite::VerificationKey,
    tx::{Action, Draft, Transaction},
};
use kusabi_node::directory::Directory;
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
        .exits(19);
    place
        .run("recover --data ledger --key officer.key")
        .exits(2);
    place.run("key new stranger.key --purpose recovery").ok();
    place
        .run("recover --data ledger --key stranger.key")
        .exits(15);
    // This machine has seen block 5: is there no newer backup?
    place
        .run("recover --data ledger --key recovery.key")
        .exits(2)
        .complains(str![[r#"
error: this machine has verified block 5 in epoch 0, and ledger ends at block 4 in epoch 0
  hint: what came after it will be lost for good: look for a newer backup or another node's copy first; if there is none, give --accept-loss

"#]]);
    // With a backup it is that one which ends too early.
    place
        .run("recover --data ledger --backup old.backup --key recovery.key")
        .exits(2)
        .complains(str![[r#"
error: this machine has verified block 5 in epoch 0, and old.backup ends at block 4 in epoch 0
  hint: what came after it will be lost for good: look for a newer backup or another node's copy first; if there is none, give --accept-loss

"#]]);
    // Devices may have seen block 5.
    place
        .run("recover --data ledger --key recovery.key --accept-loss --from 5")
        .exits(2);
    place
        .run("recover --data ledger --key recovery.key --accept-loss --from 1000000004 --above-epoch 6")
        .ok()
        .says(str![[r#"
Recovered the ledger in ledger
  chain    [HASH]
  kept     up to block 4
  lost     what came after it, up to block 5 or further
  goes on  at block 1,000,000,004, in epoch 7
  clock    [TIME]

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
        .run(&format!("verify firmware new.sig --chain {chain}"))
        .ok();
    // What was proven before is proven now.
    place
        .run(&format!(
            "key lookup camera.key --from camera.proof --chain {chain}"
        ))
        .ok();
    place.run(&format!("verify firmware --chain {chain}")).ok();
    node.run(&place, "audit").ok();
    node.run(&place, "backup new.backup").ok();
    node.stop();
    place.run("audit new.backup").ok();
}

/// A ledger with a backup, its keys in a safe place, its disk lost.
fn lost() -> (Place, String) {
    let place = Place::new();
    let node = Node::start(&place);
    let chain = node.chain.clone();
    place.run("key new camera.key").ok();
    node.run(&place, "key register camera.key").ok();
    node.run(&place, "backup b").ok();
    node.stop();
    fs::rename(place.path("ledger/keys"), place.path("safe")).unwrap();
    fs::remove_dir_all(place.path("ledger")).unwrap();
    (place, chain)
}

const RECOVER: &str = "recover --data ledger --backup b --key safe/recovery.key --json";

#[test]
fn two_recoveries_from_one_backup_do_not_meet() {
    let (place, _) = lost();
    let first = place.run(RECOVER).json();
    let node = Node::start(&place);
    place.run("key new x.key").ok();
    node.run(&place, "key register x.key --writer safe/writer.key")
        .ok();
    node.stop();
    // The disk is lost again before there was a backup, and the operator's machine, which knew of the first recovery, too.
    fs::remove_dir_all(place.path("ledger")).unwrap();
    let line = format!("{RECOVER} --profile safe/none.toml");
    fs::write(place.path("safe/none.toml"), "").unwrap();
    let second = place.run_at("new-home", &line).json();
    let number = |said: &serde_json::Value, what: &str| said[what].as_u64().unwrap();
    assert!(number(&second, "epoch") > number(&first, "epoch"));
    assert!(number(&second, "from") > number(&first, "from") + 1);
    // Whoever followed the first one follows the second one.
    let node = Node::start(&place);
    node.run(&place, "key lookup camera.key").ok();
    node.run(&place, "key lookup x.key").exits(1);
    node.run(&place, "key register x.key --writer safe/writer.key")
        .ok();
    node.run(&place, "audit").ok();
}

#[test]
fn what_this_machine_has_seen_is_passed() {
    let (place, _) = lost();
    place.run(RECOVER).ok();
    let node = Node::start(&place);
    node.run(&place, "key lookup camera.key").ok();
    node.stop();
    fs::remove_dir_all(place.path("ledger")).unwrap();
    // The epoch that was seen is not in the backup.
    place.run(RECOVER).exits(2);
    let seen = place.run(&format!("{RECOVER} --accept-loss")).json();
    assert!(seen["lost_up_to"].as_u64().is_some());
    let node = Node::start(&place);
    node.run(&place, "key lookup camera.key").ok();
}

#[test]
fn a_recovery_that_was_interrupted_goes_on() {
    let (place, _) = lost();
    // In the middle of restoring.
    fs::create_dir_all(place.path("ledger/node/engine/half")).unwrap();
    fs::write(place.path("ledger/node/node.lock"), "").unwrap();
    // Without its mark it may be a ledger whose small files were lost.
    place.run("restore b --data ledger").exits(5);
    fs::write(place.path("ledger/node/restoring"), "").unwrap();
    place.run("restore b --data ledger").ok();
    // Between restoring and recovering.
    place.run(RECOVER).ok();
    // Between the new vote key and the recovery.
    fs::remove_file(place.path("ledger/node/epoch-1.cbor")).unwrap();
    place
        .run("node run --data ledger --listen 127.0.0.1:0")
        .exits(19)
        .complains(str![[r#"
error: the vote key in ledger/node/vote.key is not a validator's in this ledger's newest epoch
  hint: use the right file; a lone validator recovers the ledger (again, if a recovery was interrupted), and where others run the ledger too the members name its key

"#]]);
    place.run(RECOVER).ok();
    // Once more, because its answer was lost: the epoch without a block is replaced.
    let last = place.run(RECOVER).json();
    assert!(!place.path("ledger/node/epoch-2.cbor").exists());
    let node = Node::start(&place);
    let found = node.run(&place, "key lookup camera.key --json").json();
    assert_eq!(found["proven_at"], last["from"]);
    node.run(&place, "audit").ok();
    node.run(&place, "backup c").ok();
    node.stop();
    // Blocks have followed: the old backup is another place.
    place.run(RECOVER).exits(5);
    place.run("restore c --data again").ok();
    place
        .run("recover --data again --key safe/recovery.key")
        .ok();
}

#[test]
fn only_officers_in_force_sign_for_the_next_epoch() {
    let place = Place::new();
    let node = Node::start(&place);
    for name in ["second", "third"] {
        place
            .run(&format!("key new {name}.key --purpose officer"))
            .ok();
        node.run(&place, &format!("org grant {name}.key")).ok();
    }
    node.run(
        &place,
        "org withdraw ledger/keys/officer.key --officer second.key",
    )
    .ok();
    place.run("key new fourth.key --purpose officer").ok();
    for act in ["grant fourth.key", "withdraw third.key"] {
        node.run(&place, &format!("org {act} --officer second.key"))
            .ok();
    }
    node.stop();
    place
        .run("recover --data ledger --key ledger/keys/recovery.key")
        .ok();
    let directory = Directory::open(&place.path("ledger/node")).unwrap();
    let set = EpochSet::decode(&directory.outline().newest().set).unwrap();
    let officers = set.organisations().next().unwrap().officers;
    let mut named: Vec<String> = (0..officers.len())
        .map(|index| {
            let key = officers.key(index).unwrap();
            key.raw().iter().map(|byte| format!("{byte:02x}")).collect()
        })
        .collect();
    let mut expected: Vec<String> = ["second.key", "fourth.key"]
        .map(|name| {
            let shown = place.run(&format!("key show {name} --json")).json();
            shown["signing_key"].as_str().unwrap().to_owned()
        })
        .to_vec();
    named.sort();
    expected.sort();
    assert_eq!(named, expected);
}

/// What a set is made of.
fn parts_of(set: &EpochSet<'_>) -> EpochSetParts {
    let organisations = set.organisations().enumerate().map(|(index, one)| {
        let of = |organisation| usize::from(organisation) == index;
        let votes = set.validators().filter(|one| of(one.organisation));
        OrganisationParts {
            id: one.id,
            threshold: u8::try_from(one.officers.threshold()).unwrap(),
            officers: (0..one.officers.len())
                .filter_map(|officer| one.officers.key(officer))
                .collect(),
            vote_keys: votes.map(|one| *one.vote_key).collect(),
        }
    });
    EpochSetParts {
        epoch: set.epoch(),
        organisations: organisations.collect(),
    }
}

/// Writes what somebody makes of a recovery on its way.
fn forge(place: &Place, change: impl FnOnce(&mut RecoveryParts, &mut EpochSetParts)) {
    let draft = Transaction::decode(&fs::read(place.path("draft")).unwrap()).unwrap();
    let Action::Recovery { recovery, nodes } = draft.action() else {
        panic!("a recovery");
    };
    let recovery = Recovery::decode(recovery).unwrap();
    let (mut parts, mut set) = (recovery.parts(), parts_of(recovery.next_set()));
    change(&mut parts, &mut set);
    parts.next_set = set.encode().unwrap();
    let keys = recovery.recovery_set().as_bytes();
    let action = Action::Recovery {
        recovery: parts.encode(keys, &[]).unwrap(),
        nodes: nodes.clone(),
    };
    let forged = Draft::new(draft.chain(), action).unwrap().finish().unwrap();
    fs::write(place.path("forged"), forged.as_bytes()).unwrap();
}

#[test]
fn a_recovery_is_signed_if_it_is_what_the_directory_gives() {
    let place = Place::new();
    let node = Node::start(&place);
    for name in ["second", "stranger"] {
        let new = format!("key new {name}.key --purpose officer");
        place.run(&new).ok();
    }
    node.run(&place, "org grant second.key").ok();
    node.run(&place, "backup older").exits(0);
    place.run("key new one.key").ok();
    node.run(&place, "key register one.key").ok();
    node.stop();
    let prepared = place.run("node prepare --data ledger --org home");
    // In a directory that has voted it is for a recovery, and says so.
    let said = "This directory has voted in epoch 0";
    assert!(prepared.ok().out().contains(said), "{}", prepared.out());
    let draft = place.run("recover new --data ledger --out draft ledger/home.node");
    // By its name, as a genesis is shown, and with the keys that may sign.
    let recovery = place.run("key show ledger/keys/recovery.key --json").json();
    let recovery = recovery["signing_key"].as_str().unwrap();
    for words in ["\nhome\n", "0 of 1, of 1 recovery key:\n", recovery] {
        assert!(
            draft.ok().out().contains(words),
            "{words} in {}",
            draft.out()
        );
    }
    let sign = |file: &str, data: &str| {
        place.run(&format!(
            "recover sign {file} --data {data} --key ledger/keys/recovery.key --out {file}.signed"
        ))
    };
    let refuses = |words: &str| {
        let ran = sign("forged", "ledger");
        assert!(
            ran.exits(1).err().contains(words),
            "{words:?} in {}",
            ran.err()
        );
        assert!(!place.path("forged.signed").exists());
    };
    let key = |name: &str| -> VerificationKey {
        let shown = place.run(&format!("key show {name} --json")).json();
        let hex = shown["signing_key"].as_str().unwrap().to_owned();
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let raw: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
        VerificationKey::ed25519(&raw.try_into().unwrap()).unwrap()
    };
    let (second, stranger) = (key("second.key"), key("stranger.key"));
    let without = |officers: &mut Vec<VerificationKey>| officers.retain(|key| *key != second);

    forge(&place, |_, set| without(&mut set.organisations[0].officers));
    refuses("it leaves out");
    forge(&place, |_, set| {
        without(&mut set.organisations[0].officers);
        set.organisations[0].officers.push(stranger);
    });
    refuses("is no officer of home");
    forge(&place, |_, set| set.organisations[0].threshold = 2);
    refuses("2 officers of home sign together, and 1 do");
    forge(&place, |_, set| {
        set.organisations.push(OrganisationParts {
            id: OrgId::new([7; 16]),
            threshold: 1,
            officers: vec![stranger],
            vote_keys: vec![],
        });
    });
    refuses("which epoch 0 does not");
    for epoch in [0, 1 << 50, 1 << 56] {
        forge(&place, |_, set| set.epoch = Epoch::new(epoch));
        refuses(&format!("it opens epoch {epoch}, and yours is 0"));
    }
    // A block that is not there could have any officers.
    forge(&place, |parts, set| {
        parts.parent_height = parts.parent_height.next().unwrap();
        without(&mut set.organisations[0].officers);
    });
    refuses("and your directory goes up to block");
    place.run("restore older --data behind").ok();
    let behind = sign("draft", "behind");
    assert!(
        behind
            .exits(1)
            .err()
            .contains("restore a backup of the copy"),
        "{}",
        behind.err()
    );
    let signed = sign("draft", "ledger");
    assert!(signed.ok().out().contains("\nhome\n"), "{}", signed.out());
    let signed = place.run("recover show draft.signed").out();
    let said = format!("{recovery}, has signed\n");
    assert!(signed.contains(&said), "{signed}");

    // The number of an epoch by which nothing could follow is no recovery at all.
    let too_far = "recover new --data ledger --out far ledger/home.node --above-epoch";
    for above in [1_u64 << 50, u64::MAX] {
        place.run(&format!("{too_far} {above}")).exits(2);
    }
}

#[test]
fn the_profile_says_which_ledger_is_meant() {
    let (place, chain) = lost();
    let profile = place.path(".config/kusabi/profile.toml");
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(&profile, text.replace(&chain, &"0".repeat(64))).unwrap();
    for line in ["audit b", "restore b --data ledger", RECOVER] {
        place.run(line).exits(15);
        assert!(!place.path("ledger").exists());
    }
    place.run(&format!("audit b --chain {chain}")).ok();
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
