//! Takes transactions in: verifies their signatures in batches, before they may go into a block.
//!
//! A transaction names up to some thousand rows. Until its signatures are good only its signers' rows are read, so that
//! nobody can have the others read without answering for it.

use super::{
    Runtime,
    application::TransactionPool,
    execute::{self, Refusal},
    head::Heads,
    state::Databases,
};
use crate::{handle::Offered, pool::Source};
use kusabi_core::id::{ChainId, TxId};
use kusabi_ledger::{Verified, claims, verify};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::{Semaphore, mpsc};

/// Transactions verified together.
const BATCH: usize = 128;
/// Batches verified at the same time.
const BATCHES: usize = 2;

/// A client's transaction that other nodes are to be told of.
pub(super) type ToTell = (TxId, Arc<Verified>);

/// Runs until the queue ends. Clients' transactions that are good go to `tell`, too, where there is anybody to be told.
pub(super) async fn take_in<E: Runtime>(
    context: E,
    chain: ChainId,
    mut queue: mpsc::UnboundedReceiver<Offered>,
    databases: Databases<E>,
    heads: Heads,
    pool: Arc<TransactionPool>,
    tell: Option<mpsc::UnboundedSender<ToTell>>,
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
        let (sources, batch): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(
                |Offered {
                     transaction,
                     source,
                 }| ((transaction.id(), source), transaction),
            )
            .unzip();
        let keys = execute::signer_keys(&batch);
        let signers = execute::fetch_final(&*databases.read().await, keys).await;
        let (databases, heads, pool) = (databases.clone(), heads.clone(), pool.clone());
        let tell = tell.clone();
        let verifying = context.child("verify").shared(true);
        verifying.spawn(move |mut context| async move {
            let refuse = |id, why| pool.refuse(&id, &Refusal::Rejected(why));
            let mut ids = Vec::with_capacity(batch.len());
            let mut claimed = Vec::with_capacity(batch.len());
            for transaction in batch {
                let id = transaction.id();
                match claims(transaction, &chain, &signers) {
                    Ok(claims) => {
                        ids.push(id);
                        claimed.push(claims);
                    }
                    Err(why) => refuse(id, why),
                }
            }
            let mut signed = Vec::with_capacity(ids.len());
            for (id, verified) in ids.into_iter().zip(verify(claimed, &mut context)) {
                match verified {
                    Ok(verified) => signed.push((id, verified)),
                    Err(why) => refuse(id, why),
                }
            }
            let keys = execute::keys(signed.iter().map(|(_, verified)| verified.transaction()));
            let state = execute::fetch_final(&*databases.read().await, keys).await;
            let head = heads.newest();
            let mut admitted = Vec::with_capacity(signed.len());
            for (id, verified) in signed {
                let refused = head
                    .and_then(|head| execute::refused_for_ever(&verified, &chain, &head, &state));
                match refused {
                    Some(why) => refuse(id, why),
                    None => admitted.push((id, Arc::new(verified))),
                }
            }
            pool.admit(admitted.iter().cloned());
            if let Some(tell) = tell {
                let clients = sources
                    .iter()
                    .filter(|(_, source)| *source == Source::Client);
                let clients: HashSet<TxId> = clients.map(|(id, _)| *id).collect();
                for told in admitted.into_iter().filter(|(id, _)| clients.contains(id)) {
                    // If the teller is gone, the node stops.
                    let _ = tell.send(told);
                }
            }
            drop(turn);
        });
    }
}
