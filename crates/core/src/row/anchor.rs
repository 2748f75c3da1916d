//! An anchor: a digest that existed at a height, and who put it there.

use super::{Kind, RowBytes, RowError};
use crate::id::{Digest, Handle, Height, OrgId};
use crate::wire::{Reader, Sink, fixed};

/// What an anchored digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Topic {
    /// A detached signature (spec/evidence.md).
    Evidence = 1,
    /// The head of an audit log.
    AuditLog = 2,
}

impl TryFrom<u8> for Topic {
    type Error = RowError;

    fn try_from(number: u8) -> Result<Self, RowError> {
        Ok(match number {
            1 => Self::Evidence,
            2 => Self::AuditLog,
            _ => return Err(RowError::Value),
        })
    }
}

/// An anchored digest. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorRow {
    /// What the digest is of.
    pub topic: Topic,
    /// Height at which it was anchored.
    pub height: Height,
    /// Organisation that anchored it.
    pub org: OrgId,
    /// Key that signed for the organisation.
    pub signer: Handle,
    /// What is anchored.
    pub digest: Digest,
}

impl AnchorRow {
    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        let mut r = Reader::new(bytes);
        super::begin(&mut r, Kind::Anchor)?;
        let topic = Topic::try_from(r.u8()?)?;
        super::reserved(&mut r, 1)?;
        let row = Self {
            topic,
            height: super::height(&mut r)?,
            org: OrgId::new(r.array()?),
            signer: Handle::new(r.array()?),
            digest: Digest::new(r.array()?),
        };
        super::end(r)?;
        if row.height == Height::ZERO {
            return Err(RowError::Contradiction);
        }
        Ok(row)
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        fixed(|w| {
            super::start(w, Kind::Anchor);
            w.u8(self.topic as u8);
            w.u8(0);
            w.u48(self.height.get());
            w.put(self.org.as_bytes());
            w.put(self.signer.as_bytes());
            w.put(self.digest.as_bytes());
            w.zeros(102);
        })
    }
}
