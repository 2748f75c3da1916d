//! Checkpoints, under whatever anchor the input has.
#![no_main]

use kusabi_core::anchor::Anchor;
use kusabi_core::checkpoint::Checkpoint;
use kusabi_core::set::EpochSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; Anchor::LEN / 4], &[u8], &[u8])| {
    let (quarter, checkpoint, set) = input;
    let Ok(checkpoint) = Checkpoint::decode(checkpoint) else {
        return;
    };
    let Ok(anchor) = Anchor::decode(&[quarter; 4].concat()) else {
        return;
    };
    let Ok(set) = EpochSet::decode(set) else {
        return;
    };
    assert!(checkpoint.check(&anchor, &set).is_err());
});
