//! Inventories beyond the vectors: streaming, bounds, mutations, the walk over two of them.

use std::collections::BTreeMap;

use kusabi_core::cbor::CborError;
use kusabi_core::id::Digest;
use kusabi_core::inventory::{
    COMPONENTS_MAX, Comparison, Component, ComponentKind, Difference, INVENTORY_BYTES_MAX,
    Inventory, InventoryError, InventoryReader, InventoryWriter, NAME_BYTES_MAX, SignedInventory,
    escape_name, unescape_name,
};
use proptest::prelude::*;

use crate::firmware::Firmware;
use crate::trust::mutations;

/// (version, kind, size, first byte of the digest) by name.
type Parts = BTreeMap<String, (Option<String>, u8, u64, u8)>;

fn component<'a>(
    name: &'a str,
    (version, kind, size, digest): &'a (Option<String>, u8, u64, u8),
) -> Component<'a> {
    let kind = ComponentKind::try_from(*kind).unwrap();
    let digest = Digest::new([*digest; 32]);
    Component::new(name, version.as_deref(), kind, *size, digest).unwrap()
}

fn write(parts: &Parts) -> Vec<u8> {
    let mut writer = InventoryWriter::new(Vec::new());
    let mut digest_only = InventoryWriter::digest_only();
    for (name, rest) in parts {
        writer.put(&component(name, rest)).unwrap();
        digest_only.put(&component(name, rest)).unwrap();
    }
    let (summary, bytes) = writer.finish();
    assert_eq!(digest_only.finish().0, summary);
    assert_eq!(Inventory::decode(&bytes).unwrap().summary(), &summary);
    bytes
}

fn parts() -> impl Strategy<Value = Parts> {
    // Few names, so that two inventories share some.
    let name = prop::sample::select(vec![
        "a", "a b", "a-b", "a/b", "a/b/c", "b", "bin/sh", "%0A", "zz", "~",
    ])
    .prop_map(str::to_owned);
    let version = prop::option::of("[!-~]{1,3}");
    prop::collection::btree_map(name, (version, 1..=6u8, 0..3u64, 0..3u8), 0..10)
}

#[test]
fn every_mutation_is_another_inventory_or_none() {
    for case in &Firmware::read().inventories {
        if case.bytes.0.len() > 2000 {
            continue;
        }
        let digest = Inventory::decode(&case.bytes.0).unwrap().summary().digest();
        mutations(&case.bytes.0, |bytes, what| {
            if let Ok(other) = Inventory::decode(bytes) {
                assert_ne!(other.summary().digest(), digest, "{what}");
                // And one that has this one form.
                let mut writer = InventoryWriter::new(Vec::new());
                other
                    .components()
                    .for_each(|component| writer.put(&component).unwrap());
                assert_eq!(writer.finish().1, bytes, "{what}");
            }
        });
    }
}

#[test]
fn every_mutation_of_an_inventory_statement_is_refused() {
    let vectors = Firmware::read();
    for case in &vectors.claims[..2] {
        vectors.claim(case, &case.signed.0).unwrap();
        mutations(&case.signed.0, |bytes, what| {
            assert!(vectors.claim(case, bytes).is_err(), "{what}");
        });
    }
}

#[test]
fn what_is_too_much_is_refused_as_soon_as_it_is() {
    let digest = Digest::of(b"");
    let name = |number: u32| format!("{number:08}");
    let mut writer = InventoryWriter::new(Vec::new());
    for number in 0..COMPONENTS_MAX {
        let name = name(number);
        let component = Component::new(&name, None, ComponentKind::File, 0, digest).unwrap();
        writer.put(&component).unwrap();
    }
    let more = Component::new("x", None, ComponentKind::File, 0, digest).unwrap();
    assert_eq!(writer.put(&more), Err(InventoryError::TooMany));
    let (summary, mut bytes) = writer.finish();
    assert_eq!(summary.count(), COMPONENTS_MAX);
    assert_eq!(Inventory::decode(&bytes).unwrap().summary(), &summary);
    // One component more, in place of the number at the end.
    bytes.truncate(bytes.len() - 5);
    let mut small = InventoryWriter::new(Vec::new());
    small.put(&more).unwrap();
    bytes.extend_from_slice(&small.finish().1[1..]);
    assert_eq!(Inventory::decode(&bytes), Err(InventoryError::TooMany));

    // Names of the greatest length: the bytes run out before the number does.
    let mut writer = InventoryWriter::new(Vec::new());
    let mut number = 0;
    let error = loop {
        let name = format!("{number:0>width$}", width = NAME_BYTES_MAX);
        let component = Component::new(&name, None, ComponentKind::File, 0, digest).unwrap();
        match writer.put(&component) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, InventoryError::TooLarge);
    let (summary, bytes) = writer.finish();
    assert!(summary.size() <= INVENTORY_BYTES_MAX);
    assert_eq!(bytes.len() as u64, summary.size());
    assert_eq!(Inventory::decode(&bytes).unwrap().summary(), &summary);

    // Endless data is refused at the bound, whatever it is, and nothing more is taken.
    let mut reader = InventoryReader::default();
    let mut fed = 0u64;
    let piece = vec![0x85; 1 << 20];
    let error = loop {
        match reader.feed(&piece, |_| ()) {
            Ok(()) => fed += piece.len() as u64,
            Err(error) => break error,
        }
    };
    assert!(fed <= INVENTORY_BYTES_MAX);
    assert_eq!(reader.feed(&[], |_| ()), Err(error));
    assert_eq!(reader.finish(), Err(error));
}

#[test]
fn a_string_that_says_it_is_huge_is_not_waited_for() {
    // Version 1, an array of five, a text of 2^32 bytes that come slowly.
    let head = [1, 0x85, 0x7b, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut reader = InventoryReader::default();
    let mut fed = 0;
    let error = head
        .iter()
        .chain(std::iter::repeat(&b'a'))
        .map(|byte| {
            fed += 1;
            reader.feed(&[*byte], |_| ())
        })
        .find_map(Result::err);
    assert_eq!(error, Some(CborError::OutOfBounds.into()));
    assert!(fed < 1200, "{fed} bytes were taken");
}

#[test]
fn an_item_beyond_its_bounds_is_refused_alike_whole_and_in_pieces() {
    // A text of 1,793 bytes that are no UTF-8: found by fuzzing.
    let bytes = [&[1, 0x85, 0x79, 0x07, 0x01][..], &[0xff; 2000]].concat();
    let wanted = InventoryError::from(CborError::OutOfBounds);
    assert_eq!(Inventory::decode(&bytes), Err(wanted));
    for piece in [1, 7, 1137, 1138, 1139, 2000] {
        let mut reader = InventoryReader::default();
        let fed = bytes
            .chunks(piece)
            .try_for_each(|bytes| reader.feed(bytes, |_| ()));
        assert_eq!(fed, Err(wanted), "{piece}");
    }
}

#[test]
fn a_two_gigabyte_inventory_is_refused_by_its_statement() {
    let vectors = Firmware::read();
    let mut bytes = vectors.claims[0].signed.0.clone();
    bytes[33..41].copy_from_slice(&(2u64 << 30).to_be_bytes());
    assert_eq!(
        SignedInventory::decode(&bytes),
        Err(kusabi_core::inventory::StatementError::TooLarge)
    );
}

#[test]
fn the_writer_keeps_the_order() {
    let digest = Digest::of(b"");
    let component = |name| Component::new(name, None, ComponentKind::File, 0, digest).unwrap();
    let mut writer = InventoryWriter::new(Vec::new());
    writer.put(&component("b")).unwrap();
    assert_eq!(writer.put(&component("b")), Err(InventoryError::Order));
    assert_eq!(writer.put(&component("a")), Err(InventoryError::Order));
    writer.put(&component("b ")).unwrap();
    assert_eq!(writer.finish().0.count(), 2);
}

proptest! {
    #[test]
    fn pieces_do_not_matter(parts in parts(), cuts in prop::collection::vec(0usize..400, 0..8)) {
        let bytes = write(&parts);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut reader = InventoryReader::default();
        let mut names = Vec::new();
        for pair in cuts.windows(2) {
            reader.feed(&bytes[pair[0]..pair[1]], |component| names.push(component.name().to_owned())).unwrap();
        }
        let whole = Inventory::decode(&bytes).unwrap();
        prop_assert_eq!(&reader.finish().unwrap(), whole.summary());
        prop_assert_eq!(names, parts.keys().cloned().collect::<Vec<_>>());
    }

    #[test]
    fn pieces_do_not_matter_to_what_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        let bytes = [vec![1], bytes].concat();
        let (a, b) = bytes.split_at(cut.min(bytes.len()));
        let mut reader = InventoryReader::default();
        let pieces = reader.feed(a, |_| ()).and_then(|()| reader.feed(b, |_| ()));
        let pieces = pieces.and_then(|()| reader.finish());
        prop_assert_eq!(pieces, Inventory::decode(&bytes).map(|inventory| *inventory.summary()));
    }

    #[test]
    fn the_walk_finds_what_two_maps_differ_in(expected in parts(), actual in parts()) {
        let mut wanted = Vec::new();
        let mut names: Vec<_> = expected.keys().chain(actual.keys()).cloned().collect();
        names.sort();
        names.dedup();
        for name in names {
            match (expected.get(&name), actual.get(&name)) {
                (Some(_), None) => wanted.push((1, name)),
                (None, Some(_)) => wanted.push((2, name)),
                (Some(e), Some(a)) if e != a => wanted.push((3, name)),
                _ => {}
            }
        }
        let bytes = write(&expected);
        let inventory = Inventory::decode(&bytes).unwrap();
        let mut comparison = Comparison::new(inventory.components());
        let mut found = Vec::new();
        let mut report = |difference: Difference<'_>| found.push((match difference {
            Difference::Missing(_) => 1,
            Difference::Unexpected(_) => 2,
            Difference::Changed { .. } => 3,
        }, difference.name().to_owned()));
        // The actual one as it arrives.
        let mut reader = InventoryReader::default();
        for piece in write(&actual).chunks(5) {
            reader.feed(piece, |component| comparison.actual(component, &mut report)).unwrap();
        }
        reader.finish().unwrap();
        comparison.finish(&mut report);
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn names_have_one_form(raw in prop::collection::vec(any::<u8>(), 1..300)) {
        let name = escape_name(&raw);
        prop_assert_eq!(unescape_name(&name), Some(raw));
    }

    #[test]
    fn a_name_that_is_accepted_is_the_form_of_its_bytes(name in "[ -~]{1,6}") {
        if let Some(raw) = unescape_name(&name) {
            prop_assert_eq!(escape_name(&raw), name);
        }
    }
}
