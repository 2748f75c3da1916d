//! Keys that sign artifacts.
//!
//! The tools know two kinds: RSA (PKCS#1 v1.5) and ECDSA over P-256, both over SHA-256. Of the second a signature is r ‖ s, or the
//! DER of both where a security module made it. No tool verifies Ed25519 for artifacts, so an artifact that is signed so could be
//! taken here and by no device: there is none.

use std::fmt;

use der::{Decode as _, Reader as _, SliceReader, asn1::UintRef};
use kusabi_core::suite::{
    Algorithm, ForeignAlgorithm, Signature, VerificationKey, foreign_verification_key,
};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Bytes of a modulus of 2,048 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A key that may sign artifacts.
#[derive(Clone, PartialEq, Eq)]
pub struct ArtifactKey(Inner);

#[derive(Clone, PartialEq, Eq)]
enum Inner {
    /// Of the algorithm P-256.
    P256(VerificationKey),
    /// Modulus and exponent, big-endian.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

/// Why a key cannot sign artifacts.
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
    /// Not a point of the curve P-256.
    #[error("not a point of the curve P-256, with which artifacts are signed")]
    P256,
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
            RSA_ENCRYPTION => {
                // RFC 3279, 2.3.1: the parameters are NULL.
                if info.algorithm.parameters.is_none_or(|any| !any.is_null()) {
                    return Err(KeyError::Spki);
                }
                rsa(info.subject_public_key.as_bytes().ok_or(KeyError::Spki)?)
            }
            _ => Err(KeyError::Algorithm),
        }
    }

    /// Whether it signed `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Inner::P256(key) => p256_signature(signature)
                .is_some_and(|signature| key.verify_message(message, &signature).is_ok()),
            Inner::Rsa { modulus, exponent } => RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok(),
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
            Inner::Rsa { modulus, .. } => write!(f, "RSA of {} bytes", modulus.len()),
        }
    }
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
fn rsa(der: &[u8]) -> Result<ArtifactKey, KeyError> {
    let read = || -> der::Result<_> {
        let mut reader = SliceReader::new(der)?;
        let (modulus, exponent) = reader.sequence(|reader| -> der::Result<_> {
            Ok((
                UintRef::decode(reader)?.as_bytes().to_vec(),
                UintRef::decode(reader)?.as_bytes().to_vec(),
            ))
        })?;
        reader.finish()?;
        Ok((modulus, exponent))
    };
    let (modulus, exponent) = read().map_err(|_| KeyError::Spki)?;
    let value = exponent
        .iter()
        .try_fold(0_u32, |value, byte| {
            value.checked_mul(256)?.checked_add((*byte).into())
        })
        .ok_or(KeyError::Rsa)?;
    if !MODULUS_BYTES.contains(&modulus.len()) || value < 3 || value % 2 == 0 {
        return Err(KeyError::Rsa);
    }
    Ok(ArtifactKey(Inner::Rsa { modulus, exponent }))
}

/// r ‖ s, or their DER. Kusabi's own statements have a low s; the tools of others make either, and both are of the same signer.
fn p256_signature(bytes: &[u8]) -> Option<Signature> {
    let signature = match bytes.len() {
        Signature::LEN => p256::ecdsa::Signature::from_slice(bytes),
        _ => p256::ecdsa::Signature::from_der(bytes),
    };
    let low: [u8; Signature::LEN] = signature.ok()?.normalize_s().to_bytes().into();
    Some(Signature::new(low))
}
