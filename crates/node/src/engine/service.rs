//! Answers the handle's questions: proofs, checkpoints, blocks; takes transactions in.

use super::{
    Digest, Runtime, Scheme,
    block::position,
    epochs::Epochs,
    head::{Head, Heads},
    ingest::{self, Door},
    proof,
    run::Queue,
    shelf::Shelf,
    state::Databases,
};
use crate::handle::{FinalBlock, Lookup, Newest, Offered, Query, QueryError};
use bytes::Bytes;
use commonware_consensus::simplex::types::Finalization;
use commonware_macros::select;
use commonware_utils::sync::{AsyncMutex, Mutex};
use futures::future::pending;
use kusabi_core::{
    checkpoint::HEADERS_MAX,
    header::Header,
    id::{Height, StateRoot},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc, watch};

/// Lookups answered under one read of the state.
const BATCH: usize = 64;
/// Batches answered at the same time.
const BATCHES: usize = 4;
/// Other questions answered at the same time.
const QUERIES: usize = 16;
/// How long a question waits for a certificate: the newest block's, or one that was missed.
const CERTIFICATE_WAIT: Duration = Duration::from_secs(2);

/// The receiving ends of a handle.
pub(crate) struct Services {
    pub(crate) ingest: Queue<mpsc::UnboundedReceiver<Offered>>,
    pub(crate) again: mpsc::WeakUnboundedSender<Offered>,
    pub(crate) lookups: Queue<mpsc::Receiver<Lookup>>,
    pub(crate) queries: Queue<mpsc::Receiver<Query>>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Where answers come from.
pub(super) struct Sources<E: Runtime> {
    pub(super) epochs: Epochs,
    pub(super) databases: Databases<E>,
    pub(super) heads: Heads,
    pub(super) shelf: Shelf<E>,
    pub(super) newest: watch::Receiver<Option<Newest>>,
}

impl<E: Runtime> Clone for Sources<E> {
    fn clone(&self) -> Self {
        Self {
            epochs: self.epochs.clone(),
            databases: self.databases.clone(),
            heads: self.heads.clone(),
            shelf: self.shelf.clone(),
            newest: self.newest.clone(),
        }
    }
}

/// Serves until told to stop, or until every handle is gone. Without a door no transactions are taken in.
pub(super) async fn serve<E: Runtime>(
    context: E,
    services: Services,
    sources: Sources<E>,
    door: Option<Door<E>>,
) {
    let Services {
        ingest,
        again,
        lookups,
        queries,
        mut stop,
    } = services;
    let checkpoints = Checkpoints {
        sources,
        newest: Arc::default(),
        making: Arc::default(),
    };
    let taking = context.child("ingest").spawn(move |context| async move {
        match door {
            Some(door) => ingest::take_in(context, door, ingest, again).await,
            None => pending().await,
        }
    });
    let proving = context.child("lookups").spawn({
        let checkpoints = checkpoints.clone();
        move |context| answer_lookups(context, lookups, checkpoints)
    });
    let answering = context
        .child("queries")
        .spawn(move |context| answer_queries(context, queries, checkpoints));
    select! {
        _ = stop.wait_for(|stop| *stop) => {},
        _ = taking => {},
        _ = proving => {},
        _ = answering => {},
    }
}

async fn answer_lookups<E: Runtime>(
    context: E,
    lookups: Queue<mpsc::Receiver<Lookup>>,
    checkpoints: Checkpoints<E>,
) {
    let mut lookups = lookups.lock_owned().await;
    let turns = Arc::new(Semaphore::new(BATCHES));
    loop {
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return;
        };
        let mut batch = Vec::with_capacity(BATCH);
        if lookups.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let checkpoints = checkpoints.clone();
        context.child("batch").spawn(move |context| async move {
            checkpoints.prove(&context, batch).await;
            drop(turn);
        });
    }
}

async fn answer_queries<E: Runtime>(
    context: E,
    queries: Queue<mpsc::Receiver<Query>>,
    checkpoints: Checkpoints<E>,
) {
    let mut queries = queries.lock_owned().await;
    let turns = Arc::new(Semaphore::new(QUERIES));
    while let Some(query) = queries.recv().await {
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return;
        };
        let checkpoints = checkpoints.clone();
        context.child("query").spawn(move |context| async move {
            // Who asked and went away needs no answer: sends may fail.
            match query {
                Query::Checkpoint(answer) => {
                    let head = checkpoints.head().await;
                    let _ = answer.send(match head {
                        Some(head) => checkpoints.newest(&context, &head).await,
                        None => Err(QueryError::NotReady),
                    });
                }
                Query::BlockFrom(height, answer) => {
                    let block = checkpoints.block_from(height).await;
                    if block != Err(QueryError::NotReady) {
                        let _ = answer.send(block);
                        return;
                    }
                    // Others have their turn meanwhile.
                    drop(turn);
                    let block = checkpoints.block_when_covered(&context, height).await;
                    let _ = answer.send(block);
                }
            }
        });
    }
}

/// Makes checkpoints and keeps the newest.
struct Checkpoints<E: Runtime> {
    sources: Sources<E>,
    newest: Arc<Mutex<Option<(Head, Bytes)>>>,
    making: Arc<AsyncMutex<()>>,
}

impl<E: Runtime> Clone for Checkpoints<E> {
    fn clone(&self) -> Self {
        Self {
            sources: self.sources.clone(),
            newest: self.newest.clone(),
            making: self.making.clone(),
        }
    }
}

impl<E: Runtime> Checkpoints<E> {
    /// The header of the state as it stands.
    async fn head(&self) -> Option<Head> {
        let root = self.sources.databases.read().await.root();
        self.sources.heads.with_root(&StateRoot::new(root.0))
    }

    /// The checkpoint of the header that the state stands at, from the cache if it is there.
    async fn newest(&self, context: &E, head: &Head) -> Result<Bytes, QueryError> {
        let cached = || {
            let newest = self.newest.lock();
            newest
                .as_ref()
                .filter(|(of, _)| of == head)
                .map(|(_, bytes)| bytes.clone())
        };
        if let Some(bytes) = cached() {
            return Ok(bytes);
        }
        // One makes it, the others wait.
        let _making = self.making.lock().await;
        if let Some(bytes) = cached() {
            return Ok(bytes);
        }
        let mut durable = self.sources.newest.clone();
        let end = context.current() + CERTIFICATE_WAIT;
        loop {
            durable.mark_unchanged();
            if let Some(bytes) = self.of(head.header).await {
                let mut newest = self.newest.lock();
                if newest
                    .as_ref()
                    .is_none_or(|(of, _)| of.header.height <= head.header.height)
                {
                    *newest = Some((*head, bytes.clone()));
                }
                return Ok(bytes);
            }
            let left = end.duration_since(context.current()).unwrap_or_default();
            if left.is_zero() {
                return Err(QueryError::NotReady);
            }
            select! {
                _ = durable.changed() => {},
                () = context.sleep(left) => {},
            }
        }
    }

    /// The checkpoint whose first header is this one, if a certificate is near enough.
    async fn of(&self, header: Header) -> Option<Bytes> {
        let mut headers = vec![header];
        loop {
            let last = headers.last()?;
            let position = position(last);
            if let Some(finalization) = self.sources.shelf.certificate(position).await {
                return proof::checkpoint(headers, &finalization).map(Bytes::from);
            }
            if headers.len() >= HEADERS_MAX {
                return None;
            }
            let next = self.sources.shelf.block(position + 1).await?;
            headers.push(next.header);
        }
    }

    /// Proves what the state holds under each key.
    async fn prove(&self, context: &E, batch: Vec<Lookup>) {
        let mut proofs = Vec::with_capacity(batch.len());
        let head = {
            let state = self.sources.databases.read().await;
            for Lookup { key, answer } in batch {
                if !answer.is_closed() {
                    proofs.push((proof::path(&state, key).await, answer));
                }
            }
            self.sources
                .heads
                .with_root(&StateRoot::new(state.root().0))
        };
        let checkpoint = match head {
            Some(head) => self.newest(context, &head).await,
            None => Err(QueryError::NotReady),
        };
        for (path, answer) in proofs {
            // Who asked and went away needs no answer.
            let _ = answer.send(
                checkpoint
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|checkpoint| {
                        let path = path.ok_or(QueryError::NotReady)?;
                        path.proof(checkpoint).ok_or(QueryError::NotReady)
                    }),
            );
        }
    }

    /// The same, waiting a while for its certificate.
    async fn block_when_covered(
        &self,
        context: &E,
        height: Height,
    ) -> Result<Option<FinalBlock>, QueryError> {
        let end = context.current() + CERTIFICATE_WAIT;
        loop {
            let brought = self.sources.shelf.brought();
            let block = self.block_from(height).await;
            if block != Err(QueryError::NotReady) || end <= context.current() {
                return block;
            }
            select! {
                () = brought => {},
                () = context.sleep_until(end) => {},
            }
        }
    }

    /// The first final block at or above a height; [`QueryError::NotReady`] when no certificate covers it.
    async fn block_from(&self, height: Height) -> Result<Option<FinalBlock>, QueryError> {
        let Some(newest) = *self.sources.newest.borrow() else {
            return Ok(None);
        };
        if height > newest.height {
            return Ok(None);
        }
        let position = self.sources.epochs.position_from(height);
        let Some(block) = self.sources.shelf.block(position).await else {
            return Ok(None);
        };
        let checkpoint = self.of(block.header).await;
        // Its certificate was missed, and others are asked for one (`repair`).
        if checkpoint.is_none() && position > 0 {
            return Err(QueryError::NotReady);
        }
        Ok(Some(FinalBlock {
            header: block.header,
            hash: *block.hash(),
            checkpoint,
            transactions: block.transactions.clone(),
        }))
    }
}

/// The engine's certificate.
pub(super) type Certificate = Finalization<Scheme, Digest>;
