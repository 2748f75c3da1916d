//! What a device signs about its inventory, and who may believe it (spec/firmware.md, "Inventory statement").

use core::fmt;

use super::{COMPONENTS_MAX, INVENTORY_BYTES_MAX, InventorySummary};
use crate::id::{ChainId, Digest, Handle, HeaderHash, Height, StateKey};
use crate::keystore::{KeyStore, KeyStoreError};
use crate::proof::VerifiedProof;
use crate::row::{Record, RowError};
use crate::statement::{Statement, StatementKind};
use crate::suite::{Purpose, Signature};
use crate::wire::{Reader, Sink, WireError, fixed};

const VERSION: u8 = 1;

/// Why an inventory statement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementError {
    /// The bytes end early or late.
    Wire(WireError),
    /// A format version other than 1.
    Version,
    /// The inventory is empty bytes or larger than 16 MiB.
    TooLarge,
    /// The inventory has more than 131,072 components.
    TooMany,
    /// A height of 2^48 or more.
    Height,
    /// It was made in another session.
    OtherSession,
    /// It answers another order.
    OtherOrder,
    /// It was made before the height that was asked for.
    Old,
    /// It names a height above that of the record's proof; fetch a newer proof.
    Future,
    /// The proof is not about the signer's record.
    OtherProof,
    /// The signer has no record.
    UnknownSigner,
    /// The signer's row is not a record.
    Row(RowError),
    /// The signer's key is no device key.
    SignerPurpose,
    /// The signer's key is not in force.
    SignerNotValid,
    /// The signature is not the signer's.
    Signature,
    /// The inventory received is not the one that was signed.
    OtherContent,
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wire(error) => return write!(f, "the bytes are no inventory statement: {error}"),
            Self::Version => {
                "the inventory statement has a format version that this program does not know"
            }
            Self::TooLarge => {
                "the inventory is larger than 16 MiB, or empty; inventory fewer paths"
            }
            Self::TooMany => {
                "the inventory has more than 131,072 components; inventory fewer paths"
            }
            Self::Height => "the inventory statement names a height out of range",
            Self::OtherSession => "the inventory statement was made in another session",
            Self::OtherOrder => "the inventory statement answers another order",
            Self::Old => "the inventory statement was made before the height that was asked for",
            Self::Future => {
                "the inventory statement names a height that the record's proof does not reach"
            }
            Self::OtherProof => "the proof is not about the signer's record",
            Self::UnknownSigner => "the signer is not on the ledger",
            Self::Row(error) => return write!(f, "the signer's record is refused: {error}"),
            Self::SignerPurpose => "the signer's key is no device key",
            Self::SignerNotValid => "the signer's key is not in force",
            Self::Signature => "the signature under the inventory is wrong",
            Self::OtherContent => "the inventory received is not the one that was signed",
        })
    }
}

impl core::error::Error for StatementError {}

impl From<WireError> for StatementError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// What a device says about its inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InventoryStatement {
    digest: Digest,
    size: u64,
    count: u32,
    release: Digest,
    height: Height,
    header_hash: HeaderHash,
    handshake: [u8; 32],
    nonce: [u8; 32],
}

impl InventoryStatement {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 1 + 32 + 8 + 4 + 32 + 8 + 32 + 32 + 32;

    /// A statement about an inventory, made after the block of a device's anchor, in the session with this handshake hash,
    /// for the order with this nonce. `release` is the one that the device runs, `None` with the factory image.
    #[must_use]
    pub fn new(
        inventory: &InventorySummary,
        release: Option<Digest>,
        anchor: (Height, Option<HeaderHash>),
        handshake: [u8; 32],
        nonce: Option<[u8; 32]>,
    ) -> Self {
        let (height, header_hash) = anchor;
        Self {
            digest: inventory.digest(),
            size: inventory.size(),
            count: inventory.count(),
            release: release.unwrap_or_default(),
            height,
            header_hash: header_hash.unwrap_or_default(),
            handshake,
            nonce: nonce.unwrap_or_default(),
        }
    }

    /// Decodes a statement: its form and bounds are checked, nothing is believed.
    ///
    /// # Errors
    /// Rule 1 of the table.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(StatementError::Version);
        }
        let statement = Self {
            digest: Digest::new(r.array()?),
            size: r.u64()?,
            count: r.u32()?,
            release: Digest::new(r.array()?),
            height: Height::new(r.u64()?).map_err(|_| StatementError::Height)?,
            header_hash: HeaderHash::new(r.array()?),
            handshake: r.array()?,
            nonce: r.array()?,
        };
        r.finish()?;
        if statement.size == 0 || statement.size > INVENTORY_BYTES_MAX {
            return Err(StatementError::TooLarge);
        }
        if statement.count > COMPONENTS_MAX {
            return Err(StatementError::TooMany);
        }
        Ok(statement)
    }

    /// The bytes: the payload of the signature.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        fixed(|w| {
            w.u8(VERSION);
            w.put(self.digest.as_bytes());
            w.u64(self.size);
            w.u32(self.count);
            w.put(self.release.as_bytes());
            w.u64(self.height.get());
            w.put(self.header_hash.as_bytes());
            w.put(&self.handshake);
            w.put(&self.nonce);
        })
    }

    /// Signs with a device key.
    ///
    /// # Errors
    /// Those of the key store.
    pub fn sign(
        self,
        chain: &ChainId,
        signer: &Handle,
        key: &(impl KeyStore + ?Sized),
    ) -> Result<SignedInventory, KeyStoreError> {
        let signature = key.sign(&self.statement(chain, signer))?;
        Ok(SignedInventory {
            statement: self,
            signature,
        })
    }

    fn statement(&self, chain: &ChainId, signer: &Handle) -> Statement {
        let kind = StatementKind::Inventory;
        Statement::new(chain, signer, Purpose::Act, kind, &[&self.encode()])
    }

    /// The inventory digest.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The inventory's size in bytes: 1 to 16 MiB.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// How many components it has.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The release that the device says it runs; `None` is the factory image.
    #[must_use]
    pub fn release(&self) -> Option<Digest> {
        (!self.release.is_zero()).then_some(self.release)
    }

    /// Height of the block after which it was made.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.height
    }

    /// Hash of that block's header, if the device has seen it.
    #[must_use]
    pub fn header_hash(&self) -> Option<HeaderHash> {
        (!self.header_hash.is_zero()).then_some(self.header_hash)
    }

    /// Handshake hash of the session in which it was made.
    #[must_use]
    pub const fn handshake(&self) -> &[u8; 32] {
        &self.handshake
    }

    /// Nonce of the order that it answers; `None` when nobody asked.
    #[must_use]
    pub fn nonce(&self) -> Option<&[u8; 32]> {
        (self.nonce != [0; 32]).then_some(&self.nonce)
    }
}

/// A statement with a signature that is not verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedInventory {
    statement: InventoryStatement,
    signature: Signature,
}

impl SignedInventory {
    /// Length of the encoding in bytes.
    pub const LEN: usize = InventoryStatement::LEN + Signature::LEN;

    /// Decodes a signed statement.
    ///
    /// # Errors
    /// Rule 1 of the table.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let mut r = Reader::new(bytes);
        let statement = InventoryStatement::decode(r.bytes(InventoryStatement::LEN)?)?;
        let signature = Signature::new(r.array()?);
        r.finish()?;
        Ok(Self {
            statement,
            signature,
        })
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        fixed(|w| {
            w.put(&self.statement.encode());
            w.put(self.signature.as_bytes());
        })
    }

    /// The statement, unchecked: to see who is to be asked for, for instance.
    #[must_use]
    pub const fn claimed(&self) -> &InventoryStatement {
        &self.statement
    }
}

/// What an inventory statement has to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The device key's handle.
    pub signer: Handle,
    /// Handshake hash of the session.
    pub handshake: [u8; 32],
    /// Nonce of the order; `None` for one that was not asked for.
    pub nonce: Option<[u8; 32]>,
    /// The statement is made after this height.
    pub not_before: Height,
}

/// A statement that the device's key signed, for this session and order; only [`VerifiedStatement::check`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedStatement {
    statement: InventoryStatement,
    signer: Handle,
    known_at: Height,
}

impl VerifiedStatement {
    /// Checks who signed, for which session and order: rules 2 to 6 of the table. `record` proves the signer's record.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(
        signed: &SignedInventory,
        asked: &Asked,
        record: &VerifiedProof<'_>,
    ) -> Result<Self, StatementError> {
        let statement = &signed.statement;
        if statement.handshake != asked.handshake {
            return Err(StatementError::OtherSession);
        }
        if statement.nonce != asked.nonce.unwrap_or_default() {
            return Err(StatementError::OtherOrder);
        }
        let known_at = record.checkpoint().header().height;
        if statement.height < asked.not_before {
            return Err(StatementError::Old);
        }
        if statement.height > known_at {
            return Err(StatementError::Future);
        }
        if *record.key() != StateKey::record(&asked.signer) {
            return Err(StatementError::OtherProof);
        }
        let row = record.row().ok_or(StatementError::UnknownSigner)?;
        let key = Record::decode(row).map_err(StatementError::Row)?;
        if key.purpose() != Purpose::Act {
            return Err(StatementError::SignerPurpose);
        }
        if !key.valid_at(known_at).is_valid() {
            return Err(StatementError::SignerNotValid);
        }
        // A foreign key signs no statements.
        let key = key
            .keys()
            .verification_key()
            .ok_or(StatementError::SignerPurpose)?;
        let bytes = statement.statement(record.checkpoint().chain(), &asked.signer);
        key.verify(&bytes, &signed.signature)
            .map_err(|_| StatementError::Signature)?;
        Ok(Self {
            statement: *statement,
            signer: asked.signer,
            known_at,
        })
    }

    /// The statement.
    #[must_use]
    pub const fn statement(&self) -> &InventoryStatement {
        &self.statement
    }

    /// Checks that an inventory that was received whole is the one signed: rule 7.
    ///
    /// # Errors
    /// [`StatementError::OtherContent`]
    pub fn about(self, received: &InventorySummary) -> Result<VerifiedInventory, StatementError> {
        let InventoryStatement {
            digest,
            size,
            count,
            ..
        } = self.statement;
        if (digest, size, count) == (received.digest(), received.size(), received.count()) {
            Ok(VerifiedInventory(self))
        } else {
            Err(StatementError::OtherContent)
        }
    }
}

/// An inventory that was received whole, as its device signed it; only [`VerifiedStatement::about`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedInventory(VerifiedStatement);

impl VerifiedInventory {
    /// The statement.
    #[must_use]
    pub const fn statement(&self) -> &InventoryStatement {
        &self.0.statement
    }

    /// The device key's handle.
    #[must_use]
    pub const fn signer(&self) -> Handle {
        self.0.signer
    }

    /// Height of the proof that says that the key was in force.
    #[must_use]
    pub const fn known_at(&self) -> Height {
        self.0.known_at
    }
}
