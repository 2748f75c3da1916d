//! Published vectors of the primitives (spec/vectors/primitives.json).

use bech32::Bech32m;
use bech32::primitives::decode::CheckedHrpstring;
use kusabi_core::crypto::{self, SignatureError, verify_ed25519};
use kusabi_core::id::KusabiId;
use kusabi_core::suite::{KeyError, Signature, VerificationKey};
use serde::Deserialize;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Primitives {
    ed25519_rfc8032: Cases<Ed25519>,
    ed25519_zip215: Points,
    p256_rfc6979: P256Key,
    p256_fips186: Cases<Fips>,
    hkdf_rfc5869: Cases<Hkdf>,
    hmac_rfc4231: Cases<Hmac>,
    x25519_rfc7748: Cases<X25519>,
    bech32m_bip350: Bech32mTexts,
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct Ed25519 {
    key: Hex,
    message: Hex,
    signature: Hex,
}

#[derive(Deserialize)]
struct Points {
    points: Vec<Hex>,
}

#[derive(Deserialize)]
struct P256Key {
    x: Hex,
    y: Hex,
    cases: Vec<Signed>,
}

#[derive(Deserialize)]
struct Signed {
    message: Hex,
    signature: Hex,
}

#[derive(Deserialize)]
struct Fips {
    message: Hex,
    x: Hex,
    y: Hex,
    r: Hex,
    s: Hex,
    valid: bool,
}

#[derive(Deserialize)]
struct Hkdf {
    ikm: Hex,
    salt: Hex,
    info: Hex,
    okm: Hex,
}

#[derive(Deserialize)]
struct Hmac {
    key: Hex,
    message: Hex,
    mac: Hex,
}

#[derive(Deserialize)]
struct X25519 {
    scalar: Hex,
    u: Hex,
    result: Hex,
}

#[derive(Deserialize)]
struct Bech32mTexts {
    valid: Vec<String>,
    invalid: Vec<String>,
}

fn primitives() -> Primitives {
    read("primitives.json")
}

/// Order of the subgroup of Curve25519, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn ed25519_rfc8032() {
    for case in primitives().ed25519_rfc8032.cases {
        let key = VerificationKey::ed25519(&case.key.array()).unwrap();
        let signature: [u8; 64] = case.signature.array();
        let verify =
            |message: &[u8], signature| key.verify_message(message, &Signature::new(signature));
        assert_eq!(verify(&case.message.0, signature), Ok(()));

        let mut other = case.message.0.clone();
        other.push(0);
        assert_eq!(verify(&other, signature), Err(SignatureError::Mismatch));
        for bit in 0..512 {
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&case.message.0, flipped).is_err(), "bit {bit}");
        }

        // s + l is the same scalar in another form (RFC 8032, 5.1.7: refused).
        let mut malleable = signature;
        let mut carry = 0;
        for (byte, l) in malleable[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(l) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert!(verify(&case.message.0, malleable).is_err());
    }
}

/// The 196 signatures that tell ZIP-215 from every stricter rule.
#[test]
fn ed25519_zip215() {
    let points = primitives().ed25519_zip215.points;
    assert_eq!(points.len(), 14);
    for key in &points {
        // They verify, all being of small order: whoever they were keys of, everyone could sign.
        assert_eq!(
            VerificationKey::ed25519(&key.array()),
            Err(KeyError::Ed25519)
        );
        for r in &points {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r.0);
            let verify = |signature| verify_ed25519(&key.array(), b"Zcash", &signature);
            assert_eq!(verify(signature), Ok(()), "R {r:?}");
            // The same with s = l, which is 0 in a form that is not reduced.
            signature[32..].copy_from_slice(&L);
            assert_eq!(verify(signature), Err(SignatureError::Mismatch));
        }
    }
}

fn compressed(x: &Hex, y: &Hex) -> [u8; 33] {
    let mut key = [2 + (y.0[31] & 1); 33];
    key[1..].copy_from_slice(&x.0);
    key
}

fn joined(r: &Hex, s: &Hex) -> [u8; 64] {
    [r.0.as_slice(), &s.0].concat().try_into().unwrap()
}

/// Order of P-256, big-endian.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The signature with n − s.
fn other_s(mut signature: [u8; 64]) -> [u8; 64] {
    let mut borrow = 0;
    for (byte, n) in signature[32..].iter_mut().zip(N).rev() {
        let difference = i16::from(n) - i16::from(*byte) - borrow;
        borrow = i16::from(difference < 0);
        *byte = difference.rem_euclid(256) as u8;
    }
    signature
}

/// Of the two signatures, `s` and `n − s`, one is good and the other refused for its high `s`.
fn exactly_the_low_one_is_good(key: &[u8; 33], message: &[u8], signature: [u8; 64]) {
    let mut verdicts = [signature, other_s(signature)]
        .map(|signature| crypto::verify_p256(key, message, &signature));
    verdicts.sort_by_key(Result::is_err);
    assert_eq!(verdicts, [Ok(()), Err(SignatureError::HighS)]);
}

#[test]
fn p256_rfc6979() {
    let vectors = primitives().p256_rfc6979;
    let key = compressed(&vectors.x, &vectors.y);
    for case in vectors.cases {
        exactly_the_low_one_is_good(&key, &case.message.0, case.signature.array());
    }
}

#[test]
fn p256_fips186() {
    let cases = primitives().p256_fips186.cases;
    assert!(cases.iter().any(|case| case.valid) && cases.iter().any(|case| !case.valid));
    for case in cases {
        let key = compressed(&case.x, &case.y);
        let signature = joined(&case.r, &case.s);
        if case.valid {
            exactly_the_low_one_is_good(&key, &case.message.0, signature);
        } else {
            // A wrong public key may be off the curve with this x; what was signed with it is refused either way.
            for signature in [signature, other_s(signature)] {
                assert!(crypto::verify_p256(&key, &case.message.0, &signature).is_err());
            }
        }
    }
}

#[test]
fn p256_refuses_scalars_out_of_range() {
    let vectors = primitives().p256_rfc6979;
    let key = compressed(&vectors.x, &vectors.y);
    let good: [u8; 64] = vectors.cases[1].signature.array();
    for scalar in [[0; 32], N, [0xff; 32]] {
        for half in [0, 32] {
            let mut signature = good;
            signature[half..half + 32].copy_from_slice(&scalar);
            assert_eq!(
                crypto::verify_p256(&key, b"test", &signature),
                Err(SignatureError::Malformed)
            );
        }
    }
}

/// Core takes 32 bytes from HKDF, the vectors have more; what HKDF gives first does not depend on the length.
#[test]
fn hkdf_rfc5869() {
    for case in primitives().hkdf_rfc5869.cases {
        let (front, back) = case.info.0.split_at(case.info.0.len() / 2);
        let okm = crypto::hkdf_sha256(&case.salt.0, &case.ikm.0, &[front, back]);
        assert_eq!(okm.as_slice(), &case.okm.0[..32]);
    }
}

#[test]
fn hmac_rfc4231() {
    for case in primitives().hmac_rfc4231.cases {
        let (front, back) = case.message.0.split_at(3);
        let mac = crypto::hmac_sha256(&case.key.0, &[front, back]);
        assert_eq!(mac.as_slice(), case.mac.0);
    }
}

#[test]
fn x25519_rfc7748() {
    for case in primitives().x25519_rfc7748.cases {
        let secret = x25519_dalek::StaticSecret::from(case.scalar.array::<32>());
        let shared = secret.diffie_hellman(&case.u.array::<32>().into());
        assert_eq!(shared.as_bytes().as_slice(), case.result.0);
    }
}

#[test]
fn bech32m_bip350() {
    let texts = primitives().bech32m_bip350;
    for text in texts.valid {
        assert!(CheckedHrpstring::new::<Bech32m>(&text).is_ok(), "{text}");
        assert!(text.parse::<KusabiId>().is_err(), "{text}");
    }
    for text in texts.invalid {
        assert!(CheckedHrpstring::new::<Bech32m>(&text).is_err(), "{text:?}");
        assert!(text.parse::<KusabiId>().is_err(), "{text:?}");
    }
}
