//! Frames: what is readable on the wire (spec/device-protocol.md, "Frames").

use core::fmt;

use super::seal::{Direction, SessionKeys, TAG_LEN};
use super::{ANSWER_LEN_MAX, REQUEST_LEN_MAX, Steps, VERSION, WAIT_SECS_MAX, proof, wait};
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical, encoded_len};
use crate::id::{Epoch, Handle, SessionId};
use crate::suite::Suite;
use crate::wire::{Sink, WireError, Writer};

/// A cookie: proof that its bearer received something at its address a short time ago.
pub type Cookie = [u8; 16];

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum FrameError {
    /// Longer than a frame may be.
    TooLong = 0x1001,
    /// Not the CBOR of a frame, or out of its bounds.
    Cbor = 0x1002,
    /// A version of the protocol that this program does not speak.
    Version = 0x1003,
    /// It does not fit the buffer it was to be written into.
    Full = 0x1004,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the message is longer than the protocol allows",
            Self::Cbor => "the bytes are no message of the device protocol",
            Self::Version => {
                "the message is of another version of the device protocol; update the older end"
            }
            Self::Full => "the message does not fit its buffer",
        })
    }
}

impl core::error::Error for FrameError {}

impl From<CborError> for FrameError {
    fn from(_: CborError) -> Self {
        Self::Cbor
    }
}

impl From<WireError> for FrameError {
    fn from(_: WireError) -> Self {
        Self::Full
    }
}

/// What a server says outside of a session, unauthenticated: a hint, never a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Problem {
    /// The request is not of the protocol's form.
    Malformed = 1,
    /// The request is of another version.
    Version = 2,
    /// Too much to do; come back after the wait.
    Busy = 3,
    /// The session is not known here (any more); handshake anew.
    UnknownSession = 4,
    /// The handshake is not for this server's key.
    Unreadable = 5,
    /// The handshake is refused; why is not said.
    Refused = 6,
    /// The server's ledger is behind.
    Behind = 7,
}

impl Problem {
    /// The problem of this number.
    #[must_use]
    pub const fn from_u8(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Malformed,
            2 => Self::Version,
            3 => Self::Busy,
            4 => Self::UnknownSession,
            5 => Self::Unreadable,
            6 => Self::Refused,
            7 => Self::Behind,
            _ => return None,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the server could not read the request's form",
            Self::Version => "the server speaks another version of the protocol",
            Self::Busy => "the server has too much to do",
            Self::UnknownSession => "the server does not know the session any more",
            Self::Unreadable => "the handshake was not for this server's key",
            Self::Refused => "the server refused the handshake: it does not know this key as an active one of its organisation",
            Self::Behind => "the server's ledger is behind",
        })
    }
}

/// A request as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFrame<'a> {
    /// The first message of a handshake.
    Hello {
        /// Suite of both static keys.
        suite: Suite,
        /// What a `retry` gave.
        cookie: Option<Cookie>,
        /// Noise message 1.
        noise: &'a [u8],
    },
    /// Which server key serves here? Asked when the known one cannot read hellos (any more).
    Seek {
        /// Suite that the device speaks.
        suite: Suite,
        /// The device's epoch: the answer's steps lead on from there.
        epoch: Epoch,
    },
    /// A message of a session.
    Message {
        /// The session.
        session: SessionId,
        /// The message's number, from 1.
        counter: u64,
        /// The sealed request.
        sealed: &'a [u8],
    },
}

/// An answer as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFrame<'a> {
    /// Noise message 2.
    Welcome(&'a [u8]),
    /// A sealed reply.
    Reply(&'a [u8]),
    /// Come back with this cookie.
    Retry(Cookie),
    /// Another server key serves here.
    Redirect {
        /// What moves the device's anchor first.
        steps: Steps<'a>,
        /// Handle of the server's record.
        server: Handle,
        /// Proof of the record, under the anchor after the steps; none if there are more steps to come.
        proof: Option<&'a [u8]>,
    },
    /// Something is in the way.
    Problem {
        /// What.
        problem: Problem,
        /// When to come back, in seconds.
        wait_secs: u16,
    },
}

impl<'a> RequestFrame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// [`FrameError`]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        decode(bytes, REQUEST_LEN_MAX)
    }

    /// Writes a frame; returns its length.
    ///
    /// # Errors
    /// [`FrameError::Full`]
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, FrameError> {
        encode(self, out)
    }
}

impl<'a> AnswerFrame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// [`FrameError`]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        decode(bytes, ANSWER_LEN_MAX)
    }

    /// Writes a frame; returns its length.
    ///
    /// # Errors
    /// [`FrameError::Full`]
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, FrameError> {
        encode(self, out)
    }
}

fn decode<'a, T: FromCbor<'a, Error = FrameError> + ToCbor>(
    bytes: &'a [u8],
    len_max: usize,
) -> Result<T, FrameError> {
    if bytes.len() > len_max {
        return Err(FrameError::TooLong);
    }
    decode_canonical(bytes)
}

fn encode(frame: &impl ToCbor, out: &mut [u8]) -> Result<usize, FrameError> {
    let mut writer = Writer::new(out);
    frame.to_cbor(&mut Encoder::new(&mut writer));
    Ok(writer.finish()?)
}

/// Writes a sealed request with everything around it; returns its length.
///
/// # Errors
/// [`FrameError::Full`], [`FrameError::TooLong`]
pub fn seal_request(
    keys: &SessionKeys,
    session: &SessionId,
    counter: u64,
    body: &impl ToCbor,
    out: &mut [u8],
) -> Result<usize, FrameError> {
    let len = seal(
        keys,
        Direction::Request,
        session,
        counter,
        body,
        out,
        |e, len| {
            e.array(5).u64(VERSION.into()).u64(2);
            e.bytes(session).u64(counter).bytes_head(len);
        },
    )?;
    if len > REQUEST_LEN_MAX {
        return Err(FrameError::TooLong);
    }
    Ok(len)
}

/// Writes a sealed reply with everything around it; returns its length.
///
/// # Errors
/// [`FrameError::Full`], [`FrameError::TooLong`]
pub fn seal_reply(
    keys: &SessionKeys,
    session: &SessionId,
    counter: u64,
    body: &impl ToCbor,
    out: &mut [u8],
) -> Result<usize, FrameError> {
    let len = seal(
        keys,
        Direction::Reply,
        session,
        counter,
        body,
        out,
        |e, len| {
            e.array(3).u64(VERSION.into()).u64(2).bytes_head(len);
        },
    )?;
    if len > ANSWER_LEN_MAX {
        return Err(FrameError::TooLong);
    }
    Ok(len)
}

fn seal(
    keys: &SessionKeys,
    direction: Direction,
    session: &SessionId,
    counter: u64,
    body: &impl ToCbor,
    out: &mut [u8],
    head: impl FnOnce(&mut Encoder<&mut Writer<'_>>, usize),
) -> Result<usize, FrameError> {
    let len = encoded_len(body);
    let mut writer = Writer::new(out);
    head(&mut Encoder::new(&mut writer), len + TAG_LEN);
    body.to_cbor(&mut Encoder::new(&mut writer));
    let end = writer.finish()?;
    let (written, rest) = out.split_at_mut_checked(end).ok_or(FrameError::Full)?;
    let tag = rest.first_chunk_mut().ok_or(FrameError::Full)?;
    let plaintext = written
        .get_mut(end.saturating_sub(len)..)
        .ok_or(FrameError::Full)?;
    *tag = keys.seal(direction, session, counter, plaintext);
    Ok(end + TAG_LEN)
}

impl<'b> FromCbor<'b> for RequestFrame<'b> {
    type Error = FrameError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, FrameError> {
        let elements = d.list(2..=8)?;
        version(d)?;
        match (d.u8()?, elements) {
            (1, 5) => Ok(Self::Hello {
                suite: Suite::try_from(d.u8()?).map_err(|_| FrameError::Cbor)?,
                cookie: d.optional(Decoder::array_of)?,
                noise: d.bytes(1..=REQUEST_LEN_MAX)?,
            }),
            (2, 5) => {
                let session = SessionId::new(d.array_of()?);
                let counter = d.u64()?;
                if counter == 0 {
                    return Err(FrameError::Cbor);
                }
                Ok(Self::Message {
                    session,
                    counter,
                    sealed: d.bytes(TAG_LEN..=REQUEST_LEN_MAX)?,
                })
            }
            (3, 4) => Ok(Self::Seek {
                suite: Suite::try_from(d.u8()?).map_err(|_| FrameError::Cbor)?,
                epoch: Epoch::new(d.u64()?),
            }),
            _ => Err(FrameError::Cbor),
        }
    }
}

impl ToCbor for RequestFrame<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        match self {
            Self::Hello {
                suite,
                cookie,
                noise,
            } => {
                e.array(5).u64(VERSION.into());
                e.u64(1).u64(u8::from(*suite).into());
                e.optional(*cookie, |e, cookie| {
                    e.bytes(cookie);
                });
                e.bytes(noise);
            }
            Self::Message {
                session,
                counter,
                sealed,
            } => {
                e.array(5).u64(VERSION.into());
                e.u64(2).bytes(session).u64(*counter).bytes(sealed);
            }
            Self::Seek { suite, epoch } => {
                e.array(4).u64(VERSION.into());
                e.u64(3).u64(u8::from(*suite).into()).u64(epoch.get());
            }
        }
    }
}

impl<'b> FromCbor<'b> for AnswerFrame<'b> {
    type Error = FrameError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, FrameError> {
        let elements = d.list(2..=8)?;
        version(d)?;
        Ok(match (d.u8()?, elements) {
            (1, 3) => Self::Welcome(d.bytes(1..=ANSWER_LEN_MAX)?),
            (2, 3) => Self::Reply(d.bytes(TAG_LEN..=ANSWER_LEN_MAX)?),
            (3, 3) => Self::Retry(d.array_of()?),
            (4, 5) => Self::Redirect {
                steps: Steps::from_cbor(d)?,
                server: Handle::new(d.array_of()?),
                proof: d.optional(proof)?,
            },
            (5, 4) => Self::Problem {
                problem: Problem::from_u8(d.u8()?).ok_or(FrameError::Cbor)?,
                wait_secs: wait(d)?,
            },
            _ => return Err(FrameError::Cbor),
        })
    }
}

impl ToCbor for AnswerFrame<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        let mut start = |elements, kind| {
            e.array(elements).u64(VERSION.into()).u64(kind);
        };
        match self {
            Self::Welcome(noise) => {
                start(3, 1);
                e.bytes(noise);
            }
            Self::Reply(sealed) => {
                start(3, 2);
                e.bytes(sealed);
            }
            Self::Retry(cookie) => {
                start(3, 3);
                e.bytes(cookie);
            }
            Self::Redirect {
                steps,
                server,
                proof,
            } => {
                start(5, 4);
                steps.to_cbor(e);
                e.bytes(server);
                e.optional(*proof, |e, proof| {
                    e.bytes(proof);
                });
            }
            Self::Problem { problem, wait_secs } => {
                start(4, 5);
                e.u64(*problem as u64);
                e.u64((*wait_secs).min(WAIT_SECS_MAX).into());
            }
        }
    }
}

fn version(d: &mut Decoder<'_>) -> Result<(), FrameError> {
    if d.u64()? == u64::from(VERSION) {
        Ok(())
    } else {
        Err(FrameError::Version)
    }
}
