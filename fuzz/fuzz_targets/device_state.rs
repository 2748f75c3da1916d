//! The state that a device keeps.
#![no_main]

use kusabi_core::device::Kept;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(kept) = Kept::decode(bytes) {
        let mut out = [0; Kept::LEN_MAX];
        let len = kept.encode(&mut out).unwrap();
        assert_eq!(&out[..len], bytes);
    }
});
