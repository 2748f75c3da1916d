//! Runs a block that is final already on the state, and compares what it gives with its header.

use super::{Runtime, audit::AuditError, execute, state::Databases};
use bytes::Bytes;
use commonware_glue::stateful::db::{DatabaseSet, Merkleized as _, Unmerkleized as _};
use kusabi_core::{header::Header, id::ChainId};
use kusabi_ledger::run_block;

/// A state of which everything is as the block's header says, and which nobody sees yet.
pub(super) type Replayed<E> = <Databases<E> as DatabaseSet<E>>::Merkleized;

/// Runs a block on the state of its parent. The state itself stays as it is.
pub(super) async fn replay<E: Runtime>(
    context: &mut E,
    chain: &ChainId,
    state: &Databases<E>,
    parent: &Header,
    header: &Header,
    transactions: &[Bytes],
) -> Result<Replayed<E>, AuditError> {
    let height = header.height;
    let transactions = execute::decode(transactions).ok_or(AuditError::Malformed { height })?;
    let batch = DatabaseSet::<E>::new_batches(state).await;
    let unread = |why: String| super::EngineError::Store {
        what: "rows for blocks that are run again",
        why,
    };
    let rows = execute::fetch::<E>(&batch, execute::keys(transactions.iter()))
        .await
        .ok_or_else(|| unread("rows cannot be read".to_owned()))?;
    let ledger_context = execute::block_context(chain, header, parent);
    let ran = run_block(transactions, ledger_context, &rows, context)
        .map_err(|why| AuditError::Rules { height, why })?;
    let merkleized = execute::write::<E>(batch, ran.writes)
        .merkleize()
        .await
        .map_err(|why| unread(why.to_string()))?;
    let differs = |what| Err(AuditError::Root { height, what });
    if ran.next_set_hash != header.next_set_hash {
        return differs("end of the epoch");
    }
    if merkleized.root().0 != header.state_root.to_bytes() {
        return differs("state root");
    }
    if merkleized.ops_root().0 != header.ops_root.to_bytes() {
        return differs("operation log");
    }
    let range = (
        *merkleized.sync_boundary(),
        u64::from(merkleized.bounds().tip.size),
    );
    if range != (header.ops_start, header.ops_end) {
        return differs("range of operations");
    }
    Ok(merkleized)
}
