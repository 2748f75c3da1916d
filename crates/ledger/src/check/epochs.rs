//! How one epoch follows another: an appointment lets it end, a handover opens the next.

use kusabi_core::appointment::{Appointment, CLOSING_BLOCKS};
use kusabi_core::handover::Handover;
use kusabi_core::id::{Height, NodesHash, OrgId, StateKey};
use kusabi_core::nodes::Nodes;
use kusabi_core::row::{Ends, LedgerRow};
use kusabi_core::set::EpochSet;

use super::desk::{Desk, exactly, next};
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 12
    pub(super) fn appoint(
        &mut self,
        org: OrgId,
        old_set: &[u8],
        appointment: &[u8],
        nodes: &[u8],
    ) -> Result<(), Rejection> {
        let row = self.ledger_row()?.ok_or(Rejection::DamagedState)?;
        self.organisation(org)?;
        if row.ends.is_some() {
            return Err(Rejection::EpochEnds);
        }
        // Who brings it answers for what it costs; it counts by the officers' signatures inside.
        let signers = self.signers()?;
        exactly(signers.len(), 1)?;
        for signer in &signers {
            signer.role()?;
        }
        let old_set = set_of(&row, old_set)?;
        let refused = |_| Rejection::AppointmentRefused;
        let appointment = Appointment::decode(appointment).map_err(refused)?;
        let next_set = appointment.next_set();
        Nodes::decode(nodes)
            .and_then(|nodes| nodes.check_named(&appointment.nodes_hash(), next_set))
            .map_err(|_| Rejection::AppointmentNodes)?;
        let stale = next_set.validators().any(|next| {
            old_set
                .validators()
                .any(|old| old.vote_key == next.vote_key)
        });
        if stale {
            return Err(Rejection::VoteKeyUsed);
        }
        // spec: whoever makes blocks is a member, with a row and a vote of its own.
        for organisation in next_set.organisations() {
            match self.organisation(organisation.id) {
                Ok(row) if row.seat.is_some() => {}
                Ok(_) | Err(Rejection::UnknownOrganisation) => return Err(Rejection::SetMembers),
                Err(other) => return Err(other),
            }
        }
        // Last, for they cost the most.
        let verified = appointment
            .check(&self.context.chain, &old_set)
            .map_err(refused)?;
        let next_set = verified.next_set();
        let last = self.context.height.get().saturating_add(CLOSING_BLOCKS);
        let row = LedgerRow {
            version: next(row.version)?,
            ends: Some(Ends {
                last: Height::new(last).map_err(|_| Rejection::VersionExhausted)?,
                next_set_hash: next_set.hash(),
            }),
            ..row
        };
        self.write(StateKey::ledger(), row.encode());
        Ok(())
    }

    // spec: action 13
    pub(super) fn handover(
        &mut self,
        old_set: &[u8],
        handover: &[u8],
        nodes: &[u8],
    ) -> Result<(), Rejection> {
        let context = self.context;
        let row = self.ledger_row()?.ok_or(Rejection::DamagedState)?;
        if context.position != 0 || context.epoch <= row.epoch {
            return Err(Rejection::EpochPlace);
        }
        let old_set = set_of(&row, old_set)?;
        let handover = Handover::decode(handover).map_err(|_| Rejection::HandoverRefused)?;
        let verified = handover
            .check(&self.ledger_anchor(&row), &old_set)
            .map_err(|_| Rejection::HandoverRefused)?;
        let signed = verified.signed();
        let set = signed.next_set();
        let decided = Ends {
            last: signed.last_height(),
            next_set_hash: set.hash(),
        };
        let fits = row.ends == Some(decided)
            && signed.last_height() == context.parent_height
            && signed.last_header_hash() == context.parent
            && set.epoch() == context.epoch
            && set.hash() == context.set_hash
            && row.skipped == context.skipped;
        if !fits {
            return Err(Rejection::HandoverMismatch);
        }
        // That they are fit to be those of the set was checked when it was appointed.
        if NodesHash::of(nodes) != handover.appointment().nodes_hash() {
            return Err(Rejection::AppointmentNodes);
        }
        let row = LedgerRow {
            version: next(row.version)?,
            epoch: set.epoch(),
            set_hash: set.hash(),
            ends: None,
            ..row
        };
        self.write(StateKey::ledger(), row.encode());
        Ok(())
    }
}

/// The set that the ledger's row names, from the bytes that were brought.
fn set_of<'a>(row: &LedgerRow, bytes: &'a [u8]) -> Result<EpochSet<'a>, Rejection> {
    let set = EpochSet::decode(bytes).map_err(|_| Rejection::OldSet)?;
    if set.hash() == row.set_hash && set.epoch() == row.epoch {
        Ok(set)
    } else {
        Err(Rejection::OldSet)
    }
}
