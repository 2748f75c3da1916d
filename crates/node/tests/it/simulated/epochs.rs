//! Epochs that end and begin while everything else goes on, or goes wrong.

use super::{
    Founder,
    consortium::{
        PATIENCE, Told, agreed, heal, heal_some, open_for_all, register, start, trouble, within,
    },
    lives,
};
use crate::random::Random;
use futures::future::join_all;
use kusabi_api::Ledger as _;
use kusabi_core::appointment::CLOSING_BLOCKS;
use kusabi_core::{id::Epoch, set::EpochSet};
use kusabi_node::{
    engine::{genesis_header, simulation::consortium::Fleet},
    handle::{FinalBlock, NodeHandle, Stop},
    history::History,
    ledger::NodeLedger,
    pool::PoolLimits,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Nothing is handed in there.
const LIMITS: PoolLimits = PoolLimits { count: 1, bytes: 1 };

/// Whoever is a validator in each epoch, from epoch 0 on.
pub(super) type Plan = Vec<Vec<usize>>;

/// Appoints the members of the next epoch by way of a node. `None`: the node stopped first.
pub(super) async fn appoint(
    founder: &Founder,
    node: &NodeHandle,
    plan: &Plan,
    next: u64,
) -> Option<()> {
    let all: Vec<usize> = (0..founder.ledger.members()).collect();
    let set = |epoch: u64| founder.ledger.set_of(epoch, &plan[epoch as usize]);
    let old = if next == 1 {
        founder.ledger.epoch_set(0)
    } else {
        set(next - 1)
    };
    let nodes = founder.ledger.nodes_in(next, &plan[next as usize], &[]);
    let appoint = founder.ledger.appoint(&old, &set(next), &nodes, &all);
    // Refused when an earlier attempt has done it.
    node.submit(appoint.as_bytes()).ok()?.await.ok().map(drop)
}

/// Waits until an epoch has begun at these members.
pub(super) async fn begun(fleet: &Fleet, members: &[usize], epoch: u64) {
    let all = join_all(members.iter().map(|member| async move {
        let node = fleet.node(*member).unwrap();
        while node.status().epoch < Epoch::new(epoch) {
            fleet.sleep(Duration::from_millis(20)).await;
        }
    }));
    if within(fleet, PATIENCE, all).await.is_none() {
        let states: Vec<_> = members
            .iter()
            .map(|member| {
                let node = fleet.node(*member).unwrap();
                (node.status(), fleet.stopped(*member))
            })
            .collect();
        panic!("epoch {epoch} does not begin: {states:?}");
    }
}

/// All of a node's blocks are the ledger's, each with a certificate of its epoch, as an audit has it.
pub(super) async fn whole(founder: &Founder, node: &NodeHandle) {
    let outline = founder.outline();
    let genesis = genesis_header(&outline).unwrap();
    let mut history = History::new(outline, genesis);
    for block in super::blocks(node).await {
        history.push(&block).unwrap();
    }
}

/// Every block executed anew, from the genesis document on: each root is the one that its header says.
pub(super) fn audited(founder: &Founder, seed: u64, blocks: Vec<FinalBlock>) {
    let count = blocks.len();
    let audit = founder.simulation(seed).audit(blocks);
    assert!(audit.is_ok(), "seed {seed}, {count} blocks: {audit:?}");
}

/// A vote key of an epoch counts in no other; the set is the one that was appointed.
fn set_hash(founder: &Founder, plan: &Plan, epoch: u64) -> kusabi_core::id::SetHash {
    let set = founder.ledger.set_of(epoch, &plan[epoch as usize]);
    EpochSet::decode(&set).unwrap().hash()
}

#[test]
fn an_epoch_follows_another_and_nobody_notices() {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let plan: Plan = vec![(0..4).collect(); 3];
    let mut consortium = founder.consortium(21);
    let (f, t, p) = (founder.clone(), told.clone(), plan.clone());
    let out = consortium.run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&f, &fleet).await;
        let nodes: Vec<_> = (0..4).map(|member| fleet.node(member).unwrap()).collect();
        for epoch in 1..3 {
            // Clients that are served all the time, one at each member.
            let clients = nodes.iter().map(|node| async {
                let mut served = 0;
                while node.status().epoch < Epoch::new(epoch) || served < 3 {
                    register(&f, node, &t).await.unwrap();
                    served += 1;
                }
            });
            let appointing = appoint(&f, &nodes[epoch as usize], &p, epoch);
            let both = futures::future::join(appointing, join_all(clients));
            let (appointed, _) = within(&fleet, PATIENCE, both).await.unwrap();
            assert_eq!(appointed, Some(()));
            begun(&fleet, &[0, 1, 2, 3], epoch).await;
            agreed(&f, &fleet, &t).await;
        }
        let outline = nodes[0].outline();
        let (last, newest) = (&outline.epochs()[1], outline.newest());
        assert_eq!(newest.set_hash, set_hash(&f, &p, 2));
        // Votes are counted anew in each.
        let ledger = NodeLedger::new(nodes[0].clone(), &outline, LIMITS).unwrap();
        let votes = loop {
            if let Some(votes) = ledger.status().await.unwrap().votes {
                break votes;
            }
            fleet.sleep(Duration::from_millis(20)).await;
        };
        assert!(votes.counted > 0 && votes.from >= newest.first, "{votes:?}");
        let keys = votes.validators.iter().map(|of| of.vote_key.0);
        assert!(keys.eq(newest.vote_keys.iter().copied()), "{votes:?}");
        // No block of an epoch above its last, which alone names the next set.
        let blocks = super::blocks(&nodes[0]).await;
        for block in &blocks {
            let header = &block.header;
            let ends = [last.first - 1, newest.first - 1].contains(&header.height.get());
            assert_eq!(header.next_set_hash.is_some(), ends, "{}", header.height);
        }
        assert!(newest.first - last.first > CLOSING_BLOCKS);
    });
    assert_eq!(out, Some(()));
    // Everybody's power is cut in the third epoch.
    let out = consortium.run(|fleet| async move {
        start(&fleet, 0..4).await;
        agreed(&founder, &fleet, &told).await;
        let node = fleet.node(3).unwrap();
        let goes_on = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
        assert!(goes_on.flatten().is_some());
    });
    assert_eq!(out, Some(()));
}

#[test]
fn members_come_and_go() {
    let founder = Founder::of(5);
    let told = Arc::new(Mutex::new(Told::default()));
    // All five found the ledger; then one leaves, and comes back for another.
    let plan: Plan = vec![vec![0, 1, 2, 3, 4], vec![0, 1, 2, 3], vec![0, 1, 2, 4]];
    let out = founder.consortium(22).run(|fleet| async move {
        start(&fleet, 0..5).await;
        open_for_all(&founder, &fleet).await;
        let node = fleet.node(0).unwrap();
        let first = appoint(&founder, &node, &plan, 1);
        assert!(within(&fleet, PATIENCE, first).await.flatten().is_some());
        begun(&fleet, &[0, 1, 2, 3], 1).await;
        while fleet.stopped(4).is_none() {
            fleet.sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(fleet.stopped(4), Some(Stop::Left(Epoch::new(1))));
        fleet.kill(4);
        let registered = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
        assert!(registered.flatten().is_some());
        let second = appoint(&founder, &node, &plan, 2);
        assert!(within(&fleet, PATIENCE, second).await.flatten().is_some());
        begun(&fleet, &[0, 1, 2], 2).await;
        fleet.kill(3);
        // The one that comes back knows how its second epoch began, as somebody brought it to it.
        fleet.tell(4, &node.outline());
        start(&fleet, [4]).await;
        begun(&fleet, &[4], 2).await;
        // It counts: with another one gone, three of four go on.
        fleet.kill(1);
        let back = fleet.node(4).unwrap();
        let registered = within(&fleet, PATIENCE, register(&founder, &back, &told)).await;
        assert!(registered.flatten().is_some());
        agreed(&founder, &fleet, &told).await;
        whole(&founder, &back).await;
    });
    assert_eq!(out, Some(()));
}

#[test]
fn who_joins_is_brought_lies_by_one_and_the_ledger_by_the_others() {
    let founder = Founder::of(5);
    let told = Arc::new(Mutex::new(Told::default()));
    // The fifth runs from the first epoch after the founding on, and has an empty disk then.
    let plan: Plan = vec![(0..5).collect(), vec![0, 1, 2, 3], (0..5).collect()];
    let out = founder.consortium(24).run(|fleet| async move {
        fleet.start_spoiling(3).await;
        start(&fleet, 0..3).await;
        open_for_all(&founder, &fleet).await;
        let node = fleet.node(0).unwrap();
        for epoch in 1..3 {
            for _ in 0..5 {
                let registered = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
                assert!(registered.flatten().is_some());
            }
            let appointed = appoint(&founder, &node, &plan, epoch);
            assert!(
                within(&fleet, PATIENCE, appointed)
                    .await
                    .flatten()
                    .is_some()
            );
            begun(&fleet, &[0, 1, 2], epoch).await;
        }
        let before = fleet.lies();
        fleet.tell(4, &node.outline());
        start(&fleet, [4]).await;
        begun(&fleet, &[4], 2).await;
        // Four of five are a quorum: with another one gone, the one that joined has to vote.
        fleet.kill(1);
        let joined = fleet.node(4).unwrap();
        let registered = within(&fleet, PATIENCE, register(&founder, &joined, &told)).await;
        assert!(registered.flatten().is_some());
        agreed(&founder, &fleet, &told).await;
        whole(&founder, &joined).await;
        (before, fleet.lies())
    });
    let (before, lies) = out.unwrap();
    assert!(lies > before, "nobody was brought a lie");
}

#[test]
fn the_network_runs_with_clocks_thirty_years_ahead() {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let plan: Plan = vec![(0..4).collect(); 2];
    let years = Duration::from_secs(30 * 365 * 86_400);
    let out = founder.consortium(25).after(years).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        let node = fleet.node(0).unwrap();
        let registered = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
        assert!(registered.flatten().is_some());
        let appointed = appoint(&founder, &node, &plan, 1);
        assert!(
            within(&fleet, PATIENCE, appointed)
                .await
                .flatten()
                .is_some()
        );
        begun(&fleet, &[0, 1, 2, 3], 1).await;
        // One comes back, and counts.
        fleet.kill(3);
        start(&fleet, [3]).await;
        fleet.kill(1);
        let back = fleet.node(3).unwrap();
        let registered = within(&fleet, PATIENCE, register(&founder, &back, &told)).await;
        assert!(registered.flatten().is_some());
        agreed(&founder, &fleet, &told).await;
        whole(&founder, &back).await;
    });
    assert_eq!(out, Some(()));
}

#[test]
fn who_was_away_when_an_epoch_ended_is_told_and_catches_up() {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let plan: Plan = vec![(0..4).collect(); 3];
    let out = founder.consortium(23).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        fleet.kill(3);
        let node = fleet.node(0).unwrap();
        let first = appoint(&founder, &node, &plan, 1);
        assert!(within(&fleet, PATIENCE, first).await.flatten().is_some());
        begun(&fleet, &[0, 1, 2], 1).await;
        for _ in 0..5 {
            let registered = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
            assert!(registered.flatten().is_some());
        }
        start(&fleet, [3]).await;
        begun(&fleet, &[3], 1).await;
        fleet.kill(1);
        let back = fleet.node(3).unwrap();
        let registered = within(&fleet, PATIENCE, register(&founder, &back, &told)).await;
        assert!(registered.flatten().is_some());
        agreed(&founder, &fleet, &told).await;
        whole(&founder, &back).await;
    });
    assert_eq!(out, Some(()));
}

/// One life with epochs that turn in the middle of trouble.
fn life(seed: u64) -> usize {
    let mut random = Random(seed ^ 0xe90c);
    let n = 4 + (seed % 3) as usize;
    let founder = Founder::of(n as u64);
    let told = Arc::new(Mutex::new(Told::default()));
    let plan: Plan = vec![(0..n).collect(); 4];
    let (f, t) = (founder.clone(), told.clone());
    let mut r = Random(random.below(1 << 30) as u64);
    let out = founder.consortium(seed).run(move |fleet| async move {
        start(&fleet, 0..n).await;
        open_for_all(&f, &fleet).await;
        for epoch in 1..=2 {
            for _ in 0..3 {
                trouble(&fleet, &mut r).await;
                let up: Vec<_> = (0..n).filter_map(|member| fleet.node(member)).collect();
                let clients = (0..4).map(|client| register(&f, &up[client % up.len()], &t));
                let by = up[r.below(up.len())].clone();
                let both = futures::future::join(appoint(&f, &by, &plan, epoch), join_all(clients));
                let time = Duration::from_millis(500 + r.below(4_000) as u64);
                within(&fleet, time, both).await;
                heal_some(&fleet, &mut r).await;
            }
            heal(&fleet).await;
            for member in 0..n {
                fleet.start(member).await;
            }
            // The appointment may have been lost with the node that knew of it.
            let mut again = (0..n).cycle();
            loop {
                let node = fleet.node(again.next().unwrap()).unwrap();
                if node.status().epoch >= Epoch::new(epoch) {
                    break;
                }
                within(
                    &fleet,
                    Duration::from_secs(5),
                    appoint(&f, &node, &plan, epoch),
                )
                .await;
            }
            let all: Vec<usize> = (0..n).collect();
            begun(&fleet, &all, epoch).await;
        }
        let node = fleet.node(r.below(n)).unwrap();
        let goes_on = within(&fleet, PATIENCE, register(&f, &node, &t)).await;
        assert!(
            goes_on.flatten().is_some(),
            "a quorum is there, and nothing goes on"
        );
        agreed(&f, &fleet, &t).await;
    });
    assert_eq!(out, Some(()), "seed {seed}");
    let told = told.lock().unwrap();
    told.acknowledged.len()
}

/// Twelve seeds; `KUSABI_SEEDS=from..to` names others.
#[test]
fn epochs_turn_in_the_middle_of_trouble() {
    lives(crate::random::seeds(0..12), life);
}
