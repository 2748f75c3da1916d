//! Rules about whole blocks, and the run of a block's transactions one after the other.
//!
//! The engine decides which block counts; what may stand in one is decided here.

use core::fmt;
use std::sync::Arc;

use kusabi_core::id::{ChainId, Height, SetHash, StateKey, TxId};
use kusabi_core::row::{LedgerRow, Members};
use kusabi_core::suite::Suite;
use kusabi_core::tx::{Action, ActionCode, Transaction};
use rand_core::CryptoRng;

use crate::check::{BlockContext, check};
use crate::claims::{Verified, claims, verify};
use crate::rejection::Rejection;
use crate::state::{Overlay, State, Write};

/// Longest body in bytes: the transactions with four bytes of length each.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// Most transactions of a block.
pub const BLOCK_TXS_MAX: usize = 4096;
/// Most [`work`] of a block: 2.6 s of one core.
pub const BLOCK_WORK_MAX: u64 = 262_144;
/// How far a block's time may be after its parent's, in milliseconds.
pub const TIME_STEP_MS_MAX: u64 = 3_600_000;

/// Why a block is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// The body is longer than 4 MiB.
    TooLong,
    /// More than 4,096 transactions.
    TooMany,
    /// More work than a block may ask of a validator.
    TooMuchWork,
    /// The time is before the parent's.
    TimeBefore,
    /// The time is more than an hour after the parent's.
    TimeAfter,
    /// The height does not follow on the parent's, and no recovery says that it may.
    Height,
    /// The block's epoch, validator set or skipped heights are not the ledger's: at height 1 the genesis transaction is
    /// missing, in a new epoch the recovery or the handover.
    Epoch,
    /// The epoch has ended with the block before.
    Ended,
    /// The ledger's own row cannot be read.
    DamagedState,
    /// A transaction is refused.
    Transaction {
        /// Which one, from 0.
        index: usize,
        /// Why.
        rejection: Rejection,
    },
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the block's body is longer than 4 MiB",
            Self::TooMany => "the block holds more than 4,096 transactions",
            Self::TooMuchWork => "the block asks for more work than a block may",
            Self::TimeBefore => "the block's time is before its parent's",
            Self::TimeAfter => "the block's time is more than an hour after its parent's",
            Self::Height => "the block's height does not follow on its parent's",
            Self::Epoch => "the block's epoch, validator set or skipped heights are not those of the ledger; the genesis, recovery or handover transaction that it opens with is missing",
            Self::Ended => "the epoch has ended before this block; the next one opens with a handover",
            Self::DamagedState => "the ledger's own row cannot be read; stop the node and run the audit",
            Self::Transaction { index, rejection } => {
                return write!(f, "transaction {index} of the block is refused: {rejection}");
            }
        })
    }
}

impl core::error::Error for BlockError {}

impl BlockError {
    /// The number of the broken rule (spec/errors.md); of a transaction that is refused, the number of that rule.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::TooLong => 0x1101,
            Self::TooMany => 0x1102,
            Self::TooMuchWork => 0x1103,
            Self::TimeBefore => 0x1104,
            Self::TimeAfter => 0x1105,
            Self::Height => 0x1106,
            Self::Epoch => 0x1107,
            Self::DamagedState => 0x1108,
            Self::Ended => 0x1109,
            Self::Transaction { rejection, .. } => rejection.code(),
        }
    }
}

/// Checks a block's time against its parent's. The local clock has no part in it: it may only delay a block.
///
/// # Errors
/// [`BlockError::TimeBefore`], [`BlockError::TimeAfter`]
pub const fn check_time(parent_ms: u64, time_ms: u64) -> Result<(), BlockError> {
    if time_ms < parent_ms {
        return Err(BlockError::TimeBefore);
    }
    if time_ms - parent_ms > TIME_STEP_MS_MAX {
        return Err(BlockError::TimeAfter);
    }
    Ok(())
}

/// Work of one signature: that of P-256, for which algorithm it is of is not known from the transaction.
const WORK_SIGNATURE: u64 = 50;
/// Work of one record that is named: read, changed, written.
const WORK_NAMED: u64 = 1;
/// Work of one entry, points and row, by suite. A foreign key's is that of its point at most.
const WORK_CURVE25519: u64 = 2;
const WORK_P256: u64 = 7;
const WORK_FOREIGN: u64 = 3;
/// Work of a recovery: at most 5 signatures and the points of the next set's 96 keys and 16 nodes.
const WORK_RECOVERY: u64 = 660;
/// Work of an appointment: at most 80 signatures of officers and the points of 96 keys and 16 nodes.
const WORK_APPOINT: u64 = 4_600;
/// Work of a handover: the same signatures and 16 votes.
const WORK_HANDOVER: u64 = 5_300;

/// What a transaction costs a validator at most, in units of about ten microseconds of one core (spec/ledger.md, "Work"),
/// known from the transaction alone.
pub fn work(transaction: &Transaction) -> u64 {
    let action = transaction.action();
    let entries: u64 = action
        .entries()
        .iter()
        .map(|entry| match entry.keys().suite() {
            Suite::Curve25519 => WORK_CURVE25519,
            Suite::P256 => WORK_P256,
            Suite::Foreign => WORK_FOREIGN + crate::reads::blob_parts(entry).count() as u64,
        })
        .sum();
    let named = WORK_NAMED * action.named().len() as u64;
    let signatures = WORK_SIGNATURE * transaction.signatures().len() as u64;
    let inside = match action {
        Action::Recovery { .. } => WORK_RECOVERY,
        Action::Appoint { .. } => WORK_APPOINT,
        Action::Handover { .. } => WORK_HANDOVER,
        // Whether it is proposed or voted on: the signatures of those whom it admits, and the points of their keys.
        Action::Propose { proposal } | Action::Vote { proposal, .. } => {
            (WORK_SIGNATURE + 2 * WORK_P256) * proposal.officers().count() as u64
                + WORK_NAMED * proposal.acts().len() as u64
        }
        _ => 0,
    };
    1 + signatures + named + entries + inside
}

/// Checks the bounds of a block.
///
/// # Errors
/// [`BlockError::TooMany`], [`BlockError::TooLong`], [`BlockError::TooMuchWork`]
pub fn check_bounds(transactions: &[Transaction]) -> Result<(), BlockError> {
    let mut room = Room::default();
    transactions
        .iter()
        .try_for_each(|transaction| room.take(transaction))
}

/// What of a block is used up: the one place where transactions, bytes and work are counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    transactions: usize,
    bytes: usize,
    work: u64,
}

impl Room {
    /// Makes room for one more transaction.
    ///
    /// # Errors
    /// [`BlockError::TooMany`], [`BlockError::TooLong`], [`BlockError::TooMuchWork`]; nothing has changed then.
    pub fn take(&mut self, transaction: &Transaction) -> Result<(), BlockError> {
        let transactions = self.transactions + 1;
        let bytes = self.bytes + 4 + transaction.as_bytes().len();
        let work = self.work + work(transaction);
        if transactions > BLOCK_TXS_MAX {
            return Err(BlockError::TooMany);
        }
        if bytes > BLOCK_BYTES_MAX {
            return Err(BlockError::TooLong);
        }
        if work > BLOCK_WORK_MAX {
            return Err(BlockError::TooMuchWork);
        }
        *self = Self {
            transactions,
            bytes,
            work,
        };
        Ok(())
    }
}

/// What a block does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The rows to write, each key once, ascending.
    pub writes: Vec<Write>,
    /// Height of the last block of the epoch, where that is decided after this block.
    pub ends: Option<Height>,
    /// The next set, where this block is that last one: its header names it.
    pub next_set_hash: Option<SetHash>,
    /// The heartbeat after this block, in milliseconds.
    pub heartbeat_ms: u32,
}

/// The run of a block's transactions, one after the other, each all or nothing.
///
/// The state must answer for [`reads`](crate::reads) of every transaction, for the ledger's own row and for the members'.
pub struct BlockRun<S> {
    context: BlockContext,
    state: Overlay<S>,
    room: Room,
    recovered: bool,
}

impl<S: State> BlockRun<S> {
    /// An empty block on top of the parent's state. The context's `position` is counted here.
    pub fn new(context: BlockContext, state: S) -> Self {
        Self {
            context: BlockContext {
                position: 0,
                ..context
            },
            state: Overlay::new(state),
            room: Room::default(),
            recovered: false,
        }
    }

    /// The state as the transactions so far have left it.
    pub const fn state(&self) -> &Overlay<S> {
        &self.state
    }

    /// Appends a transaction.
    ///
    /// # Errors
    /// The rule that it breaks; the block is then as it was, and others can be appended. [`Rejection::BlockFull`]
    pub fn push(&mut self, transaction: &Verified) -> Result<(), Rejection> {
        let mut room = self.room;
        room.take(transaction.transaction())
            .map_err(|_| Rejection::BlockFull)?;
        let code = transaction.transaction().action().code();
        // In a new epoch nothing goes before the recovery or the handover that begins it.
        let opens = matches!(
            code,
            ActionCode::Recovery | ActionCode::Genesis | ActionCode::Handover
        );
        if !opens && self.context.position == 0 {
            let row = self.ledger_row().map_err(|_| Rejection::DamagedState)?;
            if row.is_some_and(|row| row.epoch != self.context.epoch) {
                return Err(Rejection::EpochPlace);
            }
        }
        let writes = check(transaction, &self.context, &self.state)?.apply();
        self.state.take(writes);
        self.recovered |= code == ActionCode::Recovery;
        self.room = room;
        self.context.position += 1;
        Ok(())
    }

    /// Ends the block.
    ///
    /// # Errors
    /// [`BlockError::Epoch`], [`BlockError::Height`], [`BlockError::Ended`], [`BlockError::DamagedState`]
    pub fn finish(self) -> Result<Ran, BlockError> {
        let row = self.ledger_row()?.ok_or(BlockError::Epoch)?;
        let context = &self.context;
        if (row.epoch, row.set_hash, row.skipped)
            != (context.epoch, context.set_hash, context.skipped)
        {
            return Err(BlockError::Epoch);
        }
        if !self.recovered && context.parent_height.next() != Some(context.height) {
            return Err(BlockError::Height);
        }
        if row.ends.is_some_and(|ends| context.height > ends.last) {
            return Err(BlockError::Ended);
        }
        let members = self.state.row(&StateKey::members());
        let members = members.ok_or(BlockError::DamagedState)?;
        let members = Members::decode(&members).map_err(|_| BlockError::DamagedState)?;
        let last_of_epoch = row.ends.filter(|ends| ends.last == context.height);
        Ok(Ran {
            writes: self.state.into_writes(),
            ends: row.ends.map(|ends| ends.last),
            next_set_hash: last_of_epoch.map(|ends| ends.next_set_hash),
            heartbeat_ms: members.heartbeat_ms,
        })
    }

    fn ledger_row(&self) -> Result<Option<LedgerRow>, BlockError> {
        self.state
            .row(&StateKey::ledger())
            .map(|row| LedgerRow::decode(&row).map_err(|_| BlockError::DamagedState))
            .transpose()
    }
}

/// Runs a whole block whose transactions nobody has verified yet.
///
/// Signatures are verified together first; those of keys that the block itself brings (a writer granted two transactions
/// before it registers) are verified when their turn comes.
///
/// # Errors
/// The first rule that the block breaks.
pub fn run_block(
    transactions: Vec<Transaction>,
    context: BlockContext,
    state: impl State,
    rng: &mut impl CryptoRng,
) -> Result<Ran, BlockError> {
    prepare_block(transactions, |_| None, &context.chain, &state, rng)?.run(context, state, rng)
}

/// A block within its bounds whose signatures are good, as far as its signers are known.
#[derive(Debug)]
pub struct Prepared(Vec<Turn>);

/// When a transaction's signatures are verified.
#[derive(Debug)]
enum Turn {
    /// They were.
    Verified(Arc<Verified>),
    /// When the transactions before it have run: one of them brings its signer.
    Later(Box<Transaction>),
}

/// Checks a block's bounds and verifies its signatures. Of the state nothing is asked but [`signer_reads`](crate::signer_reads).
///
/// Some transactions may have been verified before, on whatever state of this ledger: `known` gives them. The verdict does not depend
/// on it: what was verified against other keys than the state's own, [`check`] verifies again.
///
/// # Errors
/// The first rule that the block breaks.
pub fn prepare_block(
    transactions: Vec<Transaction>,
    known: impl Fn(&TxId) -> Option<Arc<Verified>>,
    chain: &ChainId,
    state: &impl State,
    rng: &mut impl CryptoRng,
) -> Result<Prepared, BlockError> {
    check_bounds(&transactions)?;
    let refused = |index, rejection| BlockError::Transaction { index, rejection };
    let mut turns = Vec::with_capacity(transactions.len());
    let (mut indices, mut claimed) = (Vec::new(), Vec::new());
    for (index, transaction) in transactions.into_iter().enumerate() {
        turns.push(if let Some(verified) = known(&transaction.id()) {
            Some(Turn::Verified(verified))
        } else if signers_are_known(&transaction, state) {
            indices.push(index);
            let claims = claims(transaction, chain, state);
            claimed.push(claims.map_err(|rejection| refused(index, rejection))?);
            None
        } else {
            Some(Turn::Later(Box::new(transaction)))
        });
    }
    let mut together = indices.into_iter().zip(verify(claimed, rng));
    let turns = turns.into_iter().map(|turn| match turn {
        Some(turn) => Ok(Some(turn)),
        // As many as have no turn yet, in their order.
        None => together
            .next()
            .map(|(index, verified)| verified.map_err(|rejection| refused(index, rejection)))
            .transpose()
            .map(|verified| verified.map(|verified| Turn::Verified(Arc::new(verified)))),
    });
    let turns = turns.collect::<Result<Vec<_>, _>>()?;
    Ok(Prepared(turns.into_iter().flatten().collect()))
}

impl Prepared {
    /// The block's transactions, in their order.
    pub fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.0.iter().map(|turn| match turn {
            Turn::Verified(verified) => verified.transaction(),
            Turn::Later(transaction) => transaction,
        })
    }

    /// Runs the block.
    ///
    /// # Errors
    /// The first rule that the block breaks.
    pub fn run(
        self,
        context: BlockContext,
        state: impl State,
        rng: &mut impl CryptoRng,
    ) -> Result<Ran, BlockError> {
        let refused = |index, rejection| BlockError::Transaction { index, rejection };
        let mut run = BlockRun::new(context, state);
        for (index, turn) in self.0.into_iter().enumerate() {
            let verified = match turn {
                Turn::Verified(verified) => Some(verified),
                Turn::Later(transaction) => claims(*transaction, &context.chain, run.state())
                    .and_then(|claims| verify(vec![claims], rng).pop().transpose())
                    .map_err(|rejection| refused(index, rejection))?
                    .map(Arc::new),
            };
            if let Some(verified) = verified {
                run.push(&verified)
                    .map_err(|rejection| refused(index, rejection))?;
            }
        }
        run.finish()
    }
}

fn signers_are_known(transaction: &Transaction, state: &impl State) -> bool {
    transaction.signatures().iter().all(|signed| {
        transaction.action().entry(&signed.signer).is_some()
            || state.row(&StateKey::record(&signed.signer)).is_some()
    })
}
