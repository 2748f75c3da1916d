//! Text forms of identifiers: what parses, prints as it was.
#![no_main]

use kusabi_core::id::{Handle, KusabiId, OrgName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<KusabiId>() {
        assert_eq!(id.to_text().expose(), text.to_ascii_lowercase());
    }
    if let Ok(handle) = text.parse::<Handle>() {
        assert_eq!(handle.to_string(), text);
    }
    if let Ok(name) = text.parse::<OrgName>() {
        assert_eq!(name.as_str(), text);
    }
});
