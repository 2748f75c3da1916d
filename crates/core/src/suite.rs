//! Suites, purposes and public keys (spec/identity.md).
