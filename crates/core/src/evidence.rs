//! Evidence bundles: detached COSE_Sign1 signatures with proofs inside (spec/evidence.md).
