//! What follows from the votes, counted anew, and what a node shows of it.

use super::council::{Case, Council, QUOTA};
use kusabi_core::{
    id::{Handle, Height, OrgId, ProposalId, StateKey},
    row::{Members, Organisation, ProposalRow, Record, RowBytes, Seat},
    tx::{Act, Action, FREEZE_MS, Transaction},
};
use kusabi_node::handle::{FinalBlock, NodeHandle};
use std::collections::{BTreeMap, BTreeSet};

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
pub(super) struct Open {
    pub(super) acts: Vec<Act>,
    yes: BTreeSet<OrgId>,
    pub(super) carried: Height,
}

/// What follows from the votes in the blocks, counted anew and by the words of spec/governance.md.
pub(super) struct Tally {
    orgs: BTreeMap<OrgId, Org>,
    pub(super) proposals: BTreeMap<ProposalId, Open>,
    owners: BTreeMap<Handle, OrgId>,
    heartbeat_ms: u32,
}

impl Tally {
    pub(super) fn of(council: &Council, cases: &[Case], blocks: &[FinalBlock]) -> Self {
        let signed = cases.iter().flat_map(Case::transactions);
        let signed: BTreeSet<_> = signed.map(Transaction::as_bytes).collect();
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
                let action = transaction.action();
                if matches!(action, Action::Propose { .. } | Action::Vote { .. }) {
                    assert!(signed.contains(&bytes[..]), "nobody said so: {action:?}");
                }
                tally.take(action, block);
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
        } else {
            assert!(!open.yes.contains(&by), "a yes that does not stand");
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

    pub(super) fn members(&self) -> usize {
        self.orgs.values().filter(|org| org.member).count()
    }
}

/// A node shows, with proofs that a device takes, what follows from the votes; gives the rows that it showed.
pub(super) async fn shows(council: &Council, node: &NodeHandle, tally: &Tally) -> Vec<RowBytes> {
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
