//! Checkpoints: a header and the quorum's signature (spec/proof.md).
