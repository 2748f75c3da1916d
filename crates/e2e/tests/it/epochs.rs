//! Validators that change while a ledger runs, by the commands that people type: fresh keys, a fifth organisation, from one to four.

use crate::{
    command::{Place, Ran},
    consortium::{NAMES, PATIENCE, addresses, found, start_all, verifying},
    history::pause,
    node::{Node, Starting},
};
use futures::StreamExt as _;
use kusabi_api::{HttpLedger, Ledger as _};
use kusabi_core::id::{Epoch, Height};
use std::time::Instant;
use tokio::runtime::Runtime;

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Waits until a node shows this block. Its engine begins anew with each epoch, and an answer may be lost then.
pub(crate) fn shows(runtime: &Runtime, node: &Node, height: u64) {
    let http = HttpLedger::new(&node.address).unwrap();
    let before = Height::new(height - 1).unwrap();
    runtime.block_on(async {
        let seen = async {
            loop {
                let Ok(mut events) = http.events(before).await else {
                    pause().await;
                    continue;
                };
                if let Some(Ok(block)) = events.next().await {
                    assert!(block.height >= height);
                    return;
                }
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|_| panic!("{} does not come to block {height}", node.address));
    });
}

/// The first makes an appointment, and asks the nodes of the others.
fn epoch_new(place: &Place, nodes: &[(&str, &Node)], out: &str, more: &str) -> Ran {
    let (first, node) = nodes[0];
    let others: Vec<_> = nodes[1..]
        .iter()
        .map(|(_, node)| format!("--node {}", node.address))
        .collect();
    let new = format!(
        "epoch new --profile {first}/profile.toml --out {out} {} {more}",
        others.join(" ")
    );
    node.run(place, &new)
}

/// The officers of these sign, and the first brings it to the ledger: height of the epoch's last block.
pub(crate) fn appoint(place: &Place, nodes: &[(&str, &Node)], more: &str, file: &str) -> u64 {
    epoch_new(place, nodes, &format!("{file}.draft"), more).ok();
    // Nobody's node can say whose the keys of those are that join, and who leaves.
    let mut words = more.split(' ');
    let mut agreed = String::new();
    while let Some(word) = words.next() {
        if ["--add", "--remove"].contains(&word) {
            let org = words.next().unwrap().split('/').next().unwrap();
            agreed += &format!(" --agreed {org}");
        }
    }
    sign_and_submit(place, nodes, file, &agreed)
}

/// The officers of these sign the draft, as they say, and the first brings it to the ledger.
fn sign_and_submit(place: &Place, nodes: &[(&str, &Node)], file: &str, how: &str) -> u64 {
    let files = sign(place, nodes, file, how);
    submit(place, nodes, &files)
}

fn submit(place: &Place, nodes: &[(&str, &Node)], files: &[String]) -> u64 {
    let (first, node) = nodes[0];
    let submit = format!(
        "epoch submit {} --profile {first}/profile.toml --json",
        files.join(" ")
    );
    node.run(place, &submit).json()["last"].as_u64().unwrap()
}

/// The officers of these sign the draft, as they say: the files.
fn sign(place: &Place, nodes: &[(&str, &Node)], file: &str, how: &str) -> Vec<String> {
    let mut files = Vec::new();
    // Two thirds of four are enough.
    for (org, node) in nodes.iter().take(3) {
        let out = format!("{file}.{org}");
        let sign = format!("epoch sign {file}.draft --profile {org}/profile.toml --out {out}");
        node.run(place, &format!("{sign} {how}")).ok();
        files.push(out);
    }
    files
}

/// No file is made of what the ledger would refuse.
fn refused_appointment(place: &Place, nodes: &[(&str, &Node)], more: &str) {
    let early = epoch_new(place, nodes, "early.draft", more);
    early.exits(1);
    let said = "echo is no member of the ledger";
    assert!(early.err().contains(said), "{}", early.err());
}

/// The first proposes to admit those who apply, and more; the others vote for it.
fn admit(place: &Place, chain: &str, members: &[(&str, &Node)], who: &[&str], more: &str) {
    let (first, node) = members[0];
    let mut applications = String::new();
    for org in who {
        let apply = format!("org apply {org} --chain {chain} --out {org}.application");
        place.run(&apply).ok();
        applications += &format!(" --admit {org}.application");
    }
    let propose = format!("org propose{applications} {more} --profile {first}/profile.toml --json");
    let proposal = node.run(place, &propose).json();
    let id = proposal["id"].as_str().unwrap();
    for (org, node) in &members[1..] {
        let vote = format!("org vote {id} --yes --profile {org}/profile.toml");
        node.run(place, &vote).ok();
    }
    let show = format!("org proposals {id} --profile {first}/profile.toml --json");
    let shown = members[members.len() - 1].1.run(place, &show).json();
    assert_eq!(shown["state"], "carried", "{shown}");
}

/// The same validators with fresh keys, and in the place of acme's officer another one, whom alone the set names then: last height.
fn appoint_with_another_officer(place: &Place, nodes: &[(&str, &Node)]) -> u64 {
    let acme = nodes[0].1;
    let refused = |ran: Ran, said: &str| {
        ran.exits(1);
        assert!(ran.err().contains(said), "{}", ran.err());
    };
    let named = "--officer acme=acme/keys/second.key";
    place
        .run("key new acme/keys/second.key --purpose officer")
        .ok();
    let unknown = epoch_new(place, nodes, "unknown.draft", named);
    refused(unknown, "is no officer's key of acme");
    let grant = "org grant acme/keys/second.key --profile acme/profile.toml";
    acme.run(place, grant).ok();
    let writer = "--officer acme=acme/keys/writer.key";
    let writer = epoch_new(place, nodes, "writer.draft", writer);
    refused(writer, "is no officer's key of acme");
    let nobody = epoch_new(
        place,
        nodes,
        "nobody.draft",
        "--officer echo=acme/keys/second.key",
    );
    nobody.exits(2);
    epoch_new(place, nodes, "second.draft", named).ok();
    epoch_new(place, nodes, "other.draft", "").ok();
    // Who the officers are, of oneself or of others, is not signed without having been read.
    for (org, node) in nodes {
        let sign = format!("epoch sign second.draft --profile {org}/profile.toml --out unread");
        let said = "the appointment changes who the officers of acme are";
        refused(node.run(place, &sign), said);
    }
    let files = sign(place, nodes, "second", "--agreed acme");
    // Who has signed one for this epoch signs no other one, whatever is agreed on.
    let (org, node) = nodes[1];
    let sign = format!(
        "epoch sign other.draft --profile {org}/profile.toml --agreed acme --out other.{org}"
    );
    let said = format!("{org}/keys/officer.key has signed another appointment of epoch 1");
    refused(node.run(place, &sign), &said);
    assert!(!place.path(format!("other.{org}")).exists());
    node.run(place, &format!("{sign} --instead")).ok();
    // Nor does he come back to the first one unasked; the same again is no other one.
    let first = sign.replace("other.draft", "second.draft");
    let first = first.replace("--out other", "--out again");
    refused(node.run(place, &first), &said);
    let again = format!(
        "epoch sign second.draft --profile {0}/profile.toml --agreed acme --out again.{0}",
        nodes[2].0
    );
    nodes[2].1.run(place, &again).ok();
    let last = submit(place, nodes, &files);
    // When the epoch has turned, what was made for it is signed by nobody.
    shows(&runtime(), node, last + 1);
    let late = sign.replace("--out other", "--out late");
    refused(
        node.run(place, &late),
        "the appointment ends epoch 0, and the ledger is in epoch 1",
    );
    last
}

/// Ends acme's first officer. From here on the second one signs what acme's officers sign; the first signs no appointment.
fn withdraw_the_first_officer(place: &Place, nodes: &[(&str, &Node)]) {
    let acme = nodes[0].1;
    let profile = place.path("acme/profile.toml");
    let before = std::fs::read_to_string(&profile).unwrap();
    let after = before.replace("officer.key", "second.key");
    assert_ne!(before, after);
    std::fs::write(&profile, after).unwrap();
    epoch_new(place, nodes, "later.draft", "").ok();
    let sign = "epoch sign later.draft --profile acme/profile.toml --officer acme/keys/officer.key";
    let first = acme.run(place, &format!("{sign} --out later.acme"));
    first.exits(1);
    let said = "is not an officer of acme in this epoch's set";
    assert!(first.err().contains(said), "{}", first.err());
    let withdraw = "org withdraw acme/keys/officer.key --profile acme/profile.toml";
    acme.run(place, withdraw).ok();
    let ended = "--officer acme=acme/keys/officer.key";
    let ended = epoch_new(place, nodes, "ended.draft", ended);
    ended.exits(1);
    assert!(ended.err().contains("has ended"), "{}", ended.err());
}

pub(crate) fn register(place: &Place, node: &Node, org: &str, key: &str) {
    place.run(&format!("key new {key}")).ok();
    let register = format!("key register {key} --profile {org}/profile.toml");
    node.run(place, &register).ok();
}

#[test]
fn validators_vote_with_fresh_keys_and_a_fifth_organisation_joins_for_one_that_leaves() {
    let started = Instant::now();
    let runtime = runtime();
    let (place, chain) = found();
    let mut nodes = start_all(&place);
    // A device that founded its trust in the first epoch, and walks.
    let device = runtime.block_on(verifying(&nodes[1].address, &chain));
    let grant = "org grant acme/keys/writer.key --profile acme/profile.toml";
    nodes[0].run(&place, grant).ok();
    let named = |nodes: &[Node]| -> Vec<(&'static str, String)> {
        NAMES
            .into_iter()
            .zip(nodes.iter().map(|node| node.address.clone()))
            .collect()
    };
    println!("founded after {:?}: {:?}", started.elapsed(), named(&nodes));

    // The same four, with fresh keys.
    let four: Vec<_> = NAMES.into_iter().zip(&nodes).collect();
    let last = appoint_with_another_officer(&place, &four);
    for node in &nodes {
        shows(&runtime, node, last + 1);
    }
    println!("epoch 1 after {:?}", started.elapsed());
    withdraw_the_first_officer(&place, &four);
    register(&place, &nodes[2], "acme", "one.key");
    let (checkpoint, _) = runtime.block_on(device.checkpoint()).unwrap();
    assert_eq!(checkpoint.header().epoch, Epoch::new(1));

    // A node that is killed comes back in the epoch in which it was.
    nodes.pop().unwrap().kill();
    register(&place, &nodes[0], "acme", "two.key");
    nodes.push(Node::begin(&place, "delta", "").ready());

    // Echo joins, delta leaves.
    let address = addresses(1)[0];
    let init = format!("org init echo --name echo --address {address}");
    place.run(&init).ok();
    let staying: Vec<_> = NAMES.into_iter().zip(&nodes).take(3).collect();
    // Who is no member makes no blocks.
    let more = "--add echo/echo.member --remove delta";
    let chain_text = chain.to_string();
    refused_appointment(&place, &staying, more);
    admit(&place, &chain_text, &staying, &["echo"], "--remove delta");
    let joining: Starting =
        Node::begin_joining(&place, "echo", &nodes[0].address, &chain.to_string());
    let last = appoint(&place, &staying, more, "third");
    let echo = joining.ready();
    for node in nodes[..3].iter().chain([&echo]) {
        shows(&runtime, node, last + 1);
    }
    println!("epoch 2 after {:?}", started.elapsed());
    // Delta has handed over; the others need echo's vote now.
    nodes.pop().unwrap().ends_with("has no vote in it");
    // Started again it says so, and what it has is whole.
    let again = place.run("node run --data delta --listen 127.0.0.1:0");
    again.exits(19);
    for said in ["has left: since epoch 2", "nothing is to be brought back"] {
        assert!(again.err().contains(said), "{}", again.err());
    }
    place.run("backup delta.backup --data delta").ok();

    // It is to have a vote again: not with the keys that it had, which are erased.
    let members: Vec<_> = NAMES
        .into_iter()
        .zip(&nodes)
        .chain([("echo", &echo)])
        .collect();
    admit(&place, &chain_text, &members[..3], &[], "--seat delta");
    let erased = epoch_new(&place, &members, "erased.draft", "--add delta/delta.member");
    erased.exits(1);
    assert!(erased.err().contains("is erased since"), "{}", erased.err());
    let address = addresses(1)[0];
    let prepare = format!("node prepare --data delta --org delta --address {address}");
    place.run(&prepare).ok();
    let joining = Node::begin_joining(&place, "delta", &nodes[0].address, &chain_text);
    let officer = place.run("key show delta/keys/officer.key --json").json();
    let more = format!(
        "--add delta/delta.node --officer delta={}",
        officer["handle"].as_str().unwrap()
    );
    let last = appoint(&place, &members, &more, "fourth");
    let delta = joining.ready();
    for node in nodes.iter().chain([&echo, &delta]) {
        shows(&runtime, node, last + 1);
    }
    println!("epoch 3 after {:?}", started.elapsed());

    // Four of five are a quorum: it takes the votes of both that joined.
    nodes.remove(1).kill();
    register(&place, &echo, "acme", "three.key");
    let device = runtime.block_on(verifying(&echo.address, &chain));
    let (checkpoint, _) = runtime.block_on(device.checkpoint()).unwrap();
    assert_eq!(checkpoint.header().epoch, Epoch::new(3));
    let audit = "audit --profile acme/profile.toml --json";
    for node in [&nodes[0], &echo, &delta] {
        assert_eq!(node.run(&place, audit).json()["good"], true);
    }
    for node in nodes.into_iter().chain([echo, delta]) {
        node.stop();
    }
    println!("done after {:?}", started.elapsed());
}

#[test]
fn a_ledger_of_one_grows_to_four_and_no_device_notices() {
    let started = Instant::now();
    let runtime = runtime();
    let place = Place::new();
    let solo = Node::begin(&place, "solo", "--org solo").ready();
    let chain = solo.chain.parse().unwrap();
    register(&place, &solo, "solo", "one.key");
    let device = runtime.block_on(verifying(&solo.address, &chain));
    runtime.block_on(device.checkpoint()).unwrap();

    let addresses = addresses(4);
    let mut joining = Vec::new();
    for (org, address) in NAMES.iter().zip(&addresses).skip(1) {
        let init = format!("org init {org} --name {org} --address {address}");
        place.run(&init).ok();
        joining.push(Node::begin_joining(&place, org, &solo.address, &solo.chain));
    }
    let alone = [("solo", &solo)];
    admit(&place, &solo.chain, &alone, &NAMES[1..], "--quota 1000");
    let added: Vec<_> = NAMES[1..]
        .iter()
        .map(|org| format!("--add {org}/{org}.member"))
        .collect();
    let more = format!("--address solo={} {}", addresses[0], added.join(" "));
    let last = appoint(&place, &[("solo", &solo)], &more, "second");
    let joined: Vec<_> = joining.into_iter().map(Starting::ready).collect();
    for node in joined.iter().chain([&solo]) {
        shows(&runtime, node, last + 1);
    }
    println!("four after {:?}", started.elapsed());
    register(&place, &solo, "solo", "two.key");
    // The device's own node, and its trust, are those of before.
    let (checkpoint, _) = runtime.block_on(device.checkpoint()).unwrap();
    assert_eq!(checkpoint.header().epoch, Epoch::new(1));
    let epoch = solo.run(&place, "epoch show --profile solo/profile.toml --json");
    assert_eq!(epoch.json()["validators"].as_array().unwrap().len(), 4);
    // Any three of the four go on.
    solo.kill();
    register(&place, &joined[1], "solo", "three.key");
    let audit = "audit --profile solo/profile.toml --json";
    assert_eq!(joined[2].run(&place, audit).json()["good"], true);
    for node in joined {
        node.stop();
    }
}
