//! A release: the digest of a manifest that an organisation's art keys published.

use super::{Kind, RowBytes, RowError};
use crate::id::{Digest, Height, OrgId};
use crate::wire::{Reader, Sink, fixed};

/// Whether a release may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReleaseStatus {
    /// It may.
    Published = 1,
    /// It may not any more, for ever.
    Withdrawn = 2,
}

/// A release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    version: u32,
    org: OrgId,
    digest: Digest,
    published: Height,
    withdrawn: Option<Height>,
    minimum_counter: u64,
}

impl Release {
    /// A release published at `height`.
    pub const fn published(
        org: OrgId,
        digest: Digest,
        height: Height,
        minimum_counter: u64,
    ) -> Self {
        Self {
            version: 1,
            org,
            digest,
            published: height,
            withdrawn: None,
            minimum_counter,
        }
    }

    /// The same release, withdrawn at `height`; `None` when it was withdrawn already.
    #[must_use]
    pub fn withdraw(self, height: Height) -> Option<Self> {
        if self.withdrawn.is_some() || height < self.published {
            return None;
        }
        Some(Self {
            version: self.version.checked_add(1)?,
            withdrawn: Some(height),
            ..self
        })
    }

    /// Grows with each change.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Whose release it is.
    pub const fn org(&self) -> OrgId {
        self.org
    }

    /// Digest of the manifest.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it may be installed.
    pub const fn status(&self) -> ReleaseStatus {
        match self.withdrawn {
            None => ReleaseStatus::Published,
            Some(_) => ReleaseStatus::Withdrawn,
        }
    }

    /// Height at which it was published.
    pub const fn published_at(&self) -> Height {
        self.published
    }

    /// Height at which it was withdrawn, if it was.
    pub const fn withdrawn_at(&self) -> Option<Height> {
        self.withdrawn
    }

    /// Devices whose counter is above this do not install it.
    pub const fn minimum_counter(&self) -> u64 {
        self.minimum_counter
    }

    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        let mut r = Reader::new(bytes);
        super::begin(&mut r, Kind::Release)?;
        let version = r.u32()?;
        let org = OrgId::new(r.array()?);
        let digest = Digest::new(r.array()?);
        let status = r.u8()?;
        let published = super::height(&mut r)?;
        let withdrawn = super::height(&mut r)?;
        let minimum_counter = r.u64()?;
        super::end(r)?;
        let withdrawn = match status {
            1 if withdrawn == Height::ZERO => None,
            2 if withdrawn >= published && withdrawn > Height::ZERO => Some(withdrawn),
            1 | 2 => return Err(RowError::Contradiction),
            _ => return Err(RowError::Value),
        };
        if version == 0 || published == Height::ZERO {
            return Err(RowError::Contradiction);
        }
        Ok(Self {
            version,
            org,
            digest,
            published,
            withdrawn,
            minimum_counter,
        })
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        fixed(|w| {
            super::start(w, Kind::Release);
            w.u32(self.version);
            w.put(self.org.as_bytes());
            w.put(self.digest.as_bytes());
            w.u8(self.status() as u8);
            w.u48(self.published.get());
            w.u48(self.withdrawn.unwrap_or(Height::ZERO).get());
            w.u64(self.minimum_counter);
            w.zeros(117);
        })
    }
}
