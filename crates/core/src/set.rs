//! The validator set of an epoch (spec/proof.md).
