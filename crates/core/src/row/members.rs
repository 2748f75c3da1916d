//! The members' row: which organisations vote, and what they have decided for all.

use super::{Kind, RowBytes, RowError};
use crate::id::ProposalId;
use crate::wire::{Reader, Sink, fixed};

/// Most members at a time: as many organisations as an epoch set holds.
pub const MEMBERS_MAX: usize = crate::set::ORGANISATIONS_MAX;

/// Seats that a ledger gives in its life. None is given twice, so that a vote never becomes a successor's.
pub const SEATS_MAX: u16 = 256;

/// A member's place among those who vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(u8);

impl Seat {
    /// The seat of this number, from 0.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number, from 0.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// In rows: the number plus 1, 0 for none.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Option<Self>, RowError> {
        r.u16()?
            .checked_sub(1)
            .map(|number| u8::try_from(number).map(Self).map_err(|_| RowError::Value))
            .transpose()
    }

    pub(super) fn write(seat: Option<Self>, w: &mut impl Sink) {
        w.u16(seat.map_or(0, |seat| u16::from(seat.0) + 1));
    }
}

/// A set of seats: bit `i % 8` (the lowest is 0) of byte `i / 8` is seat `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Seats([u8; 32]);

impl Seats {
    /// The set of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether a seat is in it.
    #[must_use]
    pub fn contains(&self, seat: Seat) -> bool {
        let (index, bit) = place(seat);
        self.0.get(index).is_some_and(|byte| byte & bit != 0)
    }

    /// With a seat.
    #[must_use]
    pub fn with(mut self, seat: Seat) -> Self {
        let (index, bit) = place(seat);
        if let Some(byte) = self.0.get_mut(index) {
            *byte |= bit;
        }
        self
    }

    /// Without a seat.
    #[must_use]
    pub fn without(mut self, seat: Seat) -> Self {
        let (index, bit) = place(seat);
        if let Some(byte) = self.0.get_mut(index) {
            *byte &= !bit;
        }
        self
    }

    /// How many seats of it are in the other, too.
    #[must_use]
    pub fn count_in(&self, other: &Self) -> usize {
        let both = self.0.iter().zip(other.0).map(|(a, b)| a & b);
        both.map(|byte| byte.count_ones() as usize).sum()
    }

    /// How many seats there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count_in(self)
    }

    /// The seats, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Seat> + '_ {
        (0..=u8::MAX).map(Seat).filter(|seat| self.contains(*seat))
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn place(seat: Seat) -> (usize, u8) {
    (usize::from(seat.0 / 8), 1 << (seat.0 % 8))
}

/// Who votes, and what the members have decided for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// Grows with each change.
    pub version: u32,
    /// Seats given so far, 1 to 256; the next member takes the seat of this number.
    pub given: u16,
    /// Seats that are taken.
    pub seats: Seats,
    /// With no traffic there is a block in this time, in milliseconds; from the next epoch on, when it has just been changed.
    pub heartbeat_ms: u32,
    /// The genesis document's heartbeat: devices count on it, so that it never becomes longer.
    pub longest_heartbeat_ms: u32,
    /// The newest proposal; each names the one before.
    pub newest: Option<ProposalId>,
}

impl Members {
    /// How many members vote.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.count()
    }

    /// With one more member, and its seat; `None` when all seats were given or there are as many members as can be.
    #[must_use]
    pub fn seat_one(self) -> Option<(Self, Seat)> {
        if self.count() >= MEMBERS_MAX {
            return None;
        }
        let seat = Seat(u8::try_from(self.given).ok()?);
        let with = Self {
            given: self.given + 1,
            seats: self.seats.with(seat),
            ..self
        };
        Some((with, seat))
    }

    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        let mut r = Reader::new(bytes);
        super::begin(&mut r, Kind::Members)?;
        let row = Self {
            version: r.u32()?,
            given: r.u16()?,
            heartbeat_ms: r.u32()?,
            longest_heartbeat_ms: r.u32()?,
            seats: Seats(r.array()?),
            newest: {
                let newest = ProposalId::new(r.array()?);
                (!newest.is_zero()).then_some(newest)
            },
        };
        super::end(r)?;
        let beyond = |seat: Seat| u16::from(seat.0) >= row.given;
        if row.version == 0
            || row.given > SEATS_MAX
            || row.heartbeat_ms == 0
            || row.heartbeat_ms > row.longest_heartbeat_ms
            || row.seats.iter().any(beyond)
            || !(1..=MEMBERS_MAX).contains(&row.count())
        {
            return Err(RowError::Contradiction);
        }
        Ok(row)
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        fixed(|w| {
            super::start(w, Kind::Members);
            w.u32(self.version);
            w.u16(self.given);
            w.u32(self.heartbeat_ms);
            w.u32(self.longest_heartbeat_ms);
            w.put(self.seats.as_bytes());
            w.put(self.newest.unwrap_or_default().as_bytes());
            w.zeros(112);
        })
    }
}
