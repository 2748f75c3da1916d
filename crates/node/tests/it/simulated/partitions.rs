//! Where the engine writes what.

use super::{
    Founder,
    consortium::{PATIENCE, Told, open_for_all, register, start, within},
    epochs::{Plan, appoint, begun},
};
use std::{collections::BTreeSet, sync::Mutex};

/// What is small and written with each block: votes, certificates of the newest views, and notes of how far other files go.
const TOGETHER: [&str; 10] = [
    "marshal-application-metadata",
    "marshal-cache-cache-{epoch}-finalizations-key",
    "marshal-cache-cache-{epoch}-finalizations-metadata",
    "marshal-cache-cache-{epoch}-finalizations-value",
    "marshal-cache-cache-{epoch}-notarizations-key",
    "marshal-cache-cache-{epoch}-notarizations-metadata",
    "marshal-cache-cache-{epoch}-notarizations-value",
    "state-log-metadata",
    "state-tree-metadata",
    "votes-{epoch}",
];

/// What may be large, or is to be read without the notes.
const APART: [&str; 16] = [
    "blocks-key",
    "blocks-metadata",
    "blocks-value",
    "certificates-key",
    "certificates-metadata",
    "certificates-value",
    "marshal-cache-cache-{epoch}-certified-metadata",
    "marshal-cache-cache-{epoch}-notarized-metadata",
    "marshal-cache-cache-{epoch}-verified-key",
    "marshal-cache-cache-{epoch}-verified-metadata",
    "marshal-cache-cache-{epoch}-verified-value",
    "marshal-cache-metadata",
    "plan-state_sync_metadata",
    "state-bitmap",
    "state-log-blobs",
    "state-tree-blobs",
];

/// Made only where there is something to be kept in them.
const SOMETIMES: [&str; 5] = [
    "marshal-cache-cache-{epoch}-certified-key",
    "marshal-cache-cache-{epoch}-certified-value",
    "marshal-cache-cache-{epoch}-notarized-key",
    "marshal-cache-cache-{epoch}-notarized-value",
    "state-tree-pins",
];

fn in_epochs(names: &[&str]) -> BTreeSet<String> {
    let epochs = (0..2).flat_map(|epoch| {
        let name = move |name: &&str| name.replace("{epoch}", &epoch.to_string());
        names.iter().map(name)
    });
    epochs.collect()
}

/// Whoever takes a new version of the engine that calls something else sees it here: what was noted would not be found, and what is
/// written with each block be slow. The names are then changed in `engine/disk`, and the format of a directory with them.
#[test]
fn the_engine_calls_its_partitions_as_it_always_did() {
    let founder = Founder::of(4);
    let told = Mutex::new(Told::default());
    let plan: Plan = vec![(0..4).collect(); 2];
    let out = founder.consortium(1).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        let node = fleet.node(0).unwrap();
        let appointing = appoint(&founder, &node, &plan, 1);
        let appointed = within(&fleet, PATIENCE, appointing).await;
        assert!(appointed.flatten().is_some());
        begun(&fleet, &[0, 1, 2, 3], 1).await;
        let registered = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
        assert!(registered.flatten().is_some());
        fleet.partitions(0)
    });
    let of = |together: bool| {
        let all = out.as_ref().unwrap().iter();
        let these = all.filter(|(_, is)| **is == together);
        these.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(of(true), in_epochs(&TOGETHER));
    let apart: BTreeSet<_> = of(false)
        .difference(&in_epochs(&SOMETIMES))
        .cloned()
        .collect();
    assert_eq!(apart, in_epochs(&APART));
}
