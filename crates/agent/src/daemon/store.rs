//! What the daemon keeps in its key store: keys, the machine's state, what the provisioning file said, and the order that is
//! under way. All of it changes together or not at all.
//!
//! | name | value |
//! |---|---|
//! | `kept` | the machine's state (`Kept`) |
//! | `key-a`, `key-b` | the slots' keys |
//! | `profile` | `[1, key origin, serial, [addresses]]` |
//! | `provisioned` | digest of the provisioning file that was taken in |
//! | `hedge` | the secret of the random numbers |
//! | `starts` | how often the agent was started, u64 |
//! | `order` | the update that was ordered last: `[1, id, digest, repair, installing, outcome / null]` |
//! | `reported` | digest of the inventory that was reported last, and of the release that ran then, if one was installed |
//! | `hint` | the address that a server named last for a new owner's |
//! | `token`, `label` | an enrolment's, until it is registered |

use kusabi_core::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use kusabi_core::device::{
    Kept, KeyOrigin, KeyRing, SERIAL_LEN_MAX, SERVERS_MAX, Slot, URL_LEN_MAX,
};
use kusabi_core::id::{Digest, KusabiId};
use kusabi_core::keystore::{Seed, SoftKey};
use kusabi_core::protocol::reply::Order;
use kusabi_core::protocol::request::OutcomeCode;
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::wire::Sink;
use zeroize::Zeroizing;

use super::random::Random;
use crate::config::Config;
use crate::disk::Disk;
use crate::keystore::{Change, DeviceKey, FileKeyStore, FileKeyStoreError};

const KEPT: &str = "kept";
const KEYS: [&str; 2] = ["key-a", "key-b"];
const PROFILE: &str = "profile";
const PROVISIONED: &str = "provisioned";
const HEDGE: &str = "hedge";
const STARTS: &str = "starts";
const ORDER: &str = "order";
const REPORTED: &str = "reported";
const HINT: &str = "hint";
const TOKEN: &str = "token";
const LABEL: &str = "label";

/// Why what is stored is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The key store refuses.
    #[error("{0}")]
    File(#[from] FileKeyStoreError),
    /// A stored value has no meaning.
    #[error(
        "the key store's value \"{0}\" is damaged; bring the file back from a backup or provision the device again"
    )]
    Value(&'static str),
}

/// What the provisioning file said besides keys and beliefs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) key_origin: KeyOrigin,
    pub(crate) serial: String,
    /// In the order of the state's servers.
    pub(crate) addresses: Vec<String>,
}

/// Which inventory a device holds, and under which release: the same files may be right under one and wrong under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) inventory: Digest,
    /// `None`: the factory image.
    pub(crate) release: Option<Digest>,
}

/// The update that was ordered last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpdateOrder {
    /// The order's ID.
    pub(crate) id: u64,
    /// Which release.
    pub(crate) digest: Digest,
    /// Also over itself.
    pub(crate) repair: bool,
    /// It came as far as being installed.
    pub(crate) installing: bool,
    /// How it ended.
    pub(crate) outcome: Option<OutcomeCode>,
}

impl UpdateOrder {
    /// As the server gave it.
    pub(crate) const fn order(&self) -> Order {
        Order::install(self.id, self.digest, self.repair)
    }
}

/// The store, with the keys of the slots at hand.
pub(crate) struct Store<D> {
    file: FileKeyStore<D>,
    slots: [Option<(KusabiId, SoftKey)>; 2],
}

impl<D> KeyRing for Store<D> {
    type Key = SoftKey;

    fn key(&self, slot: Slot) -> Option<(&KusabiId, &SoftKey)> {
        let (id, key) = self.slots.get(slot as usize)?.as_ref()?;
        Some((id, key))
    }
}

impl<D: Disk> Store<D> {
    pub(crate) fn open(disk: D, config: &Config) -> Result<Self, StoreError> {
        let file = FileKeyStore::open(disk, &config.key_file())?;
        let [a, b] = KEYS;
        let slots = [at_hand(file.key(a)?)?, at_hand(file.key(b)?)?];
        Ok(Self { file, slots })
    }

    /// The machine's state; `None` before the device was provisioned.
    pub(crate) fn kept(&self) -> Result<Option<Kept>, StoreError> {
        let kept = self.file.value(KEPT).map(Kept::decode);
        kept.transpose().map_err(|_| StoreError::Value(KEPT))
    }

    pub(crate) fn profile(&self) -> Result<Profile, StoreError> {
        let bytes = self.file.value(PROFILE).unwrap_or_default();
        decode_canonical(bytes).map_err(|_| StoreError::Value(PROFILE))
    }

    /// Digest of the provisioning file that was taken in.
    pub(crate) fn provisioned(&self) -> Option<&[u8]> {
        self.file.value(PROVISIONED)
    }

    /// The state of a device that was provisioned or is to be enrolled, with its key in slot A.
    pub(crate) fn found(
        &mut self,
        kept: &Kept,
        key: &DeviceKey,
        profile: &Profile,
        file: &[u8],
        enrolment: Option<(&[u8], &str)>,
    ) -> Result<(), StoreError> {
        let kept = encode_kept(kept)?;
        let encoded = key.encode();
        let profile = profile.to_cbor_vec();
        let digest = Digest::of(file);
        let hedge = Random::of_the_system();
        let mut changes = vec![
            Change::Put(KEPT, &kept),
            Change::Put(KEYS[0], &encoded),
            Change::Remove(KEYS[1]),
            Change::Put(PROFILE, &profile),
            Change::Put(PROVISIONED, digest.as_bytes()),
            Change::Put(HEDGE, hedge.as_ref()),
        ];
        if let Some((token, label)) = enrolment {
            changes.push(Change::Put(TOKEN, token));
            changes.push(Change::Put(LABEL, label.as_bytes()));
        }
        self.file.commit(&changes)?;
        self.slots = [at_hand(self.file.key(KEYS[0])?)?, None];
        Ok(())
    }

    /// The random numbers of this start.
    pub(crate) fn random(&mut self) -> Result<Random, StoreError> {
        let hedge: Option<&[u8; 32]> = self
            .file
            .value(HEDGE)
            .and_then(|bytes| bytes.try_into().ok());
        let secret = Zeroizing::new(*hedge.ok_or(StoreError::Value(HEDGE))?);
        let starts = match self.file.value(STARTS) {
            None => 0,
            Some(bytes) => {
                let bytes = bytes.try_into().map_err(|_| StoreError::Value(STARTS))?;
                u64::from_be_bytes(bytes)
            }
        };
        let start = starts.wrapping_add(1);
        self.file
            .commit(&[Change::Put(STARTS, &start.to_be_bytes())])?;
        Ok(Random::new(secret, start))
    }

    pub(crate) fn keep(&mut self, kept: &Kept) -> Result<(), StoreError> {
        let bytes = encode_kept(kept)?;
        Ok(self.file.commit(&[Change::Put(KEPT, &bytes)])?)
    }

    /// Stores a device key in a slot, over what lies there.
    pub(crate) fn put_key(
        &mut self,
        slot: Slot,
        suite: Suite,
        id: KusabiId,
        seed: Seed,
    ) -> Result<(), StoreError> {
        let key = DeviceKey::new(Purpose::Act, suite, id, seed)?;
        let name = name_of(slot);
        self.file.commit(&[Change::Put(name, &key.encode())])?;
        self.put_at_hand(slot, at_hand(Some(key))?);
        Ok(())
    }

    /// Wipes a slot. An empty one costs no write.
    pub(crate) fn wipe_key(&mut self, slot: Slot) -> Result<(), StoreError> {
        let name = name_of(slot);
        if self.file.value(name).is_some() {
            self.file.commit(&[Change::Remove(name)])?;
        }
        self.put_at_hand(slot, None);
        Ok(())
    }

    fn put_at_hand(&mut self, slot: Slot, key: Option<(KusabiId, SoftKey)>) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = key;
        }
    }

    pub(crate) fn order(&self) -> Result<Option<UpdateOrder>, StoreError> {
        let order = self.file.value(ORDER).map(decode_canonical);
        order
            .transpose()
            .map_err(|_: CborError| StoreError::Value(ORDER))
    }

    pub(crate) fn put_order(&mut self, order: &UpdateOrder) -> Result<(), StoreError> {
        let bytes = order.to_cbor_vec();
        Ok(self.file.commit(&[Change::Put(ORDER, &bytes)])?)
    }

    /// What was reported last.
    pub(crate) fn reported(&self) -> Option<Held> {
        let (inventory, release) = self.file.value(REPORTED)?.split_first_chunk()?;
        let release = match release {
            [] => None,
            release => Some(Digest::new(release.try_into().ok()?)),
        };
        Some(Held {
            inventory: Digest::new(*inventory),
            release,
        })
    }

    pub(crate) fn put_reported(&mut self, held: &Held) -> Result<(), StoreError> {
        let mut bytes = held.inventory.as_bytes().to_vec();
        bytes.extend(held.release.iter().flat_map(|release| release.to_bytes()));
        Ok(self.file.commit(&[Change::Put(REPORTED, &bytes)])?)
    }

    /// Whatever was reported holds no longer.
    pub(crate) fn forget_reported(&mut self) -> Result<(), StoreError> {
        match self.file.value(REPORTED) {
            None => Ok(()),
            Some(_) => Ok(self.file.commit(&[Change::Remove(REPORTED)])?),
        }
    }

    /// The address that a server named last for a new owner's.
    pub(crate) fn hint(&self) -> Option<&str> {
        std::str::from_utf8(self.file.value(HINT)?).ok()
    }

    pub(crate) fn put_hint(&mut self, url: &str) -> Result<(), StoreError> {
        Ok(self.file.commit(&[Change::Put(HINT, url.as_bytes())])?)
    }

    /// The order that is under way is nothing to the device any more.
    pub(crate) fn forget_order(&mut self) -> Result<(), StoreError> {
        Ok(self.file.commit(&[Change::Remove(ORDER)])?)
    }

    /// Token and label of an enrolment that is not registered yet.
    pub(crate) fn enrolment(&self) -> Option<(&[u8], &str)> {
        let label = self.file.value(LABEL).unwrap_or_default();
        Some((
            self.file.value(TOKEN)?,
            std::str::from_utf8(label).unwrap_or_default(),
        ))
    }

    /// The enrolment is over: its token is of no more use.
    pub(crate) fn end_enrolment(&mut self) -> Result<(), StoreError> {
        Ok(self
            .file
            .commit(&[Change::Remove(TOKEN), Change::Remove(LABEL)])?)
    }
}

const fn name_of(slot: Slot) -> &'static str {
    match slot {
        Slot::A => KEYS[0],
        Slot::B => KEYS[1],
    }
}

fn at_hand(key: Option<DeviceKey>) -> Result<Option<(KusabiId, SoftKey)>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    Ok(Some((key.id().clone(), key.soft_key()?)))
}

fn encode_kept(kept: &Kept) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; Kept::LEN_MAX];
    let len = kept
        .encode(&mut bytes)
        .map_err(|_| StoreError::Value(KEPT))?;
    bytes.truncate(len);
    Ok(bytes)
}

impl<'b> FromCbor<'b> for Profile {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        d.array(4)?;
        if d.u64()? != 1 {
            return Err(CborError::OutOfBounds);
        }
        Ok(Self {
            key_origin: match d.u8()? {
                0 => KeyOrigin::Device,
                1 => KeyOrigin::Server,
                _ => return Err(CborError::OutOfBounds),
            },
            serial: d.text(0..=SERIAL_LEN_MAX)?.to_owned(),
            addresses: (0..d.list(1..=SERVERS_MAX)?)
                .map(|_| Ok(d.text(1..=URL_LEN_MAX)?.to_owned()))
                .collect::<Result<_, CborError>>()?,
        })
    }
}

impl ToCbor for Profile {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        let origin = match self.key_origin {
            KeyOrigin::Device => 0,
            KeyOrigin::Server => 1,
        };
        e.array(4).u64(1).u64(origin).text(&self.serial);
        e.array(self.addresses.len());
        for address in &self.addresses {
            e.text(address);
        }
    }
}

impl<'b> FromCbor<'b> for UpdateOrder {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        fn flag(d: &mut Decoder<'_>) -> Result<bool, CborError> {
            match d.u8()? {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(CborError::OutOfBounds),
            }
        }
        d.array(6)?;
        if d.u64()? != 1 {
            return Err(CborError::OutOfBounds);
        }
        Ok(Self {
            id: d.u64()?,
            digest: Digest::new(d.array_of()?),
            repair: flag(d)?,
            installing: flag(d)?,
            outcome: d.optional(|d| {
                Ok::<_, CborError>(match d.u8()? {
                    1 => OutcomeCode::Done,
                    2 => OutcomeCode::Stale,
                    3 => OutcomeCode::Unproven,
                    4 => OutcomeCode::Failed,
                    5 => OutcomeCode::Unsupported,
                    _ => return Err(CborError::OutOfBounds),
                })
            })?,
        })
    }
}

impl ToCbor for UpdateOrder {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(6).u64(1).u64(self.id).bytes(self.digest);
        e.u64(self.repair.into()).u64(self.installing.into());
        e.optional(self.outcome, |e, code| {
            e.u64(code as u64);
        });
    }
}
