//! Transactions on the wire (spec/ledger.md).
