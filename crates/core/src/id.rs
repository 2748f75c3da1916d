//! Identifiers: kusabi-ID, handle, chain, organisation, height (spec/identity.md).
