//! Noise IK: cacophony's published vector, and snow as the other implementation, in both roles and both suites.

use std::convert::Infallible;

use kusabi_core::id::{ChainId, Handle};
use kusabi_core::keystore::{KeyStore, KeyStoreError, Seed, SharedSecret, SoftKey};
use kusabi_core::protocol::noise::{Initiator, NoiseError, OVERHEAD_MAX, Prologue, Responder};
use kusabi_core::suite::{AgreementKey, PublicKeys, Signature, Suite};
use rand_core::{TryCryptoRng, TryRng};
use serde::Deserialize;

use crate::vectors::{self, Hex};

/// Gives the bytes that a test wants, again and again.
pub(crate) struct Fixed(pub(crate) [u8; 32]);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(7)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(7)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for (to, from) in out.iter_mut().zip(self.0.iter().cycle()) {
            *to = *from;
        }
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

/// A key whose agreement scalar is given, as published vectors have them.
struct Scalar(x25519_dalek::StaticSecret, SoftKey);

impl Scalar {
    fn new(bytes: [u8; 32]) -> Self {
        let signer = SoftKey::from_seed(Suite::Curve25519, &Seed::new([1; 32])).unwrap();
        Self(bytes.into(), signer)
    }
}

impl KeyStore for Scalar {
    fn public_keys(&self) -> PublicKeys {
        let signing = self.1.public_keys().verification_key().unwrap();
        let agreement = x25519_dalek::PublicKey::from(&self.0);
        PublicKeys::curve25519(signing.as_ed25519().unwrap(), agreement.as_bytes()).unwrap()
    }

    fn sign_message(&self, message: &[u8]) -> Result<Signature, KeyStoreError> {
        self.1.sign_message(message)
    }

    fn agree(&self, peer: &AgreementKey) -> Result<SharedSecret, KeyStoreError> {
        let AgreementKey::X25519(peer) = peer else {
            return Err(KeyStoreError::OtherSuite);
        };
        Ok(SharedSecret::new(
            self.0.diffie_hellman(&(*peer).into()).to_bytes(),
        ))
    }
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    protocol_name: String,
    init_prologue: Hex,
    init_static: Hex,
    init_ephemeral: Hex,
    init_remote_static: Hex,
    resp_static: Hex,
    resp_ephemeral: Hex,
    handshake_hash: Hex,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    payload: Hex,
    ciphertext: Hex,
}

#[test]
fn published_vector() {
    let file: File = vectors::read("noise.json");
    assert_eq!(file.vectors.len(), 1);
    for v in file.vectors {
        assert_eq!(v.protocol_name, "Noise_IK_25519_AESGCM_SHA256");
        let device = Scalar::new(v.init_static.array());
        let server = Scalar::new(v.resp_static.array());
        let prologue = &v.init_prologue.0;
        let mut buffer = [0; 512];
        let server_key = AgreementKey::x25519(&v.init_remote_static.array()).unwrap();
        let (initiator, len) = Initiator::start(
            &device,
            &server_key,
            prologue,
            &mut Fixed(v.init_ephemeral.array()),
            &v.messages[0].payload.0,
            &mut buffer,
        )
        .unwrap();
        assert_eq!(buffer[..len], v.messages[0].ciphertext.0);

        let (responder, len) = Responder::read(
            &server,
            prologue,
            &mut Fixed(v.resp_ephemeral.array()),
            &v.messages[0].ciphertext.0,
            &mut buffer,
        )
        .unwrap();
        assert_eq!(buffer[..len], v.messages[0].payload.0);
        assert_eq!(
            Some(*responder.peer()),
            device.public_keys().agreement_key()
        );

        let (servers, len) = responder
            .write(&v.messages[1].payload.0, &mut buffer)
            .unwrap();
        assert_eq!(buffer[..len], v.messages[1].ciphertext.0);
        let (devices, len) = initiator
            .finish(&device, &v.messages[1].ciphertext.0, &mut buffer)
            .unwrap();
        assert_eq!(buffer[..len], v.messages[1].payload.0);
        assert_eq!(devices, servers);
        assert_eq!(devices.hash[..], v.handshake_hash.0);
    }
}

const PAYLOADS: [&[u8]; 2] = [b"what the device says", b"and what the server answers"];

fn prologue(suite: Suite) -> Prologue {
    Prologue::new(&ChainId::new([1; 32]), suite, &Handle::new([2; 32]), None)
}

/// A key whose private half snow can have too: the suites' derivation gives it.
fn key(suite: Suite, seed: u8) -> (SoftKey, Vec<u8>) {
    let seed = Seed::new([seed; 32]);
    let (salt, info): (&[u8], &[&[u8]]) = match suite {
        Suite::Curve25519 => (b"kusabi.suite1.v1", &[b"agree"]),
        _ => (b"kusabi.suite2.v1", &[b"agree", &[0]]),
    };
    let scalar = kusabi_core::crypto::hkdf_sha256(salt, seed.expose(), info);
    (SoftKey::from_seed(suite, &seed).unwrap(), scalar.to_vec())
}

/// The public key as Noise has it.
fn octets(key: &SoftKey) -> Vec<u8> {
    match key.public_keys().agreement_key().unwrap() {
        AgreementKey::X25519(key) => key.to_vec(),
        AgreementKey::P256(key) => {
            use p256::elliptic_curve::sec1::ToSec1Point;
            let key = p256::PublicKey::from_sec1_bytes(&key).unwrap();
            key.to_sec1_point(false).as_bytes().to_vec()
        }
    }
}

fn snow(suite: Suite) -> snow::Builder<'static> {
    let name = match suite {
        Suite::Curve25519 => "Noise_IK_25519_AESGCM_SHA256",
        _ => "Noise_IK_P256_AESGCM_SHA256",
    };
    snow::Builder::new(name.parse().unwrap())
}

#[test]
fn snow_answers_our_device() {
    for suite in [Suite::Curve25519, Suite::P256] {
        let (device, _) = key(suite, 1);
        let (server, scalar) = key(suite, 2);
        let prologue = prologue(suite);
        let mut theirs = snow(suite)
            .prologue(prologue.as_bytes())
            .unwrap()
            .local_private_key(&scalar)
            .unwrap()
            .build_responder()
            .unwrap();
        let (mut wire, mut payload) = ([0; 512], [0; 512]);
        let server = server.public_keys().agreement_key().unwrap();
        let (ours, len) = Initiator::start(
            &device,
            &server,
            prologue.as_bytes(),
            &mut Fixed([3; 32]),
            PAYLOADS[0],
            &mut wire,
        )
        .unwrap();
        let len = theirs.read_message(&wire[..len], &mut payload).unwrap();
        assert_eq!(&payload[..len], PAYLOADS[0]);
        assert_eq!(theirs.get_remote_static().unwrap(), octets(&device));

        let len = theirs.write_message(PAYLOADS[1], &mut wire).unwrap();
        let (transport, plain) = ours.finish(&device, &wire[..len], &mut payload).unwrap();
        assert_eq!(&payload[..plain], PAYLOADS[1]);
        assert_eq!(transport.hash, theirs.get_handshake_hash());
        assert_eq!(
            (transport.device, transport.server),
            theirs.dangerously_get_raw_split()
        );
    }
}

#[test]
fn our_server_answers_snow() {
    for suite in [Suite::Curve25519, Suite::P256] {
        let (device, scalar) = key(suite, 1);
        let (server, _) = key(suite, 2);
        let prologue = prologue(suite);
        let mut theirs = snow(suite)
            .prologue(prologue.as_bytes())
            .unwrap()
            .local_private_key(&scalar)
            .unwrap()
            .remote_public_key(&octets(&server))
            .unwrap()
            .build_initiator()
            .unwrap();
        let (mut wire, mut payload) = ([0; 512], [0; 512]);
        let len = theirs.write_message(PAYLOADS[0], &mut wire).unwrap();
        let (ours, len) = Responder::read(
            &server,
            prologue.as_bytes(),
            &mut Fixed([4; 32]),
            &wire[..len],
            &mut payload,
        )
        .unwrap();
        assert_eq!(&payload[..len], PAYLOADS[0]);
        assert_eq!(Some(*ours.peer()), device.public_keys().agreement_key());
        let (transport, len) = ours.write(PAYLOADS[1], &mut wire).unwrap();
        let len = theirs.read_message(&wire[..len], &mut payload).unwrap();
        assert_eq!(&payload[..len], PAYLOADS[1]);
        assert_eq!(transport.hash, theirs.get_handshake_hash());
        assert_eq!(
            (transport.device, transport.server),
            theirs.dangerously_get_raw_split()
        );
    }
}

/// Every bit of both messages, and every shorter length; afterwards the true message still passes.
#[test]
fn whatever_was_changed_cannot_be_read() {
    for suite in [Suite::Curve25519, Suite::P256] {
        let ((device, _), (server, _)) = (key(suite, 1), key(suite, 2));
        let prologue = prologue(suite);
        let server_key = server.public_keys().agreement_key().unwrap();
        let (mut one, mut two, mut payload) = ([0; 512], [0; 512], [0; 512]);
        let start = |rng: u8, out: &mut [u8]| {
            let mut rng = Fixed([rng; 32]);
            Initiator::start(
                &device,
                &server_key,
                prologue.as_bytes(),
                &mut rng,
                PAYLOADS[0],
                out,
            )
            .unwrap()
        };
        let (ours, len) = start(3, &mut one);
        let one = &one[..len];
        let mut read = |message: &[u8], prologue: &Prologue| {
            let mut rng = Fixed([4; 32]);
            Responder::read(
                &server,
                prologue.as_bytes(),
                &mut rng,
                message,
                &mut payload,
            )
            .map(|(responder, _)| responder)
        };
        for bit in 0..one.len() * 8 {
            let mut other = one.to_vec();
            other[bit / 8] ^= 1 << (bit % 8);
            // X25519 ignores the top bit of a point (RFC 7748, section 5), but the handshake's hash does not.
            assert!(read(&other, &prologue).is_err(), "{suite:?} bit {bit}");
        }
        for len in 0..one.len() {
            assert!(read(&one[..len], &prologue).is_err(), "cut to {len}");
        }
        let others = [
            Prologue::new(&ChainId::new([9; 32]), suite, &Handle::new([2; 32]), None),
            Prologue::new(&ChainId::new([1; 32]), suite, &Handle::new([9; 32]), None),
            Prologue::new(
                &ChainId::new([1; 32]),
                suite,
                &Handle::new([2; 32]),
                Some(&[0; 16]),
            ),
        ];
        for other in others {
            assert_eq!(read(one, &other).unwrap_err(), NoiseError::Unreadable);
        }
        let responder = read(one, &prologue).unwrap();
        let (transport, len) = responder.write(PAYLOADS[1], &mut two).unwrap();
        let two = &two[..len];
        let mut payload = [0; 512];
        for bit in 0..two.len() * 8 {
            let mut other = two.to_vec();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(
                ours.finish(&device, &other, &mut payload).is_err(),
                "bit {bit}"
            );
        }
        // The answer to another attempt, and to another key of ours.
        let mut other = [0; 512];
        let (later, _) = start(5, &mut other);
        assert!(later.finish(&device, two, &mut payload).is_err());
        let (stranger, _) = key(suite, 6);
        assert!(ours.finish(&stranger, two, &mut payload).is_err());
        let (devices, len) = ours.finish(&device, two, &mut payload).unwrap();
        assert_eq!((&payload[..len], devices), (PAYLOADS[1], transport));
    }
}

#[test]
fn points_that_give_no_secret_end_the_handshake() {
    let (server, _) = key(Suite::Curve25519, 2);
    let mut message = [0; 160];
    let mut payload = [0; 512];
    let mut read = |message: &[u8]| {
        let prologue = prologue(Suite::Curve25519);
        let rng = &mut Fixed([4; 32]);
        Responder::read(&server, prologue.as_bytes(), rng, message, &mut payload)
            .map(drop)
            .unwrap_err()
    };
    assert_eq!(read(&message), NoiseError::Key);
    message[0] = 1;
    assert_eq!(read(&message), NoiseError::Key);
    assert_eq!(read(&[]), NoiseError::Length);
    // A buffer that is too small is no panic.
    let (device, _) = key(Suite::Curve25519, 1);
    let server = server.public_keys().agreement_key().unwrap();
    let started = Initiator::start(
        &device,
        &server,
        &[],
        &mut Fixed([3; 32]),
        PAYLOADS[0],
        &mut [0; OVERHEAD_MAX / 4],
    );
    assert_eq!(started.map(drop).unwrap_err(), NoiseError::Length);
}
