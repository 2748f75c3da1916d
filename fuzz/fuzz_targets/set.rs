//! Validator sets and recovery sets.
#![no_main]

use kusabi_core::set::{EpochSet, RecoverySet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = EpochSet::decode(bytes) {
        let _ = (set.check_keys(), set.hash());
        assert!(set.organisations().count() == set.organisation_count());
    }
    if let Ok(set) = RecoverySet::decode(bytes) {
        let _ = (set.check_keys(), set.hash());
    }
});
