//! The primitives, each behind one function: SHA-256, HMAC, HKDF, Ed25519 by ZIP-215, ECDSA over P-256 (spec/identity.md).
//!
//! Nothing is invented here: each function calls a reviewed crate and fixes the choices that the crate leaves open
//! (which Ed25519 rule, which form of an ECDSA signature). Private keys live in [`keystore`](crate::keystore).

use core::fmt;

use ed25519_zebra::VerificationKey as Ed25519Key;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Verifier;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::wire::Sink;

/// Why a key or a signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum SignatureError {
    /// The public key's bytes are not a key.
    Key = 0x0301,
    /// The signature's bytes are not one (a scalar out of range, a point that is none).
    Malformed = 0x0302,
    /// The signature is not by this key over this message.
    Mismatch = 0x0303,
    /// An ECDSA signature with the higher of its two `s` values.
    HighS = 0x0304,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "the public key is not valid",
            Self::Malformed => "the signature is not well-formed",
            Self::Mismatch => "the signature is not by this key over these bytes",
            Self::HighS => "the ECDSA signature has a high s value",
        })
    }
}

impl core::error::Error for SignatureError {}

crate::code::codes!(SignatureError {
    Key,
    Malformed,
    Mismatch,
    HighS,
});

/// SHA-256, fed piece by piece; encoders write into it as into any other [`Sink`].
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts with a label (no terminator, no length: labels are prefix-free by their version suffix).
    #[must_use]
    pub fn new(label: &[u8]) -> Self {
        let mut hasher = Self::default();
        hasher.put(label);
        hasher
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl Sink for Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// SHA-256 of the parts, joined.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Hasher::default();
    for part in parts {
        hasher.put(part);
    }
    hasher.finish()
}

/// HMAC-SHA-256 (RFC 2104) of the parts, joined; the key may have any length.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        // HMAC takes keys of every length; the crate's type knows only that some MACs do not.
        debug_assert!(false, "HMAC refused a key's length");
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// HKDF-SHA-256 (RFC 5869): 32 bytes from `ikm`, under a salt and the joined parts of an info.
#[must_use]
pub fn hkdf_sha256(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> zeroize::Zeroizing<[u8; 32]> {
    let mut okm = zeroize::Zeroizing::new([0; 32]);
    let expanded = Hkdf::<Sha256>::new(Some(salt), ikm).expand_multi_info(info, okm.as_mut());
    debug_assert!(expanded.is_ok(), "HKDF gives up to 8,160 bytes");
    okm
}

/// Compares without telling by its time where two values differ. Different lengths are unequal at once.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The first half of a digest: what 16-byte identifiers are made of.
#[must_use]
pub const fn first_16(digest: &[u8; 32]) -> [u8; 16] {
    match digest.first_chunk() {
        Some(half) => *half,
        None => [0; 16],
    }
}

/// Checks that the bytes decompress to a point, which is all that verifying asks of them: non-canonical encodings pass, as
/// ZIP-215 wants it, and so do points of small order. Keys come in by
/// [`VerificationKey::ed25519`](crate::suite::VerificationKey::ed25519), which refuses the latter.
///
/// # Errors
/// [`SignatureError::Key`]
pub fn check_ed25519_key(key: &[u8; 32]) -> Result<(), SignatureError> {
    Ed25519Key::try_from(*key)
        .map(drop)
        .map_err(|_| SignatureError::Key)
}

/// Verifies an Ed25519 signature by the rule of [ZIP-215](https://zips.z.cash/zip-0215): the cofactored equation, any
/// point encoding that decompresses, `s` below the group's order.
///
/// It is the engine's rule too, so no signature is good for the ledger and bad for a device.
///
/// # Errors
/// [`SignatureError::Key`], [`SignatureError::Mismatch`] (also when `R` or `s` is malformed: the crate does not tell)
pub fn verify_ed25519(
    key: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), SignatureError> {
    Ed25519Key::try_from(*key)
        .map_err(|_| SignatureError::Key)?
        .verify(&ed25519_zebra::Signature::from_bytes(signature), message)
        .map_err(|_| SignatureError::Mismatch)
}

/// Checks that the bytes are a compressed point of P-256 (SEC 1, 2.3.4), tags 02 and 03 only.
///
/// # Errors
/// [`SignatureError::Key`]
pub fn check_p256_key(key: &[u8; 33]) -> Result<(), SignatureError> {
    p256_key(key).map(drop)
}

pub(crate) fn p256_key(key: &[u8; 33]) -> Result<p256::PublicKey, SignatureError> {
    match key {
        // SEC 1 knows other tags of the same length ("compact"); one point has one encoding here.
        [2 | 3, ..] => p256::PublicKey::from_sec1_bytes(key).map_err(|_| SignatureError::Key),
        _ => Err(SignatureError::Key),
    }
}

/// Verifies an ECDSA signature `r ‖ s` over P-256 and SHA-256 (FIPS 186-5); of the two valid `s` only the lower passes.
///
/// # Errors
/// [`SignatureError::Key`], [`SignatureError::Malformed`], [`SignatureError::HighS`], [`SignatureError::Mismatch`]
pub fn verify_p256(
    key: &[u8; 33],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), SignatureError> {
    let key = p256::ecdsa::VerifyingKey::from(p256_key(key)?);
    let signature =
        p256::ecdsa::Signature::from_slice(signature).map_err(|_| SignatureError::Malformed)?;
    if signature.normalize_s() != signature {
        return Err(SignatureError::HighS);
    }
    key.verify(message, &signature)
        .map_err(|_| SignatureError::Mismatch)
}

/// Compresses an uncompressed point (SEC 1, tag 04), checking that it is on the curve.
///
/// # Errors
/// [`SignatureError::Key`]
pub(crate) fn compress_p256(point: &[u8; 65]) -> Result<[u8; 33], SignatureError> {
    let [4, ..] = point else {
        return Err(SignatureError::Key);
    };
    p256::PublicKey::from_sec1_bytes(point)
        .map(|key| p256_bytes(&key))
        .map_err(|_| SignatureError::Key)
}

/// The compressed encoding of a public key.
pub(crate) fn p256_bytes(key: &p256::PublicKey) -> [u8; 33] {
    use p256::elliptic_curve::sec1::ToSec1Point;
    let mut bytes = [0; 33];
    // A public key is never the point at infinity, so its compressed form has 33 bytes.
    for (to, from) in bytes.iter_mut().zip(key.to_sec1_point(true).as_bytes()) {
        *to = *from;
    }
    bytes
}

/// The uncompressed encoding of a public key (SEC 1, tag 04).
pub(crate) fn p256_uncompressed(key: &p256::PublicKey) -> [u8; 65] {
    use p256::elliptic_curve::sec1::ToSec1Point;
    let mut bytes = [0; 65];
    // A public key is never the point at infinity, so its uncompressed form has 65 bytes.
    for (to, from) in bytes.iter_mut().zip(key.to_sec1_point(false).as_bytes()) {
        *to = *from;
    }
    bytes
}
