//! The curves of the handshake, and its private keys: a key store's, which it never sees, and the scalars of an attempt.

use noise_protocol::{DH, U8Array};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{NoiseError, copy};
use crate::crypto;
use crate::keystore::SharedSecret;
use crate::suite::AgreementKey;

/// A curve as the handshake needs it, with the encoding of its public keys in `N` bytes.
pub(super) trait Curve<const N: usize>:
    DH<Key = Key<N>, Pubkey = Octets<N>, Output = Octets<32>>
{
    /// A key in the handshake's encoding.
    fn octets(key: &AgreementKey) -> Result<Octets<N>, NoiseError>;
    /// A key from the handshake's encoding, checked.
    fn agreement_key(octets: &Octets<N>) -> Result<AgreementKey, NoiseError>;
    /// A new ephemeral key; `None` when the generator gives no scalar in several attempts.
    fn ephemeral(rng: &mut impl CryptoRng) -> Option<Key<N>>;
}

/// A private key of the handshake.
pub(super) enum Key<const N: usize> {
    /// None; nothing is agreed with it.
    None,
    /// A key of a key store, with what it agreed on with others.
    Static {
        public: Octets<N>,
        agreed: [Option<(Octets<N>, SharedSecret)>; 2],
    },
    /// A scalar of this attempt.
    Ephemeral {
        public: Octets<N>,
        scalar: Octets<32>,
    },
}

impl<const N: usize> Key<N> {
    pub(super) fn agreed(self, peer: Octets<N>, secret: SharedSecret) -> Self {
        match self {
            Self::Static { public, agreed } => {
                let [first, _] = agreed;
                Self::Static {
                    public,
                    agreed: [Some((peer, secret)), first],
                }
            }
            other => other,
        }
    }

    fn public(&self) -> Octets<N> {
        match self {
            Self::None => Octets([0; N]),
            Self::Static { public, .. } | Self::Ephemeral { public, .. } => public.clone(),
        }
    }

    fn dh(
        &self,
        peer: &Octets<N>,
        multiply: impl FnOnce(&[u8; 32], &Octets<N>) -> Option<[u8; 32]>,
    ) -> Result<Octets<32>, ()> {
        match self {
            Self::None => Err(()),
            Self::Static { agreed, .. } => agreed
                .iter()
                .flatten()
                .find(|(with, _)| with.0 == peer.0)
                .map(|(_, secret)| Octets(*secret.expose()))
                .ok_or(()),
            Self::Ephemeral { scalar, .. } => multiply(&scalar.0, peer).map(Octets).ok_or(()),
        }
    }
}

/// The handshake treats private keys as bytes where it makes or copies them. Ours are made elsewhere and have none to show.
impl<const N: usize> U8Array for Key<N> {
    fn new() -> Self {
        Self::None
    }

    fn new_with(_: u8) -> Self {
        Self::None
    }

    fn from_slice(_: &[u8]) -> Self {
        Self::None
    }

    fn len() -> usize {
        0
    }

    fn as_slice(&self) -> &[u8] {
        &[]
    }

    fn as_mut(&mut self) -> &mut [u8] {
        &mut []
    }

    fn clone(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Static { public, agreed } => Self::Static {
                public: public.clone(),
                agreed: agreed.each_ref().map(|one| {
                    one.as_ref()
                        .map(|(peer, secret)| (peer.clone(), secret.clone()))
                }),
            },
            Self::Ephemeral { public, scalar } => Self::Ephemeral {
                public: public.clone(),
                scalar: scalar.clone(),
            },
        }
    }
}

/// Bytes that are wiped when dropped: keys and hashes inside the handshake.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Octets<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> U8Array for Octets<N> {
    fn new() -> Self {
        Self([0; N])
    }

    fn new_with(byte: u8) -> Self {
        Self([byte; N])
    }

    fn from_slice(bytes: &[u8]) -> Self {
        let mut octets = Self([0; N]);
        copy(&mut octets.0, bytes);
        octets
    }

    fn len() -> usize {
        N
    }

    fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

pub(super) enum X25519 {}

impl DH for X25519 {
    type Key = Key<32>;
    type Pubkey = Octets<32>;
    type Output = Octets<32>;

    fn name() -> &'static str {
        "25519"
    }

    fn genkey() -> Key<32> {
        Key::None
    }

    fn pubkey(key: &Key<32>) -> Octets<32> {
        key.public()
    }

    fn dh(key: &Key<32>, peer: &Octets<32>) -> Result<Octets<32>, ()> {
        key.dh(peer, |scalar, peer| {
            let secret = x25519_dalek::StaticSecret::from(*scalar).diffie_hellman(&peer.0.into());
            secret.was_contributory().then(|| *secret.as_bytes())
        })
    }
}

impl Curve<32> for X25519 {
    fn octets(key: &AgreementKey) -> Result<Octets<32>, NoiseError> {
        match key {
            AgreementKey::X25519(key) => Ok(Octets(*key)),
            AgreementKey::P256(_) => Err(NoiseError::Suite),
        }
    }

    fn agreement_key(octets: &Octets<32>) -> Result<AgreementKey, NoiseError> {
        AgreementKey::x25519(&octets.0).map_err(|_| NoiseError::Key)
    }

    fn ephemeral(rng: &mut impl CryptoRng) -> Option<Key<32>> {
        let mut scalar = Octets([0; 32]);
        rng.fill_bytes(&mut scalar.0);
        let secret = x25519_dalek::StaticSecret::from(scalar.0);
        Some(Key::Ephemeral {
            public: Octets(*x25519_dalek::PublicKey::from(&secret).as_bytes()),
            scalar,
        })
    }
}

pub(super) enum P256 {}

impl DH for P256 {
    type Key = Key<65>;
    type Pubkey = Octets<65>;
    type Output = Octets<32>;

    fn name() -> &'static str {
        "P256"
    }

    fn genkey() -> Key<65> {
        Key::None
    }

    fn pubkey(key: &Key<65>) -> Octets<65> {
        key.public()
    }

    fn dh(key: &Key<65>, peer: &Octets<65>) -> Result<Octets<32>, ()> {
        key.dh(peer, |scalar, peer| {
            let scalar = p256::SecretKey::from_slice(scalar).ok()?;
            let peer = crypto::p256_key(&crypto::compress_p256(&peer.0).ok()?).ok()?;
            Some((*scalar.diffie_hellman(&peer).raw_secret_bytes()).into())
        })
    }
}

impl Curve<65> for P256 {
    fn octets(key: &AgreementKey) -> Result<Octets<65>, NoiseError> {
        match key {
            AgreementKey::P256(key) => crypto::p256_key(key)
                .map(|key| Octets(crypto::p256_uncompressed(&key)))
                .map_err(|_| NoiseError::Key),
            AgreementKey::X25519(_) => Err(NoiseError::Suite),
        }
    }

    fn agreement_key(octets: &Octets<65>) -> Result<AgreementKey, NoiseError> {
        crypto::compress_p256(&octets.0)
            .map(AgreementKey::P256)
            .map_err(|_| NoiseError::Key)
    }

    fn ephemeral(rng: &mut impl CryptoRng) -> Option<Key<65>> {
        // One try in 2^32 is no scalar; a generator that fails eight times is broken.
        (0..8).find_map(|_| {
            let mut scalar = Octets([0; 32]);
            rng.fill_bytes(&mut scalar.0);
            let secret = p256::SecretKey::from_slice(&scalar.0).ok()?;
            Some(Key::Ephemeral {
                public: Octets(crypto::p256_uncompressed(&secret.public_key())),
                scalar,
            })
        })
    }
}
