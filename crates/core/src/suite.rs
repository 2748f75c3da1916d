//! Purposes, suites and public keys (spec/identity.md).
//!
//! A public key is checked when it is decoded; what holds a [`PublicKeys`] or a [`VerificationKey`] never meets a
//! malformed point again. Private keys are in [`keystore`](crate::keystore).

use core::fmt;

use crate::crypto::{self, SignatureError};
use crate::id::{Binding, ChainId, Handle, KusabiId, OrgId, write_hex};
use crate::statement::Statement;
use crate::wire::{self, Sink};

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
    /// The Ed25519 bytes do not decompress to a point.
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
            Self::Ed25519 => "the Ed25519 key is not a point",
            Self::X25519 => "the X25519 key is a point of small order",
            Self::P256 => "the P-256 key is not a compressed point of the curve",
            Self::Padding => "the padding of a key is not zero",
            Self::Length => "a key has the wrong length for its suite",
            Self::Spki => "the foreign key is not a SubjectPublicKeyInfo that its algorithm allows",
        })
    }
}

impl core::error::Error for KeyError {}

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

    /// An Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::Ed25519`]
    pub fn ed25519(key: &[u8; 32]) -> Result<Self, KeyError> {
        crypto::check_ed25519_key(key).map_err(|_| KeyError::Ed25519)?;
        Ok(Self::ed25519_checked(key))
    }

    fn ed25519_checked(bytes: &[u8; 32]) -> Self {
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
        Ok(Self {
            algorithm: Algorithm::P256,
            key: *key,
        })
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

/// 32 bytes with this first, these middle, and this last.
const fn little_endian(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    let [low, .., high] = &mut bytes;
    *low = first;
    *high = last;
    bytes
}

/// The public keys of a record: a suite and its 66 bytes, checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKeys {
    suite: Suite,
    bytes: [u8; Self::LEN],
}

impl PublicKeys {
    /// Length of the field in bytes.
    pub const LEN: usize = 66;
    /// Longest SPKI of a foreign key, in bytes.
    pub const SPKI_MAX: usize = 2048;

    /// Keys of suite 1.
    ///
    /// # Errors
    /// [`KeyError::Ed25519`], [`KeyError::X25519`]
    pub fn curve25519(ed25519: &[u8; 32], x25519: &[u8; 32]) -> Result<Self, KeyError> {
        let bytes = wire::fixed(|w| {
            w.put(ed25519);
            w.put(x25519);
            w.zeros(2);
        });
        Self::decode(Suite::Curve25519, &bytes)
    }

    /// Keys of suite 2, both compressed.
    ///
    /// # Errors
    /// [`KeyError::P256`]
    pub fn p256(signing: &[u8; 33], agreement: &[u8; 33]) -> Result<Self, KeyError> {
        let bytes = wire::fixed(|w| {
            w.put(signing);
            w.put(agreement);
        });
        Self::decode(Suite::P256, &bytes)
    }

    /// A foreign key (suite 15) from its SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), DER.
    ///
    /// # Errors
    /// [`KeyError::Spki`], [`KeyError::Ed25519`], [`KeyError::P256`]
    pub fn foreign(algorithm: ForeignAlgorithm, spki: &[u8]) -> Result<Self, KeyError> {
        let length = u16::try_from(spki.len()).map_err(|_| KeyError::Spki)?;
        if spki.is_empty() || spki.len() > Self::SPKI_MAX {
            return Err(KeyError::Spki);
        }
        match algorithm {
            ForeignAlgorithm::Rsa => {}
            ForeignAlgorithm::P256 | ForeignAlgorithm::Ed25519 => {
                foreign_verification_key(algorithm, spki)?;
            }
        }
        let bytes = wire::fixed(|w| {
            w.u8(algorithm as u8);
            w.u16(length);
            w.put(&crypto::sha256(&[spki]));
            w.zeros(31);
        });
        Ok(Self {
            suite: Suite::Foreign,
            bytes,
        })
    }

    /// Reads the field of a record.
    ///
    /// # Errors
    /// A [`KeyError`] for each rule of the suite.
    pub fn decode(suite: Suite, bytes: &[u8; Self::LEN]) -> Result<Self, KeyError> {
        match suite {
            Suite::Curve25519 => {
                let (ed25519, x25519, padding) = split_curve25519(bytes);
                if padding != [0, 0] {
                    return Err(KeyError::Padding);
                }
                VerificationKey::ed25519(ed25519)?;
                AgreementKey::x25519(x25519)?;
            }
            Suite::P256 => {
                let (signing, agreement) = split_p256(bytes);
                VerificationKey::p256(signing)?;
                AgreementKey::p256(agreement)?;
            }
            Suite::Foreign => {
                let [algorithm, high, low, rest @ ..] = bytes;
                ForeignAlgorithm::try_from(*algorithm)?;
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 || length > Self::SPKI_MAX {
                    return Err(KeyError::Spki);
                }
                if rest.iter().skip(32).any(|byte| *byte != 0) {
                    return Err(KeyError::Padding);
                }
            }
        }
        Ok(Self {
            suite,
            bytes: *bytes,
        })
    }

    /// Reads the form without padding that transactions carry: 64 bytes (suite 1), 66 (suite 2). A foreign key travels
    /// with its SPKI instead: `alg u8 ‖ SPKI DER`.
    ///
    /// # Errors
    /// [`KeyError::Length`] and those of [`decode`](Self::decode) and [`foreign`](Self::foreign).
    pub fn from_compact(suite: Suite, compact: &[u8]) -> Result<Self, KeyError> {
        match suite {
            Suite::Curve25519 => {
                let keys: &[u8; 64] = compact.try_into().map_err(|_| KeyError::Length)?;
                let bytes = wire::fixed(|w| {
                    w.put(keys);
                    w.zeros(2);
                });
                Self::decode(suite, &bytes)
            }
            Suite::P256 => {
                let bytes: &[u8; Self::LEN] = compact.try_into().map_err(|_| KeyError::Length)?;
                Self::decode(suite, bytes)
            }
            Suite::Foreign => {
                let (algorithm, spki) = compact.split_first().ok_or(KeyError::Length)?;
                Self::foreign(ForeignAlgorithm::try_from(*algorithm)?, spki)
            }
        }
    }

    /// The form without padding that transactions carry; none for a foreign key, whose SPKI is not here.
    #[must_use]
    pub fn compact(&self) -> Option<&[u8]> {
        match self.suite {
            Suite::Curve25519 => {
                let [compact @ .., _, _] = &self.bytes;
                Some(compact)
            }
            Suite::P256 => Some(&self.bytes),
            Suite::Foreign => None,
        }
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The 66 bytes of the record's field.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.bytes
    }

    /// The signing key; none for a foreign key, which stands here only as a digest
    /// (see [`foreign_key`](Self::foreign_key)).
    #[must_use]
    pub fn verification_key(&self) -> Option<VerificationKey> {
        match self.suite {
            Suite::Curve25519 => {
                let (ed25519, _, _) = split_curve25519(&self.bytes);
                Some(VerificationKey::ed25519_checked(ed25519))
            }
            Suite::P256 => {
                let (signing, _) = split_p256(&self.bytes);
                Some(VerificationKey {
                    algorithm: Algorithm::P256,
                    key: *signing,
                })
            }
            Suite::Foreign => None,
        }
    }

    /// The agreement key; a foreign key has none.
    #[must_use]
    pub const fn agreement_key(&self) -> Option<AgreementKey> {
        match self.suite {
            Suite::Curve25519 => {
                let (_, x25519, _) = split_curve25519(&self.bytes);
                Some(AgreementKey::X25519(*x25519))
            }
            Suite::P256 => {
                let (_, agreement) = split_p256(&self.bytes);
                Some(AgreementKey::P256(*agreement))
            }
            Suite::Foreign => None,
        }
    }

    /// Algorithm, SPKI length in bytes and SPKI digest of a foreign key.
    #[must_use]
    pub fn foreign_key(&self) -> Option<(ForeignAlgorithm, u16, [u8; 32])> {
        match (self.suite, &self.bytes) {
            (Suite::Foreign, [algorithm, high, low, rest @ ..]) => {
                let algorithm = ForeignAlgorithm::try_from(*algorithm).ok()?;
                let digest = rest.first_chunk()?;
                Some((algorithm, u16::from_be_bytes([*high, *low]), *digest))
            }
            _ => None,
        }
    }

    /// Whether `spki` is the foreign key that stands here by its digest.
    #[must_use]
    pub fn matches_spki(&self, spki: &[u8]) -> bool {
        self.foreign_key().is_some_and(|(_, length, digest)| {
            usize::from(length) == spki.len() && crypto::sha256(&[spki]) == digest
        })
    }
}

/// What a [`Binding`] ties keys to, besides the kusabi-ID.
#[derive(Debug, Clone, Copy)]
pub struct BindingContext<'a> {
    /// The chain; [`ChainId::ZERO`] for the records that the genesis document writes (registered height 1).
    pub chain: &'a ChainId,
    /// The organisation that owns the record.
    pub owner: &'a OrgId,
    /// The record's purpose.
    pub purpose: Purpose,
}

impl PublicKeys {
    /// Binds these keys to an ID (spec/identity.md, "Binding").
    #[must_use]
    pub fn bind(&self, id: &KusabiId, context: &BindingContext<'_>) -> Binding {
        let mac = crypto::hmac_sha256(
            id.expose(),
            &[
                b"kusabi.binding.v1",
                context.chain.as_ref(),
                context.owner.as_ref(),
                &[context.purpose.into(), self.suite.into()],
                &self.bytes,
            ],
        );
        Binding::new(crypto::first_16(&mac))
    }

    /// Whether `binding` was made for these keys by someone who knew the ID. Takes the same time for all bindings.
    #[must_use]
    pub fn is_bound(&self, id: &KusabiId, context: &BindingContext<'_>, binding: &Binding) -> bool {
        crypto::constant_time_eq(self.bind(id, context).as_ref(), binding.as_ref())
    }
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.suite)?;
        write_hex(&self.bytes, f)
    }
}

const fn split_curve25519(bytes: &[u8; 66]) -> (&[u8; 32], &[u8; 32], [u8; 2]) {
    const NONE: &[u8; 32] = &[0; 32];
    let [front @ .., a, b] = bytes;
    // Always 32 and 32: the array's length is in its type, which slice patterns cannot say twice.
    match (front.first_chunk(), front.last_chunk()) {
        (Some(ed25519), Some(x25519)) => (ed25519, x25519, [*a, *b]),
        _ => (NONE, NONE, [*a, *b]),
    }
}

const fn split_p256(bytes: &[u8; 66]) -> (&[u8; 33], &[u8; 33]) {
    const NONE: &[u8; 33] = &[0; 33];
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(signing), Some(agreement)) => (signing, agreement),
        _ => (NONE, NONE),
    }
}

/// DER of an Ed25519 SubjectPublicKeyInfo up to the 32 key bytes (RFC 8410, section 4).
const SPKI_ED25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// DER of a P-256 SubjectPublicKeyInfo up to the 65 bytes of the uncompressed point (RFC 5480, section 2).
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The signing key inside a foreign SPKI, where core verifies its algorithm: Ed25519 and P-256 (uncompressed point).
///
/// # Errors
/// [`KeyError::Algorithm`] for RSA; [`KeyError::Spki`], [`KeyError::Ed25519`], [`KeyError::P256`]
pub fn foreign_verification_key(
    algorithm: ForeignAlgorithm,
    spki: &[u8],
) -> Result<VerificationKey, KeyError> {
    match algorithm {
        ForeignAlgorithm::Rsa => Err(KeyError::Algorithm),
        ForeignAlgorithm::Ed25519 => {
            let key = spki.strip_prefix(&SPKI_ED25519).ok_or(KeyError::Spki)?;
            VerificationKey::ed25519(key.try_into().map_err(|_| KeyError::Spki)?)
        }
        ForeignAlgorithm::P256 => {
            let point = spki.strip_prefix(&SPKI_P256).ok_or(KeyError::Spki)?;
            let point: &[u8; 65] = point.try_into().map_err(|_| KeyError::Spki)?;
            let compressed = crypto::compress_p256(point).map_err(|_| KeyError::P256)?;
            VerificationKey::p256(&compressed)
        }
    }
}
