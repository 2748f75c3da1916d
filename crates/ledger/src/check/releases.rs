//! Publish, withdraw release, anchor.

use kusabi_core::id::{Digest, OrgId, StateKey};
use kusabi_core::row::{AnchorRow, Release, ReleaseStatus, Topic};
use kusabi_core::suite::Purpose;

use super::desk::{Desk, Signer, exactly};
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 8
    pub(super) fn publish(
        &mut self,
        org: OrgId,
        policy_version: u32,
        digest: Digest,
        minimum_counter: u64,
    ) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let policy = self.policy(org)?.ok_or(Rejection::UnknownPolicy)?;
        let key = StateKey::release(&org, &digest);
        if self.row(&key, Release::decode)?.is_some() {
            return Err(Rejection::ReleaseExists);
        }
        if policy.version != policy_version {
            return Err(Rejection::StaleVersion);
        }
        self.signed_by(policy.k)?;
        let release = Release::published(org, digest, self.context.height, minimum_counter);
        organisation.rows = organisation.rows.saturating_add(1);
        self.write(key, release.encode());
        self.write_organisation(&organisation)
    }

    // spec: action 9
    pub(super) fn withdraw_release(
        &mut self,
        org: OrgId,
        digest: Digest,
        version: u32,
    ) -> Result<(), Rejection> {
        self.organisation(org)?;
        let key = StateKey::release(&org, &digest);
        let release = self
            .row(&key, Release::decode)?
            .ok_or(Rejection::UnknownRelease)?;
        if release.status() == ReleaseStatus::Withdrawn {
            return Err(Rejection::ReleaseWithdrawn);
        }
        if release.version() != version {
            return Err(Rejection::StaleVersion);
        }
        let policy = self.policy(org)?.ok_or(Rejection::DamagedState)?;
        let purposes = self
            .signers()?
            .iter()
            .map(Signer::role)
            .collect::<Result<Vec<_>, _>>()?;
        if purposes != [Purpose::Revoker] {
            if purposes.contains(&Purpose::Revoker) {
                return Err(Rejection::SignerPurpose);
            }
            exactly(purposes.len(), policy.k.into())?;
        }
        let withdrawn = release
            .withdraw(self.context.height)
            .ok_or(Rejection::ReleaseWithdrawn)?;
        self.write(key, withdrawn.encode());
        Ok(())
    }

    // spec: action 10
    pub(super) fn anchor(
        &mut self,
        org: OrgId,
        topic: Topic,
        digest: Digest,
    ) -> Result<(), Rejection> {
        let mut organisation = self.organisation(org)?;
        let key = StateKey::anchor(&digest);
        if self.row(&key, AnchorRow::decode)?.is_some() {
            return Err(Rejection::AnchorExists);
        }
        let signers = self.signers()?;
        let [signer] = signers.as_slice() else {
            return exactly(signers.len(), 1);
        };
        signer.role()?;
        let row = AnchorRow {
            topic,
            height: self.context.height,
            org,
            signer: signer.handle,
            digest,
        };
        organisation.rows = organisation.rows.saturating_add(1);
        self.write(key, row.encode());
        self.write_organisation(&organisation)
    }
}
