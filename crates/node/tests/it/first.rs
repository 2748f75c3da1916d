//! One key on the ledger, proven, verified by `kusabi-core`.

use bytes::Bytes;
use kusabi_core::{
    anchor::Anchor, genesis::Genesis, id::StateKey, proof::Proof, row::Record, suite::Purpose,
};
use kusabi_ledger::testing::{TestKey, World};
use kusabi_node::{
    directory::{Directory, NodeKey, VoteKey},
    engine::EngineError,
    handle::Stop,
    node::{Config, Node, StartError},
    outline::Outline,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_registered_and_proven_before_and_after_a_restart() {
    let mut world = World::open();
    let outline = Outline::new(
        Bytes::from(world.document.clone()),
        Bytes::copy_from_slice(world.genesis().as_bytes()),
    )
    .unwrap();
    let place = tempfile::tempdir().unwrap();
    let directory = Directory::create(
        place.path(),
        outline,
        &VoteKey::new(world.vote_seed),
        &NodeKey::new(world.node_seed),
    )
    .unwrap();
    let mut node = Node::start(directory, Config::default()).unwrap();
    let handle = node.handle();

    // The writer's grant is made for the state after the genesis transaction.
    let grant = {
        let mut at_founding = World::new(1 << 40);
        let genesis = at_founding.genesis();
        at_founding.block(vec![genesis]).unwrap();
        at_founding.grant(&world.writer)
    };
    let receipt = handle.submit(grant.as_bytes()).unwrap().await.unwrap();
    assert_eq!((receipt.height.get(), receipt.index), (2, 0));

    let key = TestKey::new(100, Purpose::Act);
    let register = world.register(&[&key]);
    let receipt = handle.submit(register.as_bytes()).unwrap().await.unwrap();
    world.submit(register).unwrap();

    let genesis = Genesis::decode(&world.document).unwrap();
    let anchor = Anchor::from_genesis(&genesis);
    let state_key = StateKey::record(&key.handle);
    let check = |bytes: &[u8]| {
        let proof = Proof::decode(bytes).unwrap();
        let verified = proof
            .check(&anchor, genesis.epoch_set(), &state_key)
            .unwrap();
        Record::decode(verified.row().unwrap()).unwrap()
    };
    let proof = handle.lookup(state_key).await.unwrap();
    let record = check(&proof);
    assert_eq!(record.registered(), receipt.height);

    handle.shut_down();
    assert_eq!(node.stopped().await, Stop::Asked);
    let directory = Directory::open(place.path()).unwrap();
    let mut node = Node::start(directory, Config::default()).unwrap();
    let again = node.handle().lookup(state_key).await.unwrap();
    assert_eq!(check(&again), record);

    // Some of the engine's files are gone.
    node.handle().shut_down();
    assert_eq!(node.stopped().await, Stop::Asked);
    for gone in ["blocks-key", "state-log-blobs"] {
        let part = place.path().join("engine").join(gone);
        let away = place.path().join("away");
        std::fs::rename(&part, &away).unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let stop = match Node::start(directory, Config::default()) {
            Ok(mut node) => {
                let stop = node.begun().await.unwrap_err();
                node.join();
                stop
            }
            Err(StartError::Stopped(stop)) => stop,
            Err(why) => panic!("{gone}: {why}"),
        };
        // What cannot be opened is named by its store, what does not fit the rest by what the engine says of it.
        let is_named = matches!(
            stop,
            Stop::Refused(EngineError::Files(_) | EngineError::Store { .. })
        );
        assert!(is_named, "{gone}: {stop}");
        if part.exists() {
            std::fs::remove_dir_all(&part).unwrap();
        }
        std::fs::rename(away, part).unwrap();
    }
}
