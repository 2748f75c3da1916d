//! Where one transaction is checked: the rows it meets, who signed it, and what it would change.

use kusabi_core::id::{Handle, Height, OrgId, StateKey};
use kusabi_core::row::{ArtPolicy, BlobPart, Organisation, Record, RowBytes};
use kusabi_core::suite::{PublicKeys, Purpose, Suite};
use kusabi_core::tx::{Entry, Named};

use super::{BlockContext, may_sign};
use crate::claims::Verified;
use crate::reads::blob_parts;
use crate::rejection::Rejection;
use crate::state::{State, Write};

pub(super) struct Desk<'a, S: ?Sized> {
    transaction: &'a Verified,
    pub(super) context: &'a BlockContext,
    state: &'a S,
    writes: Vec<Write>,
}

/// Someone who signed the transaction.
pub(super) struct Signer {
    pub(super) handle: Handle,
    /// Its record; none for a key that the transaction brings.
    pub(super) record: Option<Record>,
}

impl Signer {
    /// The purpose of an active key of the organisation, one that [`may_sign`] the action.
    pub(super) fn role(&self) -> Result<Purpose, Rejection> {
        // A key that the transaction itself brings has no say in whether it may come.
        let record = self.record.ok_or(Rejection::SuperfluousSignature)?;
        if !record.is_active() {
            return Err(Rejection::SignerEnded);
        }
        Ok(record.purpose())
    }
}

impl<'a, S: State + ?Sized> Desk<'a, S> {
    pub(super) fn new(transaction: &'a Verified, context: &'a BlockContext, state: &'a S) -> Self {
        Self {
            transaction,
            context,
            state,
            writes: Vec::new(),
        }
    }

    pub(super) fn into_writes(self) -> Vec<Write> {
        self.writes
    }

    // Existence and state.

    pub(super) fn row<T, E>(
        &self,
        key: &StateKey,
        decode: impl FnOnce(&RowBytes) -> Result<T, E>,
    ) -> Result<Option<T>, Rejection> {
        self.state
            .row(key)
            .map(|row| decode(&row).map_err(|_| Rejection::DamagedState))
            .transpose()
    }

    /// The organisation, its revocation window brought up to this height.
    pub(super) fn organisation(&self, org: OrgId) -> Result<Organisation, Rejection> {
        Ok(self
            .row(&StateKey::organisation(&org), Organisation::decode)?
            .ok_or(Rejection::UnknownOrganisation)?
            .at(self.context.height))
    }

    pub(super) fn policy(&self, org: OrgId) -> Result<Option<ArtPolicy>, Rejection> {
        self.row(&StateKey::art_policy(&org), ArtPolicy::decode)
    }

    /// A record of the organisation at the version that the transaction names, whatever its status.
    pub(super) fn named(&self, org: OrgId, named: &Named) -> Result<Record, Rejection> {
        let record = self
            .row(&StateKey::record(&named.handle), Record::decode_own)?
            .ok_or(Rejection::UnknownRecord)?;
        if record.owner() != org {
            return Err(Rejection::ForeignRecord);
        }
        if record.version() != named.version {
            return Err(if record.is_active() {
                Rejection::StaleVersion
            } else {
                Rejection::RecordEnded
            });
        }
        Ok(record)
    }

    /// The same, active.
    pub(super) fn named_active(&self, org: OrgId, named: &Named) -> Result<Record, Rejection> {
        let record = self.named(org, named)?;
        if record.is_active() {
            Ok(record)
        } else {
            Err(Rejection::RecordEnded)
        }
    }

    // Authority.

    /// Everyone who signed, ascending by handle; each [`may_sign`].
    pub(super) fn signers(&self) -> Result<Vec<Signer>, Rejection> {
        let transaction = self.transaction.transaction();
        transaction
            .signatures()
            .iter()
            .zip(self.transaction.keys())
            .map(|(signed, verified)| {
                let handle = signed.signer;
                if transaction.action().entry(&handle).is_some() {
                    // The key stands in the transaction, so that it is the one that was verified.
                    return Ok(Signer {
                        handle,
                        record: None,
                    });
                }
                let record = self
                    .row(&StateKey::record(&handle), Record::decode_own)?
                    .ok_or(Rejection::UnknownSigner)?;
                let key = record
                    .keys()
                    .verification_key()
                    .ok_or(Rejection::SignerPurpose)?;
                // The signature was verified against another state. Should the handle stand for another key or purpose in
                // this one, it is verified again: what `check` says must not depend on what this node has seen before.
                if (record.purpose(), key) != *verified {
                    let statement = transaction.statement(&handle, record.purpose());
                    key.verify(&statement, &signed.signature)
                        .map_err(|_| Rejection::BadSignature)?;
                }
                // In the other state it may have been another organisation's, too.
                may_sign(transaction.action(), &handle, &record)?;
                Ok(Signer {
                    handle,
                    record: Some(record),
                })
            })
            .collect()
    }

    /// Exactly `count` active keys signed; the action takes one purpose only.
    pub(super) fn signed_by(&self, count: u8) -> Result<(), Rejection> {
        let signers = self.signers()?;
        for signer in &signers {
            signer.role()?;
        }
        exactly(signers.len(), count.into())
    }

    /// Exactly these two handles signed.
    pub(super) fn signed_by_both(&self, one: &Handle, other: &Handle) -> Result<(), Rejection> {
        let signers = self.signers()?;
        if !signers
            .iter()
            .all(|signer| signer.handle == *one || signer.handle == *other)
        {
            return Err(Rejection::SuperfluousSignature);
        }
        exactly(signers.len(), 2)
    }

    // Changes.

    pub(super) fn write(&mut self, key: StateKey, row: RowBytes) {
        self.writes.push(Write { key, row });
    }

    pub(super) fn write_record(&mut self, handle: &Handle, record: &Record) {
        self.write(StateKey::record(handle), record.encode());
    }

    /// Writes the organisation's row, if its rows are within the quota; and more than they were only if it may add any.
    pub(super) fn write_organisation(&mut self, org: &Organisation) -> Result<(), Rejection> {
        if org.rows > org.quota {
            return Err(Rejection::Quota);
        }
        let key = StateKey::organisation(&org.id());
        let before = self.row(&key, Organisation::decode)?;
        if before.is_some_and(|before| org.rows > before.rows) {
            self.may_add(org)?;
        }
        self.write(StateKey::organisation(&org.id()), org.encode());
        Ok(())
    }

    /// Whether the members let the organisation add rows.
    pub(super) fn may_add(&self, org: &Organisation) -> Result<(), Rejection> {
        if org.removed != Height::ZERO {
            return Err(Rejection::Removed);
        }
        if org.is_frozen(self.context.time_ms) {
            return Err(Rejection::Frozen);
        }
        Ok(())
    }

    /// A new record under the handle of an entry that the transaction brings, which has none.
    pub(super) fn new_record(&self, org: OrgId, entry: &Entry) -> Result<Record, Rejection> {
        let keys = self.transaction.entry_keys(&entry.handle());
        self.new_record_of(org, entry, keys.ok_or(Rejection::BadKey)?)
    }

    /// The same with the entry's keys, checked.
    pub(super) fn new_record_of(
        &self,
        org: OrgId,
        entry: &Entry,
        keys: PublicKeys,
    ) -> Result<Record, Rejection> {
        if self.state.row(&StateKey::record(&entry.handle())).is_some() {
            return Err(Rejection::HandleTaken);
        }
        Ok(Record::register(
            entry.purpose(),
            keys,
            org,
            self.context.height,
            entry.binding(),
            entry.metadata().unwrap_or_default(),
        ))
    }

    /// Puts a new record and its foreign key's parts on the ledger, and counts them. Parts that stand already, whoever put
    /// them there, are the same bytes and cost nothing.
    pub(super) fn add_record(
        &mut self,
        org: &mut Organisation,
        entry: &Entry,
        record: &Record,
        new_parts: &mut std::collections::BTreeSet<StateKey>,
    ) {
        self.write_record(&entry.handle(), record);
        org.rows = org.rows.saturating_add(1);
        org.active = org.active.saturating_add(1);
        if entry.keys().suite() != Suite::Foreign {
            return;
        }
        for (key, bytes) in blob_parts(entry) {
            if self.state.row(&key).is_some() || !new_parts.insert(key) {
                continue;
            }
            if let Some(part) = BlobPart::new(bytes) {
                self.write(key, part.encode());
                org.rows = org.rows.saturating_add(1);
            }
        }
    }
}

pub(crate) const fn exactly(count: usize, wanted: usize) -> Result<(), Rejection> {
    if count < wanted {
        Err(Rejection::TooFewSignatures)
    } else if count > wanted {
        Err(Rejection::SuperfluousSignature)
    } else {
        Ok(())
    }
}

/// The next version of a row.
pub(super) fn next(version: u32) -> Result<u32, Rejection> {
    version.checked_add(1).ok_or(Rejection::VersionExhausted)
}
