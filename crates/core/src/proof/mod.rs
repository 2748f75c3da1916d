//! Proof of presence and of absence (spec/proof.md).
pub mod path;
