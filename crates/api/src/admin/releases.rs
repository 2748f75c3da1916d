//! Releases, what they are made of, and what devices of a type should hold.

use super::Hex32;
use serde::{Deserialize, Serialize};

words! {
    /// What the ledger says of a release, as far as the server has followed it. Devices ask for the proof.
    ReleaseState {
        /// It may be installed.
        Published = "published",
        /// It may not any more, for ever.
        Withdrawn = "withdrawn",
    }
}

/// A release whose signed manifest is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Release {
    /// Digest of its manifest.
    pub digest: Hex32,
    /// Its name.
    pub name: String,
    /// Its version, for people.
    pub version: String,
    /// Its channel.
    pub channel: String,
    /// How many holes are closed up to it.
    pub counter: u64,
    /// What a device's counter rises to when it commits it.
    pub minimum_counter: u64,
    /// The device types that it is for.
    pub types: Vec<String>,
    /// What the ledger says of it.
    pub state: ReleaseState,
    /// Height at which it was published.
    pub published: u64,
    /// Height at which it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<u64>,
    /// Handles of the release keys that signed it.
    pub signers: Vec<Hex32>,
    /// What it names: payloads, chunk indices, expected inventories, documents.
    pub contents: Vec<Content>,
    /// When its manifest was uploaded.
    pub created_ms: u64,
    /// By whom.
    pub created_by: String,
}

/// Something that is named by its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Content {
    /// Its SHA-256.
    pub digest: Hex32,
    /// How many bytes it has.
    pub size: u64,
    /// How many of them are here: where an upload goes on.
    pub received: u64,
    /// Whether it is whole and checked.
    pub complete: bool,
}

/// A type of device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceType {
    /// Its name: a label (spec/firmware.md).
    #[serde(rename = "type")]
    pub device_type: String,
    /// Digest of the inventory that a device has as it leaves the factory.
    pub expected: Hex32,
    /// Bytes of that inventory.
    pub size: u64,
    /// How many components it has.
    pub components: u32,
    /// When it was recorded.
    pub created_ms: u64,
}
