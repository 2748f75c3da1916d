//! What a rebuild found.

use serde::{Deserialize, Serialize};

/// What a rebuild brought back, and what it could not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rebuilt {
    /// Height up to which the ledger was followed again.
    pub height: u64,
    /// Devices that the ledger knows.
    pub devices: u64,
    /// Their keys.
    pub keys: u64,
    /// Releases that the ledger lists.
    pub releases: u64,
    /// Listed releases whose manifest is not here: to be uploaded again.
    pub manifests_missing: u64,
    /// Devices that are in the database and not on the ledger.
    pub devices_unknown: u64,
    /// What the ledger does not hold: how much of it the database has. What is 0 here and was not before is lost, unless a backup has it.
    pub not_on_ledger: Vec<Kept>,
}

/// Something that the database alone knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Kept {
    /// What: `users`, `tokens`, …
    pub what: String,
    /// How many of them there are.
    pub rows: u64,
}
