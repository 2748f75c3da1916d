//! The ledger's rules, driven through the crate's public interface.

mod measure;
