//! Drafts: transactions that are still being signed.

use alloc::vec::Vec;

use super::{Action, Signed, Transaction, TxError, codec, statement};
use crate::cbor::ToCbor;
use crate::id::{ChainId, Handle};
use crate::keystore::{KeyStore, KeyStoreError};
use crate::statement::Statement;
use crate::suite::{Purpose, Signature};

/// A transaction that is being made: an action that any number of keys sign, at once or one after the other, on one
/// machine or on several (an unfinished draft travels as a transaction with too few signatures).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    chain: ChainId,
    action: Action,
    payload: Vec<u8>,
    signatures: Vec<Signed>,
}

impl Draft {
    /// A draft of an action, with no signature. Lists whose order has no meaning are put into the format's order.
    ///
    /// # Errors
    /// [`TxError`] for the first rule that the action breaks.
    pub fn new(chain: ChainId, mut action: Action) -> Result<Self, TxError> {
        action.sort();
        action.check()?;
        Ok(Self {
            payload: action.to_cbor_vec(),
            chain,
            action,
            signatures: Vec::new(),
        })
    }

    /// What is being signed.
    pub const fn action(&self) -> &Action {
        &self.action
    }

    /// What a signer with this purpose is to sign.
    pub fn statement(&self, signer: &Handle, purpose: Purpose) -> Statement {
        statement(
            &self.chain,
            signer,
            purpose,
            self.action.code(),
            &self.payload,
        )
    }

    /// Signs with a key of a record.
    ///
    /// # Errors
    /// Those of the key store; the draft is then as it was.
    pub fn sign(
        &mut self,
        signer: Handle,
        purpose: Purpose,
        key: &(impl KeyStore + ?Sized),
    ) -> Result<&mut Self, KeyStoreError> {
        let signature = key.sign(&self.statement(&signer, purpose))?;
        Ok(self.add(signer, signature))
    }

    /// Adds a signature made elsewhere; it takes the place of an earlier one by the same signer.
    pub fn add(&mut self, signer: Handle, signature: Signature) -> &mut Self {
        let signed = Signed { signer, signature };
        match self
            .signatures
            .binary_search_by(|other| other.signer.cmp(&signer))
        {
            Ok(index) => {
                if let Some(earlier) = self.signatures.get_mut(index) {
                    *earlier = signed;
                }
            }
            Err(index) => self.signatures.insert(index, signed),
        }
        self
    }

    /// The transaction.
    ///
    /// # Errors
    /// [`TxError::Count`] for more signatures than the action takes, [`TxError::TooLong`].
    pub fn finish(self) -> Result<Transaction, TxError> {
        codec::encode(self.chain, self.action, self.signatures)
    }
}

impl From<Transaction> for Draft {
    /// Takes a transaction up again, to add signatures.
    fn from(transaction: Transaction) -> Self {
        Self {
            payload: transaction.action.to_cbor_vec(),
            chain: transaction.chain,
            action: transaction.action,
            signatures: transaction.signatures,
        }
    }
}
