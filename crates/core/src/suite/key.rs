//! One public key: for signatures, or for agreement.

use core::fmt;

use super::{Algorithm, KeyError};
use crate::crypto::{self, SignatureError};
use crate::id::{Handle, write_hex};
use crate::statement::Statement;

/// A signature: 64 bytes in all algorithms here. Checked when it is verified, not before.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; Self::LEN]);

impl Signature {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// Wraps received bytes.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl From<[u8; Self::LEN]> for Signature {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

/// A checked public signing key: `alg u8 ‖ 33 bytes` (Ed25519: 32 bytes and a zero; P-256: compressed).
///
/// The order is that of the encoding, as sets of keys are sorted by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerificationKey {
    algorithm: Algorithm,
    key: [u8; 33],
}

impl VerificationKey {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 34;

    /// Checks an Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::Ed25519`]
    pub fn ed25519(key: &[u8; 32]) -> Result<Self, KeyError> {
        crypto::check_ed25519_key(key).map_err(|_| KeyError::Ed25519)?;
        // The top bit is the sign of x; the order does not depend on it.
        let mut y = *key;
        let [.., top] = &mut y;
        *top &= 0x7f;
        if SMALL_ORDER_Y.contains(&y) {
            return Err(KeyError::Ed25519);
        }
        Ok(Self::ed25519_checked(key))
    }

    pub(super) fn ed25519_checked(bytes: &[u8; 32]) -> Self {
        let mut key = [0; 33];
        for (to, from) in key.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self {
            algorithm: Algorithm::Ed25519,
            key,
        }
    }

    /// A compressed P-256 key.
    ///
    /// # Errors
    /// [`KeyError::P256`]
    pub fn p256(key: &[u8; 33]) -> Result<Self, KeyError> {
        crypto::check_p256_key(key).map_err(|_| KeyError::P256)?;
        Ok(Self::p256_checked(key))
    }

    pub(super) const fn p256_checked(key: &[u8; 33]) -> Self {
        Self {
            algorithm: Algorithm::P256,
            key: *key,
        }
    }

    /// Reads the encoding.
    ///
    /// # Errors
    /// [`KeyError::Algorithm`], [`KeyError::Padding`], [`KeyError::Ed25519`], [`KeyError::P256`]
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, KeyError> {
        let [algorithm, key @ ..] = bytes;
        match algorithm {
            1 => {
                let [key @ .., padding] = key;
                if *padding != 0 {
                    return Err(KeyError::Padding);
                }
                Self::ed25519(key)
            }
            2 => Self::p256(key),
            _ => Err(KeyError::Algorithm),
        }
    }

    /// The encoding.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let [algorithm, key @ ..] = &mut bytes;
        *algorithm = self.algorithm as u8;
        *key = self.key;
        bytes
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw public key: 32 bytes for Ed25519, 33 for P-256.
    #[must_use]
    pub const fn raw(&self) -> &[u8] {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let [key @ .., _] = &self.key;
                key
            }
            Algorithm::P256 => &self.key,
        }
    }

    /// The raw key, if it is an Ed25519 one.
    #[must_use]
    pub const fn as_ed25519(&self) -> Option<&[u8; 32]> {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let [key @ .., _] = &self.key;
                Some(key)
            }
            Algorithm::P256 => None,
        }
    }

    /// The handle under which a key without a record signs.
    #[must_use]
    pub fn bare_handle(&self) -> Handle {
        Handle::new(crypto::sha256(&[b"kusabi.bare-key.v1", &self.encode()]))
    }

    /// Verifies a signature over a statement.
    ///
    /// # Errors
    /// Those of [`verify_message`](Self::verify_message).
    pub fn verify(
        &self,
        statement: &Statement,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.verify_message(statement.as_bytes(), signature)
    }

    /// Verifies a signature over other bytes: only for formats that are not kusabi's own (COSE, the engine's votes),
    /// which separate their domains themselves.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`], [`SignatureError::Malformed`], [`SignatureError::HighS`]
    pub fn verify_message(
        &self,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let [ed25519 @ .., _] = &self.key;
        match self.algorithm {
            Algorithm::Ed25519 => crypto::verify_ed25519(ed25519, message, &signature.0),
            Algorithm::P256 => crypto::verify_p256(&self.key, message, &signature.0),
        }
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.encode(), f)
    }
}

/// A checked public key for key agreement.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgreementKey {
    /// X25519 (RFC 7748), not of small order.
    X25519([u8; 32]),
    /// A compressed point of P-256.
    P256([u8; 33]),
}

impl AgreementKey {
    /// Checks an X25519 key.
    ///
    /// # Errors
    /// [`KeyError::X25519`]
    pub fn x25519(key: &[u8; 32]) -> Result<Self, KeyError> {
        // The top bit is ignored by X25519 (RFC 7748, section 5).
        let mut masked = *key;
        let [.., top] = &mut masked;
        *top &= 0x7f;
        if SMALL_ORDER.contains(&masked) {
            Err(KeyError::X25519)
        } else {
            Ok(Self::X25519(*key))
        }
    }

    /// Checks a compressed P-256 key.
    ///
    /// # Errors
    /// [`KeyError::P256`]
    pub fn p256(key: &[u8; 33]) -> Result<Self, KeyError> {
        crypto::check_p256_key(key).map_err(|_| KeyError::P256)?;
        Ok(Self::P256(*key))
    }

    /// The raw public key: 32 or 33 bytes.
    #[must_use]
    pub const fn raw(&self) -> &[u8] {
        match self {
            Self::X25519(key) => key,
            Self::P256(key) => key,
        }
    }
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.raw(), f)
    }
}

/// The u-coordinates of small order on Curve25519 and its twist, with the two that are not reduced: 0, 1, the two of
/// order 8, p − 1, p, p + 1 (<https://cr.yp.to/ecdh.html#validate>).
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    little_endian(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    little_endian(0xec, 0xff, 0x7f),
    little_endian(0xed, 0xff, 0x7f),
    little_endian(0xee, 0xff, 0x7f),
];

/// The y-coordinates of small order on the Edwards curve, with the two that are not reduced: 0 (order 4), 1 (order 1), the
/// two of order 8, p − 1 (order 2), p, p + 1 (<https://zips.z.cash/zip-0215>, test vectors).
const SMALL_ORDER_Y: [[u8; 32]; 7] = [
    [0; 32],
    little_endian(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    little_endian(0xec, 0xff, 0x7f),
    little_endian(0xed, 0xff, 0x7f),
    little_endian(0xee, 0xff, 0x7f),
];

/// 32 bytes with this first, these middle, and this last.
const fn little_endian(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    let [low, .., high] = &mut bytes;
    *low = first;
    *high = last;
    bytes
}
