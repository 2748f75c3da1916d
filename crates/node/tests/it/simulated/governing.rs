//! Members that decide while lines are bad, nodes die, an epoch ends and some of them lie: what they decided is what their votes say,
//! at every node.

mod council;
mod tally;

use super::{
    Founder,
    consortium::{
        PATIENCE, Told, agreed, bring, heal, heal_some, open_for_all, register, start, trouble,
        within,
    },
    epochs::{Plan, appoint, audited, begun, whole},
    lives,
    lying::Lying,
};
use crate::random::{Random, seeds};
use council::{Case, Council};
use futures::future::{join_all, join3};
use kusabi_core::{
    id::{Epoch, Height},
    tx::Transaction,
};
use kusabi_ledger::Rejection;
use kusabi_node::{
    engine::{Refusal, simulation::consortium::Fleet},
    handle::NodeHandle,
};
use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};
use tally::{Open, Tally, shows};

/// Rounds of trouble; in the middle of them an epoch ends.
const ROUNDS: usize = 6;

/// Brings a proposal to one node, and the votes to all, each of which refuses only what it may; whether everybody was answered.
async fn decide(case: &Case, nodes: &[NodeHandle], told: &Mutex<Told>) -> bool {
    let open = bring(&nodes[0], &case.proposed, told).await;
    let votes = case.votes.iter().zip(nodes.iter().cycle());
    let votes = votes.map(|(vote, node)| bring(node, vote, told));
    let mut ends = join_all(votes).await;
    ends.push(open);
    ends.into_iter().all(|end| match end {
        Some(Err(why)) => {
            assert!(may_be_refused(&why), "{why}");
            true
        }
        end => end.is_some(),
    })
}

/// Brings what nobody may, which no node takes; whether everybody was answered.
async fn refused(forged: &[Transaction], nodes: &[NodeHandle], told: &Mutex<Told>) -> bool {
    let forged = forged.iter().zip(nodes.iter().cycle());
    let ends = join_all(forged.map(|(forged, node)| bring(node, forged, told))).await;
    assert!(
        !ends.iter().any(|end| matches!(end, Some(Ok(_)))),
        "{ends:?}"
    );
    ends.iter().all(Option::is_some)
}

/// What the state may say to an act of the members that somebody else was faster with, or that they do not allow.
fn may_be_refused(why: &Refusal) -> bool {
    use Rejection as R;
    let Refusal::Rejected(why) = why else {
        return false;
    };
    matches!(
        why,
        R::ProposalExists
            | R::ProposalCarried
            | R::UnknownProposal
            | R::VoteStands
            | R::NoEffect
            | R::NoSeat
            | R::OtherSeat
            | R::Frozen
            | R::Removed
            | R::OrganisationExists
            | R::UnknownOrganisation
            | R::UnknownSigner
    )
}

/// Registers a device and moves it; whether everybody was answered.
async fn hand_on(device: &[Transaction; 2], node: &NodeHandle, told: &Mutex<Told>) -> bool {
    for step in device {
        match bring(node, step, told).await {
            Some(Ok(_)) => {}
            // Done before; or not done, for who takes it is frozen.
            Some(Err(Refusal::Rejected(
                Rejection::HandleTaken
                | Rejection::StaleVersion
                | Rejection::ForeignRecord
                | Rejection::Frozen,
            ))) => {}
            Some(Err(why)) => panic!("{why}"),
            None => return false,
        }
    }
    true
}

/// One life of a consortium whose members decide in the middle of trouble; in three of four as many of them lie as may.
fn life(seed: u64) -> usize {
    let mut r = Random(seed ^ 0x90fe);
    let n = match seed % 12 {
        11 => 7,
        other => 4 + (other % 3) as usize,
    };
    let lie = !seed.is_multiple_of(4);
    let honest = 0..if lie { n - (n - 1) / 3 } else { n };
    let founder = Founder::of(n as u64);
    let told = Arc::new(Mutex::new(Told::default()));
    let mut council = Council::new(founder.clone(), honest.end..n);
    // Those who lie stay validators, or they are appointed no more.
    let stay = r.below(2) == 0;
    let second = if stay { 0..n } else { honest.clone() };
    let plan: Plan = vec![(0..n).collect(), second.collect()];
    let coup = lie.then(|| council.coup());
    let forged = coup.as_ref().map(|coup| council.forged(&coup.proposal));
    let forged = forged.unwrap_or_default();
    let liars = council.liars.clone();
    let crimes = liars.clone().map(|_| council.crime(&forged, &mut r));
    let crimes = crimes.collect();
    let lying = Lying { liars, crimes };
    println!(
        "{n} members; those who lie: {lying}; they {}",
        if stay { "stay" } else { "go" }
    );
    let (f, t) = (founder.clone(), told.clone());
    let out = founder.consortium(seed).run(move |fleet| async move {
        lying.begin(&fleet, &f.outline()).await;
        start(&fleet, honest.clone()).await;
        open_for_all(&f, &fleet).await;
        let granted = bring(&fleet.node(0).unwrap(), &council.grant(), &t).await;
        assert!(granted.unwrap().is_ok());
        let (mut cases, mut devices) = (Vec::new(), Vec::new());
        let mut coups = coup.clone();
        for round in 0..ROUNDS {
            trouble(&fleet, &mut r).await;
            let mut up: Vec<_> = (0..n).filter_map(|member| fleet.node(member)).collect();
            let first = r.below(up.len());
            up.rotate_left(first);
            let new = (0..2).map(|_| coups.take().unwrap_or_else(|| council.case(&mut r)));
            let new: Vec<_> = new.collect();
            let device = council.device(round as u64);
            let deciding = join_all(new.iter().map(|case| decide(case, &up, &t)));
            let clients = join_all(up.iter().map(|node| register(&f, node, &t)));
            let clients = join3(
                clients,
                hand_on(&device.1, &up[0], &t),
                refused(&forged, &up, &t),
            );
            let ends = async {
                // The epoch ends in the middle of it all.
                if round == ROUNDS / 2 {
                    appoint(&f, &up[0], &plan, 1).await;
                }
            };
            let time = Duration::from_millis(500 + r.below(4_000) as u64);
            within(&fleet, time, join3(deciding, clients, ends)).await;
            cases.extend(new);
            devices.push(device);
            heal_some(&fleet, &mut r).await;
        }
        heal(&fleet).await;
        start(&fleet, honest.clone()).await;
        epoch_ends(&f, &fleet, &plan, &honest).await;
        let outline = fleet.node(0).unwrap().outline();
        lying.go_on(&fleet, &outline, seed % 5 == 1).await;
        // Whoever was not answered asks again, and everybody is.
        let wanted = council.wanted();
        cases.extend(wanted.clone());
        let nodes = honest.clone().map(|member| fleet.node(member).unwrap());
        let nodes: Vec<_> = nodes.collect();
        for (case, node) in cases.iter().zip(honest.clone().cycle()) {
            let mut nodes = nodes.clone();
            nodes.rotate_left(node);
            let decided = within(&fleet, PATIENCE, decide(case, &nodes, &t)).await;
            assert_eq!(decided, Some(true), "{:?}", case.proposal.acts());
        }
        for ((_, device), node) in devices.iter().zip(nodes.iter().cycle()) {
            let done = within(&fleet, PATIENCE, hand_on(device, node, &t)).await;
            assert_eq!(done, Some(true));
        }
        let all = within(&fleet, PATIENCE, refused(&forged, &nodes, &t)).await;
        assert_eq!(all, Some(true), "who forges is told so");
        lying.end(&fleet);
        agreed(&f, &fleet, &t).await;
        let blocks = super::blocks(&nodes[0]).await;
        let tally = Tally::of(&council, &cases, &blocks);
        for wanted in wanted {
            let found = &tally.proposals[&wanted.proposal.id()];
            assert_ne!(found.carried, Height::ZERO, "{:?}", found.acts);
        }
        let coup = coup.and_then(|coup| tally.proposals.get(&coup.proposal.id()));
        assert!(coup.is_none_or(|coup| coup.carried == Height::ZERO));
        let count = |of: &dyn Fn(&Open) -> bool| tally.proposals.values().filter(|o| of(o)).count();
        println!(
            "{n} members: {} proposals, {} carried; {} members at the end",
            count(&|_| true),
            count(&|open| open.carried != Height::ZERO),
            tally.members()
        );
        let mut all = Vec::new();
        for node in &nodes {
            all.push(shows(&council, node, &tally).await);
            whole(&f, node).await;
        }
        all.dedup();
        assert_eq!(all.len(), 1, "two nodes show different rows");
        blocks
    });
    audited(&founder, seed, out.unwrap());
    let told = told.lock().unwrap();
    told.acknowledged.len()
}

/// The first epoch ends, by an appointment that is brought until it does.
async fn epoch_ends(founder: &Founder, fleet: &Fleet, plan: &Plan, honest: &Range<usize>) {
    let all: Vec<usize> = honest.clone().collect();
    for member in all.iter().cycle().take(4 * all.len()) {
        let node = fleet.node(*member).unwrap();
        if node.status().epoch >= Epoch::new(1) {
            break;
        }
        let time = Duration::from_secs(5);
        within(fleet, time, appoint(founder, &node, plan, 1)).await;
    }
    begun(fleet, &all, 1).await;
}

/// Four seeds; `KUSABI_SEEDS=from..to` names others.
#[test]
fn members_decide_in_the_middle_of_trouble_and_every_node_shows_what_their_votes_say() {
    lives(seeds(0..4), life);
}
