//! What a device keeps across restarts (spec/device-protocol.md, "Keys and their succession", "Clone tripwire").
//!
//! No secret is in it: private keys and kusabi-IDs lie in slots of their own, behind [`KeyRing`].

use core::fmt;

use arrayvec::ArrayVec;

use super::trust::Trust;
use crate::anchor::Anchor;
use crate::id::{Handle, KusabiId, OrgId};
use crate::keystore::KeyStore;
use crate::protocol::tripwire::{Link, Value};
use crate::set::EPOCH_SET_LEN_MAX;
use crate::suite::{PublicKeys, Purpose, Suite};
use crate::wire::{Reader, Sink, WireError, Writer};

/// Most server addresses that a device is given.
pub const SERVERS_MAX: usize = 4;
/// Most that it has: those, and one that a server named for its new owner's.
pub const ADDRESSES_MAX: usize = SERVERS_MAX + 1;

const VERSION: u8 = 2;
/// Before devices followed to other owners: without the fields that say so.
const VERSION_WITHOUT_OWNERS: u8 = 1;
/// Longest trust as it is stored, in bytes.
pub(super) const TRUST_LEN_MAX: usize = Anchor::LEN + 2 + EPOCH_SET_LEN_MAX;
/// A server as it is stored, in bytes.
pub(super) const SERVER_LEN: usize = 32 + 1 + PublicKeys::LEN;
const IDENTITY_LEN: usize = 32 + 1 + 1;

/// Where a key lies. There are two, so that a key that follows another never takes its place before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Slot {
    /// The first.
    A = 0,
    /// The second.
    B = 1,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The keys that lie in the slots.
pub trait KeyRing {
    /// A private key.
    type Key: KeyStore + ?Sized;

    /// The key in a slot with its kusabi-ID; `None` when the slot is empty.
    fn key(&self, slot: Slot) -> Option<(&KusabiId, &Self::Key)>;
}

/// A key of the device, by its handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The handle.
    pub handle: Handle,
    /// Pre or act.
    pub purpose: Purpose,
    /// Where its private half lies.
    pub slot: Slot,
}

/// A server key that the ledger proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Handle of its record.
    pub handle: Handle,
    /// Its public keys.
    pub keys: PublicKeys,
}

impl Server {
    /// Writes it: `handle 32 ‖ suite u8 ‖ keys 66`.
    pub(super) fn put(&self, w: &mut impl Sink) {
        w.put(self.handle.as_bytes());
        w.u8(self.keys.suite().into());
        w.put(self.keys.as_bytes());
    }

    /// Whether a handshake can be made with its keys: foreign ones only sign.
    pub(super) fn can_agree(&self) -> bool {
        self.keys.suite() != Suite::Foreign
    }

    /// Reads what [`put`](Self::put) wrote.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, KeptError> {
        let handle = Handle::new(r.array()?);
        let suite = Suite::try_from(r.u8()?).map_err(|_| KeptError::Value)?;
        let keys = PublicKeys::decode(suite, &r.array()?).map_err(|_| KeptError::Value)?;
        Ok(Self { handle, keys })
    }
}

/// What a device keeps.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it believes.
    pub(super) trust: Trust,
    /// Whose it is.
    pub(super) org: OrgId,
    /// The server key of each address.
    pub(super) servers: ArrayVec<Server, ADDRESSES_MAX>,
    /// The key that counts.
    pub(super) current: Identity,
    /// The key that is to follow.
    pub(super) next: Option<Identity>,
    /// The tripwire's confirmed value.
    pub(super) value: Value,
    /// Tag of the value that follows, once it may have been sent.
    pub(super) pending: Option<[u8; 16]>,
    /// Whether the current key has a record.
    pub(super) registered: bool,
    /// For whom the current key was made: its record is bound to that organisation. Another one than `org` when the device has
    /// come to another owner and has not replaced its key yet.
    pub(super) bound: OrgId,
    /// How often the current key's record has come to another owner.
    pub(super) moves: u8,
    /// Addresses (bit i) of which no server key of the present owner is known: what serves there has to be asked for.
    pub(super) strange: u8,
}

/// Why stored bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeptError {
    /// They end early or late, or a flag is neither 0 nor 1.
    Wire(WireError),
    /// Another version.
    Version,
    /// A value that has no meaning.
    Value,
    /// What it believes does not hold together.
    Trust,
    /// No server, or more than a device has places for.
    Servers,
}

impl fmt::Display for KeptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wire(error) => return write!(f, "the bytes are no device state: {error}"),
            Self::Version => "the device state is of another version; use a newer program",
            Self::Value => "the device state holds a value that has no meaning; it is damaged",
            Self::Trust => {
                "the device state's anchor and validator set do not belong together; it is damaged"
            }
            Self::Servers => "a device is given one to four servers, and has at most one more",
        })
    }
}

impl core::error::Error for KeptError {}

impl From<WireError> for KeptError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl Kept {
    /// Longest state in bytes.
    pub const LEN_MAX: usize = 1
        + TRUST_LEN_MAX
        + OrgId::LEN
        + 1
        + ADDRESSES_MAX * SERVER_LEN
        + 2 * (1 + IDENTITY_LEN)
        + 8
        + 16
        + 17
        + 1
        + OrgId::LEN
        + 1
        + 1;

    /// The state of a device that was provisioned: its key (a pre, or an act) stands on the ledger.
    ///
    /// # Errors
    /// [`KeptError::Servers`], [`KeptError::Value`] for a key of another purpose.
    pub fn provisioned(
        trust: Trust,
        org: OrgId,
        servers: &[Server],
        handle: Handle,
        purpose: Purpose,
    ) -> Result<Self, KeptError> {
        if !matches!(purpose, Purpose::Pre | Purpose::Act) {
            return Err(KeptError::Value);
        }
        if !(1..=SERVERS_MAX).contains(&servers.len()) || !servers.iter().all(Server::can_agree) {
            return Err(KeptError::Servers);
        }
        Ok(Self {
            trust,
            org,
            servers: servers.try_into().map_err(|_| KeptError::Servers)?,
            current: Identity {
                handle,
                purpose,
                slot: Slot::A,
            },
            next: None,
            value: Value::ZERO,
            pending: None,
            registered: true,
            bound: org,
            moves: 0,
            strange: 0,
        })
    }

    /// The state of a device in the field that is to be enrolled with the key that it made in slot A.
    ///
    /// # Errors
    /// As [`provisioned`](Self::provisioned).
    pub fn enrolling(
        trust: Trust,
        org: OrgId,
        servers: &[Server],
        handle: Handle,
    ) -> Result<Self, KeptError> {
        Ok(Self {
            registered: false,
            ..Self::provisioned(trust, org, servers, handle, Purpose::Act)?
        })
    }

    /// What it believes.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whose it is.
    #[must_use]
    pub const fn org(&self) -> OrgId {
        self.org
    }

    /// The key that counts.
    #[must_use]
    pub const fn current(&self) -> &Identity {
        &self.current
    }

    /// The key that is to follow, if there is one.
    #[must_use]
    pub const fn next(&self) -> Option<&Identity> {
        self.next.as_ref()
    }

    /// The server key of each address.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Whether the current key has a record.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        self.registered
    }

    /// Whether the current key was made for another organisation than the device's owner, so that it is to be replaced.
    #[must_use]
    pub fn is_bound_elsewhere(&self) -> bool {
        self.bound != self.org
    }

    /// Whether the device was given away and knows no server of its owner's at any address.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        (0..self.servers.len()).all(|at| self.is_strange(at))
    }

    /// Makes room for so many addresses, at most [`ADDRESSES_MAX`]: what serves at new ones has to be asked for.
    pub fn reach(&mut self, addresses: usize) {
        let Some(like) = self.servers.last().copied() else {
            return;
        };
        while self.servers.len() < addresses && !self.servers.is_full() {
            self.set_strange(self.servers.len(), true);
            self.servers.push(like);
        }
    }

    /// This server key of the present owner is an address's from now on.
    pub(super) fn serve_at(&mut self, at: usize, server: Server) {
        if let Some(place) = self.servers.get_mut(at) {
            *place = server;
        }
        self.set_strange(at, false);
    }

    /// Whether no server key of the present owner is known at an address.
    pub(super) fn is_strange(&self, at: usize) -> bool {
        self.strange & bit(at) != 0
    }

    fn set_strange(&mut self, at: usize, strange: bool) {
        if strange {
            self.strange |= bit(at);
        } else {
            self.strange &= !bit(at);
        }
    }

    /// The device is another organisation's from now on: none of the servers that it knows is that one's, as far as it knows.
    pub(super) fn come_to(&mut self, owner: OrgId) {
        self.org = owner;
        for at in 0..self.servers.len() {
            self.set_strange(at, true);
        }
    }

    /// The tripwire's link that the next session carries, once it may be sent.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        self.pending.map(|next_tag| Link {
            value: self.value,
            next_tag,
        })
    }

    /// Writes the state; returns its length.
    ///
    /// # Errors
    /// [`WireError::Full`] for a buffer shorter than [`LEN_MAX`](Self::LEN_MAX), perhaps.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let mut w = Writer::new(out);
        w.u8(VERSION);
        self.trust.put(&mut w)?;
        w.put(self.org.as_bytes());
        w.u8(u8::try_from(self.servers.len()).map_err(|_| WireError::OutOfRange)?);
        for server in &self.servers {
            server.put(&mut w);
        }
        identity(&mut w, &self.current);
        w.flag(self.next.is_some());
        if let Some(next) = &self.next {
            identity(&mut w, next);
        }
        w.u64(self.value.seq);
        w.put(&self.value.tag);
        w.flag(self.pending.is_some());
        if let Some(tag) = &self.pending {
            w.put(tag);
        }
        w.flag(self.registered);
        w.put(self.bound.as_bytes());
        w.u8(self.moves);
        w.u8(self.strange);
        w.finish()
    }

    /// Reads a stored state. The caller answers for where it was stored: its bytes are believed.
    ///
    /// # Errors
    /// [`KeptError`]
    pub fn decode(bytes: &[u8]) -> Result<Self, KeptError> {
        let mut r = Reader::new(bytes);
        let version = r.u8()?;
        if !matches!(version, VERSION | VERSION_WITHOUT_OWNERS) {
            return Err(KeptError::Version);
        }
        let trust = Trust::read(&mut r)?.map_err(|_| KeptError::Trust)?;
        let org = OrgId::new(r.array()?);
        let mut servers = ArrayVec::new();
        for _ in 0..r.u8()? {
            servers
                .try_push(Server::read(&mut r)?)
                .map_err(|_| KeptError::Servers)?;
        }
        let current = read_identity(&mut r)?;
        let next = if r.flag()? {
            Some(read_identity(&mut r)?)
        } else {
            None
        };
        let value = Value {
            seq: r.u64()?,
            tag: r.array()?,
        };
        let pending = if r.flag()? { Some(r.array()?) } else { None };
        let registered = r.flag()?;
        let (bound, moves, strange) = if version == VERSION_WITHOUT_OWNERS {
            (org, 0, 0)
        } else {
            (OrgId::new(r.array()?), r.u8()?, r.u8()?)
        };
        r.finish()?;
        if servers.is_empty() {
            return Err(KeptError::Servers);
        }
        if next.is_some_and(|next| next.slot == current.slot) {
            return Err(KeptError::Value);
        }
        Ok(Self {
            trust,
            org,
            servers,
            current,
            next,
            value,
            pending,
            registered,
            bound,
            moves,
            strange,
        })
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("trust", &self.trust)
            .field("current", &self.current)
            .field("next", &self.next)
            .field("org", &self.org)
            .finish_non_exhaustive()
    }
}

/// The bit of an address.
fn bit(at: usize) -> u8 {
    u32::try_from(at)
        .ok()
        .and_then(|at| 1_u8.checked_shl(at))
        .unwrap_or_default()
}

fn identity(w: &mut impl Sink, identity: &Identity) {
    w.put(identity.handle.as_bytes());
    w.u8(identity.purpose.into());
    w.u8(identity.slot as u8);
}

fn read_identity(r: &mut Reader<'_>) -> Result<Identity, KeptError> {
    Ok(Identity {
        handle: Handle::new(r.array()?),
        purpose: match r.u8()? {
            1 => Purpose::Pre,
            2 => Purpose::Act,
            _ => return Err(KeptError::Value),
        },
        slot: slot(r)?,
    })
}

fn slot(r: &mut Reader<'_>) -> Result<Slot, KeptError> {
    match r.u8()? {
        0 => Ok(Slot::A),
        1 => Ok(Slot::B),
        _ => Err(KeptError::Value),
    }
}
