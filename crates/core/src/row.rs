//! The rows of the ledger's state, the key record among them (spec/ledger.md).
