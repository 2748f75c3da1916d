//! The audit log's head, and receipts.

use super::Hex32;
use crate::hex::base64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Where the audit log stands, and what of it the ledger holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditHead {
    /// Number of the newest entry; 0 when there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: Hex32,
    /// The newest entry whose hash stands on the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchored: Option<AuditAnchor>,
}

/// An entry of the audit log whose hash stands on the ledger, as an anchor of topic 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditAnchor {
    /// Number of the entry.
    pub seq: u64,
    /// Its hash.
    pub hash: Hex32,
    /// Height from which the ledger shows that the log was so.
    pub height: u64,
}

/// A statement of the server, signed with its key: two files for `kusabi verify STATEMENT EVIDENCE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// What is stated, to the byte: JSON, to be saved as it is.
    pub statement: String,
    /// The signature with all that is needed to check it without a network (spec/evidence.md).
    #[serde(with = "base64")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub evidence: Bytes,
}
