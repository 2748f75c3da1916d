//! Keys and signatures of devices, as openssl makes them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kusabi_core::suite::ForeignAlgorithm;
use kusabi_mender::{
    DeviceKey, KeyError,
    testing::{Signer, pem_of, rsa_of, rsa_spki},
};

const BODY: &[u8] = include_bytes!("../data/device-body.json");

macro_rules! data {
    ($name:literal) => {
        include_str!(concat!("../data/device-", $name))
    };
}

/// Algorithm, PEM, signature of [`BODY`].
fn vectors() -> [(ForeignAlgorithm, &'static str, &'static str); 3] {
    [
        (ForeignAlgorithm::Rsa, data!("rsa.pem"), data!("rsa.sig")),
        (ForeignAlgorithm::P256, data!("p256.pem"), data!("p256.sig")),
        (
            ForeignAlgorithm::Ed25519,
            data!("ed25519.pem"),
            data!("ed25519.sig"),
        ),
    ]
}

#[test]
fn what_openssl_signs_is_signed_and_nothing_else_is() {
    for (algorithm, pem, signature) in vectors() {
        let key = DeviceKey::from_pem(pem).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert!(key.signed(BODY, signature), "{key:?}");
        // The line end is signed, too.
        assert!(!key.signed(BODY.trim_ascii_end(), signature));
        for (_, other, signature) in vectors() {
            let is_own = other == pem;
            assert_eq!(key.signed(BODY, signature), is_own);
        }
        let raw = STANDARD.decode(signature).unwrap();
        for at in [0, raw.len() / 2, raw.len() - 1] {
            let mut flipped = raw.clone();
            flipped[at] ^= 1;
            assert!(
                !key.signed(BODY, &STANDARD.encode(&flipped)),
                "{key:?}, byte {at}"
            );
        }
        for bad in [
            String::new(),
            signature.replace('=', ""),
            format!("{signature}\n"),
            STANDARD.encode([&raw[..], &[0]].concat()),
            STANDARD.encode(&raw[1..]),
        ] {
            // Without padding it is another text only where there was some.
            assert_eq!(key.signed(BODY, &bad), bad == signature, "{key:?} {bad}");
        }
    }
}

#[test]
fn a_device_signs_with_p256_in_der_only_and_either_half_of_it() {
    let signer = Signer::p256(3);
    let key = DeviceKey::from_spki(&signer.spki()).unwrap();
    let der = STANDARD.decode(signer.sign(BODY)).unwrap();
    let signature = p256::ecdsa::Signature::from_der(&der).unwrap();
    let (r, s) = signature.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    for signature in [signature, other] {
        assert!(key.signed(BODY, &STANDARD.encode(signature.to_der().as_bytes())));
        assert!(!key.signed(BODY, &STANDARD.encode(signature.to_bytes())));
    }
}

#[test]
fn a_key_has_one_form_however_its_pem_is_written() {
    for (_, pem, _) in vectors() {
        let key = DeviceKey::from_pem(pem).unwrap();
        for same in [
            pem.trim_end().to_owned(),
            pem.replace('\n', "\r\n"),
            format!("\n{pem}\n\n"),
        ] {
            assert_eq!(DeviceKey::from_pem(&same).unwrap(), key, "{same:?}");
        }
        assert_eq!(key.to_pem(), pem);
        assert_eq!(DeviceKey::from_spki(key.spki()).unwrap(), key);
        // DER of the same with another length, or with something behind it.
        let behind = [key.spki(), &[0]].concat();
        assert!(DeviceKey::from_spki(&behind).is_err());
    }
}

#[test]
fn keys_that_are_too_weak_too_large_or_of_another_kind_are_refused() {
    for (pem, why) in [
        (data!("weak.pem").to_owned(), KeyError::Rsa),
        (pem_of(&rsa_of(255)), KeyError::Rsa),
        (pem_of(&rsa_of(1025)), KeyError::Rsa),
        (String::new(), KeyError::Spki),
        (String::from("ssh-rsa AAAA"), KeyError::Spki),
        (
            data!("rsa.pem").replace("PUBLIC KEY", "RSA PUBLIC KEY"),
            KeyError::Spki,
        ),
        (pem_of(&[0x30, 0]), KeyError::Spki),
        (pem_of(&rsa_spki(&[0x30, 0])), KeyError::Spki),
    ] {
        assert_eq!(DeviceKey::from_pem(&pem), Err(why), "{pem}");
    }
    for bytes in [256, 1024] {
        assert!(DeviceKey::from_spki(&rsa_of(bytes)).is_ok());
    }
    let [.., (_, ed25519, _)] = vectors();
    let spki = DeviceKey::from_pem(ed25519).unwrap().spki().to_vec();
    // X25519 is 1.3.101.110, Ed448 is 1.3.101.113.
    for last in [110, 113] {
        let mut other = spki.clone();
        other[8] = last;
        assert_eq!(DeviceKey::from_spki(&other), Err(KeyError::DeviceAlgorithm));
    }
    // No point of the curve.
    let mut off = Signer::p256(1).spki();
    *off.last_mut().unwrap() ^= 1;
    assert_eq!(DeviceKey::from_spki(&off), Err(KeyError::P256));
}
