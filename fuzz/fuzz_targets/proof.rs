//! Proofs, and the path to the root with whatever log the input names.
#![no_main]

use kusabi_core::id::StateKey;
use kusabi_core::proof::path::{Log, Path};
use kusabi_core::proof::{Claim, Proof};
use kusabi_core::wire::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8], &[u8])| {
    let (leaves, path, proof) = input;
    let _ = Proof::decode(proof);
    let mut reader = Reader::new(path);
    let Ok(path) = Path::read(&mut reader) else {
        return;
    };
    let Ok(row) = reader.array() else { return };
    let log = Log {
        leaves,
        ops_root: &[0; 32],
    };
    let wanted = StateKey::ZERO;
    for claim in [
        Claim::Present {
            row: &row,
            next_key: wanted,
        },
        Claim::Between {
            key: wanted,
            row: &row,
            next_key: wanted,
        },
        Claim::Empty {
            metadata: Some(&row),
        },
    ] {
        assert!(claim.check(&path, log, &[0; 32], &wanted).is_err());
    }
});
