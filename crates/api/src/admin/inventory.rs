//! What a device holds, as it signed it, and how that differs from what is expected.

use super::{DeviceState, Inventory, Text};
use crate::hex::Hex32;
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
    /// The inventory that says so: one of the page's.
    pub inventory: Hex32,
    /// When that came, in milliseconds since 1970.
    pub at_ms: u64,
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

/// Devices that hold a component, and what they hold of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComponentPage {
    /// The devices.
    pub devices: Vec<ComponentHolder>,
    /// Their inventories, each once.
    pub inventories: Vec<ComponentHolding>,
    /// The cursor of the next page; absent on the last one. A page that has it may be empty: so much was read for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
