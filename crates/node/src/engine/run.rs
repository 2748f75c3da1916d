//! The engine's two ways to run: on disk, and simulated from a seed.

use super::{
    EngineError, Runtime,
    application::TransactionPool,
    disk,
    epochs::Epochs,
    service::Services,
    start::{self, Parameters},
    state::Caches,
};
use crate::{
    directory::VoteKey,
    handle::{Lookup, Newest, Query},
    outline::Outline,
};
use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
use commonware_runtime::{Spawner as _, Supervisor as _};
use kusabi_core::tx::Transaction;
use std::{num::NonZeroUsize, path::Path, sync::Arc};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// The engine's ends of the queues.
pub(crate) struct Ends {
    pub(crate) ingest: mpsc::UnboundedReceiver<Transaction>,
    pub(crate) lookups: mpsc::Receiver<Lookup>,
    pub(crate) queries: mpsc::Receiver<Query>,
    pub(crate) newest: watch::Sender<Option<Newest>>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What one run of the engine is told.
pub(crate) struct Instructions {
    pub(crate) outline: Outline,
    pub(crate) vote_key: VoteKey,
    /// Whether the key is known to have voted in the newest epoch.
    pub(crate) voted: bool,
    pub(crate) caches: Caches,
    pub(crate) threads: NonZeroUsize,
    pub(crate) pool: Arc<TransactionPool>,
}

/// Runs on disk until it stops or fails. `ready` is called when it answers, `first_vote` once this key's first block of the
/// newest epoch is on disk, before anyone is told of it.
pub(crate) fn run_on_disk(
    storage: &Path,
    instructions: Instructions,
    ends: Ends,
    ready: impl FnOnce() + Send + 'static,
    first_vote: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    let threads = instructions.threads;
    disk::start(storage, threads, |context| async move {
        // In a task of its own: when several parts fail, the runner reports the first one, but the root would
        // report what failed after it.
        let all = context
            .child("node")
            .spawn(move |context| run(context, instructions, ends, ready, first_vote));
        all.await.unwrap_or(Err(EngineError::Ended))
    })
}

/// Runs in any world.
pub(crate) async fn run<E: Runtime>(
    context: E,
    instructions: Instructions,
    ends: Ends,
    ready: impl FnOnce() + Send + 'static,
    first_vote: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    let Instructions {
        outline,
        vote_key,
        voted,
        caches,
        threads,
        pool,
    } = instructions;
    let key = PrivateKey::decode(Bytes::from_owner(Zeroizing::new(*vote_key.seed())))
        .map_err(|_| EngineError::VoteKey)?;
    let epochs = Epochs::of(&outline, Some(&key))?;
    let parameters = Parameters {
        epochs,
        key: key.public_key(),
        voted,
        outline,
        caches,
        threads,
        pool,
    };
    let services = Services {
        ingest: ends.ingest,
        lookups: ends.lookups,
        queries: ends.queries,
        stop: ends.stop,
    };
    start::run(
        context,
        parameters,
        services,
        ends.newest,
        ready,
        first_vote,
    )
    .await
}
