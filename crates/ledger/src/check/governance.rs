//! What the members decide together (spec/governance.md): proposals, votes, and what is done when one is carried.

use std::collections::BTreeSet;

use kusabi_core::id::{Height, OrgId, StateKey};
use kusabi_core::row::{Members, Organisation, ProposalRow, Seat};
use kusabi_core::tx::{Act, Candidate, PROPOSAL_OPEN_MS_MAX, Proposal};

use super::desk::{Desk, next};
use crate::council::{Council, proposed, voted};
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 14
    pub(super) fn propose(&mut self, proposal: &Proposal) -> Result<(), Rejection> {
        let proposer = proposal.proposer();
        let organisation = self.organisation(proposer)?;
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
        self.may_add(&organisation)?;
        // spec: no row of its quota, for else members whose quotas are full could decide nothing any more, nor raise them.
        let organisation = organisation
            .propose(now)
            .ok_or(Rejection::TooManyProposals)?;
        // Last, for they cost the most. Whoever votes brings the same bytes, whose signatures need no second look.
        let mut candidates = proposal.acts().iter().filter_map(candidate);
        if !candidates.all(|candidate| candidate.is_signed(&self.context.chain)) {
            return Err(Rejection::AdmissionUnsigned);
        }
        let mut members = self.members()?;
        members.version = next(members.version)?;
        let previous = members.newest.replace(proposal.id());
        let row = proposed(proposal, seat, self.context.height, previous);
        self.settle(members, Some(organisation), row, proposal)?;
        Ok(())
    }

    // spec: action 15
    pub(super) fn vote(
        &mut self,
        org: OrgId,
        seat: Seat,
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
        // spec: a vote is of one seat, so that none of an earlier seat can be offered again for the next one.
        if organisation.seat.ok_or(Rejection::NoSeat)? != seat {
            return Err(Rejection::OtherSeat);
        }
        self.signed_by(organisation.officers_k)?;
        // spec: a yes stands, so that no vote of yesterday can be offered again to turn it round.
        let (said_yes, said_no) = (row.yes.contains(seat), row.no.contains(seat));
        if !yes && (said_yes || said_no) {
            return Err(Rejection::VoteStands);
        }
        let carried = self.settle(self.members()?, None, voted(&row, seat, yes), proposal)?;
        // A yes that stands already counts once more where members have gone since.
        if said_yes && !carried {
            return Err(Rejection::VoteStands);
        }
        Ok(())
    }

    /// Counts the votes, does what is carried, and writes everything down, each row once; whether it was carried.
    fn settle(
        &mut self,
        members: Members,
        proposer: Option<Organisation>,
        mut row: ProposalRow,
        proposal: &Proposal,
    ) -> Result<bool, Rejection> {
        let below = |org| match self.organisation(org) {
            Ok(organisation) => Ok(Some(organisation)),
            Err(Rejection::UnknownOrganisation) => Ok(None),
            Err(other) => Err(other),
        };
        let mut council = Council::new(members, &below);
        council.organisations = proposer.map(|org| (org.id(), org)).into_iter().collect();
        let (height, time_ms) = (self.context.height, self.context.time_ms);
        let carried = council.settle(&mut row, proposal, height, time_ms)?;
        let (mut members, mut organisations) = (council.members, council.organisations);
        if carried {
            members.version = next(members.version)?;
            for candidate in proposal.acts().iter().filter_map(candidate) {
                let admitted = organisations.get_mut(&candidate.name.id());
                self.admit_officers(admitted.ok_or(Rejection::UnknownOrganisation)?, candidate)?;
            }
        }
        for organisation in organisations.values() {
            self.write_organisation(organisation)?;
        }
        if members != self.members()? {
            self.write(StateKey::members(), members.encode());
        }
        self.write(StateKey::proposal(&row.id), row.encode());
        Ok(carried)
    }

    /// Puts the officers of an organisation that has been admitted on the ledger.
    fn admit_officers(
        &mut self,
        organisation: &mut Organisation,
        candidate: &Candidate,
    ) -> Result<(), Rejection> {
        for officer in &candidate.officers {
            let entry = &officer.entry;
            let keys = entry.check_keys().map_err(|_| Rejection::BadKey)?;
            let record = self.new_record_of(organisation.id(), entry, keys)?;
            self.add_record(organisation, entry, &record, &mut BTreeSet::new());
        }
        Ok(())
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
