//! Recoveries, under whatever anchor the input has.
#![no_main]

use kusabi_core::anchor::Anchor;
use kusabi_core::handover::Recovery;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; Anchor::LEN / 4], &[u8])| {
    let (quarter, recovery) = input;
    let Ok(recovery) = Recovery::decode(recovery) else {
        return;
    };
    let Ok(anchor) = Anchor::decode(&[quarter; 4].concat()) else {
        return;
    };
    assert!(recovery.check(&anchor).is_err());
});
