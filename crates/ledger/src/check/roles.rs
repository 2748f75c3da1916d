//! Grant, withdraw, officers, art policy: who may act for an organisation.

use std::collections::BTreeSet;

use kusabi_core::id::{OrgId, StateKey};
use kusabi_core::row::{ArtPolicy, Reason, Record};
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::tx::{ART_KEYS_MAX, Entry, Named, OFFICERS_MAX};

use super::desk::{Desk, exactly, next};
use super::revoke::take_officer;
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 5
    pub(super) fn grant(
        &mut self,
        org: OrgId,
        org_version: u32,
        entry: &Entry,
    ) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let record = self.new_record(org, entry)?;
        if organisation.version != org_version {
            return Err(Rejection::StaleVersion);
        }
        self.signed_by(organisation.officers_k)?;
        organisation.version = next(organisation.version)?;
        if entry.purpose() == Purpose::Officer {
            if organisation.officers_n >= OFFICERS_MAX {
                return Err(Rejection::TooManyOfficers);
            }
            organisation.officers_n = organisation.officers_n.saturating_add(1);
        }
        self.add_record(&mut organisation, entry, &record, &mut BTreeSet::new());
        self.write_organisation(&organisation)
    }

    // spec: action 6
    pub(super) fn withdraw(&mut self, org: OrgId, target: &Named) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let record = self.named_active(org, target)?;
        let purpose = record.purpose();
        if !purpose.is_granted() {
            return Err(Rejection::RecordPurpose);
        }
        self.signed_by(organisation.officers_k)?;
        let ended = record
            .revoke(self.context.height, Reason::Withdrawn, None)
            .ok_or(Rejection::RecordEnded)?;
        organisation.active = organisation.active.saturating_sub(1);
        if purpose == Purpose::Officer {
            take_officer(&mut organisation)?;
        } else {
            organisation.version = next(organisation.version)?;
        }
        self.write_record(&target.handle, &ended);
        self.write_organisation(&organisation)
    }

    // spec: action 16
    pub(super) fn officers(
        &mut self,
        org: OrgId,
        org_version: u32,
        k: u8,
    ) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        if organisation.version != org_version {
            return Err(Rejection::StaleVersion);
        }
        self.signed_by(organisation.officers_k)?;
        if k > organisation.officers_n {
            return Err(Rejection::OfficersThreshold);
        }
        if k == organisation.officers_k {
            return Err(Rejection::NoEffect);
        }
        organisation.officers_k = k;
        organisation.version = next(organisation.version)?;
        self.write_organisation(&organisation)
    }

    // spec: action 7
    pub(super) fn art_policy(
        &mut self,
        org: OrgId,
        policy_version: u32,
        k: u8,
        added: &[Entry],
        removed: &[Named],
    ) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let old = self.policy(org)?;
        let new_records = added
            .iter()
            .map(|entry| self.new_record(org, entry))
            .collect::<Result<Vec<_>, _>>()?;
        let removed_records = removed
            .iter()
            .map(|named| self.named_active(org, named))
            .collect::<Result<Vec<_>, _>>()?;
        if old.map_or(0, |policy| policy.version) != policy_version {
            return Err(Rejection::StaleVersion);
        }
        if removed_records
            .iter()
            .any(|record| record.purpose() != Purpose::Art)
        {
            return Err(Rejection::RecordPurpose);
        }
        self.policy_authority(organisation.officers_k, old, k, removed)?;

        // spec: the policy asks for no more keys than there are, so that a release can always be published; foreign keys publish
        // nothing, so they do not count.
        let counted =
            |records: &[Record]| records.iter().filter(|record| publishes(record)).count();
        let n = usize::from(old.map_or(0, |policy| policy.n))
            .saturating_sub(counted(&removed_records))
            .saturating_add(counted(&new_records));
        if n > ART_KEYS_MAX {
            return Err(Rejection::TooManyArtKeys);
        }
        let n = u8::try_from(n).map_err(|_| Rejection::TooManyArtKeys)?;
        if n < k {
            return Err(Rejection::PolicyThreshold);
        }

        for (named, record) in removed.iter().zip(&removed_records) {
            let ended = record
                .revoke(self.context.height, Reason::Retired, None)
                .ok_or(Rejection::RecordEnded)?;
            organisation.active = organisation.active.saturating_sub(1);
            self.write_record(&named.handle, &ended);
        }
        let mut new_parts = BTreeSet::new();
        for (entry, record) in added.iter().zip(&new_records) {
            self.add_record(&mut organisation, entry, record, &mut new_parts);
        }
        let policy = ArtPolicy {
            version: next(policy_version)?,
            org,
            k,
            n,
        };
        self.write(StateKey::art_policy(&org), policy.encode());
        self.write_organisation(&organisation)
    }

    /// k of the old keys, or the officers where the old keys cannot speak; and k of those active afterwards; nobody else.
    fn policy_authority(
        &self,
        officers_k: u8,
        old: Option<ArtPolicy>,
        k: u8,
        removed: &[Named],
    ) -> Result<(), Rejection> {
        // spec: with fewer than k active keys left, the old keys could never agree; the officers then stand in for them.
        let old_k = old
            .filter(|policy| policy.n >= policy.k)
            .map(|policy| usize::from(policy.k));
        let (mut officers, mut old_keys, mut next_keys) = (0_usize, 0_usize, 0_usize);
        for signer in self.signers()? {
            if signer.record.is_none() {
                next_keys += 1;
                continue;
            }
            if signer.role()? == Purpose::Officer {
                officers += 1;
                continue;
            }
            old_keys += 1;
            let stays = removed
                .binary_search_by(|named| named.handle.cmp(&signer.handle))
                .is_err();
            next_keys += usize::from(stays);
        }
        match old_k {
            Some(old_k) if old_keys < old_k => return Err(Rejection::TooFewSignatures),
            Some(_) => exactly(officers, 0)?,
            None => exactly(officers, officers_k.into())?,
        }
        if next_keys < usize::from(k) {
            return Err(Rejection::TooFewSignatures);
        }
        Ok(())
    }
}

/// Whether a release key can publish, and so counts in the policy: a foreign one signs other systems' artifacts and no
/// transaction.
pub(super) fn publishes(record: &Record) -> bool {
    record.keys().suite() != Suite::Foreign
}
