//! The one place that counts signatures (spec/proof.md).
