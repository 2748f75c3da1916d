//! Register, activate, supersede.

use std::collections::BTreeSet;

use kusabi_core::id::OrgId;
use kusabi_core::row::Organisation;
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Entry, Named};

use super::desk::Desk;
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 1
    pub(super) fn register(&mut self, org: OrgId, entries: &[Entry]) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let records = entries
            .iter()
            .map(|entry| self.new_record(org, entry))
            .collect::<Result<Vec<_>, _>>()?;
        self.signed_by(1)?;
        let mut parts = BTreeSet::new();
        for (entry, record) in entries.iter().zip(&records) {
            self.add_record(&mut organisation, entry, record, &mut parts);
        }
        self.write_organisation(&organisation)
    }

    // spec: action 2. Nobody but the two keys has a say, not even the organisation's writers.
    pub(super) fn activate(
        &mut self,
        org: OrgId,
        pre: &Named,
        act: &Entry,
    ) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let record = self.new_record(org, act)?.after(pre.handle);
        let spent = self.named_active(org, pre)?;
        if spent.purpose() != Purpose::Pre {
            return Err(Rejection::RecordPurpose);
        }
        self.signed_by_both(&pre.handle, &act.handle())?;
        let spent = spent
            .spend(self.context.height)
            .ok_or(Rejection::RecordEnded)?;
        self.replace(&mut organisation, pre, &spent, act, &record);
        self.write_organisation(&organisation)
    }

    // spec: action 3; roles, of which a stolen one would outrun its withdrawal, do not decode
    pub(super) fn supersede(
        &mut self,
        org: OrgId,
        old: &Named,
        new: &Entry,
    ) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let record = self.new_record(org, new)?.after(old.handle);
        let ended = self.named_active(org, old)?;
        if ended.purpose() != new.purpose() {
            return Err(Rejection::RecordPurpose);
        }
        self.signed_by_both(&old.handle, &new.handle())?;
        // spec: rest
        if ended
            .rests_until()
            .is_some_and(|until| self.context.height < until)
        {
            return Err(Rejection::Resting);
        }
        let ended = ended
            .supersede(self.context.height)
            .ok_or(Rejection::RecordPurpose)?;
        self.replace(&mut organisation, old, &ended, new, &record);
        self.write_organisation(&organisation)
    }

    fn replace(
        &mut self,
        organisation: &mut Organisation,
        old: &Named,
        ended: &kusabi_core::row::Record,
        new: &Entry,
        record: &kusabi_core::row::Record,
    ) {
        self.write_record(&old.handle, ended);
        organisation.active = organisation.active.saturating_sub(1);
        self.add_record(organisation, new, record, &mut BTreeSet::new());
    }
}
