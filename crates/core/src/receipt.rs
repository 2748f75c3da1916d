//! Receipts: what a device did of an order, what a server heard of a device; signed, for those who were not there
//! (spec/evidence.md, "Receipts").
//!
//! A receipt is a text and a signature as in an evidence bundle. Both ends write the same text from what they know, so only
//! the signature crosses the wire; whoever wants to show it puts text and signature into a bundle, which anyone verifies.
//! No allocator is needed.

use core::fmt::Write as _;

use arrayvec::{ArrayString, ArrayVec};

use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::cose::{Protected, SIGNED_LEN_MAX};
use crate::crypto::SignatureError;
use crate::id::{ChainId, Digest, Handle, Height, OrgId};
use crate::inventory::SignedInventory;
use crate::keystore::{KeyStore, KeyStoreError};
use crate::protocol::reply::{Order, Task};
use crate::protocol::request::{OUTCOMES_MAX, Outcome, OutcomeCode};
use crate::suite::{Algorithm, Purpose, Signature, VerificationKey};
use crate::wire::Sink;

/// Longest text in bytes.
pub const TEXT_LEN_MAX: usize = 1024;

/// What is signed: JSON (RFC 8259), the members of each object in alphabetical order, no white space.
pub type Text = ArrayString<TEXT_LEN_MAX>;

/// What became of an order, as the device says it to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The device's organisation.
    pub org: OrgId,
    /// The device's key.
    pub device: Handle,
    /// The server that it is said to.
    pub server: Handle,
    /// The order.
    pub order: Order,
    /// What became of it.
    pub code: OutcomeCode,
    /// Height of the device's anchor then: it was said after that block.
    pub height: Height,
}

impl Answered {
    /// The receipt's text.
    #[must_use]
    pub fn text(&self) -> Text {
        let (task, what): (_, Option<&[u8; 32]>) = match &self.order.task {
            Task::Update(release) => ("update", Some(release.as_bytes())),
            Task::ReportInventory(nonce) => ("report", Some(nonce)),
            Task::Rotate => ("rotate", None),
            Task::AdoptServer(server) => ("adopt", Some(server.as_bytes())),
            Task::Repair(release) => ("repair", Some(release.as_bytes())),
        };
        let mut text = Text::new();
        let written = write!(
            text,
            r#"{{"about":"order","at_height":{},"content":{{"device":"{}","order":{},"outcome":"{}","server":"{}","task":"{task}","what":"#,
            self.height,
            self.device,
            self.order.id,
            self.code.name(),
            self.server,
        )
        .and_then(|()| match what {
            Some(what) => write!(text, "\"{}\"", Digest::new(*what)),
            None => text.write_str("null"),
        })
        .and_then(|()| end(&mut text, &self.org));
        debug_assert!(written.is_ok(), "the longest text fits");
        text
    }
}

/// What a server heard of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A signed inventory, whole: SHA-256 of its signed statement, signature and all.
    Report(Digest),
    /// What became of these orders, and SHA-256 of the device's signature of each: of what it said of it, and no other order.
    Outcomes(ArrayVec<(u64, OutcomeCode, Digest), OUTCOMES_MAX>),
}

impl Heard {
    /// A report that begins with these bytes; `None` when they do not hold a whole signed statement.
    #[must_use]
    pub fn report(bytes: &[u8]) -> Option<Self> {
        let statement = bytes.get(..SignedInventory::LEN)?;
        Some(Self::Report(Digest::of(statement)))
    }

    /// What became of orders; `None` when nothing was said about any.
    #[must_use]
    pub fn outcomes(outcomes: &[Outcome]) -> Option<Self> {
        let told = outcomes.iter().map(|told| {
            let signature = Digest::of(told.signature.as_ref());
            (told.order, told.code, signature)
        });
        (!outcomes.is_empty()).then(|| Self::Outcomes(told.take(OUTCOMES_MAX).collect()))
    }

    /// The receipt of the server with this `ps` key.
    ///
    /// # Errors
    /// Those of the key store.
    pub fn receipt(
        &self,
        from: &Speaker,
        at_ms: u64,
        server: &Signer,
        key: &(impl KeyStore + ?Sized),
    ) -> Result<Receipt, KeyStoreError> {
        let signature = server.sign(key, &self.text(from, at_ms))?;
        Ok(Receipt { at_ms, signature })
    }

    /// The receipt's text: this was heard of the device, at this time of the server's clock, in milliseconds since 1970.
    #[must_use]
    pub fn text(&self, from: &Speaker, at_ms: u64) -> Text {
        let Speaker {
            org,
            device,
            height,
        } = from;
        let about = match self {
            Self::Report(_) => "report",
            Self::Outcomes(_) => "outcomes",
        };
        let mut text = Text::new();
        let written = write!(
            text,
            r#"{{"about":"{about}","at_height":{height},"at_ms":{at_ms},"content":{{"device":"{device}","#
        )
        .and_then(|()| match self {
            Self::Report(statement) => write!(text, r#""statement":"{statement}""#),
            Self::Outcomes(outcomes) => {
                text.write_str(r#""outcomes":["#)?;
                for (at, (order, code, signature)) in outcomes.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    let code = code.name();
                    write!(
                        text,
                        r#"{comma}{{"order":{order},"outcome":"{code}","signature":"{signature}"}}"#
                    )?;
                }
                text.write_str("]")
            }
        })
        .and_then(|()| end(&mut text, org));
        debug_assert!(written.is_ok(), "the longest text fits");
        text
    }
}

/// Who says something to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The device's organisation.
    pub org: OrgId,
    /// The device's key.
    pub device: Handle,
    /// Height of its floor in the request.
    pub height: Height,
}

fn end(text: &mut Text, org: &OrgId) -> core::fmt::Result {
    write!(text, r#"}},"kusabi":"receipt-1","organisation":"{org}"}}"#)
}

/// A server's receipt on its way: the rest of its text the device knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Time of the server's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// The server's signature.
    pub signature: Signature,
}

impl FromCbor<'_> for Receipt {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, CborError> {
        d.array(2)?;
        Ok(Self {
            at_ms: d.u64()?,
            signature: Signature::new(d.array_of()?),
        })
    }
}

impl ToCbor for Receipt {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2).u64(self.at_ms).bytes(self.signature);
    }
}

/// Who signs a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer {
    /// His ledger.
    pub chain: ChainId,
    /// His handle.
    pub handle: Handle,
    /// What his key is for: `act` or `ps`.
    pub purpose: Purpose,
}

impl Signer {
    /// Signs a text.
    ///
    /// # Errors
    /// Those of the key store; [`KeyStoreError::OtherSuite`] for a foreign key.
    pub fn sign(
        &self,
        key: &(impl KeyStore + ?Sized),
        text: &str,
    ) -> Result<Signature, KeyStoreError> {
        let algorithm = key
            .public_keys()
            .verification_key()
            .ok_or(KeyStoreError::OtherSuite)?
            .algorithm();
        key.sign_message(&self.sig_structure(algorithm, text))
    }

    /// Checks that `key`, which the caller has found to be this signer's, signed the text.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn check(
        &self,
        key: &VerificationKey,
        text: &str,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        key.verify_message(&self.sig_structure(key.algorithm(), text), signature)
    }

    fn sig_structure(&self, algorithm: Algorithm, text: &str) -> ArrayVec<u8, SIGNED_LEN_MAX> {
        let protected = Protected {
            algorithm,
            signer: self.handle,
            chain: self.chain,
            purpose: self.purpose,
        };
        protected.sig_structure(&Digest::of(text.as_bytes()))
    }
}
