//! What nodes say to each other about freshness (spec/nodes.md, "Channel 8").

use bytes::{BufMut as _, Bytes, BytesMut};
use kusabi_core::{
    freshness::Claim,
    id::Digest,
    suite::Signature,
    wire::{Reader, WireError},
};
use std::fmt;

const ASK: u8 = 0;
const VOUCH: u8 = 1;
const DOUBT: u8 = 2;

/// The most bytes of a message.
pub(in crate::engine) const MESSAGE_MAX: usize = 1 + Claim::LEN;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Asks for a signature.
    Ask(Claim),
    /// Gives one: for the claim whose bytes have this digest.
    Vouch(Digest, Signature),
    /// Says why there is none.
    Doubt(Digest, Doubt),
}

/// Why a validator does not vouch for a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doubt {
    /// It has not reached that height.
    Behind = 1,
    /// It has had a newer one for longer than a moment.
    Old = 2,
    /// At that height it has another one.
    Differs = 3,
    /// Its own newest is no longer new.
    Asleep = 4,
    /// It fetches what it missed.
    CatchingUp = 5,
    /// It is in another epoch.
    Epoch = 6,
    /// It was asked too often.
    Busy = 7,
}

impl Doubt {
    const ALL: [Self; 7] = [
        Self::Behind,
        Self::Old,
        Self::Differs,
        Self::Asleep,
        Self::CatchingUp,
        Self::Epoch,
        Self::Busy,
    ];
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Behind => "has not reached this height",
            Self::Old => "has had a newer header for more than five seconds",
            Self::Differs => "has another header at this height",
            Self::Asleep => "has seen no new block for three heartbeats",
            Self::CatchingUp => "is catching up with the ledger",
            Self::Epoch => "is in another epoch",
            Self::Busy => "was asked too often",
        })
    }
}

/// What names a claim in answers to it.
pub(super) fn name(claim: &Claim) -> Digest {
    Digest::of(&claim.encode())
}

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(MESSAGE_MAX);
        match self {
            Self::Ask(claim) => {
                out.put_u8(ASK);
                out.put_slice(&claim.encode());
            }
            Self::Vouch(claim, signature) => {
                out.put_u8(VOUCH);
                out.put_slice(claim.as_bytes());
                out.put_slice(signature.as_bytes());
            }
            Self::Doubt(claim, doubt) => {
                out.put_u8(DOUBT);
                out.put_slice(claim.as_bytes());
                out.put_u8(*doubt as u8);
            }
        }
        out.freeze()
    }

    /// `None`: no honest node says this.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == ASK {
            return Claim::decode(rest).ok().map(Self::Ask);
        }
        let answer = || {
            let mut reader = Reader::new(rest);
            let claim = Digest::new(reader.array()?);
            let message = match *kind {
                VOUCH => Self::Vouch(claim, Signature::new(reader.array()?)),
                DOUBT => {
                    let code = reader.u8()?;
                    let doubt = Doubt::ALL.into_iter().find(|doubt| *doubt as u8 == code);
                    Self::Doubt(claim, doubt.ok_or(WireError::OutOfRange)?)
                }
                _ => return Err(WireError::OutOfRange),
            };
            reader.finish()?;
            Ok::<_, WireError>(message)
        };
        answer().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kusabi_core::id::{Epoch, HeaderHash, Height, NonceRoot, SetHash};

    #[test]
    fn messages_read_back_and_nothing_else_is_read() {
        let claim = Claim {
            epoch: Epoch::new(3),
            set_hash: SetHash::new([1; 32]),
            height: Height::new(41).unwrap(),
            header_hash: HeaderHash::new([2; 32]),
            nonces: NonceRoot::new([3; 32]),
            count: 7,
        };
        let doubts = Doubt::ALL.map(|doubt| Message::Doubt(name(&claim), doubt));
        let vouch = Message::Vouch(name(&claim), Signature::new([4; 64]));
        for message in [Message::Ask(claim), vouch].into_iter().chain(doubts) {
            let bytes = message.encode();
            assert!(bytes.len() <= MESSAGE_MAX);
            assert_eq!(Message::decode(&bytes), Some(message));
            for len in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..len]), None);
            }
            assert_eq!(Message::decode(&[&bytes[..], &[0]].concat()), None);
        }
        let doubt = Message::Doubt(name(&claim), Doubt::Busy).encode();
        for code in [0, 8, 255] {
            let mut other = doubt.to_vec();
            *other.last_mut().unwrap() = code;
            assert_eq!(Message::decode(&other), None);
        }
        assert_eq!(Message::decode(&[3; 33]), None);
    }
}
