//! Inventories written as they are found.

use super::reader::LastName;
use super::{
    COMPONENTS_MAX, Component, INVENTORY_BYTES_MAX, InventoryError, InventorySummary, VERSION,
};
use crate::cbor::{Encoder, ToCbor};
use crate::crypto::Hasher;
use crate::id::Digest;
use crate::wire::Sink;

/// Bytes of the number at the end, at most.
const COUNT_BYTES_MAX: u64 = 5;

/// Writes an inventory component by component, in ascending order of their names.
#[derive(Debug)]
pub struct InventoryWriter<S> {
    out: Tee<S>,
    count: u32,
    last: LastName,
}

/// A sink that counts and hashes what passes.
#[derive(Debug)]
struct Tee<S> {
    sink: S,
    hasher: Hasher,
    size: u64,
}

impl<S: Sink> Sink for Tee<S> {
    fn put(&mut self, bytes: &[u8]) {
        self.hasher.put(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.sink.put(bytes);
    }
}

/// A sink that counts.
struct Length(u64);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len() as u64);
    }
}

/// A sink that drops everything: for whoever needs an inventory's digest only.
struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _: &[u8]) {}
}

impl InventoryWriter<()> {
    /// A writer that keeps nothing, for the digest alone.
    pub fn digest_only() -> InventoryWriter<impl Sink> {
        InventoryWriter::new(Nowhere)
    }
}

impl<S: Sink> InventoryWriter<S> {
    /// Begins an inventory in `sink`.
    pub fn new(sink: S) -> Self {
        let mut out = Tee {
            sink,
            hasher: Hasher::default(),
            size: 0,
        };
        Encoder::new(&mut out).u64(VERSION);
        Self {
            out,
            count: 0,
            last: LastName::default(),
        }
    }

    /// Writes the next component.
    ///
    /// # Errors
    /// [`InventoryError::Order`], [`InventoryError::TooMany`], [`InventoryError::TooLarge`]; nothing is written then.
    pub fn put(&mut self, component: &Component<'_>) -> Result<(), InventoryError> {
        if self.count >= COMPONENTS_MAX {
            return Err(InventoryError::TooMany);
        }
        let mut length = Length(0);
        component.to_cbor(&mut Encoder::new(&mut length));
        let size = self.out.size.saturating_add(length.0);
        if size.saturating_add(COUNT_BYTES_MAX) > INVENTORY_BYTES_MAX {
            return Err(InventoryError::TooLarge);
        }
        self.last.follow(component.name())?;
        component.to_cbor(&mut Encoder::new(&mut self.out));
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// The sink, to empty it from time to time.
    pub const fn sink(&mut self) -> &mut S {
        &mut self.out.sink
    }

    /// Ends the inventory.
    pub fn finish(mut self) -> (InventorySummary, S) {
        Encoder::new(&mut self.out).u64(self.count.into());
        let summary = InventorySummary {
            digest: Digest::new(self.out.hasher.finish()),
            size: self.out.size,
            count: self.count,
        };
        (summary, self.out.sink)
    }
}
