//! A proposal's row: who votes for it, and what has become of it. What is proposed stands in the transactions (spec/governance.md).

use super::{Kind, RowBytes, RowError, Seats};
use crate::id::{Height, OrgId, ProposalId};
use crate::wire::{Reader, Sink, fixed};

/// A proposal with the members' votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposalRow {
    /// Its ID: the hash of what is proposed.
    pub id: ProposalId,
    /// Which organisation proposed it.
    pub proposer: OrgId,
    /// Height at which it was proposed.
    pub proposed: Height,
    /// Height at which it was carried; zero while it is open, and for ever if its time runs out.
    pub carried: Height,
    /// Time after which nobody votes on it any more, in milliseconds since 1970.
    pub expires_ms: u64,
    /// The proposal before.
    pub previous: Option<ProposalId>,
    /// Seats that are for it. Only those that are taken when it is counted count.
    pub yes: Seats,
    /// Seats that are against it.
    pub no: Seats,
}

impl ProposalRow {
    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        let mut r = Reader::new(bytes);
        super::begin(&mut r, Kind::Proposal)?;
        let row = Self {
            proposed: super::height(&mut r)?,
            carried: super::height(&mut r)?,
            expires_ms: r.u48()?,
            proposer: OrgId::new(r.array()?),
            id: ProposalId::new(r.array()?),
            previous: {
                let previous = ProposalId::new(r.array()?);
                (!previous.is_zero()).then_some(previous)
            },
            yes: Seats::new(r.array()?),
            no: Seats::new(r.array()?),
        };
        super::end(r)?;
        if row.proposed == Height::ZERO
            || (row.carried != Height::ZERO && row.carried < row.proposed)
            || row.yes.count_in(&row.no) > 0
            || row.id.is_zero()
        {
            return Err(RowError::Contradiction);
        }
        Ok(row)
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        fixed(|w| {
            super::start(w, Kind::Proposal);
            w.u48(self.proposed.get());
            w.u48(self.carried.get());
            w.u48(self.expires_ms);
            w.put(self.proposer.as_bytes());
            w.put(self.id.as_bytes());
            w.put(self.previous.unwrap_or_default().as_bytes());
            w.put(self.yes.as_bytes());
            w.put(self.no.as_bytes());
            w.zeros(28);
        })
    }
}
