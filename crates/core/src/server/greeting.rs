//! The server's side of the handshake.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::cbor::{ToCbor, decode_canonical, encoded_len};
use crate::id::{ChainId, Handle, OrgId, SessionId};
use crate::keystore::KeyStore;
use crate::protocol::frame::{AnswerFrame, Cookie, FrameError, Problem};
use crate::protocol::hello::{Enrolment, HELLO_LEN_MAX, Hello, WELCOME_LEN_MAX, Welcome};
use crate::protocol::noise::{NoiseError, OVERHEAD_MAX, Prologue, Responder};
use crate::protocol::seal::{CommonKey, SessionKeys};
use crate::protocol::succession::NewKey;
use crate::protocol::{ANSWER_LEN_MAX, Floor, Steps};
use crate::row::{Record, Status};
use crate::suite::{Purpose, Suite};

/// A server's `ps` key with its handle.
#[derive(Debug)]
pub struct ServerKey<'k, K: ?Sized> {
    /// The chain that it serves.
    pub chain: ChainId,
    /// The record's handle.
    pub handle: Handle,
    /// The private half.
    pub key: &'k K,
}

/// Why a handshake is refused. The device is told no more than [`Problem`]; this is for the server's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum Refusal {
    /// The message is not for this key, or changed on its way.
    Unreadable = 0x1201,
    /// The message was read, but is none.
    Malformed = 0x1202,
    /// The server's key store does not answer.
    KeyStore = 0x1203,
    /// The ledger holds no record under the handle.
    Unknown = 0x1204,
    /// The record's key is not the one that the handshake was made with.
    OtherKey = 0x1205,
    /// The record belongs to another organisation.
    OtherOrganisation = 0x1206,
    /// The record's purpose is neither pre nor act.
    Purpose = 0x1207,
    /// The key was revoked.
    Revoked = 0x1208,
}

impl Refusal {
    /// What the device is told: the same for everything that needs a look at the ledger.
    #[must_use]
    pub const fn problem(self) -> Problem {
        match self {
            Self::Unreadable => Problem::Unreadable,
            Self::Malformed => Problem::Malformed,
            Self::KeyStore => Problem::Busy,
            _ => Problem::Refused,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => {
                "the handshake was made for another server key or ledger, or changed on its way"
            }
            Self::Malformed => "the handshake carries no greeting of the protocol",
            Self::KeyStore => "the server's own key is not available",
            Self::Unknown => "no record stands under the device's handle; register it first",
            Self::OtherKey => "the device does not hold the key that stands under its handle",
            Self::OtherOrganisation => "the device's record belongs to another organisation",
            Self::Purpose => "the key under the handle is no device's key",
            Self::Revoked => "the device's key is revoked",
        })
    }
}

impl core::error::Error for Refusal {}

/// A first message that was made for this server's key. It may be a repeated one: whoever sent it has shown nothing yet.
pub struct Greeting {
    responder: Responder,
    payload: Vec<u8>,
}

impl Greeting {
    /// Reads the first message.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`], [`Refusal::Malformed`], [`Refusal::KeyStore`]
    pub fn read<K: KeyStore + ?Sized>(
        server: &ServerKey<'_, K>,
        suite: Suite,
        cookie: Option<&Cookie>,
        noise: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Refusal> {
        if suite != server.key.public_keys().suite() {
            return Err(Refusal::Unreadable);
        }
        if noise.len() > HELLO_LEN_MAX + OVERHEAD_MAX {
            return Err(Refusal::Malformed);
        }
        let prologue = Prologue::new(&server.chain, suite, &server.handle, cookie);
        let mut payload = vec![0; noise.len()];
        let (responder, len) =
            Responder::read(server.key, prologue.as_bytes(), rng, noise, &mut payload).map_err(
                |error| match error {
                    NoiseError::KeyStore(_) => Refusal::KeyStore,
                    NoiseError::Suite
                    | NoiseError::Length
                    | NoiseError::Unreadable
                    | NoiseError::Key => Refusal::Unreadable,
                },
            )?;
        payload.truncate(len);
        decode_canonical::<Hello<'_>>(&payload).map_err(|_| Refusal::Malformed)?;
        Ok(Self { responder, payload })
    }

    /// What it says.
    ///
    /// # Errors
    /// Never: reading has decoded it.
    pub fn hello(&self) -> Result<Hello<'_>, Refusal> {
        decode_canonical(&self.payload).map_err(|_| Refusal::Malformed)
    }

    /// Holds it against the record of its handle. Whether the key was `here` before, as one of this organisation's, says what the
    /// server keeps of its fleet: a key that has moved is let in where it came from, to learn that, and at its owner's.
    ///
    /// # Errors
    /// A [`Refusal`] for each rule; [`Refusal::Malformed`] for an enrolment.
    pub fn accept(
        self,
        record: Option<&Record>,
        org: &OrgId,
        here: bool,
    ) -> Result<Accepted, Refusal> {
        let Hello::Session { handle, floor } = self.hello()? else {
            return Err(Refusal::Malformed);
        };
        let record = record.ok_or(Refusal::Unknown)?;
        // The key first: who does not hold it learns nothing about the record, not even by the log's counters.
        if record.keys().agreement_key() != Some(*self.responder.peer()) {
            return Err(Refusal::OtherKey);
        }
        // One that was this organisation's a moment ago: its device asks for the proof of what became of it.
        if record.owner() != *org && !(here && record.moves() > 0) {
            return Err(Refusal::OtherOrganisation);
        }
        if !matches!(record.purpose(), Purpose::Pre | Purpose::Act) {
            return Err(Refusal::Purpose);
        }
        // A key that has a successor may still ask for proofs: its device may not know yet. And the tripwire hears it.
        if record.status() == Status::Revoked {
            return Err(Refusal::Revoked);
        }
        Ok(Accepted {
            responder: self.responder,
            handle,
            purpose: record.purpose(),
            floor,
        })
    }

    /// Takes it as an enrolment.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] if it is none, [`Refusal::OtherKey`] if the entry's key is not that of the handshake.
    pub fn enrolment(self) -> Result<EnrolmentAsk, Refusal> {
        let Hello::Enrol {
            token,
            entry,
            label,
            ..
        } = self.hello()?
        else {
            return Err(Refusal::Malformed);
        };
        if entry.keys.agreement_key() != Some(*self.responder.peer()) {
            return Err(Refusal::OtherKey);
        }
        Ok(EnrolmentAsk {
            token: token.to_vec().into(),
            entry,
            label: label.into(),
            responder: self.responder,
        })
    }
}

/// A device that asks to be registered.
pub struct EnrolmentAsk {
    /// What its owner gave it; secret, to be compared by its digest.
    pub token: Zeroizing<Vec<u8>>,
    /// The key to be registered.
    pub entry: NewKey,
    /// What its owner may know it by; from outside, so never to be shown unescaped.
    pub label: alloc::string::String,
    responder: Responder,
}

impl EnrolmentAsk {
    /// Answers it; the frame to be sent.
    ///
    /// # Errors
    /// [`FrameError::Full`] never happens: the frame is small.
    pub fn answer(self, status: Enrolment, wait_secs: u16) -> Result<Vec<u8>, FrameError> {
        let welcome = Welcome::Enrolment { status, wait_secs };
        write(self.responder, &welcome).map(|(frame, _)| frame)
    }
}

/// A greeting whose key stands on the ledger as it should.
pub struct Accepted {
    responder: Responder,
    handle: Handle,
    purpose: Purpose,
    floor: Floor,
}

impl Accepted {
    /// Whose it is.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where the device stands: from there on it needs steps.
    #[must_use]
    pub const fn floor(&self) -> Floor {
        self.floor
    }

    /// Makes the welcome, with the proof of the server's record unless it does not fit; a device in an older epoch cannot use
    /// one and asks for steps. Gives the frame to be sent and the session, which
    /// [`Sessions::open`](super::Sessions::open) takes.
    ///
    /// # Errors
    /// [`FrameError::Full`] never happens: what does not fit is left out.
    pub fn welcome(
        self,
        proof: Option<&[u8]>,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, Opened), FrameError> {
        let mut session = [0; SessionId::LEN];
        rng.fill_bytes(&mut session);
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let (session, common) = (SessionId::new(session), CommonKey::new(key));
        key.zeroize();
        let mut welcome = Welcome::Session {
            session,
            key: common.clone(),
            proof: proof.filter(|proof| !proof.is_empty()),
        };
        if encoded_len(&welcome) > WELCOME_LEN_MAX
            && let Welcome::Session { proof, .. } = &mut welcome
        {
            *proof = None;
        }
        let (frame, transport) = write(self.responder, &welcome)?;
        let opened = Opened {
            session,
            keys: SessionKeys::derive(&transport, &common),
            handshake: transport.hash,
            handle: self.handle,
            purpose: self.purpose,
        };
        Ok((frame, opened))
    }
}

/// What a payload may take of an answer: the rest is keys, tags, heads.
const ROOM: usize = ANSWER_LEN_MAX - 256;

fn write(
    responder: Responder,
    welcome: &Welcome<'_>,
) -> Result<(Vec<u8>, crate::protocol::noise::Transport), FrameError> {
    let mut payload = welcome.to_cbor_vec();
    let mut noise = vec![0; payload.len() + OVERHEAD_MAX];
    let written = responder.write(&payload, &mut noise);
    payload.zeroize();
    let (transport, len) = written.map_err(|_| FrameError::Full)?;
    noise.truncate(len);
    let frame = AnswerFrame::Welcome(&noise).to_cbor_vec();
    Ok((frame, transport))
}

/// A session that a welcome has opened; nothing was heard in it yet.
#[derive(Debug)]
pub struct Opened {
    /// Its name on the wire.
    pub session: SessionId,
    pub(super) keys: SessionKeys,
    pub(super) handshake: [u8; 32],
    /// The record that it stands on.
    pub handle: Handle,
    /// The record's purpose.
    pub purpose: Purpose,
}

/// The answer to a `seek`: the server key that serves here, with its proof unless some of `steps` are left out.
#[must_use]
pub fn redirect<'s>(
    steps: impl ExactSizeIterator<Item = &'s [u8]>,
    server: Handle,
    proof: &[u8],
) -> Vec<u8> {
    let all = steps.len();
    let mut buffer = vec![0; ROOM];
    let room = ROOM.saturating_sub(proof.len());
    let steps = Steps::pack(steps, room, &mut buffer);
    AnswerFrame::Redirect {
        steps,
        server,
        proof: (steps.len() == all).then_some(proof),
    }
    .to_cbor_vec()
}
