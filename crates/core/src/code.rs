//! The numbers of broken rules (spec/errors.md).
//!
//! Each error enum has its own range: the high byte says which enum, the low byte which rule. An error that only says where
//! another one happened has that one's number, so that a number always names the rule itself. The same number reaches
//! callers in C, logs and the API; it is never used for another rule.

/// Gives an error enum its numbers: `code()`, exhaustive, so that no variant is without one. Variants after `in` wrap
/// another error.
macro_rules! codes {
    ($error:ident { $($variant:ident = $code:literal),* $(,)? } in { $($wrap:ident),* $(,)? }) => {
        impl $error {
            /// The number of the broken rule (spec/errors.md); that of the error inside, where one only says where.
            #[must_use]
            pub const fn code(&self) -> u16 {
                match self {
                    $(Self::$variant => $code,)*
                    $(Self::$wrap(inside) => inside.code(),)*
                }
            }

            #[cfg(test)]
            pub(crate) const OWN: &'static [Self] = &[$(Self::$variant),*];
        }
    };
    ($error:ident { $($variant:ident),* $(,)? }) => {
        impl $error {
            /// The number of the broken rule (spec/errors.md).
            #[must_use]
            pub const fn code(&self) -> u16 {
                match self {
                    $(Self::$variant => Self::$variant as u16,)*
                }
            }

            #[cfg(test)]
            pub(crate) const OWN: &'static [Self] = &[$(Self::$variant),*];
        }
    };
}
pub(crate) use codes;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::string::{String, ToString};
    use std::vec::Vec;
    use std::{format, fs};

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/errors.md");

    /// (enum, variant, number, sentence) of every rule of this crate.
    fn rules() -> Vec<(&'static str, String, u16, String)> {
        let mut rules = Vec::new();
        macro_rules! own {
            ($($path:path),* $(,)?) => {$(
                let name = stringify!($path).rsplit("::").next().unwrap().trim();
                for error in <$path>::OWN {
                    rules.push((name, format!("{error:?}"), error.code(), error.to_string()));
                }
            )*};
        }
        own!(
            crate::wire::WireError,
            crate::id::IdError,
            crate::crypto::SignatureError,
            crate::suite::KeyError,
            crate::cbor::CborError,
            crate::keystore::KeyStoreError,
            crate::evidence::EvidenceError,
            crate::header::HeaderError,
            crate::set::SetError,
            crate::row::RowError,
            crate::tx::TxError,
            crate::quorum::QuorumError,
            crate::checkpoint::CheckpointError,
            crate::proof::path::PathError,
            crate::proof::ProofError,
            crate::anchor::AnchorError,
            crate::handover::HandoverError,
            crate::genesis::GenesisError,
            crate::freshness::FreshnessError,
        );
        rules
    }

    #[test]
    fn a_number_names_one_rule() {
        let rules = rules();
        let codes: BTreeSet<_> = rules.iter().map(|rule| rule.2).collect();
        assert_eq!(codes.len(), rules.len());
        // One range for each enum, and none of the ledger's.
        let ranges: BTreeSet<_> = rules.iter().map(|rule| (rule.2 >> 8, rule.0)).collect();
        let high: BTreeSet<_> = ranges.iter().map(|range| range.0).collect();
        let enums: BTreeSet<_> = ranges.iter().map(|range| range.1).collect();
        assert_eq!((high.len(), enums.len()), (ranges.len(), ranges.len()));
        assert!(high.iter().all(|range| !(0x10..0x20).contains(range)));
        assert!(rules.iter().all(|rule| rule.2 & 0xff != 0));
    }

    /// `UPDATE_DOCS=1 cargo test -p kusabi-core code` writes the table.
    #[test]
    fn the_table_is_that_of_the_code() {
        let mut table = String::from("| code | error | sentence |\n|---|---|---|\n");
        for (name, variant, code, sentence) in rules() {
            table.push_str(&format!(
                "| `0x{code:04x}` | `{name}::{variant}` | {sentence} |\n"
            ));
        }
        let page = fs::read_to_string(PAGE).unwrap();
        let (begin, end) = ("<!-- core -->\n", "<!-- /core -->");
        let (before, rest) = page.split_once(begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        let expected = format!("{before}{begin}{table}{end}{after}");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(PAGE, expected).unwrap();
            return;
        }
        assert!(
            page == expected,
            "spec/errors.md is out of date: UPDATE_DOCS=1 cargo test -p kusabi-core code; a number that is no longer used \
             stays there as retired"
        );
    }

    #[test]
    fn an_error_that_says_where_has_the_number_of_the_rule() {
        use crate::anchor::AnchorError;
        use crate::checkpoint::CheckpointError;
        use crate::proof::ProofError;
        let floor = AnchorError::BelowFloor;
        let proof = ProofError::Checkpoint(CheckpointError::Anchor(floor));
        assert_eq!(proof.code(), floor.code());
    }
}
