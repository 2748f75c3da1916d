//! Keys that sign what a device asks with.
//!
//! A device signs the body of its request for a token, as it goes over the wire: with RSA (PKCS#1 v1.5) or ECDSA over P-256, both
//! over SHA-256, or with Ed25519 over the body itself. Other than in artifacts, a signature of ECDSA is always DER.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use der::{Decode as _, pem};
use kusabi_core::suite::{ForeignAlgorithm, Signature, VerificationKey, foreign_verification_key};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::{
    key::{EC_PUBLIC_KEY, KeyError, low_s},
    rsa::{RSA_ENCRYPTION, RsaKey},
};

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// What the PEM of such a key begins and ends with.
const LABEL: &str = "PUBLIC KEY";

/// A key of a device.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceKey {
    spki: Vec<u8>,
    inner: Inner,
}

#[derive(Clone, PartialEq, Eq)]
enum Inner {
    P256(VerificationKey),
    Ed25519(VerificationKey),
    Rsa(RsaKey),
}

impl DeviceKey {
    /// A key from its PEM ("PUBLIC KEY").
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match pem::decode_vec(text.trim().as_bytes()) {
            Ok((LABEL, spki)) => Self::from_spki(&spki),
            Ok(_) | Err(_) => Err(KeyError::Spki),
        }
    }

    /// A key from its SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), DER. There is one such form of each key: others are refused.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| KeyError::Spki)?;
        let inner = match info.algorithm.oid {
            EC_PUBLIC_KEY => foreign_verification_key(ForeignAlgorithm::P256, spki)
                .map(Inner::P256)
                .map_err(|_| KeyError::P256)?,
            ED25519 => foreign_verification_key(ForeignAlgorithm::Ed25519, spki)
                .map(Inner::Ed25519)
                .map_err(|_| KeyError::Ed25519)?,
            RSA_ENCRYPTION => Inner::Rsa(RsaKey::of(&info)?),
            _ => return Err(KeyError::DeviceAlgorithm),
        };
        Ok(Self {
            spki: spki.to_vec(),
            inner,
        })
    }

    /// Its SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Its PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        // The label is one, and what a PEM has no room for is longer than any key.
        pem::encode_string(LABEL, pem::LineEnding::LF, &self.spki).unwrap_or_default()
    }

    /// With what it signs.
    #[must_use]
    pub const fn algorithm(&self) -> ForeignAlgorithm {
        match self.inner {
            Inner::P256(_) => ForeignAlgorithm::P256,
            Inner::Ed25519(_) => ForeignAlgorithm::Ed25519,
            Inner::Rsa(_) => ForeignAlgorithm::Rsa,
        }
    }

    /// Whether it signed these bytes of a request; `signature` as it stands in the header `X-MEN-Signature`: base64.
    #[must_use]
    pub fn signed(&self, body: &[u8], signature: &str) -> bool {
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| self.verifies(body, &signature))
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.inner {
            Inner::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_message(message, &low_s(signature)).is_ok()),
            Inner::Ed25519(key) => <[u8; Signature::LEN]>::try_from(signature)
                .is_ok_and(|bytes| key.verify_message(message, &Signature::new(bytes)).is_ok()),
            Inner::Rsa(key) => key.verifies(message, signature),
        }
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::P256(key) => write!(f, "P-256 {key:?}"),
            Inner::Ed25519(key) => write!(f, "Ed25519 {key:?}"),
            Inner::Rsa(key) => write!(f, "RSA of {} bytes", key.len()),
        }
    }
}
