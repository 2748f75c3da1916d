//! Takes transactions in: verifies their signatures in batches, before they may go into a block.
//!
//! A transaction names up to some thousand rows. Until its signatures are good only its signers' rows are read, so that
//! nobody can have the others read without answering for it.

use super::{
    Runtime,
    application::TransactionPool,
    execute::{self, Refusal},
    gossip::Liars,
    head::Heads,
    run::Queue,
    state::Databases,
};
use crate::{
    handle::Offered,
    pool::{PoolLimits, Source},
};
use kusabi_core::id::{ChainId, TxId};
use kusabi_ledger::{MemoryState, Rejection, Verified, claims, verify};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Transactions verified together.
const BATCH: usize = 128;
/// Batches verified at the same time.
const BATCHES: usize = 2;
/// How long a transaction whose signer this node does not know is put off, where there are other nodes: they may be ahead, and
/// the signer has just been registered there.
const LATER: Duration = Duration::from_secs(2);

/// Which part of the pool may be put off in this way: whoever makes signers up cannot have the rest wait.
const STRANGERS: usize = 4;

/// The places for those whose signers are not known yet.
#[derive(Clone)]
pub(super) struct Strangers {
    places: Arc<Semaphore>,
    /// Bytes that take one place.
    bytes: usize,
}

impl Strangers {
    pub(super) fn new(pool: PoolLimits) -> Self {
        Self {
            places: Arc::new(Semaphore::new((pool.count / STRANGERS).max(1))),
            bytes: (pool.bytes / pool.count.max(1)).max(1),
        }
    }

    /// Places for a transaction of that many bytes; none when there are too few.
    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let places = u32::try_from(bytes / self.bytes + 1).ok()?;
        self.places.clone().try_acquire_many_owned(places).ok()
    }
}

/// A client's transaction that other nodes are to be told of.
pub(super) type ToTell = (TxId, Arc<Verified>);

/// What taking in needs of the node.
pub(super) struct Door<E: Runtime> {
    pub(super) chain: ChainId,
    pub(super) databases: Databases<E>,
    pub(super) heads: Heads,
    pub(super) pool: Arc<TransactionPool>,
    /// One for all doors of a node.
    pub(super) strangers: Strangers,
    /// The other nodes, where there are any.
    pub(super) others: Option<Others>,
}

/// The ways to other nodes.
#[derive(Clone)]
pub(super) struct Others {
    /// Where clients' transactions go that are good.
    pub(super) tell: mpsc::UnboundedSender<ToTell>,
    /// Where nodes are named that told of what no honest node tells.
    pub(super) liars: Liars,
}

impl<E: Runtime> Clone for Door<E> {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain,
            databases: self.databases.clone(),
            heads: self.heads.clone(),
            pool: self.pool.clone(),
            strangers: self.strangers.clone(),
            others: self.others.clone(),
        }
    }
}

/// Runs until the queue ends. `again` is its other end. Clients and nodes have a queue each, so that neither waits for the other.
pub(super) async fn take_in<E: Runtime>(
    context: E,
    door: Door<E>,
    queue: Queue<mpsc::UnboundedReceiver<Offered>>,
    again: mpsc::WeakUnboundedSender<Offered>,
) {
    let mut queue = queue.lock_owned().await;
    let turns = Arc::new(Semaphore::new(BATCHES));
    loop {
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return;
        };
        let mut batch = Vec::with_capacity(BATCH);
        if queue.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let keys = execute::signer_keys(batch.iter().map(|offered| &offered.transaction));
        let signers = execute::fetch_final(&*door.databases.read().await, keys).await;
        let (door, again) = (door.clone(), again.clone());
        // Not of the task below: what a task has begun ends with it.
        let later = context.child("later");
        let verifying = context.child("verify").shared(true);
        verifying.spawn(move |mut context| async move {
            let put_off = door.verify(&mut context, batch, &signers).await;
            if !put_off.is_empty() {
                later.spawn(move |context| async move {
                    context.sleep(LATER).await;
                    // Without handles nobody waits for an answer.
                    let Some(again) = again.upgrade() else { return };
                    for (offered, _place) in put_off {
                        // The other end is gone when the node stops.
                        let _ = again.send(offered);
                    }
                });
            }
            drop(turn);
        });
    }
}

impl<E: Runtime> Door<E> {
    /// Takes in a batch; gives back what is to be looked at later.
    async fn verify(
        &self,
        context: &mut E,
        batch: Vec<Offered>,
        signers: &MemoryState,
    ) -> Vec<(Offered, OwnedSemaphorePermit)> {
        let refuse = |id, why| self.pool.refuse(&id, &Refusal::Rejected(why));
        let mut put_off = Vec::new();
        let mut ids = Vec::with_capacity(batch.len());
        let mut claimed = Vec::with_capacity(batch.len());
        for offered in batch {
            let Offered {
                transaction,
                source,
                again,
            } = offered;
            let id = transaction.id();
            match claims(transaction.clone(), &self.chain, signers) {
                Ok(claims) => {
                    ids.push((id, source));
                    claimed.push(claims);
                }
                Err(why @ Rejection::UnknownSigner) if self.others.is_some() && !again => {
                    let Some(place) = self.strangers.take(transaction.as_bytes().len()) else {
                        refuse(id, why);
                        continue;
                    };
                    let offered = Offered {
                        transaction,
                        source,
                        again: true,
                    };
                    put_off.push((offered, place));
                }
                Err(why) => refuse(id, why),
            }
        }
        let mut signed = Vec::with_capacity(ids.len());
        for ((id, source), verified) in ids.into_iter().zip(verify(claimed, context)) {
            match verified {
                Ok(verified) => signed.push((id, source, verified)),
                Err(why) => {
                    refuse(id, why);
                    // A handle's key never changes: whoever told of this has not verified it.
                    if let (Some(others), Source::Node(node)) = (&self.others, source)
                        && why == Rejection::BadSignature
                    {
                        // Without the other end the node stops.
                        let _ = others.liars.send(node);
                    }
                }
            }
        }
        let transactions = signed.iter().map(|(.., verified)| verified.transaction());
        let keys = execute::keys(transactions);
        let state = execute::fetch_final(&*self.databases.read().await, keys).await;
        let head = self.heads.newest();
        let mut admitted = Vec::with_capacity(signed.len());
        let mut of_clients = Vec::new();
        for (id, source, verified) in signed {
            let refused = head
                .and_then(|head| execute::refused_for_ever(&verified, &self.chain, &head, &state));
            match refused {
                Some(why) => refuse(id, why),
                None => {
                    let verified = Arc::new(verified);
                    if source == Source::Client {
                        of_clients.push((id, verified.clone()));
                    }
                    admitted.push((id, verified));
                }
            }
        }
        self.pool.admit(admitted);
        if let Some(others) = &self.others {
            for told in of_clients {
                // If the teller is gone, the node stops.
                let _ = others.tell.send(told);
            }
        }
        put_off
    }
}
