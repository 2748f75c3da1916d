//! One validator on its consensus engine. The only place that names the engine's crates.
//!
//! - The way of a block: `ingest` verifies transactions; `pace` says when a block is due; `application` proposes and checks
//!   it, on rows that `execute` fetches; `block` is the engine's view of it; `finality` tells the pool when it is durable.
//! - Answers: `service` takes the questions, `proof` writes the formats, `head` finds the header of a state.
//! - Between nodes: `network` the channels, `gossip` transactions that wait.
//! - Assembly: `run` from outside, `start` the parts in their order, `state` the database, `epochs` who certifies what.
//! - Disk: `disk` is the runtime with our storage for reads and votes; `kept` keeps the archive from being pruned; `archive`
//!   reads and writes it while no engine runs.
//! - `audit` replays everything; `simulation` is the world of the tests.

mod application;
mod archive;
mod audit;
pub(crate) mod block;
mod disk;
mod epochs;
mod execute;
mod finality;
mod gossip;
mod head;
mod ingest;
mod kept;
mod network;
mod pace;
mod proof;
mod run;
mod service;
#[cfg(feature = "testing")]
pub mod simulation;
mod start;
mod state;
mod turn;

pub use archive::{ImportError, Imported, Tail, genesis_header};
pub(crate) use archive::{import, read_all};
pub use audit::{Audit, AuditError, audit};
pub use epochs::SetError;
pub use execute::Refusal;
pub(crate) use run::{Ends, Instructions, Outcome, Queue, run_on_disk};
pub use state::Caches;

use commonware_consensus::simplex;
use commonware_cryptography::{ed25519, sha256};
use commonware_runtime::{Clock, Metrics, Spawner, Storage, Strategizer};
use rand_core::CryptoRng;
use std::net::SocketAddr;

/// The engine's digest: a header hash.
pub(crate) type Digest = sha256::Digest;
/// A vote key.
pub(crate) type PublicKey = ed25519::PublicKey;
/// How votes are signed and counted.
pub(crate) type Scheme = simplex::scheme::ed25519::Scheme;

/// Why the engine stopped, or did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The vote key is not an Ed25519 seed.
    #[error("the vote key is not an Ed25519 seed")]
    VoteKey,
    /// A node key is not an Ed25519 key.
    #[error("the node key is not an Ed25519 key")]
    NodeKey,
    /// The vote key and the node key are of different nodes, or the node key is of none.
    #[error(
        "the ledger names the node key {named} for this vote key, and the one in this directory is {found}"
    )]
    OtherNode {
        /// That of the node that votes with the vote key.
        named: String,
        /// The one at hand.
        found: String,
    },
    /// Nodes do not stand where they are looked for.
    #[error("the nodes of epoch {0} are not known")]
    Nodes(u64),
    /// A node's address is none.
    #[error("{said:?} is no address of the node {node} (host:port)")]
    Address {
        /// Its key.
        node: String,
        /// What is said.
        said: String,
    },
    /// Others cannot reach this node.
    #[error("{0}, where other nodes reach this one, cannot be had: {1}")]
    Listen(SocketAddr, String),
    /// There are other nodes, and none can reach this one.
    #[error("this ledger has several nodes, and this one does not listen for the others")]
    NoListener,
    /// A validator set cannot be used.
    #[error("{0}")]
    Set(SetError),
    /// This vote key has voted, and its votes are gone: it could vote a second time, differently.
    #[error("this validator has voted in epoch {0}, but its votes are gone from the disk")]
    VotesLost(u64),
    /// A block that a recovery builds on is not there.
    #[error("the block that epoch {0} builds on is not in this directory")]
    ParentMissing(u64),
    /// The newest epoch can have no first block.
    #[error("{0}")]
    Opening(String),
    /// A store of the engine cannot be opened or used.
    #[error("the engine's store of {what} cannot be used: {why}")]
    Store {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// What every ledger has is not there.
    #[error("the ledger is not whole: it has no {0}")]
    NotWhole(&'static str),
    /// A part of the engine ended by itself. The caller knows more: a disk that failed, or a fault in this program.
    #[error("a part of the engine ended")]
    Ended,
}

impl EngineError {
    /// What a person can do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::VoteKey => {
                "restore the vote key's file, or recover the ledger with a new vote key"
            }
            Self::Set(_) | Self::Opening(_) => {
                "the directory's files were changed or damaged; restore a backup into a new directory"
            }
            Self::NodeKey => "restore the node key's file",
            Self::OtherNode { .. } => {
                "bring back the right node.key, or vote.key: one of them is missing, or another node's"
            }
            Self::Nodes(_) => "use a version of this program that knows where they stand",
            Self::NoListener => "say where it listens for other nodes",
            Self::Listen(..) => "stop what listens there, or say where this node listens instead",
            Self::Address { .. } => "correct it in the node's configuration",
            Self::VotesLost(_) => "recover the ledger with a new vote key",
            Self::ParentMissing(_) => "restore the backup that the recovery was made for",
            Self::Store { .. } => "check the disk and the files' permissions, and start again",
            Self::NotWhole(_) => "restore a backup into a new directory, and please report this",
            Self::Ended => "start again, and please report this",
        }
    }
}

/// What the engine needs of the world: the real one, or a simulated one that a seed decides.
pub(crate) trait Runtime:
    Storage + Clock + Metrics + Spawner + Strategizer + CryptoRng + Send + Sync + 'static
{
}

impl<T> Runtime for T where
    T: Storage + Clock + Metrics + Spawner + Strategizer + CryptoRng + Send + Sync + 'static
{
}
