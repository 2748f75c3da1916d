//! The record: a key under a handle, and for which heights it is valid.

use super::{Kind, RowBytes, RowError};
use crate::id::{Binding, ChainId, Digest, Handle, Height, KusabiId, OrgId};
use crate::suite::{BindingContext, KeyError, PublicKeys, Purpose, Suite, UncheckedKeys};
use crate::wire::{Reader, Sink, fixed};

/// Whether a key may be used. It moves forward only: from active to ended, and from spent or superseded to revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// In force.
    Active = 1,
    /// A factory key whose device key is active.
    Spent = 2,
    /// Replaced by another key of the same holder.
    Superseded = 3,
    /// Taken out of force.
    Revoked = 4,
}

impl TryFrom<u8> for Status {
    type Error = RowError;

    fn try_from(number: u8) -> Result<Self, RowError> {
        Ok(match number {
            1 => Self::Active,
            2 => Self::Spent,
            3 => Self::Superseded,
            4 => Self::Revoked,
            _ => return Err(RowError::Value),
        })
    }
}

/// Why a key was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Reason {
    /// None given.
    #[default]
    None = 0,
    /// Its private half may be known to others.
    Compromised = 1,
    /// The device is lost.
    Lost = 2,
    /// Out of service.
    Retired = 3,
    /// Taken back by the officers.
    Withdrawn = 4,
}

impl TryFrom<u8> for Reason {
    type Error = RowError;

    fn try_from(number: u8) -> Result<Self, RowError> {
        Ok(match number {
            0 => Self::None,
            1 => Self::Compromised,
            2 => Self::Lost,
            3 => Self::Retired,
            4 => Self::Withdrawn,
            _ => return Err(RowError::Value),
        })
    }
}

/// What a record says about one height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validity {
    /// The key was in force.
    Valid,
    /// It was not registered yet.
    NotYet {
        /// Height from which it counts.
        registered: Height,
    },
    /// It had ended.
    Ended {
        /// First height at which it did not count any more.
        at: Height,
        /// How it ended.
        status: Status,
    },
    /// It stood as active, but was found later to have been in other hands by then.
    Compromised {
        /// First height at which it does not count.
        since: Height,
    },
}

impl Validity {
    /// Whether the key was in force.
    pub const fn is_valid(self) -> bool {
        matches!(self, Self::Valid)
    }
}

/// By whose word a record came onto the ledger. No transfer changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An organisation's keys put it there: its first owner. Whoever sees an entry can copy it, binding and all, so that this need
    /// not be the organisation that the key was made for.
    Registered(OrgId),
    /// It took the place of this key: both keys signed that, in their owner's name.
    Follows(Handle),
}

/// Heights for which a key that followed on another is not superseded.
pub const REST_HEIGHTS: u64 = 64;

/// A key under a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    purpose: Purpose,
    keys: PublicKeys,
    owner: OrgId,
    status: Status,
    reason: Reason,
    version: u32,
    registered: Height,
    ended: Height,
    compromised: Height,
    origin: Origin,
    binding: Binding,
    metadata: Digest,
    moves: u8,
}

impl Record {
    /// An active record, registered at `height` (above 0). A zero `metadata` is none.
    pub const fn register(
        purpose: Purpose,
        keys: PublicKeys,
        owner: OrgId,
        height: Height,
        binding: Binding,
        metadata: Digest,
    ) -> Self {
        Self {
            purpose,
            keys,
            owner,
            status: Status::Active,
            reason: Reason::None,
            version: 1,
            registered: height,
            ended: Height::ZERO,
            compromised: Height::ZERO,
            origin: Origin::Registered(owner),
            binding,
            metadata,
            moves: 0,
        }
    }

    /// The same record with the key that it follows on.
    #[must_use]
    pub const fn after(self, predecessor: Handle) -> Self {
        Self {
            origin: Origin::Follows(predecessor),
            ..self
        }
    }

    /// The factory key, spent at `height`; `None` unless it is an active factory key.
    #[must_use]
    pub fn spend(self, height: Height) -> Option<Self> {
        if self.purpose != Purpose::Pre {
            return None;
        }
        self.end(Status::Spent, height)
    }

    /// The key of a device, in the hands of another organisation from now on; `None` unless it is active and a factory or
    /// device key. It stays bound to the owner that it was made for, until the device replaces it.
    #[must_use]
    pub fn move_to(self, owner: OrgId) -> Option<Self> {
        let of_device = matches!(self.purpose, Purpose::Pre | Purpose::Act);
        if self.status != Status::Active || !of_device {
            return None;
        }
        Some(Self {
            owner,
            version: self.version.checked_add(1)?,
            moves: self.moves.checked_add(1)?,
            ..self
        })
    }

    /// The height from which a key that followed on another can be followed on itself; none for a first key, which can be
    /// at once. So a stolen key cannot fill its organisation's quota by superseding itself step by step.
    pub fn rests_until(&self) -> Option<Height> {
        let until = self.registered.get().saturating_add(REST_HEIGHTS);
        self.predecessor()
            .map(|_| Height::new(until).unwrap_or(Height::MAX))
    }

    /// The key, superseded at `height`; `None` unless it is active and a device or application key.
    #[must_use]
    pub fn supersede(self, height: Height) -> Option<Self> {
        if !self.purpose.is_superseded() {
            return None;
        }
        self.end(Status::Superseded, height)
    }

    /// The key, revoked at `height`. A key that has ended, revoked or not, can be revoked again, but only to say since when
    /// it was compromised, where nothing or a later height was said: it keeps the height at which it ended. `None` when
    /// neither is possible.
    #[must_use]
    pub fn revoke(
        self,
        height: Height,
        reason: Reason,
        compromised: Option<Height>,
    ) -> Option<Self> {
        if compromised.is_some_and(|since| since == Height::ZERO || since > height) {
            return None;
        }
        let ended = match self.status {
            Status::Active => self.end(Status::Revoked, height)?,
            _ => {
                let since = compromised?;
                if self.compromised_since().is_some_and(|said| said <= since) {
                    return None;
                }
                Self {
                    status: Status::Revoked,
                    version: self.version.checked_add(1)?,
                    ..self
                }
            }
        };
        Some(Self {
            reason,
            compromised: compromised.unwrap_or(Height::ZERO),
            ..ended
        })
    }

    fn end(self, status: Status, height: Height) -> Option<Self> {
        if self.status != Status::Active || height < self.registered {
            return None;
        }
        Some(Self {
            status,
            version: self.version.checked_add(1)?,
            ended: height,
            ..self
        })
    }

    /// What the record says about `height`. Only as good as what proves the record: a later one may say more.
    pub fn valid_at(&self, height: Height) -> Validity {
        if height < self.registered {
            return Validity::NotYet {
                registered: self.registered,
            };
        }
        if let Some(since) = self.compromised_since()
            && height >= since
        {
            return Validity::Compromised { since };
        }
        if self.status != Status::Active && height >= self.ended {
            return Validity::Ended {
                at: self.ended,
                status: self.status,
            };
        }
        Validity::Valid
    }

    /// What the key is for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The public keys.
    pub const fn keys(&self) -> &PublicKeys {
        &self.keys
    }

    /// The organisation that it belongs to.
    pub const fn owner(&self) -> OrgId {
        self.owner
    }

    /// Its status.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether it is in force.
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    /// Why it was revoked.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Grows with each change; transactions that change the record name it.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Height at which it was registered.
    pub const fn registered(&self) -> Height {
        self.registered
    }

    /// Height from which it does not count any more.
    pub fn ended(&self) -> Option<Height> {
        (self.status != Status::Active).then_some(self.ended)
    }

    /// Height from which it was in other hands, as far as is known.
    pub fn compromised_since(&self) -> Option<Height> {
        (self.compromised != Height::ZERO).then_some(self.compromised)
    }

    /// The key that it follows on.
    pub const fn predecessor(&self) -> Option<Handle> {
        match self.origin {
            Origin::Registered(_) => None,
            Origin::Follows(predecessor) => Some(predecessor),
        }
    }

    /// By whose word it came onto the ledger.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether it was put on the ledger for this organisation: by it, or by a key's holder in the place of that key, which the key
    /// itself has signed. The binding alone does not say so: it stands in clear in every entry and record, and whoever copies an
    /// entry into its own name copies the binding with it.
    pub fn was_made_for(&self, owner: &OrgId, id: &KusabiId, chain: &ChainId) -> bool {
        let by = match self.origin {
            Origin::Registered(first) => first == *owner,
            Origin::Follows(_) => true,
        };
        by && self.is_bound_to(owner, id, chain)
    }

    /// Whether it is tied to a kusabi-ID: then it was made by somebody who knew the ID, for this chain. Records of the genesis
    /// transaction were bound before there was a chain (spec/identity.md).
    pub fn is_bound(&self, id: &KusabiId, chain: &ChainId) -> bool {
        self.is_bound_to(&self.owner, id, chain)
    }

    fn is_bound_to(&self, owner: &OrgId, id: &KusabiId, chain: &ChainId) -> bool {
        let chain = if self.registered == Height::FIRST {
            &ChainId::ZERO
        } else {
            chain
        };
        let context = BindingContext {
            chain,
            owner,
            purpose: self.purpose,
        };
        self.keys.is_bound(id, &context, &self.binding)
    }

    /// How often it has come to another owner. The binding of a key that has moved is that of its first owner.
    pub const fn moves(&self) -> u8 {
        self.moves
    }

    /// What ties it to its kusabi-ID.
    pub const fn binding(&self) -> Binding {
        self.binding
    }

    /// Commitment to private metadata.
    pub fn metadata(&self) -> Option<Digest> {
        (!self.metadata.is_zero()).then_some(self.metadata)
    }

    /// Decodes a row.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        Self::read(bytes, UncheckedKeys::check)
    }

    /// Decodes a row of one's own state: no row stands there whose points were not checked before it was written, and
    /// looking at them again would be nearly all that reading a row costs. The caller answers for where it was stored.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode_own(bytes: &RowBytes) -> Result<Self, RowError> {
        Self::read(bytes, |keys| Ok(PublicKeys::believed(keys)))
    }

    fn read(
        bytes: &RowBytes,
        keys_of: impl FnOnce(UncheckedKeys) -> Result<PublicKeys, KeyError>,
    ) -> Result<Self, RowError> {
        let mut r = Reader::new(bytes);
        super::begin(&mut r, Kind::Record)?;
        let purpose = Purpose::try_from(r.u8()?).map_err(|_| RowError::Value)?;
        let suite = Suite::try_from(r.u8()?).map_err(|_| RowError::Value)?;
        let status = Status::try_from(r.u8()?)?;
        let reason = Reason::try_from(r.u8()?)?;
        let version = r.u32()?;
        let registered = super::height(&mut r)?;
        let ended = super::height(&mut r)?;
        let compromised = super::height(&mut r)?;
        let owner = OrgId::new(r.array()?);
        let keys: [u8; PublicKeys::LEN] = r.array()?;
        let before: [u8; Handle::LEN] = r.array()?;
        let binding = Binding::new(r.array()?);
        let metadata = Digest::new(r.array()?);
        let moves = r.u8()?;
        let first = r.flag().map_err(|_| RowError::Value)?;
        let origin = read_origin(&before, first, owner, moves)?;
        super::end(r)?;
        let keys = UncheckedKeys::decode(suite, &keys)
            .and_then(keys_of)
            .map_err(|_| RowError::Key)?;
        if !purpose.has_record() {
            return Err(RowError::Value);
        }
        let record = Self {
            purpose,
            keys,
            owner,
            status,
            reason,
            version,
            registered,
            ended,
            compromised,
            origin,
            binding,
            metadata,
            moves,
        };
        if record.agrees() {
            Ok(record)
        } else {
            Err(RowError::Contradiction)
        }
    }

    fn agrees(&self) -> bool {
        let never_ended = self.ended == Height::ZERO;
        // Each move is a version of its own.
        let version = self.version.saturating_sub(self.moves.into());
        let status = match self.status {
            Status::Active => never_ended && version == 1,
            Status::Spent => self.purpose == Purpose::Pre && version == 2,
            Status::Superseded => self.purpose.is_superseded() && version == 2,
            // Each further version says since when it was compromised.
            Status::Revoked => version == 2 || (version > 2 && self.compromised != Height::ZERO),
        };
        let moves = self.moves == 0 || matches!(self.purpose, Purpose::Pre | Purpose::Act);
        status
            && moves
            && self.registered != Height::ZERO
            && (never_ended == (self.status == Status::Active))
            && (never_ended || self.ended >= self.registered)
            && (self.status == Status::Revoked
                || (self.reason == Reason::None && self.compromised == Height::ZERO))
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        fixed(|w| {
            super::start(w, Kind::Record);
            w.u8(self.purpose.into());
            w.u8(self.keys.suite().into());
            w.u8(self.status as u8);
            w.u8(self.reason as u8);
            w.u32(self.version);
            w.u48(self.registered.get());
            w.u48(self.ended.get());
            w.u48(self.compromised.get());
            w.put(self.owner.as_bytes());
            w.put(self.keys.as_bytes());
            // Until it moves, the first owner is the owner.
            match &self.origin {
                Origin::Registered(first) if self.moves > 0 => {
                    w.put(first.as_bytes());
                    w.zeros(Handle::LEN - OrgId::LEN);
                }
                Origin::Registered(_) => w.zeros(Handle::LEN),
                Origin::Follows(predecessor) => w.put(predecessor.as_bytes()),
            }
            w.put(self.binding.as_bytes());
            w.put(self.metadata.as_bytes());
            w.u8(self.moves);
            w.flag(self.moves > 0 && matches!(self.origin, Origin::Registered(_)));
        })
    }
}

/// Reads whom or what a record comes from: its predecessor, or the first owner of one that has none and has moved.
fn read_origin(
    before: &[u8; Handle::LEN],
    first: bool,
    owner: OrgId,
    moves: u8,
) -> Result<Origin, RowError> {
    if first {
        let mut r = Reader::new(before);
        let first = OrgId::new(r.array()?);
        super::end(r)?;
        return if moves > 0 {
            Ok(Origin::Registered(first))
        } else {
            Err(RowError::Contradiction)
        };
    }
    let predecessor = Handle::new(*before);
    if !predecessor.is_zero() {
        Ok(Origin::Follows(predecessor))
    } else if moves == 0 {
        Ok(Origin::Registered(owner))
    } else {
        Err(RowError::Contradiction)
    }
}
