//! Purposes, suites and public keys (spec/identity.md).
//!
//! What holds a [`PublicKeys`] or a [`VerificationKey`] never meets a malformed point again; keys whose points nobody has
//! looked at yet are [`UncheckedKeys`]. Private keys are in [`keystore`](crate::keystore).

mod key;
mod public_keys;

use core::fmt;

pub use key::{AgreementKey, Signature, VerificationKey};
pub use public_keys::{BindingContext, PublicKeys, UncheckedKeys, foreign_verification_key};

/// Why a purpose, suite or public key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum KeyError {
    /// No purpose has this number.
    Purpose = 0x0401,
    /// No suite has this number, or it is reserved.
    Suite = 0x0402,
    /// No algorithm has this number.
    Algorithm = 0x0403,
    /// The Ed25519 bytes do not decompress to a point, or to one of small order, under which anyone can sign anything.
    Ed25519 = 0x0404,
    /// The X25519 bytes are a point of small order, with which every agreement gives the same secret.
    X25519 = 0x0405,
    /// The bytes are not a compressed point of P-256.
    P256 = 0x0406,
    /// Padding that must be zero is not.
    Padding = 0x0407,
    /// The compact form does not have the suite's length.
    Length = 0x0408,
    /// A foreign key (SPKI DER) is empty, longer than 2,048 bytes, or not of the form its algorithm has.
    Spki = 0x0409,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Purpose => "there is no purpose with this number",
            Self::Suite => "there is no suite with this number",
            Self::Algorithm => "there is no algorithm with this number",
            Self::Ed25519 => "the Ed25519 key is not a point, or one of small order",
            Self::X25519 => "the X25519 key is a point of small order",
            Self::P256 => "the P-256 key is not a compressed point of the curve",
            Self::Padding => "the padding of a key is not zero",
            Self::Length => "a key has the wrong length for its suite",
            Self::Spki => "the foreign key is not a SubjectPublicKeyInfo that its algorithm allows",
        })
    }
}

impl core::error::Error for KeyError {}

crate::code::codes!(KeyError {
    Purpose,
    Suite,
    Algorithm,
    Ed25519,
    X25519,
    P256,
    Padding,
    Length,
    Spki,
});

/// What a key is for. A signature names it, so that a key never speaks in another role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Factory key of a device: its one act is to activate its successor.
    Pre = 1,
    /// Device key.
    Act = 2,
    /// Release key.
    Art = 3,
    /// Server key.
    Ps = 4,
    /// Registers keys.
    Writer = 5,
    /// Grants and withdraws the organisation's other roles.
    Officer = 6,
    /// Revokes keys.
    Revoker = 7,
    /// A key of a person or program: signs files.
    App = 8,
    /// A validator's vote key of one epoch; has no record.
    Vote = 64,
    /// A node's identity on the network; has no record.
    Node = 65,
    /// Recovery key; has no record.
    Recovery = 66,
}

impl Purpose {
    /// Whether keys of this purpose stand in records.
    #[must_use]
    pub const fn has_record(self) -> bool {
        (self as u8) < Self::Vote as u8
    }

    /// Whether writers register keys of this purpose (spec/ledger.md, action 1).
    #[must_use]
    pub const fn is_registered(self) -> bool {
        matches!(self, Self::Pre | Self::Act | Self::App)
    }

    /// Whether officers grant and withdraw keys of this purpose (actions 5 and 6).
    #[must_use]
    pub const fn is_granted(self) -> bool {
        matches!(
            self,
            Self::Writer | Self::Revoker | Self::Ps | Self::Officer
        )
    }

    /// Whether a key of this purpose can let another one take its place (action 3). A role cannot: a stolen one would always
    /// be gone before what ends it arrives.
    #[must_use]
    pub const fn is_superseded(self) -> bool {
        matches!(self, Self::Act | Self::App)
    }

    /// Whether keys of this purpose put digests on the ledger (action 10).
    #[must_use]
    pub const fn may_anchor(self) -> bool {
        matches!(
            self,
            Self::Writer | Self::Officer | Self::Revoker | Self::Art | Self::App
        )
    }

    /// The word that the spec uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Act => "act",
            Self::Art => "art",
            Self::Ps => "ps",
            Self::Writer => "writer",
            Self::Officer => "officer",
            Self::Revoker => "revoker",
            Self::App => "app",
            Self::Vote => "vote",
            Self::Node => "node",
            Self::Recovery => "recovery",
        }
    }
}

impl TryFrom<u8> for Purpose {
    type Error = KeyError;

    fn try_from(number: u8) -> Result<Self, KeyError> {
        Ok(match number {
            1 => Self::Pre,
            2 => Self::Act,
            3 => Self::Art,
            4 => Self::Ps,
            5 => Self::Writer,
            6 => Self::Officer,
            7 => Self::Revoker,
            8 => Self::App,
            64 => Self::Vote,
            65 => Self::Node,
            66 => Self::Recovery,
            _ => return Err(KeyError::Purpose),
        })
    }
}

impl From<Purpose> for u8 {
    fn from(purpose: Purpose) -> Self {
        purpose as Self
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A fixed pair of a signature and a key-agreement algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Suite {
    /// Ed25519 and X25519.
    Curve25519 = 1,
    /// ECDSA and ECDH over P-256 (TPM, secure elements).
    P256 = 2,
    /// Signature only, by the algorithms of stock clients; the record holds a digest of the key.
    Foreign = 15,
}

impl TryFrom<u8> for Suite {
    type Error = KeyError;

    fn try_from(number: u8) -> Result<Self, KeyError> {
        Ok(match number {
            1 => Self::Curve25519,
            2 => Self::P256,
            15 => Self::Foreign,
            _ => return Err(KeyError::Suite),
        })
    }
}

impl From<Suite> for u8 {
    fn from(suite: Suite) -> Self {
        suite as Self
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Curve25519 => "Ed25519 + X25519",
            Self::P256 => "P-256",
            Self::Foreign => "foreign",
        })
    }
}

/// Algorithm of a [`VerificationKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), verified by ZIP-215.
    Ed25519 = 1,
    /// ECDSA over P-256 and SHA-256, low `s`.
    P256 = 2,
}

/// Algorithm of a foreign key (suite 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ForeignAlgorithm {
    /// RSA; verified outside of core.
    Rsa = 1,
    /// ECDSA over P-256.
    P256 = 2,
    /// Ed25519.
    Ed25519 = 3,
}

impl TryFrom<u8> for ForeignAlgorithm {
    type Error = KeyError;

    fn try_from(number: u8) -> Result<Self, KeyError> {
        Ok(match number {
            1 => Self::Rsa,
            2 => Self::P256,
            3 => Self::Ed25519,
            _ => return Err(KeyError::Algorithm),
        })
    }
}
