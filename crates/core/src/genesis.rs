//! The genesis document (spec/ledger.md).
