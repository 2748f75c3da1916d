//! Freshness receipts among several: members that are dead, cut off, or lie; lines that lose messages.

use super::{
    Founder,
    consortium::{PATIENCE, open_for_all, start, within},
};
use futures::future::join_all;
use kusabi_core::{
    anchor::Anchor,
    checkpoint::Checkpoint,
    freshness::{Batch, Claim, FreshnessError, Receipt, VerifiedReceipt},
    genesis::Genesis,
    id::{Epoch, HeaderHash, Height, Nonce, SetHash},
};
use kusabi_node::{
    engine::simulation::{
        consortium::{Fleet, Quality},
        hostile::{Said, VouchCrime},
    },
    handle::{FinalBlock, NodeHandle, QueryError},
};
use std::{collections::BTreeSet, time::Duration};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than a node may take to say that it has no receipt.
const LONG: Duration = Duration::from_secs(8);

impl Founder {
    /// A receipt as a device checks it that knows nothing but the genesis document.
    fn fresh(&self, nonce: &Nonce, receipt: &[u8]) -> Result<VerifiedReceipt, FreshnessError> {
        let genesis = Genesis::decode(&self.ledger.document).unwrap();
        let anchor = Anchor::from_genesis(&genesis);
        Receipt::decode(receipt)?.check(&anchor, genesis.epoch_set(), nonce)
    }

    /// Whether a node shows a checkpoint that is of now.
    async fn shows_the_present(&self, node: &NodeHandle, receipt: &VerifiedReceipt) {
        let genesis = Genesis::decode(&self.ledger.document).unwrap();
        let anchor = Anchor::from_genesis(&genesis);
        let shown = node.checkpoint().await.unwrap();
        let shown = Checkpoint::decode(&shown).unwrap();
        let shown = shown.check(&anchor, genesis.epoch_set()).unwrap();
        assert_eq!(receipt.check_checkpoint(&shown), Ok(()));
    }

    /// The claim that this header is the newest.
    fn claim(&self, block: &FinalBlock) -> Claim {
        let batch = Batch::new(&[Nonce::new([0xcc; 32])]).unwrap();
        Claim {
            epoch: block.header.epoch,
            set_hash: block.header.set_hash,
            height: block.header.height,
            header_hash: block.hash,
            nonces: batch.root(),
            count: batch.count(),
        }
    }
}

fn nonce(number: u8) -> Nonce {
    Nonce::new([number; 32])
}

/// What a member answers to a nonce.
async fn ask(fleet: &Fleet, member: usize, nonce: Nonce) -> Result<bytes::Bytes, QueryError> {
    let node = fleet.node(member).unwrap();
    let asked = within(fleet, LONG, node.freshness(nonce)).await;
    asked.expect("it says something")
}

async fn is_fresh(founder: &Founder, fleet: &Fleet, member: usize, number: u8) -> Height {
    let receipt = ask(fleet, member, nonce(number)).await.unwrap();
    let receipt = founder.fresh(&nonce(number), &receipt).unwrap();
    let node = fleet.node(member).unwrap();
    founder.shows_the_present(&node, &receipt).await;
    receipt.height()
}

async fn register(founder: &Founder, fleet: &Fleet, member: usize, number: u64) {
    let node = fleet.node(member).unwrap();
    let (_, register) = founder.register(number);
    let end = node.submit(register.as_bytes()).unwrap();
    within(fleet, PATIENCE, end).await.unwrap().unwrap();
}

/// The newest block of a member.
async fn newest(fleet: &Fleet, member: usize) -> FinalBlock {
    let node = fleet.node(member).unwrap();
    let height = node.status().height.unwrap();
    node.block(height).await.unwrap().unwrap()
}

#[test]
fn every_member_answers_as_long_as_one_more_lives_than_may_lie() {
    let founder = Founder::of(4);
    let out = founder.consortium(11).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        for member in 0..4_u8 {
            is_fresh(&founder, &fleet, usize::from(member), member).await;
        }
        register(&founder, &fleet, 2, 1).await;
        let height = newest(&fleet, 2).await.header.height;
        assert!(is_fresh(&founder, &fleet, 2, 10).await >= height);
        fleet.kill(3);
        is_fresh(&founder, &fleet, 0, 11).await;
        // Two of four are no quorum: no block is made, and the two are sure of the newest one for three heartbeats.
        fleet.kill(2);
        is_fresh(&founder, &fleet, 1, 12).await;
        fleet.kill(1);
        let QueryError::Unvouched {
            signed,
            needed,
            why,
            ..
        } = ask(&fleet, 0, nonce(13)).await.unwrap_err()
        else {
            panic!("another refusal");
        };
        assert_eq!((signed, needed), (1, 2));
        assert_eq!(why.matches("does not answer").count(), 3, "{why}");
        start(&fleet, [1]).await;
        is_fresh(&founder, &fleet, 0, 14).await;
        is_fresh(&founder, &fleet, 1, 15).await;
    });
    assert_eq!(out, Some(()));
}

#[test]
fn a_second_costs_one_claim_however_many_ask() {
    let founder = Founder::of(4);
    let out = founder.consortium(12).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        let node = fleet.node(1).unwrap();
        let numbers: Vec<u8> = (0..200).collect();
        let begin = fleet.now();
        let asked = join_all(numbers.iter().map(|number| node.freshness(nonce(*number))));
        let receipts = within(&fleet, LONG, asked).await.unwrap();
        let mut roots = BTreeSet::new();
        for (number, receipt) in numbers.iter().zip(receipts) {
            let receipt = receipt.unwrap();
            founder.fresh(&nonce(*number), &receipt).unwrap();
            roots.insert(Receipt::decode(&receipt).unwrap().claimed().nonces);
        }
        // At once for those who are there, a second later for the others.
        assert!(roots.len() <= 2, "{} claims", roots.len());
        let spent = fleet.now().duration_since(begin).unwrap();
        assert!(spent < 2 * SECOND, "{spent:?}");
        // One nonce again and again, about one header: also those who wait together.
        let same = join_all((0..20).map(|_| node.freshness(nonce(1))));
        for receipt in within(&fleet, LONG, same).await.unwrap() {
            founder.fresh(&nonce(1), &receipt.unwrap()).unwrap();
        }
    });
    assert_eq!(out, Some(()));
}

#[test]
fn one_seed_gives_one_history_with_receipts_too() {
    let history = |seed| {
        let founder = Founder::of(4);
        let out = founder.consortium(seed).run(|fleet| async move {
            start(&fleet, 0..4).await;
            open_for_all(&founder, &fleet).await;
            let mut receipts = Vec::new();
            for number in 0..12 {
                register(&founder, &fleet, usize::from(number % 4), number.into()).await;
                let asked = ask(&fleet, usize::from(number % 4), nonce(number));
                receipts.push(asked.await.unwrap());
            }
            let node = fleet.node(2).unwrap();
            (receipts, super::blocks(&node).await)
        });
        out.unwrap()
    };
    assert_eq!(history(18), history(18));
}

#[test]
fn what_is_lost_on_the_way_is_asked_for_again() {
    for seed in 20..24 {
        let founder = Founder::of(4);
        let out = founder.consortium(seed).run(|fleet| async move {
            start(&fleet, 0..4).await;
            open_for_all(&founder, &fleet).await;
            for from in 0..4 {
                for to in 0..4 {
                    let quality = Quality {
                        latency: Duration::from_millis(100),
                        jitter: Duration::from_millis(30),
                        lost: 300,
                    };
                    fleet.link(from, to, Some(quality)).await;
                }
            }
            for number in 0..5 {
                is_fresh(&founder, &fleet, 0, number).await;
            }
        });
        assert_eq!(out, Some(()), "seed {seed}");
    }
}

#[test]
fn blocks_that_come_meanwhile_hinder_nobody() {
    let founder = Founder::of(4);
    let out = founder.consortium(13).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        let registering = async {
            for number in 0..60 {
                register(&founder, &fleet, (number % 4) as usize, 100 + number).await;
            }
        };
        let asking = async {
            let mut last = Height::ZERO;
            for number in 0..4 {
                let height = is_fresh(&founder, &fleet, usize::from(number), number).await;
                last = last.max(height);
            }
            last
        };
        let (last, ()) = futures::join!(asking, registering);
        assert!(last > Height::new(2).unwrap());
    });
    assert_eq!(out, Some(()));
}

/// Somebody has a validator's keys, and wants an honest one to say that an old header is the newest.
#[test]
fn an_honest_member_vouches_for_nothing_but_what_was_its_newest() {
    let founder = Founder::of(4);
    let out = founder.consortium(14).run(|fleet| async move {
        start(&fleet, 0..3).await;
        open_for_all(&founder, &fleet).await;
        let said = async |claim: &Claim| {
            let said = fleet.ask_as(3, claim, 1).await;
            assert_eq!(said.len(), 3, "everybody answers");
            let texts: BTreeSet<_> = said.into_iter().map(|(_, said)| said.map(drop)).collect();
            texts.into_iter().collect::<Vec<_>>()
        };
        let doubt = |text: &str| vec![Err(text.to_owned())];
        let old = newest(&fleet, 0).await;
        assert_eq!(said(&founder.claim(&old)).await, [Ok(())]);
        register(&founder, &fleet, 0, 1).await;
        // A moment after there is a newer one it may still be said.
        assert_eq!(said(&founder.claim(&old)).await, [Ok(())]);
        fleet.sleep(2 * SECOND).await;
        let too_old = "has had a newer header for more than five seconds";
        assert_eq!(said(&founder.claim(&old)).await, doubt(too_old));
        let new = newest(&fleet, 0).await;
        let claim = founder.claim(&new);
        let other = Claim {
            header_hash: HeaderHash::new([1; 32]),
            ..claim
        };
        let differs = "has another header at this height";
        assert_eq!(said(&other).await, doubt(differs));
        let future = Claim {
            height: Height::new(new.header.height.get() + 10).unwrap(),
            ..claim
        };
        assert_eq!(said(&future).await, doubt("has not reached this height"));
        for elsewhere in [
            Claim {
                epoch: Epoch::new(1),
                ..claim
            },
            Claim {
                set_hash: SetHash::new([1; 32]),
                ..claim
            },
        ] {
            assert_eq!(said(&elsewhere).await, doubt("is in another epoch"));
        }
        assert_eq!(said(&claim).await, [Ok(())]);
    });
    assert_eq!(out, Some(()));
}

#[test]
fn who_is_cut_off_for_long_knows_that_he_does_not_know() {
    let founder = Founder::of(4);
    let out = founder.consortium(15).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        // Everybody's lines are cut but those of the one who asks.
        for from in 0..3 {
            for to in 0..3 {
                fleet.link(from, to, None).await;
            }
        }
        fleet.kill(3);
        let before = newest(&fleet, 0).await;
        let claim = founder.claim(&before);
        fleet.sleep(Duration::from_secs(150)).await;
        let said = fleet.ask_as(3, &claim, 1).await;
        assert!(
            said.len() == 3 && said.iter().all(|(_, said)| said.is_ok()),
            "{said:?}"
        );
        fleet.sleep(Duration::from_secs(40)).await;
        let asleep = Err(String::from("has seen no new block for three heartbeats"));
        let said = fleet.ask_as(3, &claim, 1).await;
        let said: Vec<_> = said.into_iter().map(|(_, said)| said.map(drop)).collect();
        assert_eq!(said, [asleep.clone(), asleep.clone(), asleep]);
        let QueryError::Unvouched { signed, why, .. } = ask(&fleet, 0, nonce(1)).await.unwrap_err()
        else {
            panic!("another refusal");
        };
        assert_eq!(signed, 0);
        assert!(why.starts_with("this node itself has seen"), "{why}");
        for from in 0..3 {
            for to in 0..3 {
                fleet.link(from, to, Some(Quality::GOOD)).await;
            }
        }
        fleet.sleep(Duration::from_secs(120)).await;
        is_fresh(&founder, &fleet, 0, 2).await;
    });
    assert_eq!(out, Some(()));
}

/// All are off for ten hours: afterwards the ledger's time goes on by an hour with each block.
#[test]
fn after_a_long_standstill_it_counts_when_a_block_came() {
    let founder = Founder::of(4);
    let out = founder.consortium(19).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        (0..4).for_each(|member| fleet.kill(member));
        fleet.sleep(Duration::from_secs(36_000)).await;
        start(&fleet, 0..4).await;
        // What was the newest ten hours ago is no news, however short they have run.
        let old = ask(&fleet, 0, nonce(1)).await.unwrap_err().to_string();
        assert!(
            old.contains("this node itself has seen no new block"),
            "{old}"
        );
        register(&founder, &fleet, 0, 1).await;
        let first = newest(&fleet, 0).await;
        let now = fleet.now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let behind = now.as_millis() as u64 - first.header.time_ms;
        assert!(behind > 3_600_000, "time is behind by {behind} ms");
        is_fresh(&founder, &fleet, 0, 2).await;
        // Cut off, they do not vouch for it for ever.
        for from in 0..3 {
            for to in 0..3 {
                fleet.link(from, to, None).await;
            }
        }
        fleet.kill(3);
        let claim = founder.claim(&newest(&fleet, 0).await);
        let said = fleet.ask_as(3, &claim, 1).await;
        assert!(said.iter().any(|said| said.1.is_ok()), "{said:?}");
        fleet.sleep(Duration::from_secs(190)).await;
        let said = fleet.ask_as(3, &claim, 1).await;
        assert!(said.len() == 3 && said.iter().all(|said| said.1.is_err()));
    });
    assert_eq!(out, Some(()));
}

#[test]
fn a_liar_gives_nobody_a_receipt_and_takes_none_away() {
    for crime in [
        VouchCrime::Forged,
        VouchCrime::Another,
        VouchCrime::Malformed,
    ] {
        let founder = Founder::of(4);
        let out = founder.consortium(16).run(move |fleet| async move {
            start(&fleet, 0..3).await;
            open_for_all(&founder, &fleet).await;
            fleet.start_deceiving(3, crime).await;
            for number in 0..3 {
                is_fresh(&founder, &fleet, usize::from(number), number).await;
            }
            fleet.kill(1);
            fleet.kill(2);
            let QueryError::Unvouched { signed, .. } = ask(&fleet, 0, nonce(9)).await.unwrap_err()
            else {
                panic!("another refusal");
            };
            assert_eq!(signed, 1);
        });
        assert_eq!(out, Some(()), "{crime:?}");
    }
}

#[test]
fn who_asks_too_often_is_told_so() {
    let founder = Founder::of(4);
    let out = founder.consortium(17).run(|fleet| async move {
        start(&fleet, 0..3).await;
        open_for_all(&founder, &fleet).await;
        let claim = founder.claim(&newest(&fleet, 0).await);
        let said = fleet.ask_as(3, &claim, 12).await;
        let busy = |said: &Said| {
            said.1
                .as_ref()
                .is_err_and(|why| why == "was asked too often")
        };
        let refused = said.iter().filter(|said| busy(said)).count();
        let vouched = said.iter().filter(|said| said.1.is_ok()).count();
        // Eight of each of the three; the rest is refused.
        assert_eq!((vouched, refused), (24, 12));
        fleet.sleep(2 * SECOND).await;
        let said = fleet.ask_as(3, &claim, 1).await;
        assert!(said.len() == 3 && said.iter().all(|said| said.1.is_ok()));
    });
    assert_eq!(out, Some(()));
}
