//! What a device says in a session (spec/device-protocol.md, "Messages").

use arrayvec::ArrayVec;

use super::Floor;
use super::succession::TRANSACTION_LEN_MAX;
use super::tripwire::Link;
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::id::{Digest, Handle, Nonce, OrgId, StateKey};
use crate::suite::Signature;
use crate::wire::Sink;

/// Longest hold of a poll, in seconds.
pub const HOLD_SECS_MAX: u16 = 300;
/// Most outcomes in a poll.
pub const OUTCOMES_MAX: usize = 4;
/// Longest part of a report, in bytes.
pub const PART_LEN_MAX: usize = 2048;

/// A request: `[link / null, floor, body]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The tripwire's value; in a session's first message only.
    pub link: Option<Link>,
    /// Where the device stands.
    pub floor: Floor,
    /// What it wants.
    pub ask: Ask<'a>,
}

/// What a device wants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator for a box, and one of them is held"
)]
pub enum Ask<'a> {
    /// Is there anything to do?
    Poll(Poll),
    /// Put this transaction on the ledger: the activation or the supersession of the device's key.
    Succeed(&'a [u8]),
    /// Make my device key.
    Key,
    /// Prove what the ledger holds.
    Prove(Subject),
    /// A part of a signed inventory.
    Report(ReportPart<'a>),
    /// Carry this nonce to the validators: a freshness receipt for it.
    Fresh(Nonce),
    /// My record has another owner: where are that one's servers?
    Where,
}

impl Ask<'_> {
    /// Whether a session that began without a value of the tripwire may ask for it: what is answered hands nothing out that only the
    /// owner's device is to have, and does nothing.
    #[must_use]
    pub const fn needs_no_link(&self) -> bool {
        matches!(self, Self::Prove(_) | Self::Fresh(_) | Self::Where)
    }
}

/// A poll.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Poll {
    /// What the device runs.
    pub facts: Facts,
    /// How long the server may hold the answer back while there is no order, in seconds; 0 to 300.
    pub hold_secs: u16,
    /// What became of orders.
    pub outcomes: ArrayVec<Outcome, OUTCOMES_MAX>,
}

/// What a device runs, as it knows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Facts {
    /// Digest of its inventory.
    pub inventory: Option<Digest>,
    /// Digest of the release that it runs; none as long as it runs what it was built with.
    pub release: Option<Digest>,
    /// Its counter.
    pub counter: u64,
    /// Whether it knows that what it was shown is of now. The device sets that itself.
    pub freshness: Freshness,
}

/// Whether a device knows that what it was shown is of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Freshness {
    /// It has had no receipt since its start yet.
    #[default]
    Unknown = 0,
    /// It has had one.
    Shown = 1,
    /// It gets none, or the ledger has not grown for too long: it installs and adopts nothing.
    Stale = 2,
}

impl Freshness {
    /// The word for it in logs and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Shown => "shown",
            Self::Stale => "stale",
        }
    }
}

/// What became of an order, as its device says and signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The order's ID.
    pub order: u64,
    /// What.
    pub code: OutcomeCode,
    /// The device's, over the text of [`Answered`](crate::receipt::Answered) at the request's floor.
    pub signature: Signature,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum OutcomeCode {
    /// It was done.
    Done = 1,
    /// Refused: nothing showed that what the server shows is of now.
    Stale = 2,
    /// Refused: the ledger does not prove what it needs.
    Unproven = 3,
    /// It was tried and failed.
    Failed = 4,
    /// The device cannot do it.
    Unsupported = 5,
}

impl OutcomeCode {
    /// The word for it in receipts and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Stale => "refused-stale",
            Self::Unproven => "refused-unproven",
            Self::Failed => "failed",
            Self::Unsupported => "unable",
        }
    }
}

/// What is to be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The record of a handle.
    Record(Handle),
    /// A release of the device's organisation.
    Release(Digest),
}

impl Subject {
    /// Where it stands in the ledger's state.
    #[must_use]
    pub fn state_key(&self, org: &OrgId) -> StateKey {
        match self {
            Self::Record(handle) => StateKey::record(handle),
            Self::Release(digest) => StateKey::release(org, digest),
        }
    }
}

/// A part of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportPart<'a> {
    /// The order's nonce.
    pub nonce: [u8; 32],
    /// Length of the whole report, in bytes.
    pub total: u32,
    /// Where this part begins.
    pub offset: u32,
    /// The part.
    pub bytes: &'a [u8],
}

impl<'b> FromCbor<'b> for Request<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        d.array(3)?;
        Ok(Self {
            link: d.optional(Link::from_cbor)?,
            floor: Floor::from_cbor(d)?,
            ask: Ask::from_cbor(d)?,
        })
    }
}

impl ToCbor for Request<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(3);
        e.optional(self.link, |e, link| link.to_cbor(e));
        self.floor.to_cbor(e);
        self.ask.to_cbor(e);
    }
}

impl<'b> FromCbor<'b> for Ask<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        let elements = d.list(1..=5)?;
        Ok(match (d.u8()?, elements) {
            (1, 4) => Self::Poll(Poll {
                facts: Facts::from_cbor(d)?,
                hold_secs: hold(d)?,
                outcomes: outcomes(d)?,
            }),
            (2, 2) => Self::Succeed(d.bytes(1..=TRANSACTION_LEN_MAX)?),
            (3, 1) => Self::Key,
            (4, 3) => Self::Prove(match d.u8()? {
                1 => Subject::Record(Handle::new(d.array_of()?)),
                2 => Subject::Release(Digest::new(d.array_of()?)),
                _ => return Err(CborError::OutOfBounds),
            }),
            (5, 5) => Self::Report(report(d)?),
            (6, 2) => Self::Fresh(Nonce::new(d.array_of()?)),
            (7, 1) => Self::Where,
            _ => return Err(CborError::OutOfBounds),
        })
    }
}

impl ToCbor for Ask<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        match self {
            Self::Poll(poll) => {
                e.array(4).u64(1);
                poll.facts.to_cbor(e);
                e.u64(poll.hold_secs.into()).array(poll.outcomes.len());
                for outcome in &poll.outcomes {
                    e.array(3).u64(outcome.order).u64(outcome.code as u64);
                    e.bytes(outcome.signature);
                }
            }
            Self::Succeed(transaction) => {
                e.array(2).u64(2).bytes(transaction);
            }
            Self::Key => {
                e.array(1).u64(3);
            }
            Self::Prove(subject) => {
                e.array(3).u64(4);
                match subject {
                    Subject::Record(handle) => e.u64(1).bytes(handle),
                    Subject::Release(digest) => e.u64(2).bytes(digest),
                };
            }
            Self::Report(part) => {
                e.array(5).u64(5).bytes(part.nonce);
                e.u64(part.total.into()).u64(part.offset.into());
                e.bytes(part.bytes);
            }
            Self::Fresh(nonce) => {
                e.array(2).u64(6).bytes(nonce);
            }
            Self::Where => {
                e.array(1).u64(7);
            }
        }
    }
}

impl FromCbor<'_> for Facts {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, CborError> {
        d.array(4)?;
        let digest = |d: &mut Decoder<'_>| d.array_of().map(Digest::new);
        Ok(Self {
            inventory: d.optional(digest)?,
            release: d.optional(digest)?,
            counter: d.u64()?,
            freshness: match d.u8()? {
                0 => Freshness::Unknown,
                1 => Freshness::Shown,
                2 => Freshness::Stale,
                _ => return Err(CborError::OutOfBounds),
            },
        })
    }
}

impl ToCbor for Facts {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(4);
        for digest in [self.inventory, self.release] {
            e.optional(digest, |e, digest| {
                e.bytes(digest);
            });
        }
        e.u64(self.counter).u64(self.freshness as u64);
    }
}

fn hold(d: &mut Decoder<'_>) -> Result<u16, CborError> {
    let hold = d.u16()?;
    if hold > HOLD_SECS_MAX {
        return Err(CborError::OutOfBounds);
    }
    Ok(hold)
}

fn outcomes(d: &mut Decoder<'_>) -> Result<ArrayVec<Outcome, OUTCOMES_MAX>, CborError> {
    (0..d.list(0..=OUTCOMES_MAX)?)
        .map(|_| {
            d.array(3)?;
            Ok(Outcome {
                order: d.u64()?,
                code: match d.u8()? {
                    1 => OutcomeCode::Done,
                    2 => OutcomeCode::Stale,
                    3 => OutcomeCode::Unproven,
                    4 => OutcomeCode::Failed,
                    5 => OutcomeCode::Unsupported,
                    _ => return Err(CborError::OutOfBounds),
                },
                signature: Signature::new(d.array_of()?),
            })
        })
        .collect()
}

fn report<'b>(d: &mut Decoder<'b>) -> Result<ReportPart<'b>, CborError> {
    let part = ReportPart {
        nonce: d.array_of()?,
        total: d.u32()?,
        offset: d.u32()?,
        bytes: d.bytes(0..=PART_LEN_MAX)?,
    };
    let len = u32::try_from(part.bytes.len()).map_err(|_| CborError::OutOfBounds)?;
    match part.offset.checked_add(len) {
        Some(end) if end <= part.total => Ok(part),
        _ => Err(CborError::OutOfBounds),
    }
}
