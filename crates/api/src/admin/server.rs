//! What a server is: whose, of which ledger, under which keys, and where devices reach it.

use crate::hex::{Hex, Hex32};
use serde::{Deserialize, Serialize};

/// A server, as it describes itself. A provisioning file takes its addresses from here; the keys are looked up on the ledger
/// before anything is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Server {
    /// Its organisation.
    pub organisation: Hex<16>,
    /// Genesis hash of its ledger.
    pub chain: Hex32,
    /// Handles of its server keys; a device meets one of them.
    pub keys: Vec<Hex32>,
    /// Where devices reach it, the best first: `http://` or `https://`, no `/` at the end.
    pub device_urls: Vec<String>,
    /// Handle of the writer with which it registers keys that it accepted. Absent: a writer elsewhere registers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<Hex32>,
    /// Version of its program.
    pub version: String,
}
