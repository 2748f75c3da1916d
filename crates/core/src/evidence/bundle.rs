//! The bundle's bytes: signing, decoding, the signature.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use coset::cbor::value::Value;
use coset::iana::Algorithm as CoseAlgorithm;
use coset::{CoseSign1, Header, HeaderBuilder, Label, ProtectedHeader, TaggedCborSerializable};

use crate::cbor::ToCbor as _;
use crate::cose::{KUSABI, Protected};
use crate::crypto::{Hasher, SignatureError};
use crate::id::{ChainId, Digest, Handle};
use crate::keystore::{KeyStore, KeyStoreError};
use crate::suite::{Algorithm, Purpose, Signature, VerificationKey};
use crate::wire::Sink;

/// Why a bundle was not made or not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum EvidenceError {
    /// More than 64 KiB.
    TooLarge = 0x0701,
    /// Not a tagged COSE_Sign1.
    Cose = 0x0702,
    /// A header parameter is missing, of another type or unknown.
    Header = 0x0703,
    /// The bundle does not have its one canonical encoding.
    NotCanonical = 0x0704,
    /// The algorithm is neither EdDSA nor ES256, or not that of the key.
    Algorithm = 0x0705,
    /// The signer's purpose has no number here, or is that of a key that has no record.
    Purpose = 0x0706,
    /// Signed for another chain.
    OtherChain = 0x0707,
    /// Signed over another file.
    OtherFile = 0x0708,
    /// The signature is not by this key.
    Signature = 0x0709,
    /// The key store did not sign.
    KeyStore = 0x070a,
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the evidence is larger than 64 KiB",
            Self::Cose => "this is not an evidence bundle (a tagged COSE_Sign1)",
            Self::Header => "the evidence lacks a header parameter or has a wrong one",
            Self::NotCanonical => "the evidence is not in canonical form",
            Self::Algorithm => {
                "the evidence is signed with an algorithm that its key does not have"
            }
            Self::Purpose => "keys of this purpose sign no files",
            Self::OtherChain => "the evidence was made for another ledger",
            Self::OtherFile => "the evidence was made for another file",
            Self::Signature => "the signature is not by the signer's key",
            Self::KeyStore => "the private key could not be used",
        })
    }
}

impl core::error::Error for EvidenceError {}

crate::code::codes!(EvidenceError {
    TooLarge,
    Cose,
    Header,
    NotCanonical,
    Algorithm,
    Purpose,
    OtherChain,
    OtherFile,
    Signature,
    KeyStore,
});

impl From<SignatureError> for EvidenceError {
    fn from(_: SignatureError) -> Self {
        Self::Signature
    }
}

impl From<KeyStoreError> for EvidenceError {
    fn from(_: KeyStoreError) -> Self {
        Self::KeyStore
    }
}

/// What the signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// The signer's ledger.
    pub chain: ChainId,
    /// The signer.
    pub signer: Handle,
    /// What the signer's key is for.
    pub purpose: Purpose,
    /// SHA-256 of the file.
    pub file: Digest,
}

/// A signature of a file with what is needed to check it later without a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    signed: Signed,
    algorithm: Algorithm,
    signature: Signature,
    proof: Vec<u8>,
    genesis: Vec<u8>,
    walk: Vec<Vec<u8>>,
    anchor: Option<Vec<u8>>,
    encoded: Vec<u8>,
    to_be_signed: Vec<u8>,
}

const PROOF: &str = "proof";
const ANCHOR: &str = "anchor";
const WALK: &str = "walk";
const GENESIS: &str = "genesis";

impl Evidence {
    /// Longest bundle in bytes.
    pub const MAX: usize = 64 * 1024;

    /// Signs a file's digest and packs the proof of the signer's record, the genesis document and the steps (handovers
    /// and recoveries, in order) from it to the epoch of the proof.
    ///
    /// # Errors
    /// [`EvidenceError::Algorithm`] for a foreign key, [`EvidenceError::Purpose`], [`EvidenceError::KeyStore`],
    /// [`EvidenceError::TooLarge`]
    pub fn sign(
        key: &impl KeyStore,
        signed: Signed,
        proof: Vec<u8>,
        genesis: Vec<u8>,
        walk: Vec<Vec<u8>>,
    ) -> Result<Self, EvidenceError> {
        let algorithm = key
            .public_keys()
            .verification_key()
            .ok_or(EvidenceError::Algorithm)?
            .algorithm();
        let none = Signature::new([0; Signature::LEN]);
        let unsigned = Self::pack(signed, algorithm, none, proof, genesis, walk)?;
        let signature = key.sign_message(&unsigned.to_be_signed)?;
        Self {
            signature,
            ..unsigned
        }
        .assemble()
    }

    /// Packs a signature that was made elsewhere, a receipt's for instance; nothing is verified.
    ///
    /// # Errors
    /// [`EvidenceError::Purpose`], [`EvidenceError::TooLarge`]
    pub fn pack(
        signed: Signed,
        algorithm: Algorithm,
        signature: Signature,
        proof: Vec<u8>,
        genesis: Vec<u8>,
        walk: Vec<Vec<u8>>,
    ) -> Result<Self, EvidenceError> {
        Self {
            signed,
            algorithm,
            signature,
            proof,
            genesis,
            walk,
            anchor: None,
            encoded: Vec::new(),
            to_be_signed: Vec::new(),
        }
        .assemble()
    }

    /// The same bundle with the proof of the anchor row of [`anchor_digest`](Self::anchor_digest), and the steps that
    /// lead to the epochs of both proofs.
    ///
    /// # Errors
    /// [`EvidenceError::TooLarge`]
    pub fn anchored(self, anchor: Vec<u8>, walk: Vec<Vec<u8>>) -> Result<Self, EvidenceError> {
        Self {
            anchor: Some(anchor),
            walk,
            ..self
        }
        .assemble()
    }

    /// Reads a bundle; nothing is verified yet.
    ///
    /// # Errors
    /// [`EvidenceError::TooLarge`], [`EvidenceError::Cose`], [`EvidenceError::Header`], [`EvidenceError::Algorithm`],
    /// [`EvidenceError::Purpose`], [`EvidenceError::NotCanonical`]
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > Self::MAX {
            return Err(EvidenceError::TooLarge);
        }
        let cose = CoseSign1::from_tagged_slice(bytes).map_err(|_| EvidenceError::Cose)?;
        let protected = cose.protected.header;
        let algorithm = match &protected.alg {
            Some(coset::Algorithm::Assigned(CoseAlgorithm::EdDSA)) => Algorithm::Ed25519,
            Some(coset::Algorithm::Assigned(CoseAlgorithm::ES256)) => Algorithm::P256,
            Some(_) => return Err(EvidenceError::Algorithm),
            None => return Err(EvidenceError::Header),
        };
        let (chain, purpose) = facts(text_parameter(&protected, KUSABI)?)?;
        let signed = Signed {
            chain,
            signer: Handle::new(fixed(&protected.key_id)?),
            purpose,
            file: Digest::new(fixed(&cose.payload.ok_or(EvidenceError::Header)?)?),
        };
        let unprotected = &cose.unprotected;
        let walk = match text_parameter(unprotected, WALK) {
            Ok(value) => value
                .as_array()
                .ok_or(EvidenceError::Header)?
                .iter()
                .map(byte_string)
                .collect::<Result<_, _>>()?,
            Err(_) => Vec::new(),
        };
        let evidence = Self {
            signed,
            algorithm,
            signature: Signature::new(fixed(&cose.signature)?),
            proof: byte_string(text_parameter(unprotected, PROOF)?)?,
            genesis: byte_string(text_parameter(unprotected, GENESIS)?)?,
            walk,
            anchor: text_parameter(unprotected, ANCHOR)
                .ok()
                .map(byte_string)
                .transpose()?,
            encoded: Vec::new(),
            to_be_signed: Vec::new(),
        }
        .assemble()?;
        // Whatever was not read above (other parameters, another order, longer forms, a wrong constant) shows here.
        if evidence.encoded == bytes {
            Ok(evidence)
        } else {
            Err(EvidenceError::NotCanonical)
        }
    }

    /// Checks that the bundle is for this chain and file, and that `key` signed it.
    ///
    /// # Errors
    /// [`EvidenceError::OtherChain`], [`EvidenceError::OtherFile`], [`EvidenceError::Algorithm`],
    /// [`EvidenceError::Signature`]
    pub fn check_signature(
        &self,
        chain: &ChainId,
        file: &Digest,
        key: &VerificationKey,
    ) -> Result<(), EvidenceError> {
        self.check_subject(chain, file)?;
        if key.algorithm() != self.algorithm {
            return Err(EvidenceError::Algorithm);
        }
        Ok(key.verify_message(&self.to_be_signed, &self.signature)?)
    }

    /// Checks that the bundle is for this chain and file. Says nothing about who made it.
    ///
    /// # Errors
    /// [`EvidenceError::OtherChain`], [`EvidenceError::OtherFile`]
    pub fn check_subject(&self, chain: &ChainId, file: &Digest) -> Result<(), EvidenceError> {
        if self.signed.chain != *chain {
            return Err(EvidenceError::OtherChain);
        }
        if self.signed.file != *file {
            return Err(EvidenceError::OtherFile);
        }
        Ok(())
    }

    /// What the signature covers.
    #[must_use]
    pub const fn signed(&self) -> &Signed {
        &self.signed
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What it is signed with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What goes into an anchor row to show later that the signature existed: a hash of it and all that it covers.
    #[must_use]
    pub fn anchor_digest(&self) -> Digest {
        let mut hasher = Hasher::new(b"kusabi.evidence.v1");
        hasher.put(&self.to_be_signed);
        hasher.put(self.signature.as_ref());
        Digest::new(hasher.finish())
    }

    /// The embedded proof of the signer's record.
    #[must_use]
    pub fn proof(&self) -> &[u8] {
        &self.proof
    }

    /// The embedded proof of the anchor row, if the signature was anchored.
    #[must_use]
    pub fn anchor(&self) -> Option<&[u8]> {
        self.anchor.as_deref()
    }

    /// The embedded handovers and recoveries, in order.
    pub fn walk(&self) -> impl Iterator<Item = &[u8]> {
        self.walk.iter().map(Vec::as_slice)
    }

    /// The embedded genesis document.
    #[must_use]
    pub fn genesis(&self) -> &[u8] {
        &self.genesis
    }

    /// The bundle.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Fills in the two byte strings that follow from the other fields.
    fn assemble(mut self) -> Result<Self, EvidenceError> {
        if !self.signed.purpose.has_record() {
            return Err(EvidenceError::Purpose);
        }
        let cose = CoseSign1 {
            protected: self.protected()?,
            unprotected: self.unprotected(),
            payload: Some(self.signed.file.as_ref().to_vec()),
            signature: self.signature.as_ref().to_vec(),
        };
        self.to_be_signed = cose.tbs_data(&[]);
        self.encoded = cose.to_tagged_vec().map_err(|_| EvidenceError::Cose)?;
        if self.encoded.len() > Self::MAX {
            return Err(EvidenceError::TooLarge);
        }
        Ok(self)
    }

    fn protected(&self) -> Result<ProtectedHeader, EvidenceError> {
        let Signed {
            chain,
            signer,
            purpose,
            ..
        } = self.signed;
        let protected = Protected {
            algorithm: self.algorithm,
            signer,
            chain,
            purpose,
        };
        ProtectedHeader::from_cbor_bstr(Value::Bytes(protected.to_cbor_vec()))
            .map_err(|_| EvidenceError::Cose)
    }

    /// In the order of RFC 8949, 4.2.1: shorter names first.
    fn unprotected(&self) -> Header {
        let mut header = HeaderBuilder::new();
        if !self.walk.is_empty() {
            let steps = self.walk.iter().map(|step| Value::from(step.as_slice()));
            header = header.text_value(WALK.to_string(), Value::Array(steps.collect()));
        }
        header = header.text_value(PROOF.to_string(), Value::from(self.proof.as_slice()));
        if let Some(anchor) = &self.anchor {
            header = header.text_value(ANCHOR.to_string(), Value::from(anchor.as_slice()));
        }
        header
            .text_value(GENESIS.to_string(), Value::from(self.genesis.as_slice()))
            .build()
    }
}

/// The chain and purpose of `[1, chain, purpose, 0x0300]`; the two constants are compared with the whole encoding.
fn facts(value: &Value) -> Result<(ChainId, Purpose), EvidenceError> {
    let Some([_, Value::Bytes(chain), Value::Integer(purpose), _]) =
        value.as_array().map(Vec::as_slice)
    else {
        return Err(EvidenceError::Header);
    };
    let purpose = u8::try_from(*purpose).map_err(|_| EvidenceError::Purpose)?;
    let purpose = Purpose::try_from(purpose).map_err(|_| EvidenceError::Purpose)?;
    Ok((ChainId::new(fixed(chain)?), purpose))
}

fn text_parameter<'a>(header: &'a Header, name: &str) -> Result<&'a Value, EvidenceError> {
    header
        .rest
        .iter()
        .find_map(|(label, value)| match label {
            Label::Text(text) if text == name => Some(value),
            _ => None,
        })
        .ok_or(EvidenceError::Header)
}

fn byte_string(value: &Value) -> Result<Vec<u8>, EvidenceError> {
    value.as_bytes().cloned().ok_or(EvidenceError::Header)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], EvidenceError> {
    bytes.try_into().map_err(|_| EvidenceError::Header)
}
