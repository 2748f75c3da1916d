//! Who the members are, how their votes are counted, and what a carried proposal changes (spec/governance.md): for whoever checks a
//! transaction, and for whoever follows transactions that are final.

use std::collections::BTreeMap;

use kusabi_core::genesis::Genesis;
use kusabi_core::id::{Height, OrgId, OrgName, ProposalId};
use kusabi_core::quorum::carries;
use kusabi_core::row::{Members, Organisation, ProposalRow, Seat, Seats};
use kusabi_core::tx::{Act, Action, Candidate, FREEZE_MS, Proposal};

use crate::rejection::Rejection;

/// The rows that a proposal changes, as the acts so far have left them.
pub(crate) struct Council<'s> {
    pub(crate) members: Members,
    pub(crate) organisations: BTreeMap<OrgId, Organisation>,
    /// What stands below.
    below: Below<'s>,
}

/// Where a council reads an organisation that it has not met yet.
type Below<'s> = &'s dyn Fn(OrgId) -> Result<Option<Organisation>, Rejection>;

impl<'s> Council<'s> {
    pub(crate) const fn new(members: Members, below: Below<'s>) -> Self {
        Self {
            members,
            organisations: BTreeMap::new(),
            below,
        }
    }

    /// Counts the votes of those who are members now, and does what is carried; whether it was carried. The records of officers
    /// who are admitted are the caller's.
    pub(crate) fn settle(
        &mut self,
        row: &mut ProposalRow,
        proposal: &Proposal,
        height: Height,
        time_ms: u64,
    ) -> Result<bool, Rejection> {
        let mut high = false;
        for act in proposal.acts() {
            let organisation = act.org().map(|org| self.seen(org)).transpose()?;
            high |= act.is_high(organisation.flatten().as_ref());
        }
        let yes = row.yes.count_in(&self.members.seats);
        if !carries(yes, self.members.count(), high) {
            return Ok(false);
        }
        row.carried = height;
        for act in proposal.acts() {
            self.act(act, height, time_ms)?;
        }
        Ok(true)
    }

    fn act(&mut self, act: &Act, height: Height, now: u64) -> Result<(), Rejection> {
        match act {
            Act::Admit {
                candidate,
                quota,
                seat,
            } => self.admit(candidate, *quota, *seat, height)?,
            Act::Remove { org } => {
                let organisation = self.known(*org)?;
                if organisation.removed != Height::ZERO {
                    return Err(Rejection::NoEffect);
                }
                organisation.removed = height;
                if let Some(seat) = organisation.seat.take() {
                    self.members.seats = self.members.seats.without(seat);
                }
                if self.members.count() == 0 {
                    return Err(Rejection::LastMember);
                }
            }
            Act::Seat { org } => {
                if self.known(*org)?.seat.is_some() {
                    return Err(Rejection::NoEffect);
                }
                let seat = self.seat_one()?;
                let organisation = self.known(*org)?;
                organisation.seat = Some(seat);
                organisation.removed = Height::ZERO;
            }
            Act::Quota { org, rows } => {
                let organisation = self.known(*org)?;
                if *rows < organisation.rows {
                    return Err(Rejection::QuotaBelowRows);
                }
                if *rows == organisation.quota {
                    return Err(Rejection::NoEffect);
                }
                organisation.quota = *rows;
            }
            Act::Freeze { org } => {
                self.known(*org)?.frozen_until_ms = now.saturating_add(FREEZE_MS);
            }
            Act::Thaw { org } => {
                let organisation = self.known(*org)?;
                if !organisation.is_frozen(now) {
                    return Err(Rejection::NoEffect);
                }
                // Not zero: that it was frozen makes the next freeze a high act.
                organisation.frozen_until_ms = now;
            }
            Act::Heartbeat { ms } => {
                let members = &mut self.members;
                if *ms > members.longest_heartbeat_ms {
                    return Err(Rejection::HeartbeatTooLong);
                }
                if *ms == members.heartbeat_ms {
                    return Err(Rejection::NoEffect);
                }
                members.heartbeat_ms = *ms;
            }
        }
        Ok(())
    }

    fn admit(
        &mut self,
        candidate: &Candidate,
        quota: u64,
        seat: bool,
        height: Height,
    ) -> Result<(), Rejection> {
        let org = candidate.name.id();
        if self.seen(org)?.is_some() {
            return Err(Rejection::OrganisationExists);
        }
        let seat = if seat { Some(self.seat_one()?) } else { None };
        let officers = u8::try_from(candidate.officers.len());
        let officers = officers.map_err(|_| Rejection::TooManyOfficers)?;
        let organisation =
            Organisation::new(candidate.name, quota, candidate.threshold, officers, seat);
        self.organisations.insert(org, organisation.at(height));
        Ok(())
    }

    fn seat_one(&mut self) -> Result<Seat, Rejection> {
        let (members, seat) = self.members.seat_one().ok_or(Rejection::NoSeatLeft)?;
        self.members = members;
        Ok(seat)
    }

    /// An organisation as the acts so far have left it, or none.
    fn seen(&self, org: OrgId) -> Result<Option<Organisation>, Rejection> {
        match self.organisations.get(&org) {
            Some(organisation) => Ok(Some(*organisation)),
            None => (self.below)(org),
        }
    }

    /// The same, to be changed.
    fn known(&mut self, org: OrgId) -> Result<&mut Organisation, Rejection> {
        use std::collections::btree_map::Entry;
        Ok(match self.organisations.entry(org) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                free.insert((self.below)(org)?.ok_or(Rejection::UnknownOrganisation)?)
            }
        })
    }
}

/// A proposal's row as it is proposed.
pub(crate) fn proposed(
    proposal: &Proposal,
    seat: Seat,
    height: Height,
    previous: Option<ProposalId>,
) -> ProposalRow {
    ProposalRow {
        id: proposal.id(),
        proposer: proposal.proposer(),
        proposed: height,
        carried: Height::ZERO,
        expires_ms: proposal.expires_ms(),
        previous,
        yes: Seats::default().with(seat),
        no: Seats::default(),
    }
}

/// The row with a seat's vote.
pub(crate) fn voted(row: &ProposalRow, seat: Seat, yes: bool) -> ProposalRow {
    if yes {
        ProposalRow {
            yes: row.yes.with(seat),
            no: row.no.without(seat),
            ..*row
        }
    } else {
        ProposalRow {
            no: row.no.with(seat),
            ..*row
        }
    }
}

/// The members' row and the organisations that a genesis document founds, in its order, before their officers have come.
pub(crate) fn founded(genesis: &Genesis<'_>) -> Result<(Members, Vec<Organisation>), Rejection> {
    let malformed = Rejection::GenesisMalformed;
    let heartbeat_ms = u32::try_from(genesis.heartbeat_ms()).map_err(|_| malformed)?;
    let mut members = Members {
        version: 1,
        given: 0,
        seats: Seats::default(),
        heartbeat_ms,
        longest_heartbeat_ms: heartbeat_ms,
        newest: None,
    };
    let mut organisations = Vec::new();
    for (founder, of_set) in genesis.founders().zip(genesis.epoch_set().organisations()) {
        let name = OrgName::new(founder.name).map_err(|_| malformed)?;
        let (with, seat) = members.seat_one().ok_or(malformed)?;
        members = with;
        let count = |count| u8::try_from(count).map_err(|_| malformed);
        let (k, n) = (of_set.officers.threshold(), of_set.officers.len());
        let organisation = Organisation::new(name, founder.quota, count(k)?, count(n)?, Some(seat));
        organisations.push(organisation);
    }
    Ok((members, organisations))
}

/// What the members have decided, followed through transactions that are final: for whoever has the blocks and no state. It judges by
/// the very rules by which they became final. What it knows of an organisation is its seat, its quota and its freeze; counts of keys
/// are not kept.
#[derive(Clone, Debug)]
pub struct Decisions {
    members: Members,
    organisations: BTreeMap<OrgId, Organisation>,
    /// Those on which somebody may still vote.
    open: BTreeMap<ProposalId, ProposalRow>,
}

impl Decisions {
    /// What a genesis document founds.
    ///
    /// # Errors
    /// [`Rejection::GenesisMalformed`]
    pub fn new(genesis: &Genesis<'_>) -> Result<Self, Rejection> {
        let (members, organisations) = founded(genesis)?;
        let organisations = organisations.into_iter().map(|org| (org.id(), org));
        Ok(Self {
            members,
            organisations: organisations.collect(),
            open: BTreeMap::new(),
        })
    }

    /// Follows the action of a final transaction in a block of this height and time: the proposal that it carries out, if it does.
    ///
    /// # Errors
    /// The rule that it breaks: then it is not final on the ledger that was followed so far.
    pub fn follow<'a>(
        &mut self,
        action: &'a Action,
        height: Height,
        time_ms: u64,
    ) -> Result<Option<&'a Proposal>, Rejection> {
        let (proposal, mut row) = match action {
            Action::Propose { proposal } => {
                self.open.retain(|_, row| row.expires_ms >= time_ms);
                let seat = self.seat_of(&proposal.proposer())?;
                (proposal, proposed(proposal, seat, height, None))
            }
            Action::Vote {
                seat,
                proposal,
                yes,
                ..
            } => {
                let row = self.open.get(&proposal.id());
                let row = row.ok_or(Rejection::UnknownProposal)?;
                (proposal, voted(row, *seat, *yes))
            }
            _ => return Ok(None),
        };
        let organisations = &self.organisations;
        let below = |org: OrgId| Ok(organisations.get(&org).copied());
        let mut council = Council::new(self.members, &below);
        let carried = council.settle(&mut row, proposal, height, time_ms)?;
        let (members, changed) = (council.members, council.organisations);
        self.members = members;
        self.organisations.extend(changed);
        if carried {
            self.open.remove(&row.id);
        } else {
            self.open.insert(row.id, row);
        }
        Ok(carried.then_some(proposal))
    }

    fn seat_of(&self, org: &OrgId) -> Result<Seat, Rejection> {
        let organisation = self.organisations.get(org);
        let organisation = organisation.ok_or(Rejection::UnknownOrganisation)?;
        organisation.seat.ok_or(Rejection::NoSeat)
    }
}
