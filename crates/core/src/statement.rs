//! What a signature covers (spec/identity.md).
