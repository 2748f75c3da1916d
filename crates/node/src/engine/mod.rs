//! One validator on its consensus engine. The only place that names the engine's crates.
//!
//! - The way of a block: `ingest` verifies transactions; `pace` says when a block is due; `application` proposes and checks
//!   it, on rows that `execute` fetches; `block` is the engine's view of it; `finality` tells the pool when it is durable.
//! - Answers: `service` takes the questions, `proof` writes the formats, `head` finds the header of a state.
//! - Between nodes: `network` the channels, `gossip` transactions that wait, `pulse` who is connected, `turn` how an epoch ended,
//!   `freshness` receipts that what is shown is of now, `repair` certificates that this node has missed, `tally` counts whose votes
//!   the certificates have.
//! - Assembly: `run` from outside, `start` the parts in their order, `state` the database, `epochs` who certifies what; before a vote
//!   `catch_up` has the epochs before brought, and `votes` says whether this node's own votes are all here.
//! - Disk: `disk` is the runtime with our storage for reads, votes and what is small; `kept` keeps the archive from being pruned,
//!   `held` knows which blocks have certificates; `archive` reads and writes it while no engine runs; `leap` takes the engine's
//!   caches over the epochs that a recovery left out.
//! - Without a vote: `follow` takes the blocks that others bring; `shelf` is where blocks are looked up, here as there.
//! - `audit` replays everything, `replay` a block at a time; `simulation` is the world of the tests.

mod application;
mod archive;
mod audit;
pub(crate) mod block;
mod catch_up;
mod disk;
mod epochs;
mod execute;
mod finality;
mod follow;
mod freshness;
mod gossip;
mod head;
mod held;
mod ingest;
mod kept;
mod leap;
mod network;
mod pace;
mod proof;
mod pulse;
mod repair;
mod replay;
mod run;
mod service;
mod shelf;
#[cfg(feature = "testing")]
pub mod simulation;
mod start;
mod state;
mod tally;
mod turn;
mod votes;

pub use archive::{ImportError, Imported, Tail, genesis_header};
pub(crate) use archive::{import, read_all};
pub use audit::{Audit, AuditError, audit};
pub use epochs::SetError;
pub use execute::Refusal;
pub(crate) use follow::{Brought, Instructions as FollowInstructions, follow_on_disk};
pub(crate) use run::{Ends, Instructions, Outcome, Queue, run_on_disk};
pub use state::Caches;

use commonware_consensus::simplex;
use commonware_cryptography::{ed25519, sha256};
use commonware_runtime::{Clock, Metrics, Spawner, Storage, Strategizer};
use rand_core::CryptoRng;
use std::{fmt, io, net::SocketAddr};

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
    Listen(SocketAddr, io::ErrorKind),
    /// There are other nodes, and none can reach this one.
    #[error("this ledger has several nodes, and this one does not listen for the others")]
    NoListener,
    /// A validator set cannot be used.
    #[error("{0}")]
    Set(SetError),
    /// This vote key has voted, and its votes are gone: it could vote a second time, differently.
    #[error("this validator has voted in epoch {0}, but its votes are gone from the disk")]
    VotesLost(u64),
    /// This vote key has voted where this node's disk knows nothing of it: in an earlier life of this validator, or on another machine.
    #[error(
        "this validator's vote key has cast votes in epoch {0} of which this directory knows nothing: it is empty or an old copy, or the \
         key is in use on another machine"
    )]
    KeyElsewhere(u64),
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
    /// What the engine notes of how far its other files go is gone.
    #[error(
        "the engine's notes are gone or cannot be read, and without them it does not believe its other files"
    )]
    NotesLost,
    /// The engine cannot begin with its files.
    #[error("the engine's files do not fit together: some are gone or were changed ({0})")]
    Files(String),
    /// What every ledger has is not there.
    #[error("the ledger is not whole: it has no {0}")]
    NotWhole(&'static str),
    /// The state is none of this chain's blocks'.
    #[error("the state on the disk is not that of any block in this directory")]
    ForeignState,
    /// A quorum's block gives another state than it says.
    #[error("a quorum has signed what its rules forbid: {0}")]
    Diverged(String),
    /// The ledger was recovered from a block below the newest one here.
    #[error("the ledger was recovered without blocks that are in this directory, up to height {0}")]
    Forsaken(u64),
    /// A part of the engine ended by itself. The caller knows more: a disk that failed, or a fault in this program.
    #[error("a part of the engine ended")]
    Ended,
}

impl EngineError {
    /// A store cannot be used, for the reason that follows.
    pub(crate) fn store<W: fmt::Display>(what: &'static str) -> impl FnOnce(W) -> Self {
        move |why| Self::Store {
            what,
            why: why.to_string(),
        }
    }

    /// What a person can do about it; `alone`: no others run the ledger with this node, and what it has lost only a recovery
    /// brings back.
    #[must_use]
    pub const fn advice(&self, alone: bool) -> &'static str {
        match self {
            Self::VoteKey if alone => {
                "restore the vote key's file, or recover the ledger with a new vote key"
            }
            Self::VoteKey => {
                "restore the vote key's file; the others go on meanwhile, and if it is gone for good, make fresh keys (kusabi node \
                 prepare) and have the next epoch name them (kusabi epoch new --replace)"
            }
            Self::Set(_) | Self::Opening(_) => {
                "the directory's files were changed or damaged; restore a backup into a new directory"
            }
            Self::NodeKey => "restore the node key's file: the other nodes know this one by it",
            Self::OtherNode { .. } => {
                "bring back the right node.key, or vote.key: one of them is another node's, or was made anew"
            }
            Self::NoListener => "say where it listens for other nodes: peer_listen",
            Self::Listen(_, io::ErrorKind::AddrInUse) => {
                "another process listens there, maybe this very node: stop it, or say with peer_listen where this one listens instead"
            }
            Self::Listen(_, io::ErrorKind::AddrNotAvailable) => {
                "this machine does not have that address: say with peer_listen where the node listens"
            }
            Self::Listen(_, io::ErrorKind::PermissionDenied) => {
                "this user may not listen there: say with peer_listen a port from 1024 on"
            }
            Self::Listen(..) => "say with peer_listen where the node listens instead",
            Self::Address { .. } => "correct it in the node's configuration",
            Self::VotesLost(_) if alone => "recover the ledger with a new vote key",
            Self::VotesLost(_) => {
                "leave this node stopped, for it could vote a second time, differently, and bring no older copy back: the other \
                 validators go on without it, and it comes back in a new directory with fresh keys (kusabi node prepare) that the next \
                 epoch names (kusabi epoch new --replace)"
            }
            Self::KeyElsewhere(_) => {
                "see to it that no other machine runs with this key. If this directory is a copy or empty, start the one that is whole and \
                 newest, and only that. If there is none, leave the node stopped, for it could vote a second time, differently: the \
                 others go on without it, and it comes back in a new directory with fresh keys (kusabi node prepare) that the next \
                 epoch names (kusabi epoch new --replace)"
            }
            Self::ParentMissing(_) => "restore the backup that the recovery was made for",
            Self::Store { .. } => "check the disk and the files' permissions, and start again",
            Self::NotesLost if alone => {
                "keep this directory as it is: its blocks are whole; take a backup of it (kusabi backup FILE --data DIR), restore that \
                 into a new directory, and recover the ledger with a new vote key"
            }
            Self::NotesLost => {
                "keep this directory as it is: its blocks are whole; the others go on meanwhile, and this node comes back with fresh \
                 keys (kusabi node prepare) that the next epoch names (kusabi epoch new --replace); a follower follows anew, into a \
                 new directory"
            }
            Self::Files(_) if alone => {
                "bring back the directory as it was; if that cannot be had, restore a backup into a new directory and recover the ledger \
                 with a new vote key; if nobody touched its files, please report this"
            }
            Self::Files(_) => {
                "bring back the directory as it was when the node stopped; if that cannot be had, the others go on meanwhile, and this \
                 node comes back with fresh keys (kusabi node prepare) that the next epoch names (kusabi epoch new --replace); if \
                 nobody touched its files, please report this"
            }
            Self::NotWhole(_) => "restore a backup into a new directory, and please report this",
            Self::ForeignState => "follow the ledger anew, into a new directory",
            Self::Diverged(_) => {
                "tell whoever runs the ledger, and please report this: the blocks in this directory are the evidence; a newer version \
                 of this program may see what this one does not"
            }
            Self::Forsaken(_) => {
                "follow the ledger anew, into a new directory, and keep this one: nobody else may have what it holds"
            }
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
