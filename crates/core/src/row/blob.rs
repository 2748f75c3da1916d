//! Blob parts: bytes too large for a row, cut into rows under their digest.

use super::{Kind, RowBytes, RowError};
use crate::wire::{Reader, Sink, fixed};

/// Bytes that one part holds at most.
pub const BLOB_PART_BYTES: usize = 160;

/// One part: 1 to 160 bytes; all parts but the last hold 160. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobPart {
    length: u8,
    bytes: [u8; BLOB_PART_BYTES],
}

impl BlobPart {
    /// A part of these bytes; `None` when they are none or more than 160.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut padded = [0; BLOB_PART_BYTES];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let length = u8::try_from(bytes.len()).ok()?;
        (length > 0).then_some(Self {
            length,
            bytes: padded,
        })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or(&self.bytes)
    }

    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(row: &RowBytes) -> Result<Self, RowError> {
        let mut r = Reader::new(row);
        super::begin(&mut r, Kind::BlobPart)?;
        let length = r.u8()?;
        super::reserved(&mut r, 1)?;
        let bytes: [u8; BLOB_PART_BYTES] = r.array()?;
        super::end(r)?;
        let (content, padding) = bytes
            .split_at_checked(usize::from(length))
            .ok_or(RowError::Value)?;
        if content.is_empty() {
            return Err(RowError::Value);
        }
        if padding.iter().any(|byte| *byte != 0) {
            return Err(RowError::Reserved);
        }
        Ok(Self { length, bytes })
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        fixed(|w| {
            super::start(w, Kind::BlobPart);
            w.u8(self.length);
            w.u8(0);
            w.put(&self.bytes);
            w.zeros(28);
        })
    }
}
