//! Properties over random values: what is written reads back, and decoding never panics.

use kusabi_core::evidence::{Evidence, Verdict};
use kusabi_core::id::{ChainId, Digest, Height, KusabiId, OrgName};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::suite::{PublicKeys, Suite, VerificationKey};
use kusabi_core::wire::{Reader, Sink, fixed};
use proptest::prelude::*;

fn suite() -> impl Strategy<Value = Suite> {
    prop_oneof![Just(Suite::Curve25519), Just(Suite::P256)]
}

proptest! {
    #[test]
    fn id_texts_round_trip(bytes: [u8; 16]) {
        let id = KusabiId::new(bytes);
        let text = id.to_text();
        prop_assert_eq!(text.expose().len(), 36);
        prop_assert!(text.expose().parse::<KusabiId>() == Ok(id));
    }

    #[test]
    fn id_decoding_never_panics(text in ".{0,80}", data in "kid1[ac-hj-np-z02-9]{0,40}") {
        prop_assert!(text.parse::<KusabiId>().is_err());
        prop_assert!(data.parse::<KusabiId>().is_err());
    }

    #[test]
    fn names_are_what_the_spec_says(name in "[a-z0-9.A-Z_é-]{0,34}") {
        let ok = (1..=32).contains(&name.len())
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
            && !name.starts_with(['.', '-']);
        prop_assert_eq!(name.parse::<OrgName>().is_ok(), ok);
    }

    #[test]
    fn keys_round_trip(suite in suite(), seed: [u8; 32]) {
        let key = SoftKey::from_seed(suite, &Seed::new(seed)).unwrap();
        let keys = key.public_keys();
        prop_assert_eq!(PublicKeys::decode(suite, keys.as_bytes()), Ok(keys));
        let verification_key = keys.verification_key().unwrap();
        prop_assert_eq!(VerificationKey::decode(&verification_key.encode()), Ok(verification_key));
    }

    #[test]
    fn keys_of_random_bytes_never_panic(suite in suite(), front: [u8; 32], back: [u8; 32], more: [u8; 2]) {
        let bytes = fixed(|w| { w.put(&front); w.put(&back); w.put(&more); });
        for suite in [suite, Suite::Foreign] {
            if let Ok(keys) = PublicKeys::decode(suite, &bytes) {
                prop_assert_eq!(keys.as_bytes(), &bytes);
            }
        }
    }

    #[test]
    fn agreement_is_the_same_from_both_sides(suite in suite(), a: [u8; 32], b: [u8; 32]) {
        let [a, b] = [a, b].map(|seed| SoftKey::from_seed(suite, &Seed::new(seed)).unwrap());
        let ab = a.agree(&b.public_keys().agreement_key().unwrap()).unwrap();
        let ba = b.agree(&a.public_keys().agreement_key().unwrap()).unwrap();
        prop_assert_eq!(ab.expose(), ba.expose());
    }

    #[test]
    fn evidence_decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Evidence::decode(&bytes).is_err());
        let verdict = Evidence::verify(&bytes, &ChainId::ZERO, &Digest::ZERO, None, Height::ZERO);
        prop_assert!(matches!(verdict, Verdict::Invalid(_)));
    }

    #[test]
    fn wire_integers_round_trip(a: u8, b: u16, c: u32, d in 0..1u64 << 48, e: u64, f: bool) {
        let bytes: [u8; 22] = fixed(|w| { w.u8(a); w.u16(b); w.u32(c); w.u48(d); w.u64(e); w.flag(f); });
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(r.u8(), Ok(a));
        prop_assert_eq!(r.u16(), Ok(b));
        prop_assert_eq!(r.u32(), Ok(c));
        prop_assert_eq!(r.u48(), Ok(d));
        prop_assert_eq!(r.u64(), Ok(e));
        prop_assert_eq!(r.flag(), Ok(f));
        prop_assert_eq!(r.finish(), Ok(()));
    }
}
