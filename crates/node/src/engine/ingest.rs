//! Takes transactions in: verifies their signatures in batches, before they may go into a block.

use super::{
    Runtime,
    application::TransactionPool,
    execute::{self, Refusal},
    head::Heads,
    state::Databases,
};
use kusabi_core::{id::ChainId, tx::Transaction};
use kusabi_ledger::{claims, verify};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Transactions verified together.
const BATCH: usize = 128;
/// Batches verified at the same time.
const BATCHES: usize = 2;

/// Runs until the queue ends.
pub(super) async fn take_in<E: Runtime>(
    context: E,
    chain: ChainId,
    mut queue: mpsc::UnboundedReceiver<Transaction>,
    databases: Databases<E>,
    heads: Heads,
    pool: Arc<TransactionPool>,
) {
    let turns = Arc::new(Semaphore::new(BATCHES));
    loop {
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return;
        };
        let mut batch = Vec::with_capacity(BATCH);
        if queue.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let state = execute::fetch_final(&*databases.read().await, batch.iter()).await;
        let head = heads.newest();
        let pool = pool.clone();
        let verifying = context.child("verify").shared(true);
        verifying.spawn(move |mut context| async move {
            let mut ids = Vec::with_capacity(batch.len());
            let mut claimed = Vec::with_capacity(batch.len());
            for transaction in batch {
                let id = transaction.id();
                match claims(transaction, &chain, &state) {
                    Ok(claims) => {
                        ids.push(id);
                        claimed.push(claims);
                    }
                    Err(why) => pool.refuse(&id, &Refusal::Rejected(why)),
                }
            }
            let mut admitted = Vec::with_capacity(ids.len());
            for (id, verified) in ids.into_iter().zip(verify(claimed, &mut context)) {
                let verified = verified.and_then(|verified| {
                    let refused = head.and_then(|head| {
                        execute::refused_for_ever(&verified, &chain, &head, &state)
                    });
                    refused.map_or(Ok(verified), Err)
                });
                match verified {
                    Ok(verified) => admitted.push((id, Arc::new(verified))),
                    Err(why) => pool.refuse(&id, &Refusal::Rejected(why)),
                }
            }
            pool.admit(admitted);
            drop(turn);
        });
    }
}
