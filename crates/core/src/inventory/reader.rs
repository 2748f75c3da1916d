//! Inventories read as they arrive.

use core::fmt;

use super::{
    COMPONENT_BYTES_MAX, COMPONENTS_MAX, Component, INVENTORY_BYTES_MAX, InventoryError,
    InventorySummary, NAME_BYTES_MAX, VERSION,
};
use crate::cbor::{CborError, Decoder, FromCbor};
use crate::crypto::Hasher;
use crate::id::Digest;
use crate::wire::Sink;

/// The name of the component before, for the order.
pub(super) struct LastName {
    bytes: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl Default for LastName {
    fn default() -> Self {
        Self {
            bytes: [0; NAME_BYTES_MAX],
            length: 0,
        }
    }
}

impl fmt::Debug for LastName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastName")
    }
}

impl LastName {
    /// Moves on to `name`, if it comes after the last one. Names are not empty, so the first one does.
    pub(super) fn follow(&mut self, name: &str) -> Result<(), InventoryError> {
        let last = self.bytes.get(..self.length).unwrap_or_default();
        if name.as_bytes() <= last {
            return Err(InventoryError::Order);
        }
        let to = self
            .bytes
            .get_mut(..name.len())
            .ok_or(InventoryError::Name)?;
        to.copy_from_slice(name.as_bytes());
        self.length = name.len();
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The version comes next.
    Begin,
    /// A component, or the number at the end.
    Components,
    /// Nothing may come.
    End,
    /// Something was wrong.
    Failed(InventoryError),
}

/// Reads an inventory in whatever pieces it comes, and hands out each component as soon as it is complete.
///
/// What it hands out is well formed and in order; that it is the inventory that someone signed is known only at the end
/// ([`finish`](Self::finish)).
#[derive(Debug)]
pub struct InventoryReader {
    hasher: Hasher,
    size: u64,
    count: u32,
    last: LastName,
    stage: Stage,
    /// The beginning of an item that is not complete yet.
    carry: [u8; COMPONENT_BYTES_MAX],
    carried: usize,
}

impl Default for InventoryReader {
    fn default() -> Self {
        Self {
            hasher: Hasher::default(),
            size: 0,
            count: 0,
            last: LastName::default(),
            stage: Stage::Begin,
            carry: [0; COMPONENT_BYTES_MAX],
            carried: 0,
        }
    }
}

impl InventoryReader {
    /// Takes the next bytes and calls `each` for every component that they complete.
    ///
    /// # Errors
    /// The first rule broken; the reader then refuses whatever comes with the same error.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&Component<'_>),
    ) -> Result<(), InventoryError> {
        self.take(bytes, &mut each).inspect_err(|error| {
            self.stage = Stage::Failed(*error);
        })
    }

    /// How many components have come.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`InventoryError::Short`], or the error of [`feed`](Self::feed).
    pub fn finish(self) -> Result<InventorySummary, InventoryError> {
        match self.stage {
            Stage::End => Ok(InventorySummary {
                digest: Digest::new(self.hasher.finish()),
                size: self.size,
                count: self.count,
            }),
            Stage::Failed(error) => Err(error),
            Stage::Begin | Stage::Components => Err(InventoryError::Short),
        }
    }

    fn take(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(&Component<'_>),
    ) -> Result<(), InventoryError> {
        if let Stage::Failed(error) = self.stage {
            return Err(error);
        }
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > INVENTORY_BYTES_MAX {
            return Err(InventoryError::TooLarge);
        }
        self.hasher.put(bytes);

        while !bytes.is_empty() {
            if self.carried == 0 {
                // No further than an item can reach, as when it comes in pieces.
                let window = bytes.get(..COMPONENT_BYTES_MAX).unwrap_or(bytes);
                match self.item(window, each)? {
                    Some(read) => bytes = bytes.get(read..).unwrap_or_default(),
                    None => return self.keep(bytes).map(drop),
                }
                continue;
            }
            // An item that began in an earlier piece: complete it, and go on behind it.
            let before = self.carried;
            let kept = self.keep(bytes)?;
            let carry = self.carry;
            let item = carry.get(..self.carried).unwrap_or_default();
            match self.item(item, each)? {
                Some(read) => {
                    bytes = bytes.get(read.saturating_sub(before)..).unwrap_or_default();
                    self.carried = 0;
                }
                // No item is longer than the carry.
                None if kept < bytes.len() => return Err(CborError::OutOfBounds.into()),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Appends to the carry as much as fits, and says how much that was.
    fn keep(&mut self, bytes: &[u8]) -> Result<usize, InventoryError> {
        let free = self.carry.get_mut(self.carried..).unwrap_or_default();
        let kept = free.len().min(bytes.len());
        if kept == 0 || (self.carried == 0 && kept < bytes.len()) {
            return Err(CborError::OutOfBounds.into());
        }
        for (to, from) in free.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.carried = self.carried.saturating_add(kept);
        Ok(kept)
    }

    /// Reads one item from the front and says how long it is; `None` when it is not complete.
    fn item(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(&Component<'_>),
    ) -> Result<Option<usize>, InventoryError> {
        let mut d = Decoder::new(bytes);
        match self.stage {
            Stage::Failed(error) => return Err(error),
            Stage::End => return Err(InventoryError::Trailing),
            Stage::Begin => {
                let Some(version) = complete(d.u64().map_err(InventoryError::from))? else {
                    return Ok(None);
                };
                if version != VERSION {
                    return Err(InventoryError::Version);
                }
                self.stage = Stage::Components;
            }
            Stage::Components if is_number(bytes) => {
                let Some(count) = complete(d.u64().map_err(InventoryError::from))? else {
                    return Ok(None);
                };
                if count != u64::from(self.count) {
                    return Err(InventoryError::Count);
                }
                self.stage = Stage::End;
            }
            Stage::Components => {
                if self.count >= COMPONENTS_MAX {
                    return Err(InventoryError::TooMany);
                }
                let Some(component) = complete(Component::from_cbor(&mut d))? else {
                    return Ok(None);
                };
                self.last.follow(component.name())?;
                self.count = self.count.saturating_add(1);
                each(&component);
            }
        }
        Ok(Some(d.position()))
    }
}

/// Tells "not yet" from "never".
fn complete<T>(read: Result<T, InventoryError>) -> Result<Option<T>, InventoryError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(InventoryError::Cbor(CborError::Short)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the first byte begins an unsigned number (RFC 8949, 3.1: major type 0).
const fn is_number(bytes: &[u8]) -> bool {
    matches!(bytes, [0x00..=0x1f, ..])
}

/// A whole inventory in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inventory<'a> {
    bytes: &'a [u8],
    summary: InventorySummary,
}

impl<'a> Inventory<'a> {
    /// Reads a whole inventory.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InventoryError> {
        let mut reader = InventoryReader::default();
        reader.feed(bytes, |_| ())?;
        Ok(Self {
            bytes,
            summary: reader.finish()?,
        })
    }

    /// What it comes to.
    #[must_use]
    pub const fn summary(&self) -> &InventorySummary {
        &self.summary
    }

    /// The components, ascending by name.
    pub fn components(&self) -> impl Iterator<Item = Component<'a>> + Clone + use<'a> {
        let mut decoder = Decoder::new(self.bytes);
        // The version, then as many components as there are: all of it was read before.
        let begun = decoder.u64().is_ok();
        (0..self.summary.count)
            .take_while(move |_| begun)
            .map_while(move |_| Component::from_cbor(&mut decoder).ok())
    }
}
