//! The ledger's refusals as problems.

pub mod refusal;
