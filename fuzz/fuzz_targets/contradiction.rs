//! Evidence that a ledger has two histories: one encoding, and a verdict for everything.
#![no_main]

use kusabi_api::contradiction::Evidence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(evidence) = Evidence::decode(bytes) else {
        return;
    };
    assert_eq!(evidence.encode().as_deref(), Ok(bytes));
    let _ = evidence.check(evidence.chain());
});
