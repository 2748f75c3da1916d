//! The machines of the validators of one set: a list of node keys and addresses, as the genesis document and appointments name
//! them (spec/ledger.md).

use crate::address::{ADDRESS_LEN_MAX, is_address};
use crate::cbor::{Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use crate::genesis::GenesisError;
use crate::id::NodesHash;
use crate::set::{EpochSet, VALIDATORS_MAX};
use crate::suite::VerificationKey;
use crate::wire::Sink;

/// Longest list in bytes: sixteen nodes, each with its key, an address of 261 bytes and what CBOR says of their lengths.
pub const NODES_LEN_MAX: usize = 1 + VALIDATORS_MAX * (1 + 2 + 32 + 3 + ADDRESS_LEN_MAX);

/// The machine of a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// Its Ed25519 node key, with which it proves to its peers who it is. It outlives the vote keys.
    pub key: &'a [u8; 32],
    /// Where its peers reach it, `host:port`; empty when that is said elsewhere, or a lone validator needs none.
    pub address: &'a str,
}

/// A list of nodes, borrowed from its bytes: `[1..16 * [node key 32, address]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nodes<'a> {
    count: usize,
    /// The elements, without the head of the list.
    items: &'a [u8],
    encoded: &'a [u8],
}

impl<'a> Nodes<'a> {
    /// Decodes exactly one list.
    ///
    /// # Errors
    /// The rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, GenesisError> {
        decode_canonical(bytes)
    }

    /// The list's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.encoded
    }

    /// What appointments name.
    #[must_use]
    pub fn hash(&self) -> NodesHash {
        NodesHash::of(self.encoded)
    }

    /// The nodes, in the order of the set's validators.
    pub fn iter(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let mut decoder = Decoder::new(self.items);
        // `from_cbor` has read them all, so each is there.
        (0..self.count).map_while(move |_| node(&mut decoder).ok())
    }

    /// The nodes' keys, encoded. A key that is no point is left out: [`check`](Self::check) refuses it.
    pub(crate) fn keys(&self) -> impl Iterator<Item = [u8; VerificationKey::LEN]> + use<'a> {
        self.iter()
            .filter_map(|node| Some(VerificationKey::ed25519(node.key).ok()?.encode()))
    }

    /// The list whose hash was signed, and as [`check`](Self::check) has it.
    ///
    /// # Errors
    /// [`GenesisError::Nodes`], and as [`check`](Self::check).
    pub fn check_named(&self, signed: &NodesHash, set: &EpochSet<'_>) -> Result<(), GenesisError> {
        if self.hash() != *signed {
            return Err(GenesisError::Nodes);
        }
        self.check(set)
    }

    /// A node for each validator of the set, each with a key of its own that is for nothing else in it.
    ///
    /// # Errors
    /// [`GenesisError::Nodes`], [`GenesisError::NodeKey`], [`GenesisError::NodeKeyRepeated`]
    pub fn check(&self, set: &EpochSet<'_>) -> Result<(), GenesisError> {
        if self.count != set.validator_count() {
            return Err(GenesisError::Nodes);
        }
        if self.keys().count() != self.count {
            return Err(GenesisError::NodeKey);
        }
        for (index, key) in self.keys().enumerate() {
            if self.keys().take(index).any(|other| other == key) || set.has_key(&key) {
                return Err(GenesisError::NodeKeyRepeated);
            }
        }
        Ok(())
    }
}

fn node<'a>(d: &mut Decoder<'a>) -> Result<Node<'a>, GenesisError> {
    d.array(2)?;
    let key = d.bytes(32..=32)?.as_array().ok_or(GenesisError::NodeKey)?;
    let address = d.text(0..=ADDRESS_LEN_MAX)?;
    if !address.is_empty() && !is_address(address) {
        return Err(GenesisError::Address);
    }
    Ok(Node { key, address })
}

impl<'a> FromCbor<'a> for Nodes<'a> {
    type Error = GenesisError;

    fn from_cbor(d: &mut Decoder<'a>) -> Result<Self, GenesisError> {
        let start = d.position();
        let count = d.list(1..=VALIDATORS_MAX)?;
        let items = d.position();
        for _ in 0..count {
            node(d)?;
        }
        Ok(Self {
            count,
            items: d.since(items),
            encoded: d.since(start),
        })
    }
}

impl ToCbor for Nodes<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        put(e, self.count, self.iter());
    }
}

fn put<'n, S: Sink>(e: &mut Encoder<S>, count: usize, nodes: impl Iterator<Item = Node<'n>>) {
    e.array(count);
    for node in nodes {
        e.array(2).bytes(node.key).text(node.address);
    }
}

#[cfg(feature = "alloc")]
pub use owned::{NodeParts, nodes_of};

#[cfg(feature = "alloc")]
mod owned {
    use alloc::vec::Vec;

    use super::{Encoder, EpochSet, GenesisError, Node, Nodes, put};

    /// A validator's machine, to be put into a list.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NodeParts<'a> {
        /// The vote key of the validator that runs on it.
        pub vote_key: [u8; 32],
        /// Its node key.
        pub key: [u8; 32],
        /// Its address, `host:port`, or empty.
        pub address: &'a str,
    }

    /// The list of a set's nodes, given in any order. Checked but for the keys.
    ///
    /// # Errors
    /// [`GenesisError::Nodes`] when they are not those of the set's validators; [`GenesisError::Address`].
    pub fn nodes_of(set: &EpochSet<'_>, nodes: &[NodeParts<'_>]) -> Result<Vec<u8>, GenesisError> {
        let mut nodes: Vec<_> = nodes.iter().collect();
        nodes.sort_by_key(|node| node.vote_key);
        if !nodes
            .iter()
            .map(|node| &node.vote_key)
            .eq(set.validators().map(|validator| validator.vote_key))
        {
            return Err(GenesisError::Nodes);
        }
        let mut out = Vec::new();
        let items = nodes.iter().map(|node| Node {
            key: &node.key,
            address: node.address,
        });
        put(&mut Encoder::new(&mut out), nodes.len(), items);
        Nodes::decode(&out)?;
        Ok(out)
    }
}
