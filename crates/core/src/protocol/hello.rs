//! The payloads of the two handshake messages (spec/device-protocol.md, "Handshake").

use super::seal::CommonKey;
use super::succession::NewKey;
use super::{Floor, proof, wait};
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::id::{Handle, SessionId};
use crate::wire::Sink;

/// Longest payload of the first message: an enrolment with the longest token and label.
pub const HELLO_LEN_MAX: usize = 384;
/// Longest payload of the second message: a device reads it where it made its hello.
pub const WELCOME_LEN_MAX: usize = super::REQUEST_LEN_MAX - 256;
/// Shortest and longest token of an enrolment, in bytes.
pub const TOKEN_LEN: core::ops::RangeInclusive<usize> = 16..=64;
/// Longest label of an enrolment, in bytes.
pub const LABEL_LEN_MAX: usize = 64;

/// Payload of the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello<'a> {
    /// A device with a record wants a session.
    Session {
        /// The record's handle.
        handle: Handle,
        /// Where it stands.
        floor: Floor,
    },
    /// A device without a record wants one.
    Enrol {
        /// Where it stands.
        floor: Floor,
        /// What its owner gave it, so that it is looked at.
        token: &'a [u8],
        /// The key to be registered.
        entry: NewKey,
        /// What its owner may know it by: a serial, a name. From outside, so never to be shown unescaped.
        label: &'a str,
    },
}

/// Whether an enrolment has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Enrolment {
    /// Not yet.
    Waiting = 1,
    /// The key stands on the ledger.
    Registered = 2,
    /// It will not.
    Refused = 3,
}

/// Payload of the second message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Welcome<'a> {
    /// A session.
    Session {
        /// Its name on the wire.
        session: SessionId,
        /// The common key.
        key: CommonKey,
        /// Proof of the server's record; none if the device first needs steps, or if it does not fit.
        proof: Option<&'a [u8]>,
    },
    /// The answer to an enrolment.
    Enrolment {
        /// How it stands.
        status: Enrolment,
        /// When to ask again, in seconds.
        wait_secs: u16,
    },
}

impl<'b> FromCbor<'b> for Hello<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        let elements = d.list(3..=5)?;
        Ok(match (d.u8()?, elements) {
            (0, 3) => Self::Session {
                handle: Handle::new(d.array_of()?),
                floor: Floor::from_cbor(d)?,
            },
            (1, 5) => Self::Enrol {
                floor: Floor::from_cbor(d)?,
                token: d.bytes(TOKEN_LEN)?,
                entry: NewKey::from_cbor(d)?,
                label: d.text(0..=LABEL_LEN_MAX)?,
            },
            _ => return Err(CborError::OutOfBounds),
        })
    }
}

impl ToCbor for Hello<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        match self {
            Self::Session { handle, floor } => {
                e.array(3).u64(0).bytes(handle);
                floor.to_cbor(e);
            }
            Self::Enrol {
                floor,
                token,
                entry,
                label,
            } => {
                e.array(5).u64(1);
                floor.to_cbor(e);
                e.bytes(token);
                entry.to_cbor(e);
                e.text(label);
            }
        }
    }
}

impl<'b> FromCbor<'b> for Welcome<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        let elements = d.list(3..=5)?;
        Ok(match (d.u8()?, elements) {
            (0, 4) => Self::Session {
                session: SessionId::new(d.array_of()?),
                key: CommonKey::new(d.array_of()?),
                proof: d.optional(proof)?,
            },
            (1, 3) => Self::Enrolment {
                status: match d.u8()? {
                    1 => Enrolment::Waiting,
                    2 => Enrolment::Registered,
                    3 => Enrolment::Refused,
                    _ => return Err(CborError::OutOfBounds),
                },
                wait_secs: wait(d)?,
            },
            _ => return Err(CborError::OutOfBounds),
        })
    }
}

impl ToCbor for Welcome<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        match self {
            Self::Session {
                session,
                key,
                proof,
            } => {
                e.array(4).u64(0).bytes(session).bytes(key.expose());
                e.optional(*proof, |e, proof| {
                    e.bytes(proof);
                });
            }
            Self::Enrolment { status, wait_secs } => {
                e.array(3).u64(1).u64(*status as u64);
                e.u64((*wait_secs).into());
            }
        }
    }
}
