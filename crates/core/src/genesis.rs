//! The genesis document (spec/ledger.md, "Genesis document").
//!
//! Its hash is the chain: who knows the hash can check the document, whoever brings it, and then knows the first validator
//! set and the recovery set. Everything is read in place.

use core::fmt;

use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use crate::id::{ChainId, Epoch, OrgName};
use crate::nodes::{Node, Nodes};
use crate::set::{
    EPOCH_SET_LEN_MAX, EpochSet, ORGANISATIONS_MAX, RECOVERY_SET_LEN_MAX, RecoverySet, SetError,
};
use crate::wire::{Sink, U48_END};

/// The most bytes of a genesis document.
pub const GENESIS_LEN_MAX: usize = 16 * 1024;
/// The most bytes of a ledger's name.
pub const NAME_LEN_MAX: usize = 64;

const VERSION: u64 = 1;
const HEARTBEAT_MS_MIN: u64 = 1_000;
const HEARTBEAT_MS_MAX: u64 = 3_600_000;

/// Whether a ledger may have this heartbeat, in milliseconds: 1 s to 1 h.
#[must_use]
pub const fn is_heartbeat(ms: u64) -> bool {
    HEARTBEAT_MS_MIN <= ms && ms <= HEARTBEAT_MS_MAX
}

/// Why bytes are not a genesis document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenesisError {
    /// The CBOR is malformed or not canonical.
    Cbor(CborError),
    /// More than [`GENESIS_LEN_MAX`] bytes.
    Length,
    /// A version other than 1.
    Version,
    /// The heartbeat is outside 1 s to 1 h.
    Heartbeat,
    /// The epoch set is malformed, or a key of it is not valid.
    EpochSet(SetError),
    /// The first epoch is not 0.
    Epoch,
    /// The recovery set is malformed, or a key of it is not valid.
    RecoverySet(SetError),
    /// A recovery key is also a vote key or an officer's.
    RecoveryKey,
    /// A quota of 2^48 or more.
    Quota,
    /// An organisation's name is not one.
    OrganisationName,
    /// The organisations are not those of the epoch set, in its order.
    Organisations,
    /// There is not one node for each validator of the epoch set.
    Nodes,
    /// A node key is not one.
    NodeKey,
    /// A node key stands twice: for two nodes, or as a vote key, an officer's or a recovery key.
    NodeKeyRepeated,
    /// A node's address is none.
    Address,
    /// The document's hash is another chain than the one expected.
    OtherChain,
}

impl fmt::Display for GenesisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cbor(error) => write!(f, "the genesis document is malformed: {error}"),
            Self::Length => f.write_str("a genesis document has at most 16 KiB"),
            Self::Version => f.write_str("the genesis document is of another version"),
            Self::Heartbeat => f.write_str("the genesis document's heartbeat is not 1 s to 1 h"),
            Self::EpochSet(error) => write!(
                f,
                "the genesis document's validator set is refused: {error}"
            ),
            Self::Epoch => f.write_str("the genesis document's validator set is not of epoch 0"),
            Self::RecoverySet(error) => {
                write!(f, "the genesis document's recovery set is refused: {error}")
            }
            Self::RecoveryKey => f.write_str(
                "a recovery key of the genesis document is also a vote key or an officer's",
            ),
            Self::Quota => f.write_str("a quota in the genesis document is not below 2^48"),
            Self::OrganisationName => {
                f.write_str("a name in the genesis document is not an organisation's name")
            }
            Self::Organisations => f.write_str(
                "the genesis document's organisations are not those of its validator set",
            ),
            Self::Nodes => f.write_str(
                "the genesis document has not one node for each validator of its validator set",
            ),
            Self::NodeKey => f.write_str("a node key of the genesis document is not valid"),
            Self::NodeKeyRepeated => f.write_str(
                "a node key stands twice in the genesis document, for two nodes or in two roles",
            ),
            Self::Address => {
                f.write_str("a node's address in the genesis document is not `host:port`")
            }
            Self::OtherChain => f.write_str("the genesis document belongs to another chain"),
        }
    }
}

impl core::error::Error for GenesisError {}

crate::code::codes!(GenesisError {
    Length = 0x2201,
    Version = 0x2202,
    Heartbeat = 0x2203,
    Epoch = 0x2204,
    RecoveryKey = 0x2205,
    Quota = 0x2206,
    OrganisationName = 0x2207,
    Organisations = 0x2208,
    OtherChain = 0x2209,
    Nodes = 0x220a,
    NodeKey = 0x220b,
    NodeKeyRepeated = 0x220c,
    Address = 0x220d,
} in { Cbor, EpochSet, RecoverySet });

impl From<CborError> for GenesisError {
    fn from(error: CborError) -> Self {
        Self::Cbor(error)
    }
}

/// An organisation of the genesis document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founder<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many rows it may have.
    pub quota: u64,
}

/// A decoded and checked genesis document, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genesis<'a> {
    chain: ChainId,
    body: Body<'a>,
    epoch_set: EpochSet<'a>,
    recovery_set: RecoverySet<'a>,
}

impl<'a> Genesis<'a> {
    /// Decodes a document and checks it whole, keys included. It founds the chain of its hash; compare that with the one
    /// expected, or use [`decode_for`](Self::decode_for).
    ///
    /// # Errors
    /// The first rule broken.
    pub fn decode(document: &'a [u8]) -> Result<Self, GenesisError> {
        if document.len() > GENESIS_LEN_MAX {
            return Err(GenesisError::Length);
        }
        let body: Body<'a> = decode_canonical(document)?;
        let epoch_set = EpochSet::decode(body.epoch_set).map_err(GenesisError::EpochSet)?;
        let recovery_set =
            RecoverySet::decode(body.recovery_set).map_err(GenesisError::RecoverySet)?;
        if epoch_set.epoch() != Epoch::ZERO {
            return Err(GenesisError::Epoch);
        }
        epoch_set.check_keys().map_err(GenesisError::EpochSet)?;
        recovery_set
            .check_keys()
            .map_err(GenesisError::RecoverySet)?;
        // Kept apart from the machines that run the ledger, a recovery key must not be one that lies on them.
        if recovery_set
            .signatories()
            .encoded()
            .iter()
            .any(|key| epoch_set.has_key(key))
        {
            return Err(GenesisError::RecoveryKey);
        }
        // The set is strictly ascending by ID, so equality in order makes this list so too.
        let mut founders = body.founders();
        for organisation in epoch_set.organisations() {
            let founder = founders.next().ok_or(GenesisError::Organisations)?;
            let name = OrgName::new(founder.name).map_err(|_| GenesisError::OrganisationName)?;
            if name.id() != organisation.id {
                return Err(GenesisError::Organisations);
            }
        }
        if founders.next().is_some() {
            return Err(GenesisError::Organisations);
        }
        body.nodes.check(&epoch_set)?;
        if body
            .nodes
            .keys()
            .any(|key| recovery_set.signatories().encoded().contains(&key))
        {
            return Err(GenesisError::NodeKeyRepeated);
        }
        Ok(Self {
            chain: ChainId::of(document),
            body,
            epoch_set,
            recovery_set,
        })
    }

    /// Decodes the document of a chain that is known by its ID.
    ///
    /// # Errors
    /// [`GenesisError::OtherChain`] before anything else, then as [`decode`](Self::decode).
    pub fn decode_for(chain: &ChainId, document: &'a [u8]) -> Result<Self, GenesisError> {
        if document.len() > GENESIS_LEN_MAX {
            return Err(GenesisError::Length);
        }
        if ChainId::of(document) != *chain {
            return Err(GenesisError::OtherChain);
        }
        Self::decode(document)
    }

    /// The chain that this document founds.
    #[must_use]
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// The ledger's name, for people.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.body.name
    }

    /// When it was made: milliseconds since 1970.
    #[must_use]
    pub const fn created_ms(&self) -> u64 {
        self.body.created_ms
    }

    /// Time between blocks with no traffic, in milliseconds.
    #[must_use]
    pub const fn heartbeat_ms(&self) -> u64 {
        self.body.heartbeat_ms
    }

    /// The set of epoch 0.
    #[must_use]
    pub const fn epoch_set(&self) -> &EpochSet<'a> {
        &self.epoch_set
    }

    /// The recovery set.
    #[must_use]
    pub const fn recovery_set(&self) -> &RecoverySet<'a> {
        &self.recovery_set
    }

    /// The organisations, in the order of the epoch set.
    pub fn founders(&self) -> impl Iterator<Item = Founder<'a>> + use<'a> {
        self.body.founders()
    }

    /// The nodes of the validators, in the order of the epoch set's validators.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        self.body.nodes.iter()
    }
}

/// The document's fields; the organisations and nodes stay encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Body<'a> {
    name: &'a str,
    created_ms: u64,
    heartbeat_ms: u64,
    epoch_set: &'a [u8],
    recovery_set: &'a [u8],
    founder_count: usize,
    founders: &'a [u8],
    nodes: Nodes<'a>,
}

impl<'a> Body<'a> {
    fn founders(&self) -> impl Iterator<Item = Founder<'a>> + use<'a> {
        let mut decoder = Decoder::new(self.founders);
        // `from_cbor` has read them all, so each is there.
        (0..self.founder_count).map_while(move |_| founder(&mut decoder).ok())
    }
}

fn founder<'a>(d: &mut Decoder<'a>) -> Result<Founder<'a>, GenesisError> {
    d.array(2)?;
    let name = d.text(1..=OrgName::MAX)?;
    let quota = d.u64()?;
    if quota >= U48_END {
        return Err(GenesisError::Quota);
    }
    Ok(Founder { name, quota })
}

impl<'a> FromCbor<'a> for Body<'a> {
    type Error = GenesisError;

    fn from_cbor(d: &mut Decoder<'a>) -> Result<Self, GenesisError> {
        d.array(8)?;
        if d.u64()? != VERSION {
            return Err(GenesisError::Version);
        }
        let name = d.text(1..=NAME_LEN_MAX)?;
        let created_ms = d.u64()?;
        d.array(1)?;
        let heartbeat_ms = d.u64()?;
        if !is_heartbeat(heartbeat_ms) {
            return Err(GenesisError::Heartbeat);
        }
        let epoch_set = d.bytes(0..=EPOCH_SET_LEN_MAX)?;
        let recovery_set = d.bytes(0..=RECOVERY_SET_LEN_MAX)?;
        let founder_count = d.list(1..=ORGANISATIONS_MAX)?;
        let start = d.position();
        for _ in 0..founder_count {
            founder(d)?;
        }
        let founders = d.since(start);
        let nodes = Nodes::from_cbor(d)?;
        Ok(Self {
            name,
            created_ms,
            heartbeat_ms,
            epoch_set,
            recovery_set,
            founder_count,
            founders,
            nodes,
        })
    }
}

impl Body<'_> {
    /// Writes the document with these founders, of which there are as many as it says.
    fn write<'f, S: Sink>(&self, e: &mut Encoder<S>, founders: impl Iterator<Item = Founder<'f>>) {
        e.array(8)
            .u64(VERSION)
            .text(self.name)
            .u64(self.created_ms)
            .array(1)
            .u64(self.heartbeat_ms)
            .bytes(self.epoch_set)
            .bytes(self.recovery_set)
            .array(self.founder_count);
        for founder in founders {
            e.array(2).text(founder.name).u64(founder.quota);
        }
        self.nodes.to_cbor(e);
    }
}

impl ToCbor for Body<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        self.write(e, self.founders());
    }
}

#[cfg(feature = "alloc")]
pub use owned::GenesisParts;

#[cfg(feature = "alloc")]
mod owned {
    use alloc::vec::Vec;

    use super::{Body, Encoder, EpochSet, Founder, Genesis, GenesisError, Nodes, OrgName};
    use crate::nodes::{NodeParts, nodes_of};

    /// What a genesis document is made of.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct GenesisParts<'a> {
        /// The ledger's name, for people: 1 to 64 bytes.
        pub name: &'a str,
        /// When it is made: milliseconds since 1970.
        pub created_ms: u64,
        /// Time between blocks with no traffic, in milliseconds.
        pub heartbeat_ms: u64,
        /// Bytes of the set of epoch 0.
        pub epoch_set: &'a [u8],
        /// Bytes of the recovery set.
        pub recovery_set: &'a [u8],
        /// Name and quota of each organisation, in any order.
        pub organisations: Vec<(OrgName, u64)>,
        /// A node for each validator, in any order.
        pub nodes: Vec<NodeParts<'a>>,
    }

    impl GenesisParts<'_> {
        /// The document, checked.
        ///
        /// # Errors
        /// The rule that the parts break.
        pub fn encode(&self) -> Result<Vec<u8>, GenesisError> {
            let mut organisations: Vec<_> = self.organisations.iter().collect();
            organisations.sort_by_key(|(name, _)| name.id());
            let set = EpochSet::decode(self.epoch_set).map_err(GenesisError::EpochSet)?;
            let nodes = nodes_of(&set, &self.nodes)?;
            let mut document = Vec::new();
            let body = Body {
                name: self.name,
                created_ms: self.created_ms,
                heartbeat_ms: self.heartbeat_ms,
                epoch_set: self.epoch_set,
                recovery_set: self.recovery_set,
                founder_count: organisations.len(),
                founders: &[],
                nodes: Nodes::decode(&nodes)?,
            };
            let founders = organisations.iter().map(|(name, quota)| Founder {
                name: name.as_str(),
                quota: *quota,
            });
            body.write(&mut Encoder::new(&mut document), founders);
            Genesis::decode(&document)?;
            Ok(document)
        }
    }
}
