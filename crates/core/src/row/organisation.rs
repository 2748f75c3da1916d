//! The organisation's row: who governs it and how much it may hold.

use super::{Kind, RowBytes, RowError, Seat};
use crate::id::{Height, OrgId, OrgName};
use crate::wire::{Reader, Sink, U48_END, fixed};

/// Heights of one revocation window.
pub const WINDOW_HEIGHTS: u64 = 1000;

/// Revocations with one signature that every organisation has in each window, however small it is.
pub const CAP_FLOOR: u32 = 16;

/// How much of its time a member uses up with each proposal, in milliseconds: an hour.
pub const PROPOSAL_EVERY_MS: u64 = 3_600_000;

/// Proposals that a member may make at once; then one each [`PROPOSAL_EVERY_MS`].
pub const PROPOSALS_AT_ONCE: u64 = 16;

/// An organisation with its counts.
///
/// The counts are the ledger's own bookkeeping: `active` and `rows` equal what a walk over all rows would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// Grows with every act of the officers (grant, withdraw) and every change among them; counts do not move it, so that
    /// a grant signed offline is not made stale by the day's registrations.
    pub version: u32,
    /// The organisation's name; its ID is made from it.
    pub name: OrgName,
    /// How many officers sign an act of the officers.
    pub officers_k: u8,
    /// Active officers.
    pub officers_n: u8,
    /// Active records.
    pub active: u64,
    /// Records, releases, anchors and blob parts. Proposals are none of them.
    pub rows: u64,
    /// Upper bound of `rows`.
    pub quota: u64,
    /// The revocation window (height / 1,000) that `window_cap` and `revoked_in_window` are about.
    pub window: u64,
    /// Records that may be ended with one signature in this window.
    pub window_cap: u32,
    /// Records that were.
    pub revoked_in_window: u32,
    /// Its seat among the members: with one it votes. None for a guest, which has keys on the ledger and no vote.
    pub seat: Option<Seat>,
    /// Height at which the members removed it; zero if they have not. Nothing is added for it any more.
    pub removed: Height,
    /// Time until which the members have frozen it, in milliseconds since 1970, past or to come; zero if they never have.
    pub frozen_until_ms: u64,
    /// Time up to which its proposals have used up what it may propose, in milliseconds since 1970; zero before the first.
    pub proposed_until_ms: u64,
}

impl Organisation {
    /// An organisation that begins, before its first record; `k` of its `n` officers act together.
    #[must_use]
    pub fn new(name: OrgName, quota: u64, k: u8, n: u8, seat: Option<Seat>) -> Self {
        Self {
            version: 1,
            name,
            officers_k: k,
            officers_n: n,
            active: 0,
            rows: 0,
            quota,
            window: 0,
            window_cap: Self::cap_of(0),
            revoked_in_window: 0,
            seat,
            removed: Height::ZERO,
            frozen_until_ms: 0,
            proposed_until_ms: 0,
        }
    }

    /// The cap of a window at whose beginning so many records were active.
    pub fn cap_of(active: u64) -> u32 {
        u32::try_from(active / 100)
            .unwrap_or(u32::MAX)
            .max(CAP_FLOOR)
    }

    /// The organisation as it stands at `height` before anything happens there: if a new window has begun, its cap is taken
    /// from the records active now and its count starts at none.
    ///
    /// Every change of the counts goes through here first, therefore "now" is how it stood when the window began.
    #[must_use]
    pub fn at(self, height: Height) -> Self {
        let window = height.get() / WINDOW_HEIGHTS;
        if window == self.window {
            return self;
        }
        Self {
            window,
            window_cap: Self::cap_of(self.active),
            revoked_in_window: 0,
            ..self
        }
    }

    /// Whether nothing is added for it at this time.
    pub fn is_frozen(&self, time_ms: u64) -> bool {
        time_ms < self.frozen_until_ms
    }

    /// With one more proposal at this time; `None` while it has made as many as it may.
    #[must_use]
    pub fn propose(self, time_ms: u64) -> Option<Self> {
        let until = self.proposed_until_ms.max(time_ms);
        let proposed_until_ms = until.saturating_add(PROPOSAL_EVERY_MS);
        let latest = time_ms.saturating_add(PROPOSALS_AT_ONCE * PROPOSAL_EVERY_MS);
        (proposed_until_ms <= latest).then_some(Self {
            proposed_until_ms,
            ..self
        })
    }

    /// The organisation's ID.
    pub fn id(&self) -> OrgId {
        self.name.id()
    }

    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        let mut r = Reader::new(bytes);
        super::begin(&mut r, Kind::Organisation)?;
        let version = r.u32()?;
        let id = OrgId::new(r.array()?);
        let length = usize::from(r.u8()?);
        let padded: [u8; 32] = r.array()?;
        let (text, padding) = padded.split_at_checked(length).ok_or(RowError::Value)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(RowError::Reserved);
        }
        let text = core::str::from_utf8(text).map_err(|_| RowError::Value)?;
        let name = OrgName::new(text).map_err(|_| RowError::Value)?;
        let row = Self {
            version,
            name,
            officers_k: r.u8()?,
            officers_n: r.u8()?,
            active: r.u48()?,
            rows: r.u48()?,
            quota: r.u48()?,
            window: r.u48()?,
            window_cap: r.u32()?,
            revoked_in_window: r.u32()?,
            seat: Seat::read(&mut r)?,
            removed: super::height(&mut r)?,
            frozen_until_ms: r.u48()?,
            proposed_until_ms: r.u48()?,
        };
        super::end(r)?;
        if name.id() != id
            || row.officers_k == 0
            || row.officers_n < row.officers_k
            || row.active > row.rows
            || row.rows > row.quota
            || row.window_cap < CAP_FLOOR
            || row.revoked_in_window > row.window_cap
            || (row.seat.is_some() && row.removed != Height::ZERO)
        {
            return Err(RowError::Contradiction);
        }
        Ok(row)
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        debug_assert!(self.rows <= self.quota && self.quota < U48_END);
        fixed(|w| {
            super::start(w, Kind::Organisation);
            w.u32(self.version);
            w.put(self.id().as_bytes());
            w.u8(u8::try_from(self.name.as_str().len()).unwrap_or(u8::MAX));
            w.put(self.name.padded());
            w.u8(self.officers_k);
            w.u8(self.officers_n);
            w.u48(self.active);
            w.u48(self.rows);
            w.u48(self.quota);
            w.u48(self.window);
            w.u32(self.window_cap);
            w.u32(self.revoked_in_window);
            Seat::write(self.seat, w);
            w.u48(self.removed.get());
            w.u48(self.frozen_until_ms);
            w.u48(self.proposed_until_ms);
            w.zeros(83);
        })
    }
}
