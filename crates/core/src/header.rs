//! The block header (spec/proof.md).
