//! `spec/vectors/firmware.json`: what an independent reading of spec/firmware.md makes and refuses, core accepts and refuses
//! alike, with the same error.

use std::collections::HashMap;

use kusabi_core::anchor::Anchor;
use kusabi_core::id::{ChainId, Digest, Handle, Height, OrgId, StateKey};
use kusabi_core::inventory::{
    Asked, Comparison, Difference, Inventory, InventoryReader, SignedInventory, StatementError,
    VerifiedStatement,
};
use kusabi_core::keystore::{Seed, SoftKey};
use kusabi_core::proof::{Proof, VerifiedProof};
use kusabi_core::release::{
    DeviceFacts, Label, Manifest, ReleaseDraft, ReleaseError, ReleaseProofs, SignedManifest,
    VerifiedRelease,
};
use kusabi_core::set::EpochSet;
use serde::Deserialize;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
pub(crate) struct Firmware {
    chain: Hex,
    #[serde(rename = "epoch set")]
    epoch_set: Hex,
    manifests: Vec<ManifestCase>,
    refused_manifests: Vec<Refused>,
    signer: Hex,
    seeds: Vec<KeySeed>,
    pub(crate) signed: Hex,
    refused_signed: Vec<Refused>,
    proofs: Vec<KeyProof>,
    anchors: HashMap<String, Hex>,
    pub(crate) installs: Vec<Install>,
    pub(crate) inventories: Vec<InventoryCase>,
    refused_inventories: Vec<Refused>,
    differences: Vec<Pair>,
    act: KeySeed,
    pub(crate) claims: Vec<Claim>,
}

#[derive(Deserialize)]
struct ManifestCase {
    bytes: Hex,
    digest: Hex,
    state_key: Hex,
    statement: Hex,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    bytes: Hex,
}

#[derive(Deserialize)]
struct KeySeed {
    suite: u8,
    seed: Hex,
    handle: Hex,
}

#[derive(Deserialize)]
struct KeyProof {
    key: Hex,
    proof: Hex,
}

#[derive(Deserialize)]
pub(crate) struct Install {
    text: String,
    result: String,
    pub(crate) signed: Hex,
    anchor: String,
    proofs: Vec<usize>,
    device: DeviceCase,
}

#[derive(Deserialize)]
struct DeviceCase {
    org: Hex,
    #[serde(rename = "type")]
    device_type: String,
    channel: String,
    counter: u64,
    channel_minimum: u64,
    floor: u64,
}

#[derive(Deserialize)]
pub(crate) struct InventoryCase {
    pub(crate) bytes: Hex,
    digest: Hex,
}

#[derive(Deserialize)]
struct Pair {
    expected: Hex,
    actual: Hex,
    differences: Vec<(String, String)>,
}

#[derive(Deserialize)]
pub(crate) struct Claim {
    text: String,
    result: String,
    pub(crate) signed: Hex,
    signer: Hex,
    proof: usize,
    not_before: u64,
    handshake: Hex,
    nonce: Hex,
    inventory: Hex,
}

fn height(number: u64) -> Height {
    Height::new(number).unwrap()
}

fn key(case: &KeySeed) -> (Handle, SoftKey) {
    let seed = Seed::new(case.seed.array());
    let key = SoftKey::from_seed(case.suite.try_into().unwrap(), &seed).unwrap();
    (Handle::new(case.handle.array()), key)
}

/// Whether a result is the one that the vector names: "ok", a variant, or a variant with its inner error.
#[track_caller]
fn assert_result<T>(result: Result<T, impl std::fmt::Debug>, wanted: &str, text: &str) {
    let got = match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    let rest = got.strip_prefix(wanted);
    assert!(
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['(', ' '])),
        "{text}: {got}, not {wanted}"
    );
}

impl Firmware {
    pub(crate) fn read() -> Self {
        read("firmware.json")
    }

    /// The proofs of a case, verified under its anchor.
    fn verified(&self, anchor: &str, proofs: &[usize]) -> Vec<VerifiedProof<'_>> {
        let anchor = Anchor::decode(&self.anchors[anchor].0).unwrap();
        let set = EpochSet::decode(&self.epoch_set.0).unwrap();
        proofs
            .iter()
            .map(|index| {
                let KeyProof { key, proof } = &self.proofs[*index];
                Proof::decode(&proof.0)
                    .unwrap()
                    .check(&anchor, &set, &StateKey::new(key.array()))
                    .unwrap()
            })
            .collect()
    }

    /// Checks a case's release, with other bytes as signed manifest.
    pub(crate) fn install<'a>(
        &self,
        case: &Install,
        signed: &SignedManifest<'a>,
    ) -> Result<VerifiedRelease<'a>, ReleaseError> {
        let proofs = self.verified(&case.anchor, &case.proofs);
        let [release, policy, signers @ ..] = proofs.as_slice() else {
            panic!("{}: too few proofs", case.text);
        };
        VerifiedRelease::check(
            signed,
            &ReleaseProofs {
                release,
                policy,
                signers,
            },
            &DeviceFacts {
                chain: ChainId::new(self.chain.array()),
                org: OrgId::new(case.device.org.array()),
                device_type: Label::new(&case.device.device_type).unwrap(),
                channel: Label::new(&case.device.channel).unwrap(),
                counter: case.device.counter,
                channel_minimum: case.device.channel_minimum,
                floor: height(case.device.floor),
            },
        )
    }

    /// Checks a case's inventory statement, with other bytes as statement.
    pub(crate) fn claim(
        &self,
        case: &Claim,
        signed: &[u8],
    ) -> Result<VerifiedStatement, StatementError> {
        let proofs = self.verified("own", &[case.proof]);
        let nonce: [u8; 32] = case.nonce.array();
        VerifiedStatement::check(
            &SignedInventory::decode(signed)?,
            &Asked {
                signer: Handle::new(case.signer.array()),
                handshake: case.handshake.array(),
                nonce: (nonce != [0; 32]).then_some(nonce),
                not_before: height(case.not_before),
            },
            &proofs[0],
        )
    }
}

#[test]
fn manifests() {
    let vectors = Firmware::read();
    let (chain, signer) = (
        ChainId::new(vectors.chain.array()),
        Handle::new(vectors.signer.array()),
    );
    for case in &vectors.manifests {
        let manifest = Manifest::decode(&case.bytes.0).unwrap();
        assert_eq!(manifest.digest(), Digest::new(case.digest.array()));
        assert_eq!(
            StateKey::release(&manifest.org(), &manifest.digest()).to_bytes(),
            case.state_key.array()
        );
        assert_eq!(
            manifest.statement(&chain, &signer).as_bytes().as_slice(),
            case.statement.0
        );
    }
    for (index, case) in vectors.refused_manifests.iter().enumerate() {
        assert_result(
            Manifest::decode(&case.bytes.0),
            &case.error,
            &format!("manifest {index}"),
        );
    }
}

#[test]
fn signed_manifests() {
    let vectors = Firmware::read();
    let chain = ChainId::new(vectors.chain.array());
    // Signed apart, merged in any order, the bytes are the oracle's: both algorithms are deterministic.
    let manifest = &vectors.manifests[0].bytes.0;
    let apart: Vec<_> = vectors
        .seeds
        .iter()
        .map(|seed| {
            let (handle, key) = key(seed);
            let mut draft = ReleaseDraft::new(manifest.clone()).unwrap();
            draft.sign(&chain, handle, &key).unwrap();
            ReleaseDraft::resume(&draft.encode().unwrap()).unwrap()
        })
        .collect();
    for (first, second) in [(0, 1), (1, 0)] {
        let mut merged = apart[first].clone();
        assert_eq!(merged.merge(&apart[second]), Ok(1));
        assert_eq!(merged.merge(&apart[first]), Ok(0));
        assert_eq!(Hex(merged.encode().unwrap()), vectors.signed);
    }
    for (index, case) in vectors.refused_signed.iter().enumerate() {
        assert_result(
            SignedManifest::decode(&case.bytes.0),
            &case.error,
            &format!("signed manifest {index}"),
        );
    }
}

#[test]
fn what_a_device_installs() {
    let vectors = Firmware::read();
    for case in &vectors.installs {
        let signed = SignedManifest::decode(&case.signed.0).unwrap();
        let result = vectors.install(case, &signed);
        if let Ok(release) = &result {
            assert_eq!(release.known_at(), height(41), "{}", case.text);
            assert_eq!(release.published_at(), height(20), "{}", case.text);
        }
        assert_result(result, &case.result, &case.text);
    }
}

#[test]
fn inventories() {
    let vectors = Firmware::read();
    for case in &vectors.inventories {
        let inventory = Inventory::decode(&case.bytes.0).unwrap();
        assert_eq!(
            inventory.summary().digest(),
            Digest::new(case.digest.array())
        );
        assert_eq!(inventory.summary().size(), case.bytes.0.len() as u64);
        assert_eq!(
            inventory.components().count(),
            inventory.summary().count() as usize
        );
    }
    for (index, case) in vectors.refused_inventories.iter().enumerate() {
        let text = format!("inventory {index}");
        assert_result(Inventory::decode(&case.bytes.0), &case.error, &text);
        // Byte by byte, the verdict is the same.
        let mut reader = InventoryReader::default();
        let fed = case
            .bytes
            .0
            .iter()
            .try_for_each(|byte| reader.feed(&[*byte], |_| ()));
        assert_result(fed.and_then(|()| reader.finish()), &case.error, &text);
    }
}

#[test]
fn differences() {
    for case in Firmware::read().differences {
        let expected = Inventory::decode(&case.expected.0).unwrap();
        let actual = Inventory::decode(&case.actual.0).unwrap();
        let mut found = Vec::new();
        let mut report = |difference: Difference<'_>| {
            let kind = match difference {
                Difference::Missing(_) => "missing",
                Difference::Unexpected(_) => "unexpected",
                Difference::Changed { .. } => "changed",
            };
            found.push((kind.to_owned(), difference.name().to_owned()));
        };
        let mut comparison = Comparison::new(expected.components());
        for component in actual.components() {
            comparison.actual(&component, &mut report);
        }
        let tally = comparison.finish(&mut report);
        assert_eq!(found, case.differences);
        assert_eq!(tally.is_match(), case.differences.is_empty());
        let count = tally.missing + tally.unexpected + tally.changed;
        assert_eq!(count as usize, case.differences.len());
    }
}

#[test]
fn inventory_statements() {
    let vectors = Firmware::read();
    for case in &vectors.claims {
        let result = vectors.claim(case, &case.signed.0).and_then(|statement| {
            let inventory = Inventory::decode(&case.inventory.0).unwrap();
            statement.about(inventory.summary())
        });
        if let Ok(inventory) = &result {
            assert_eq!(inventory.known_at(), height(41));
            assert_eq!(inventory.signer(), Handle::new(case.signer.array()));
        }
        assert_result(result, &case.result, &case.text);
    }
    // The device side makes the oracle's bytes.
    let case = &vectors.claims[0];
    let (handle, key) = key(&vectors.act);
    let statement = *SignedInventory::decode(&case.signed.0).unwrap().claimed();
    let signed = statement
        .sign(&ChainId::new(vectors.chain.array()), &handle, &key)
        .unwrap();
    assert_eq!(signed.encode().as_slice(), case.signed.0);
}
