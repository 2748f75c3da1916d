//! Rows of the state.
#![no_main]

use kusabi_core::row::{Row, RowBytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(bytes) = <&RowBytes>::try_from(bytes) else {
        return;
    };
    if let Ok(row) = Row::decode(bytes) {
        assert_eq!(&row.encode(), bytes);
    }
});
