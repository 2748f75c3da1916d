//! Stored anchors.
#![no_main]

use kusabi_core::anchor::Anchor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(anchor) = Anchor::decode(bytes) {
        assert_eq!(anchor.encode().as_slice(), bytes);
    }
});
