//! Evidence bundles: one encoding, and a verdict for everything.
#![no_main]

use kusabi_core::evidence::Evidence;
use kusabi_core::id::Height;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(evidence) = Evidence::decode(bytes) else {
        return;
    };
    assert_eq!(evidence.encoded(), bytes);
    let signed = evidence.signed();
    let _ = Evidence::verify(bytes, &signed.chain, &signed.file, None, Height::ZERO);
});
