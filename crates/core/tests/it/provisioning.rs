//! The provisioning file: what is written is read, and what was changed is refused.

use arrayvec::{ArrayString, ArrayVec};
use ed25519_zebra::SigningKey;
use kusabi_core::crypto::sha256;
use kusabi_core::device::{
    Address, FactoryKey, KeyOrigin, Provisioning, ProvisioningError, Server, Trust,
};
use kusabi_core::genesis::{Genesis, GenesisParts};
use kusabi_core::id::{Epoch, Handle, KusabiId, OrgId, OrgName};
use kusabi_core::keystore::{KeyStore as _, Seed, SoftKey};
use kusabi_core::nodes::NodeParts;
use kusabi_core::set::{EpochSetParts, OrganisationParts, recovery_set};
use kusabi_core::suite::{Purpose, Suite, VerificationKey};

fn verification_key(number: u8) -> VerificationKey {
    let key = SoftKey::from_seed(Suite::Curve25519, &Seed::new([number; 32])).unwrap();
    key.public_keys().verification_key().unwrap()
}

fn document() -> Vec<u8> {
    let org: OrgName = "home".parse().unwrap();
    let set = EpochSetParts {
        epoch: Epoch::ZERO,
        organisations: vec![OrganisationParts {
            id: org.id(),
            threshold: 1,
            officers: vec![verification_key(20)],
            vote_keys: vec![SigningKey::from_bytes(&[21; 32]).verification_key().into()],
        }],
    };
    let node = NodeParts {
        vote_key: SigningKey::from_bytes(&[21; 32]).verification_key().into(),
        key: SigningKey::from_bytes(&[23; 32]).verification_key().into(),
        address: "",
    };
    GenesisParts {
        name: "test",
        created_ms: 1,
        heartbeat_ms: 60_000,
        epoch_set: &set.encode().unwrap(),
        recovery_set: &recovery_set(1, &[verification_key(22)]).unwrap(),
        organisations: vec![(org, 100)],
        nodes: vec![node],
    }
    .encode()
    .unwrap()
}

fn file(key: bool) -> Provisioning {
    let document = document();
    let genesis = Genesis::decode(&document).unwrap();
    let server = |number: u8, suite| Address {
        url: ArrayString::from(&format!("http://127.0.0.{number}:7000")).unwrap(),
        server: Server {
            handle: Handle::new([number; 32]),
            keys: SoftKey::from_seed(suite, &Seed::new([number; 32]))
                .unwrap()
                .public_keys(),
        },
    };
    Provisioning {
        trust: Trust::from_genesis(&genesis).unwrap(),
        org: OrgId::new([3; 16]),
        key_origin: KeyOrigin::Server,
        serial: ArrayString::from("SN-0007 é").unwrap(),
        servers: ArrayVec::from_iter([server(1, Suite::Curve25519), server(2, Suite::P256)]),
        key: key.then(|| FactoryKey {
            purpose: Purpose::Pre,
            suite: Suite::Curve25519,
            id: KusabiId::new([9; 16]),
            seed: Seed::new([8; 32]),
        }),
    }
}

fn encoded(provisioning: &Provisioning) -> Result<Vec<u8>, ProvisioningError> {
    let mut bytes = vec![0; Provisioning::LEN_MAX];
    let len = provisioning.encode(&mut bytes)?;
    bytes.truncate(len);
    Ok(bytes)
}

#[test]
fn what_is_written_is_read() {
    for key in [true, false] {
        let bytes = encoded(&file(key)).unwrap();
        let read = Provisioning::decode(&bytes).unwrap();
        assert_eq!(encoded(&read).unwrap(), bytes);
        assert_eq!(read.serial.as_str(), "SN-0007 é");
        assert_eq!(read.servers[1].url.as_str(), "http://127.0.0.2:7000");
        assert_eq!(read.key_origin, KeyOrigin::Server);
        assert_eq!(read.kept().is_ok(), key);
        if let Some(key) = &read.key {
            assert_eq!(key.seed.expose(), &[8; 32]);
            let kept = read.kept().unwrap();
            assert_eq!(kept.current().handle, KusabiId::new([9; 16]).handle());
            assert_eq!(kept.servers(), read.known_servers().as_slice());
        }
        assert!(!format!("{read:?}").contains("8, 8"), "no secret in Debug");
    }
}

#[test]
fn every_changed_bit_and_every_cut_is_refused() {
    let bytes = encoded(&file(true)).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let why = Provisioning::decode(&changed).unwrap_err();
        assert!(
            matches!(why, ProvisioningError::NotOne | ProvisioningError::Damaged),
            "{why:?}"
        );
    }
    for len in 0..bytes.len() {
        assert!(Provisioning::decode(&bytes[..len]).is_err());
    }
}

#[test]
fn a_good_check_does_not_make_a_bad_value_good() {
    let bytes = encoded(&file(true)).unwrap();
    let body = 17 + 32;
    let mut meant = 0;
    for at in body..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            if changed[at] == value {
                continue;
            }
            changed[at] = value;
            let check = sha256(&[b"kusabi.device.v1", &changed[body..]]);
            changed[17..body].copy_from_slice(&check);
            // Either refused, or exactly what its bytes say.
            if let Ok(read) = Provisioning::decode(&changed) {
                assert_eq!(encoded(&read).unwrap(), changed);
                meant += 1;
            }
        }
    }
    assert!(meant > 0, "handles, for instance, may be anything");
}

#[test]
fn addresses_serials_and_keys_are_checked_when_written_too() {
    let with = |change: &dyn Fn(&mut Provisioning)| {
        let mut changed = file(true);
        change(&mut changed);
        encoded(&changed)
    };
    for url in [
        "ftp://a",
        "http://",
        "http://a b",
        "http://a/",
        "http://\u{e9}",
    ] {
        let url = ArrayString::from(url).unwrap();
        let refused = with(&|file| file.servers[0].url = url);
        assert_eq!(refused, Err(ProvisioningError::Value), "{url}");
    }
    let refused = with(&|file| file.servers.clear());
    assert_eq!(refused, Err(ProvisioningError::Value));
    let refused = with(&|file| file.serial = ArrayString::from("a\u{1b}[2J").unwrap());
    assert_eq!(refused, Err(ProvisioningError::Value));
    let refused = with(&|file| {
        if let Some(key) = &mut file.key {
            key.purpose = Purpose::Writer;
        }
    });
    assert_eq!(refused, Err(ProvisioningError::Value));
}
