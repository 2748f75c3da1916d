//! The art policy: how many of an organisation's release keys must sign.

use super::{Kind, RowBytes, RowError};
use crate::id::OrgId;
use crate::wire::{Reader, Sink, fixed};

/// An organisation's art policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArtPolicy {
    /// Grows with every change of the policy or of the keys under it.
    pub version: u32,
    /// Whose policy it is.
    pub org: OrgId,
    /// How many art keys sign a release.
    pub k: u8,
    /// Active art keys. Fewer than `k` after revocations: then nothing can be published until the officers set a new policy.
    pub n: u8,
}

impl ArtPolicy {
    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        let mut r = Reader::new(bytes);
        super::begin(&mut r, Kind::ArtPolicy)?;
        let row = Self {
            version: r.u32()?,
            org: OrgId::new(r.array()?),
            k: r.u8()?,
            n: r.u8()?,
        };
        super::end(r)?;
        // Version 0 means "none yet" in transactions, so that no row has it.
        if row.version == 0 || row.k == 0 {
            return Err(RowError::Contradiction);
        }
        Ok(row)
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        fixed(|w| {
            super::start(w, Kind::ArtPolicy);
            w.u32(self.version);
            w.put(self.org.as_bytes());
            w.u8(self.k);
            w.u8(self.n);
            w.zeros(168);
        })
    }
}
