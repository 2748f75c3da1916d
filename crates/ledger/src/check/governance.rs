//! What the members decide together (spec/governance.md): proposals, votes, and what is done when one is carried.

use std::collections::{BTreeMap, BTreeSet};

use kusabi_core::id::{Height, OrgId, StateKey};
use kusabi_core::quorum::carries;
use kusabi_core::row::{Members, Organisation, ProposalRow, Seats};
use kusabi_core::tx::{Act, Candidate, FREEZE_MS, PROPOSAL_OPEN_MS_MAX, Proposal};

use super::desk::{Desk, next};
use crate::rejection::Rejection;
use crate::state::State;

/// The rows that a proposal changes, as the acts so far have left them: each is written once.
struct Council {
    members: Members,
    organisations: BTreeMap<OrgId, Organisation>,
}

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 14
    pub(super) fn propose(&mut self, proposal: &Proposal) -> Result<(), Rejection> {
        let proposer = proposal.proposer();
        let mut organisation = self.organisation(proposer)?;
        let id = proposal.id();
        if self.proposal(proposal)?.is_some() {
            return Err(Rejection::ProposalExists);
        }
        let seat = organisation.seat.ok_or(Rejection::NoSeat)?;
        self.signed_by(organisation.officers_k)?;
        let now = self.context.time_ms;
        let latest = now.saturating_add(PROPOSAL_OPEN_MS_MAX);
        if proposal.expires_ms() <= now || proposal.expires_ms() > latest {
            return Err(Rejection::ProposalDeadline);
        }
        // Last, for they cost the most. Whoever votes brings the same bytes, whose signatures need no second look.
        let candidates = proposal.acts().iter().filter_map(candidate);
        for candidate in candidates {
            if !candidate.is_signed(&self.context.chain) {
                return Err(Rejection::AdmissionUnsigned);
            }
        }
        self.may_add(&organisation)?;
        organisation.rows = organisation.rows.saturating_add(1);
        let mut members = self.members()?;
        members.version = next(members.version)?;
        let row = ProposalRow {
            id,
            proposer,
            proposed: self.context.height,
            carried: Height::ZERO,
            expires_ms: proposal.expires_ms(),
            previous: members.newest.replace(id),
            yes: Seats::default().with(seat),
            no: Seats::default(),
        };
        let council = Council {
            members,
            organisations: BTreeMap::from([(proposer, organisation)]),
        };
        self.settle(council, row, proposal)?;
        Ok(())
    }

    // spec: action 15
    pub(super) fn vote(
        &mut self,
        org: OrgId,
        proposal: &Proposal,
        yes: bool,
    ) -> Result<(), Rejection> {
        let organisation = self.organisation(org)?;
        let row = self.proposal(proposal)?.ok_or(Rejection::UnknownProposal)?;
        if row.carried != Height::ZERO {
            return Err(Rejection::ProposalCarried);
        }
        if self.context.time_ms > row.expires_ms {
            return Err(Rejection::ProposalExpired);
        }
        let seat = organisation.seat.ok_or(Rejection::NoSeat)?;
        self.signed_by(organisation.officers_k)?;
        // spec: a yes stands, so that no vote of yesterday can be offered again to turn it round.
        let (said_yes, said_no) = (row.yes.contains(seat), row.no.contains(seat));
        if !yes && (said_yes || said_no) {
            return Err(Rejection::VoteStands);
        }
        let voted = if yes {
            ProposalRow {
                yes: row.yes.with(seat),
                no: row.no.without(seat),
                ..row
            }
        } else {
            ProposalRow {
                no: row.no.with(seat),
                ..row
            }
        };
        let council = Council {
            members: self.members()?,
            organisations: BTreeMap::new(),
        };
        let carried = self.settle(council, voted, proposal)?;
        // A yes that stands already counts once more where members have gone since.
        if said_yes && !carried {
            return Err(Rejection::VoteStands);
        }
        Ok(())
    }

    /// Counts the votes of those who are members now, does what is carried, and writes everything down; whether it was carried.
    fn settle(
        &mut self,
        mut council: Council,
        row: ProposalRow,
        proposal: &Proposal,
    ) -> Result<bool, Rejection> {
        let mut high = false;
        for act in proposal.acts() {
            let organisation = act.org().map(|org| self.seen(&council, org)).transpose()?;
            high |= act.is_high(organisation.flatten().as_ref());
        }
        let yes = row.yes.count_in(&council.members.seats);
        let carried = carries(yes, council.members.count(), high);
        let mut row = row;
        if carried {
            row.carried = self.context.height;
            for act in proposal.acts() {
                self.act(&mut council, act)?;
            }
            council.members.version = next(council.members.version)?;
        }
        for organisation in council.organisations.values() {
            self.write_organisation(organisation)?;
        }
        if council.members != self.members()? {
            self.write(StateKey::members(), council.members.encode());
        }
        self.write(StateKey::proposal(&row.id), row.encode());
        Ok(carried)
    }

    fn act(&mut self, council: &mut Council, act: &Act) -> Result<(), Rejection> {
        let now = self.context.time_ms;
        match act {
            Act::Admit {
                candidate,
                quota,
                seat,
            } => self.admit(council, candidate, *quota, *seat)?,
            Act::Remove { org } => {
                let height = self.context.height;
                let organisation = self.known(council, *org)?;
                if organisation.removed != Height::ZERO {
                    return Err(Rejection::NoEffect);
                }
                organisation.removed = height;
                if let Some(seat) = organisation.seat.take() {
                    council.members.seats = council.members.seats.without(seat);
                }
                if council.members.count() == 0 {
                    return Err(Rejection::LastMember);
                }
            }
            Act::Seat { org } => {
                if self.known(council, *org)?.seat.is_some() {
                    return Err(Rejection::NoEffect);
                }
                let (members, seat) = council.members.seat_one().ok_or(Rejection::NoSeatLeft)?;
                council.members = members;
                let organisation = self.known(council, *org)?;
                organisation.seat = Some(seat);
                organisation.removed = Height::ZERO;
            }
            Act::Quota { org, rows } => {
                let organisation = self.known(council, *org)?;
                if *rows < organisation.rows {
                    return Err(Rejection::QuotaBelowRows);
                }
                if *rows == organisation.quota {
                    return Err(Rejection::NoEffect);
                }
                organisation.quota = *rows;
            }
            Act::Freeze { org } => {
                self.known(council, *org)?.frozen_until_ms = now.saturating_add(FREEZE_MS);
            }
            Act::Thaw { org } => {
                let organisation = self.known(council, *org)?;
                if !organisation.is_frozen(now) {
                    return Err(Rejection::NoEffect);
                }
                // Not zero: that it was frozen makes the next freeze a high act.
                organisation.frozen_until_ms = now;
            }
            Act::Heartbeat { ms } => {
                let members = &mut council.members;
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
        council: &mut Council,
        candidate: &Candidate,
        quota: u64,
        seat: bool,
    ) -> Result<(), Rejection> {
        let org = candidate.name.id();
        if self.seen(council, org)?.is_some() {
            return Err(Rejection::OrganisationExists);
        }
        let seat = if seat {
            let (members, seat) = council.members.seat_one().ok_or(Rejection::NoSeatLeft)?;
            council.members = members;
            Some(seat)
        } else {
            None
        };
        let officers = u8::try_from(candidate.officers.len());
        let mut organisation = Organisation {
            version: 1,
            name: candidate.name,
            officers_k: candidate.threshold,
            officers_n: officers.map_err(|_| Rejection::TooManyOfficers)?,
            active: 0,
            rows: 0,
            quota,
            window: 0,
            window_cap: Organisation::cap_of(0),
            revoked_in_window: 0,
            seat,
            removed: Height::ZERO,
            frozen_until_ms: 0,
        }
        .at(self.context.height);
        for officer in &candidate.officers {
            let entry = &officer.entry;
            let keys = entry.check_keys().map_err(|_| Rejection::BadKey)?;
            let record = self.new_record_of(org, entry, keys)?;
            self.add_record(&mut organisation, entry, &record, &mut BTreeSet::new());
        }
        council.organisations.insert(org, organisation);
        Ok(())
    }

    /// An organisation as the acts so far have left it, or none.
    fn seen(&self, council: &Council, org: OrgId) -> Result<Option<Organisation>, Rejection> {
        if let Some(organisation) = council.organisations.get(&org) {
            return Ok(Some(*organisation));
        }
        match self.organisation(org) {
            Ok(organisation) => Ok(Some(organisation)),
            Err(Rejection::UnknownOrganisation) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The same, to be changed.
    fn known<'c>(
        &self,
        council: &'c mut Council,
        org: OrgId,
    ) -> Result<&'c mut Organisation, Rejection> {
        use std::collections::btree_map::Entry;
        Ok(match council.organisations.entry(org) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(self.organisation(org)?),
        })
    }

    fn members(&self) -> Result<Members, Rejection> {
        self.row(&StateKey::members(), Members::decode)?
            .ok_or(Rejection::DamagedState)
    }

    fn proposal(&self, proposal: &Proposal) -> Result<Option<ProposalRow>, Rejection> {
        self.row(&StateKey::proposal(&proposal.id()), ProposalRow::decode)
    }
}

fn candidate(act: &Act) -> Option<&Candidate> {
    match act {
        Act::Admit { candidate, .. } => Some(candidate),
        _ => None,
    }
}
