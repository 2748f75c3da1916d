//! The outline of a chain: what must be known before any block can be read.
//!
//! It grows out of the genesis document and, for each later epoch, the transaction that opens it: a handover or a recovery. Everything here is checked with
//! `kusabi-core`; nothing is taken from a directory's word.

use bytes::Bytes;
use kusabi_core::{
    anchor::Anchor,
    genesis::{Genesis, GenesisError},
    handover::{Handover, HandoverError, Recovery},
    id::{ChainId, Epoch, HeaderHash, Height, NodesHash, SetHash},
    nodes::{Node, Nodes},
    set::{EpochSet, SetError},
    tx::{Action, ActionCode, Transaction, TxError, code_of},
};
use kusabi_ledger::{BlockContext, MemoryState, Rejection, check, claims, verify};
use rand_core::CryptoRng;
use std::time::Duration;

/// Why a chain's outline is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutlineError {
    /// The genesis document is refused.
    #[error("the genesis document is refused: {0}")]
    Genesis(#[from] GenesisError),
    /// A transaction is malformed.
    #[error("the transaction is malformed: {0}")]
    Transaction(#[from] TxError),
    /// Not the genesis transaction of this document.
    #[error("the transaction is not the genesis transaction of this document")]
    GenesisTransaction,
    /// The ledger's rules refuse the genesis transaction.
    #[error("the genesis transaction is refused: {0}")]
    Refused(Rejection),
    /// Not a transaction that opens an epoch of this chain.
    #[error("the transaction is neither a handover nor a recovery of this chain")]
    NotAnOpening,
    /// The handover or recovery is refused.
    #[error("the handover or recovery is refused: {0}")]
    Step(#[from] HandoverError),
    /// The old validator set of a handover is refused.
    #[error("the old validator set is refused: {0}")]
    OldSet(SetError),
    /// The nodes of a handover or a recovery are not those of its set.
    #[error("the nodes are not those that were signed for: {0}")]
    Nodes(GenesisError),
    /// The handover ends the epoch below its first block.
    #[error("the handover ends the epoch before it has begun")]
    LastHeight,
    /// The recovery names a parent of an epoch before the newest.
    #[error("the recovery names a block before the newest epoch as its parent")]
    RecoveryParent,
}

/// An epoch, as it is known from the transaction that opens it.
///
/// A *position* is the engine's own height, which has no gaps: the height less the heights that recoveries skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochOutline {
    /// Its number; recoveries may leave numbers out.
    pub number: Epoch,
    /// Position of its first block. The first epoch also holds position 0.
    pub first: u64,
    /// Heights skipped by all recoveries up to and with the one that opens it.
    pub skipped: u64,
    /// Bytes of its validator set.
    pub set: Bytes,
    /// The machines of its validators, by index.
    pub nodes: Vec<NodeOutline>,
    /// Hash of its set.
    pub set_hash: SetHash,
    /// Vote keys, by index, strictly ascending.
    pub vote_keys: Vec<[u8; 32]>,
    /// Position and bytes of the transaction that its first block must begin with.
    pub opening: (u64, Bytes),
    /// Hash of the block before it, as the handover or the recovery names it; the chain ID for the first epoch.
    pub parent: HeaderHash,
}

impl EpochOutline {
    /// Whether a recovery opened it: then nothing of the epochs before counts any more, but their blocks.
    #[must_use]
    pub fn is_recovery(&self) -> bool {
        code_of(&self.opening.1) == Some(ActionCode::Recovery as u8)
    }
}

/// The machine of a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOutline {
    /// Its Ed25519 node key.
    pub key: [u8; 32],
    /// Where its peers reach it, `host:port`, or empty.
    pub address: String,
}

/// The outline of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    chain: ChainId,
    document: Bytes,
    created_ms: u64,
    heartbeat: Duration,
    epochs: Vec<EpochOutline>,
}

impl Outline {
    /// From the genesis document and the transaction of height 1.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(document: Bytes, transaction: Bytes) -> Result<Self, OutlineError> {
        let genesis = Genesis::decode(&document)?;
        let decoded = Transaction::decode(&transaction)?;
        let same = matches!(decoded.action(), Action::Genesis { document: inside, .. } if *inside == document);
        if decoded.chain() != genesis.chain() || !same {
            return Err(OutlineError::GenesisTransaction);
        }
        let set = genesis.epoch_set();
        let first = EpochOutline {
            number: set.epoch(),
            first: 0,
            skipped: 0,
            set: document.slice_ref(set.as_bytes()),
            set_hash: set.hash(),
            vote_keys: vote_keys(set),
            nodes: node_outlines(genesis.nodes()),
            opening: (1, transaction),
            parent: HeaderHash::new(genesis.chain().to_bytes()),
        };
        Ok(Self {
            chain: genesis.chain(),
            created_ms: genesis.created_ms(),
            heartbeat: Duration::from_millis(genesis.heartbeat_ms()),
            epochs: vec![first],
            document,
        })
    }

    /// The same as long as there is no block above `position`: without the epochs that begin later.
    #[must_use]
    pub fn until(&self, position: u64) -> Self {
        let mut outline = self.clone();
        outline.epochs.retain(|epoch| epoch.first <= position);
        outline
    }

    /// Checks the genesis transaction by all of the ledger's rules, signatures too: whether a first block can be made of it.
    ///
    /// # Errors
    /// [`OutlineError::Refused`]
    pub fn check_founding(&self, rng: &mut impl CryptoRng) -> Result<(), OutlineError> {
        let state = MemoryState::default();
        let [first, ..] = self.epochs.as_slice() else {
            return Err(OutlineError::GenesisTransaction);
        };
        let transaction = Transaction::decode(&first.opening.1)?;
        let context = BlockContext {
            chain: self.chain,
            height: Height::FIRST,
            epoch: first.number,
            set_hash: first.set_hash,
            skipped: Height::ZERO,
            parent_height: Height::ZERO,
            parent: first.parent,
            // What founds a ledger asks for no time.
            time_ms: 0,
            position: 0,
        };
        let refused = claims(transaction, &self.chain, &state)
            .and_then(|claims| {
                let verified = verify(vec![claims], rng).pop();
                verified.unwrap_or(Err(Rejection::BadSignature))
            })
            .and_then(|verified| check(&verified, &context, &state));
        match refused {
            Ok(_) => Ok(()),
            Err(why) => Err(OutlineError::Refused(why)),
        }
    }

    /// Adds the epoch that a handover or a recovery transaction opens. Its signatures are checked.
    ///
    /// A recovery from the block that the newest epoch was to build on takes that epoch's place: it has no block, and nothing
    /// follows from it.
    ///
    /// # Errors
    /// Why it does not follow; nothing is changed then.
    pub fn open_epoch(&mut self, transaction: Bytes) -> Result<(), OutlineError> {
        let decoded = Transaction::decode(&transaction)?;
        if decoded.chain() != self.chain {
            return Err(OutlineError::NotAnOpening);
        }
        match decoded.action() {
            Action::Recovery { recovery, nodes } => self.recover(recovery, nodes, transaction),
            Action::Handover {
                old_set,
                handover,
                nodes,
            } => self.hand_over(old_set, handover, nodes, transaction),
            _ => Err(OutlineError::NotAnOpening),
        }
    }

    fn hand_over(
        &mut self,
        old_set: &[u8],
        handover: &[u8],
        nodes: &[u8],
        transaction: Bytes,
    ) -> Result<(), OutlineError> {
        let old_set = EpochSet::decode(old_set).map_err(OutlineError::OldSet)?;
        let handover = Handover::decode(handover)?;
        let verified = handover.check(&self.anchor()?, &old_set)?;
        let signed = verified.signed();
        let set = signed.next_set();
        let nodes = named_nodes(nodes, &handover.appointment().nodes_hash(), set)?;
        let last = self.newest();
        // The first epoch's position 0 is the genesis document's own.
        let begun = last.first.max(1);
        let first = signed
            .last_height()
            .get()
            .checked_sub(last.skipped)
            .filter(|position| *position >= begun)
            .ok_or(OutlineError::LastHeight)?
            + 1;
        self.epochs.push(EpochOutline {
            number: set.epoch(),
            first,
            skipped: last.skipped,
            set: Bytes::copy_from_slice(set.as_bytes()),
            set_hash: set.hash(),
            vote_keys: vote_keys(set),
            nodes,
            opening: (first, transaction.clone()),
            parent: signed.last_header_hash(),
        });
        Ok(())
    }

    fn recover(
        &mut self,
        recovery: &[u8],
        nodes: &[u8],
        transaction: Bytes,
    ) -> Result<(), OutlineError> {
        let recovery = Recovery::decode(recovery)?.check(&self.anchor()?)?;
        let parent = recovery.parent_height().get();
        let last = match self.epochs.as_slice() {
            [.., before, empty] if empty.parent == recovery.parent_hash() => before,
            _ => self.newest(),
        };
        let replaces = last.number != self.newest().number;
        let parent_position = parent
            .checked_sub(last.skipped)
            .filter(|position| *position >= last.first)
            .ok_or(OutlineError::RecoveryParent)?;
        let set = recovery.next_set();
        let nodes = named_nodes(nodes, &recovery.nodes_hash(), set)?;
        let next = EpochOutline {
            number: set.epoch(),
            first: parent_position + 1,
            // `from` is above the parent's height.
            skipped: last.skipped + (recovery.floor().get() - parent),
            set: Bytes::copy_from_slice(set.as_bytes()),
            set_hash: set.hash(),
            vote_keys: vote_keys(set),
            nodes,
            opening: (parent_position + 1, transaction.clone()),
            parent: recovery.parent_hash(),
        };
        if replaces {
            self.epochs.pop();
        }
        self.epochs.push(next);
        Ok(())
    }

    /// What a device keeps after walking to the newest epoch, with no height seen.
    fn anchor(&self) -> Result<Anchor, OutlineError> {
        let genesis = Genesis::decode(&self.document)?;
        let last = self.newest();
        Ok(Anchor::of_ledger(
            self.chain,
            last.number,
            last.set_hash,
            Height::ZERO,
            HeaderHash::ZERO,
            genesis.recovery_set().hash(),
        ))
    }

    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The genesis document.
    #[must_use]
    pub const fn document(&self) -> &Bytes {
        &self.document
    }

    /// When the ledger was founded: milliseconds since 1970.
    #[must_use]
    pub const fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// Idle time after which an empty block is made.
    #[must_use]
    pub const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Whether the block at `position` may begin with `transaction`: where an epoch opens, with what opens it. Of a handover any
    /// quorum's votes will do, so that another node's may differ from this one's in them.
    #[must_use]
    pub fn may_begin(&self, position: u64, transaction: Option<&Bytes>) -> bool {
        let opens = self.epochs.iter().find(|epoch| epoch.opening.0 == position);
        let Some(EpochOutline {
            opening: (_, mine), ..
        }) = opens
        else {
            return true;
        };
        transaction.is_some_and(|theirs| theirs == mine || same_handover(mine, theirs))
    }

    /// All epochs, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &[EpochOutline] {
        &self.epochs
    }

    /// The newest epoch.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "the first epoch is put there by `new` and never taken out"
    )]
    pub fn newest(&self) -> &EpochOutline {
        self.epochs.last().expect("the first epoch")
    }

    /// Height of the block that the newest epoch builds on.
    #[must_use]
    pub fn height_before_newest(&self) -> Height {
        self.height(self.newest().first.saturating_sub(1))
    }

    /// Height of a position.
    #[must_use]
    pub fn height(&self, position: u64) -> Height {
        let skipped = self
            .epochs
            .iter()
            .rev()
            .find(|epoch| epoch.first <= position)
            .map_or(0, |epoch| epoch.skipped);
        Height::new(position + skipped).unwrap_or(Height::MAX)
    }
}

/// Whether both are handovers that say the same.
fn same_handover(one: &[u8], other: &[u8]) -> bool {
    let of = |bytes| match Transaction::decode(bytes).ok()?.action() {
        Action::Handover {
            old_set,
            handover,
            nodes,
        } => Some((old_set.clone(), handover.clone(), nodes.clone())),
        _ => None,
    };
    let (Some(one), Some(other)) = (of(one), of(other)) else {
        return false;
    };
    let says_the_same = match (Handover::decode(&one.1), Handover::decode(&other.1)) {
        (Ok(one), Ok(other)) => one.says_the_same(&other),
        _ => false,
    };
    says_the_same && one.0 == other.0 && one.2 == other.2
}

/// The machines of a set's validators, as whoever named the set has signed.
fn named_nodes(
    bytes: &[u8],
    signed: &NodesHash,
    set: &EpochSet<'_>,
) -> Result<Vec<NodeOutline>, OutlineError> {
    let nodes = Nodes::decode(bytes).map_err(OutlineError::Nodes)?;
    nodes
        .check_named(signed, set)
        .map_err(OutlineError::Nodes)?;
    Ok(node_outlines(nodes.iter()))
}

fn node_outlines<'a>(nodes: impl Iterator<Item = Node<'a>>) -> Vec<NodeOutline> {
    nodes
        .map(|node| NodeOutline {
            key: *node.key,
            address: node.address.to_owned(),
        })
        .collect()
}

fn vote_keys(set: &EpochSet<'_>) -> Vec<[u8; 32]> {
    set.validators().map(|v| *v.vote_key).collect()
}
