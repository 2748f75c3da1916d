//! The primitives, each behind one function: SHA-256, Ed25519 by ZIP-215, P-256, HKDF, HMAC (spec/identity.md).
