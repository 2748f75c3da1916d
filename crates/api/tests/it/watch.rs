//! Several nodes compared with each other: those that agree, those that cannot both be right, and those of which nothing can be said.

use crate::world::{At, Puppet, at, block, chain, recovery};
use kusabi_api::{
    contradiction::{Evidence, Finding},
    verify::VerifyError,
    watch::{Look, Outcome, Watched, compare_all},
};
use kusabi_core::{anchor::AnchorError, checkpoint::CheckpointError, id::Height};
use std::sync::Arc;

fn node(blocks: &[At]) -> (Arc<Puppet>, Watched<Puppet>) {
    let puppet = Arc::new(Puppet::new());
    puppet.shows(blocks);
    (Arc::clone(&puppet), Watched::new(puppet, chain(), None))
}

fn fork(height: u64) -> At {
    At {
        fork: 1,
        ..at(height)
    }
}

fn height(evidence: &Evidence) -> u64 {
    match evidence.check(&chain()).unwrap().finding() {
        Finding::Blocks { height, .. } => height.get(),
        other => panic!("{other:?}"),
    }
}

async fn compared(nodes: &mut [&mut Watched<Puppet>]) -> Vec<(usize, usize, Outcome)> {
    for node in &mut *nodes {
        assert!(matches!(node.look().await.unwrap(), Look::On));
    }
    let nodes: Vec<_> = nodes.iter().map(|node| Some(&**node)).collect();
    compare_all(&nodes)
        .await
        .into_iter()
        .map(|comparison| (comparison.one, comparison.other, comparison.outcome))
        .collect()
}

#[tokio::test]
async fn nodes_of_one_history_agree_wherever_they_stand() {
    let (_, mut a) = node(&[at(3), at(5)]);
    let (_, mut b) = node(&[at(3), at(5), at(6), at(7)]);
    let (_, mut c) = node(&[at(3)]);
    let compared = compared(&mut [&mut a, &mut b, &mut c]).await;
    assert!(
        matches!(
            compared[..],
            [(1, 0, Outcome::Agree), (1, 2, Outcome::Agree)]
        ),
        "{compared:?}"
    );
}

#[tokio::test]
async fn two_histories_are_shown_by_evidence() {
    let (_, mut a) = node(&[at(5)]);
    let (_, mut b) = node(&[at(5), at(6)]);
    let (_, mut liar) = node(&[fork(5), fork(6), fork(7)]);
    let compared = compared(&mut [&mut a, &mut liar, &mut b]).await;
    // The liar is the highest; the others contradict it and agree with each other.
    let [
        (1, 2, Outcome::Contradict(one)),
        (1, 0, Outcome::Contradict(other)),
        (2, 0, Outcome::Agree),
    ] = &compared[..]
    else {
        panic!("{compared:?}")
    };
    assert_eq!((height(one), height(other)), (6, 5));
}

#[tokio::test]
async fn heights_without_a_certificate_are_compared_near_by() {
    let certified = |fork: u8| {
        let history: Vec<_> = (1..=5).map(|height| At { fork, ..at(height) }).collect();
        history
    };
    for forked in [0, 1] {
        let (low_puppet, mut low) = node(&certified(0));
        let (puppet, mut high) = node(
            &[
                &certified(forked)[..],
                &[At {
                    fork: forked,
                    ..at(9)
                }],
            ]
            .concat(),
        );
        for height in [4, 5] {
            let uncertified = block(
                At {
                    fork: forked,
                    ..at(height)
                },
                false,
            );
            puppet.blocks.lock().unwrap().insert(height, uncertified);
        }
        low_puppet
            .blocks
            .lock()
            .unwrap()
            .insert(3, block(at(3), false));
        let compared = compared(&mut [&mut high, &mut low]).await;
        match (&compared[..], forked) {
            ([(0, 1, Outcome::Agree)], 0) => {}
            ([(0, 1, Outcome::Contradict(evidence))], 1) => assert_eq!(height(evidence), 2),
            _ => panic!("{compared:?}"),
        }
    }
    // Nothing near enough: nothing is said.
    let (_, mut low) = node(&certified(0));
    let (puppet, mut high) = node(&[at(9)]);
    *puppet.block.lock().unwrap() = Some(block(at(5), false));
    let compared = compared(&mut [&mut high, &mut low]).await;
    assert!(
        matches!(
            compared[..],
            [(0, 1, Outcome::Unknown(VerifyError::Uncertified(_)))]
        ),
        "{compared:?}"
    );
}

#[tokio::test]
async fn a_node_that_contradicts_itself_is_found_alone() {
    let (puppet, mut node) = node(&[at(5)]);
    assert!(matches!(node.look().await.unwrap(), Look::On));
    puppet.shows(&[at(6)]);
    assert!(matches!(node.look().await.unwrap(), Look::On));
    // Another block of the same height; and another past under a new one.
    puppet.shows(&[fork(6)]);
    let Look::Contradicts(evidence) = node.look().await.unwrap() else {
        panic!()
    };
    assert_eq!(height(&evidence), 6);
    puppet.shows(&[at(6), at(8)]);
    let Look::Contradicts(evidence) = node.look().await.unwrap() else {
        panic!()
    };
    assert_eq!(height(&evidence), 6);
    puppet.shows(&[at(5)]);
    assert!(matches!(node.look().await.unwrap(), Look::Back(height) if height.get() == 8));
}

#[tokio::test]
async fn what_is_not_signed_is_refused_and_no_evidence() {
    let (_, mut a) = node(&[at(5)]);
    let (_, mut liar) = node(&[At {
        signer: 3,
        ..fork(5)
    }]);
    a.look().await.unwrap();
    let why = liar.look().await.unwrap_err();
    assert!(why.is_refusal(), "{why}");
    assert!(liar.newest().is_none());
    let comparisons = compare_all(&[Some(&a), None]).await;
    assert!(comparisons.is_empty());
    // A block of the past that is another's.
    let (puppet, mut high) = node(&[at(9)]);
    *puppet.block.lock().unwrap() = Some(block(at(4), true));
    let compared = compared(&mut [&mut high, &mut a]).await;
    assert!(
        matches!(
            compared[..],
            [(0, 1, Outcome::Unknown(VerifyError::Block(_)))]
        ),
        "{compared:?}"
    );
}

#[tokio::test]
async fn what_was_verified_before_is_compared_too() {
    let (_, mut honest) = node(&[at(5)]);
    honest.look().await.unwrap();
    let known = *honest.trust().unwrap().anchor();
    assert_eq!(known.height(), Height::new(5).unwrap());
    for (blocks, why) in [
        (vec![at(5), at(8)], None),
        (vec![fork(5), fork(8)], Some(AnchorError::Fork)),
        (vec![fork(5)], Some(AnchorError::Fork)),
        (vec![at(4)], Some(AnchorError::BelowFloor)),
    ] {
        let puppet = Arc::new(Puppet::new());
        puppet.shows(&blocks);
        let look = Watched::new(puppet, chain(), Some(known)).look().await;
        match (look.unwrap(), why) {
            (Look::On, None) => {}
            (Look::Unlike(unlike), Some(why)) => {
                let why = VerifyError::Checkpoint(CheckpointError::Anchor(why));
                assert_eq!(unlike, why);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_epoch_without_a_block_yet_is_no_reason_to_refuse_the_last_of_the_one_before() {
    let (puppet, mut node) = node(&[at(1), at(5)]);
    node.look().await.unwrap();
    *puppet.walk.lock().unwrap() = vec![recovery(1, 100, 200)];
    let shown = |node: &Watched<Puppet>| {
        let header = *node.newest().unwrap().header();
        (header.epoch.get(), header.height.get())
    };
    for _ in 0..2 {
        assert!(matches!(node.look().await.unwrap(), Look::On));
        assert_eq!(shown(&node), (0, 5));
    }
    let first = At {
        epoch: 1,
        signer: 1,
        ..at(100)
    };
    puppet.shows(&[at(1), at(5), first]);
    assert!(matches!(node.look().await.unwrap(), Look::On));
    assert_eq!(shown(&node), (1, 100));
    // The way that was walked is kept: a block of the epoch before is refused from then on.
    puppet.shows(&[at(1), at(6)]);
    let refused = node.look().await.unwrap_err();
    let epoch = VerifyError::Checkpoint(CheckpointError::Anchor(AnchorError::Epoch));
    assert_eq!(refused, epoch);
}

#[tokio::test]
async fn a_recovery_sets_nodes_apart_and_two_to_one_epoch_contradict() {
    let of = |epoch: u64, height| At {
        epoch,
        signer: u8::try_from(epoch).unwrap(),
        ..at(height)
    };
    let (_, mut old) = node(&[at(1), at(5)]);
    let (puppet, mut recovered) = node(&[at(1), of(1, 100)]);
    *puppet.walk.lock().unwrap() = vec![recovery(1, 100, 200)];
    let apart = compared(&mut [&mut recovered, &mut old]).await;
    assert!(matches!(apart[..], [(0, 1, Outcome::Apart)]), "{apart:?}");
    // A node that stands where the recovery went on from is only behind.
    let (_, mut behind) = node(&[at(1)]);
    let behind = compared(&mut [&mut recovered, &mut behind]).await;
    assert!(matches!(behind[..], [(0, 1, Outcome::Agree)]), "{behind:?}");
    let (puppet, mut other) = node(&[at(1), of(1, 200)]);
    *puppet.walk.lock().unwrap() = vec![recovery(1, 150, 200)];
    let two = compared(&mut [&mut recovered, &mut other]).await;
    let [(1, 0, Outcome::Contradict(evidence))] = &two[..] else {
        panic!("{two:?}")
    };
    let found = evidence.check(&chain()).unwrap();
    assert!(matches!(found.finding(), Finding::Steps { .. }));
}
