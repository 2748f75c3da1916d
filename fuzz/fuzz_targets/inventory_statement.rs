//! Inventory statements.
#![no_main]

use kusabi_core::inventory::SignedInventory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signed) = SignedInventory::decode(bytes) {
        assert_eq!(signed.encode().as_slice(), bytes);
    }
});
