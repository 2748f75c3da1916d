//! Members that lie while an epoch ends, and everything else goes wrong, too.

use super::{
    Founder,
    consortium::{
        PATIENCE, Told, agreed, heal, heal_some, open_for_all, register, trouble, within,
    },
    epochs::{audited, begun, whole},
    lives,
};
use crate::random::{Random, seeds};
use futures::future::{join, join_all};
use kusabi_core::{
    id::{Epoch, HeaderHash, Height},
    set::EpochSet,
    step::{Step, StepKind},
    tx::{Action, Transaction},
};
use kusabi_node::{
    engine::simulation::{
        consortium::Fleet,
        hostile::{BlockCrime, TurnCrime, VoteCrime},
    },
    handle::NodeHandle,
    outline::Outline,
};
use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

/// How long clients and officers try before they try elsewhere.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How a member lies throughout.
#[derive(Clone, Debug)]
enum Crime {
    Block(BlockCrime),
    Turn(TurnCrime),
    /// Nothing is left of it but its vote keys of all epochs.
    Votes(VoteCrime),
}

impl Crime {
    /// One of them.
    fn of(founder: &Founder, liars: &Range<usize>, random: &mut Random) -> Self {
        let false_ends = || {
            let ends = (0..2).flat_map(|epoch| false_handovers(founder, epoch, liars));
            ends.map(|end| end.as_bytes().to_vec()).collect::<Vec<_>>()
        };
        match random.below(12) {
            0 => Self::Turn(TurnCrime::Silent),
            1 => Self::Turn(TurnCrime::Twice),
            2 => Self::Turn(TurnCrime::Forged),
            3 => Self::Turn(TurnCrime::Tells(false_ends())),
            4 => Self::Block(BlockCrime::Root),
            5 => Self::Block(BlockCrime::Future),
            6 => Self::Block(BlockCrime::Censoring),
            7 => Self::Block(BlockCrime::NextSet),
            8 => Self::Block(BlockCrime::Opening(false_ends().swap_remove(0))),
            9 => {
                // A lone member appoints itself and its friends.
                let next = founder
                    .ledger
                    .set_of(1, &(liars.clone().collect::<Vec<_>>()));
                let old = founder.ledger.epoch_set(0);
                let nodes = founder
                    .ledger
                    .nodes_in(1, &liars.clone().collect::<Vec<_>>(), &[]);
                let officers: Vec<_> = liars.clone().collect();
                let appoint = founder.ledger.appoint(&old, &next, &nodes, &officers);
                Self::Block(BlockCrime::Transaction(appoint.as_bytes().to_vec()))
            }
            10 => Self::Votes(VoteCrime::Twice),
            _ => Self::Votes(VoteCrime::Both),
        }
    }

    async fn begin(&self, fleet: &Fleet, member: usize, outline: &Outline) {
        match self.clone() {
            Self::Block(crime) => fleet.start_lying(member, crime).await,
            Self::Turn(crime) => fleet.start_turning(member, crime).await,
            Self::Votes(crime) => fleet.start_voting(member, outline, crime).await,
        }
    }
}

/// Handovers of an epoch that are none: the vote keys of those who lie alone, those of all without the officers, those of all
/// with the officers of those who lie.
fn false_handovers(founder: &Founder, epoch: u64, liars: &Range<usize>) -> Vec<Transaction> {
    let ledger = &founder.ledger;
    let (liars, all): (Vec<_>, Vec<_>) = (liars.clone().collect(), (0..ledger.members()).collect());
    let old = match epoch {
        0 => ledger.epoch_set(0),
        _ => ledger.set_of(epoch, &all),
    };
    let next = ledger.set_of(epoch + 1, &liars);
    let nodes = ledger.nodes_in(epoch + 1, &liars, &[]);
    let last = (Height::new(40).unwrap(), HeaderHash::new([5; 32]));
    let sets = (&old[..], &next[..], &nodes[..]);
    [(&liars, &all), (&all, &liars)]
        .into_iter()
        .map(|(voters, officers)| ledger.handover(sets, last, voters, officers))
        .collect()
}

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

/// Everybody who does not lie runs.
async fn start_honest(fleet: &Fleet, honest: &Range<usize>) {
    for member in honest.clone() {
        fleet.start(member).await;
    }
    let ready = join_all(honest.clone().map(|member| fleet.ready(member)));
    let ready = within(fleet, PATIENCE, ready).await;
    let stopped = || honest.clone().map(|m| fleet.stopped(m)).collect::<Vec<_>>();
    assert_eq!(ready, Some(vec![true; honest.len()]), "{:?}", stopped());
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
    let crimes: Vec<_> = liars
        .clone()
        .map(|_| Crime::of(&founder, &liars, &mut r))
        .collect();
    println!("{n} members; those who lie: {}", names(&crimes));
    let (f, t) = (founder.clone(), told.clone());
    let out = founder.consortium(seed).run(move |fleet| async move {
        for (member, crime) in liars.clone().zip(&crimes) {
            crime.begin(&fleet, member, &f.outline()).await;
        }
        start_honest(&fleet, &honest).await;
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
            start_honest(&fleet, &honest).await;
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
            for (member, crime) in liars.clone().zip(&crimes) {
                if epoch == 1 && seed.is_multiple_of(3) {
                    // Whoever has stolen all vote keys of the epoch that has ended takes a liar's place.
                    fleet.start_voting_from_the_past(member, &outline).await;
                } else if matches!(crime, Crime::Votes(_)) {
                    crime.begin(&fleet, member, &outline).await;
                }
            }
        }
        goes_on(&f, &fleet, &t, &honest).await;
        for member in liars.clone() {
            fleet.kill(member);
        }
        agreed(&f, &fleet, &t).await;
        for member in honest {
            let node = fleet.node(member).unwrap();
            whole(&f, &node).await;
            walks(&f, &node.outline(), &liars);
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

/// What they do, without the bytes of it.
fn names(crimes: &[Crime]) -> String {
    let names = crimes.iter().map(|crime| match crime {
        Crime::Turn(TurnCrime::Tells(_)) => "tells of false ends".into(),
        Crime::Block(BlockCrime::Opening(_)) => "opens with a false end".into(),
        Crime::Block(BlockCrime::Transaction(_)) => "appoints alone".into(),
        other => format!("{other:?}"),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Six seeds; `KUSABI_SEEDS=from..to` names others.
#[test]
fn whoever_lies_while_an_epoch_ends_neither_stops_it_nor_ends_it_otherwise() {
    lives(seeds(6..12), life);
}
