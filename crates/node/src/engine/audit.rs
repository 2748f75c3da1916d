//! Replays a ledger from genesis on a fresh database and compares every root.

use super::{
    EngineError, Runtime,
    archive::{self, BlockSource},
    disk,
    epochs::Epochs,
    replay,
    state::{self, Caches, Databases},
};
use crate::{
    backup::BackupError,
    handle::FinalBlock,
    history::{BadBlock, History},
    outline::Outline,
};
use commonware_glue::stateful::db::DatabaseSet;
use commonware_utils::NZUsize;
use kusabi_core::{header::Header, id::Height};
use kusabi_ledger::BlockError;
use std::path::Path;

/// What an audit found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Blocks replayed.
    pub blocks: u64,
    /// Transactions replayed.
    pub transactions: u64,
    /// Header of the last block.
    pub last: Header,
}

/// The first difference.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The blocks cannot be read.
    #[error("{0}")]
    Backup(#[from] BackupError),
    /// A block breaks a rule of the chain.
    #[error("{0}")]
    Block(#[from] BadBlock),
    /// A transaction is malformed or breaks a rule of the ledger.
    #[error("block {}: {why}", height.get())]
    Rules {
        /// Height of the block.
        height: Height,
        /// The rule.
        why: BlockError,
    },
    /// A transaction is malformed.
    #[error("block {}: a transaction is malformed", height.get())]
    Malformed {
        /// Height of the block.
        height: Height,
    },
    /// The state after a block is not what its header says.
    #[error("block {}: its transactions give another {what} than its header says", height.get())]
    Root {
        /// Height of the block.
        height: Height,
        /// What differs.
        what: &'static str,
    },
    /// The scratch database fails.
    #[error("{0}")]
    Engine(#[from] EngineError),
}

/// Replays blocks from height 1 on, in `scratch`, which the caller removes afterwards.
///
/// # Errors
/// The first difference.
pub fn audit(
    scratch: &Path,
    outline: Outline,
    mut blocks: impl Iterator<Item = Result<FinalBlock, BackupError>>,
    mut progress: impl FnMut(&Header),
) -> Result<Audit, AuditError> {
    on_disk(scratch, outline, &mut blocks, &mut progress)
}

fn on_disk(
    scratch: &Path,
    outline: Outline,
    blocks: &mut BlockSource<'_>,
    progress: &mut dyn FnMut(&Header),
) -> Result<Audit, AuditError> {
    disk::start(scratch, archive::THREADS, |context| {
        replay(context, outline, blocks, progress)
    })
}

pub(super) async fn replay<E: Runtime>(
    mut context: E,
    outline: Outline,
    blocks: &mut BlockSource<'_>,
    progress: &mut dyn FnMut(&Header),
) -> Result<Audit, AuditError> {
    let epochs = Epochs::of(&outline, None)?;
    let genesis = archive::genesis::<E>(&epochs, &outline)?;
    let chain = *outline.chain();
    let mut audit = Audit {
        blocks: 0,
        transactions: 0,
        last: genesis.header,
    };
    let mut history = History::new(outline, genesis.header);
    let strategy = context.child("strategy").strategy(NZUsize!(2));
    let config = state::config(&Caches::default(), strategy);
    let state = <Databases<E> as DatabaseSet<E>>::init(context.child("state"), config, None).await;
    for block in blocks {
        let block = block?;
        let header = block.header;
        let parent = *history.last().0;
        history.push(&block)?;
        audit.blocks += 1;
        audit.transactions += block.transactions.len() as u64;
        let FinalBlock { transactions, .. } = &block;
        let merkleized =
            replay::replay(&mut context, &chain, &state, &parent, &header, transactions).await?;
        DatabaseSet::<E>::apply(&state, merkleized).await;
        if audit.blocks.is_multiple_of(256) {
            DatabaseSet::<E>::finalize(&state).await.durable().await;
        }
        audit.last = header;
        progress(&header);
    }
    history.finish()?;
    Ok(audit)
}
