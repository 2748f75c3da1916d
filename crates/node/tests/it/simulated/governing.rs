//! Members that decide while lines are bad, nodes die and an epoch ends: what they decided is what their votes say, at every node.

use super::{
    Founder,
    consortium::{
        PATIENCE, Told, agreed, bring, heal, heal_some, open_for_all, register, start, trouble,
        within,
    },
    epochs::{Plan, appoint, audited, begun, whole},
    lives,
};
use crate::random::{Random, seeds};
use futures::future::{join, join_all, join3};
use kusabi_core::{
    id::{Epoch, Handle, Height, OrgId, ProposalId, StateKey},
    row::{Members, Organisation, ProposalRow, Record, RowBytes, Seat},
    suite::Purpose,
    tx::{Act, Action, FREEZE_MS, Named, Proposal, Transaction},
};
use kusabi_ledger::{
    Rejection,
    testing::{TestKey, World as Ledger},
};
use kusabi_node::{
    engine::{Refusal, simulation::consortium::Fleet},
    handle::{FinalBlock, NodeHandle},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

/// Rows that the founders may have.
const QUOTA: u64 = 1 << 40;
/// When the first proposal runs out; each later one a moment before.
const OPEN_MS: u64 = 7 * 24 * 3_600_000;
/// Rounds of trouble; in the middle of them an epoch ends.
const ROUNDS: usize = 6;

/// Who acts: the founders, and behind them an organisation that wants to be a member.
struct Council {
    founder: Arc<Founder>,
    newcomer: TestKey,
    /// Takes devices in the name of member 1.
    taker: TestKey,
    made: u64,
}

/// A proposal, and what each of those who vote says; `true` is yes.
#[derive(Clone)]
struct Case {
    proposal: Proposal,
    proposed: Transaction,
    votes: Vec<Transaction>,
}

impl Council {
    fn new(founder: Arc<Founder>) -> Self {
        Self {
            founder,
            newcomer: TestKey::new(7_000, Purpose::Officer),
            taker: TestKey::new(7_001, Purpose::Writer),
            made: 0,
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.founder.ledger
    }

    fn founders(&self) -> usize {
        self.ledger().members()
    }

    fn officer(&self, member: usize) -> &TestKey {
        match member.checked_sub(1) {
            None => &self.ledger().officer,
            Some(other) => {
                let other = self.ledger().others.get(other);
                other.map_or(&self.newcomer, |other| &other.officer)
            }
        }
    }

    fn org(&self, member: usize) -> OrgId {
        if member < self.founders() {
            self.ledger().org_of(member)
        } else {
            let candidate = self.ledger().candidate("newcomer", 1, &[&self.newcomer]);
            candidate.name.id()
        }
    }

    /// The writer of member 1, by its officer.
    fn grant(&self) -> Transaction {
        let org = self.org(1);
        let action = Action::Grant {
            org,
            org_version: 1,
            entry: Box::new(self.taker.entry(&self.ledger().chain, &org)),
        };
        self.ledger().sign(action, &[self.officer(1)])
    }

    fn act(&self, random: &mut Random) -> Act {
        let n = self.founders();
        let of = |random: &mut Random, from: usize| self.org(from + random.below(n + 1 - from));
        match random.below(10) {
            0 | 1 => Act::Quota {
                org: of(random, 0),
                rows: QUOTA + self.made,
            },
            2 => Act::Quota {
                org: of(random, 0),
                rows: QUOTA - self.made,
            },
            // Not the one whose clients register keys all the time.
            3 | 4 => Act::Freeze { org: of(random, 1) },
            5 => Act::Thaw { org: of(random, 1) },
            6 | 7 => Act::Admit {
                candidate: self.ledger().candidate("newcomer", 1, &[&self.newcomer]),
                quota: QUOTA,
                seat: random.below(4) != 0,
            },
            8 if random.below(2) == 0 => Act::Remove { org: self.org(n) },
            8 => Act::Seat { org: self.org(n) },
            _ => Act::Heartbeat {
                ms: 60_000 - u32::try_from(self.made).unwrap(),
            },
        }
    }

    /// Somebody proposes something, and some vote.
    fn case(&mut self, random: &mut Random) -> Case {
        self.made += 1;
        let first = self.act(random);
        let mut acts = vec![first];
        if random.below(3) == 0 && acts[0].org().is_some() {
            let ms = 59_000 - u32::try_from(self.made).unwrap();
            acts.push(Act::Heartbeat { ms });
        }
        let all = self.founders() + 1;
        let by = random.below(all);
        let expires = self.ledger().time_ms + OPEN_MS - self.made;
        let proposal = Proposal::new(self.org(by), expires, acts).unwrap();
        let action = Action::Propose {
            proposal: Box::new(proposal.clone()),
        };
        let proposed = self.ledger().sign(action, &[self.officer(by)]);
        let votes = (0..all).filter(|voter| *voter != by && random.below(8) > 2);
        let votes: Vec<_> = votes.collect();
        let votes = votes.into_iter().map(|voter| {
            let yes = random.below(4) > 0;
            let officer = self.officer(voter);
            self.ledger()
                .vote_of(self.org(voter), &proposal, yes, &[officer])
        });
        Case {
            votes: votes.collect(),
            proposal,
            proposed,
        }
    }

    /// A device of member 0, as it is registered, and as it goes over to member 1.
    fn device(&self, number: u64) -> (Handle, [Transaction; 2]) {
        let key = TestKey::new(50_000 + number, Purpose::Act);
        let action = Action::Transfer {
            org: self.org(0),
            to: self.org(1),
            targets: vec![Named {
                handle: key.handle,
                version: 1,
            }],
        };
        let moved = self.ledger().sign(action, &[self.officer(0), &self.taker]);
        (key.handle, [self.ledger().register(&[&key]), moved])
    }
}

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

/// An organisation as the blocks say.
#[derive(Default)]
struct Org {
    member: bool,
    removed: bool,
    quota: u64,
    frozen_until_ms: u64,
    /// The seat of which it votes, as far as it has, and those that it had before.
    seat: Option<Seat>,
    left: Vec<Seat>,
}

/// A proposal as the blocks say.
struct Open {
    acts: Vec<Act>,
    yes: BTreeSet<OrgId>,
    carried: Height,
}

/// What follows from the votes in the blocks, counted anew and by the words of spec/governance.md.
struct Tally {
    orgs: BTreeMap<OrgId, Org>,
    proposals: BTreeMap<ProposalId, Open>,
    owners: BTreeMap<Handle, OrgId>,
    heartbeat_ms: u32,
}

impl Tally {
    fn of(council: &Council, blocks: &[FinalBlock]) -> Self {
        let founders = (0..council.founders()).map(|member| {
            let org = Org {
                member: true,
                quota: QUOTA,
                ..Org::default()
            };
            (council.org(member), org)
        });
        let mut tally = Self {
            orgs: founders.collect(),
            proposals: BTreeMap::new(),
            owners: BTreeMap::new(),
            heartbeat_ms: 60_000,
        };
        for block in blocks {
            for bytes in &block.transactions {
                let transaction = Transaction::decode(bytes).unwrap();
                tally.take(transaction.action(), block);
            }
        }
        tally
    }

    fn take(&mut self, action: &Action, block: &FinalBlock) {
        let (height, now) = (block.header.height, block.header.time_ms);
        match action {
            Action::Propose { proposal } => {
                let by = proposal.proposer();
                self.adds(by, now);
                let open = Open {
                    acts: proposal.acts().to_vec(),
                    yes: BTreeSet::new(),
                    carried: Height::ZERO,
                };
                let before = self.proposals.insert(proposal.id(), open);
                assert!(before.is_none(), "proposed twice");
                self.vote(proposal.id(), by, true, height, now);
            }
            Action::Vote {
                org,
                seat,
                proposal,
                yes,
            } => {
                let by = self.orgs.get_mut(org).unwrap();
                assert_eq!(by.seat.get_or_insert(*seat), seat, "two seats at a time");
                assert!(!by.left.contains(seat), "a vote of a seat that is given up");
                self.vote(proposal.id(), *org, *yes, height, now);
            }
            Action::Register { org, entries } => {
                self.adds(*org, now);
                let owned = entries.iter().map(|entry| (entry.handle(), *org));
                self.owners.extend(owned);
            }
            Action::Transfer { org, to, targets } => {
                self.adds(*to, now);
                for target in targets {
                    assert_eq!(self.owners.insert(target.handle, *to), Some(*org));
                }
            }
            _ => {}
        }
    }

    /// Who is frozen or removed adds nothing.
    fn adds(&self, org: OrgId, now: u64) {
        let org = &self.orgs[&org];
        assert!(!org.removed && now >= org.frozen_until_ms);
    }

    fn vote(&mut self, id: ProposalId, by: OrgId, yes: bool, height: Height, now: u64) {
        assert!(self.orgs[&by].member, "a vote of no member");
        let open = self.proposals.get_mut(&id).unwrap();
        assert_eq!(open.carried, Height::ZERO, "a vote on what is decided");
        if yes {
            open.yes.insert(by);
        }
        let members = self.orgs.values().filter(|org| org.member).count();
        let yes = open.yes.iter().filter(|org| self.orgs[org].member).count();
        let high = open.acts.iter().any(|act| match act {
            Act::Quota { org, rows } => self.orgs.get(org).is_none_or(|org| *rows < org.quota),
            Act::Freeze { org } => self.orgs.get(org).is_none_or(|o| o.frozen_until_ms > 0),
            Act::Thaw { .. } => false,
            _ => true,
        });
        let enough = if high {
            3 * yes >= 2 * members
        } else {
            3 * yes > members
        };
        if enough && yes >= 2.min(members) {
            open.carried = height;
            for act in open.acts.clone() {
                self.act(&act, now);
            }
        }
    }

    fn act(&mut self, act: &Act, now: u64) {
        let org = act.org();
        let org = org.map(|org| (org, self.orgs.entry(org).or_default()));
        match (act, org) {
            (Act::Admit { quota, seat, .. }, Some((_, org))) => {
                (org.quota, org.member) = (*quota, *seat);
            }
            (Act::Remove { .. }, Some((id, org))) => {
                (org.member, org.removed) = (false, true);
                org.left.extend(org.seat.take());
                // Back again, it votes anew.
                for open in self.proposals.values_mut() {
                    open.yes.remove(&id);
                }
            }
            (Act::Seat { .. }, Some((_, org))) => (org.member, org.removed) = (true, false),
            (Act::Quota { rows, .. }, Some((_, org))) => org.quota = *rows,
            (Act::Freeze { .. }, Some((_, org))) => org.frozen_until_ms = now + FREEZE_MS,
            (Act::Thaw { .. }, Some((_, org))) => org.frozen_until_ms = now,
            (Act::Heartbeat { ms }, _) => self.heartbeat_ms = *ms,
            other => panic!("{:?}", other.0),
        }
    }

    fn members(&self) -> usize {
        self.orgs.values().filter(|org| org.member).count()
    }
}

/// A node shows, with proofs that a device takes, what follows from the votes; gives the rows that it showed.
async fn shows(council: &Council, node: &NodeHandle, tally: &Tally) -> Vec<RowBytes> {
    let founder = &council.founder;
    let mut shown = Vec::new();
    let mut row = async |key: StateKey| {
        let proof = node.lookup(key).await.unwrap();
        let row = founder.row_by(&node.outline(), &key, &proof);
        shown.extend(row);
        row
    };
    let members = Members::decode(&row(StateKey::members()).await.unwrap()).unwrap();
    assert_eq!(
        (members.count(), members.heartbeat_ms),
        (tally.members(), tally.heartbeat_ms)
    );
    assert_eq!(
        node.status().heartbeat.as_millis(),
        tally.heartbeat_ms.into()
    );
    for member in 0..=council.founders() {
        let id = council.org(member);
        let found = row(StateKey::organisation(&id)).await;
        let found = found.map(|row| Organisation::decode(&row).unwrap());
        let says = |org: Organisation| {
            let removed = org.removed != Height::ZERO;
            (org.quota, org.frozen_until_ms, org.seat.is_some(), removed)
        };
        let follows = tally.orgs.get(&id);
        let follows = follows.map(|org| (org.quota, org.frozen_until_ms, org.member, org.removed));
        assert_eq!(found.map(says), follows, "organisation {member}");
    }
    for (id, open) in &tally.proposals {
        let found = row(StateKey::proposal(id)).await.unwrap();
        let found = ProposalRow::decode(&found).unwrap();
        let of_members = open.yes.iter().filter(|org| tally.orgs[org].member);
        assert_eq!(
            (found.carried, found.yes.count_in(&members.seats)),
            (open.carried, of_members.count()),
            "{:?}",
            open.acts
        );
    }
    for (handle, owner) in &tally.owners {
        let found = row(StateKey::record(handle)).await.unwrap();
        assert_eq!(Record::decode(&found).unwrap().owner(), *owner);
    }
    shown
}

/// One life of a consortium whose members decide in the middle of trouble.
fn life(seed: u64) -> usize {
    let mut r = Random(seed ^ 0x90fe);
    let n = 4 + (seed % 3) as usize;
    let founder = Founder::of(n as u64);
    let told = Arc::new(Mutex::new(Told::default()));
    let plan: Plan = vec![(0..n).collect(); 4];
    let (f, t) = (founder.clone(), told.clone());
    let out = founder.consortium(seed).run(move |fleet| async move {
        let mut council = Council::new(f.clone());
        start(&fleet, 0..n).await;
        open_for_all(&f, &fleet).await;
        let granted = bring(&fleet.node(0).unwrap(), &council.grant(), &t).await;
        assert!(granted.unwrap().is_ok());
        let (mut cases, mut devices) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            trouble(&fleet, &mut r).await;
            let mut up: Vec<_> = (0..n).filter_map(|member| fleet.node(member)).collect();
            let first = r.below(up.len());
            up.rotate_left(first);
            let new: Vec<_> = (0..2).map(|_| council.case(&mut r)).collect();
            let device = council.device(round as u64);
            let deciding = join_all(new.iter().map(|case| decide(case, &up, &t)));
            let clients = join_all(up.iter().map(|node| register(&f, node, &t)));
            let clients = join(clients, hand_on(&device.1, &up[0], &t));
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
        for member in 0..n {
            fleet.start(member).await;
        }
        epoch_ends(&f, &fleet, &plan).await;
        // Whoever was not answered asks again, and everybody is.
        let nodes: Vec<_> = (0..n).map(|member| fleet.node(member).unwrap()).collect();
        for (case, node) in cases.iter().zip((0..n).cycle()) {
            let mut nodes = nodes.clone();
            nodes.rotate_left(node);
            let decided = within(&fleet, PATIENCE, decide(case, &nodes, &t)).await;
            assert_eq!(decided, Some(true), "{:?}", case.proposal.acts());
        }
        for ((_, device), node) in devices.iter().zip(nodes.iter().cycle()) {
            let done = within(&fleet, PATIENCE, hand_on(device, node, &t)).await;
            assert_eq!(done, Some(true));
        }
        agreed(&f, &fleet, &t).await;
        let blocks = super::blocks(&nodes[0]).await;
        let tally = Tally::of(&council, &blocks);
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
async fn epoch_ends(founder: &Founder, fleet: &Fleet, plan: &Plan) {
    let all: Vec<usize> = (0..fleet.len()).collect();
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
