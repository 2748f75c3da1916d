//! The engine's two ways to run: on disk, and simulated from a seed.

use super::{
    EngineError, PublicKey, Runtime,
    application::TransactionPool,
    disk,
    epochs::Epochs,
    freshness::Signer,
    network::{self, Links, Sends, Tcp, Voters, Wire},
    pulse::{self, Awaits},
    service::Services,
    start::{self, Parameters},
    state::Caches,
};
use crate::{
    directory::{NodeKey, VoteKey},
    handle::{Asked, Lookup, Newest, Offered, Query},
    health::Pulse,
    outline::{EpochOutline, NodeOutline, Outline},
    tally::Tally,
};
use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
use commonware_macros::select;
use commonware_runtime::{Spawner as _, Supervisor as _};
use std::{
    collections::HashMap,
    net::SocketAddr,
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// The engine's end of a queue, which outlives each of its runs: one of them reads it at a time.
pub(crate) type Queue<T> = Arc<tokio::sync::Mutex<T>>;

/// The engine's ends of the queues. Clones are the same.
#[derive(Clone)]
pub(crate) struct Ends {
    pub(crate) ingest: Queue<mpsc::UnboundedReceiver<Offered>>,
    /// The other end of that queue, for what is put off.
    pub(crate) again: mpsc::WeakUnboundedSender<Offered>,
    pub(crate) lookups: Queue<mpsc::Receiver<Lookup>>,
    pub(crate) queries: Queue<mpsc::Receiver<Query>>,
    pub(crate) nonces: Queue<mpsc::Receiver<Asked>>,
    pub(crate) newest: watch::Sender<Option<Newest>>,
    /// Whether it answers; told by whoever gave the engine its `ready`.
    pub(crate) begun: watch::Sender<bool>,
    pub(crate) pulse: watch::Sender<Option<Pulse>>,
    pub(crate) tally: watch::Sender<Option<Tally>>,
    /// How long the ledger may be idle, as the newest block says that was looked at.
    pub(crate) heartbeat: watch::Sender<Duration>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// How a run of the engine has ended in good order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was asked to stop.
    Asked,
    /// The epoch has ended: the transaction that opens the next one. The engine is to be run again, in that one.
    Turned(Bytes),
}

/// What one run of the engine is told.
pub(crate) struct Instructions {
    pub(crate) outline: Outline,
    pub(crate) vote_key: VoteKey,
    pub(crate) node_key: NodeKey,
    /// Whether the key is known to have voted in the newest epoch.
    pub(crate) voted: bool,
    pub(crate) caches: Caches,
    pub(crate) threads: NonZeroUsize,
    pub(crate) pool: Arc<TransactionPool>,
    /// Where it listens for other nodes, where there are others.
    pub(crate) listen: Option<SocketAddr>,
    /// Addresses of other nodes that are not where the ledger says, by node key.
    pub(crate) addresses: HashMap<[u8; 32], String>,
}

/// Runs on disk until it stops or fails. `ready` is called when it answers, `first_vote` before anyone hears of a vote with this
/// key in the newest epoch.
pub(crate) fn run_on_disk(
    storage: &Path,
    instructions: Instructions,
    ends: Ends,
    ready: impl FnOnce() + Send + 'static,
    first_vote: impl FnOnce() + Send + 'static,
) -> Result<Outcome, EngineError> {
    let threads = instructions.threads;
    disk::start(storage, threads, |context| async move {
        // In a task of its own: when several parts fail, the runner reports the first one, but the root would
        // report what failed after it.
        let all = context.child("node").spawn(move |context| async move {
            let node = Keyed::new(instructions)?;
            let mut links = if node.is_alone() {
                Links::solo()
            } else {
                network::connect(
                    context.world(),
                    node.epochs.chain(),
                    &node.epochs,
                    node.node_key.clone(),
                    node.instructions.listen.ok_or(EngineError::NoListener)?,
                    &node.peers(),
                )?
            };
            let asked = node.ask_for_others(&mut links);
            let pulse = ends.pulse.clone();
            context
                .child("pulse")
                .spawn(move |context| pulse::feel(context, asked, pulse));
            let mut stop = ends.stop.clone();
            let run = Box::pin(run::<_, Tcp>(context, node, ends, links, ready, first_vote));
            // Also while it waits for others, or reads its disk: what serves listens, too, but begins later.
            select! {
                ended = run => ended,
                _ = stop.wait_for(|stop| *stop) => Ok(Outcome::Asked),
            }
        });
        all.await.unwrap_or(Err(EngineError::Ended))
    })
}

/// Instructions whose keys were found to be those of a validator and its node.
pub(crate) struct Keyed {
    instructions: Instructions,
    pub(super) epochs: Epochs,
    vote_key: PrivateKey,
    node_key: PrivateKey,
    /// Node keys and addresses in the newest epoch, in the order of its set.
    nodes: Vec<(PublicKey, String)>,
    /// The same of the epoch before, of those that have no vote any more.
    former: Vec<(PublicKey, String)>,
    awaits: Awaits,
    /// How a hostile member breaks the rules.
    #[cfg(feature = "testing")]
    pub(super) crimes: super::simulation::Crimes,
}

impl Keyed {
    pub(super) fn new(instructions: Instructions) -> Result<Self, EngineError> {
        let key =
            |seed: &[u8; 32]| PrivateKey::decode(Bytes::from_owner(Zeroizing::new(*seed))).ok();
        let vote_key = key(instructions.vote_key.seed()).ok_or(EngineError::VoteKey)?;
        let node_key = key(instructions.node_key.seed()).ok_or(EngineError::NodeKey)?;
        let outline = &instructions.outline;
        let epochs = Epochs::of(outline, Some(&vote_key))?;
        let newest = outline.newest();
        let address = |node: &NodeOutline| {
            let other = instructions.addresses.get(&node.key);
            other.unwrap_or(&node.address).clone()
        };
        let nodes_of = |epoch: &EpochOutline| {
            let nodes = epoch.nodes.iter().map(|node| {
                let key = PublicKey::decode(Bytes::copy_from_slice(&node.key));
                Ok((key.map_err(|_| EngineError::NodeKey)?, address(node)))
            });
            nodes.collect::<Result<Vec<_>, EngineError>>()
        };
        let alone = newest.vote_keys.len() == 1;
        // The key of a lone validator's node matters to nobody; one that was restored has another than the ledger names.
        let nodes = match nodes_of(newest)? {
            _ if alone => vec![(node_key.public_key(), String::new())],
            nodes if nodes.len() == newest.vote_keys.len() => nodes,
            _ => return Err(EngineError::NotWhole("node for each of its validators")),
        };
        // Whoever missed the end of the epoch before is told of it.
        let before = outline.epochs().iter().rev().nth(1);
        let mut former = before.map(nodes_of).transpose()?.unwrap_or_default();
        // A machine that was set up anew stands where its former self stood, and is not that one: whoever goes on dialling it
        // there uses up what it has for callers.
        former.retain(|(key, at)| {
            let mut present = nodes.iter();
            present.all(|(other, address)| other != key && (at.is_empty() || address != at))
        });
        // After a recovery their machines are lost, or not believed.
        if alone || newest.is_recovery() {
            former.clear();
        }
        let mine = epochs.last().and_then(|e| e.index(&vote_key.public_key()));
        let (named, _) = mine
            .and_then(|index| nodes.get(usize::from(index)))
            .ok_or(EngineError::VoteKey)?;
        if *named != node_key.public_key() {
            return Err(EngineError::OtherNode {
                named: named.to_string(),
                found: node_key.public_key().to_string(),
            });
        }
        Ok(Self {
            instructions,
            epochs,
            vote_key,
            node_key,
            nodes,
            former,
            awaits: Awaits::default(),
            #[cfg(feature = "testing")]
            crimes: super::simulation::Crimes::default(),
        })
    }

    /// Everyone whom this node speaks with, itself among them, and where.
    pub(super) fn peers(&self) -> Vec<(PublicKey, String)> {
        self.nodes.iter().chain(&self.former).cloned().collect()
    }

    /// Whether there is no other node.
    fn is_alone(&self) -> bool {
        self.nodes.len() == 1
    }

    /// How to ask which of the others are connected, where there are others; not before the network is open.
    fn ask_for_others<W: Wire>(
        &self,
        links: &mut Links<W>,
    ) -> Option<pulse::Asked<Sends<W::Sender>>> {
        let open_network = links.open.take()?;
        let open = Arc::new(AtomicBool::new(false));
        let opened = open.clone();
        links.open = Some(Box::new(move || {
            opened.store(true, Ordering::Relaxed);
            open_network()
        }));
        let me = self.node_key.public_key();
        let others = self.nodes.iter().filter(|(key, _)| *key != me);
        Some(pulse::Asked {
            others: others.cloned().collect(),
            sender: links.state.0.clone(),
            open,
            awaits: self.awaits.clone(),
        })
    }
}

/// Runs in any world.
pub(super) async fn run<E: Runtime, W: Wire>(
    context: E,
    node: Keyed,
    ends: Ends,
    links: Links<W>,
    ready: impl FnOnce() + Send + 'static,
    first_vote: impl FnOnce() + Send + 'static,
) -> Result<Outcome, EngineError> {
    let peers = node.peers().into_iter().map(|(key, _)| key).collect();
    let Keyed {
        instructions,
        epochs,
        vote_key,
        node_key,
        nodes,
        former: _,
        awaits,
        #[cfg(feature = "testing")]
        crimes,
    } = node;
    let newest = epochs
        .last()
        .ok_or(EngineError::NotWhole("validator set"))?;
    let parameters = Parameters {
        key: vote_key.public_key(),
        signer: Signer::new(instructions.vote_key.clone()).map_err(|_| EngineError::VoteKey)?,
        node_key: node_key.public_key(),
        secret: instructions.vote_key,
        peers,
        voters: Voters::new(
            newest
                .vote_keys
                .into_iter()
                .zip(nodes.into_iter().map(|(key, _)| key)),
        ),
        links,
        epochs,
        voted: instructions.voted,
        outline: instructions.outline,
        caches: instructions.caches,
        threads: instructions.threads,
        pool: instructions.pool,
        nonces: ends.nonces,
        tally: ends.tally,
        heartbeat: ends.heartbeat,
        awaits,
        #[cfg(feature = "testing")]
        crimes,
    };
    let services = Services {
        ingest: ends.ingest,
        again: ends.again,
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
