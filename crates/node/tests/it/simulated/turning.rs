//! Members that lie while an epoch ends, and everything else goes wrong, too.

use super::{
    Founder,
    consortium::{
        PATIENCE, Told, agreed, heal, heal_some, open_for_all, register, start, trouble, within,
    },
    epochs::{audited, begun, whole},
    lives,
    lying::{Crime, Lying, false_handovers},
};
use crate::random::{Random, seeds};
use futures::future::{join, join_all};
use kusabi_core::{
    id::Epoch,
    set::EpochSet,
    step::{Step, StepKind},
    tx::{Action, Transaction},
};
use kusabi_node::{engine::simulation::consortium::Fleet, handle::NodeHandle, outline::Outline};
use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

/// How long clients and officers try before they try elsewhere.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The transaction that appoints these members for the epoch after the newest one that a node knows.
fn appointment(founder: &Founder, node: &NodeHandle, voting: &[usize]) -> Transaction {
    let outline = node.outline();
    let newest = outline.newest();
    let next = newest.number.get() + 1;
    let set = founder.ledger.set_of(next, voting);
    let nodes = founder.ledger.nodes_in(next, voting, &[]);
    let all: Vec<usize> = (0..founder.ledger.members()).collect();
    founder.ledger.appoint(&newest.set, &set, &nodes, &all)
}

/// Hands it in, and waits for the answer, whatever it is.
async fn bring(node: &NodeHandle, transaction: &Transaction) {
    if let Ok(end) = node.submit(transaction.as_bytes()) {
        let _ = end.await;
    }
}

/// A device that walks from the genesis ends at the set that was appointed, one that is shown false handovers on the way stays
/// where it is.
fn walks(founder: &Founder, way: &Outline, liars: &Range<usize>) {
    let newest = way.newest();
    let (anchor, set) = founder.walk(way, newest.number);
    assert_eq!(
        (anchor.epoch(), anchor.set_hash()),
        (newest.number, newest.set_hash)
    );
    assert_eq!(EpochSet::decode(&set).unwrap().hash(), newest.set_hash);
    for epoch in 0..newest.number.get() {
        let (before, set) = founder.walk(way, Epoch::new(epoch));
        let set = EpochSet::decode(&set).unwrap();
        for opening in false_handovers(founder, epoch, liars) {
            let Action::Handover { handover, .. } = opening.action() else {
                panic!("{opening:?}");
            };
            let step = Step::decode(StepKind::Handover, handover).unwrap();
            let mut anchor = before;
            assert!(step.take(&mut anchor, &set).is_err());
            assert_eq!(anchor, before);
        }
    }
}

/// One life with epochs that turn in the middle of trouble, and with as many members that lie as there may be.
fn life(seed: u64) -> usize {
    let mut r = Random(seed ^ 0x11a5);
    let n = 4 + (seed % 4) as usize;
    let (honest, liars) = (0..n - (n - 1) / 3, n - (n - 1) / 3..n);
    let founder = Founder::of(n as u64);
    let told = Arc::new(Mutex::new(Told::default()));
    let crimes = liars.clone().map(|_| Crime::of(&founder, &liars, &mut r));
    let crimes = crimes.collect();
    let lying = Lying { liars, crimes };
    println!("{n} members; those who lie: {lying}");
    let (f, t) = (founder.clone(), told.clone());
    let out = founder.consortium(seed).run(move |fleet| async move {
        lying.begin(&fleet, &f.outline()).await;
        start(&fleet, honest.clone()).await;
        open_for_all(&f, &fleet).await;
        for epoch in 1..=2 {
            // In each epoch the officers have signed two appointments, of which one counts: who lies last may be left out.
            let voting = [(0..n).collect::<Vec<_>>(), (0..n - 1).collect()];
            for _ in 0..3 {
                trouble(&fleet, &mut r).await;
                let up: Vec<_> = (0..n).filter_map(|member| fleet.node(member)).collect();
                let clients = (0..3).map(|client| register(&f, &up[client % up.len()], &t));
                let two = voting.iter().map(|voting| {
                    let by = &up[r.below(up.len())];
                    let appoint = appointment(&f, by, voting);
                    async move { bring(by, &appoint).await }
                });
                let two: Vec<_> = two.take(1 + (seed % 2) as usize).collect();
                let time = Duration::from_millis(500 + r.below(4_000) as u64);
                within(&fleet, time, join(join_all(two), join_all(clients))).await;
                heal_some(&fleet, &mut r).await;
            }
            heal(&fleet).await;
            start(&fleet, honest.clone()).await;
            for member in honest.clone().cycle().take(4 * n) {
                let node = fleet.node(member).unwrap();
                if node.status().epoch >= Epoch::new(epoch) {
                    break;
                }
                // The appointment may have been lost with the node that knew of it.
                let appoint = appointment(&f, &node, &voting[0]);
                within(&fleet, ATTEMPT, bring(&node, &appoint)).await;
            }
            let all: Vec<usize> = honest.clone().collect();
            begun(&fleet, &all, epoch).await;
            goes_on(&f, &fleet, &t, &honest).await;
            let outline = fleet.node(0).unwrap().outline();
            let first = &outline.epochs()[1];
            assert_eq!(first.number, Epoch::new(1));
            let stolen = epoch == 1 && seed.is_multiple_of(3);
            lying.go_on(&fleet, &outline, stolen).await;
        }
        goes_on(&f, &fleet, &t, &honest).await;
        lying.end(&fleet);
        agreed(&f, &fleet, &t).await;
        for member in honest {
            let node = fleet.node(member).unwrap();
            whole(&f, &node).await;
            walks(&f, &node.outline(), &lying.liars);
        }
        super::blocks(&fleet.node(0).unwrap()).await
    });
    audited(&founder, seed, out.unwrap());
    let told = told.lock().unwrap();
    told.acknowledged.len()
}

/// A client of each member that does not lie is served.
async fn goes_on(founder: &Founder, fleet: &Fleet, told: &Mutex<Told>, honest: &Range<usize>) {
    let clients = honest.clone().map(|member| async move {
        let node = fleet.node(member).unwrap();
        register(founder, &node, told).await
    });
    let served = within(fleet, PATIENCE, join_all(clients)).await;
    let all = served.is_some_and(|served| served.iter().all(Option::is_some));
    assert!(all, "all who do not lie are there, and not all are served");
}

/// Six seeds; `KUSABI_SEEDS=from..to` names others.
#[test]
fn whoever_lies_while_an_epoch_ends_neither_stops_it_nor_ends_it_otherwise() {
    lives(seeds(6..12), life);
}
