//! Inventories: the same verdict whole and in pieces, one encoding, and no difference from themselves.
#![no_main]

use kusabi_core::inventory::{Comparison, Inventory, InventoryReader, InventoryWriter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let mut reader = InventoryReader::default();
    let pieces = bytes
        .chunks(usize::from(*cut).max(1))
        .try_for_each(|piece| reader.feed(piece, |_| ()))
        .and_then(|()| reader.finish());
    let whole = Inventory::decode(bytes);
    assert_eq!(pieces, whole.map(|inventory| *inventory.summary()));
    let Ok(inventory) = whole else {
        return;
    };
    let mut writer = InventoryWriter::new(Vec::new());
    let mut comparison = Comparison::new(inventory.components());
    for component in inventory.components() {
        writer.put(&component).unwrap();
        comparison.actual(&component, &mut |_| panic!("a difference"));
    }
    assert!(
        comparison
            .finish(&mut |_| panic!("a difference"))
            .is_match()
    );
    let (summary, again) = writer.finish();
    assert_eq!(again, bytes);
    assert_eq!(&summary, inventory.summary());
});
