//! Noise IK over our keys (spec/device-protocol.md, "Handshake"; Noise revision 34).
//!
//! The handshake itself is `noise-protocol`'s; here are the primitives that it is given, and the agreements of static keys,
//! which are made *outside* of it by a [`KeyStore`]: whoever drives the handshake puts the results into the state's static
//! key ([`Key::Static`]), which knows no private half. So a key in a TPM does as well as one in memory, a failing token has
//! its own error, and the state borrows nothing.
//!
//! A state is made anew for each attempt, and reading works on a copy: a message that cannot be read changes nothing.

use core::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use noise_protocol::patterns::noise_ik;
use noise_protocol::{Cipher, DH, ErrorKind, HandshakeState, Hash, U8Array};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto;
use crate::id::{ChainId, Handle};
use crate::keystore::{KeyStore, KeyStoreError, SharedSecret};
use crate::suite::{AgreementKey, Suite};
use crate::wire::Sink;

/// Bytes that the first message is longer than its payload, at most: an ephemeral key, a static key and two tags.
pub const OVERHEAD_MAX: usize = 65 + 65 + 16 + 16;

/// Why a handshake message could not be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoiseError {
    /// The suite has no key agreement, or the two keys are not of one suite.
    Suite,
    /// The message is shorter than its keys and tags, or longer than the buffer.
    Length,
    /// It cannot be decrypted: it is for another key, ledger, suite, server or attempt, or was changed on its way.
    Unreadable,
    /// A public key in it is not one.
    Key,
    /// The key store did not do its part.
    KeyStore(KeyStoreError),
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Suite => "the two keys of the handshake are not of one suite with key agreement",
            Self::Length => "the handshake message has an impossible length",
            Self::Unreadable => {
                "the handshake message cannot be read: it was made for another key, ledger or attempt, or changed on its way"
            }
            Self::Key => "a public key in the handshake is not valid",
            Self::KeyStore(error) => return write!(f, "{error}"),
        })
    }
}

impl core::error::Error for NoiseError {}

impl From<KeyStoreError> for NoiseError {
    fn from(error: KeyStoreError) -> Self {
        match error {
            // The one thing that a peer can cause.
            KeyStoreError::NoSecret => Self::Key,
            KeyStoreError::OtherSuite => Self::Suite,
            error => Self::KeyStore(error),
        }
    }
}

impl From<noise_protocol::Error> for NoiseError {
    fn from(error: noise_protocol::Error) -> Self {
        match error.kind() {
            ErrorKind::DH => Self::Key,
            ErrorKind::TooShort => Self::Length,
            ErrorKind::NeedPSK | ErrorKind::Decryption => Self::Unreadable,
        }
    }
}

/// What both ends must agree on beforehand:
/// `"kusabi.device.v1" ‖ chain 32 ‖ suite u8 ‖ ps handle 32 ‖ cookie (0 or 16)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Prologue {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

impl Prologue {
    const LABEL: &[u8; 16] = b"kusabi.device.v1";
    const LEN_MIN: usize = 16 + 32 + 1 + 32;
    const LEN_MAX: usize = Self::LEN_MIN + 16;

    /// The prologue of an attempt.
    #[must_use]
    pub fn new(chain: &ChainId, suite: Suite, server: &Handle, cookie: Option<&[u8; 16]>) -> Self {
        let bytes = crate::wire::fixed(|w| {
            w.put(Self::LABEL);
            w.put(chain.as_ref());
            w.u8(suite.into());
            w.put(server.as_ref());
            w.put(cookie.unwrap_or(&[0; 16]));
        });
        Self {
            bytes,
            len: if cookie.is_some() {
                Self::LEN_MAX
            } else {
                Self::LEN_MIN
            },
        }
    }

    /// The bytes that both ends hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Prologue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::id::write_hex(self.as_bytes(), f)
    }
}

/// What a finished handshake gives both ends. Wiped when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Transport {
    /// Hash of the whole handshake.
    pub hash: [u8; 32],
    /// Noise's key from the device to the server.
    pub device: [u8; 32],
    /// Noise's key from the server to the device.
    pub server: [u8; 32],
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport(secret)")
    }
}

/// The device's side, between the two messages.
pub struct Initiator(Either<State<X25519>, State<P256>>);

/// The server's side, after the first message.
pub struct Responder {
    state: Either<State<X25519>, State<P256>>,
    peer: AgreementKey,
}

enum Either<A, B> {
    Curve25519(A),
    P256(B),
}

impl Initiator {
    /// Makes the first message; `prologue` is a [`Prologue`]'s bytes. `out` holds at least payload and [`OVERHEAD_MAX`]; returns the message's length.
    ///
    /// # Errors
    /// [`NoiseError::Suite`], [`NoiseError::Length`], [`NoiseError::KeyStore`]
    pub fn start(
        key: &(impl KeyStore + ?Sized),
        server: &AgreementKey,
        prologue: &[u8],
        rng: &mut impl CryptoRng,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<(Self, usize), NoiseError> {
        Ok(match server {
            AgreementKey::X25519(_) => {
                let (state, len) = start::<X25519, 32>(key, server, prologue, rng, payload, out)?;
                (Self(Either::Curve25519(state)), len)
            }
            AgreementKey::P256(_) => {
                let (state, len) = start::<P256, 65>(key, server, prologue, rng, payload, out)?;
                (Self(Either::P256(state)), len)
            }
        })
    }

    /// Reads the second message, with the key that made the first; returns the length of the payload in `out`.
    ///
    /// # Errors
    /// Nothing has changed then: another message can be tried.
    pub fn finish(
        &self,
        key: &(impl KeyStore + ?Sized),
        message: &[u8],
        out: &mut [u8],
    ) -> Result<(Transport, usize), NoiseError> {
        match &self.0 {
            Either::Curve25519(state) => finish::<X25519, 32>(state, key, message, out),
            Either::P256(state) => finish::<P256, 65>(state, key, message, out),
        }
    }
}

impl Responder {
    /// Reads the first message; `prologue` is a [`Prologue`]'s bytes. Returns the length of the payload in `out`. Costs one agreement before anything is known
    /// about the sender, and a second one only if the message was made for this key.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn read(
        key: &(impl KeyStore + ?Sized),
        prologue: &[u8],
        rng: &mut impl CryptoRng,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<(Self, usize), NoiseError> {
        match key.public_keys().suite() {
            Suite::Curve25519 => {
                let (state, peer, len) = read::<X25519, 32>(key, prologue, rng, message, out)?;
                let state = Either::Curve25519(state);
                Ok((Self { state, peer }, len))
            }
            Suite::P256 => {
                let (state, peer, len) = read::<P256, 65>(key, prologue, rng, message, out)?;
                let state = Either::P256(state);
                Ok((Self { state, peer }, len))
            }
            Suite::Foreign => Err(NoiseError::Suite),
        }
    }

    /// The sender's static key: it holds the private half, unless the message is a repeated one.
    #[must_use]
    pub const fn peer(&self) -> &AgreementKey {
        &self.peer
    }

    /// Makes the second message; returns its length in `out`.
    ///
    /// # Errors
    /// [`NoiseError::Length`]
    pub fn write(self, payload: &[u8], out: &mut [u8]) -> Result<(Transport, usize), NoiseError> {
        match self.state {
            Either::Curve25519(state) => write::<X25519, 32>(state, payload, out),
            Either::P256(state) => write::<P256, 65>(state, payload, out),
        }
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiator")
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

type State<C> = HandshakeState<C, Aes, Sha>;

fn start<C: Curve<N>, const N: usize>(
    key: &(impl KeyStore + ?Sized),
    server: &AgreementKey,
    prologue: &[u8],
    rng: &mut impl CryptoRng,
    payload: &[u8],
    out: &mut [u8],
) -> Result<(State<C>, usize), NoiseError> {
    let rs = C::octets(server)?;
    let own = static_key::<C, N>(key)?.agreed(rs.clone(), key.agree(server)?);
    let ephemeral = C::ephemeral(rng).ok_or(NoiseError::Key)?;
    let mut state = state::<C, N>(true, prologue, own, Some(ephemeral), Some(rs));
    let out = exactly(out, payload.len() + state.get_next_message_overhead())?;
    state.write_message(payload, out)?;
    Ok((state, out.len()))
}

fn finish<C: Curve<N>, const N: usize>(
    state: &State<C>,
    key: &(impl KeyStore + ?Sized),
    message: &[u8],
    out: &mut [u8],
) -> Result<(Transport, usize), NoiseError> {
    let mut state = state.clone();
    let (re, out) = frame::<C, N>(&state, message, out)?;
    let peer = C::agreement_key(&re)?;
    state.set_s(static_key::<C, N>(key)?.agreed(re, key.agree(&peer)?));
    state.read_message(message, out)?;
    Ok((transport(&state), out.len()))
}

fn read<C: Curve<N>, const N: usize>(
    key: &(impl KeyStore + ?Sized),
    prologue: &[u8],
    rng: &mut impl CryptoRng,
    message: &[u8],
    out: &mut [u8],
) -> Result<(State<C>, AgreementKey, usize), NoiseError> {
    let own = static_key::<C, N>(key)?;
    let fresh = |own, ephemeral| state::<C, N>(false, prologue, own, ephemeral, None);
    let mut first = fresh(own.clone(), None);
    let (re, out) = frame::<C, N>(&first, message, out)?;
    let own = own.agreed(re.clone(), key.agree(&C::agreement_key(&re)?)?);
    // The sender's static key stands inside, so that the second agreement waits for the first: this pass decrypts the key
    // and stops, for lack of the agreement with it; the next pass goes through.
    first.set_s(own.clone());
    let stopped = first.read_message(message, out);
    let Some(rs) = first.get_rs() else {
        stopped?;
        return Err(NoiseError::Unreadable);
    };
    let peer = C::agreement_key(&rs)?;
    let ephemeral = C::ephemeral(rng).ok_or(NoiseError::Key)?;
    let mut state = fresh(own.agreed(rs, key.agree(&peer)?), Some(ephemeral));
    state.read_message(message, out)?;
    Ok((state, peer, out.len()))
}

fn write<C: Curve<N>, const N: usize>(
    mut state: State<C>,
    payload: &[u8],
    out: &mut [u8],
) -> Result<(Transport, usize), NoiseError> {
    let out = exactly(out, payload.len() + state.get_next_message_overhead())?;
    state.write_message(payload, out)?;
    Ok((transport(&state), out.len()))
}

fn state<C: Curve<N>, const N: usize>(
    is_initiator: bool,
    prologue: &[u8],
    own: Key<N>,
    ephemeral: Option<Key<N>>,
    peer: Option<Octets<N>>,
) -> State<C> {
    HandshakeState::new(
        noise_ik(),
        is_initiator,
        prologue,
        Some(own),
        ephemeral,
        peer,
        None,
    )
}

/// The ephemeral key at the front of a message, and the buffer cut to its payload.
fn frame<'o, C: Curve<N>, const N: usize>(
    state: &State<C>,
    message: &[u8],
    out: &'o mut [u8],
) -> Result<(Octets<N>, &'o mut [u8]), NoiseError> {
    let len = message
        .len()
        .checked_sub(state.get_next_message_overhead())
        .ok_or(NoiseError::Length)?;
    let re = message.first_chunk().ok_or(NoiseError::Length)?;
    Ok((Octets(*re), exactly(out, len)?))
}

fn exactly(out: &mut [u8], len: usize) -> Result<&mut [u8], NoiseError> {
    out.get_mut(..len).ok_or(NoiseError::Length)
}

fn static_key<C: Curve<N>, const N: usize>(
    key: &(impl KeyStore + ?Sized),
) -> Result<Key<N>, NoiseError> {
    let public = key.public_keys().agreement_key().ok_or(NoiseError::Suite)?;
    Ok(Key::Static {
        public: C::octets(&public)?,
        agreed: [const { None }; 2],
    })
}

fn transport<C: DH>(state: &State<C>) -> Transport {
    let (device, server) = state.get_ciphers();
    let mut hash = [0; 32];
    copy(&mut hash, state.get_hash());
    Transport {
        hash,
        device: device.extract().0.0,
        server: server.extract().0.0,
    }
}

fn copy(to: &mut [u8], from: &[u8]) {
    debug_assert_eq!(to.len(), from.len(), "Noise gave a value of another length");
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// A curve as the handshake needs it, with the encoding of its public keys in `N` bytes.
trait Curve<const N: usize>: DH<Key = Key<N>, Pubkey = Octets<N>, Output = Octets<32>> {
    /// A key in the handshake's encoding.
    fn octets(key: &AgreementKey) -> Result<Octets<N>, NoiseError>;
    /// A key from the handshake's encoding, checked.
    fn agreement_key(octets: &Octets<N>) -> Result<AgreementKey, NoiseError>;
    /// A new ephemeral key; `None` when the generator gives no scalar in several attempts.
    fn ephemeral(rng: &mut impl CryptoRng) -> Option<Key<N>>;
}

/// A private key of the handshake.
enum Key<const N: usize> {
    /// None; nothing is agreed with it.
    None,
    /// A key of a [`KeyStore`], with what it agreed on with others.
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
    fn agreed(self, peer: Octets<N>, secret: SharedSecret) -> Self {
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
struct Octets<const N: usize>([u8; N]);

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

enum X25519 {}

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

enum P256 {}

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

enum Aes {}

/// The nonce of Noise's AESGCM and of our sealing: four zero bytes and the counter, big-endian.
pub(super) fn nonce(counter: u64) -> [u8; 12] {
    crate::wire::fixed(|w| {
        w.zeros(4);
        w.u64(counter);
    })
}

/// Encrypts the buffer in place and returns the tag.
pub(super) fn aes_seal(key: &[u8; 32], counter: u64, ad: &[u8], buffer: &mut [u8]) -> [u8; 16] {
    let cipher = Aes256Gcm::new(key.into());
    let tag = cipher.encrypt_inout_detached(&nonce(counter).into(), ad, buffer.into());
    debug_assert!(tag.is_ok(), "AES-GCM takes up to 64 GiB");
    tag.map(Into::into).unwrap_or_default()
}

/// Decrypts the buffer in place, if the tag is right; else leaves it as it was.
pub(super) fn aes_open(
    key: &[u8; 32],
    counter: u64,
    ad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), ()> {
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(&nonce(counter).into(), ad, buffer.into(), tag.into())
        .map_err(drop)
}

impl Cipher for Aes {
    type Key = Octets<32>;

    fn name() -> &'static str {
        "AESGCM"
    }

    fn encrypt(key: &Octets<32>, nonce: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) {
        let Some((body, tag)) = out.split_at_mut_checked(plaintext.len()) else {
            debug_assert!(false, "the buffer holds plaintext and tag");
            return;
        };
        copy(body, plaintext);
        copy(tag, &aes_seal(&key.0, nonce, ad, body));
    }

    fn encrypt_in_place(
        key: &Octets<32>,
        nonce: u64,
        ad: &[u8],
        in_out: &mut [u8],
        plaintext_len: usize,
    ) -> usize {
        let Some((body, rest)) = in_out.split_at_mut_checked(plaintext_len) else {
            return 0;
        };
        let Some(tag) = rest.first_chunk_mut() else {
            return 0;
        };
        *tag = aes_seal(&key.0, nonce, ad, body);
        plaintext_len + tag.len()
    }

    fn decrypt(
        key: &Octets<32>,
        nonce: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<(), ()> {
        let (body, tag) = ciphertext.split_last_chunk().ok_or(())?;
        copy(out, body);
        aes_open(&key.0, nonce, ad, out, tag)
    }

    fn decrypt_in_place(
        key: &Octets<32>,
        nonce: u64,
        ad: &[u8],
        in_out: &mut [u8],
        ciphertext_len: usize,
    ) -> Result<usize, ()> {
        let ciphertext = in_out.get_mut(..ciphertext_len).ok_or(())?;
        let (body, tag) = ciphertext.split_last_chunk_mut().ok_or(())?;
        aes_open(&key.0, nonce, ad, body, tag)?;
        Ok(body.len())
    }
}

#[derive(Default)]
struct Sha(Sha256);

impl Hash for Sha {
    type Block = Octets<64>;
    type Output = Octets<32>;

    fn name() -> &'static str {
        "SHA256"
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self) -> Octets<32> {
        Octets(self.0.finalize_reset().into())
    }
}
