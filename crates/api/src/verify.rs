//! The one place where a ledger's bytes become facts.
//!
//! A [`VerifyingLedger`] holds an [`Anchor`] and the validator set that it names, asks a [`Ledger`] that it does not trust, and hands out
//! only what a quorum of that set signed. Its floor rises with everything that it verifies and never falls; when the ledger has moved to
//! another epoch it follows the handovers and recoveries, each verified. It writes nothing down: whoever wants to keep the floor
//! takes [`VerifyingLedger::trust`] and stores it.
//!
//! What it does not do: notice that the ledger is stale (a node that answers with the floor again and again is not lying; compare
//! heights over time, or ask for a [fresh checkpoint](VerifyingLedger::fresh_checkpoint)), and compare
//! what several nodes say (it sees one; [`watch`](crate::watch) does).

use crate::{
    effect::{first_row, shows, touches},
    ledger::{Ledger, Receipt, Step, Submitted},
    problem::Problem,
};
use bytes::Bytes;
use core::time::Duration;
use kusabi_core::{
    anchor::{Anchor, AnchorError},
    checkpoint::{Checkpoint, CheckpointError, VerifiedCheckpoint},
    freshness::{self, FreshnessError, VerifiedReceipt},
    genesis::{Genesis, GenesisError},
    handover::HandoverError,
    header::Header,
    id::{BodyHash, ChainId, Epoch, Handle, Height, Nonce, StateKey, TxId},
    proof::{Proof, ProofError},
    row::{Record, Row, RowError},
    set::{EpochSet, SetError},
    step::{self, End},
    tx::{Action, Transaction, TxError},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why an answer is not handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The ledger gave no answer, or refused the request.
    #[error(transparent)]
    Ledger(#[from] Problem),
    /// The proof is refused.
    #[error("the node's proof is refused: {0}")]
    Proof(ProofError),
    /// The checkpoint is refused.
    #[error("the node's checkpoint is refused: {0}")]
    Checkpoint(CheckpointError),
    /// The freshness receipt is refused, or the checkpoint is not as new as it says.
    #[error("that the node shows the present is not proven: {0}")]
    Freshness(FreshnessError),
    /// A step of the epoch walk is refused.
    #[error("the node's way to the newest epoch is refused: {0}")]
    Walk(HandoverError),
    /// The node answers for an epoch to which it shows no way.
    #[error(
        "the node answers for epoch {answered}, and shows no way there from epoch {trusted}; ask another node"
    )]
    NoWay {
        /// The epoch that is trusted.
        trusted: Epoch,
        /// The epoch of the answer.
        answered: Epoch,
    },
    /// A proven row cannot be read.
    #[error("the proven row cannot be read: {0}")]
    Row(RowError),
    /// The genesis document is not one, or not that of the chain.
    #[error("the genesis document is refused: {0}")]
    Genesis(GenesisError),
    /// The bytes are not a validator set.
    #[error("the stored validator set is refused: {0}")]
    Set(SetError),
    /// The set is another one than the anchor names.
    #[error(
        "the stored validator set is not the one that the stored anchor names; restore both from one backup"
    )]
    AnotherSet,
    /// Two blocks at one height, both signed by a quorum.
    #[error(
        "two different blocks of height {0} are signed by a quorum: the ledger is forked; keep both answers and tell every operator"
    )]
    Fork(Height),
    /// The transaction to be submitted cannot be read.
    #[error("{0}")]
    Transaction(TxError),
    /// A block is not the one asked for, its transactions are not those that its header binds, or they cannot be read.
    #[error("the node's block of height {0} is refused: it is not what its header says")]
    Block(Height),
    /// A block has no certificate near enough to be checked by itself.
    #[error(
        "the block of height {0} has no certificate of its own; `audit` checks it with those that follow"
    )]
    Uncertified(Height),
    /// The receipt is for another transaction, or its proof is older than it or shows a row that it did not write.
    #[error("the node's receipt does not fit the transaction; ask for the row itself")]
    Receipt,
}

impl VerifyError {
    /// Whether the node said something that an honest one does not say.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Ledger(_) | Self::Transaction(_))
    }

    /// Whether the answer is good but for being older than the floor: the node is behind, or holds the present back.
    const fn is_older(&self) -> bool {
        matches!(
            self,
            Self::Checkpoint(CheckpointError::Anchor(AnchorError::BelowFloor))
                | Self::Proof(ProofError::Checkpoint(CheckpointError::Anchor(
                    AnchorError::BelowFloor
                )))
        )
    }
}

/// What is trusted: an anchor and the bytes of the set that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    anchor: Anchor,
    set: Bytes,
}

impl Trust {
    /// The trust of someone who knows the chain ID. The document may come from anywhere: it is hashed.
    pub fn found(chain: &ChainId, genesis: &[u8]) -> Result<Self, VerifyError> {
        let genesis = Genesis::decode_for(chain, genesis).map_err(VerifyError::Genesis)?;
        Ok(Self {
            anchor: Anchor::from_genesis(&genesis),
            set: Bytes::copy_from_slice(genesis.epoch_set().as_bytes()),
        })
    }

    /// Trust that was stored. The caller answers for where it was.
    pub fn stored(anchor: Anchor, set: Bytes) -> Result<Self, VerifyError> {
        let decoded = EpochSet::decode(&set).map_err(VerifyError::Set)?;
        if decoded.hash() != anchor.set_hash() || decoded.epoch() != anchor.epoch() {
            return Err(VerifyError::AnotherSet);
        }
        Ok(Self { anchor, set })
    }

    /// The anchor.
    #[must_use]
    pub const fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// The bytes of the validator set.
    #[must_use]
    pub const fn set(&self) -> &Bytes {
        &self.set
    }

    pub(crate) fn epoch_set(&self) -> Result<EpochSet<'_>, VerifyError> {
        EpochSet::decode(&self.set).map_err(VerifyError::Set)
    }

    /// Follows one step, if it is good.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), VerifyError> {
        let step = step::Step::decode(step.kind.into(), &step.bytes).map_err(VerifyError::Walk)?;
        self.take(&step).map(drop)
    }

    /// Follows one step, if it is good, and says how the epoch before has ended.
    pub(crate) fn take(&mut self, step: &step::Step<'_>) -> Result<End, VerifyError> {
        let (next, end) = {
            let set = EpochSet::decode(&self.set).map_err(VerifyError::Set)?;
            let (next, end) = step
                .take(&mut self.anchor, &set)
                .map_err(VerifyError::Walk)?;
            (Bytes::copy_from_slice(next.as_bytes()), end)
        };
        self.set = next;
        Ok(end)
    }

    /// Raises the floor to a verified checkpoint of the trusted epoch.
    pub(crate) fn advance(&mut self, checkpoint: &VerifiedCheckpoint) {
        self.anchor.advance(checkpoint);
    }

    /// A checkpoint of the trusted epoch, verified; the floor stays where it is.
    pub(crate) fn certified(&self, bytes: &[u8]) -> Result<VerifiedCheckpoint, VerifyError> {
        checked_checkpoint(self, bytes).map_err(|why| match why {
            Refused::Because(why) => why,
            Refused::LaterEpoch(answered) => VerifyError::NoWay {
                trusted: self.anchor.epoch(),
                answered,
            },
        })
    }
}

/// A verified answer: what the ledger held under one key at one height. Only this module makes it.
#[derive(Clone, Debug)]
pub struct Proven<T> {
    value: T,
    checkpoint: VerifiedCheckpoint,
    proof: Bytes,
}

impl<T> Proven<T> {
    /// What was there.
    #[must_use]
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// What was there.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }

    /// Under which checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }

    /// At which height.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.checkpoint.header().height
    }

    /// The proof: to be shown to others, who check it themselves.
    #[must_use]
    pub const fn proof(&self) -> &Bytes {
        &self.proof
    }
}

/// A final block of the past, with its transactions.
#[derive(Clone, Debug)]
pub struct ProvenBlock {
    checkpoint: VerifiedCheckpoint,
    transactions: Vec<Transaction>,
}

impl ProvenBlock {
    /// Its header, certified.
    #[must_use]
    pub const fn header(&self) -> &Header {
        self.checkpoint.header()
    }

    /// Its transactions, in order.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// Those that put, ended or replaced the key under this handle: the chapters of its history.
    pub fn touching(&self, handle: &Handle) -> impl Iterator<Item = &Transaction> {
        self.transactions
            .iter()
            .filter(move |transaction| touches(transaction.action(), handle))
    }
}

/// The verified answer to a submission.
#[derive(Clone, Debug)]
pub enum Done {
    /// Final: its first row is proven, and is what the transaction writes there.
    Final {
        /// Height of its block, as the node says; at or below the proof's.
        height: Height,
        /// Place in its block, as the node says.
        index: u32,
        /// The row.
        row: Box<Proven<Option<Row>>>,
    },
    /// Not final within the wait.
    Pending(TxId),
}

/// A ledger of which nothing is believed that is not proven.
#[derive(Debug)]
pub struct VerifyingLedger<L> {
    ledger: L,
    trust: Mutex<Trust>,
}

/// Why a proof or a checkpoint does not stand, as far as it matters here.
enum Refused {
    /// It is for a later epoch than the trusted one.
    LaterEpoch(Epoch),
    Because(VerifyError),
}

impl<L: Ledger> VerifyingLedger<L> {
    /// Asks `ledger`, believes `trust`.
    pub const fn new(ledger: L, trust: Trust) -> Self {
        Self {
            ledger,
            trust: Mutex::new(trust),
        }
    }

    /// Fetches the genesis document of a chain and begins with it. The only input that must be right is the chain ID.
    pub async fn found(ledger: L, chain: &ChainId) -> Result<Self, VerifyError> {
        let genesis = ledger.genesis().await?;
        Ok(Self::new(ledger, Trust::found(chain, &genesis)?))
    }

    /// The ledger itself, for what needs no proof: submitting, status, blocks that the caller checks, events.
    pub const fn unverified(&self) -> &L {
        &self.ledger
    }

    /// What is trusted now; to be stored whenever the anchor changed.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.lock().clone()
    }

    /// The row under a key, or that there is none.
    pub async fn lookup(&self, key: StateKey) -> Result<Proven<Option<Row>>, VerifyError> {
        // The floor is the one of when the question is asked: an answer may be overtaken by a later one on its way.
        let trust = self.trust();
        let proof = self.ledger.lookup(key, trust.anchor.height()).await?;
        self.proven(trust, key, proof).await
    }

    /// The record of a key, or that there is none.
    pub async fn record(&self, handle: &Handle) -> Result<Proven<Option<Record>>, VerifyError> {
        let proven = self.lookup(StateKey::record(handle)).await?;
        let value = match proven.value {
            None => None,
            Some(Row::Record(record)) => Some(record),
            Some(_) => return Err(VerifyError::Row(RowError::Kind)),
        };
        Ok(Proven {
            value,
            checkpoint: proven.checkpoint,
            proof: proven.proof,
        })
    }

    /// The newest checkpoint, verified; its bytes are the value.
    pub async fn checkpoint(&self) -> Result<(VerifiedCheckpoint, Bytes), VerifyError> {
        let trust = self.trust();
        let floor = trust.anchor.height();
        self.checkpoint_from(trust, floor).await
    }

    /// The newest checkpoint, which is of now (spec/freshness.md): it is not older than what an honest validator had as its newest after
    /// `nonce` was made, or at most five seconds before. `nonce`: 32 random bytes that the caller has just made.
    pub async fn fresh_checkpoint(
        &self,
        nonce: Nonce,
    ) -> Result<(VerifiedReceipt, VerifiedCheckpoint), VerifyError> {
        let (_, receipt, checkpoint) = self.fresh_receipt(nonce).await?;
        Ok((receipt, checkpoint))
    }

    /// The same, with the receipt's bytes: to be shown to others, who check it themselves.
    pub async fn fresh_receipt(
        &self,
        nonce: Nonce,
    ) -> Result<(Bytes, VerifiedReceipt, VerifiedCheckpoint), VerifyError> {
        let mut trust = self.trust();
        let bytes = self.ledger.freshness(nonce).await?;
        let receipt = freshness::Receipt::decode(&bytes).map_err(VerifyError::Freshness)?;
        let epoch = receipt.claimed().epoch;
        if epoch > trust.anchor.epoch() {
            trust = self.walk(trust, epoch).await?;
        }
        let receipt = receipt
            .check(&trust.anchor, &trust.epoch_set()?, &nonce)
            .map_err(VerifyError::Freshness)?;
        let at_least = receipt.height().max(trust.anchor.height());
        let (checkpoint, _) = self.checkpoint_from(trust, at_least).await?;
        receipt
            .check_checkpoint(&checkpoint)
            .map_err(VerifyError::Freshness)?;
        Ok((bytes, receipt, checkpoint))
    }

    async fn checkpoint_from(
        &self,
        mut trust: Trust,
        at_least: Height,
    ) -> Result<(VerifiedCheckpoint, Bytes), VerifyError> {
        let bytes = self.ledger.checkpoint(at_least).await?;
        loop {
            match checked_checkpoint(&trust, &bytes) {
                Ok(checkpoint) => {
                    self.advance(&trust, &checkpoint)?;
                    return Ok((checkpoint, bytes));
                }
                Err(Refused::LaterEpoch(epoch)) => trust = self.walk(trust, epoch).await?,
                Err(Refused::Because(why)) => return Err(why),
            }
        }
    }

    /// Submits a transaction; when it is final, the first row that it wrote is proven before anything is said.
    pub async fn submit(&self, bytes: Bytes, wait: Duration) -> Result<Done, VerifyError> {
        let transaction = Transaction::decode(&bytes).map_err(VerifyError::Transaction)?;
        let id = transaction.id();
        let trust = self.trust();
        let receipt = match self.ledger.submit(bytes, wait).await? {
            Submitted::Pending { id: answered } if answered == id => return Ok(Done::Pending(id)),
            Submitted::Final(receipt) if receipt.id == id => receipt,
            _ => return Err(VerifyError::Receipt),
        };
        self.settle(trust, transaction.action(), receipt).await
    }

    /// A block, also from below the floor: verified from the genesis document on, through the epochs up to its own.
    pub async fn block(&self, height: Height) -> Result<ProvenBlock, VerifyError> {
        let genesis = self.ledger.genesis().await?;
        let mut past = Trust::found(&self.trust().anchor.chain(), &genesis)?;
        let block = self.ledger.block(height).await?;
        let certificate = block.checkpoint.ok_or(VerifyError::Uncertified(height))?;
        let epoch = Checkpoint::decode(&certificate)
            .map_err(VerifyError::Checkpoint)?
            .claimed()
            .epoch;
        if past.anchor.epoch() < epoch {
            past = self.way(past, Some(epoch)).await?.0;
        }
        let checkpoint = past.certified(&certificate)?;
        let header = checkpoint.header();
        let body = BodyHash::of(block.transactions.iter().map(|bytes| &bytes[..]));
        if header.height != height
            || Header::decode(&block.header).as_ref() != Ok(header)
            || header.body != body
        {
            return Err(VerifyError::Block(height));
        }
        let transactions = block
            .transactions
            .iter()
            .map(|bytes| Transaction::decode(bytes))
            .collect::<Result<_, _>>()
            .map_err(|_| VerifyError::Block(height))?;
        Ok(ProvenBlock {
            checkpoint,
            transactions,
        })
    }

    /// The verified way from `from` to `until`, or to the newest epoch: where it leads, and its steps. What is trusted here does not change.
    pub async fn way(
        &self,
        from: Trust,
        until: Option<Epoch>,
    ) -> Result<(Trust, Vec<Step>), VerifyError> {
        let mut trust = from;
        let mut way = Vec::new();
        let arrived = |trust: &Trust| until.is_some_and(|until| trust.anchor.epoch() >= until);
        while !arrived(&trust) {
            let from = trust.anchor.epoch();
            for step in self.ledger.walk(from).await? {
                if arrived(&trust) {
                    break;
                }
                trust.step(&step)?;
                way.push(step);
            }
            // Every step leads to a higher epoch, so this ends.
            if trust.anchor.epoch() == from {
                return match until {
                    None => Ok((trust, way)),
                    Some(answered) => Err(VerifyError::NoWay {
                        trusted: from,
                        answered,
                    }),
                };
            }
        }
        Ok((trust, way))
    }

    /// The receipt of a transaction as a fact: its proof is verified, or the row is looked up where the receipt has none.
    async fn settle(
        &self,
        trust: Trust,
        action: &Action,
        receipt: Receipt,
    ) -> Result<Done, VerifyError> {
        let key = first_row(action);
        let height = Height::new(receipt.height).map_err(|_| VerifyError::Receipt)?;
        let row = match receipt.proof {
            Some(proof) => match self.proven(trust, key, proof).await {
                // The node is behind another one that was asked before, and had to catch up with this transaction only.
                Err(why) if why.is_older() => self.lookup(key).await?,
                row => row?,
            },
            None => self.lookup(key).await?,
        };
        // A proof from before the transaction says nothing about it, and neither does a row that it did not write.
        let done = row
            .value
            .as_ref()
            .is_some_and(|row| shows(action, row, height));
        if row.height() < height || !done {
            return Err(VerifyError::Receipt);
        }
        Ok(Done::Final {
            height,
            index: receipt.index,
            row: Box::new(row),
        })
    }

    async fn proven(
        &self,
        mut trust: Trust,
        key: StateKey,
        proof: Bytes,
    ) -> Result<Proven<Option<Row>>, VerifyError> {
        loop {
            match checked_proof(&trust, &key, &proof) {
                Ok((checkpoint, value)) => {
                    self.advance(&trust, &checkpoint)?;
                    return Ok(Proven {
                        value,
                        checkpoint,
                        proof,
                    });
                }
                Err(Refused::LaterEpoch(epoch)) => trust = self.walk(trust, epoch).await?,
                Err(Refused::Because(why)) => return Err(why),
            }
        }
    }

    /// Goes from `trust` to `epoch` or beyond; what is trusted here takes the same steps.
    async fn walk(&self, trust: Trust, epoch: Epoch) -> Result<Trust, VerifyError> {
        let mut passed = trust.clone();
        let (arrived, steps) = self.way(trust, Some(epoch)).await?;
        let mut mine = self.lock();
        if mine.anchor == passed.anchor {
            *mine = arrived.clone();
        } else if mine.anchor.epoch() < arrived.anchor.epoch() {
            // An answer that came meanwhile has raised the floor: the steps that lie ahead are taken from there, and refused
            // where they contradict it.
            let mut next = mine.clone();
            for step in &steps {
                passed.step(step)?;
                if passed.anchor.epoch() > next.anchor.epoch() {
                    next.step(step)?;
                }
            }
            *mine = next;
        }
        Ok(arrived)
    }

    /// Raises the floor to what was verified under `under`.
    fn advance(&self, under: &Trust, checkpoint: &VerifiedCheckpoint) -> Result<(), VerifyError> {
        let mut mine = self.lock();
        let header = checkpoint.header();
        // An answer that came meanwhile may have raised the floor to this height with another block.
        if mine.anchor.height() == header.height
            && under.anchor.set_hash() == mine.anchor.set_hash()
            && mine
                .anchor
                .header_hash()
                .is_some_and(|hash| hash != *checkpoint.hash())
        {
            return Err(VerifyError::Fork(header.height));
        }
        mine.anchor.advance(checkpoint);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Trust> {
        // Nothing panics between two halves of a change, so a poisoned lock guards a whole value.
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn checked_proof(
    trust: &Trust,
    key: &StateKey,
    bytes: &[u8],
) -> Result<(VerifiedCheckpoint, Option<Row>), Refused> {
    let because = |why| Refused::Because(VerifyError::Proof(why));
    let proof = Proof::decode(bytes).map_err(because)?;
    let claimed = proof.checkpoint().claimed().epoch;
    let set = trust.epoch_set().map_err(Refused::Because)?;
    let verified = proof
        .check(&trust.anchor, &set, key)
        .map_err(|why| match why {
            ProofError::Checkpoint(CheckpointError::Anchor(AnchorError::Epoch))
                if claimed > trust.anchor.epoch() =>
            {
                Refused::LaterEpoch(claimed)
            }
            why => because(why),
        })?;
    let row = match verified.row() {
        Some(row) => Some(Row::decode(row).map_err(|why| Refused::Because(VerifyError::Row(why)))?),
        None => None,
    };
    Ok((*verified.checkpoint(), row))
}

fn checked_checkpoint(trust: &Trust, bytes: &[u8]) -> Result<VerifiedCheckpoint, Refused> {
    let because = |why| Refused::Because(VerifyError::Checkpoint(why));
    let checkpoint = Checkpoint::decode(bytes).map_err(because)?;
    let set = trust.epoch_set().map_err(Refused::Because)?;
    let claimed = checkpoint.claimed().epoch;
    checkpoint
        .check(&trust.anchor, &set)
        .map_err(|why| match why {
            CheckpointError::Anchor(AnchorError::Epoch) if claimed > trust.anchor.epoch() => {
                Refused::LaterEpoch(claimed)
            }
            why => because(why),
        })
}
