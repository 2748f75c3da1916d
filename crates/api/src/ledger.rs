//! The [`Ledger`] trait: where those who need a ledger meet one, in the same process or over HTTP.
//!
//! Bytes in, bytes out: transactions, proofs, checkpoints and headers are the formats of `spec/`, opaque here. **Nothing that comes
//! out of this trait is verified**; [`VerifyingLedger`](crate::verify::VerifyingLedger) is the place where bytes become facts.

use crate::{
    block::Block,
    hex::{Hex, Hex32, base64, text},
    problem::{Kind, Problem},
};
use bytes::Bytes;
use core::{future::Future, pin::Pin, time::Duration};
use futures_core::Stream;
use kusabi_core::id::{ChainId, Epoch, Height, Nonce, StateKey, TxId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Longest transaction, in bytes (spec/ledger.md).
pub const MAX_TRANSACTION: usize = kusabi_core::tx::TX_BYTES_MAX;

/// Longest proof or checkpoint, in bytes: nine headers of 260, sixteen signatures of 64, sixty-four digests of 32 and two rows fit.
pub const MAX_PROOF: usize = 8 * 1024;

/// Longest genesis document, in bytes (spec/ledger.md).
pub const MAX_GENESIS: usize = kusabi_core::genesis::GENESIS_LEN_MAX;

/// Longest freshness receipt, in bytes (spec/freshness.md).
pub const MAX_FRESHNESS: usize = kusabi_core::freshness::RECEIPT_LEN_MAX;

/// Most steps of the epoch walk in one answer.
pub const MAX_WALK_STEPS: usize = 64;

/// Longest handover or recovery, in bytes: a set of 3,547, sixteen votes, eighty officers and the fixed fields fit.
pub const MAX_WALK_STEP: usize = 12 * 1024;

/// Longest transaction that opens an epoch, in bytes: a genesis with 80 officers, or a handover with both sets and the nodes.
pub const MAX_OPENING: usize = 64 * 1024;

/// Longest description of a node, in bytes: sixteen validators with two keys and an address each.
pub const MAX_NODE: usize = 16 * 1024;

/// Longest time that one submission waits for finality.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Longest time that a node waits for a height that it has not reached before it answers with what it has.
pub const CATCH_UP: Duration = Duration::from_secs(5);

/// The future that every method returns; boxed, so that a `dyn Ledger` can be handed round.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// Blocks' events in order of height, from one height on. A last item that is a [`Problem`] says why the stream ends; without one the
/// ledger is stopping. Whoever wants to go on subscribes again after the last height that it has.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<BlockEvents, Problem>> + Send>>;

/// Blocks in order of height, from one height on, without end: those that are stored, then as they come. A last item that is a
/// [`Problem`] says why the stream ends; without one the ledger is stopping.
pub type BlockStream = Pin<Box<dyn Stream<Item = Result<Block, Problem>> + Send>>;

/// A ledger, near or far.
pub trait Ledger: Send + Sync {
    /// Offers a transaction and waits at most `wait` (bounded by [`MAX_WAIT`]) until it is final and durable.
    ///
    /// Offering the same bytes again is safe: a transaction takes effect once, and while the node remembers it the answer is the same.
    fn submit(&self, transaction: Bytes, wait: Duration) -> Answer<'_, Submitted>;

    /// What became of a transaction. `Unknown` when the node never saw it or does not remember it.
    fn transaction(&self, id: TxId) -> Answer<'_, Transaction>;

    /// The proof (spec/proof.md) of presence or of absence of the row under a state key. A node that has not reached height
    /// `at_least` yet waits a little for it (at most [`CATCH_UP`]) and then answers with what it has: who asks several nodes in
    /// turn would otherwise be shown, by an honest one that is a block behind, an older state than it has seen.
    fn lookup(&self, key: StateKey, at_least: Height) -> Answer<'_, Bytes>;

    /// The newest checkpoint (spec/proof.md); `at_least` as for [`lookup`](Self::lookup).
    fn checkpoint(&self, at_least: Height) -> Answer<'_, Bytes>;

    /// A freshness receipt (spec/freshness.md) for 32 random bytes that were just made. Validators sign once a second for all who ask:
    /// this takes up to a second, and up to six where validators are down.
    fn freshness(&self, nonce: Nonce) -> Answer<'_, Bytes>;

    /// A block by height, from 1 on. `Unknown` above the newest.
    fn block(&self, height: Height) -> Answer<'_, Block>;

    /// All blocks from height `from` on, each with its certificate: what a node needs that follows this ledger. Blocks are
    /// certified up to eight heights above them, so the newest one comes when it has a certificate.
    fn blocks(&self, _: Height) -> Answer<'_, BlockStream> {
        Box::pin(async {
            Err(Problem::new(
                Kind::Unknown,
                "this ledger does not hand out its blocks one after the other",
            ))
        })
    }

    /// The genesis document (spec/ledger.md).
    fn genesis(&self) -> Answer<'_, Bytes>;

    /// The handovers and recoveries that lead from `epoch` to the newest epoch, in order; at most [`MAX_WALK_STEPS`] at a time.
    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>>;

    /// The events of all blocks above height `after`: first those that are stored, then as they come.
    fn events(&self, after: Height) -> Answer<'_, EventStream>;

    /// How the node is doing. A courtesy of the node, not a proof of anything.
    fn status(&self) -> Answer<'_, Status>;

    /// The transaction that opened an epoch, or the first one after it, for recoveries leave numbers out: genesis, handover or
    /// recovery (spec/ledger.md). `Unknown` for one that has not begun.
    fn opening(&self, _: Epoch) -> Answer<'_, Bytes> {
        Box::pin(async { Err(no_node()) })
    }

    /// The node's keys, and whom it knows of the present epoch. Whoever appoints it compares them with the machine itself.
    fn node(&self) -> Answer<'_, NodeView> {
        Box::pin(async { Err(no_node()) })
    }
}

fn no_node() -> Problem {
    Problem::new(Kind::Unknown, "this is no validator's node")
}

impl<L: Ledger + ?Sized> Ledger for std::sync::Arc<L> {
    fn submit(&self, transaction: Bytes, wait: Duration) -> Answer<'_, Submitted> {
        (**self).submit(transaction, wait)
    }

    fn transaction(&self, id: TxId) -> Answer<'_, Transaction> {
        (**self).transaction(id)
    }

    fn lookup(&self, key: StateKey, at_least: Height) -> Answer<'_, Bytes> {
        (**self).lookup(key, at_least)
    }

    fn checkpoint(&self, at_least: Height) -> Answer<'_, Bytes> {
        (**self).checkpoint(at_least)
    }

    fn freshness(&self, nonce: Nonce) -> Answer<'_, Bytes> {
        (**self).freshness(nonce)
    }

    fn block(&self, height: Height) -> Answer<'_, Block> {
        (**self).block(height)
    }

    fn blocks(&self, from: Height) -> Answer<'_, BlockStream> {
        (**self).blocks(from)
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        (**self).genesis()
    }

    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>> {
        (**self).walk(epoch)
    }

    fn events(&self, after: Height) -> Answer<'_, EventStream> {
        (**self).events(after)
    }

    fn status(&self) -> Answer<'_, Status> {
        (**self).status()
    }

    fn opening(&self, epoch: Epoch) -> Answer<'_, Bytes> {
        (**self).opening(epoch)
    }

    fn node(&self) -> Answer<'_, NodeView> {
        (**self).node()
    }
}

/// The answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Submitted {
    /// Final and durable.
    Final(Receipt),
    /// Accepted, not final within the wait; ask for the transaction by its ID.
    Pending {
        /// The transaction ID.
        #[serde(with = "text")]
        id: TxId,
    },
}

/// Where a final transaction stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The transaction ID.
    #[serde(with = "text")]
    pub id: TxId,
    /// Height of its block.
    pub height: u64,
    /// Its place in the block, from 0.
    pub index: u32,
    /// Proof of the first row that it wrote, at its height or later; verified by whoever asked. `None` when the node is too busy
    /// to make it: look the row up.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub proof: Option<Bytes>,
}

mod optional {
    use super::{Bytes, base64};
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Inner(#[serde(with = "base64")] Bytes);

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Bytes>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => base64::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<Inner>::deserialize(deserializer)?.map(|inner| inner.0))
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Transaction {
    /// It waits in the pool or stands in a block that is not final yet.
    Pending {
        /// The transaction ID.
        #[serde(with = "text")]
        id: TxId,
    },
    /// Final and durable.
    Final(Receipt),
    /// It left the pool without effect: the state moved on while it waited.
    Refused {
        /// The transaction ID.
        #[serde(with = "text")]
        id: TxId,
        /// The ledger's code of the broken rule.
        code: u16,
        /// The ledger's sentence.
        detail: Cow<'static, str>,
    },
}

/// One step of the epoch walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How the epoch ended.
    pub kind: StepKind,
    /// The handover or the recovery (spec/proof.md).
    #[serde(with = "base64")]
    pub bytes: Bytes,
}

/// What kind of step an epoch ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// The old set and its officers name the next set.
    Handover,
    /// The recovery set of the genesis document names it.
    Recovery,
}

impl From<StepKind> for kusabi_core::step::StepKind {
    fn from(kind: StepKind) -> Self {
        match kind {
            StepKind::Handover => Self::Handover,
            StepKind::Recovery => Self::Recovery,
        }
    }
}

/// What happened in one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEvents {
    /// Height of the block; also the place from which to go on.
    pub height: u64,
    /// Time of the header, in milliseconds since 1970.
    pub time_ms: u64,
    /// Heights that recoveries have jumped over up to here: `height − skipped` grows by one from block to block, so that a reader sees
    /// that none is missing.
    pub skipped: u64,
    /// What its transactions did, in order. Empty for a heartbeat.
    pub events: Vec<Event>,
}

/// What one transaction did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Place of the transaction in the block, from 0.
    pub index: u32,
    /// The transaction ID.
    #[serde(with = "text")]
    pub id: TxId,
    /// The action: `register`, `activate`, `revoke`, … (spec/ledger.md).
    pub action: Cow<'static, str>,
    /// Whose rows. `None` where they are the ledger's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<Hex<16>>,
    /// Handles of the keys that it put on the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Hex32>,
    /// Handles of the keys that it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Hex32>,
    /// Keys that it gave to another organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// The release, the anchored digest or the proposal that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Hex32>,
}

/// Keys that came to another organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Whose they are now.
    pub to: Hex<16>,
    /// Their handles.
    pub keys: Vec<Hex32>,
}

/// A validator's node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The present epoch.
    pub epoch: u64,
    /// Its node key (Ed25519).
    pub node_key: Hex32,
    /// Its vote key in this epoch.
    pub vote_key: Hex32,
    /// The vote key that it has ready for the next.
    pub next_vote_key: Hex32,
    /// What its present vote key signed of that and of its node key (spec/proof.md, "Next keys").
    pub next_keys_signature: Hex<64>,
    /// The nodes of all validators, in the order of the set.
    pub nodes: Vec<ValidatorNode>,
}

/// Which machine holds a vote key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorNode {
    /// The vote key.
    pub vote_key: Hex32,
    /// The node key.
    pub node_key: Hex32,
    /// Where the other nodes reach it.
    #[serde(default)]
    pub address: String,
}

/// What a node does for its ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It votes.
    #[default]
    Validator,
    /// It checks, keeps and shows what the validators decided.
    Follower,
}

/// How a node is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether it has a vote.
    #[serde(default)]
    pub role: Role,
    /// Name of the ledger, from its genesis document.
    pub name: String,
    /// The chain ID.
    #[serde(with = "text")]
    pub chain: ChainId,
    /// Height of the newest final and durable block.
    pub height: u64,
    /// Its time, in milliseconds since 1970.
    pub time_ms: u64,
    /// The epoch.
    pub epoch: u64,
    /// How many validators the epoch has.
    pub validators: u8,
    /// The heartbeat, in milliseconds: with no traffic there is one block in this time.
    pub heartbeat_ms: u64,
    /// Transactions that wait.
    pub waiting: u64,
    /// Most transactions that may wait.
    pub waiting_max: u64,
    /// The leader's turn in which the newest block was made, counted within the epoch.
    #[serde(default)]
    pub view: u64,
    /// How old the newest block is, by the node's clock, in milliseconds. `None` before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// How long one of the newest views took on average, in milliseconds: of the last ten seconds, or between the two newest blocks. `None`
    /// before the node has seen two blocks of the epoch since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_time_ms: Option<u64>,
    /// How old the epoch is, by the node's clock, in milliseconds: since its first block. `None` before that, and while the ledger's time
    /// runs after the clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_age_ms: Option<u64>,
    /// That the epoch has lasted longer than it should, and what to do, in words. Among several validators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_overdue: Option<String>,
    /// Whose votes the newest certificates of the epoch have. `None` before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub votes: Option<Votes>,
    /// The other validators' nodes. `None` where there are none, and before the node speaks with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// Whom a follower follows, and how well that goes. `None` for a validator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub following: Option<Following>,
    /// Whether the node serves a ledger that goes on.
    pub ready: bool,
    /// What it waits for, in words, when it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Version of the software.
    pub version: Cow<'static, str>,
}

/// Votes in the newest certificates, as the node has them. A certificate has a quorum's votes and need not have more, so that one
/// or another is missing in each; whoever is missing in all of them is away, or too slow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// How many certificates are counted: the newest of the epoch, 1,000 at most.
    pub counted: u64,
    /// Height of the oldest of them.
    pub from: u64,
    /// How many of them are without this node's own vote; `None` for a follower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// All validators, in the order of the set.
    pub validators: Vec<ValidatorVotes>,
}

/// One validator's votes in these certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorVotes {
    /// Its vote key.
    pub vote_key: Hex32,
    /// Where the other nodes reach its node.
    #[serde(default)]
    pub address: String,
    /// How many of the certificates are without its vote.
    pub missed: u64,
    /// Height of the newest that has it; `None`: none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
}

/// The other validators' nodes, as a node sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// How many are connected.
    pub connected: u64,
    /// How many there are.
    pub of: u64,
    /// Addresses of those that are not connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What a follower sees of the nodes that it follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The address that gives it blocks now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Heights from its newest block to the newest that it saw a quorum's signatures for, of the epoch in which it is.
    pub behind: u64,
    /// All that it follows.
    pub nodes: Vec<Followed>,
}

/// A node that is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Its address.
    pub address: String,
    /// What was the matter with it when it was last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Whether that is what no honest node says.
    #[serde(default)]
    pub lied: bool,
}
