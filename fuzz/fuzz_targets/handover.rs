//! Handovers, under whatever anchor the input has.
#![no_main]

use kusabi_core::anchor::Anchor;
use kusabi_core::handover::Handover;
use kusabi_core::set::EpochSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; Anchor::LEN / 4], &[u8], &[u8])| {
    let (quarter, handover, set) = input;
    let Ok(handover) = Handover::decode(handover) else {
        return;
    };
    let Ok(anchor) = Anchor::decode(&[quarter; 4].concat()) else {
        return;
    };
    let Ok(set) = EpochSet::decode(set) else {
        return;
    };
    assert!(handover.check(&anchor, &set).is_err());
});
