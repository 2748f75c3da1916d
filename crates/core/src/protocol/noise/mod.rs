//! Noise IK over our keys (spec/device-protocol.md, "Handshake"; Noise revision 34).
//!
//! The handshake itself is `noise-protocol`'s; here are the primitives that it is given (`curves`, `cipher`), and the
//! agreements of static keys, which are made *outside* of it by a [`KeyStore`]: whoever drives the handshake puts the
//! results into the state's static key, which knows no private half. So a key in a TPM does as well as one in memory, a
//! failing token has its own error, and the state borrows nothing.
//!
//! A state is made anew for each attempt, and reading works on a copy: a message that cannot be read changes nothing.

mod cipher;
mod curves;

use core::fmt;

use noise_protocol::patterns::noise_ik;
use noise_protocol::{DH, ErrorKind, HandshakeState, U8Array};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::{ChainId, Handle};
use crate::keystore::{KeyStore, KeyStoreError};
use crate::suite::{AgreementKey, Suite};
use crate::wire::Sink;
use cipher::{Aes, Sha};
use curves::{Curve, Key, Octets, P256, X25519};

pub(super) use cipher::{aes_open, aes_seal};

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
