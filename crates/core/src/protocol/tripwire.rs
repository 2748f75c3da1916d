//! The clone tripwire (spec/device-protocol.md, "Clone tripwire"): its value, and the server's judgement as a pure function.

use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::wire::Sink;

/// One value of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Value {
    /// Its number: one more than its predecessor's.
    pub seq: u64,
    /// Random bytes; zero in the value before the first.
    pub tag: [u8; 16],
}

impl Value {
    /// The value before the first.
    pub const ZERO: Self = Self {
        seq: 0,
        tag: [0; 16],
    };

    /// The value after this one, with this tag.
    #[must_use]
    pub const fn next(&self, tag: [u8; 16]) -> Self {
        Self {
            // At one session per millisecond it lasts for 500 million years.
            seq: self.seq.saturating_add(1),
            tag,
        }
    }
}

/// What a session's first message carries: the last confirmed value and the one that follows. `[seq, tag, next tag]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The last value that the server confirmed.
    pub value: Value,
    /// Tag of the value after it.
    pub next_tag: [u8; 16],
}

impl Link {
    /// The value after it.
    #[must_use]
    pub const fn next(&self) -> Value {
        self.value.next(self.next_tag)
    }
}

impl FromCbor<'_> for Link {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, CborError> {
        d.array(3)?;
        let seq = d.u64()?;
        if seq == u64::MAX {
            return Err(CborError::OutOfBounds);
        }
        Ok(Self {
            value: Value {
                seq,
                tag: d.array_of()?,
            },
            next_tag: d.array_of()?,
        })
    }
}

impl ToCbor for Link {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(3).u64(self.value.seq);
        e.bytes(self.value.tag).bytes(self.next_tag);
    }
}

/// Most values that unknown heads have displaced and that are remembered.
pub const DISPLACED_MAX: usize = 4;

/// The values that unknown heads have displaced. Whoever still knows one is another copy, so none is ever forgotten for a newer
/// one: who has a device's bare key could else begin anew again and again, until nobody knows the device's own value any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Displaced {
    values: [Value; DISPLACED_MAX],
    count: u8,
}

impl Displaced {
    /// No value.
    pub const NONE: Self = Self {
        values: [Value::ZERO; DISPLACED_MAX],
        count: 0,
    };

    /// The values, the oldest first.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        self.values
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }

    /// Whether there is no room for a further one.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count as usize == DISPLACED_MAX
    }

    /// These and one more; `None` if there is no room.
    #[must_use]
    pub fn and(mut self, value: Value) -> Option<Self> {
        *self.values.get_mut(usize::from(self.count))? = value;
        self.count += 1;
        Some(self)
    }
}

/// What the server keeps of a device's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The newest value that the device has shown to be confirmed.
    pub confirmed: Value,
    /// The value that was accepted to follow.
    pub pending: Value,
    /// What unknown heads displaced.
    pub displaced: Displaced,
    /// Grows with each change; 0 is "no row".
    pub version: u64,
}

/// What a link says about the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first one of a new device.
    First,
    /// It follows on the last one.
    Advance,
    /// It is the last one again: its answer was lost.
    Repeat,
    /// Nothing is known of a device that has spoken with servers before: this one lost its database, or meets it for the first
    /// time. From here on its copies are seen.
    Adopted,
    /// It fits nothing known: a device that lost its memory. Alarm, but it is served.
    UnknownHead,
    /// There are two devices with this key; or one that lost its memory so often that nobody can tell it from a copy. Alarm; this
    /// copy is not served.
    Fork,
    /// It was overtaken by a later session of the device: nothing can be said; the session ends.
    Stale,
}

/// A verdict and what becomes of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the link says.
    pub verdict: Verdict,
    /// The row to be written in place of the one judged, in one compare-and-set over its version, before the answer is
    /// sent; none if it stays. When the compare-and-set fails, judge again.
    pub row: Option<Row>,
}

impl Judgement {
    /// Whether the session goes on.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        !matches!(self.verdict, Verdict::Fork | Verdict::Stale)
    }
}

/// Judges the link of a session's first message against the device's row; `seen` is the row's version when the handshake
/// was answered (0: there was none).
#[must_use]
pub fn judge(row: Option<&Row>, seen: u64, link: &Link) -> Judgement {
    let next = link.next();
    let keep = |verdict| Judgement { verdict, row: None };
    let Some(row) = row else {
        let row = Row {
            confirmed: link.value,
            pending: next,
            displaced: Displaced::NONE,
            version: 1,
        };
        return Judgement {
            verdict: if link.value == Value::ZERO {
                Verdict::First
            } else {
                Verdict::Adopted
            },
            row: Some(row),
        };
    };
    let write = |verdict, displaced| Judgement {
        verdict,
        row: Some(Row {
            confirmed: link.value,
            pending: next,
            displaced,
            version: row.version.saturating_add(1),
        }),
    };
    let passed = link.value.seq < row.confirmed.seq && link.value != Value::ZERO;
    let knew_a_displaced = row
        .displaced
        .values()
        .iter()
        .any(|displaced| link.value == *displaced || next == *displaced);
    if link.value == row.pending {
        write(Verdict::Advance, row.displaced)
    } else if link.value == row.confirmed && next == row.pending {
        keep(Verdict::Repeat)
    } else if row.version != seen {
        keep(Verdict::Stale)
    } else if link.value == row.confirmed || passed || knew_a_displaced {
        keep(Verdict::Fork)
    } else {
        match row.displaced.and(row.pending) {
            Some(displaced) => write(Verdict::UnknownHead, displaced),
            None => keep(Verdict::Fork),
        }
    }
}

/// The same for the link of a key that has a successor (spent, superseded). What fits nothing known is a **fork**: a
/// device does not go back to such a key while its successor speaks. And it leaves the row as it is: whoever
/// holds a copy of a spent factory key could otherwise displace the value of the device that holds the successor, and have
/// *that* taken for the copy.
#[must_use]
pub fn judge_ended_key(row: Option<&Row>, seen: u64, link: &Link) -> Judgement {
    match judge(row, seen, link) {
        Judgement {
            verdict: Verdict::UnknownHead,
            ..
        } => Judgement {
            verdict: Verdict::Fork,
            row: None,
        },
        judgement => judgement,
    }
}
