//! Who signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kusabi_core::suite::VerificationKey;
use kusabi_mender::{
    ArtifactError, ArtifactKey, KeyError, SignatureError,
    testing::{self, Parts},
};

use crate::{SEED, keys, read};

/// An artifact with these bytes as its signature.
fn with_signature(signature: &[u8]) -> Vec<u8> {
    let mut members = Parts::new("app-1", b"one").members(Some(SEED));
    members[2].1 = STANDARD.encode(signature).into_bytes();
    testing::tar(&members)
}

#[test]
fn a_signature_counts_in_each_of_its_forms_and_for_its_own_key_only() {
    let manifest = Parts::new("app-1", b"one").manifest();
    let raw = testing::sign(SEED, &manifest);
    let signature = p256::ecdsa::Signature::from_slice(&raw).unwrap();
    let (r, s) = signature.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    assert_ne!(high, signature, "one is low, the other is not");
    for form in [
        raw,
        high.to_bytes().to_vec(),
        signature.to_der().as_bytes().to_vec(),
        high.to_der().as_bytes().to_vec(),
    ] {
        let artifact = read(&with_signature(&form)).unwrap();
        assert_eq!(artifact.clone().verify(&keys()).unwrap().key(), 0);
        let other = ArtifactKey::from_spki(&testing::spki(SEED + 1)).unwrap();
        assert_eq!(
            artifact.clone().verify(std::slice::from_ref(&other)),
            Err(SignatureError::Mismatch { keys: 1 })
        );
        assert_eq!(
            artifact.verify(&[]),
            Err(SignatureError::Mismatch { keys: 0 })
        );
    }
}

#[test]
fn what_is_no_signature_is_none() {
    for (signature, length) in [
        (vec![0; 64], 64),
        (vec![0xff; 64], 64),
        (vec![1; 63], 63),
        (vec![0x30, 0], 2),
    ] {
        assert_eq!(signature.len(), length);
        let artifact = read(&with_signature(&signature)).unwrap();
        assert_eq!(
            artifact.verify(&keys()),
            Err(SignatureError::Mismatch { keys: 1 })
        );
    }
    let text = STANDARD.encode(testing::sign(SEED, &Parts::new("app-1", b"one").manifest()));
    for wrong in [
        String::new(),
        format!("{text}\n"),
        format!(" {text}"),
        text.trim_end_matches('=').to_owned(),
        text.replace('=', "A="),
        text.replace(['+', '/'], "-") + "-",
    ] {
        let mut members = Parts::new("app-1", b"one").members(Some(SEED));
        members[2].1 = wrong.clone().into_bytes();
        let why = read(&testing::tar(&members)).unwrap_err();
        assert!(matches!(why, ArtifactError::Signature), "{wrong:?}: {why}");
    }
}

#[test]
fn a_key_of_a_record_counts_as_its_spki_does() {
    let compressed = testing::key(SEED).verifying_key().to_sec1_point(true);
    let key = VerificationKey::p256(compressed.as_bytes().try_into().unwrap()).unwrap();
    assert_eq!(ArtifactKey::try_from(key).as_ref(), Ok(&keys()[0]));
    let ed25519 = VerificationKey::ed25519(&[
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07,
        0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07,
        0x51, 0x1a,
    ])
    .unwrap();
    assert_eq!(ArtifactKey::try_from(ed25519), Err(KeyError::Algorithm));
}

#[test]
fn keys_that_no_client_verifies_with_are_refused() {
    let rsa = include_bytes!("../data/rsa.spki");
    assert_eq!(
        format!("{:?}", ArtifactKey::from_spki(rsa).unwrap()),
        "RSA of 384 bytes"
    );
    // Trailing bytes, and a key that is cut.
    assert_eq!(
        ArtifactKey::from_spki(&[&rsa[..], &[0]].concat()),
        Err(KeyError::Spki)
    );
    assert_eq!(ArtifactKey::from_spki(&rsa[..200]), Err(KeyError::Spki));
    // The exponent stands at the end: 65537, made even.
    let mut even = rsa.to_vec();
    *even.last_mut().unwrap() = 2;
    assert_eq!(ArtifactKey::from_spki(&even), Err(KeyError::Rsa));
    // A point that is not on the curve; the same with a compressed one, which the tools do not write.
    let mut off = testing::spki(SEED);
    *off.last_mut().unwrap() ^= 1;
    assert_eq!(ArtifactKey::from_spki(&off), Err(KeyError::P256));
    // RFC 8410, 10.1.
    let ed25519 = STANDARD
        .decode("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=")
        .unwrap();
    assert_eq!(ArtifactKey::from_spki(&ed25519), Err(KeyError::Algorithm));
    assert_eq!(ArtifactKey::from_spki(b""), Err(KeyError::Spki));
}

#[test]
fn small_rsa_keys_are_refused_and_large_ones_are_not() {
    for (bytes, fits) in [
        (128, false),
        (255, false),
        (256, true),
        (1024, true),
        (1025, false),
    ] {
        let modulus = [&[0x00][..], &vec![0xc5; bytes]].concat();
        let key = der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat());
        let bits = [&[0][..], &key].concat();
        let algorithm = [
            &[
                0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
            ][..],
            &[5, 0],
        ]
        .concat();
        let spki = der(0x30, &[der(0x30, &algorithm), der(3, &bits)].concat());
        match ArtifactKey::from_spki(&spki) {
            Ok(_) => assert!(fits, "{bytes}"),
            Err(why) => assert!(!fits && why == KeyError::Rsa, "{bytes}: {why}"),
        }
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match length {
        0..128 => bytes.push(length as u8),
        128..256 => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend(content);
    bytes
}
