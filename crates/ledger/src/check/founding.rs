//! Genesis and recovery: what the ledger stands on.

use std::collections::BTreeSet;

use kusabi_core::anchor::Anchor;
use kusabi_core::genesis::{Genesis, GenesisError};
use kusabi_core::handover::Recovery;
use kusabi_core::id::{Height, StateKey};
use kusabi_core::nodes::Nodes;
use kusabi_core::row::{LedgerRow, Organisation};
use kusabi_core::suite::VerificationKey;
use kusabi_core::tx::Entry;

use super::desk::{Desk, exactly, next};
use crate::council::founded;
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State + ?Sized> Desk<'_, S> {
    // spec: action 0
    pub(super) fn genesis(&mut self, document: &[u8], entries: &[Entry]) -> Result<(), Rejection> {
        let is_first = self.context.height == Height::FIRST && self.context.position == 0;
        if !is_first || self.ledger_row()?.is_some() {
            return Err(Rejection::GenesisPlace);
        }
        let genesis =
            Genesis::decode_for(&self.context.chain, document).map_err(|error| match error {
                GenesisError::OtherChain => Rejection::GenesisDocument,
                _ => Rejection::GenesisMalformed,
            })?;
        // spec: each officer signs, for only it can say which handle and agreement key go with its signing key. As many
        // signers as entries, each of them an entry, also means that no handle stands twice.
        exactly(self.signers()?.len(), entries.len())?;

        let mut rest = entries.iter();
        let (members, organisations) = founded(&genesis)?;
        let sets = genesis.epoch_set().organisations();
        for (mut organisation, of_set) in organisations.into_iter().zip(sets) {
            for key in of_set.officers.encoded() {
                let entry = rest.next().ok_or(Rejection::GenesisEntries)?;
                self.found_officer(&mut organisation, entry, key)?;
            }
            self.write_organisation(&organisation)?;
        }
        if rest.next().is_some() {
            return Err(Rejection::GenesisEntries);
        }

        let set = genesis.epoch_set();
        let row = LedgerRow {
            version: 1,
            epoch: set.epoch(),
            set_hash: set.hash(),
            recovery_hash: genesis.recovery_set().hash(),
            skipped: Height::ZERO,
            ends: None,
        };
        self.write(StateKey::ledger(), row.encode());
        self.write(StateKey::members(), members.encode());
        Ok(())
    }

    fn found_officer(
        &mut self,
        organisation: &mut Organisation,
        entry: &Entry,
        key: &[u8; VerificationKey::LEN],
    ) -> Result<(), Rejection> {
        let org = organisation.id();
        let record = self.new_record(org, entry)?;
        let signing = record.keys().verification_key().map(|key| key.encode());
        if signing.as_ref() != Some(key) {
            return Err(Rejection::GenesisEntries);
        }
        self.add_record(organisation, entry, &record, &mut BTreeSet::new());
        Ok(())
    }

    // spec: action 11
    pub(super) fn recovery(&mut self, bytes: &[u8], nodes: &[u8]) -> Result<(), Rejection> {
        let context = self.context;
        let row = self.ledger_row()?.ok_or(Rejection::DamagedState)?;
        if context.position != 0 || context.epoch <= row.epoch {
            return Err(Rejection::EpochPlace);
        }
        let recovery = Recovery::decode(bytes).map_err(|_| Rejection::RecoveryRefused)?;
        let recovery = recovery
            .check(&self.ledger_anchor(&row))
            .map_err(|_| Rejection::RecoveryRefused)?;

        // `from` is above the parent's height, which the decoder has checked.
        let jumped = recovery
            .floor()
            .get()
            .saturating_sub(recovery.parent_height().get());
        let skipped = Height::new(row.skipped.get().saturating_add(jumped))
            .map_err(|_| Rejection::RecoveryMismatch)?;
        let set = recovery.next_set();
        let fits = recovery.from() == context.height
            && recovery.parent_height() == context.parent_height
            && recovery.parent_hash() == context.parent
            && set.epoch() == context.epoch
            && set.hash() == context.set_hash
            && skipped == context.skipped;
        if !fits {
            return Err(Rejection::RecoveryMismatch);
        }
        Nodes::decode(nodes)
            .and_then(|nodes| nodes.check_named(&recovery.nodes_hash(), set))
            .map_err(|_| Rejection::AppointmentNodes)?;
        let row = LedgerRow {
            version: next(row.version)?,
            epoch: set.epoch(),
            set_hash: set.hash(),
            skipped,
            // However the epoch before was to end: it did not come to it.
            ends: None,
            ..row
        };
        self.write(StateKey::ledger(), row.encode());
        Ok(())
    }

    /// What a device would keep as its anchor before this block: the ledger's own row, and the block before.
    pub(super) fn ledger_anchor(&self, row: &LedgerRow) -> Anchor {
        Anchor::of_ledger(
            self.context.chain,
            row.epoch,
            row.set_hash,
            self.context.parent_height,
            self.context.parent,
            row.recovery_hash,
        )
    }

    pub(super) fn ledger_row(&self) -> Result<Option<LedgerRow>, Rejection> {
        self.row(&StateKey::ledger(), LedgerRow::decode)
    }
}
