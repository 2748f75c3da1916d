//! Releases beyond the vectors: mutations, merging, payloads as they arrive.

use kusabi_core::id::{Digest, Handle, OrgId};
use kusabi_core::keystore::{Seed, SoftKey};
use kusabi_core::release::{
    Content, ContentCheck, ContentError, DraftError, Label, MANIFEST_BYTES_MAX, Manifest,
    ManifestError, ManifestParts, PayloadParts, ReleaseDraft, SIGNED_MANIFEST_BYTES_MAX,
    SIGNERS_MAX, SignedManifest, TargetParts,
};
use kusabi_core::suite::Suite;
use proptest::prelude::*;

use crate::firmware::Firmware;
use crate::trust::mutations;

fn content(bytes: &[u8]) -> Content {
    Content::new(bytes.len() as u64, Digest::of(bytes)).unwrap()
}

fn parts(payloads: &[(&str, &[u8])]) -> ManifestParts {
    ManifestParts {
        org: OrgId::new([1; 16]),
        name: "os".into(),
        version: "1.0".into(),
        channel: "stable".into(),
        counter: 3,
        minimum_counter: 2,
        targets: vec![TargetParts {
            device_type: "cam-a".into(),
            inventory: None,
            payloads: (0..payloads.len()).collect(),
        }],
        payloads: payloads
            .iter()
            .map(|(name, bytes)| PayloadParts {
                name: (*name).into(),
                format: "raw".into(),
                content: content(bytes),
                chunk_index: None,
            })
            .collect(),
        documents: vec![],
    }
}

fn key(number: u8) -> (Handle, SoftKey) {
    let key = SoftKey::from_seed(Suite::Curve25519, &Seed::new([number; 32])).unwrap();
    (Handle::new([number; 32]), key)
}

#[test]
fn every_mutation_of_a_signed_manifest_is_refused() {
    let vectors = Firmware::read();
    let case = &vectors.installs[0];
    vectors
        .install(case, &SignedManifest::decode(&case.signed.0).unwrap())
        .unwrap();
    mutations(&case.signed.0, |bytes, what| {
        if let Ok(signed) = SignedManifest::decode(bytes) {
            assert!(vectors.install(case, &signed).is_err(), "{what}");
        }
    });
}

#[test]
fn a_manifest_decodes_from_one_form_only() {
    for case in Firmware::read().installs.iter().take(1) {
        let signed = SignedManifest::decode(&case.signed.0).unwrap();
        let manifest = signed.manifest();
        mutations(manifest.as_bytes(), |bytes, what| {
            if let Ok(other) = Manifest::decode(bytes) {
                assert_ne!(other.digest(), manifest.digest(), "{what}");
            }
        });
    }
}

#[test]
fn lengths() {
    let long = vec![0; MANIFEST_BYTES_MAX + 1];
    assert_eq!(Manifest::decode(&long).unwrap_err(), ManifestError::TooLong);
    let long = vec![0; SIGNED_MANIFEST_BYTES_MAX + 1];
    assert_eq!(
        SignedManifest::decode(&long).unwrap_err(),
        ManifestError::TooLong
    );
    // The longest manifest with the most signatures fits.
    let mut draft = ReleaseDraft::new(parts(&[("a", b"a")]).encode().unwrap()).unwrap();
    assert_eq!(draft.encode().unwrap_err(), DraftError::Unsigned);
    for number in 0..16 {
        let (handle, key) = key(number);
        draft.sign(&Default::default(), handle, &key).unwrap();
    }
    let signed = draft.encode().unwrap();
    assert_eq!(
        SignedManifest::decode(&signed).unwrap().signature_count(),
        SIGNERS_MAX
    );
    let around = signed.len() - draft.manifest().len();
    assert!(around + MANIFEST_BYTES_MAX <= SIGNED_MANIFEST_BYTES_MAX);
    let (handle, key) = key(16);
    draft.sign(&Default::default(), handle, &key).unwrap();
    assert_eq!(draft.encode().unwrap_err(), DraftError::TooMany);
}

#[test]
fn merging_refuses_what_does_not_belong_together() {
    let draft = |payload: &[u8], number, seed| {
        let mut draft = ReleaseDraft::new(parts(&[("a", payload)]).encode().unwrap()).unwrap();
        let (_, key) = key(seed);
        draft
            .sign(&Default::default(), Handle::new([number; 32]), &key)
            .unwrap();
        draft
    };
    let mut mine = draft(b"a", 1, 1);
    let before = mine.clone();
    assert_eq!(
        mine.merge(&draft(b"b", 2, 2)),
        Err(DraftError::OtherManifest)
    );
    assert_eq!(
        mine.merge(&draft(b"a", 1, 2)),
        Err(DraftError::TwoSignatures(Handle::new([1; 32])))
    );
    for number in 2..18 {
        let result = mine.merge(&draft(b"a", number, 2));
        let wanted = if number <= 16 {
            Ok(1)
        } else {
            Err(DraftError::TooMany)
        };
        assert_eq!(result, wanted);
    }
    assert_ne!(mine, before);
    assert_eq!(mine.signatures().len(), 16);
}

#[test]
fn the_counter_rises_at_commit_to_the_minimum_only() {
    let vectors = Firmware::read();
    let case = &vectors.installs[0];
    let signed = SignedManifest::decode(&case.signed.0).unwrap();
    let release = vectors.install(case, &signed).unwrap();
    assert_eq!(release.manifest().counter(), 7);
    for (before, after) in [(0, 6), (5, 6), (6, 6), (7, 7)] {
        assert_eq!(release.counter_after_commit(before), after);
    }
}

#[test]
fn payloads_arrive_in_any_pieces_and_nothing_else_passes() {
    let bytes: Vec<u8> = (0..=255).collect();
    for piece in [1, 7, 64, 256] {
        let mut check = ContentCheck::new(content(&bytes));
        for piece in bytes.chunks(piece) {
            check.feed(piece).unwrap();
        }
        assert_eq!(check.remaining(), 0);
        // One byte more is refused before it is written, and spoils nothing.
        assert_eq!(check.feed(&[0]), Err(ContentError::TooLong));
        assert_eq!(check.finish(), Ok(content(&bytes)));
    }
    let mut check = ContentCheck::new(content(&bytes));
    check.feed(&bytes[1..]).unwrap();
    assert_eq!(check.clone().finish(), Err(ContentError::TooShort));
    check.feed(&bytes[..1]).unwrap();
    assert_eq!(check.finish(), Err(ContentError::Digest));
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        let mut check = ContentCheck::new(content(&bytes));
        check.feed(&other).unwrap();
        assert_eq!(check.finish(), Err(ContentError::Digest), "bit {bit}");
    }
}

#[test]
fn only_the_payloads_of_this_device_are_received() {
    let vectors = Firmware::read();
    let [both, boot_only] = [0, 1].map(|index| {
        let case = &vectors.installs[index];
        let signed = SignedManifest::decode(&case.signed.0).unwrap();
        vectors.install(case, &signed).unwrap()
    });
    let names = |release: &kusabi_core::release::VerifiedRelease<'_>| {
        release
            .payloads()
            .map(|payload| payload.name.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&both), ["boot.bin", "rootfs.tar"]);
    assert_eq!(names(&boot_only), ["boot.bin"]);
    assert!(both.receive("rootfs.tar").is_some());
    assert!(both.receive("other").is_none());
    assert!(boot_only.receive("rootfs.tar").is_none());
    assert!(both.expected_inventory().is_some());
    assert!(boot_only.expected_inventory().is_none());
    assert!(!both.is_complete(&[]));
}

fn label() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
}

fn any_content(max: u64) -> impl Strategy<Value = Content> {
    (1..=max, any::<[u8; 32]>()).prop_filter_map("a digest that is not zero", |(size, digest)| {
        Content::new(size, Digest::new(digest)).ok()
    })
}

prop_compose! {
    fn any_parts()(
        org: [u8; 16],
        labels in [label(), label(), label()],
        (counter, minimum_counter) in any::<(u64, u64)>().prop_map(|(a, b)| (a.max(b), a.min(b))),
        types in prop::collection::btree_set(label(), 1..6),
        names in prop::collection::btree_set(label(), 1..=16).prop_map(|names| names.into_iter().collect::<Vec<_>>()).prop_shuffle(),
        kinds in prop::collection::btree_map(label(), any_content(1 << 40), 0..=8),
        inventory in prop::option::of(any_content(16 << 20)),
        contents in prop::collection::vec((label(), any_content(1 << 40), prop::option::of(any_content(64 << 20))), 16),
    ) -> ManifestParts {
        let all: Vec<usize> = (0..names.len()).collect();
        let [name, version, channel] = labels;
        ManifestParts {
            org: OrgId::new(org), name, version, channel, counter, minimum_counter,
            targets: types.into_iter().map(|device_type| TargetParts {
                device_type, inventory, payloads: all.clone(),
            }).collect(),
            payloads: names.into_iter().zip(contents).map(|(name, (format, content, chunk_index))| PayloadParts {
                name, format, content, chunk_index,
            }).collect(),
            documents: kinds.into_iter().collect(),
        }
    }
}

proptest! {
    #[test]
    fn manifests_say_what_they_were_made_of(parts in any_parts()) {
        let bytes = parts.encode().unwrap();
        let manifest = Manifest::decode(&bytes).unwrap();
        prop_assert_eq!(manifest.org(), parts.org);
        prop_assert_eq!(manifest.name().as_str(), &parts.name);
        prop_assert_eq!(manifest.version().as_str(), &parts.version);
        prop_assert_eq!(manifest.channel().as_str(), &parts.channel);
        prop_assert_eq!((manifest.counter(), manifest.minimum_counter()), (parts.counter, parts.minimum_counter));
        let payloads: Vec<_> = manifest.payloads().map(|p| PayloadParts {
            name: p.name.as_str().into(), format: p.format.as_str().into(), content: p.content, chunk_index: p.chunk_index,
        }).collect();
        prop_assert_eq!(payloads, parts.payloads);
        let documents: Vec<_> = manifest.documents().map(|d| (d.kind.as_str().to_owned(), d.content)).collect();
        prop_assert_eq!(documents, parts.documents);
        for target in &parts.targets {
            let found = manifest.target(&Label::new(&target.device_type).unwrap()).unwrap();
            prop_assert_eq!(found.inventory, target.inventory);
            prop_assert_eq!(manifest.payloads_of(&found).count(), target.payloads.len());
        }
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Manifest::decode(&bytes);
        let _ = SignedManifest::decode(&bytes);
    }
}
