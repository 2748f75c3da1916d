//! One rule for Ed25519: core's verifier and the engine's say the same of every key and signature.

use crate::random::Random;
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_cryptography::{Signer as _, Verifier as _, ed25519};
use kusabi_core::crypto::{check_ed25519_key, verify_ed25519};

const NAMESPACE: &[u8] = b"oracle";

/// The encodings of the points of small order that decompress: eight canonical ones, then six that are not (the ZIP-215 test
/// suite lists them too).
fn small_order() -> Vec<[u8; 32]> {
    let with = |first: u8, middle: u8, last: u8| {
        let mut bytes = [middle; 32];
        bytes[0] = first;
        bytes[31] = last;
        bytes
    };
    let eight = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];
    let mut points = vec![
        with(1, 0, 0),
        with(0xec, 0xff, 0x7f),
        with(0, 0, 0),
        with(0, 0, 0x80),
        with(1, 0, 0x80),
        with(0xec, 0xff, 0xff),
        with(0xee, 0xff, 0x7f),
        with(0xee, 0xff, 0xff),
        with(0xed, 0xff, 0x7f),
        with(0xed, 0xff, 0xff),
    ];
    for text in eight {
        let point: [u8; 32] = kusabi_core::id::parse_hex(text).unwrap();
        let mut negative = point;
        negative[31] ^= 0x80;
        points.extend([point, negative]);
    }
    points
}

/// Both verdicts, which must agree.
fn verdict(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    // The engine signs varint(len namespace) ‖ namespace ‖ message.
    let signed = [&[NAMESPACE.len() as u8], NAMESPACE, message].concat();
    let core = verify_ed25519(key, &signed, signature).is_ok();
    let engine = ed25519::PublicKey::decode(Bytes::copy_from_slice(&key[..])).is_ok_and(|key| {
        let signature = ed25519::Signature::decode(Bytes::copy_from_slice(signature)).unwrap();
        key.verify(NAMESPACE, message, &signature)
    });
    assert_eq!(core, engine, "key {key:?} signature {signature:?}");
    core
}

#[test]
fn zip_215_edge_cases_are_judged_alike() {
    let points = small_order();
    let mut accepted = 0;
    for key in &points {
        assert!(check_ed25519_key(key).is_ok());
        assert!(ed25519::PublicKey::decode(Bytes::copy_from_slice(&key[..])).is_ok());
        for r in &points {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r);
            accepted += usize::from(verdict(key, b"message", &signature));
            // s = 1, and s = the group's order.
            signature[32] = 1;
            assert!(!verdict(key, b"message", &signature));
            signature[32..].copy_from_slice(&ORDER);
            assert!(!verdict(key, b"message", &signature));
        }
    }
    // By ZIP-215 all of them are valid: eight times both sides is the identity.
    assert_eq!(accepted, points.len() * points.len());
    assert_eq!(points.len(), 14);
}

/// The group's order, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn signatures_and_their_alterations_are_judged_alike() {
    let mut random = Random(9);
    for seed in 0..8 {
        let private = ed25519::PrivateKey::from_seed(seed);
        let key: [u8; 32] = private.public_key().encode().as_ref().try_into().unwrap();
        let message: [u8; 40] = random.bytes();
        let signature: [u8; 64] = private
            .sign(NAMESPACE, &message)
            .encode()
            .as_ref()
            .try_into()
            .unwrap();
        assert!(verdict(&key, &message, &signature));
        for bit in 0..512 {
            let mut altered = signature;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!verdict(&key, &message, &altered));
        }
        for bit in 0..256 {
            let mut altered = key;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!verdict(&altered, &message, &signature));
        }
        // s + order: the same number modulo the order, refused by all.
        let mut altered = signature;
        let mut carry = 0u16;
        for (byte, add) in altered[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert!(!verdict(&key, &message, &altered));
        for point in small_order() {
            let mut altered = signature;
            altered[..32].copy_from_slice(&point);
            assert!(!verdict(&key, &message, &altered));
        }
    }
    // Random strings as keys: half of them are points.
    let mut points = 0;
    for _ in 0..500 {
        let key: [u8; 32] = random.bytes();
        let core = check_ed25519_key(&key).is_ok();
        assert_eq!(
            core,
            ed25519::PublicKey::decode(Bytes::copy_from_slice(&key[..])).is_ok()
        );
        points += usize::from(core);
    }
    assert!((100..400).contains(&points));
}
