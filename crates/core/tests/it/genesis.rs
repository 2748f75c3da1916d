//! The nodes of a genesis document, and its bounds (spec/ledger.md, "Genesis document").

use ed25519_zebra::SigningKey;
use kusabi_core::crypto::sha256;
use kusabi_core::genesis::{GENESIS_LEN_MAX, Genesis, GenesisError, GenesisParts};
use kusabi_core::id::{Epoch, OrgName};
use kusabi_core::nodes::NodeParts;
use kusabi_core::set::{EpochSetParts, OrganisationParts, recovery_set};
use kusabi_core::suite::VerificationKey;

fn raw(kind: &str, number: u8) -> [u8; 32] {
    let seed = sha256(&[b"kusabi test key", kind.as_bytes(), &[number]]);
    SigningKey::from_bytes(&seed).verification_key().into()
}

fn key(kind: &str, number: u8) -> VerificationKey {
    VerificationKey::ed25519(&raw(kind, number)).unwrap()
}

fn org(number: u8) -> OrgName {
    // As long as a name may be.
    OrgName::new(&format!("{number:0>32}")).unwrap()
}

/// A ledger of `n` organisations with one validator each.
struct Founding {
    set: Vec<u8>,
    recovery: Vec<u8>,
    organisations: Vec<(OrgName, u64)>,
    nodes: Vec<NodeParts<'static>>,
}

impl Founding {
    fn new(n: u8, keys: u8) -> Self {
        let organisation = |o: u8| OrganisationParts {
            id: org(o).id(),
            threshold: keys,
            officers: (0..keys).map(|i| key("officer", o * 8 + i)).collect(),
            vote_keys: vec![raw("vote", o)],
        };
        let set = EpochSetParts {
            epoch: Epoch::ZERO,
            organisations: (0..n).map(organisation).collect(),
        };
        let recovery: Vec<_> = (0..keys).map(|i| key("recovery", i)).collect();
        Self {
            set: set.encode().unwrap(),
            recovery: recovery_set(keys, &recovery).unwrap(),
            organisations: (0..n).map(|o| (org(o), (1 << 48) - 1)).collect(),
            nodes: (0..n)
                .map(|o| NodeParts {
                    vote_key: raw("vote", o),
                    key: raw("node", o),
                    address: "",
                })
                .collect(),
        }
    }

    fn encode(&self) -> Result<Vec<u8>, GenesisError> {
        GenesisParts {
            name: &"n".repeat(64),
            created_ms: u64::MAX,
            heartbeat_ms: 3_600_000,
            epoch_set: &self.set,
            recovery_set: &self.recovery,
            organisations: self.organisations.clone(),
            nodes: self.nodes.clone(),
        }
        .encode()
    }
}

#[test]
fn nodes_stand_in_the_order_of_the_validators() {
    let mut founding = Founding::new(4, 1);
    let addresses = ["a.example:1", "192.0.2.1:2", "[2001:db8::1]:65535", ""];
    for (node, address) in founding.nodes.iter_mut().zip(addresses) {
        node.address = address;
    }
    let document = founding.encode().unwrap();
    founding.nodes.reverse();
    assert_eq!(founding.encode().unwrap(), document, "given in any order");

    let genesis = Genesis::decode(&document).unwrap();
    assert_eq!(genesis.nodes().count(), 4);
    for (validator, node) in genesis.epoch_set().validators().zip(genesis.nodes()) {
        let given = founding
            .nodes
            .iter()
            .find(|given| given.vote_key == *validator.vote_key)
            .unwrap();
        assert_eq!((node.key, node.address), (&given.key, given.address));
    }
}

#[test]
fn there_is_one_node_for_each_validator() {
    let whole = Founding::new(3, 1);
    let with = |nodes: Vec<NodeParts<'static>>| {
        Founding {
            nodes,
            ..Founding::new(3, 1)
        }
        .encode()
    };
    assert!(with(whole.nodes.clone()).is_ok());
    let stranger = NodeParts {
        vote_key: raw("vote", 9),
        ..whole.nodes[0]
    };
    let [a, b, c] = whole.nodes[..] else {
        unreachable!()
    };
    for nodes in [
        vec![],
        vec![a, b],
        vec![a, b, b],
        vec![stranger, b, c],
        vec![a, b, c, stranger],
    ] {
        assert_eq!(with(nodes), Err(GenesisError::Nodes));
    }

    // Bytes, too: the list is the document's end, and says how many there are.
    let document = whole.encode().unwrap();
    let node = 1 + 34 + 1;
    let count = document.len() - 3 * node - 1;
    assert_eq!(document[count], 0x83);
    let mut fewer = document[..document.len() - node].to_vec();
    fewer[count] = 0x82;
    assert_eq!(Genesis::decode(&fewer), Err(GenesisError::Nodes));
    let mut more = [&document[..], &document[document.len() - node..]].concat();
    more[count] = 0x84;
    assert_eq!(Genesis::decode(&more), Err(GenesisError::Nodes));
    // What was a document before it had nodes is none.
    let mut without = document[..count].to_vec();
    assert_eq!(without[0], 0x88);
    without[0] = 0x87;
    assert!(matches!(
        Genesis::decode(&without),
        Err(GenesisError::Cbor(_))
    ));
}

#[test]
fn a_node_key_is_a_point_and_for_nothing_else() {
    let mut founding = Founding::new(2, 2);
    let good = founding.nodes[1].key;
    let taken = [
        founding.nodes[0].key,
        raw("vote", 0),
        raw("vote", 1),
        raw("officer", 0),
        raw("officer", 9),
        raw("recovery", 1),
    ];
    for key in taken {
        founding.nodes[1].key = key;
        assert_eq!(founding.encode(), Err(GenesisError::NodeKeyRepeated));
    }
    // Under the point of small order anyone signs anything; the other one is no point at all.
    let mut no_point = [0; 32];
    no_point[0] = 2;
    for key in [[0; 32], no_point] {
        founding.nodes[1].key = key;
        assert_eq!(founding.encode(), Err(GenesisError::NodeKey));
    }
    founding.nodes[1].key = good;
    assert!(founding.encode().is_ok());
}

#[test]
fn an_address_is_one_or_empty() {
    let mut founding = Founding::new(1, 1);
    for address in [
        "a",
        "a:0",
        "a:65536",
        "0.0.0.0:1",
        "::1:7041",
        " ",
        "a b:1",
        "http://a:1",
    ] {
        founding.nodes[0].address = address;
        assert_eq!(founding.encode(), Err(GenesisError::Address), "{address}");
    }
}

/// The largest document there is, and what is left of the bound.
#[test]
fn sixteen_organisations_with_everything_at_its_longest_fit() {
    let label = "a".repeat(63);
    let name = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    let address: &'static str = format!("{name}:65535").leak();
    assert_eq!(address.len(), 259);
    let mut founding = Founding::new(16, 5);
    for node in &mut founding.nodes {
        node.address = address;
    }
    let document = founding.encode().unwrap();
    assert_eq!(document.len(), 9_265);
    assert!(document.len() < GENESIS_LEN_MAX);
    let genesis = Genesis::decode(&document).unwrap();
    assert_eq!(genesis.nodes().count(), 16);
    assert!(genesis.nodes().all(|node| node.address == address));

    founding.nodes[0].address = format!("a{address}").leak();
    assert_eq!(founding.encode(), Err(GenesisError::Address));
    founding.nodes[0].address = "a".repeat(262).leak();
    assert!(matches!(founding.encode(), Err(GenesisError::Cbor(_))));
}
