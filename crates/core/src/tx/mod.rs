//! Transactions on the wire (spec/ledger.md, "Transactions"): strict in, canonical out.
//!
//! A [`Transaction`] is well formed: bounds, order and everything that can be said without the ledger's state hold. Whether
//! its keys are keys costs more than all of this and than its signatures: a [`KeyedTransaction`] says so. Neither is
//! *thereby* signed by anyone nor allowed: that is what `kusabi-ledger` says.

mod action;
mod codec;
mod draft;
mod proposal;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

pub use action::{Action, ActionCode, Entry, Named};
pub use codec::code_of;
pub use draft::Draft;
pub use proposal::{
    ACTS_MAX, Act, Candidate, Consent, FREEZE_MS, PROPOSAL_BYTES_MAX, PROPOSAL_OPEN_MS_MAX,
    Proposal,
};

use crate::id::{ChainId, Handle, TxId};
use crate::statement::{Statement, StatementKind};
use crate::suite::{PublicKeys, Purpose, Signature};

/// Longest transaction in bytes.
pub const TX_BYTES_MAX: usize = 1 << 20;
/// Most entries in one registration.
pub const ENTRIES_MAX: usize = 4096;
/// Most records ended by one revocation.
pub const TARGETS_MAX: usize = 1024;
/// Most signatures of one transaction.
pub const SIGNATURES_MAX: usize = 16;
/// Most signatures of the genesis transaction: 16 organisations with 5 officers each.
pub const GENESIS_SIGNATURES_MAX: usize = 80;
/// Most officers of an organisation: as many as can sign one transaction.
pub const OFFICERS_MAX: u8 = 16;
/// Most officers that an organisation can ask for, so that with a writer of the one who takes they can sign a transfer.
pub const OFFICERS_K_MAX: u8 = 15;
/// Most release keys of an organisation.
pub const ART_KEYS_MAX: usize = 16;
/// Most release keys that a policy can ask for, so that the old and the new ones fit the signatures of one transaction.
pub const ART_K_MAX: u8 = 8;
/// Longest genesis document in bytes.
pub const GENESIS_BYTES_MAX: usize = crate::genesis::GENESIS_LEN_MAX;
/// Longest recovery in bytes: its payload with the largest validator set, the largest recovery set, five signatures.
pub const RECOVERY_BYTES_MAX: usize = 8 << 10;
/// Longest appointment in bytes: its payload with the largest validator set, the signatures of eighty officers.
pub const APPOINTMENT_BYTES_MAX: usize = 10 << 10;
/// Longest handover in bytes: an appointment, the last block, sixteen votes.
pub const HANDOVER_BYTES_MAX: usize = 12 << 10;

/// Why bytes are not a transaction, or a draft cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum TxError {
    /// Not the CBOR that the format asks for, or followed by other bytes.
    Cbor = 0x0b01,
    /// Longer than 1 MiB.
    TooLong = 0x0b02,
    /// A format version other than 1.
    Version = 0x0b03,
    /// An action code that has no meaning.
    Action = 0x0b04,
    /// A list with more or fewer elements than it may have.
    Count = 0x0b05,
    /// Handles (of entries, named records or signatures) do not ascend strictly: out of order or twice; or what a proposal names once
    /// stands in it twice: an organisation, an officer's handle or key.
    Order = 0x0b06,
    /// A purpose that this action does not take.
    Purpose = 0x0b07,
    /// A suite that this action does not take.
    Suite = 0x0b08,
    /// Keys that are not of their suite's form, or (once their points are looked at) are not keys.
    Key = 0x0b09,
    /// Zero where a handle, digest or row version must name something.
    Zero = 0x0b0a,
    /// A height, reason, topic or threshold out of range.
    Value = 0x0b0b,
    /// CBOR of the right form, but not in its one canonical encoding.
    NotCanonical = 0x0b0c,
}

impl fmt::Display for TxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cbor => "the transaction is not CBOR of the expected form; make it again with a current tool",
            Self::NotCanonical => "the transaction is not in its one canonical encoding; make it again with a current tool",
            Self::TooLong => "the transaction is longer than 1 MiB; split it into smaller ones",
            Self::Version => "the transaction has a format version that this ledger does not know; use a matching tool",
            Self::Action => "the transaction names an action that this ledger does not know; use a matching tool",
            Self::Count => "a list in the transaction has too many or too few elements; split it, or add what is missing",
            Self::Order => "handles in the transaction are out of order or stand twice, or its proposal names an organisation or an officer's key twice; name each once, handles in ascending order",
            Self::Purpose => "the transaction gives a key a purpose that this action does not take; use the action that does",
            Self::Suite => "the transaction gives a key a suite that this action does not take; only registered act and app keys can be foreign",
            Self::Key => "a public key in the transaction is not a key of its suite; make the key pair again",
            Self::Zero => "a handle, digest or row version in the transaction is zero; name the row that is meant",
            Self::Value => "a number in the transaction is out of its range; see the action's limits",
        })
    }
}

impl core::error::Error for TxError {}

crate::code::codes!(TxError {
    Cbor,
    TooLong,
    Version,
    Action,
    Count,
    Order,
    Purpose,
    Suite,
    Key,
    Zero,
    Value,
    NotCanonical,
});

/// A signature under a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Whose signature it is said to be.
    pub signer: Handle,
    /// The signature; not verified yet.
    pub signature: Signature,
}

/// A well-formed transaction with the bytes that it came as.
#[derive(Clone, PartialEq, Eq)]
pub struct Transaction {
    bytes: Vec<u8>,
    id: TxId,
    chain: ChainId,
    action: Action,
    action_range: Range<usize>,
    signatures: Vec<Signed>,
}

impl Transaction {
    /// Reads a transaction.
    ///
    /// # Errors
    /// [`TxError`] for the first rule that the bytes break.
    pub fn decode(bytes: &[u8]) -> Result<Self, TxError> {
        codec::decode(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Its ID: `H("kusabi.tx.v1" ‖ bytes)`. The signatures are covered, and nobody but their signers
    /// can change them or their number.
    pub const fn id(&self) -> TxId {
        self.id
    }

    /// The chain that it is meant for.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// What it asks for.
    pub const fn action(&self) -> &Action {
        &self.action
    }

    /// The signatures, ascending by handle.
    pub fn signatures(&self) -> &[Signed] {
        &self.signatures
    }

    /// Checks the points of all keys that it brings. That is by far the dearest of what can be said without the ledger's
    /// state (4,096 keys of P-256: a sixth of a second), so it is done when the signatures are known to be good.
    ///
    /// # Errors
    /// [`TxError::Key`]
    pub fn check_keys(self) -> Result<KeyedTransaction, TxError> {
        for entry in self.action.entries() {
            entry.check_keys()?;
        }
        Ok(KeyedTransaction(self))
    }

    /// What a signer with this purpose has signed.
    pub fn statement(&self, signer: &Handle, purpose: Purpose) -> Statement {
        let payload = self
            .bytes
            .get(self.action_range.clone())
            .unwrap_or_default();
        statement(&self.chain, signer, purpose, self.action.code(), payload)
    }
}

/// A well-formed transaction whose keys are keys; only [`Transaction::check_keys`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedTransaction(Transaction);

impl KeyedTransaction {
    /// The transaction.
    pub const fn transaction(&self) -> &Transaction {
        &self.0
    }

    /// The transaction, given back.
    pub fn into_transaction(self) -> Transaction {
        self.0
    }

    /// The checked keys of its entry with this handle.
    pub fn keys(&self, handle: &Handle) -> Option<PublicKeys> {
        let entry = self.0.action.entry(handle)?;
        Some(PublicKeys::believed(*entry.keys()))
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("id", &self.id)
            .field("action", &self.action.code())
            .field("signatures", &self.signatures.len())
            .finish_non_exhaustive()
    }
}

fn statement(
    chain: &ChainId,
    signer: &Handle,
    purpose: Purpose,
    code: ActionCode,
    payload: &[u8],
) -> Statement {
    let kind = StatementKind::Transaction(code as u8);
    Statement::new(chain, signer, purpose, kind, &[payload])
}
