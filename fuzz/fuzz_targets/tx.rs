//! Transactions.
#![no_main]

use kusabi_core::tx::Transaction;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tx) = Transaction::decode(bytes) {
        assert_eq!(tx.as_bytes(), bytes);
    }
});
