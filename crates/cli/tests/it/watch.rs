//! `audit watch` on real nodes: those that agree, and a copied directory that went on by itself.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::Command,
};

use crate::{command::Place, node::Node, proxy::Proxy};

/// A lone validator's node and one on a copy of its directory, both at one block.
fn copied() -> (Place, Node, Node) {
    let place = Place::new();
    // No block but those that the test makes.
    fs::write(place.path("node.toml"), "heartbeat_s = 3600\n").unwrap();
    let node = Node::start_with(&place, "--config node.toml");
    place.run("key new a.key").ok();
    node.run(&place, "key register a.key").ok();
    node.stop();
    let status = Command::new("cp")
        .args(["-r", "ledger", "copy"])
        .current_dir(place.path(""))
        .status()
        .unwrap();
    assert!(status.success());
    let node = Node::start(&place);
    let copy = Node::begin(&place, "copy", "").ready();
    (place, node, copy)
}

/// Registers a key on a node, by somebody who has asked no other.
fn register(place: &Place, node: &Node, name: &str) {
    place.run(&format!("key new {name}.key")).ok();
    place
        .run_at(
            &format!("{name}-home"),
            &format!(
                "key register {name}.key --profile ledger/profile.toml --ledger {}",
                node.address
            ),
        )
        .ok();
}

fn written(place: &Place, folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(place.path(folder)).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_copied_directory_that_went_on_is_found_and_anyone_can_check_it() {
    let (place, node, copy) = copied();
    let watch = format!("audit watch {} {}", node.address, copy.address);
    let agreed = place.run(&format!("{watch} --once --json")).json();
    assert_eq!(agreed["contradictions"].as_array().unwrap().len(), 0);
    let states = agreed["nodes"].as_array().unwrap().iter();
    assert!(states.map(|node| &node["state"]).all(|state| state == "ok"));
    let ran = place.run(&format!("{watch} --once"));
    assert!(ran.ok().out().contains("Agree: 2 nodes"), "{}", ran.out());

    // One that goes on by itself, until the copy does.
    fs::create_dir(place.path("found")).unwrap();
    let mut watching = place
        .command(&format!("{watch} --json --out found"))
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["nodes"][0]["state"], "ok");
    register(&place, &node, "b");
    register(&place, &copy, "c");
    let last = lines.map(Result::unwrap).last().unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(1));
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let found = &last["contradictions"][0];
    assert_eq!(found["kind"], "blocks");
    assert_eq!(found["signed_both"][0]["organisation"], "home");

    // The same again, by somebody who has verified one of the two before; the file is there already.
    let again = place.run(&format!("{watch} --once --out found"));
    again.exits(1);
    assert!(again.out().contains("Contradiction: two blocks of height"));
    let files = written(&place, "found");
    let [file] = &files[..] else {
        panic!("{files:?}")
    };

    // Nowhere to write it: found all the same.
    let nowhere = place.run(&format!("{watch} --once --out missing --json"));
    nowhere.exits(1);
    assert!(
        nowhere.out().contains("\"not_written\":"),
        "{}",
        nowhere.out()
    );

    // Whoever knows the chain and no node.
    node.stop();
    copy.stop();
    let chain = first["chain"].as_str().unwrap();
    let check = |file: &str| {
        let line = format!("audit evidence {file} --chain {chain}");
        place.run_at("stranger", &line)
    };
    let shown = check(file.to_str().unwrap());
    assert!(shown.ok().out().contains("signed both"), "{}", shown.out());
    let other = "0".repeat(64);
    place
        .run(&format!(
            "audit evidence {} --chain {other}",
            file.display()
        ))
        .exits(15);
    let good = fs::read(file).unwrap();
    for at in [0, 5, 60, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(place.path("bad"), bad).unwrap();
        let refused = check("bad");
        assert!([1, 5, 15].contains(&refused.code()), "{}", refused.out());
        assert!(!refused.out().contains("Contradiction"));
    }
    check("missing").exits(5);
}

#[test]
fn a_node_that_is_silent_or_refused_is_said_and_is_no_evidence() {
    let (place, node, copy) = copied();
    let spoiling = Proxy::before(&copy.address, |path, mut answer| {
        if path.starts_with("/v1/checkpoint") {
            *answer.last_mut().unwrap() ^= 1;
        }
        answer
    });
    let watch = |other: &str| {
        let line = format!("audit watch {} {other} --once --json", node.address);
        place.run(&line)
    };
    let refused = watch(&spoiling.address);
    refused.exits(6);
    assert!(
        refused.out().contains("\"state\":\"refused\""),
        "{}",
        refused.out()
    );
    let address = copy.address.clone();
    copy.stop();
    let silent = watch(&address);
    silent.exits(4);
    assert!(
        silent.out().contains("\"state\":\"silent\""),
        "{}",
        silent.out()
    );
    assert!(silent.out().contains("\"contradictions\":[]"));
    place.run("audit watch").exits(2);
    place.run("audit b --data c watch x").exits(2);
}
