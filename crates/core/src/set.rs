//! The validator set of an epoch (spec/proof.md).
/// The most validators a set may have.
pub const VALIDATORS_MAX: usize = 16;
