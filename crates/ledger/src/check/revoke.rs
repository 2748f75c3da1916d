//! Revoke: by the holder, by a revoker, by officers; and the cap on what one signature may end.

use kusabi_core::id::{Height, OrgId, StateKey};
use kusabi_core::row::{Organisation, Reason, Record};
use kusabi_core::suite::Purpose;
use kusabi_core::tx::Named;

use super::desk::{Desk, next};
use super::roles::publishes;
use crate::rejection::Rejection;
use crate::state::State;

/// On whose word keys are revoked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authority {
    /// The key itself.
    Holder,
    /// One revoker.
    Revoker,
    /// So many officers.
    Officers(usize),
}

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 4
    pub(super) fn revoke(
        &mut self,
        org: OrgId,
        targets: &[Named],
        reason: Reason,
        compromised: Option<Height>,
    ) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let records = targets
            .iter()
            .map(|target| self.named(org, target))
            .collect::<Result<Vec<_>, _>>()?;
        if compromised.is_some_and(|since| since > self.context.height) {
            return Err(Rejection::CompromisedInFuture);
        }
        let ended = records
            .iter()
            .map(|record| {
                record
                    .revoke(self.context.height, reason, compromised)
                    .ok_or(Rejection::RecordEnded)
            })
            .collect::<Result<Vec<_>, _>>()?;

        let authority = self.revoking_authority(targets)?;
        let names_officers = records
            .iter()
            .any(|record| record.purpose() == Purpose::Officer);
        match authority {
            // spec: else a holder (or a thief with its key) could undo what it has signed.
            Authority::Holder if compromised.is_some() => return Err(Rejection::HolderCannotDate),
            Authority::Holder => {}
            // spec: officers' keys are revoked by themselves or by k officers, ended ones too; else one stolen key could
            // shut the others out, or undo what they have signed.
            Authority::Revoker if names_officers => return Err(Rejection::SignerPurpose),
            Authority::Officers(count)
                if names_officers && count < usize::from(organisation.officers_k) =>
            {
                return Err(Rejection::TooFewSignatures);
            }
            Authority::Revoker | Authority::Officers(1) => {
                charge_window(&mut organisation, targets.len())?;
            }
            Authority::Officers(_) => {}
        }

        let art_keys = self.end(&mut organisation, &records)?;
        if art_keys > 0 {
            let mut policy = self.policy(org)?.ok_or(Rejection::DamagedState)?;
            policy.version = next(policy.version)?;
            policy.n = policy.n.saturating_sub(art_keys);
            self.write(StateKey::art_policy(&org), policy.encode());
        }
        for (target, record) in targets.iter().zip(&ended) {
            self.write_record(&target.handle, record);
        }
        self.write_organisation(&organisation)
    }

    fn revoking_authority(&self, targets: &[Named]) -> Result<Authority, Rejection> {
        let signers = self.signers()?;
        if let ([signer], [target]) = (signers.as_slice(), targets)
            && signer.handle == target.handle
        {
            // An ended key says nothing any more, not even about itself.
            signer.role()?;
            return Ok(Authority::Holder);
        }
        let mut officers = 0_usize;
        for signer in &signers {
            match signer.role()? {
                Purpose::Officer => officers += 1,
                _ if signers.len() == 1 => return Ok(Authority::Revoker),
                _ => return Err(Rejection::SuperfluousSignature),
            }
        }
        Ok(Authority::Officers(officers))
    }

    /// Takes ended records out of the organisation's counts; says how many of them were release keys that count.
    fn end(&self, organisation: &mut Organisation, records: &[Record]) -> Result<u8, Rejection> {
        let mut art_keys = 0_u8;
        for record in records.iter().filter(|record| record.is_active()) {
            organisation.active = organisation.active.saturating_sub(1);
            match record.purpose() {
                Purpose::Officer => take_officer(organisation)?,
                Purpose::Art if publishes(record) => art_keys = art_keys.saturating_add(1),
                _ => {}
            }
        }
        Ok(art_keys)
    }
}

// spec: cap of revocations
fn charge_window(organisation: &mut Organisation, targets: usize) -> Result<(), Rejection> {
    let revoked = u32::try_from(targets)
        .ok()
        .and_then(|targets| organisation.revoked_in_window.checked_add(targets))
        .filter(|revoked| *revoked <= organisation.window_cap)
        .ok_or(Rejection::SecondOfficer)?;
    organisation.revoked_in_window = revoked;
    Ok(())
}

// spec: last officers
pub(super) fn take_officer(organisation: &mut Organisation) -> Result<(), Rejection> {
    let left = organisation.officers_n.saturating_sub(1);
    if left < organisation.officers_k {
        return Err(Rejection::LastOfficers);
    }
    organisation.officers_n = left;
    organisation.version = next(organisation.version)?;
    Ok(())
}
