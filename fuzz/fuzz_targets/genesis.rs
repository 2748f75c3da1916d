//! Genesis documents.
#![no_main]

use kusabi_core::anchor::Anchor;
use kusabi_core::genesis::Genesis;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(genesis) = Genesis::decode(bytes) {
        assert_eq!(Genesis::decode_for(&genesis.chain(), bytes), Ok(genesis));
        let _ = Anchor::from_genesis(&genesis);
    }
});
