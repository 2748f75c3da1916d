//! Keys that sign artifacts.
//!
//! The tools know two kinds: RSA (PKCS#1 v1.5) and ECDSA over P-256, both over SHA-256. Of the second a signature is r ‖ s, or the
//! DER of both where a security module made it. No tool verifies Ed25519 for artifacts, so an artifact that is signed so could be
//! taken here and by no device: there is none.

use std::fmt;

use der::Decode as _;
use kusabi_core::suite::{
    Algorithm, ForeignAlgorithm, Signature, VerificationKey, foreign_verification_key,
};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::rsa::{RSA_ENCRYPTION, RsaKey};

pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// A key that may sign artifacts.
#[derive(Clone, PartialEq, Eq)]
pub struct ArtifactKey(Inner);

#[derive(Clone, PartialEq, Eq)]
enum Inner {
    /// Of the algorithm P-256.
    P256(VerificationKey),
    Rsa(RsaKey),
}

/// Why a key cannot sign artifacts, or what a device asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the DER of a public key.
    #[error("not a public key (SubjectPublicKeyInfo)")]
    Spki,
    /// An algorithm that Mender's tools do not verify artifacts with.
    #[error(
        "a key of an algorithm that no Mender client verifies artifacts with: it has to be RSA or P-256"
    )]
    Algorithm,
    /// An algorithm that no Mender client signs its requests with.
    #[error("a key of an algorithm that no Mender client has: it has to be RSA, P-256 or Ed25519")]
    DeviceAlgorithm,
    /// Not a point of the curve P-256.
    #[error("not a point of the curve P-256; of the curves, only this one is taken")]
    P256,
    /// Not a key of Ed25519.
    #[error("not a key of Ed25519")]
    Ed25519,
    /// Of a size that is not taken, or with an exponent that nobody uses.
    #[error("an RSA key has 2048 to 8192 bits and an odd exponent of 3 to 2^32")]
    Rsa,
}

/// Why nobody who counts has signed an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It has no signature at all.
    #[error("the artifact is not signed; sign it: mender-artifact sign -k KEY")]
    Unsigned,
    /// Its signature is of none of the keys.
    #[error(
        "the artifact's signature is of none of the {keys} keys that may sign it, or it was changed after it was signed"
    )]
    Mismatch {
        /// How many keys were tried.
        keys: usize,
    },
}

impl ArtifactKey {
    /// A key from its SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), DER: what stands in a PEM file "PUBLIC KEY".
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| KeyError::Spki)?;
        match info.algorithm.oid {
            EC_PUBLIC_KEY => foreign_verification_key(ForeignAlgorithm::P256, spki)
                .map(|key| Self(Inner::P256(key)))
                .map_err(|_| KeyError::P256),
            RSA_ENCRYPTION => RsaKey::of(&info).map(|key| Self(Inner::Rsa(key))),
            _ => Err(KeyError::Algorithm),
        }
    }

    /// Its algorithm, as the ledger calls it.
    #[must_use]
    pub const fn algorithm(&self) -> ForeignAlgorithm {
        match &self.0 {
            Inner::P256(_) => ForeignAlgorithm::P256,
            Inner::Rsa(_) => ForeignAlgorithm::Rsa,
        }
    }

    /// Whether it signed `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Inner::P256(key) => p256_signature(signature)
                .is_some_and(|signature| key.verify_message(message, &signature).is_ok()),
            Inner::Rsa(key) => key.verifies(message, signature),
        }
    }
}

/// A P-256 key of a record (suite 2).
impl TryFrom<VerificationKey> for ArtifactKey {
    type Error = KeyError;

    fn try_from(key: VerificationKey) -> Result<Self, KeyError> {
        match key.algorithm() {
            Algorithm::P256 => Ok(Self(Inner::P256(key))),
            Algorithm::Ed25519 => Err(KeyError::Algorithm),
        }
    }
}

impl fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::P256(key) => write!(f, "P-256 {key:?}"),
            Inner::Rsa(key) => write!(f, "RSA of {} bytes", key.len()),
        }
    }
}

/// r ‖ s, or their DER. Kusabi's own statements have a low s; the tools of others make either, and both are of the same signer.
fn p256_signature(bytes: &[u8]) -> Option<Signature> {
    let signature = match bytes.len() {
        Signature::LEN => p256::ecdsa::Signature::from_slice(bytes),
        _ => p256::ecdsa::Signature::from_der(bytes),
    };
    signature.ok().map(low_s)
}

/// The one of the two signatures of the same that kusabi's own verifier takes.
pub(crate) fn low_s(signature: p256::ecdsa::Signature) -> Signature {
    Signature::new(signature.normalize_s().to_bytes().into())
}
