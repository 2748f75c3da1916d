//! Power cuts and failing disks at random moments under load.

use super::{Founder, blocks, lives, open};
use crate::random::Random;
use futures::{StreamExt as _, stream::FuturesUnordered};
use kusabi_core::id::{Handle, HeaderHash, Height, StateKey, TxId};
use kusabi_node::{
    engine::simulation::{Faults, World},
    handle::{NodeHandle, Receipt, Stop, SubmitError},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

const ROUNDS: u64 = 4;

/// What the outside was told, which must stay true.
#[derive(Default)]
struct Told {
    acknowledged: Vec<(Handle, Receipt)>,
    blocks: BTreeMap<Height, HeaderHash>,
    next_key: u64,
}

/// Checks everything that was told.
async fn still_true(founder: &Founder, node: &NodeHandle, told: &Mutex<Told>) {
    let (acknowledged, known) = {
        let told = told.lock().unwrap();
        (told.acknowledged.clone(), told.blocks.clone())
    };
    for (handle, receipt) in &acknowledged {
        let proof = node.lookup(StateKey::record(handle)).await.unwrap();
        let record = founder.check(handle, &proof);
        let record = record.unwrap_or_else(|| panic!("lost: {handle} of {receipt:?}"));
        assert_eq!(record.registered(), receipt.height);
    }
    for (height, hash) in &known {
        let block = node.block(*height).await.unwrap();
        let block = block.unwrap_or_else(|| panic!("lost: block {}", height.get()));
        assert_eq!(block.hash, *hash, "two contents at height {}", height.get());
    }
}

/// Registers keys until `time` is over, with several submissions under way at any moment.
async fn load(
    founder: &Founder,
    node: &NodeHandle,
    world: &World,
    told: &Mutex<Told>,
    time: Duration,
) {
    let mut under_way = FuturesUnordered::new();
    let over = world.sleep(time);
    futures::pin_mut!(over);
    loop {
        while under_way.len() < 8 {
            let number = {
                let mut told = told.lock().unwrap();
                told.next_key += 1;
                told.next_key
            };
            let (handle, register) = founder.register(number);
            match node.submit(register.as_bytes()) {
                Ok(end) => under_way.push(async move { (handle, end.await) }),
                Err(SubmitError::Stopped(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
        let ended = futures::future::select(&mut over, under_way.next()).await;
        let futures::future::Either::Right((Some((handle, end)), _)) = ended else {
            return;
        };
        match end {
            Ok(receipt) => {
                told.lock().unwrap().acknowledged.push((handle, receipt));
                if let Ok(Some(block)) = node.block(receipt.height).await {
                    let mut told = told.lock().unwrap();
                    told.blocks.insert(receipt.height, block.hash);
                }
            }
            Err(SubmitError::Stopped(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A disk on which each sync takes up to a tenth of a second.
const SLOW: Faults = Faults {
    slow_ms: 100,
    ..Faults::NONE
};

fn faults(random: &mut Random) -> Faults {
    match random.below(6) {
        0 | 1 => Faults::default(),
        5 => SLOW,
        2 => Faults::FULL,
        3 => Faults {
            sync: 20,
            ..Faults::default()
        },
        _ => Faults {
            write: 10,
            resize: 10,
            read: 5,
            ..Faults::default()
        },
    }
}

/// One life of a node with several power cuts. Returns how many registrations were acknowledged.
fn life(seed: u64) -> usize {
    let founder = Founder::new();
    let mut random = Random(seed);
    let mut simulation = founder.simulation(seed);
    let told = Arc::new(Mutex::new(Told::default()));
    for round in 0..ROUNDS {
        let faults = faults(&mut random);
        let quiet = Duration::from_millis(random.below(400) as u64);
        let loud = Duration::from_millis(random.below(400) as u64);
        let (founder, told) = (founder.clone(), told.clone());
        let (out, stop) = simulation.run(Faults::default(), move |node, world| async move {
            still_true(&founder, &node, &told).await;
            open(&founder, &node).await;
            load(&founder, &node, &world, &told, quiet).await;
            world.set_faults(faults);
            load(&founder, &node, &world, &told, loud).await;
        });
        assert!(
            out.is_some(),
            "seed {seed} round {round}: did not start: {stop:?}"
        );
        if faults == Faults::default() || faults == SLOW {
            assert_eq!(stop, None, "seed {seed} round {round}");
        }
    }
    let told_at_last = told.clone();
    let at_last = founder.clone();
    let (out, _) = simulation.run(Faults::default(), move |node, _| async move {
        still_true(&at_last, &node, &told_at_last).await;
        blocks(&node).await
    });
    let blocks = out.unwrap();
    let told = told.lock().unwrap();
    for (handle, receipt) in &told.acknowledged {
        let block = blocks.iter().find(|b| b.header.height == receipt.height);
        let bytes = &block.unwrap().transactions[receipt.index as usize];
        assert_eq!(TxId::of(bytes), receipt.id, "seed {seed}: {handle}");
    }
    let audit = simulation.audit(blocks.clone()).unwrap();
    assert_eq!(audit.blocks, blocks.len() as u64);
    told.acknowledged.len()
}

/// Forty seeds; `KUSABI_SEEDS=from..to` names others.
#[test]
fn nothing_acknowledged_is_lost_and_no_height_has_two_contents() {
    lives(crate::random::seeds(0..40), life);
}

#[test]
fn a_slow_disk_delays_and_a_cut_in_it_loses_nothing() {
    for seed in 0..6 {
        println!("seed {seed}");
        let founder = Founder::new();
        let mut simulation = founder.simulation(seed);
        let told = Arc::new(Mutex::new(Told::default()));
        for _ in 0..3 {
            let (f, t) = (founder.clone(), told.clone());
            let (out, stop) = simulation.run(SLOW, move |node, world| async move {
                still_true(&f, &node, &t).await;
                open(&f, &node).await;
                // Cut at another point of a block's way each time.
                let time = Duration::from_millis(1_500 + 37 * seed);
                load(&f, &node, &world, &t, time).await;
            });
            assert_eq!((out, stop), (Some(()), None), "seed {seed}");
        }
        let told = told.lock().unwrap();
        assert!(told.acknowledged.len() > 8, "it delays and does not stop");
    }
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    let founder = Founder::new();
    let mut simulation = founder.simulation(3);
    let told = Arc::new(Mutex::new(Told::default()));
    let (f, t) = (founder.clone(), told.clone());
    let (_, stop) = simulation.run(Faults::default(), move |node, world| async move {
        open(&f, &node).await;
        load(&f, &node, &world, &t, Duration::from_millis(200)).await;
        world.set_faults(Faults::FULL);
        let (_, register) = f.register(900);
        let end = node.submit(register.as_bytes()).unwrap().await;
        assert!(matches!(end, Err(SubmitError::Stopped(_))), "{end:?}");
        assert!(node.lookup(StateKey::ledger()).await.is_err());
    });
    assert!(
        matches!(stop, Some(Stop::Fault(_) | Stop::Storage(_))),
        "{stop:?}"
    );
    assert!(!told.lock().unwrap().acknowledged.is_empty());
    let (out, _) = simulation.run(Faults::default(), move |node, _| async move {
        still_true(&founder, &node, &told).await;
    });
    assert!(out.is_some());
}
