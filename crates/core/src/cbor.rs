//! Strict, canonical CBOR on top of minicbor (spec/README.md).
