//! The ledger's own row: which validator set counts.

use super::{Kind, RowBytes, RowError};
use crate::id::{Epoch, Height, RecoveryHash, SetHash};
use crate::wire::{Reader, Sink, fixed};

/// The epoch that the ledger is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// Grows with each change.
    pub version: u32,
    /// The current epoch.
    pub epoch: Epoch,
    /// Hash of its validator set.
    pub set_hash: SetHash,
    /// Hash of the recovery set, fixed by the genesis document.
    pub recovery_hash: RecoveryHash,
    /// Heights that recoveries have jumped over.
    pub skipped: Height,
    /// How the epoch ends, once that is decided.
    pub ends: Option<Ends>,
}

/// The end of an epoch, decided by an appointment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Height of its last block.
    pub last: Height,
    /// Hash of the validator set that follows.
    pub next_set_hash: SetHash,
}

impl LedgerRow {
    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        let mut r = Reader::new(bytes);
        super::begin(&mut r, Kind::Ledger)?;
        let row = Self {
            version: r.u32()?,
            epoch: Epoch::new(r.u64()?),
            set_hash: SetHash::new(r.array()?),
            recovery_hash: RecoveryHash::new(r.array()?),
            skipped: super::height(&mut r)?,
            ends: {
                let last = super::height(&mut r)?;
                let next_set_hash = SetHash::new(r.array()?);
                if (last == Height::ZERO) != next_set_hash.is_zero() {
                    return Err(RowError::Contradiction);
                }
                (last != Height::ZERO).then_some(Ends {
                    last,
                    next_set_hash,
                })
            },
        };
        super::end(r)?;
        if row.version == 0 {
            return Err(RowError::Contradiction);
        }
        Ok(row)
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        fixed(|w| {
            super::start(w, Kind::Ledger);
            w.u32(self.version);
            w.u64(self.epoch.get());
            w.put(self.set_hash.as_bytes());
            w.put(self.recovery_hash.as_bytes());
            w.u48(self.skipped.get());
            let (last, next) = self.ends.map_or((Height::ZERO, SetHash::ZERO), |ends| {
                (ends.last, ends.next_set_hash)
            });
            w.u48(last.get());
            w.put(next.as_bytes());
            w.zeros(70);
        })
    }
}
