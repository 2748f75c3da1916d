//! The keys of a record, and what binds them to a kusabi-ID.

use core::fmt;

use super::{AgreementKey, ForeignAlgorithm, KeyError, Purpose, Suite, VerificationKey};
use crate::crypto;
use crate::id::{Binding, ChainId, KusabiId, OrgId, write_hex};
use crate::wire::{self, Sink};

/// The public keys of a record as they came: of the form that their suite has, while nobody has looked yet whether their
/// points are points. Looking costs more than anything else about a key, so it is done once a signature vouches for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UncheckedKeys {
    suite: Suite,
    bytes: [u8; PublicKeys::LEN],
}

impl UncheckedKeys {
    /// Reads the field of a record.
    ///
    /// # Errors
    /// [`KeyError::Padding`], [`KeyError::Algorithm`], [`KeyError::Spki`]
    pub fn decode(suite: Suite, bytes: &[u8; PublicKeys::LEN]) -> Result<Self, KeyError> {
        match suite {
            Suite::Curve25519 => {
                let (_, _, padding) = split_curve25519(bytes);
                if padding != [0, 0] {
                    return Err(KeyError::Padding);
                }
            }
            Suite::P256 => {}
            Suite::Foreign => {
                let [algorithm, high, low, rest @ ..] = bytes;
                ForeignAlgorithm::try_from(*algorithm)?;
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 || length > PublicKeys::SPKI_MAX {
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
    /// [`KeyError::Length`], [`KeyError::Algorithm`], [`KeyError::Spki`]
    pub fn from_compact(suite: Suite, compact: &[u8]) -> Result<Self, KeyError> {
        match suite {
            Suite::Curve25519 => {
                let keys: &[u8; 64] = compact.try_into().map_err(|_| KeyError::Length)?;
                let bytes = wire::fixed(|w| {
                    w.put(keys);
                    w.zeros(2);
                });
                Ok(Self { suite, bytes })
            }
            Suite::P256 => {
                let bytes = *compact.as_array().ok_or(KeyError::Length)?;
                Ok(Self { suite, bytes })
            }
            Suite::Foreign => {
                let (algorithm, spki) = compact.split_first().ok_or(KeyError::Length)?;
                Self::foreign(ForeignAlgorithm::try_from(*algorithm)?, spki)
            }
        }
    }

    /// A foreign key (suite 15) from its SubjectPublicKeyInfo, whose point is not looked at.
    ///
    /// # Errors
    /// [`KeyError::Spki`]
    pub fn foreign(algorithm: ForeignAlgorithm, spki: &[u8]) -> Result<Self, KeyError> {
        let length = u16::try_from(spki.len()).map_err(|_| KeyError::Spki)?;
        if spki.is_empty() || spki.len() > PublicKeys::SPKI_MAX {
            return Err(KeyError::Spki);
        }
        match algorithm {
            ForeignAlgorithm::Rsa => {}
            ForeignAlgorithm::P256 => {
                spki_p256(spki)?;
            }
            ForeignAlgorithm::Ed25519 => {
                spki_ed25519(spki)?;
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

    /// Checks the points. Of a foreign key only the digest is here; its point stands in its SPKI
    /// ([`PublicKeys::foreign`]).
    ///
    /// # Errors
    /// [`KeyError::Ed25519`], [`KeyError::X25519`], [`KeyError::P256`]
    pub fn check(self) -> Result<PublicKeys, KeyError> {
        match self.suite {
            Suite::Curve25519 => {
                let (ed25519, x25519, _) = split_curve25519(&self.bytes);
                VerificationKey::ed25519(ed25519)?;
                AgreementKey::x25519(x25519)?;
            }
            Suite::P256 => {
                let (signing, agreement) = split_p256(&self.bytes);
                VerificationKey::p256(signing)?;
                AgreementKey::p256(agreement)?;
            }
            Suite::Foreign => {}
        }
        Ok(PublicKeys(self))
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The 66 bytes of the record's field.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PublicKeys::LEN] {
        &self.bytes
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
}

impl fmt::Debug for UncheckedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.suite)?;
        write_hex(&self.bytes, f)
    }
}

impl From<PublicKeys> for UncheckedKeys {
    fn from(keys: PublicKeys) -> Self {
        keys.0
    }
}

impl PartialEq<UncheckedKeys> for PublicKeys {
    fn eq(&self, other: &UncheckedKeys) -> bool {
        self.0 == *other
    }
}

/// The public keys of a record: a suite and its 66 bytes, checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKeys(UncheckedKeys);

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
        let keys = UncheckedKeys::foreign(algorithm, spki)?;
        match algorithm {
            ForeignAlgorithm::Rsa => {}
            ForeignAlgorithm::P256 | ForeignAlgorithm::Ed25519 => {
                foreign_verification_key(algorithm, spki)?;
            }
        }
        Ok(Self(keys))
    }

    /// Reads the field of a record.
    ///
    /// # Errors
    /// A [`KeyError`] for each rule of the suite.
    pub fn decode(suite: Suite, bytes: &[u8; Self::LEN]) -> Result<Self, KeyError> {
        UncheckedKeys::decode(suite, bytes)?.check()
    }

    /// Keys that were checked when they came to where they are read from now.
    pub(crate) const fn believed(keys: UncheckedKeys) -> Self {
        Self(keys)
    }

    /// Reads the form without padding that transactions carry: 64 bytes (suite 1), 66 (suite 2). A foreign key travels
    /// with its SPKI instead: `alg u8 ‖ SPKI DER`.
    ///
    /// # Errors
    /// [`KeyError::Length`] and those of [`decode`](Self::decode) and [`foreign`](Self::foreign).
    pub fn from_compact(suite: Suite, compact: &[u8]) -> Result<Self, KeyError> {
        match suite {
            Suite::Curve25519 | Suite::P256 => UncheckedKeys::from_compact(suite, compact)?.check(),
            Suite::Foreign => {
                let (algorithm, spki) = compact.split_first().ok_or(KeyError::Length)?;
                Self::foreign(ForeignAlgorithm::try_from(*algorithm)?, spki)
            }
        }
    }

    /// The form without padding that transactions carry; none for a foreign key, whose SPKI is not here.
    #[must_use]
    pub fn compact(&self) -> Option<&[u8]> {
        self.0.compact()
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.0.suite
    }

    /// The 66 bytes of the record's field.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0.bytes
    }

    /// The signing key; none for a foreign key, which stands here only as a digest
    /// (see [`foreign_key`](Self::foreign_key)).
    #[must_use]
    pub fn verification_key(&self) -> Option<VerificationKey> {
        match self.suite() {
            Suite::Curve25519 => {
                let (ed25519, _, _) = split_curve25519(self.as_bytes());
                Some(VerificationKey::ed25519_checked(ed25519))
            }
            Suite::P256 => {
                let (signing, _) = split_p256(self.as_bytes());
                Some(VerificationKey::p256_checked(signing))
            }
            Suite::Foreign => None,
        }
    }

    /// The agreement key; a foreign key has none.
    #[must_use]
    pub const fn agreement_key(&self) -> Option<AgreementKey> {
        match self.suite() {
            Suite::Curve25519 => {
                let (_, x25519, _) = split_curve25519(self.as_bytes());
                Some(AgreementKey::X25519(*x25519))
            }
            Suite::P256 => {
                let (_, agreement) = split_p256(self.as_bytes());
                Some(AgreementKey::P256(*agreement))
            }
            Suite::Foreign => None,
        }
    }

    /// Algorithm, SPKI length in bytes and SPKI digest of a foreign key.
    #[must_use]
    pub fn foreign_key(&self) -> Option<(ForeignAlgorithm, u16, [u8; 32])> {
        self.0.foreign_key()
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
                &[context.purpose.into(), self.suite().into()],
                self.as_bytes(),
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
        fmt::Debug::fmt(&self.0, f)
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
        ForeignAlgorithm::Ed25519 => VerificationKey::ed25519(spki_ed25519(spki)?),
        ForeignAlgorithm::P256 => {
            let compressed = crypto::compress_p256(spki_p256(spki)?).map_err(|_| KeyError::P256)?;
            VerificationKey::p256(&compressed)
        }
    }
}

fn spki_ed25519(spki: &[u8]) -> Result<&[u8; 32], KeyError> {
    let key = spki.strip_prefix(&SPKI_ED25519).ok_or(KeyError::Spki)?;
    key.as_array().ok_or(KeyError::Spki)
}

fn spki_p256(spki: &[u8]) -> Result<&[u8; 65], KeyError> {
    let point = spki.strip_prefix(&SPKI_P256).ok_or(KeyError::Spki)?;
    point.as_array().ok_or(KeyError::Spki)
}
