//! Inventories: what a device holds, item by item (spec/firmware.md, "Inventory").
//!
//! All of it streams: [`InventoryWriter`] takes components one by one, [`InventoryReader`] takes bytes in any pieces,
//! [`Comparison`] walks two inventories at once. None of them holds more than one component, whatever the size of the disk.
//!
//! A device signs an [`InventoryStatement`]; [`VerifiedStatement`] and then [`VerifiedInventory`] say that this device's key
//! signed it in this session, for this order, about these bytes. That they are *true* is a claim of the device: malware that
//! has the key can sign a lie.

mod component;
mod difference;
mod reader;
#[cfg(feature = "alloc")]
mod rules;
mod statement;
mod writer;

use core::fmt;

pub use component::{COMPONENT_BYTES_MAX, Component, ComponentKind, NAME_BYTES_MAX};
#[cfg(feature = "alloc")]
pub use component::{escape_name, unescape_name};
pub use difference::{Comparison, Difference, Tally};
pub use reader::{Inventory, InventoryReader};
#[cfg(feature = "alloc")]
pub use rules::{Pattern, RULES_BYTES_MAX, RULES_KIND, Rules, RulesError, TypeRules};
pub use statement::{
    Asked, InventoryStatement, SignedInventory, StatementError, VerifiedInventory,
    VerifiedStatement,
};
pub use writer::InventoryWriter;

use crate::cbor::CborError;
use crate::id::Digest;

/// Most components of an inventory.
pub const COMPONENTS_MAX: u32 = 1 << 17;
/// Longest inventory in bytes: 16 MiB.
pub const INVENTORY_BYTES_MAX: u64 = 16 << 20;

const VERSION: u64 = 1;

/// Why bytes are no inventory, or something is no component of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InventoryError {
    /// Not the CBOR that the format asks for.
    Cbor(CborError),
    /// A format version other than 1.
    Version,
    /// A name is empty, longer than 1,024 bytes, or not in its one form.
    Name,
    /// A component's version is empty, longer than 64 bytes, or holds something else than visible ASCII.
    ComponentVersion,
    /// An unknown kind of component.
    Kind,
    /// A size of 2^63 or more.
    Size,
    /// Names are not in strictly ascending order.
    Order,
    /// More than 131,072 components.
    TooMany,
    /// More than 16 MiB.
    TooLarge,
    /// The number at the end is not that of the components.
    Count,
    /// It ends before the number at its end.
    Short,
    /// Bytes follow the number at its end.
    Trailing,
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cbor(error) => return write!(f, "the bytes are no inventory: {error}"),
            Self::Version => "the inventory has a format version that this program does not know; use a newer program",
            Self::Name => "a component's name is empty, longer than 1,024 bytes, or not escaped as names are",
            Self::ComponentVersion => "a component's version has 1 to 64 visible ASCII characters",
            Self::Kind => "a component is of an unknown kind",
            Self::Size => "a component's size is out of range",
            Self::Order => "the components are out of order, or one stands twice",
            Self::TooMany => "the inventory has more than 131,072 components; inventory fewer paths",
            Self::TooLarge => "the inventory is larger than 16 MiB; inventory fewer paths",
            Self::Count => "the inventory says another number of components than it has",
            Self::Short => "the inventory ends too early",
            Self::Trailing => "there are bytes after the inventory's end",
        })
    }
}

impl core::error::Error for InventoryError {}

impl From<CborError> for InventoryError {
    fn from(error: CborError) -> Self {
        Self::Cbor(error)
    }
}

/// What a whole inventory comes to; only a writer or a reader that saw all of it makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InventorySummary {
    digest: Digest,
    size: u64,
    count: u32,
}

impl InventorySummary {
    /// The inventory digest: SHA-256 of its bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// How many components it has.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}
