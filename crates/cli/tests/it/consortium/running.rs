//! Four nodes of one ledger as processes: what they say while they wait, when the quorum is lost, and when it is back.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use super::{NAMES, finish, refuses, sign};
use crate::{
    command::Place,
    node::{Node, Starting},
};

/// Longer than anything takes that is not broken.
const LONG: Duration = Duration::from_secs(120);

/// A free port below those that the system gives to connections: one of these could take it while its node is stopped.
pub(super) fn port() -> TcpListener {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 10_000 + (std::process::id() % 500) as u16 * 20;
    (0..1_000)
        .map(|_| begin + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000)
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .unwrap()
}

/// A ledger that four organisations founded on this machine, with a block each second.
fn founded() -> Place {
    let place = Place::new();
    // All are taken before one is given back, so that no port is given twice.
    let ports = NAMES.map(|_| port());
    for (org, port) in NAMES.iter().zip(&ports) {
        let address = port.local_addr().unwrap();
        place
            .run(&format!("org init {org} --name {org} --address {address}"))
            .ok();
        // On the loopback alone.
        let config = format!("peer_listen = \"{address}\"\n");
        fs::write(place.path(format!("{org}.toml")), config).unwrap();
    }
    place
        .run(&format!(
            "genesis new --name nordic --heartbeat 1s --out draft.genesis {}",
            super::members()
        ))
        .ok();
    for org in NAMES {
        sign(&place, org).ok();
    }
    finish(&place, &NAMES).ok();
    place
}

fn begin(place: &Place, org: &str) -> Starting {
    let more = format!("--genesis nordic.genesis --config {org}.toml");
    Node::begin(place, org, &more)
}

/// Where others reach the node of an organisation.
fn address(place: &Place, org: &str) -> String {
    let config = fs::read_to_string(place.path(format!("{org}.toml"))).unwrap();
    config.split('"').nth(1).unwrap().to_owned()
}

/// The answer to a GET, with its head.
fn get(url: &str, page: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "GET {page} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks for a page until its answer begins so.
fn until(url: &str, page: &str, status: &str) -> String {
    let end = Instant::now() + LONG;
    loop {
        let answer = get(url, page);
        if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
            return answer;
        }
        assert!(
            Instant::now() < end,
            "{page} never answers {status}: {answer}"
        );
    }
}

fn chain(place: &Place) -> String {
    let shown = place.run("genesis show nordic.genesis --json").json();
    shown["chain"].as_str().unwrap().to_owned()
}

/// What `kusabi doctor` finds of one thing: its verdict, and what it says.
fn doctor(place: &Place, url: &str, what: &str) -> (String, String) {
    doctor_for(place, url, "--org acme", what)
}

fn doctor_for(place: &Place, url: &str, org: &str, what: &str) -> (String, String) {
    let ran = place.run(&format!(
        "doctor --ledger {url} {org} --chain {} --json",
        chain(place)
    ));
    let found: serde_json::Value = serde_json::from_str(&ran.out()).unwrap();
    let checks = found["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["what"] == what);
    let check = check.unwrap_or_else(|| panic!("no {what} in {found}"));
    let text = |name: &str| check[name].as_str().unwrap().to_owned();
    (text("verdict"), text("said"))
}

#[test]
fn a_node_serves_from_the_beginning_and_says_whom_it_waits_for() {
    let place = founded();
    let mut acme = begin(&place, "acme");
    let said = acme.says();
    assert_eq!(said["event"], "waiting");
    assert_eq!(
        (&said["validators"], &said["quorum"]),
        (&4.into(), &3.into())
    );
    let readyz = said["readyz"].as_str().unwrap();
    let url = readyz.strip_suffix("/readyz").unwrap().to_owned();
    let alone = loop {
        let said = acme.says();
        if said["of"] == 3 {
            break said;
        }
    };
    assert_eq!(
        (&alone["event"], &alone["connected"]),
        (&"waiting".into(), &0.into())
    );
    let missing: Vec<_> = alone["missing"].as_array().unwrap().iter().collect();
    for org in &NAMES[1..] {
        let address = address(&place, org);
        assert!(missing.iter().any(|missing| **missing == *address));
    }

    assert!(get(&url, "/healthz").starts_with("HTTP/1.1 200 "));
    let answer = get(&url, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("connected to 0 of 3 other validators, 3 of 4 validators are needed"),
        "{answer}"
    );
    let status = get(&url, "/v1/status");
    assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
    for words in [
        "\"ready\":false",
        "\"height\":0",
        "\"connected\":0",
        "\"of\":3",
        "nordic",
    ] {
        assert!(status.contains(words), "{words} in {status}");
    }
    let metrics = get(&url, "/metrics");
    for line in [
        "kusabi_ready 0",
        "kusabi_validators 4",
        "kusabi_peers_connected 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
    for page in [
        "/v1/checkpoint",
        "/v1/genesis",
        "/v1/events",
        "/v1/blocks/1",
    ] {
        let answer = get(&url, page);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{page}: {answer}");
        assert!(answer.contains("urn:kusabi:problem:behind"), "{answer}");
        assert!(answer.contains("retry-after: 5\r\n"), "{answer}");
    }

    let (verdict, said) = doctor(&place, &url, "node");
    assert_eq!(verdict, "fail", "{said}");
    assert!(said.contains("connected to 0 of 3"), "{said}");
    assert_eq!(doctor(&place, &url, "validators").0, "warn");
    // Beside a node without a vote nobody may be there to be named.
    let (verdict, said) = doctor_for(&place, &url, "", "organisation");
    assert_eq!(verdict, "warn", "{said}");

    // A second one is seen by the first, and both end when they are asked to.
    let beta = begin(&place, "beta");
    let said = acme.says();
    assert_eq!((&said["connected"], &said["of"]), (&1.into(), &3.into()));
    let waits_for = said["waits_for"].as_str().unwrap();
    assert!(waits_for.starts_with("no quorum: connected to 1 of 3"));
    acme.stop();
    drop(beta);
}

#[test]
fn a_quorum_that_is_lost_is_said_and_its_return_too() {
    let place = founded();
    let starting = NAMES[..3].iter().map(|org| begin(&place, org));
    let starting: Vec<_> = starting.collect();
    let mut nodes: Vec<_> = starting.into_iter().map(Starting::ready).collect();
    let mut log = nodes[0].log();
    let mut logs = |words: &str| assert!(log.any(|line| line.unwrap().contains(words)), "{words}");
    let corp = nodes.pop().unwrap();
    let (acme, beta) = (&nodes[0], &nodes[1]);
    until(&acme.address, "/readyz", "200");
    // It is ready with what a quorum of others brings; that all stand connected comes a moment later.
    let end = Instant::now() + LONG;
    while !get(&acme.address, "/v1/status").contains("\"connected\":2") {
        assert!(Instant::now() < end, "acme is not connected to two");
    }
    // Three of four are enough, and the fourth is missed.
    let (verdict, said) = doctor(&place, &acme.address, "validators");
    assert_eq!(verdict, "warn", "{said}");
    let delta = address(&place, "delta");
    assert_eq!(
        said,
        format!("connected to 2 of 3 other validators; not connected: {delta}")
    );
    assert_eq!(doctor(&place, &acme.address, "node").0, "ok");

    corp.kill();
    let answer = until(&acme.address, "/readyz", "503");
    let lost = "no quorum: connected to 1 of 3 other validators, 3 of 4 validators are needed";
    assert!(answer.contains(lost), "{answer}");
    until(&beta.address, "/readyz", "503");
    logs(&format!("the node is not ready: {lost}"));
    let status = get(&acme.address, "/v1/status");
    assert!(status.contains("\"ready\":false"), "{status}");
    let (verdict, said) = doctor(&place, &acme.address, "node");
    assert_eq!(verdict, "fail", "{said}");
    assert!(said.starts_with(lost), "{said}");
    // Lookups are answered still.
    let shown = acme.run(&place, "org show --profile acme/profile.toml");
    assert!(shown.ok().out().contains("acme"));

    // Whoever registers is told what it waits for, and gets his answer when the quorum is back.
    let line = format!(
        "org grant acme/keys/writer.key --profile acme/profile.toml --ledger {}",
        acme.address
    );
    let mut grant = place.command(&line).spawn().unwrap();
    let mut told = BufReader::new(grant.stderr.take().unwrap()).lines();
    let told = told.next().unwrap().unwrap();
    assert!(told.starts_with(&format!("waiting: {lost}")), "{told}");
    let corp = Node::begin(&place, "corp", "--config corp.toml").ready();
    assert_eq!(grant.wait().unwrap().code(), Some(0));
    until(&acme.address, "/readyz", "200");
    logs("the node is ready again");
    corp.stop();
    for node in nodes {
        node.stop();
    }
}

#[test]
fn the_nodes_of_four_organisations_are_watched_and_one_that_is_away_is_said() {
    let place = founded();
    let starting: Vec<_> = NAMES.iter().map(|org| begin(&place, org)).collect();
    let mut nodes: Vec<_> = starting.into_iter().map(Starting::ready).collect();
    let urls: Vec<_> = nodes.iter().map(|node| node.address.clone()).collect();
    let line = format!(
        "audit watch {} --once --profile acme/profile.toml",
        urls.join(" ")
    );
    let ran = place.run(&line);
    assert!(ran.ok().out().contains("Agree: 4 nodes"), "{}", ran.out());
    nodes.pop().unwrap().kill();
    let ran = place.run(&line);
    ran.exits(4);
    assert!(ran.out().contains("no answer"), "{}", ran.out());
    for node in nodes {
        node.stop();
    }
}

#[test]
fn node_status_is_a_screen_for_each_node() {
    let place = founded();
    let starting: Vec<_> = NAMES.iter().map(|org| begin(&place, org)).collect();
    let mut nodes: Vec<_> = starting.into_iter().map(Starting::ready).collect();
    let urls: Vec<_> = nodes.iter().map(|node| node.address.clone()).collect();
    for url in &urls {
        until(url, "/readyz", "200");
    }
    let end = Instant::now() + LONG;
    while !get(&urls[0], "/v1/status").contains("\"connected\":3")
        || !get(&urls[0], "/v1/status").contains("\"view_time_ms\"")
    {
        assert!(Instant::now() < end, "acme is not connected to three");
    }
    let profile = "--profile acme/profile.toml";
    let all = urls.join(" ");
    let ran = place.run(&format!("node status {all} {profile}"));
    let said = ran.ok().out();
    println!("{said}");
    for url in &urls {
        assert!(said.contains(&format!("Ready {url}\n")), "{said}");
    }
    for words in [
        "  ledger   nordic, a validator\n",
        "  epoch    0, 4 validators, ",
        "  peers    connected to 3 of 3\n",
        "  pending  0 of 65,536 transactions\n",
        "  sync     shows the newest block\n",
        "  version  0.1.0\n",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    // The profile's node, as a program reads it.
    let line = format!(
        "node status --profile acme/profile.toml --ledger {} --json",
        urls[0]
    );
    let json = place.run(&line).json();
    let node = &json["nodes"][0];
    assert_eq!(
        (&node["state"], json["nodes"].as_array().unwrap().len()),
        (&"ready".into(), 1)
    );
    let status = &node["status"];
    assert_eq!(status["votes"]["validators"].as_array().unwrap().len(), 4);
    let [counted, missed] = ["counted", "missed"].map(|n| status["votes"][n].as_u64().unwrap());
    assert!(counted > 0 && missed <= counted, "{status}");
    for known in ["view_time_ms", "epoch_age_ms", "age_ms"] {
        assert!(status[known].is_u64(), "{known} in {status}");
    }
    assert!(status.get("epoch_overdue").is_none(), "{status}");
    let metrics = get(&urls[0], "/metrics");
    for name in [
        "view_time_ms",
        "epoch_age_seconds",
        "votes_counted",
        "votes_missed",
    ] {
        assert!(
            metrics.contains(&format!("\nkusabi_{name} ")),
            "{name} in {metrics}"
        );
    }
    assert_eq!(
        metrics.matches("\nkusabi_validator_votes_missed{").count(),
        4
    );

    // One is away: it is said of that one, and by the others.
    nodes.pop().unwrap().kill();
    let delta = address(&place, "delta");
    while !get(&urls[0], "/v1/status").contains("\"connected\":2") {
        assert!(Instant::now() < end, "acme is connected to delta still");
    }
    let ran = place.run(&format!("node status {all} {profile}"));
    ran.exits(4);
    let said = ran.out();
    assert!(said.contains(&format!("No answer {}\n", urls[3])), "{said}");
    assert!(
        said.contains(&format!(
            "connected to 2 of 3; not connected:\n           {delta}\n"
        )),
        "{said}"
    );
    assert_eq!(said.matches("Ready ").count(), 3, "{said}");
    // Without a quorum none is ready, and each says for what it waits.
    nodes.pop().unwrap().kill();
    until(&urls[0], "/readyz", "503");
    let ran = place.run(&format!("node status {} {profile}", urls[0]));
    ran.exits(1);
    let said = ran.out();
    assert!(
        said.starts_with(&format!("Not ready {}\n", urls[0])),
        "{said}"
    );
    assert!(
        said.contains("  waits for  no quorum: connected to 1 of 3"),
        "{said}"
    );
    // A node of another ledger than the one that is named, and what is no address.
    let other = "ab".repeat(32);
    let ran = place.run(&format!("node status {} --chain {other}", urls[0]));
    ran.exits(15);
    assert!(ran.out().contains("Another ledger"), "{}", ran.out());
    place.run("node status nonsense").exits(2);
    for node in nodes {
        node.stop();
    }
}

#[test]
fn a_node_of_peers_that_is_none_is_refused_with_those_that_are() {
    let place = founded();
    let shown = place.run("genesis show nordic.genesis --json").json();
    let nodes: Vec<_> = shown["organisations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|org| org["validators"][0]["node_key"].as_str().unwrap())
        .collect();
    let start = |line: &str| {
        fs::write(place.path("peers.toml"), format!("[peers]\n{line}\n")).unwrap();
        place.run("node run --data acme --listen 127.0.0.1:0 --genesis nordic.genesis --config peers.toml")
    };
    let mut misspelt = nodes[1].to_owned();
    misspelt.replace_range(10..11, if &misspelt[10..11] == "0" { "1" } else { "0" });
    for name in [&*misspelt, "beta", &nodes[1][1..]] {
        let ran = start(&format!("{name} = \"127.0.0.1:1\""));
        refuses(&ran, 10, &[name, "no such node"]);
        for (org, key) in NAMES.iter().zip(&nodes) {
            assert!(ran.err().contains(key), "{}", ran.err());
            assert!(ran.err().contains(&address(&place, org)), "{}", ran.err());
        }
    }
    refuses(
        &start(&format!("{} = \"127.0.0.1\"", nodes[1])),
        10,
        &["is no address"],
    );
    // A lone validator has no peers.
    let lone = place.run("node run --data lone --listen 127.0.0.1:0 --config peers.toml");
    refuses(&lone, 10, &["is no address"]);
    fs::write(
        place.path("peers.toml"),
        format!("[peers]\n{} = \"127.0.0.1:1\"\n", nodes[1]),
    )
    .unwrap();
    let lone = place.run("node run --data lone --listen 127.0.0.1:0 --config peers.toml");
    refuses(&lone, 10, &["no such node", "a single validator"]);
}

#[test]
fn what_keeps_a_node_among_others_from_starting_has_a_code_and_advice_of_its_own() {
    let place = founded();
    let mut acme = begin(&place, "acme");
    assert_eq!(acme.says()["event"], "waiting");
    // It votes for the first block once a quorum with it is there.
    let others = ["beta", "corp"].map(|org| begin(&place, org));
    acme.ready().stop();
    drop(others);
    assert!(place.path("acme/node/voted").exists());
    let start = || place.run("node run --data acme --listen 127.0.0.1:0 --config acme.toml");
    let refused = |code: i32, words: &[&str]| {
        let ran = start();
        refuses(&ran, code, words);
        assert!(!ran.err().contains("kusabi recover"), "{}", ran.err());
    };
    let file = place.path("acme/node/node.key");
    let key = fs::read(&file).unwrap();

    fs::remove_file(&file).unwrap();
    refused(19, &["node.key is missing", "bring the file back"]);
    assert!(!file.exists(), "no other is made");
    fs::copy(place.path("beta/node/node.key"), &file).unwrap();
    refused(19, &["names the node key", "bring back the right node.key"]);
    fs::write(&file, "11").unwrap();
    refused(19, &["is not a node key", "restore the file"]);
    fs::write(&file, &key).unwrap();

    let format = place.path("acme/node/format");
    let line = fs::read(&format).unwrap();
    let next = || fs::read(place.path("acme/node/vote-next.key")).ok();
    let next_before = next();
    fs::remove_file(&format).unwrap();
    let words = ["acme/node/format is missing", "write its one line again"];
    refused(17, &words);
    // No other verb takes it for a new directory either.
    let prepare = "node prepare --data acme --org acme";
    refuses(&place.run(prepare), 17, &words);
    assert!(next() == next_before);
    fs::write(&format, line).unwrap();

    let taken = TcpListener::bind(address(&place, "acme")).unwrap();
    refused(12, &[&address(&place, "acme"), "peer_listen"]);
    drop(taken);
    fs::write(
        place.path("acme.toml"),
        "peer_listen = \"192.0.2.1:7043\"\n",
    )
    .unwrap();
    refused(12, &["192.0.2.1:7043", "does not have that address"]);
    let config = format!("peer_listen = \"{}\"\n", port().local_addr().unwrap());
    fs::write(place.path("acme.toml"), config).unwrap();

    fs::remove_dir_all(place.path("acme/node/engine/votes-0")).unwrap();
    refused(
        18,
        &[
            "has voted in epoch 0",
            "leave this node stopped",
            "the other validators go on",
        ],
    );
    // Its blocks are there still, and a recovery could go on from them.
    let prepared = place.run(prepare);
    let said = "This directory has voted in epoch 0, and every copy of it has this next vote key";
    assert!(prepared.ok().out().contains(said), "{}", prepared.out());
    // From nothing none can, and in its place the node needs keys that no copy of it has.
    fs::remove_dir_all(place.path("acme/node/engine")).unwrap();
    fs::remove_file(place.path("acme/node/vote-next.key")).unwrap();
    let words = [
        "has voted in epoch 0",
        "no keys are made here",
        "--data NEWDIR",
    ];
    refuses(&place.run(prepare), 18, &words);
    assert!(!place.path("acme/node/vote-next.key").exists());
}
