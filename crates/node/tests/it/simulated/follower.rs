//! A follower whose power is cut, whose disk fails, and to whom lies are brought.

use super::{
    Founder,
    consortium::{PATIENCE, Told, open_for_all, register, start, within},
    epochs::{Plan, appoint, begun, whole},
};
use crate::random::Random;
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesOrdered};
use kusabi_core::{
    checkpoint::{Checkpoint, CheckpointParts},
    id::{Epoch, Handle, Height, StateKey},
    suite::Signature,
};
use kusabi_node::{
    engine::simulation::{
        Faults, World,
        follower::{Bring, Follower},
    },
    handle::{FinalBlock, NodeHandle},
    history::HistoryError,
    outline::Outline,
};
use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

/// A ledger of four that went through three epochs.
pub(crate) struct Recording {
    pub(crate) founder: Arc<Founder>,
    /// From height 1 on.
    pub(crate) blocks: Vec<FinalBlock>,
    /// With all epochs.
    pub(crate) outline: Outline,
    /// Keys that were registered, and where.
    pub(crate) keys: Vec<(Handle, Height)>,
}

/// Made once for all tests.
pub(crate) fn recording() -> &'static Recording {
    static MADE: OnceLock<Recording> = OnceLock::new();
    // On a thread of its own: inside one of tokio's tasks its queues would make the simulation wait for their turn.
    MADE.get_or_init(|| std::thread::spawn(record).join().unwrap())
}

fn record() -> Recording {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let plan: Plan = vec![(0..4).collect(); 3];
    let (f, t) = (founder.clone(), told.clone());
    let out = founder.consortium(31).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&f, &fleet).await;
        let node = fleet.node(0).unwrap();
        for epoch in 1..3 {
            for _ in 0..4 {
                register(&f, &node, &t).await.unwrap();
            }
            let appointed = appoint(&f, &node, &plan, epoch);
            assert!(
                within(&fleet, PATIENCE, appointed)
                    .await
                    .flatten()
                    .is_some()
            );
            begun(&fleet, &[0, 1, 2, 3], epoch).await;
        }
        for _ in 0..4 {
            register(&f, &node, &t).await.unwrap();
        }
        (super::blocks(&node).await, node.outline())
    });
    let (blocks, outline) = out.unwrap();
    let told = told.lock().unwrap();
    let keys = told.acknowledged.iter();
    Recording {
        founder,
        blocks,
        outline: (*outline).clone(),
        keys: keys
            .map(|(handle, receipt)| (*handle, receipt.height))
            .collect(),
    }
}

impl Recording {
    /// What a follower shows is proven, to one who knows the genesis document and walks: which keys are there, and which are not yet.
    pub(crate) async fn shown_by(&self, node: &NodeHandle) {
        let height = node.status().height.unwrap();
        for (handle, registered) in &self.keys {
            let proof = node.lookup(StateKey::record(handle)).await.unwrap();
            let record = self.founder.check_by(&self.outline, handle, &proof);
            assert_eq!(record.is_some(), *registered <= height, "{handle}");
        }
    }

    /// The same blocks, of which every third has no certificate of its own: that of the next one counts for them.
    fn sparsely_certified(&self) -> Vec<FinalBlock> {
        self.certified_by_the_next(2, 3)
    }

    /// The same blocks, of which those from `first` on, in `steps`, have no certificate of their own, as far as an epoch goes.
    fn certified_by_the_next(&self, first: usize, steps: usize) -> Vec<FinalBlock> {
        let mut blocks = self.blocks.clone();
        for n in (first..blocks.len() - 1).step_by(steps) {
            let next = self.blocks[n + 1].checkpoint.clone().unwrap();
            let next = Checkpoint::decode(&next).unwrap();
            if blocks[n].header.epoch != next.claimed().epoch {
                continue;
            }
            let (view, parent_view) = next.views();
            let of_quorum = next.certificate();
            let signatures = of_quorum
                .signatures()
                .map(|(index, bytes)| (u8::try_from(index).unwrap(), Signature::new(*bytes)));
            let parts = CheckpointParts {
                headers: vec![blocks[n].header, *next.claimed()],
                view,
                parent_view,
                n: of_quorum.size(),
                signatures: signatures.collect(),
            };
            let mut out = Vec::new();
            parts.encode(&mut out).unwrap();
            blocks[n].checkpoint = Some(Bytes::from(out));
        }
        blocks
    }
}

/// Brings all blocks that are not kept; how many were taken before it stopped.
async fn bring_all(bring: &mut Bring, blocks: &[FinalBlock]) -> usize {
    let Some(next) = bring.next().await else {
        return 0;
    };
    let mut verdicts = FuturesOrdered::new();
    for block in blocks.iter().filter(|block| block.header.height >= next) {
        match bring.bring(block.clone()).await {
            Some(verdict) => verdicts.push_back(verdict),
            None => break,
        }
    }
    let mut taken = 0;
    while let Some(Ok(verdict)) = verdicts.next().await {
        verdict.unwrap();
        taken += 1;
    }
    taken
}

/// Waits until a follower shows this height.
async fn shows(node: &NodeHandle, world: &World, height: Height) {
    while node.status().height < Some(height) {
        world.sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_follower_goes_through_epochs_and_shows_what_is_proven() {
    let recording = recording();
    let last = recording.blocks.last().unwrap().header.height;
    for blocks in [recording.blocks.clone(), recording.sparsely_certified()] {
        let mut follower = Follower::new(1, &recording.founder.outline());
        let all = blocks.clone();
        let (out, stop) = follower.run(
            Faults::default(),
            move |node, mut bring, world| async move {
                assert_eq!(bring_all(&mut bring, &all).await, all.len());
                shows(&node, &world, last).await;
                recording.shown_by(&node).await;
                whole(&recording.founder, &node).await;
                assert_eq!(node.status().epoch, Epoch::new(2));
                super::blocks(&node).await
            },
        );
        assert_eq!(stop, None);
        let kept = out.unwrap();
        let hashes = |blocks: &[FinalBlock]| blocks.iter().map(|b| b.hash).collect::<Vec<_>>();
        assert_eq!(hashes(&kept), hashes(&recording.blocks));
        // Whoever follows it has what he needs from it.
        let mut second = Follower::new(2, &recording.founder.outline());
        let (out, _) = second.run(
            Faults::default(),
            move |node, mut bring, world| async move {
                assert_eq!(bring_all(&mut bring, &kept).await, kept.len());
                shows(&node, &world, last).await;
                recording.shown_by(&node).await;
            },
        );
        assert_eq!(out, Some(()));
    }
}

#[test]
fn who_brings_no_block_with_a_certificate_of_its_own_holds_nothing_up() {
    let recording = recording();
    let blocks = recording.certified_by_the_next(0, 1);
    let own = |block: &FinalBlock| {
        let checkpoint = block.checkpoint.as_ref().unwrap();
        Checkpoint::decode(checkpoint).unwrap().header_count() == 1
    };
    let without = blocks.iter().filter(|block| !own(block)).count();
    // Those that end an epoch have theirs.
    assert!(without >= blocks.len() - 3);
    let mut follower = Follower::new(5, &recording.founder.outline());
    let (out, _) = follower.run(
        Faults::default(),
        move |node, mut bring, world| async move {
            for n in [4, blocks.len()] {
                bring_all(&mut bring, &blocks[..n]).await;
                // The one before has brought its certificate.
                shows(&node, &world, blocks[n - 1].header.height).await;
            }
            recording.shown_by(&node).await;
        },
    );
    assert_eq!(out, Some(()));
}

#[test]
fn what_has_no_certificate_yet_is_kept_and_not_shown() {
    let recording = recording();
    let blocks = recording.sparsely_certified();
    // One whose certificate is the next one's.
    let n = 2;
    let headers = Checkpoint::decode(blocks[n].checkpoint.as_ref().unwrap())
        .unwrap()
        .header_count();
    assert_eq!(headers, 2);
    let mut follower = Follower::new(3, &recording.founder.outline());
    let (out, _) = follower.run(
        Faults::default(),
        move |node, mut bring, world| async move {
            assert_eq!(bring_all(&mut bring, &blocks[..=n]).await, n + 1);
            world.sleep(Duration::from_secs(1)).await;
            assert_eq!(node.status().height, Some(blocks[n - 1].header.height));
            assert_eq!(bring_all(&mut bring, &blocks[..n + 2]).await, 1);
            shows(&node, &world, blocks[n + 1].header.height).await;
            recording.shown_by(&node).await;
        },
    );
    assert_eq!(out, Some(()));
}

fn faults(random: &mut Random) -> Faults {
    match random.below(5) {
        0 | 1 => Faults::default(),
        2 => Faults {
            slow_ms: 100,
            ..Faults::NONE
        },
        3 => Faults::FULL,
        _ => Faults {
            write: 10,
            sync: 10,
            resize: 10,
            read: 5,
            ..Faults::default()
        },
    }
}

/// Cut again and again while blocks come; at the end it has all of them. How often it was cut before it had them.
fn life(seed: u64) -> usize {
    let recording = recording();
    let mut random = Random(seed ^ 0xf011);
    let blocks = match seed % 2 {
        0 => recording.blocks.clone(),
        _ => recording.sparsely_certified(),
    };
    let last = blocks.last().unwrap().header.height;
    let mut follower = Follower::new(seed, &recording.founder.outline());
    // What it has shown stays.
    let shown = Arc::new(Mutex::new(Height::ZERO));
    let mut cuts = 0;
    for _ in 0..6 {
        let faults = faults(&mut random);
        let (quiet, loud) = (random.below(25) as u64, random.below(25) as u64);
        let step = 1 + random.below(20);
        let (some, before) = (blocks.clone(), shown.clone());
        let (out, stop) = follower.run(
            Faults::default(),
            move |node, mut bring, world| async move {
                let next = bring.next().await;
                let at = node.status().height.unwrap();
                let before_cut = *before.lock().unwrap();
                assert!(at >= before_cut, "{before_cut} was shown, and then {at}");
                if at > Height::ZERO {
                    recording.shown_by(&node).await;
                }
                let from = some
                    .iter()
                    .position(|block| Some(block.header.height) >= next);
                let from = from.unwrap_or(some.len());
                let first = (from + step).min(some.len());
                bring_all(&mut bring, &some[..first]).await;
                world.sleep(Duration::from_millis(quiet)).await;
                world.set_faults(faults);
                let bringing = bring_all(&mut bring, &some);
                let cut = world.sleep(Duration::from_millis(loud));
                futures::future::select(Box::pin(bringing), Box::pin(cut)).await;
                let shows = node.status().height.unwrap_or_default();
                *before.lock().unwrap() = shows;
                shows
            },
        );
        let at = out.unwrap_or_else(|| panic!("seed {seed}: did not start: {stop:?}"));
        cuts += usize::from(at < last);
    }
    let all = blocks.clone();
    let (out, stop) = follower.run(
        Faults::default(),
        move |node, mut bring, world| async move {
            bring_all(&mut bring, &all).await;
            shows(&node, &world, last).await;
            recording.shown_by(&node).await;
            whole(&recording.founder, &node).await;
            let kept = super::blocks(&node).await;
            assert_eq!(kept.len(), all.len());
        },
    );
    assert_eq!((out, stop), (Some(()), None), "seed {seed}");
    cuts
}

/// Forty seeds; `KUSABI_SEEDS=from..to` names others.
#[test]
fn a_follower_that_is_cut_at_any_moment_goes_on_with_equal_roots() {
    let mut cuts = 0;
    for seed in crate::random::seeds(0..40) {
        println!("seed {seed}");
        cuts += life(seed);
    }
    assert!(cuts > 0, "a test that cuts nothing tests nothing");
}

/// Changes a block as a liar would.
type Crime = fn(&mut FinalBlock, &Recording, usize);

/// Whether that is what is found.
type Found = fn(&HistoryError) -> bool;

#[test]
fn every_lie_is_refused_and_the_truth_is_taken_after_it() {
    let recording = recording();
    let crimes: [(Crime, Found); 7] = [
        // Another body.
        (
            |block, _, _| block.transactions.push(Bytes::from_static(b"more")),
            |why| matches!(why, HistoryError::Body),
        ),
        // Another header, under the same certificate.
        (
            |block, _, _| block.header.time_ms += 1,
            |why| matches!(why, HistoryError::Certificate(_)),
        ),
        // A certificate of which one signature is wrong.
        (
            |block, _, _| {
                let mut forged = block.checkpoint.clone().unwrap().to_vec();
                let last = forged.len() - 1;
                forged[last] ^= 1;
                block.checkpoint = Some(forged.into());
            },
            |why| matches!(why, HistoryError::Certificate(_)),
        ),
        // None at all.
        (
            |block, _, _| block.checkpoint = None,
            |why| matches!(why, HistoryError::Uncovered),
        ),
        // That of another block.
        (
            |block, recording, n| block.checkpoint = recording.blocks[n - 1].checkpoint.clone(),
            |why| matches!(why, HistoryError::Certificate(_)),
        ),
        // One that came before, and one that comes later.
        (
            |block, recording, n| *block = recording.blocks[n - 1].clone(),
            |why| matches!(why, HistoryError::Parent),
        ),
        (
            |block, recording, n| {
                let later = (n + 1).min(recording.blocks.len() - 1);
                *block = recording.blocks[later].clone();
                block.header.parent = kusabi_core::id::HeaderHash::new([7; 32]);
            },
            |why| matches!(why, HistoryError::Parent),
        ),
    ];
    let mut follower = Follower::new(5, &recording.founder.outline());
    let (out, stop) = follower.run(
        Faults::default(),
        move |node, mut bring, world| async move {
            bring.next().await.unwrap();
            for (n, block) in recording.blocks.iter().enumerate() {
                let (crime, found) = crimes[n % crimes.len()];
                if n > 0 {
                    let mut lie = block.clone();
                    crime(&mut lie, recording, n);
                    let verdict = bring.bring(lie).await.unwrap().await.unwrap();
                    let why = verdict.unwrap_err().why;
                    assert!(found(&why), "crime {} at {n}: {why:?}", n % crimes.len());
                }
                let verdict = bring.bring(block.clone()).await.unwrap().await.unwrap();
                verdict.unwrap();
            }
            shows(
                &node,
                &world,
                recording.blocks.last().unwrap().header.height,
            )
            .await;
            recording.shown_by(&node).await;
        },
    );
    assert_eq!((out, stop), (Some(()), None));
}
