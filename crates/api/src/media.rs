//! Media types of the ledger's API.

/// A transaction: canonical CBOR (spec/ledger.md).
pub const CBOR: &str = "application/cbor";
/// A proof (spec/proof.md).
pub const PROOF: &str = "application/vnd.kusabi.proof";
/// A checkpoint (spec/proof.md).
pub const CHECKPOINT: &str = "application/vnd.kusabi.checkpoint";
/// A block (the crate's `block` module).
pub const BLOCK: &str = "application/vnd.kusabi.block";
/// Any bytes: taken as a wish for the binary form.
pub const OCTETS: &str = "application/octet-stream";
/// JSON, for people and scripts.
pub const JSON: &str = "application/json";
/// Server-sent events.
pub const EVENTS: &str = "text/event-stream";
