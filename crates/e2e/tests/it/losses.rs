//! Disks that are lost for good among several organisations: one, and so many that no quorum is left.

use std::{fs, time::Instant};

use kusabi_core::id::Epoch;

use crate::{
    apart::Apart,
    consortium::NAMES,
    history::{self, Clients, Crowd},
    middle::seed,
    partitions::{ALL, CROWD, four},
};

const FIVE: [&str; 5] = ["acme", "beta", "corp", "delta", "echo"];

/// The exit code for a key that must not be used here.
const WRONG_KEY: i32 = 19;

/// An organisation's disk is gone, but for the keys that its people had moved away.
fn lose(apart: &Apart, number: usize) {
    let machine = &apart.machines[number];
    let keys = apart.place.path(format!("{}-keys", machine.org));
    fs::rename(apart.place.path(format!("{}/keys", machine.data)), keys).unwrap();
    fs::remove_dir_all(apart.place.path(&machine.data)).unwrap();
}

#[test]
fn a_lost_disk_is_filled_from_a_backup_its_node_votes_with_a_fresh_key_and_a_fifth_joins() {
    let _alone = crate::fleet::alone();
    let started = Instant::now();
    let (mut apart, clients) = four(&FIVE, seed());
    apart.by(0, "backup ledger.backup").exits(0);
    clients.some(10, &ALL);
    let old_key = fs::read(apart.place.path("delta/node/vote.key")).unwrap();
    apart.kill(3);
    lose(&apart, 3);

    let restored = apart.at(3, "restore ledger.backup --data anew");
    restored.ok();
    assert!(restored.out().contains("kusabi node prepare"));
    // Somebody has kept the old key. Whatever it may have signed is not in the backup.
    let key = apart.place.path("anew/node/vote.key");
    fs::write(&key, old_key).unwrap();
    apart.machines[3].data = "anew".to_owned();
    assert_eq!(apart.begin(3).fails(), Some(WRONG_KEY), "{}", apart.log(3));
    assert!(apart.log(3).contains("must not vote again"));
    fs::remove_file(key).unwrap();

    // Its machine gets fresh keys, and a fifth organisation is there; all of it under load.
    let peer = apart.machines[3].peer();
    let prepare = format!("node prepare --data anew --org delta --address {peer}");
    apart.at(3, &prepare).ok();
    let init = format!(
        "org init echo --name echo --address {}",
        apart.machines[4].peer()
    );
    apart.at(4, &init).ok();
    let apply = format!(
        "org apply echo --chain {} --out echo.application",
        apart.chain
    );
    apart.at(4, &apply).ok();
    let admit = "org propose --admit echo.application --quota 1000 --json";
    let proposal = apart.by(0, admit).json();
    let id = proposal["id"].as_str().unwrap();
    for number in [1, 2] {
        apart.by(number, &format!("org vote {id} --yes")).ok();
    }
    let joining = [3, 4].map(|number| (number, apart.join(number, 0)));
    let new = format!(
        "epoch new --out draft --node {} --node {} --replace anew/delta.node --add echo/echo.member",
        apart.machines[1].url(),
        apart.machines[2].url()
    );
    apart.by(0, &new).ok();
    for number in [0, 1] {
        let out = format!("{}.signed", apart.machines[number].org);
        // Whose the new node is, and who joins, no machine of theirs can say.
        let mut sign = format!("epoch sign draft --out {out}");
        for (agreed, said) in [
            (" --agreed echo", "no node says that these keys are delta's"),
            (" --agreed delta", "echo joins with this appointment"),
        ] {
            let refused = apart.by(number, &sign);
            refused.exits(1);
            let alone = apart.by(number, &format!("{sign}{agreed}"));
            alone.exits(1);
            assert!(alone.err().contains(said), "{}", alone.err());
        }
        sign += " --agreed delta --agreed echo";
        apart.by(number, &sign).ok();
    }
    // Delta's officers compare it with their machine: there is no node of theirs that could be asked.
    let profile = format!(
        "ledger = \"{}\"\nchain = \"{}\"\norg = \"delta\"\n",
        apart.machines[0].url(),
        apart.chain
    );
    fs::write(apart.place.path("delta.toml"), profile).unwrap();
    let sign = "epoch sign draft --out delta.signed --officer delta-keys/officer.key --profile delta.toml --node-file";
    let other = apart.at(3, &format!("{sign} anew/delta.node"));
    other.exits(1);
    let said = "echo joins with this appointment";
    assert!(other.err().contains(said), "{}", other.err());
    apart
        .at(3, &format!("{sign} anew/delta.node --agreed echo"))
        .ok();
    apart
        .by(0, "epoch submit acme.signed beta.signed delta.signed")
        .ok();
    for (number, starting) in joining {
        let node = starting.ready();
        apart.runs(number, node);
        println!("{number} has joined after {:?}", started.elapsed());
    }
    clients.reaches(3, clients.newest());
    clients.some(4, &[3]);
    // Four of five are a quorum: both votes count.
    apart.kill(2);
    clients.some(10, &[0, 1, 3]);
    apart.start(&[2]);
    let told = clients.prove(&apart.clients);
    assert!(told.acknowledged.len() >= 50 && told.found >= 100);
    let audit = apart.at(4, "audit --json --profile echo/profile.toml");
    assert_eq!(audit.json()["good"], true);
    apart.stop();
    println!("done after {:?}", started.elapsed());
}

/// What is not signed, and by whom not.
fn refusals(apart: &Apart, files: &[String]) {
    // A recovery from an older copy, which would give up what acme still has.
    apart.at(0, "restore older.backup --data older").ok();
    let new = format!(
        "recover new --data older --accept-loss --out older.draft {}",
        files.join(" ")
    );
    apart.at(0, &new).exits(0);
    let sign = |draft: &str, more: &str| {
        apart.at(0, &format!("recover sign {draft} --out no.recovery {more}"))
    };
    let older = sign("older.draft", "--data acme --key acme/keys/recovery.key");
    assert!(
        older
            .exits(1)
            .err()
            .contains("and your directory goes up to block")
    );
    // A directory whose keys are not in it, another key, and the way of a ledger with one validator.
    apart.at(0, "restore newest.backup --data keyless").ok();
    sign("draft", "--data keyless --key acme/keys/recovery.key").exits(1);
    sign("draft", "--data acme --key acme/keys/officer.key").exits(2);
    let alone = apart.at(0, "recover --data acme --key acme/keys/recovery.key");
    assert!(
        alone.exits(2).err().contains("4 validators"),
        "{}",
        alone.err()
    );
    apart.at(0, "recover").exits(2);
    assert!(!apart.place.path("no.recovery").exists());
}

#[test]
fn three_of_four_disks_are_lost_and_three_of_four_recovery_keys_name_new_validators() {
    let _alone = crate::fleet::alone();
    let started = Instant::now();
    let seed = seed();
    let (mut apart, clients) = four(&NAMES, seed);
    apart.by(0, "backup older.backup").exits(0);
    clients.some(30, &ALL);
    let before = clients.prove(&apart.clients);
    let device = history::trust_of(&apart.clients, &apart.nodes(4));
    for number in ALL {
        apart.kill(number);
    }
    for number in [1, 2, 3] {
        lose(&apart, number);
    }

    // What is left is acme's disk. The others fill theirs from it.
    apart.at(0, "backup newest.backup --data acme").ok();
    let mut files = Vec::new();
    for number in ALL {
        let (org, peer) = (apart.machines[number].org, apart.machines[number].peer());
        if number > 0 {
            let data = format!("{org}-anew");
            apart
                .at(number, &format!("restore newest.backup --data {data}"))
                .ok();
            apart.machines[number].data = data;
        }
        let data = &apart.machines[number].data;
        let prepare = format!("node prepare --data {data} --org {org} --address {peer}");
        apart.at(number, &prepare).ok();
        files.push(format!("{data}/{org}.node"));
    }
    let new = format!("recover new --data acme --out draft {}", files.join(" "));
    apart.at(0, &new).ok();
    refusals(&apart, &files);
    let sign = |number: usize, how: &str, key: &str| {
        let out = format!("{}.recovery", apart.machines[number].org);
        let line = format!("recover sign draft {how} --key {key}/recovery.key --out {out}");
        apart.at(number, &line).ok();
    };
    sign(0, "--data acme", "acme/keys");
    sign(1, "--data beta-anew", "beta-keys");
    // Two of the three that are needed.
    let two = "recover finish --data acme acme.recovery beta.recovery";
    apart.at(0, two).exits(3);
    sign(2, "--compared", "corp-keys");
    // A file that was changed on its way: in what it says, or in a signature.
    let good = fs::read(apart.place.path("corp.recovery")).unwrap();
    for place in [100, good.len() - 100] {
        let mut changed = good.clone();
        changed[place] ^= 1;
        fs::write(apart.place.path("changed.recovery"), changed).unwrap();
        let three = "recover finish --data acme acme.recovery beta.recovery changed.recovery";
        apart.at(0, three).exits(5);
    }
    for number in ALL {
        let data = &apart.machines[number].data;
        let finish =
            format!("recover finish --data {data} acme.recovery beta.recovery corp.recovery");
        apart.at(number, &finish).ok();
    }
    // The first one has all that is left, and says for whom it waits.
    let mut first = apart.begin(0);
    let said = loop {
        let said = first.says();
        if let Some(waits_for) = said["waits_for"].as_str() {
            break waits_for.to_owned();
        }
        assert_eq!(said["validators"], 4, "{said}");
    };
    let alone = "no quorum: connected to 0 of 3 other validators, 3 of 4 validators are needed";
    assert!(said.starts_with(alone), "{said}");
    first.stop();
    apart.start(&ALL);
    println!("recovered after {:?}", started.elapsed());

    // Who trusted the first epoch follows, and finds everything.
    let nodes = apart.nodes(4);
    let epoch = history::finds_all(&apart.clients, &nodes, device, &before.acknowledged);
    assert!(epoch > Epoch::new(0), "{epoch:?}");
    // And the ledger goes on as before, with one of the new nodes away, too.
    let crowd = Crowd {
        first: before.next,
        ..CROWD
    };
    let clients = Clients::send(&apart.clients, apart.nodes(4), crowd, seed);
    clients.some(20, &ALL);
    apart.kill(0);
    clients.some(20, &[1, 2, 3]);
    apart.start(&[0]);
    let told = clients.prove(&apart.clients);
    assert!(told.acknowledged.len() >= 40);
    for number in ALL {
        let audit = apart.by(number, "audit --json").json();
        assert_eq!(audit["good"], true, "{number}");
    }
    apart.stop();
    println!(
        "{} keys of before are there, done after {:?}",
        before.acknowledged.len(),
        started.elapsed()
    );
}
