//! What a device holds, as it signed it, and how that differs from what is expected.

use super::{DeviceState, Inventory, Text};
use crate::{hex::Hex32, sbom::SbomComponent};
use serde::{Deserialize, Serialize};

words! {
    /// How a component differs.
    DifferenceKind {
        /// It is expected and not there.
        Missing = "missing",
        /// It is there and not expected.
        Unexpected = "unexpected",
        /// It is there with another version, kind, size or digest.
        Changed = "changed",
    }
}

/// A component of an inventory (spec/firmware.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InventoryItem {
    /// Its name, in the escaped form of inventories.
    pub name: String,
    /// Its version, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `file`, `program`, `privileged`, `link`, `package` or `image`.
    pub kind: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub digest: Hex32,
}

/// One thing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InventoryDifference {
    /// How.
    pub kind: DifferenceKind,
    /// As it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<InventoryItem>,
    /// As it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<InventoryItem>,
}

/// The newest signed inventory of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceInventory {
    /// What it says.
    pub verdict: Inventory,
    /// Digest of the inventory that the device says it holds now, in its polls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Hex32>,
    /// The signed inventory; absent when none has come yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<InventoryReport>,
}

/// A signed inventory, compared with what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InventoryReport {
    /// Its digest.
    pub digest: Hex32,
    /// When it came.
    pub at_ms: u64,
    /// The device key that signed it.
    pub signer: Hex32,
    /// The signed statement (spec/firmware.md, "Inventory statement"), 245 bytes in hexadecimal.
    pub statement: String,
    /// Digest of the expected inventory; absent when nobody said what to expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Hex32>,
    /// Components that are expected and not there.
    pub missing: u32,
    /// Components that are there and not expected.
    pub unexpected: u32,
    /// Components that are there, and not as expected.
    pub changed: u32,
    /// The differences, by name; the first thousand.
    pub differences: Vec<InventoryDifference>,
}

/// A device that holds a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComponentHolder {
    /// `dev_…`
    pub device: String,
    /// Its serial, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Text>,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Its type, if it is known.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub device_type: Option<Text>,
    /// Its state.
    pub state: DeviceState,
    /// The inventory that says so: one of the page's. One that the device signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Hex32>,
    /// The release whose bill of materials says so: one of the page's. The device says that it runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Hex32>,
    /// When the inventory came, in milliseconds since 1970; absent where a release says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

/// What of a release's bill of materials was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComponentRelease {
    /// The release.
    pub digest: Hex32,
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The components, the first eight in its order.
    pub components: Vec<SbomComponent>,
    /// How many more there are.
    pub more: u32,
}

/// What of an inventory was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComponentHolding {
    /// The inventory.
    pub digest: Hex32,
    /// The components, the first eight by name.
    pub components: Vec<InventoryItem>,
    /// How many more there are.
    pub more: u32,
}

/// Devices that hold a component, and what they hold of it: first those whose inventories say so, then those that run a release whose
/// bill of materials does. One for which both holds comes twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComponentPage {
    /// The devices.
    pub devices: Vec<ComponentHolder>,
    /// Their inventories, each once.
    pub inventories: Vec<ComponentHolding>,
    /// Their releases, each once.
    #[serde(default)]
    pub releases: Vec<ComponentRelease>,
    /// Releases that devices run and whose bill of materials could not be searched: it is not on this server, or none in CycloneDX.
    #[serde(default)]
    pub unsearched: Vec<Hex32>,
    /// The cursor of the next page; absent on the last one. A page that has it may be empty: so much was read for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
