//! When a leader proposes.

use super::{
    Founder, blocks,
    consortium::{PATIENCE, Told, agreed, open_for_all, register, start, within},
    epochs::{Plan, appoint, begun},
};
use futures::future::join3;
use kusabi_core::{appointment::CLOSING_BLOCKS, header::Header};
use kusabi_node::{
    engine::simulation::consortium::{Consortium, Fleet, Quality},
    handle::NodeHandle,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const MEMBERS: usize = 4;
/// From the beginning of its turn to a leader's block.
const PAUSE_MS: u64 = 10;
/// Lines that take always the same time, so that it is known when a turn begins.
const EVEN: Quality = Quality {
    jitter: Duration::ZERO,
    ..Quality::GOOD
};

/// Registers a key at a member after some time; the header of its block.
async fn registered(
    founder: &Founder,
    fleet: &Fleet,
    told: &Mutex<Told>,
    at: usize,
    after_ms: u64,
) -> Header {
    fleet.sleep(Duration::from_millis(after_ms)).await;
    let node = fleet.node(at).unwrap();
    let handle = within(fleet, PATIENCE, register(founder, &node, told)).await;
    let handle = handle.flatten().unwrap();
    let told = told.lock().unwrap().acknowledged.clone();
    let (_, receipt) = told.iter().rfind(|(of, _)| *of == handle).unwrap();
    node.block(receipt.height).await.unwrap().unwrap().header
}

/// From a block to the beginning of the next turn: as long as it takes from one block to the next where an epoch ends, which no
/// leader keeps waiting.
async fn turn_ms(node: &NodeHandle) -> u64 {
    let last = usize::try_from(node.outline().newest().first - 1).unwrap();
    let closing = usize::try_from(CLOSING_BLOCKS).unwrap();
    let blocks = blocks(node).await;
    // Without the first ones: not every leader knew of the end yet.
    let times = blocks[last - closing + 4..last]
        .iter()
        .map(|block| block.header.time_ms);
    let times: Vec<_> = times.collect();
    let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let (least, most) = (steps.clone().min().unwrap(), steps.max().unwrap());
    assert!(most - least <= PAUSE_MS / 3, "{times:?}");
    most
}

/// What comes at the next leader while a block is made and some time after it: where the two stand.
async fn both(founder: &Founder, fleet: &Fleet, told: &Mutex<Told>, after_ms: u64) -> [Header; 2] {
    let outline = fleet.node(0).unwrap().outline();
    let led_by = |place: u8| {
        let mut members = 0..MEMBERS;
        let place = place % MEMBERS as u8;
        members
            .find(|member| founder.place(&outline, *member) == place)
            .unwrap()
    };
    let idle = registered(founder, fleet, told, 0, 0).await;
    fleet.sleep(Duration::from_millis(100)).await;
    let [now, next] = [led_by(idle.leader + 1), led_by(idle.leader + 2)];
    let (block, first, second) = join3(
        registered(founder, fleet, told, now, 0),
        registered(founder, fleet, told, next, 1),
        registered(founder, fleet, told, next, after_ms),
    )
    .await;
    assert_eq!([led_by(block.leader), led_by(first.leader)], [now, next]);
    [first, second]
}

#[test]
fn what_comes_within_a_leaders_pause_stands_in_one_block() {
    let founder = Founder::of(MEMBERS as u64);
    let told = Arc::new(Mutex::new(Told::default()));
    let plan: Plan = vec![(0..MEMBERS).collect(); 2];
    let mut consortium = Consortium::new(1, founder.outline(), founder.members());
    let out = consortium.run(|fleet| async move {
        for from in 0..MEMBERS {
            for to in 0..MEMBERS {
                fleet.link(from, to, Some(EVEN)).await;
            }
        }
        start(&fleet, 0..MEMBERS).await;
        open_for_all(&founder, &fleet).await;
        let node = fleet.node(0).unwrap();
        let appointing = appoint(&founder, &node, &plan, 1);
        assert!(
            within(&fleet, PATIENCE, appointing)
                .await
                .flatten()
                .is_some()
        );
        begun(&fleet, &[0, 1, 2, 3], 1).await;
        let turn_ms = turn_ms(&node).await;
        for _ in 0..4 {
            // A leader that did not wait would have made its block of the first by then.
            let during = turn_ms + PAUSE_MS / 3;
            let [first, second] = both(&founder, &fleet, &told, during).await;
            assert_eq!(first, second);
            let after = turn_ms + PAUSE_MS * 5 / 3;
            let [first, second] = both(&founder, &fleet, &told, after).await;
            assert!(first.height < second.height, "{first:?}, {second:?}");
        }
        agreed(&founder, &fleet, &told).await;
    });
    assert_eq!(out, Some(()));
}
