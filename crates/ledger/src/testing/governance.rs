//! Proposals and votes of the members, and organisations that want to become some.

use kusabi_core::id::{OrgId, OrgName, StateKey};
use kusabi_core::keystore::KeyStore as _;
use kusabi_core::row::{Members, Organisation, ProposalRow, Seat};
use kusabi_core::suite::Signature;
use kusabi_core::tx::{Act, Action, Candidate, Consent, Proposal, Transaction};

use super::{TestKey, World};
use crate::state::State as _;

/// How long the proposals of tests are open, in milliseconds.
const OPEN_MS: u64 = 7 * 24 * 3_600_000;

impl World {
    /// A candidate whose officers have all signed for this ledger.
    #[must_use]
    pub fn candidate(&self, name: &str, threshold: u8, officers: &[&TestKey]) -> Candidate {
        let name = OrgName::new(name).expect("a name");
        let mut officers: Vec<_> = officers.iter().collect();
        officers.sort_by_key(|officer| officer.handle);
        let unsigned = officers.iter().map(|officer| Consent {
            entry: officer.entry(&self.chain, &name.id()),
            signature: Signature::new([0; 64]),
        });
        let mut candidate = Candidate {
            name,
            threshold,
            officers: unsigned.collect(),
        };
        let said = candidate.clone();
        for (consent, officer) in candidate.officers.iter_mut().zip(officers) {
            let statement = said.statement(&self.chain, &consent.entry);
            consent.signature = officer.key.sign(&statement).expect("a key in memory signs");
        }
        candidate
    }

    /// What a member proposes, and the transaction that its officer signs.
    #[must_use]
    pub fn propose(&self, member: usize, acts: Vec<Act>) -> (Proposal, Transaction) {
        let proposal = Proposal::new(self.org_of(member), self.time_ms + OPEN_MS, acts);
        let proposal = proposal.expect("a well-formed proposal");
        let action = Action::Propose {
            proposal: Box::new(proposal.clone()),
        };
        (proposal, self.sign(action, &[self.officer_of(member).1]))
    }

    /// A member's vote.
    #[must_use]
    pub fn vote(&self, member: usize, proposal: &Proposal, yes: bool) -> Transaction {
        self.vote_of(
            self.org_of(member),
            proposal,
            yes,
            &[self.officer_of(member).1],
        )
    }

    /// The vote of an organisation, of the seat that it has now; of seat 0 where it has none.
    #[must_use]
    pub fn vote_of(
        &self,
        org: OrgId,
        proposal: &Proposal,
        yes: bool,
        officers: &[&TestKey],
    ) -> Transaction {
        let action = Action::Vote {
            org,
            seat: self
                .organisation_of(&org)
                .and_then(|row| row.seat)
                .unwrap_or(Seat::new(0)),
            proposal: Box::new(proposal.clone()),
            yes,
        };
        self.sign(action, officers)
    }

    /// The ID of a member.
    #[must_use]
    pub fn org_of(&self, member: usize) -> OrgId {
        self.officer_of(member).0.id()
    }

    /// The row of an organisation.
    #[must_use]
    pub fn organisation_of(&self, org: &OrgId) -> Option<Organisation> {
        let row = self.state.row(&StateKey::organisation(org))?;
        Some(Organisation::decode(&row).expect("a row of this state"))
    }

    /// The members' row; the ledger must be founded.
    #[must_use]
    pub fn members_row(&self) -> Members {
        let row = self.state.row(&StateKey::members());
        Members::decode(&row.expect("a founded ledger")).expect("a row of this state")
    }

    /// The row of a proposal.
    #[must_use]
    pub fn proposal_row(&self, proposal: &Proposal) -> Option<ProposalRow> {
        let row = self.state.row(&StateKey::proposal(&proposal.id()))?;
        Some(ProposalRow::decode(&row).expect("a row of this state"))
    }
}
