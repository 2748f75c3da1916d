//! The two transactions that a device makes itself (spec/ledger.md, actions 2 and 3), without an allocator.
//!
//! The bytes are those of the ledger's own writer (`tx`); a test holds the two against each other.

use super::super::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::crypto::Hasher;
use crate::id::{Binding, ChainId, Handle, KusabiId, OrgId};
use crate::keystore::{KeyStore, KeyStoreError};
use crate::statement::{Statement, StatementKind};
use crate::suite::{BindingContext, PublicKeys, Purpose, Signature, Suite};
use crate::wire::{Sink, WireError, Writer};

/// Longest of the two transactions, in bytes.
pub const TRANSACTION_LEN_MAX: usize = 512;

/// Row version of an active record that has its first owner (spec/ledger.md): with each further owner it is one higher.
const FIRST_VERSION: u64 = 1;

/// A device key to be put on the ledger: an entry of purpose act, without metadata, of suite 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The handle under which it will stand.
    pub handle: Handle,
    /// The public keys.
    pub keys: PublicKeys,
    /// What ties it to its kusabi-ID.
    pub binding: Binding,
}

impl NewKey {
    /// The entry of a key and its ID.
    #[must_use]
    pub fn new(id: &KusabiId, keys: PublicKeys, chain: &ChainId, owner: &OrgId) -> Self {
        let context = BindingContext {
            chain,
            owner,
            purpose: Purpose::Act,
        };
        Self {
            handle: id.handle(),
            keys,
            binding: keys.bind(id, &context),
        }
    }
}

impl FromCbor<'_> for NewKey {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, CborError> {
        d.array(6)?;
        let handle = Handle::new(d.array_of()?);
        let purpose = d.u8()?;
        let suite = Suite::try_from(d.u8()?).map_err(|_| CborError::OutOfBounds)?;
        let keys = d.bytes(64..=PublicKeys::LEN)?;
        let binding = Binding::new(d.array_of()?);
        if purpose != Purpose::Act as u8
            || suite == Suite::Foreign
            || !d.null()?
            || handle.is_zero()
        {
            return Err(CborError::OutOfBounds);
        }
        let keys = PublicKeys::from_compact(suite, keys).map_err(|_| CborError::OutOfBounds)?;
        Ok(Self {
            handle,
            keys,
            binding,
        })
    }
}

impl ToCbor for NewKey {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(6).bytes(self.handle);
        e.u64(Purpose::Act as u64);
        e.u64(u8::from(self.keys.suite()).into());
        e.bytes(self.keys.compact().unwrap_or_default());
        e.bytes(self.binding).null();
    }
}

/// A key that follows on another: an activation when `old` is a pre, a supersession when it is an act.
#[derive(Clone, Copy, Debug)]
pub struct Succession {
    /// The chain.
    pub chain: ChainId,
    /// Whose keys they are.
    pub org: OrgId,
    /// Handle of the key that ends.
    pub old: Handle,
    /// Its purpose: pre or act.
    pub old_purpose: Purpose,
    /// How often it has come to another owner.
    pub moves: u8,
    /// The key that follows.
    pub new: NewKey,
}

impl Succession {
    fn code(&self) -> u8 {
        if self.old_purpose == Purpose::Pre {
            2
        } else {
            3
        }
    }

    fn statement(&self, signer: &Handle, purpose: Purpose) -> Statement {
        let mut payload = Hasher::default();
        self.to_cbor(&mut Encoder::new(&mut payload));
        let kind = StatementKind::Transaction(self.code());
        Statement::of_digest(&self.chain, signer, purpose, kind, &payload.finish())
    }

    /// Signs with both keys and writes the transaction; returns its length.
    ///
    /// # Errors
    /// Those of the key store. `out` holds at least [`TRANSACTION_LEN_MAX`] bytes.
    pub fn write(
        &self,
        old: &(impl KeyStore + ?Sized),
        new: &(impl KeyStore + ?Sized),
        out: &mut [u8; TRANSACTION_LEN_MAX],
    ) -> Result<usize, KeyStoreError> {
        let mut signatures = [
            (
                self.old,
                old.sign(&self.statement(&self.old, self.old_purpose))?,
            ),
            (
                self.new.handle,
                new.sign(&self.statement(&self.new.handle, Purpose::Act))?,
            ),
        ];
        signatures.sort_unstable_by_key(|(signer, _)| *signer);
        let written = self.encode(&signatures, out);
        debug_assert!(written.is_ok(), "a succession fits its buffer");
        Ok(written.unwrap_or_default())
    }

    fn encode(
        &self,
        signatures: &[(Handle, Signature); 2],
        out: &mut [u8],
    ) -> Result<usize, WireError> {
        let mut writer = Writer::new(out);
        let e = &mut Encoder::new(&mut writer);
        e.array(4).u64(1).bytes(self.chain);
        self.to_cbor(e);
        e.array(2);
        for (signer, signature) in signatures {
            e.array(2).bytes(signer).bytes(signature);
        }
        writer.finish()
    }
}

/// The action.
impl ToCbor for Succession {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(4).u64(self.code().into()).bytes(self.org);
        e.array(2).bytes(self.old);
        e.u64(FIRST_VERSION + u64::from(self.moves));
        self.new.to_cbor(e);
    }
}
