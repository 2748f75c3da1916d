//! What a signature covers (spec/identity.md, "Signatures").
//!
//! The chain, the signer, its purpose and the kind are in every signature, so that none is good for another ledger,
//! another key with the same bytes, another role or another kind of message.

use core::fmt;

use crate::crypto;
use crate::id::{ChainId, Handle, write_hex};
use crate::suite::Purpose;
use crate::wire::{self, Sink};

/// Kind of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatementKind {
    /// A transaction with this action code; payload: the CBOR of the action.
    Transaction(u8),
    /// A handover; payload: see spec/proof.md.
    Handover,
    /// A recovery; payload: see spec/proof.md.
    Recovery,
    /// An appointment of the next validators; payload: see spec/proof.md.
    Appointment,
    /// Freshness of a header; payload: see spec/freshness.md.
    Freshness,
    /// An organisation's wish to be admitted; payload: see spec/governance.md.
    Admission,
    /// A validator's keys for the next epoch; payload: see spec/proof.md.
    NextKeys,
    /// A file, in the COSE form only (spec/evidence.md).
    Evidence,
    /// A release; payload: its manifest (spec/firmware.md).
    Release,
    /// An inventory; payload: see spec/firmware.md.
    Inventory,
}

impl StatementKind {
    /// The number that is signed.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Transaction(action) => u16::from_be_bytes([0x01, action]),
            Self::Handover => 0x0200,
            Self::Recovery => 0x0201,
            Self::Appointment => 0x0202,
            Self::Freshness => 0x0203,
            Self::Admission => 0x0204,
            Self::NextKeys => 0x0205,
            Self::Evidence => 0x0300,
            Self::Release => 0x0500,
            Self::Inventory => 0x0501,
        }
    }
}

/// The 118 bytes that are signed:
/// `"kusabi.statement.v1" ‖ chain 32 ‖ signer's handle 32 ‖ purpose u8 ‖ kind u16 ‖ H(payload) 32`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Statement([u8; Self::LEN]);

impl Statement {
    /// Length in bytes.
    pub const LEN: usize = 19 + 32 + 32 + 1 + 2 + 32;

    /// The statement over a payload, given in parts.
    #[must_use]
    pub fn new(
        chain: &ChainId,
        signer: &Handle,
        purpose: Purpose,
        kind: StatementKind,
        payload: &[&[u8]],
    ) -> Self {
        Self::of_digest(chain, signer, purpose, kind, &crypto::sha256(payload))
    }

    /// The statement over a payload that is given by its SHA-256.
    #[must_use]
    pub fn of_digest(
        chain: &ChainId,
        signer: &Handle,
        purpose: Purpose,
        kind: StatementKind,
        digest: &[u8; 32],
    ) -> Self {
        Self(wire::fixed(|w| {
            w.put(b"kusabi.statement.v1");
            w.put(chain.as_ref());
            w.put(signer.as_ref());
            w.u8(purpose.into());
            w.u16(kind.code());
            w.put(digest);
        }))
    }

    /// The bytes that are signed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}
