//! `kusabi node run`: the founding, and everything that keeps a node from starting.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use snapbox::str;

use crate::{command::Place, node::Node};

fn run(place: &Place, rest: &str) -> crate::command::Ran {
    place.run(&format!("node run --listen 127.0.0.1:0 {rest}"))
}

#[test]
fn the_first_start_founds_and_the_second_only_starts() {
    let place = Place::new();
    let node = Node::start(&place);
    let chain = node.chain.clone();
    for key in ["officer", "recovery", "writer"] {
        let path = place.path(format!("ledger/keys/{key}.key"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        place.run(&format!("key show ledger/keys/{key}.key")).ok();
    }
    let noted = fs::read_to_string(place.path("ledger/chain")).unwrap();
    assert_eq!(noted.trim_end(), chain);
    node.run(&place, "key lookup ledger/keys/writer.key").ok();
    node.stop();

    let keys = fs::read(place.path("ledger/keys/officer.key")).unwrap();
    let node = Node::start(&place);
    assert_eq!(node.chain, chain);
    assert_eq!(
        fs::read(place.path("ledger/keys/officer.key")).unwrap(),
        keys
    );
    node.stop();
}

#[test]
fn an_interrupted_founding_is_completed() {
    let place = Place::new();
    // Killed after its keys and half of its directory were made.
    Node::start(&place).kill();
    let officer = fs::read(place.path("ledger/keys/officer.key")).unwrap();
    for gone in ["ledger/node/format", "ledger/chain", "ledger/profile.toml"] {
        fs::remove_file(place.path(gone)).unwrap();
    }
    fs::remove_dir_all(place.path("ledger/node/engine")).unwrap();
    let _ = fs::remove_file(place.path("ledger/node/voted"));
    let node = Node::start(&place);
    assert_eq!(
        fs::read(place.path("ledger/keys/officer.key")).unwrap(),
        officer
    );
    node.run(
        &place,
        &format!("key lookup ledger/keys/writer.key --chain {}", node.chain),
    )
    .ok();
}

#[test]
fn no_copy_of_a_founders_key_stays_under_another_name() {
    let place = Place::new();
    Node::start(&place).stop();
    // As older versions left it when they were killed at the wrong moment. No process has this number.
    let hidden = place.path("ledger/keys/.recovery.key.4294967295");
    for complete in [true, false] {
        fs::copy(place.path("ledger/keys/recovery.key"), &hidden).unwrap();
        if !complete {
            fs::remove_dir_all(place.path("ledger/node")).unwrap();
            fs::remove_file(place.path("ledger/chain")).unwrap();
            fs::remove_file(place.path("ledger/profile.toml")).unwrap();
        }
        Node::start(&place).stop();
        assert!(!hidden.exists());
        let names = fs::read_dir(place.path("ledger/keys")).unwrap().count();
        assert_eq!(names, 3);
    }
}

#[test]
fn a_founding_that_ended_before_the_chain_was_noted_is_completed() {
    let place = Place::new();
    let node = Node::start(&place);
    let chain = node.chain.clone();
    node.stop();
    fs::remove_file(place.path("ledger/chain")).unwrap();
    Node::start(&place).stop();
    let noted = fs::read_to_string(place.path("ledger/chain")).unwrap();
    assert_eq!(noted.trim_end(), chain);
}

#[test]
fn a_directory_has_one_process() {
    let place = Place::new();
    let node = Node::start(&place);
    run(&place, "--data ledger").exits(11).complains(str![[r#"
error: ledger/node is in use by another process
  hint: stop that one first

"#]]);
    node.run(&place, "key lookup ledger/keys/writer.key").ok();
}

#[test]
fn a_taken_port_is_said_and_nothing_is_founded() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    place
        .run(&format!("node run --data ledger --listen {address}"))
        .exits(12)
        .complains(str![[r#"
error: 127.0.0.1:[PORT] is taken by another process
  hint: stop that one, or give --listen IP:PORT; port 0 takes a free one

"#]]);
    assert!(!place.path("ledger").exists());
    place
        .run("node run --data ledger --listen 192.0.2.1:7040")
        .exits(12);
}

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    run(&place, "--data file").exits(13);
    run(&place, "--data file/ledger").exits(13);
    run(&place, "--data /sys/kusabi").exits(13);
}

#[test]
fn a_full_disk_is_said() {
    let place = Place::new();
    // The one disk that is always full.
    place.run("key new /dev/full/camera.key").exits(5);
    let ran = place.run("completions bash");
    assert!(ran.out().len() > 1_000);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = place
        .command("completions bash")
        .stdout(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(14));
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let place = Place::new();
    fs::create_dir_all(place.path("photos")).unwrap();
    fs::write(place.path("photos/cat.jpg"), "x").unwrap();
    run(&place, "--data photos").exits(5).complains(str![[r#"
error: photos holds no ledger and is not empty: cat.jpg is in it
  hint: name a new directory

"#]]);
    assert_eq!(fs::read_dir(place.path("photos")).unwrap().count(), 1);
    fs::create_dir_all(place.path("js/node")).unwrap();
    fs::write(place.path("js/node/index.js"), "x").unwrap();
    run(&place, "--data js").exits(5);
    assert!(place.path("js/node/index.js").exists());
}

#[test]
fn the_configuration_is_strict() {
    let place = Place::new();
    fs::write(place.path("node.toml"), "listne = \"127.0.0.1:0\"\n").unwrap();
    let ran = place.run("node run --data ledger --config node.toml");
    ran.exits(10);
    assert!(
        ran.err().contains("unknown field `listne`"),
        "{}",
        ran.err()
    );
    fs::write(place.path("node.toml"), "org = \"No Good\"\n").unwrap();
    run(&place, "--data ledger --config node.toml").exits(10);
    fs::write(place.path("node.toml"), "heartbeat_s = 999999\n").unwrap();
    run(&place, "--data ledger --config node.toml").exits(2);
    run(&place, "--data ledger --config nothing.toml").exits(5);
}

#[test]
fn another_chain_is_refused() {
    let place = Place::new();
    let node = Node::start(&place);
    let other = "0".repeat(64);
    let ran = node.run(&place, &format!("org show --chain {other}"));
    ran.exits(15).complains(str![[r#"
error: the node serves another ledger than the chain that you named
  hint: check --ledger and --chain; if both are right, this node is not to be trusted

"#]]);
    node.stop();
    run(&place, &format!("--data ledger --chain {other}")).exits(15);
    run(&place, &format!("--data nothing --chain {other}")).exits(15);
    assert!(!place.path("nothing").exists());
}

#[test]
fn a_genesis_with_any_bit_changed_is_refused() {
    let place = Place::new();
    Node::start(&place).stop();
    let path = place.path("ledger/node/genesis.cbor");
    let good = fs::read(&path).unwrap();
    // Every byte once, each time another bit of it.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        run(&place, "--data ledger").exits(16);
    }
    fs::write(&path, &good).unwrap();
    Node::start(&place).stop();
}

#[test]
fn a_lost_node_directory_is_no_reason_to_found_another_ledger() {
    let place = Place::new();
    Node::start(&place).stop();
    fs::remove_dir_all(place.path("ledger/node")).unwrap();
    run(&place, "--data ledger").exits(17).complains(str![[r#"
error: ledger held the ledger [HASH], and its node directory is gone
  hint: bring the ledger back from a backup: kusabi recover --help

"#]]);
}
