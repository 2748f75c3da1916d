//! Devices that come to another organisation.

use kusabi_core::id::OrgId;
use kusabi_core::suite::Purpose;
use kusabi_core::tx::Named;

use super::desk::{Desk, exactly};
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 17. From then on the one who gave them can do nothing with them: every rule asks for the owner.
    pub(super) fn transfer(
        &mut self,
        org: OrgId,
        to: OrgId,
        targets: &[Named],
    ) -> Result<(), Rejection> {
        let mut gives = self.organisation(org)?;
        let mut takes = self.organisation(to)?;
        let records = targets
            .iter()
            .map(|named| self.named_active(org, named))
            .collect::<Result<Vec<_>, _>>()?;
        let (mut officers, mut writers) = (0_usize, 0_usize);
        for signer in self.signers()? {
            if signer.role()? == Purpose::Writer {
                writers += 1;
            } else {
                officers += 1;
            }
        }
        exactly(officers, gives.officers_k.into())?;
        exactly(writers, 1)?;
        // It adds nothing to the giver's rows; but whoever was frozen because others act in its name must not lose its
        // devices meanwhile.
        if gives.is_frozen(self.context.time_ms) {
            return Err(Rejection::Frozen);
        }
        for (named, record) in targets.iter().zip(&records) {
            let moved = record.move_to(to).ok_or(Rejection::RecordPurpose)?;
            gives.rows = gives.rows.saturating_sub(1);
            gives.active = gives.active.saturating_sub(1);
            takes.rows = takes.rows.saturating_add(1);
            takes.active = takes.active.saturating_add(1);
            self.write_record(&named.handle, &moved);
        }
        self.write_organisation(&gives)?;
        self.write_organisation(&takes)
    }
}
