//! Identifiers, keys and bindings (spec/vectors/identity.json).

use kusabi_core::crypto::{check_ed25519_key, verify_ed25519};
use kusabi_core::id::{Binding, ChainId, Handle, KusabiId, OrgId, OrgName};
use kusabi_core::keystore::{KeyStore, KeyStoreError, Seed, SoftKey};
use kusabi_core::suite::{
    AgreementKey, BindingContext, ForeignAlgorithm, KeyError, PublicKeys, Purpose, Suite,
    VerificationKey, foreign_verification_key,
};
use serde::Deserialize;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Identity {
    ids: Vec<Id>,
    refused_ids: Vec<RefusedId>,
    organisations: Vec<Organisation>,
    refused_names: Vec<String>,
    suites: Vec<SuiteCase>,
    foreign: Vec<Foreign>,
    refused_keys: Vec<RefusedKeys>,
    bindings: Vec<BindingCase>,
}

#[derive(Deserialize)]
struct Id {
    id: Hex,
    text: String,
    handle: Hex,
}

#[derive(Deserialize)]
struct RefusedId {
    why: String,
    text: String,
}

#[derive(Deserialize)]
struct Organisation {
    name: String,
    id: Hex,
}

#[derive(Deserialize)]
struct SuiteCase {
    suite: u8,
    seed: Hex,
    keys: Hex,
    verification_key: Hex,
    bare_handle: Hex,
    peer_seed: Hex,
    shared_secret: Hex,
}

#[derive(Deserialize)]
struct Foreign {
    algorithm: u8,
    spki: Hex,
    keys: Hex,
    verification_key: Hex,
}

#[derive(Deserialize)]
struct RefusedKeys {
    suite: u8,
    keys: Hex,
    error: String,
}

#[derive(Deserialize)]
struct BindingCase {
    id: Hex,
    chain: Hex,
    owner: Hex,
    purpose: u8,
    suite: u8,
    keys: Hex,
    binding: Hex,
}

fn identity() -> Identity {
    read("identity.json")
}

fn soft_key(suite: u8, seed: &Hex) -> SoftKey {
    SoftKey::from_seed(suite.try_into().unwrap(), &Seed::new(seed.array())).unwrap()
}

#[test]
fn ids() {
    for case in identity().ids {
        let id = KusabiId::new(case.id.array());
        assert_eq!(id.to_text().expose(), case.text);
        assert_eq!(id.handle(), Handle::new(case.handle.array()));
        assert!(case.text.parse::<KusabiId>() == Ok(id.clone()));
        assert!(case.text.to_uppercase().parse::<KusabiId>() == Ok(id));
    }
}

#[test]
fn refused_ids() {
    for case in identity().refused_ids {
        assert!(case.text.parse::<KusabiId>().is_err(), "{}", case.why);
    }
}

#[test]
fn every_flipped_bit_of_an_id_text_is_refused() {
    for case in identity().ids {
        for bit in 0..case.text.len() * 8 {
            let mut bytes = case.text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(text.parse::<KusabiId>().is_err(), "{text:?}");
            }
        }
    }
}

#[test]
fn secrets_do_not_show() {
    let id = KusabiId::new([0x5a; 16]);
    let seed = Seed::new([0x5a; 32]);
    let key = SoftKey::from_seed(Suite::P256, &seed).unwrap();
    let secret = key.agree(&key.public_keys().agreement_key().unwrap());
    let shown = format!("{id:?} {:?} {seed:?} {key:?} {secret:?}", id.to_text());
    for secret in ["5a5a", "90, 90", "kid1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn organisations() {
    let identity = identity();
    for case in identity.organisations {
        let name: OrgName = case.name.parse().unwrap();
        assert_eq!(name.as_str(), case.name);
        assert_eq!(name.id(), OrgId::new(case.id.array()));
    }
    for name in identity.refused_names {
        assert!(name.parse::<OrgName>().is_err(), "{name:?}");
    }
}

#[test]
fn hexadecimal_text_has_one_form() {
    let text = "00ff".repeat(16);
    assert_eq!(text.parse::<Handle>().unwrap().to_string(), text);
    for refused in [
        text.to_uppercase(),
        text[1..].to_owned(),
        text[2..].to_owned(),
        format!("{text}00"),
        text.replace('f', "g"),
        text.replacen("00", "é", 1),
        text.replacen('0', "+", 1),
    ] {
        assert!(refused.parse::<Handle>().is_err(), "{refused}");
    }
}

#[test]
fn suites() {
    for case in identity().suites {
        let key = soft_key(case.suite, &case.seed);
        let keys = key.public_keys();
        assert_eq!(keys.as_bytes().as_slice(), case.keys.0);
        assert_eq!(
            PublicKeys::decode(keys.suite(), &case.keys.array()),
            Ok(keys)
        );
        assert_eq!(
            PublicKeys::from_compact(keys.suite(), keys.compact().unwrap()),
            Ok(keys)
        );

        let verification_key = keys.verification_key().unwrap();
        assert_eq!(
            verification_key.encode().as_slice(),
            case.verification_key.0
        );
        assert_eq!(
            VerificationKey::decode(&case.verification_key.array()),
            Ok(verification_key)
        );
        assert_eq!(
            verification_key.bare_handle(),
            Handle::new(case.bare_handle.array())
        );

        let peer = soft_key(case.suite, &case.peer_seed);
        let peer_key = peer.public_keys().agreement_key().unwrap();
        let own_key = keys.agreement_key().unwrap();
        assert_eq!(
            key.agree(&peer_key).unwrap().expose().as_slice(),
            case.shared_secret.0
        );
        assert_eq!(
            peer.agree(&own_key).unwrap().expose().as_slice(),
            case.shared_secret.0
        );
    }
}

#[test]
fn agreement_stays_within_a_suite() {
    let seed = Seed::new([1; 32]);
    let one = SoftKey::from_seed(Suite::Curve25519, &seed).unwrap();
    let two = SoftKey::from_seed(Suite::P256, &seed).unwrap();
    for (key, peer) in [(&one, &two), (&two, &one)] {
        let peer = peer.public_keys().agreement_key().unwrap();
        assert_eq!(key.agree(&peer).err(), Some(KeyStoreError::OtherSuite));
    }
    assert_eq!(
        SoftKey::from_seed(Suite::Foreign, &seed).err(),
        Some(KeyError::Suite)
    );
}

/// The list of small-order points against what X25519 makes of them, both ways round.
#[test]
fn small_order_points_are_those_that_give_no_secret() {
    let seed = Seed::new([1; 32]);
    let key = SoftKey::from_seed(Suite::Curve25519, &seed).unwrap();
    let mut refused = 0;
    // Every u near 0, p and 2^255, with and without the ignored bit; and the two points of order 8 (RFC 7748, section 6:
    // their values are in <https://cr.yp.to/ecdh.html#validate>).
    let mut candidates: Vec<[u8; 32]> = Vec::new();
    for low in 0..=255 {
        for (middle, top) in [(0, 0), (0xff, 0x7f), (0, 0x80), (0xff, 0xff)] {
            let mut u = [middle; 32];
            (u[0], u[31]) = (low, top);
            candidates.push(u);
        }
    }
    for text in [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
    ] {
        candidates.push(kusabi_core::id::parse_hex(text).unwrap());
    }
    for u in candidates {
        let unchecked = AgreementKey::X25519(u);
        let gives_secret = key.agree(&unchecked).is_ok();
        assert_eq!(AgreementKey::x25519(&u).is_ok(), gives_secret, "{u:02x?}");
        refused += usize::from(!gives_secret);
    }
    assert_eq!(refused, 2 * 5 + 3);
}

/// The list of small-order keys against what verifying makes of them, both ways round: under those, and no others, one
/// signature (R the neutral point, s = 0) is good for every message.
#[test]
fn small_order_keys_are_those_under_which_anyone_signs() {
    let mut candidates: Vec<[u8; 32]> = Vec::new();
    for low in 0..=255 {
        for (middle, top) in [(0, 0), (0xff, 0x7f), (0, 0x80), (0xff, 0xff)] {
            let mut y = [middle; 32];
            (y[0], y[31]) = (low, top);
            candidates.push(y);
        }
    }
    for text in [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ] {
        candidates.push(kusabi_core::id::parse_hex(text).unwrap());
    }
    let mut anyones = [0; 64];
    anyones[0] = 1;
    let mut refused = 0;
    for key in candidates {
        let is_point = check_ed25519_key(&key).is_ok();
        let anyone_signs = verify_ed25519(&key, b"anything", &anyones).is_ok();
        assert_eq!(
            VerificationKey::ed25519(&key).is_ok(),
            is_point && !anyone_signs,
            "{key:02x?}"
        );
        refused += usize::from(anyone_signs);
    }
    assert_eq!(refused, 14);
}

#[test]
fn foreign_keys() {
    for case in identity().foreign {
        let algorithm = ForeignAlgorithm::try_from(case.algorithm).unwrap();
        let keys = PublicKeys::foreign(algorithm, &case.spki.0).unwrap();
        assert_eq!(keys.as_bytes().as_slice(), case.keys.0);
        assert_eq!(
            PublicKeys::decode(Suite::Foreign, &case.keys.array()),
            Ok(keys)
        );
        let compact = [&[case.algorithm], case.spki.0.as_slice()].concat();
        assert_eq!(PublicKeys::from_compact(Suite::Foreign, &compact), Ok(keys));
        assert!(keys.matches_spki(&case.spki.0));
        assert_eq!(keys.verification_key(), None);
        assert_eq!(keys.agreement_key(), None);
        assert_eq!(
            foreign_verification_key(algorithm, &case.spki.0)
                .unwrap()
                .encode()
                .as_slice(),
            case.verification_key.0
        );
        for bit in 0..case.spki.0.len() * 8 {
            let mut spki = case.spki.0.clone();
            spki[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.matches_spki(&spki));
        }
        for cut in 0..case.spki.0.len() {
            assert!(PublicKeys::foreign(algorithm, &case.spki.0[..cut]).is_err());
        }
    }
    let rsa = |len| PublicKeys::foreign(ForeignAlgorithm::Rsa, &vec![0x30; len]);
    assert!(rsa(2048).is_ok());
    assert_eq!(rsa(2049).err(), Some(KeyError::Spki));
    assert_eq!(rsa(0).err(), Some(KeyError::Spki));
}

#[test]
fn refused_keys() {
    for case in identity().refused_keys {
        let refused = PublicKeys::decode(case.suite.try_into().unwrap(), &case.keys.array());
        let error = refused.expect_err(&case.error);
        assert_eq!(format!("{error:?}"), case.error, "{:?}", case.keys);
    }
}

#[test]
fn bindings() {
    for case in identity().bindings {
        let id = KusabiId::new(case.id.array());
        let (chain, owner) = (
            ChainId::new(case.chain.array()),
            OrgId::new(case.owner.array()),
        );
        let context = BindingContext {
            chain: &chain,
            owner: &owner,
            purpose: case.purpose.try_into().unwrap(),
        };
        let keys = PublicKeys::decode(case.suite.try_into().unwrap(), &case.keys.array()).unwrap();
        let binding = Binding::new(case.binding.array());
        assert_eq!(keys.bind(&id, &context), binding);
        assert!(keys.is_bound(&id, &context, &binding));

        let other_id = KusabiId::new([9; 16]);
        let other_chain = ChainId::new([9; 32]);
        let other_owner = OrgId::new([9; 16]);
        let other_keys = soft_key(case.suite, &Hex(vec![9; 32])).public_keys();
        let chain = BindingContext {
            chain: &other_chain,
            ..context
        };
        let owner = BindingContext {
            owner: &other_owner,
            ..context
        };
        let purpose = BindingContext {
            purpose: Purpose::Ps,
            ..context
        };
        assert!(!keys.is_bound(&other_id, &context, &binding));
        assert!(!other_keys.is_bound(&id, &context, &binding));
        for context in [chain, owner, purpose] {
            assert!(!keys.is_bound(&id, &context, &binding));
        }
        for bit in 0..128 {
            let mut flipped = binding.to_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.is_bound(&id, &context, &Binding::new(flipped)));
        }
    }
}
