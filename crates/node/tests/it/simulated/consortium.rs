//! Several validators: loss, delay, partitions, nodes that are killed and come back, clocks that disagree, by a seed.

use super::{Founder, blocks, lives, open};
use crate::random::{Random, seeds};
use futures::future::{join, join_all, pending};
use kusabi_core::{
    id::{Handle, HeaderHash, Height, StateKey, TxId},
    suite::Purpose,
    tx::{Action, Transaction},
};
use kusabi_ledger::{Rejection, testing::TestKey};
use kusabi_node::{
    directory::{NodeKey, VoteKey},
    engine::{
        EngineError, Refusal, genesis_header,
        simulation::consortium::{Consortium, Fleet, Member, Quality},
    },
    handle::{NodeHandle, Receipt, Stop, SubmitError},
    history::History,
    outline::Outline,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// How far the clocks of the members are apart at most.
const SKEW_MS: usize = 400;

/// How far ahead the clock of a single member may be.
const FAR_MS: usize = 20_000;

/// Later epochs for which the members have vote keys.
const EPOCHS: u64 = 3;

/// How long anything may take whose quorum is there and connected.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

impl Founder {
    pub(super) fn consortium(&self, seed: u64) -> Consortium {
        self.consortium_apart(seed, None)
    }

    /// All members, whose clocks agree.
    pub(super) fn members(&self) -> Vec<Member> {
        let ledger = &self.ledger;
        let member = |member| Member {
            vote_key: VoteKey::new(ledger.vote_seed_in(0, member)),
            later: (1..=EPOCHS)
                .map(|epoch| VoteKey::new(ledger.vote_seed_in(epoch, member)))
                .collect(),
            node_key: NodeKey::new(ledger.node_seed_of(member)),
            ahead: Duration::ZERO,
        };
        (0..ledger.members()).map(member).collect()
    }

    /// A member's place in the newest validator set.
    pub(super) fn place(&self, outline: &Outline, member: usize) -> u8 {
        let epoch = outline.newest();
        let key = VoteKey::new(self.ledger.vote_seed_in(epoch.number.get(), member)).public();
        let place = epoch.vote_keys.iter().position(|of| *of == key);
        u8::try_from(place.unwrap()).unwrap()
    }

    /// With a member whose clock is so far ahead.
    fn consortium_apart(&self, seed: u64, far: Option<(usize, Duration)>) -> Consortium {
        let mut random = Random(seed ^ 0xc10c);
        let mut members = self.members();
        for member in &mut members {
            member.ahead = Duration::from_millis(random.below(SKEW_MS) as u64);
        }
        if let Some((member, ahead)) = far {
            members[member].ahead = ahead;
        }
        Consortium::new(seed, self.outline(), members)
    }
}

/// Starts these members and waits until they answer.
pub(super) async fn start(fleet: &Fleet, members: impl IntoIterator<Item = usize>) {
    let members: Vec<_> = members.into_iter().collect();
    for member in &members {
        fleet.start(*member).await;
    }
    let ready = join_all(members.iter().map(|member| fleet.ready(*member)));
    let ready = within(fleet, PATIENCE, ready).await;
    let stopped = || {
        members
            .iter()
            .map(|m| fleet.stopped(*m))
            .collect::<Vec<_>>()
    };
    let all = Some(vec![true; members.len()]);
    assert_eq!(ready, all, "{members:?}: {:?}", stopped());
}

/// What a future gives within virtual time.
pub(super) async fn within<T>(
    fleet: &Fleet,
    time: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let over = fleet.sleep(time);
    futures::pin_mut!(over, future);
    match futures::future::select(future, over).await {
        futures::future::Either::Left((value, _)) => Some(value),
        futures::future::Either::Right(_) => None,
    }
}

/// The writer stands on the ledger, and every running member knows it.
pub(super) async fn open_for_all(founder: &Founder, fleet: &Fleet) {
    let nodes: Vec<_> = (0..fleet.len()).filter_map(|m| fleet.node(m)).collect();
    open(founder, &nodes[0]).await;
    let newest = nodes[0].status().height.unwrap();
    let known = join_all(nodes.iter().map(|node| async move {
        node.events(newest).next().await.unwrap();
    }));
    assert!(within(fleet, PATIENCE, known).await.is_some());
}

/// What the outside was told, by anybody, which must stay true.
#[derive(Default)]
pub(super) struct Told {
    pub(super) acknowledged: Vec<(Handle, Receipt)>,
    /// Other transactions than registrations by [`register`].
    pub(super) brought: Vec<Receipt>,
    blocks: BTreeMap<Height, HeaderHash>,
    next_key: u64,
}

impl Told {
    /// A block that somebody showed as final.
    fn block(&mut self, height: Height, hash: HeaderHash) {
        let known = self.blocks.entry(height).or_insert(hash);
        assert_eq!(*known, hash, "two contents at height {}", height.get());
    }
}

fn key(told: &Mutex<Told>) -> u64 {
    let mut told = told.lock().unwrap();
    told.next_key += 1;
    told.next_key
}

/// Registers a key at a member; `None`: it stopped first, and whether the key stands is open.
pub(super) async fn register(
    founder: &Founder,
    node: &NodeHandle,
    told: &Mutex<Told>,
) -> Option<Handle> {
    let (handle, register) = founder.register(key(told));
    let ended = match node.submit(register.as_bytes()) {
        Ok(end) => end.await,
        Err(why) => Err(why),
    };
    match ended {
        Ok(receipt) => {
            if let Ok(Some(block)) = node.block(receipt.height).await {
                told.lock().unwrap().block(receipt.height, block.hash);
            }
            told.lock().unwrap().acknowledged.push((handle, receipt));
            Some(handle)
        }
        Err(SubmitError::Stopped(_)) => None,
        Err(why) => panic!("{why}"),
    }
}

/// Hands in a transaction at a member: where it stands, or why not. `None`: the member stopped first, and that is open.
pub(super) async fn bring(
    node: &NodeHandle,
    transaction: &Transaction,
    told: &Mutex<Told>,
) -> Option<Result<Receipt, Refusal>> {
    let ended = match node.submit(transaction.as_bytes()) {
        Ok(end) => end.await,
        Err(why) => Err(why),
    };
    match ended {
        Ok(receipt) => {
            told.lock().unwrap().brought.push(receipt);
            Some(Ok(receipt))
        }
        Err(SubmitError::Refused(why)) => Some(Err(why)),
        Err(SubmitError::Stopped(_)) => None,
        Err(why) => panic!("{why}"),
    }
}

/// Everybody who runs has the same blocks, those that were told among them, with everything that was acknowledged in its place, and shows
/// it with proofs that a device takes. Members that are behind catch up first.
pub(super) async fn agreed(founder: &Founder, fleet: &Fleet, told: &Mutex<Told>) {
    let nodes: Vec<_> = (0..fleet.len()).filter_map(|m| fleet.node(m)).collect();
    let newest = nodes.iter().filter_map(|node| node.status().height).max();
    let newest = newest.unwrap();
    let caught_up = join_all(nodes.iter().map(|node| async move {
        let mut events = node.events(newest);
        events.next().await.unwrap()
    }));
    let caught_up = within(fleet, PATIENCE, caught_up).await;
    assert!(caught_up.is_some(), "somebody does not catch up");
    let mut all = None;
    for node in &nodes {
        let mut blocks = blocks(node).await;
        blocks.retain(|block| block.header.height <= newest);
        for block in &blocks {
            told.lock().unwrap().block(block.header.height, block.hash);
            // Whoever audits or follows this node needs one.
            assert!(block.checkpoint.is_some(), "{:?}", block.header.height);
        }
        let bodies: Vec<_> = blocks
            .iter()
            .map(|b| (b.hash, b.transactions.clone()))
            .collect();
        let first = all.get_or_insert_with(|| bodies.clone());
        assert_eq!(*first, bodies);
    }
    let (acknowledged, all) = (told.lock().unwrap().acknowledged.clone(), all.unwrap());
    let brought = told.lock().unwrap().brought.clone();
    for receipt in acknowledged.iter().map(|(_, r)| r).chain(&brought) {
        let at = receipt.height.get() as usize - 1;
        let bytes = &all[at].1[receipt.index as usize];
        assert_eq!(TxId::of(bytes), receipt.id);
    }
    for (node, (handle, receipt)) in nodes.iter().cycle().zip(&acknowledged) {
        let proof = node.lookup(StateKey::record(handle)).await.unwrap();
        let record = founder.check_by(&node.outline(), handle, &proof);
        let record = record.unwrap_or_else(|| panic!("lost: {handle} of {receipt:?}"));
        assert_eq!(record.registered(), receipt.height);
    }
}

#[test]
fn a_client_of_any_member_is_answered_and_every_member_shows_it() {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let mut consortium = founder.consortium(1);
    let (f, t) = (founder.clone(), told.clone());
    let out = consortium.run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&f, &fleet).await;
        for member in 0..4 {
            let node = fleet.node(member).unwrap();
            let registered = within(&fleet, PATIENCE, register(&f, &node, &t)).await;
            assert!(registered.flatten().is_some(), "member {member}");
        }
        agreed(&f, &fleet, &t).await;
    });
    assert_eq!(out, Some(()));
    // Everybody's power is cut; what was acknowledged is there.
    let out = consortium.run(|fleet| async move {
        start(&fleet, 0..4).await;
        agreed(&founder, &fleet, &told).await;
    });
    assert_eq!(out, Some(()));
}

#[test]
fn who_is_unknown_is_told_so_and_who_is_just_becoming_known_is_served() {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let out = founder.consortium(4).run(|fleet| async move {
        start(&fleet, 0..4).await;
        // A registration at one node, and at another one, at the same moment, the grant of the writer who signed it.
        let node = fleet.node(1).unwrap();
        let both = join(open(&founder, &node), async {
            let node = fleet.node(2).unwrap();
            register(&founder, &node, &told).await
        });
        let (_, registered) = within(&fleet, PATIENCE, both).await.unwrap();
        assert!(registered.is_some());
        // A writer that nobody has granted.
        let stranger = TestKey::new(6_000, Purpose::Writer);
        let ledger = &founder.ledger;
        let action = Action::Register {
            org: ledger.org,
            entries: vec![ledger.entry(&TestKey::new(6_001, Purpose::App))],
        };
        let strange = ledger.sign(action, &[&stranger]);
        for member in 0..4 {
            let node = fleet.node(member).unwrap();
            let refused = within(&fleet, PATIENCE, bring(&node, &strange, &told)).await;
            let why = Refusal::Rejected(Rejection::UnknownSigner);
            assert_eq!(refused, Some(Some(Err(why))));
            assert_eq!(node.status().pool.count, 0);
        }
        agreed(&founder, &fleet, &told).await;
    });
    assert_eq!(out, Some(()));
}

#[test]
fn who_makes_signers_up_fills_no_more_than_a_quarter_of_the_pool() {
    const POOL: u64 = 1_024;
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let out = founder.consortium(9).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        let node = fleet.node(1).unwrap();
        let stranger = TestKey::new(6_000, Purpose::Writer);
        let ledger = &founder.ledger;
        let strange = |number| {
            let action = Action::Register {
                org: ledger.org,
                entries: vec![ledger.entry(&TestKey::new(number, Purpose::App))],
            };
            ledger.sign(action, &[&stranger])
        };
        let strangers: Vec<_> = (7_000..7_000 + POOL).map(strange).collect();
        let all = strangers.iter().map(|one| node.submit(one.as_bytes()));
        let waiting: Vec<_> = all.map(Result::unwrap).collect();
        assert_eq!(node.status().pool.count as u64, POOL);
        // Before any of those that are put off is looked at again.
        within(&fleet, Duration::from_millis(200), pending::<()>()).await;
        assert_eq!(node.status().pool.count as u64, POOL / 4);
        let served = within(
            &fleet,
            Duration::from_secs(1),
            register(&founder, &node, &told),
        )
        .await;
        assert!(served.flatten().is_some());
        let refused = within(&fleet, PATIENCE, join_all(waiting)).await.unwrap();
        let why = Refusal::Rejected(Rejection::UnknownSigner);
        assert!(
            refused
                .iter()
                .all(|one| *one == Err(SubmitError::Refused(why)))
        );
        assert_eq!(node.status().pool.count, 0);
        agreed(&founder, &fleet, &told).await;
    });
    assert_eq!(out, Some(()));
}

#[test]
fn one_seed_gives_one_history_to_all() {
    let history = |seed| {
        let founder = Founder::of(4);
        let told = Arc::new(Mutex::new(Told::default()));
        let out = founder.consortium(seed).run(move |fleet| async move {
            start(&fleet, 0..4).await;
            open_for_all(&founder, &fleet).await;
            let mut random = Random(seed);
            for _ in 0..3 {
                trouble(&fleet, &mut random).await;
                let node = fleet.node(0).or_else(|| fleet.node(1));
                let registered = register(&founder, node.as_ref().unwrap(), &told);
                within(&fleet, Duration::from_secs(3), registered).await;
            }
            heal(&fleet).await;
            start(&fleet, 0..4).await;
            agreed(&founder, &fleet, &told).await;
            blocks(&fleet.node(2).unwrap()).await
        });
        out.unwrap()
    };
    assert_eq!(history(7), history(7));
}

#[test]
fn without_a_quorum_nothing_is_acknowledged_and_with_it_everything_that_waited_is() {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let out = founder.consortium(2).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        fleet.kill(2);
        let node = fleet.node(1).unwrap();
        let three = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
        assert!(three.flatten().is_some(), "three of four are a quorum");
        fleet.kill(3);
        let waits = register(&founder, &node, &told);
        futures::pin_mut!(waits);
        let two = within(&fleet, PATIENCE, &mut waits).await;
        assert_eq!(two, None, "two of four are none");
        fleet.start(3).await;
        let waited = within(&fleet, PATIENCE, waits).await;
        assert!(waited.flatten().is_some());
        start(&fleet, [2]).await;
        agreed(&founder, &fleet, &told).await;
    });
    assert_eq!(out, Some(()));
}

#[test]
fn a_member_whose_votes_are_gone_does_not_vote_again_and_the_others_go_on() {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let out = founder.consortium(3).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        fleet.kill(2);
        fleet.lose_votes(2).await;
        fleet.start(2).await;
        assert!(!fleet.ready(2).await);
        let why = Stop::Refused(EngineError::VotesLost(0));
        assert_eq!(fleet.stopped(2), Some(why));
        let node = fleet.node(0).unwrap();
        let goes_on = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
        assert!(goes_on.flatten().is_some());
        // Killed before it was ready, another one comes back: where nothing is lost, nothing is refused.
        fleet.kill(1);
        fleet.start(1).await;
        fleet.kill(1);
        start(&fleet, [1]).await;
        fleet.kill(2);
        agreed(&founder, &fleet, &told).await;
    });
    assert_eq!(out, Some(()));
}

#[test]
fn a_member_that_was_away_has_the_certificates_brought_that_it_missed() {
    let founder = Founder::of(4);
    let told = Arc::new(Mutex::new(Told::default()));
    let out = founder.consortium(4).run(|fleet| async move {
        start(&fleet, 0..4).await;
        open_for_all(&founder, &fleet).await;
        fleet.kill(3);
        // Many times what one certificate covers.
        for _ in 0..60 {
            let node = fleet.node(0).unwrap();
            let registered = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
            assert!(registered.flatten().is_some());
        }
        // Who has no certificate to give is asked, too, and others then.
        fleet.kill(2);
        fleet.start(3).await;
        start(&fleet, [2, 3]).await;
        agreed(&founder, &fleet, &told).await;
        let node = fleet.node(3).unwrap();
        let mut history = History::new(
            founder.outline(),
            genesis_header(&founder.outline()).unwrap(),
        );
        let blocks = blocks(&node).await;
        assert!(blocks.len() > 60);
        for block in &blocks {
            history.push(block).unwrap();
        }
        history.finish().unwrap();
    });
    assert_eq!(out, Some(()));
}

/// Lines to a member are cut in the middle of a block, which it sees the votes for and not how it becomes final; or all of them are,
/// so that nobody does. Nothing else is to be done then, and the heartbeat is a minute away.
#[test]
fn a_block_that_not_all_see_become_final_waits_for_no_heartbeat() {
    let soon = Duration::from_secs(8);
    for seed in 0..4 {
        let founder = Founder::of(4);
        let told = Arc::new(Mutex::new(Told::default()));
        let out = founder.consortium(seed).run(move |fleet| async move {
            start(&fleet, 0..4).await;
            open_for_all(&founder, &fleet).await;
            let mut random = Random(seed);
            for round in 0..12 {
                let deaf: Vec<_> = match round % 3 {
                    0 => (0..4).collect(),
                    _ => vec![random.below(4)],
                };
                let asked = (deaf[0] + 1) % 4;
                let node = fleet.node(asked).unwrap();
                let registered = register(&founder, &node, &told);
                let cut = async {
                    fleet
                        .sleep(Duration::from_millis(10 + random.below(50) as u64))
                        .await;
                    for to in &deaf {
                        for from in 0..4 {
                            fleet.link(from, *to, None).await;
                        }
                    }
                    fleet.sleep(Duration::from_millis(200)).await;
                    heal(&fleet).await;
                };
                let (registered, ()) = join(within(&fleet, soon, registered), cut).await;
                assert!(registered.flatten().is_some(), "seed {seed} round {round}");
                let newest = node.status().height.unwrap();
                for member in 0..4 {
                    let node = fleet.node(member).unwrap();
                    let reached = within(&fleet, soon, node.reached(newest)).await;
                    assert_eq!(
                        reached,
                        Some(Ok(())),
                        "seed {seed} round {round}: member {member}, deaf were {deaf:?}"
                    );
                }
            }
            agreed(&founder, &fleet, &told).await;
        });
        assert_eq!(out, Some(()), "seed {seed}");
    }
}

/// A quality that a line may have for a while.
fn quality(random: &mut Random) -> Option<Quality> {
    match random.below(8) {
        0 => None,
        1 | 2 => Some(Quality {
            latency: Duration::from_millis(100),
            jitter: Duration::from_millis(30),
            lost: 0,
        }),
        3 => Some(Quality {
            lost: 200,
            ..Quality::GOOD
        }),
        _ => Some(Quality::GOOD),
    }
}

/// One life of a consortium with everything that may happen to it. Returns how many registrations were acknowledged.
fn life(seed: u64) -> usize {
    let mut random = Random(seed);
    // Mostly few: a life of ten takes as long as many of four.
    let n = [4, 5, 6, 7, 4, 8, 5, 9, 6, 10][(seed % 10) as usize];
    let founder = Founder::of(n as u64);
    let far = seed.is_multiple_of(3).then(|| {
        let ahead = Duration::from_millis(random.below(FAR_MS) as u64);
        (random.below(n), ahead)
    });
    let mut consortium = founder.consortium_apart(seed, far);
    let told = Arc::new(Mutex::new(Told::default()));
    for round in 0..2 {
        let (f, t, mut r) = (
            founder.clone(),
            told.clone(),
            Random(random.below(1 << 30) as u64),
        );
        let out = consortium.run(move |fleet| async move {
            start(&fleet, 0..n).await;
            open_for_all(&f, &fleet).await;
            for _ in 0..6 {
                trouble(&fleet, &mut r).await;
                let up: Vec<_> = (0..n).filter_map(|member| fleet.node(member)).collect();
                let clients = (0..6).map(|client| register(&f, &up[client % up.len()], &t));
                let time = Duration::from_millis(500 + r.below(4_000) as u64);
                // Who is not answered in time may be answered later, or never.
                within(&fleet, time, join_all(clients)).await;
                heal_some(&fleet, &mut r).await;
            }
            heal(&fleet).await;
            start(&fleet, 0..n).await;
            let node = fleet.node(r.below(n)).unwrap();
            let goes_on = within(&fleet, PATIENCE, register(&f, &node, &t)).await;
            assert!(
                goes_on.flatten().is_some(),
                "a quorum is there, and nothing goes on"
            );
            agreed(&f, &fleet, &t).await;
        });
        assert_eq!(out, Some(()), "seed {seed} round {round}");
    }
    let told = told.lock().unwrap();
    told.acknowledged.len()
}

/// Something goes wrong.
pub(super) async fn trouble(fleet: &Fleet, random: &mut Random) {
    let n = fleet.len();
    match random.below(5) {
        // Nodes die: up to all of them.
        0 => {
            for _ in 0..=random.below(n) {
                let running: Vec<_> = (0..n).filter(|m| fleet.node(*m).is_some()).collect();
                if running.len() > 1 {
                    fleet.kill(running[random.below(running.len())]);
                }
            }
        }
        // One side does not hear the other.
        1 => {
            let side = 1 + random.below(n - 1);
            let both = random.below(2) == 0;
            for from in 0..side {
                for to in side..n {
                    fleet.link(from, to, None).await;
                    if both {
                        fleet.link(to, from, None).await;
                    }
                }
            }
        }
        // Lines are bad, each in its way.
        2 | 3 => {
            for from in 0..n {
                for to in 0..n {
                    fleet.link(from, to, quality(random)).await;
                }
            }
        }
        _ => fleet.slow_disks(Duration::from_millis(random.below(100) as u64)),
    }
}

pub(super) async fn heal_some(fleet: &Fleet, random: &mut Random) {
    match random.below(3) {
        0 => {
            for member in 0..fleet.len() {
                fleet.start(member).await;
            }
        }
        1 => heal(fleet).await,
        _ => {}
    }
}

/// Lines and disks are good again.
pub(super) async fn heal(fleet: &Fleet) {
    fleet.slow_disks(Duration::ZERO);
    for from in 0..fleet.len() {
        for to in 0..fleet.len() {
            fleet.link(from, to, Some(Quality::GOOD)).await;
        }
    }
}

/// Forty seeds; `KUSABI_SEEDS=from..to` names others.
#[test]
fn no_height_has_two_contents_nothing_acknowledged_is_lost_and_a_quorum_goes_on() {
    lives(seeds(0..40), life);
}

/// Started with what it was founded with and nothing else, or on an old copy of its disk, a member knows nothing of votes that the others
/// know.
#[test]
fn a_member_whose_directory_knows_less_of_its_votes_than_the_others_does_not_vote() {
    for (seed, is_old) in [(21, false), (22, true), (23, false), (24, true)] {
        let founder = Founder::of(4);
        let told = Arc::new(Mutex::new(Told::default()));
        let out = founder.consortium(seed).run(move |fleet| async move {
            start(&fleet, 0..4).await;
            open_for_all(&founder, &fleet).await;
            fleet.kill(2);
            let old = fleet.copy(2).await.unwrap();
            start(&fleet, [2]).await;
            for _ in 0..5 {
                let node = fleet.node(2).unwrap();
                let registered = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
                assert!(registered.flatten().is_some());
            }
            fleet.kill(2);
            if is_old {
                fleet.bring_back(2, &old).await;
            } else {
                fleet.lose_all(2).await;
            }
            fleet.start(2).await;
            let stops = async {
                while fleet.stopped(2).is_none() {
                    fleet.sleep(Duration::from_millis(100)).await;
                }
            };
            within(&fleet, PATIENCE, stops).await.unwrap();
            let why = Stop::Refused(EngineError::KeyElsewhere(0));
            assert_eq!(fleet.stopped(2), Some(why));
            let node = fleet.node(0).unwrap();
            let goes_on = within(&fleet, PATIENCE, register(&founder, &node, &told)).await;
            assert!(goes_on.flatten().is_some());
            fleet.kill(2);
            agreed(&founder, &fleet, &told).await;
        });
        assert_eq!(out, Some(()));
    }
}
