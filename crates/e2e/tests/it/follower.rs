//! A node without a vote beside four that have one, while an epoch turns and processes die.

use crate::{
    consortium::{NAMES, found, start_all, verifying},
    epochs::{appoint, register, runtime, shows},
    node::Node,
};
use kusabi_api::{HttpLedger, Ledger as _, ledger::Role};
use kusabi_core::id::{Epoch, Nonce};
use std::time::Instant;

#[test]
fn a_follower_serves_beside_four_nodes_through_an_epoch_and_kills() {
    let started = Instant::now();
    let runtime = runtime();
    let (place, chain) = found();
    let mut nodes = start_all(&place);
    let grant = "org grant acme/keys/writer.key --profile acme/profile.toml";
    nodes[0].run(&place, grant).ok();

    // Somebody who knows the chain ID and two nodes; and another one, with the genesis file, who follows the first.
    let from = [&*nodes[0].address, &*nodes[1].address];
    let with_chain = format!("--chain {chain}");
    let follower = Node::begin_following(&place, "watch", &from, &with_chain).ready();
    let with_genesis = "--genesis nordic.genesis";
    let second =
        Node::begin_following(&place, "second", &[&follower.address], with_genesis).ready();
    println!("both follow after {:?}", started.elapsed());

    // Its client's registration goes to the ledger by way of it, and is shown by both.
    register(&place, &follower, "acme", "one.key");
    second
        .run(&place, "key lookup one.key --profile acme/profile.toml")
        .ok();
    let device = runtime.block_on(verifying(&follower.address, &chain));
    runtime.block_on(device.checkpoint()).unwrap();

    // An epoch turns, and it goes along.
    let four: Vec<_> = NAMES.into_iter().zip(&nodes).collect();
    let last = appoint(&place, &four, "", "second");
    for node in [&follower, &second] {
        shows(&runtime, node, last + 1);
    }
    println!("epoch 1 after {:?}", started.elapsed());
    // The device walks by the follower's word, and hears from validators through it that this is the present.
    let nonce = Nonce::new([7; 32]);
    let (_, fresh) = runtime.block_on(device.fresh_checkpoint(nonce)).unwrap();
    assert_eq!(fresh.header().epoch, Epoch::new(1));
    register(&place, &follower, "acme", "two.key");
    let http = HttpLedger::new(&follower.address).unwrap();
    let status = runtime.block_on(http.status()).unwrap();
    assert_eq!(
        (status.role, status.ready),
        (Role::Follower, true),
        "{status:?}"
    );

    // Killed, and the node that it followed too: it goes on from its disk, and takes the next one.
    let (data, address) = ("watch", nodes[1].address.clone());
    let gone = nodes.remove(0);
    let first = gone.address.clone();
    follower.kill();
    gone.kill();
    register(&place, &nodes[1], "acme", "three.key");
    let follower = Node::begin_following(&place, data, &[&first, &address], "").ready();
    follower
        .run(&place, "key lookup two.key --profile acme/profile.toml")
        .ok();
    register(&place, &follower, "acme", "four.key");
    follower
        .run(&place, "key lookup three.key --profile acme/profile.toml")
        .ok();
    let audit = "audit --profile acme/profile.toml --json";
    assert_eq!(follower.run(&place, audit).json()["good"], true);
    let doctor = follower.run(&place, "doctor --profile acme/profile.toml --json");
    let said = doctor.out();
    assert!(said.contains("a follower"), "{said}");
    follower.stop();
    second.stop();

    // Neither runs the other's directory; no key was made.
    let run = place.run("node run --data watch").exits(5).err();
    assert!(run.contains("the directory of a follower"), "{run}");
    let follow = format!("node follow --data acme --from {address} --chain {chain}");
    let follow = place.run(&follow).exits(5).err();
    assert!(follow.contains("the directory of a validator"), "{follow}");
    let keys = std::fs::read_dir(place.path("watch/node"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".key"));
    assert_eq!(keys.count(), 0);
    for node in nodes {
        node.stop();
    }
    println!("done after {:?}", started.elapsed());
}
