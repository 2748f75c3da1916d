//! Private operations behind one small synchronous trait (spec/identity.md, "Suites").
//!
//! Whatever signs or agrees takes a [`KeyStore`], so that a TPM or a PKCS#11 token can stand in for [`SoftKey`], the
//! implementation in memory. Randomness is an argument: core has no source of its own.

use core::fmt;

use p256::ecdsa::signature::Signer;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto;
use crate::statement::Statement;
use crate::suite::{AgreementKey, KeyError, PublicKeys, Signature, Suite};

/// Why a private operation was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum KeyStoreError {
    /// The peer's key is of another suite than this key.
    OtherSuite = 0x0601,
    /// The agreement gave no secret (a peer's point of small order).
    NoSecret = 0x0602,
    /// The device that holds the key does not answer.
    Unavailable = 0x0603,
    /// The device that holds the key refused the operation.
    Refused = 0x0604,
}

impl fmt::Display for KeyStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherSuite => "the peer's key is of another suite than this key",
            Self::NoSecret => "the peer's key does not allow a shared secret",
            Self::Unavailable => "the device that holds the private key does not answer",
            Self::Refused => "the device that holds the private key refused the operation",
        })
    }
}

impl core::error::Error for KeyStoreError {}

crate::code::codes!(KeyStoreError {
    OtherSuite,
    NoSecret,
    Unavailable,
    Refused,
});

/// A private key that someone holds: in memory, in a TPM, on a token.
pub trait KeyStore {
    /// The public half.
    fn public_keys(&self) -> PublicKeys;

    /// Signs bytes of a format that separates its domains itself: a statement, a COSE `Sig_structure`, a TLS transcript.
    /// Never bytes that a peer chose. A P-256 signature has the low `s`.
    ///
    /// # Errors
    /// [`KeyStoreError::Unavailable`], [`KeyStoreError::Refused`]
    fn sign_message(&self, message: &[u8]) -> Result<Signature, KeyStoreError>;

    /// Signs a statement.
    ///
    /// # Errors
    /// [`KeyStoreError::Unavailable`], [`KeyStoreError::Refused`]
    fn sign(&self, statement: &Statement) -> Result<Signature, KeyStoreError> {
        self.sign_message(statement.as_bytes())
    }

    /// The secret shared with the holder of `peer`: X25519 (RFC 7748) or the x-coordinate of ECDH over P-256.
    ///
    /// # Errors
    /// [`KeyStoreError::OtherSuite`], [`KeyStoreError::NoSecret`], [`KeyStoreError::Unavailable`],
    /// [`KeyStoreError::Refused`]
    fn agree(&self, peer: &AgreementKey) -> Result<SharedSecret, KeyStoreError>;
}

/// What an agreement gives: 32 bytes, to be put through HKDF. Wiped when dropped, not shown by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// Wraps the result of an agreement.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(secret)")
    }
}

/// The 32 bytes from which a [`SoftKey`] is derived, and all that needs to be stored of it. Wiped when dropped, not shown
/// by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; Self::LEN]);

impl Seed {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// A new seed.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Self([0; Self::LEN]);
        rng.fill_bytes(&mut seed.0);
        seed
    }

    /// Wraps a stored seed.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(secret)")
    }
}

/// A private key of suite 1 or 2 in memory. Wiped when dropped; `Debug` shows the public half.
pub struct SoftKey {
    public: PublicKeys,
    private: Private,
}

enum Private {
    Curve25519 {
        sign: Zeroizing<ed25519_zebra::SigningKey>,
        agree: x25519_dalek::StaticSecret,
    },
    P256 {
        sign: p256::ecdsa::SigningKey,
        agree: p256::SecretKey,
    },
}

impl SoftKey {
    /// Derives the key of a suite from a seed (spec/identity.md, "Suites").
    ///
    /// # Errors
    /// [`KeyError::Suite`] for the foreign suite, whose keys are not derived here.
    pub fn from_seed(suite: Suite, seed: &Seed) -> Result<Self, KeyError> {
        match suite {
            Suite::Curve25519 => {
                let derive =
                    |info: &[u8]| crypto::hkdf_sha256(b"kusabi.suite1.v1", seed.expose(), &[info]);
                let sign = Zeroizing::new(ed25519_zebra::SigningKey::from_bytes(&derive(b"sign")));
                let agree = x25519_dalek::StaticSecret::from(*derive(b"agree"));
                let public = PublicKeys::curve25519(
                    &sign.verification_key().into(),
                    x25519_dalek::PublicKey::from(&agree).as_bytes(),
                )?;
                Ok(Self {
                    public,
                    private: Private::Curve25519 { sign, agree },
                })
            }
            Suite::P256 => {
                let sign = p256_scalar(seed, b"sign")?;
                let agree = p256_scalar(seed, b"agree")?;
                let public = PublicKeys::p256(
                    &crypto::p256_bytes(&sign.public_key()),
                    &crypto::p256_bytes(&agree.public_key()),
                )?;
                Ok(Self {
                    public,
                    private: Private::P256 {
                        sign: sign.into(),
                        agree,
                    },
                })
            }
            Suite::Foreign => Err(KeyError::Suite),
        }
    }
}

/// The first of `HKDF(…, label ‖ 0)`, `HKDF(…, label ‖ 1)`, … that is a scalar in 1..n−1.
///
/// # Errors
/// [`KeyError::P256`] when none of 256 is, which has a probability below 2^-8000.
fn p256_scalar(seed: &Seed, label: &[u8]) -> Result<p256::SecretKey, KeyError> {
    (0..=u8::MAX)
        .find_map(|counter| {
            let bytes =
                crypto::hkdf_sha256(b"kusabi.suite2.v1", seed.expose(), &[label, &[counter]]);
            p256::SecretKey::from_slice(bytes.as_ref()).ok()
        })
        .ok_or(KeyError::P256)
}

impl KeyStore for SoftKey {
    fn public_keys(&self) -> PublicKeys {
        self.public
    }

    fn sign_message(&self, message: &[u8]) -> Result<Signature, KeyStoreError> {
        match &self.private {
            Private::Curve25519 { sign, .. } => Ok(Signature::new(sign.sign(message).into())),
            Private::P256 { sign, .. } => {
                let signature: p256::ecdsa::Signature =
                    sign.try_sign(message).map_err(|_| KeyStoreError::Refused)?;
                Ok(Signature::new(signature.normalize_s().to_bytes().into()))
            }
        }
    }

    fn agree(&self, peer: &AgreementKey) -> Result<SharedSecret, KeyStoreError> {
        match (&self.private, peer) {
            (Private::Curve25519 { agree, .. }, AgreementKey::X25519(peer)) => {
                let secret = agree.diffie_hellman(&(*peer).into());
                if secret.was_contributory() {
                    Ok(SharedSecret::new(*secret.as_bytes()))
                } else {
                    Err(KeyStoreError::NoSecret)
                }
            }
            (Private::P256 { agree, .. }, AgreementKey::P256(peer)) => {
                let peer = crypto::p256_key(peer).map_err(|_| KeyStoreError::NoSecret)?;
                let secret = agree.diffie_hellman(&peer);
                Ok(SharedSecret::new((*secret.raw_secret_bytes()).into()))
            }
            _ => Err(KeyStoreError::OtherSuite),
        }
    }
}

impl fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
