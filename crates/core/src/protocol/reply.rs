//! What a server says in a session (spec/device-protocol.md, "Messages").

use core::fmt;

use arrayvec::ArrayVec;

use super::{CHECKPOINT_LEN_MAX, Steps, URL_LEN_MAX, URL_LEN_MIN, is_address, proof, wait};
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::freshness::{BRANCH_LEN_MAX, BRANCH_LEN_MIN, RECEIPT_LEN_MAX};
use crate::id::{Digest, Handle, KusabiId};
use crate::keystore::Seed;
use crate::receipt::Receipt;
use crate::wire::Sink;

/// Most orders in one reply, and most that a device owes an answer to in one session.
pub const ORDERS_MAX: usize = 4;
/// Most of them that are installed: they take long, and nothing else is to wait for them all.
pub const INSTALLS_MAX: usize = 2;
/// Shortest and longest time to the next poll, in seconds.
pub const NEXT_POLL_SECS: core::ops::RangeInclusive<u32> = 10..=86_400;

/// A reply: `[steps, body]`.
#[derive(Clone, Debug)]
pub struct Reply<'a> {
    /// What moves the device's anchor, before anything else in the reply is looked at.
    pub steps: Steps<'a>,
    /// The answer.
    pub answer: Answer<'a>,
}

/// A server's answer.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator for a box, and one of them is held"
)]
pub enum Answer<'a> {
    /// To a poll.
    Orders {
        /// Time to the next poll, in seconds.
        next_poll_secs: u32,
        /// What is to be done.
        orders: ArrayVec<Order, ORDERS_MAX>,
        /// The newest checkpoint, if it is above the device's floor.
        checkpoint: Option<&'a [u8]>,
        /// The server's receipt for the poll's outcomes; there exactly when there were some.
        receipt: Option<Receipt>,
    },
    /// What was asked to be proven, or the successor's record.
    Proof(&'a [u8]),
    /// Not final yet, no freshness receipt is to be had, or more steps are to come: ask again after the wait.
    Pending {
        /// Seconds.
        wait_secs: u16,
    },
    /// A device key that the server made and has wiped.
    Key {
        /// Its kusabi-ID.
        id: KusabiId,
        /// Its private half.
        seed: Seed,
    },
    /// A report was received up to here.
    Received {
        /// Bytes.
        offset: u32,
        /// The server's receipt for the report; there exactly when it has come whole.
        receipt: Option<Receipt>,
    },
    /// To a nonce.
    Fresh {
        /// The validators' receipt (spec/freshness.md).
        receipt: &'a [u8],
        /// The branch that leads from the nonce to what the receipt is for.
        branch: &'a [u8],
        /// A proof of the server's record, as new as the receipt.
        proof: &'a [u8],
    },
    /// The key's record has another owner: nothing is served but proofs, and the device asks for that of its own record.
    Moved {
        /// An address where the new owner's server may be. A hint, to be tried beside the others.
        hint: Option<&'a str>,
    },
    /// Something is in the way.
    Problem {
        /// What.
        problem: SealedProblem,
        /// When to come back, in seconds.
        wait_secs: u16,
    },
}

/// What a server says within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum SealedProblem {
    /// The tripwire's value says that there are two of this device.
    Fork = 16,
    /// The device's row changed since the handshake.
    StaleLink = 17,
    /// A key of this purpose may not ask for this.
    NotAllowed = 18,
    /// The ledger refuses the transaction.
    Rejected = 19,
    /// The ledger or the database does not answer.
    Unavailable = 20,
    /// A part of a report does not follow on the last one.
    ReportOrder = 21,
}

impl SealedProblem {
    /// The problem of this number.
    #[must_use]
    pub const fn from_u8(code: u8) -> Option<Self> {
        Some(match code {
            16 => Self::Fork,
            17 => Self::StaleLink,
            18 => Self::NotAllowed,
            19 => Self::Rejected,
            20 => Self::Unavailable,
            21 => Self::ReportOrder,
            _ => return None,
        })
    }
}

impl fmt::Display for SealedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fork => {
                "the server has seen two devices with this key; its owner has to name the right one"
            }
            Self::StaleLink => "the device has spoken in a later session; this one has ended",
            Self::NotAllowed => "a key of this purpose may not ask for this",
            Self::Rejected => "the ledger refuses the transaction",
            Self::Unavailable => "the server cannot reach its ledger or database",
            Self::ReportOrder => "a part of the report does not follow on the one before",
        })
    }
}

/// Something that a device is to do. A repeated order has the same ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its ID, unique for the device.
    pub id: u64,
    /// What.
    pub task: Task,
}

impl Order {
    /// An order to install a release: *repair* also over itself.
    #[must_use]
    pub const fn install(id: u64, release: Digest, repair: bool) -> Self {
        let task = if repair {
            Task::Repair(release)
        } else {
            Task::Update(release)
        };
        Self { id, task }
    }
}

/// What an order asks for. None of them is believed: each has its own proof, or does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Install a release, unless it runs already.
    Update(Digest),
    /// Send a signed inventory over this nonce.
    ReportInventory([u8; 32]),
    /// Replace the device's key.
    Rotate,
    /// Use this `ps` from now on.
    AdoptServer(Handle),
    /// Install a release, even if it runs already.
    Repair(Digest),
}

/// What a device owes an answer to in a session: the server gives no more than fits, so the device has room for each order, and
/// for what becomes of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    all: usize,
    installs: usize,
    rotates: usize,
}

impl Window {
    /// Takes an order in, if it fits.
    pub const fn takes(&mut self, task: &Task) -> bool {
        let install = matches!(task, Task::Update(_) | Task::Repair(_));
        let rotate = matches!(task, Task::Rotate);
        let fits = self.all < ORDERS_MAX
            && !(install && self.installs == INSTALLS_MAX)
            && !(rotate && self.rotates == 1);
        if fits {
            self.all += 1;
            self.installs += install as usize;
            self.rotates += rotate as usize;
        }
        fits
    }
}

impl<'b> FromCbor<'b> for Reply<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        d.array(2)?;
        Ok(Self {
            steps: Steps::from_cbor(d)?,
            answer: Answer::from_cbor(d)?,
        })
    }
}

impl ToCbor for Reply<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2);
        self.steps.to_cbor(e);
        self.answer.to_cbor(e);
    }
}

impl<'b> FromCbor<'b> for Answer<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        let elements = d.list(1..=5)?;
        Ok(match (d.u8()?, elements) {
            (1, 5) => {
                let next_poll_secs = d.u32()?;
                if !NEXT_POLL_SECS.contains(&next_poll_secs) {
                    return Err(CborError::OutOfBounds);
                }
                Self::Orders {
                    next_poll_secs,
                    orders: (0..d.list(0..=ORDERS_MAX)?)
                        .map(|_| Order::from_cbor(d))
                        .collect::<Result<_, _>>()?,
                    checkpoint: d.optional(|d| d.bytes(1..=CHECKPOINT_LEN_MAX))?,
                    receipt: d.optional(Receipt::from_cbor)?,
                }
            }
            (2, 2) => Self::Proof(proof(d)?),
            (3, 2) => Self::Pending {
                wait_secs: wait(d)?,
            },
            (4, 3) => Self::Key {
                id: KusabiId::new(d.array_of()?),
                seed: Seed::new(d.array_of()?),
            },
            (5, 3) => Self::Received {
                offset: d.u32()?,
                receipt: d.optional(Receipt::from_cbor)?,
            },
            (6, 3) => Self::Problem {
                problem: SealedProblem::from_u8(d.u8()?).ok_or(CborError::OutOfBounds)?,
                wait_secs: wait(d)?,
            },
            (7, 4) => Self::Fresh {
                receipt: d.bytes(1..=RECEIPT_LEN_MAX)?,
                branch: d.bytes(BRANCH_LEN_MIN..=BRANCH_LEN_MAX)?,
                proof: proof(d)?,
            },
            (8, 2) => Self::Moved {
                hint: d.optional(|d| {
                    let url = d.text(URL_LEN_MIN..=URL_LEN_MAX)?;
                    is_address(url).then_some(url).ok_or(CborError::OutOfBounds)
                })?,
            },
            _ => return Err(CborError::OutOfBounds),
        })
    }
}

impl ToCbor for Answer<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        match self {
            Self::Orders {
                next_poll_secs,
                orders,
                checkpoint,
                receipt,
            } => {
                e.array(5).u64(1).u64((*next_poll_secs).into());
                e.array(orders.len());
                for order in orders {
                    order.to_cbor(e);
                }
                e.optional(*checkpoint, |e, checkpoint| {
                    e.bytes(checkpoint);
                });
                e.optional(*receipt, |e, receipt| receipt.to_cbor(e));
            }
            Self::Proof(proof) => {
                e.array(2).u64(2).bytes(proof);
            }
            Self::Pending { wait_secs } => {
                e.array(2).u64(3).u64((*wait_secs).into());
            }
            Self::Key { id, seed } => {
                e.array(3).u64(4).bytes(id.expose()).bytes(seed.expose());
            }
            Self::Received { offset, receipt } => {
                e.array(3).u64(5).u64((*offset).into());
                e.optional(*receipt, |e, receipt| receipt.to_cbor(e));
            }
            Self::Problem { problem, wait_secs } => {
                e.array(3).u64(6).u64(*problem as u64);
                e.u64((*wait_secs).into());
            }
            Self::Fresh {
                receipt,
                branch,
                proof,
            } => {
                e.array(4).u64(7).bytes(receipt);
                e.bytes(branch).bytes(proof);
            }
            Self::Moved { hint } => {
                e.array(2).u64(8).optional(*hint, |e, hint| {
                    e.text(hint);
                });
            }
        }
    }
}

impl FromCbor<'_> for Order {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, CborError> {
        let elements = d.list(2..=3)?;
        let id = d.u64()?;
        let task = match (d.u8()?, elements) {
            (1, 3) => Task::Update(Digest::new(d.array_of()?)),
            (2, 3) => Task::ReportInventory(d.array_of()?),
            (3, 2) => Task::Rotate,
            (4, 3) => Task::AdoptServer(Handle::new(d.array_of()?)),
            (5, 3) => Task::Repair(Digest::new(d.array_of()?)),
            _ => return Err(CborError::OutOfBounds),
        };
        Ok(Self { id, task })
    }
}

impl ToCbor for Order {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        let elements = if self.task == Task::Rotate { 2 } else { 3 };
        e.array(elements).u64(self.id);
        match &self.task {
            Task::Update(release) => e.u64(1).bytes(release),
            Task::ReportInventory(nonce) => e.u64(2).bytes(nonce),
            Task::Rotate => e.u64(3),
            Task::AdoptServer(server) => e.u64(4).bytes(server),
            Task::Repair(release) => e.u64(5).bytes(release),
        };
    }
}
