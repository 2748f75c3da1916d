//! Evidence bundles (spec/vectors/evidence.json), verdicts, and the whole verification.

use kusabi_core::evidence::{Evidence, EvidenceError, Signed};
use kusabi_core::id::{ChainId, Digest, Handle};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::suite::{Purpose, Suite};
use serde::Deserialize;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Vectors {
    bundles: Vec<Bundle>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Bundle {
    suite: u8,
    seed: Hex,
    chain: Hex,
    handle: Hex,
    purpose: u8,
    file: Hex,
    proof: Hex,
    genesis: Hex,
    walk: Vec<Hex>,
    anchor: Option<Hex>,
    anchor_digest: Hex,
    bundle: Hex,
}

#[derive(Deserialize)]
struct Refused {
    why: String,
    error: String,
    bundle: Hex,
}

fn vectors() -> Vectors {
    read("evidence.json")
}

fn key(bundle: &Bundle) -> SoftKey {
    let suite = Suite::try_from(bundle.suite).unwrap();
    SoftKey::from_seed(suite, &Seed::new(bundle.seed.array())).unwrap()
}

fn signed(bundle: &Bundle) -> Signed {
    Signed {
        chain: ChainId::new(bundle.chain.array()),
        signer: Handle::new(bundle.handle.array()),
        purpose: bundle.purpose.try_into().unwrap(),
        file: Digest::of(&bundle.file.0),
    }
}

#[test]
fn bundles() {
    for case in vectors().bundles {
        let walk: Vec<_> = case.walk.iter().map(|step| step.0.clone()).collect();
        let mut evidence = Evidence::sign(
            &key(&case),
            signed(&case),
            case.proof.0.clone(),
            case.genesis.0.clone(),
            walk.clone(),
        )
        .unwrap();
        if let Some(anchor) = &case.anchor {
            evidence = evidence.anchored(anchor.0.clone(), walk.clone()).unwrap();
        }
        assert_eq!(Hex(evidence.encoded().to_vec()), case.bundle);
        assert_eq!(
            evidence.anchor_digest(),
            Digest::new(case.anchor_digest.array())
        );

        let decoded = Evidence::decode(&case.bundle.0).unwrap();
        assert_eq!(decoded, evidence);
        assert_eq!(*decoded.signed(), signed(&case));
        assert_eq!(decoded.proof(), case.proof.0);
        assert_eq!(decoded.genesis(), case.genesis.0);
        assert_eq!(
            decoded.anchor(),
            case.anchor.as_ref().map(|a| a.0.as_slice())
        );
        assert!(decoded.walk().eq(walk.iter().map(Vec::as_slice)));

        let public = key(&case).public_keys().verification_key().unwrap();
        let Signed { chain, file, .. } = signed(&case);
        assert_eq!(decoded.check_signature(&chain, &file, &public), Ok(()));
        assert_eq!(
            decoded.check_signature(&ChainId::ZERO, &file, &public),
            Err(EvidenceError::OtherChain)
        );
        assert_eq!(
            decoded.check_signature(&chain, &Digest::ZERO, &public),
            Err(EvidenceError::OtherFile)
        );
        for (suite, error) in [
            (case.suite, EvidenceError::Signature),
            (3 - case.suite, EvidenceError::Algorithm),
        ] {
            let other = SoftKey::from_seed(suite.try_into().unwrap(), &Seed::new([1; 32])).unwrap();
            let other = other.public_keys().verification_key().unwrap();
            assert_eq!(decoded.check_signature(&chain, &file, &other), Err(error));
        }
    }
}

/// A flipped bit is refused, or it lies in the unprotected proofs, which the signature does not cover and which prove
/// themselves.
#[test]
fn every_flipped_bit_of_a_bundle_is_refused_or_unsigned() {
    for case in vectors().bundles {
        let public = key(&case).public_keys().verification_key().unwrap();
        let Signed { chain, file, .. } = signed(&case);
        let good = Evidence::decode(&case.bundle.0).unwrap();
        let unsigned = case.proof.0.len()
            + case.genesis.0.len()
            + case.anchor.as_ref().map_or(0, |anchor| anchor.0.len())
            + case.walk.iter().map(|step| step.0.len()).sum::<usize>();
        let mut passed = 0;
        for bit in 0..case.bundle.0.len() * 8 {
            let mut bytes = case.bundle.0.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(evidence) = Evidence::decode(&bytes) else {
                continue;
            };
            if evidence.check_signature(&chain, &file, &public).is_ok() {
                passed += 1;
                assert_eq!(evidence.signed(), good.signed());
                assert_eq!(evidence.anchor_digest(), good.anchor_digest());
            }
        }
        assert_eq!(passed, unsigned * 8);
    }
}

#[test]
fn refused_bundles() {
    for case in vectors().refused {
        let error = Evidence::decode(&case.bundle.0).expect_err(&case.why);
        assert_eq!(format!("{error:?}"), case.error, "{}", case.why);
    }
}

#[test]
fn bundles_have_a_size() {
    let key = SoftKey::from_seed(Suite::Curve25519, &Seed::new([1; 32])).unwrap();
    let sign = |len| {
        let signed = Signed {
            chain: ChainId::ZERO,
            signer: Handle::ZERO,
            purpose: Purpose::App,
            file: Digest::ZERO,
        };
        Evidence::sign(&key, signed, vec![0; len], Vec::new(), Vec::new())
    };
    let overhead = sign(60_000).unwrap().encoded().len() - 60_000;
    let largest = sign(Evidence::MAX - overhead).unwrap();
    assert_eq!(largest.encoded().len(), Evidence::MAX);
    assert_eq!(Evidence::decode(largest.encoded()).as_ref(), Ok(&largest));
    assert_eq!(
        sign(Evidence::MAX - overhead + 1),
        Err(EvidenceError::TooLarge)
    );
    assert_eq!(
        Evidence::decode(&vec![0; Evidence::MAX + 1]),
        Err(EvidenceError::TooLarge)
    );
}
