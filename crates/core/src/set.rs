//! The sets of keys that trust rests on: the validator set of an epoch and the recovery set (spec/proof.md).
//!
//! Decoding borrows the bytes and checks their form: lengths, bounds, orders, and that keys look like keys. That a key is a
//! point of its curve is checked once, when a set is adopted ([`EpochSet::check_keys`]); afterwards the set's hash vouches
//! for it, and a bad key could only fail to verify.

use core::fmt;

use crate::crypto::sha256;
use crate::id::{Epoch, OrgId, RecoveryHash, SetHash};
use crate::suite::VerificationKey;
use crate::wire::{Reader, WireError};

/// The most organisations in a set.
pub const ORGANISATIONS_MAX: usize = 16;
/// The most validators in a set.
pub const VALIDATORS_MAX: usize = 16;
/// The most officers of an organisation, and the most recovery keys.
pub const SIGNATORIES_MAX: usize = 5;
/// The most bytes of an epoch set.
pub const EPOCH_SET_LEN_MAX: usize = 11
    + ORGANISATIONS_MAX * (OrgId::LEN + 2 + SIGNATORIES_MAX * VerificationKey::LEN)
    + VALIDATORS_MAX * VALIDATOR_LEN;
/// The most bytes of a recovery set.
pub const RECOVERY_SET_LEN_MAX: usize = 2 + SIGNATORIES_MAX * VerificationKey::LEN;

const VERSION: u8 = 1;
const VALIDATOR_LEN: usize = 33;

/// Why bytes are not a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetError {
    /// The bytes end early or late.
    Wire(WireError),
    /// A version other than 1.
    Version,
    /// No organisations, or more than 16.
    Organisations,
    /// No validators, or more than 16.
    Validators,
    /// An organisation's officers, or the recovery keys, are none or more than 5.
    Keys,
    /// A threshold that is zero or above the number of keys.
    Threshold,
    /// Organisation IDs are not strictly ascending.
    OrganisationOrder,
    /// Officer or recovery keys are not strictly ascending.
    KeyOrder,
    /// Vote keys are not strictly ascending.
    ValidatorOrder,
    /// A validator's organisation is not in the set.
    UnknownOrganisation,
    /// A key is not one.
    Key,
    /// A key stands twice: for two organisations, or as an officer's and a validator's.
    Repeated,
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wire(error) => return write!(f, "the bytes are no set: {error}"),
            Self::Version => "the set is of another version",
            Self::Organisations => "a set has 1 to 16 organisations",
            Self::Validators => "a set has 1 to 16 validators",
            Self::Keys => "an organisation has 1 to 5 officers, a recovery set 1 to 5 keys",
            Self::Threshold => "a threshold is zero or above the number of keys",
            Self::OrganisationOrder => "the organisations are not in strictly ascending order",
            Self::KeyOrder => "the keys are not in strictly ascending order",
            Self::ValidatorOrder => "the vote keys are not in strictly ascending order",
            Self::UnknownOrganisation => "a validator is of an organisation that the set lacks",
            Self::Key => "a key of the set is not valid",
            Self::Repeated => {
                "a key stands twice in the set, for two organisations or in two roles"
            }
        })
    }
}

impl core::error::Error for SetError {}

crate::code::codes!(SetError {
    Version = 0x0901,
    Organisations = 0x0902,
    Validators = 0x0903,
    Keys = 0x0904,
    Threshold = 0x0905,
    OrganisationOrder = 0x0906,
    KeyOrder = 0x0907,
    ValidatorOrder = 0x0908,
    UnknownOrganisation = 0x0909,
    Key = 0x090a,
    Repeated = 0x090b,
} in { Wire });

impl From<WireError> for SetError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// Some keys and how many of them must sign: `k u8 ‖ c u8 ‖ c × key 34`, keys strictly ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signatories<'a> {
    threshold: u8,
    keys: &'a [[u8; VerificationKey::LEN]],
}

impl<'a> Signatories<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, SetError> {
        let threshold = reader.u8()?;
        let count = usize::from(reader.u8()?);
        if count == 0 || count > SIGNATORIES_MAX {
            return Err(SetError::Keys);
        }
        if threshold == 0 || usize::from(threshold) > count {
            return Err(SetError::Threshold);
        }
        let (keys, _) = reader.bytes(count * VerificationKey::LEN)?.as_chunks();
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(SetError::KeyOrder);
        }
        if !keys.iter().all(looks_like_a_key) {
            return Err(SetError::Key);
        }
        Ok(Self { threshold, keys })
    }

    /// How many must sign.
    #[must_use]
    pub fn threshold(&self) -> usize {
        usize::from(self.threshold)
    }

    /// How many keys there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a decoded list has at least one key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key at an index, if it is there and valid.
    #[must_use]
    pub fn key(&self, index: usize) -> Option<VerificationKey> {
        VerificationKey::decode(self.keys.get(index)?).ok()
    }

    /// The encoded keys, 34 bytes each.
    #[must_use]
    pub const fn encoded(&self) -> &'a [[u8; VerificationKey::LEN]] {
        self.keys
    }

    fn check_keys(&self) -> Result<(), SetError> {
        for key in self.keys {
            VerificationKey::decode(key).map_err(|_| SetError::Key)?;
        }
        Ok(())
    }
}

/// Whether the bytes have a key's form: known algorithm, padding, tag of a compressed point. Costs no curve arithmetic.
fn looks_like_a_key(key: &[u8; VerificationKey::LEN]) -> bool {
    matches!(key, [1, .., 0] | [2, 2 | 3, ..])
}

/// Whether an encoded key is this Ed25519 key.
fn is_ed25519(encoded: &[u8; VerificationKey::LEN], key: &[u8; 32]) -> bool {
    matches!(encoded, [1, bytes @ .., 0] if bytes == key)
}

/// An organisation of an epoch set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Organisation<'a> {
    /// Its ID.
    pub id: OrgId,
    /// Its officers.
    pub officers: Signatories<'a>,
}

impl<'a> Organisation<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, SetError> {
        Ok(Self {
            id: OrgId::new(reader.array()?),
            officers: Signatories::read(reader)?,
        })
    }
}

/// A validator of an epoch set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validator<'a> {
    /// Its Ed25519 vote key.
    pub vote_key: &'a [u8; 32],
    /// Index of its organisation.
    pub organisation: u8,
}

/// The organisations and validators of one epoch, as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSet<'a> {
    bytes: &'a [u8],
    epoch: Epoch,
    organisation_count: u8,
    organisations: &'a [u8],
    validators: &'a [[u8; VALIDATOR_LEN]],
}

impl<'a> EpochSet<'a> {
    /// Decodes a set and checks its form.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, SetError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(SetError::Version);
        }
        let epoch = Epoch::new(reader.u64()?);
        let organisation_count = reader.u8()?;
        let validator_count = usize::from(reader.u8()?);
        if organisation_count == 0 || usize::from(organisation_count) > ORGANISATIONS_MAX {
            return Err(SetError::Organisations);
        }
        if validator_count == 0 || validator_count > VALIDATORS_MAX {
            return Err(SetError::Validators);
        }
        let organisations = reader.rest();
        let mut last = None;
        for _ in 0..organisation_count {
            let organisation = Organisation::read(&mut reader)?;
            if last.is_some_and(|last| organisation.id <= last) {
                return Err(SetError::OrganisationOrder);
            }
            last = Some(organisation.id);
        }
        let (validators, _) = reader.bytes(validator_count * VALIDATOR_LEN)?.as_chunks();
        reader.finish()?;
        let set = Self {
            bytes,
            epoch,
            organisation_count,
            organisations,
            validators,
        };
        if set
            .validators()
            .any(|v| v.organisation >= organisation_count)
        {
            return Err(SetError::UnknownOrganisation);
        }
        if !set
            .validators()
            .is_sorted_by(|a, b| a.vote_key < b.vote_key)
        {
            return Err(SetError::ValidatorOrder);
        }
        Ok(set)
    }

    /// Checks that every vote and officer key is a valid one, and that none stands twice: once, before a set is adopted.
    ///
    /// # Errors
    /// [`SetError::Repeated`], [`SetError::Key`]
    pub fn check_keys(&self) -> Result<(), SetError> {
        for (index, organisation) in self.organisations().enumerate() {
            for key in organisation.officers.encoded() {
                let earlier = self
                    .organisations()
                    .take(index)
                    .any(|other| other.officers.encoded().contains(key));
                let votes = self
                    .validators()
                    .any(|validator| is_ed25519(key, validator.vote_key));
                if earlier || votes {
                    return Err(SetError::Repeated);
                }
            }
        }
        for validator in self.validators() {
            VerificationKey::ed25519(validator.vote_key).map_err(|_| SetError::Key)?;
        }
        for organisation in self.organisations() {
            organisation.officers.check_keys()?;
        }
        Ok(())
    }

    /// Whether a key stands in the set, an officer's or a validator's.
    pub(crate) fn has_key(&self, key: &[u8; VerificationKey::LEN]) -> bool {
        self.organisations()
            .any(|organisation| organisation.officers.encoded().contains(key))
            || self
                .validators()
                .any(|validator| is_ed25519(key, validator.vote_key))
    }

    /// The bytes that were decoded.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The epoch that this set serves.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The hash that anchors and headers name.
    #[must_use]
    pub fn hash(&self) -> SetHash {
        SetHash::new(sha256(&[b"kusabi.set.v1", self.bytes]))
    }

    /// How many organisations there are.
    #[must_use]
    pub fn organisation_count(&self) -> usize {
        usize::from(self.organisation_count)
    }

    /// How many validators there are.
    #[must_use]
    pub const fn validator_count(&self) -> usize {
        self.validators.len()
    }

    /// The organisations, in order.
    pub fn organisations(&self) -> impl Iterator<Item = Organisation<'a>> + use<'a> {
        let mut reader = Reader::new(self.organisations);
        // `decode` has read them all, so each is there.
        (0..self.organisation_count).map_while(move |_| Organisation::read(&mut reader).ok())
    }

    /// The organisation at an index.
    #[must_use]
    pub fn organisation(&self, index: usize) -> Option<Organisation<'a>> {
        self.organisations().nth(index)
    }

    /// The validators, in order.
    pub fn validators(&self) -> impl DoubleEndedIterator<Item = Validator<'a>> + use<'a> {
        self.validators.iter().map(validator)
    }

    /// The validator at an index.
    #[must_use]
    pub fn validator(&self, index: usize) -> Option<Validator<'a>> {
        self.validators.get(index).map(validator)
    }
}

fn validator(entry: &[u8; VALIDATOR_LEN]) -> Validator<'_> {
    const NONE: &[u8; 32] = &[0; 32];
    let [.., organisation] = entry;
    Validator {
        // Always there: the entry is longer.
        vote_key: entry.first_chunk().unwrap_or(NONE),
        organisation: *organisation,
    }
}

/// The keys that may found a new epoch after a loss; fixed by the genesis document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoverySet<'a> {
    bytes: &'a [u8],
    signatories: Signatories<'a>,
}

impl<'a> RecoverySet<'a> {
    /// Decodes a recovery set and checks its form.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, SetError> {
        let mut reader = Reader::new(bytes);
        let set = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(set)
    }

    /// Reads a recovery set from where `reader` stands.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, SetError> {
        let start = reader.rest();
        let signatories = Signatories::read(reader)?;
        let len = start.len() - reader.rest().len();
        Ok(Self {
            bytes: start.get(..len).unwrap_or_default(),
            signatories,
        })
    }

    /// Checks that every key is a valid one.
    ///
    /// # Errors
    /// [`SetError::Key`]
    pub fn check_keys(&self) -> Result<(), SetError> {
        self.signatories.check_keys()
    }

    /// The bytes that were decoded.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The keys and how many must sign.
    #[must_use]
    pub const fn signatories(&self) -> Signatories<'a> {
        self.signatories
    }

    /// The hash that anchors name.
    #[must_use]
    pub fn hash(&self) -> RecoveryHash {
        RecoveryHash::new(sha256(&[b"kusabi.recovery.v1", self.bytes]))
    }
}

#[cfg(feature = "alloc")]
pub use owned::{EpochSetParts, OrganisationParts, recovery_set};

#[cfg(feature = "alloc")]
mod owned {
    use alloc::vec::Vec;

    use super::{EpochSet, RecoverySet, SetError, VERSION};
    use crate::id::{Epoch, OrgId};
    use crate::suite::VerificationKey;
    use crate::wire::Sink;

    /// An organisation to be put into a set.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OrganisationParts {
        /// Its ID.
        pub id: OrgId,
        /// How many officers must sign.
        pub threshold: u8,
        /// Its officers, in any order.
        pub officers: Vec<VerificationKey>,
        /// Vote keys of its validators, in any order.
        pub vote_keys: Vec<[u8; 32]>,
    }

    /// What an epoch set is made of, in any order.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct EpochSetParts {
        /// The epoch that it serves.
        pub epoch: Epoch,
        /// Its organisations and their validators.
        pub organisations: Vec<OrganisationParts>,
    }

    impl EpochSetParts {
        /// The set's bytes, in canonical order, with every key checked.
        ///
        /// # Errors
        /// The rule of the format that the parts break.
        pub fn encode(&self) -> Result<Vec<u8>, SetError> {
            let mut organisations: Vec<&OrganisationParts> = self.organisations.iter().collect();
            organisations.sort_by_key(|organisation| organisation.id);
            let count = u8::try_from(organisations.len()).map_err(|_| SetError::Organisations)?;
            let mut validators: Vec<(&[u8; 32], u8)> = (0u8..)
                .zip(&organisations)
                .flat_map(|(index, organisation)| {
                    organisation.vote_keys.iter().map(move |key| (key, index))
                })
                .collect();
            validators.sort_unstable();

            let mut bytes = Vec::new();
            bytes.u8(VERSION);
            bytes.u64(self.epoch.get());
            bytes.u8(count);
            bytes.u8(u8::try_from(validators.len()).map_err(|_| SetError::Validators)?);
            for organisation in organisations {
                bytes.put(organisation.id.as_bytes());
                put_signatories(&mut bytes, organisation.threshold, &organisation.officers)?;
            }
            for (key, organisation) in validators {
                bytes.put(key);
                bytes.u8(organisation);
            }
            EpochSet::decode(&bytes)?.check_keys()?;
            Ok(bytes)
        }
    }

    /// A recovery set's bytes, in canonical order, with every key checked.
    ///
    /// # Errors
    /// The rule of the format that the parts break.
    pub fn recovery_set(threshold: u8, keys: &[VerificationKey]) -> Result<Vec<u8>, SetError> {
        let mut bytes = Vec::new();
        put_signatories(&mut bytes, threshold, keys)?;
        RecoverySet::decode(&bytes)?.check_keys()?;
        Ok(bytes)
    }

    fn put_signatories(
        bytes: &mut Vec<u8>,
        threshold: u8,
        keys: &[VerificationKey],
    ) -> Result<(), SetError> {
        bytes.u8(threshold);
        bytes.u8(u8::try_from(keys.len()).map_err(|_| SetError::Keys)?);
        let mut keys: Vec<_> = keys.iter().map(VerificationKey::encode).collect();
        keys.sort_unstable();
        for key in keys {
            bytes.put(&key);
        }
        Ok(())
    }
}
