//! Starts the engine's parts in the order in which they need one another, and serves until it stops.

use super::{
    EngineError, PublicKey, Runtime,
    application::{Ledger, Portion, Shared, TransactionPool, tell_heartbeat},
    archive,
    block::Block,
    catch_up, disk,
    epochs::Epochs,
    execute,
    finality::{self, Announce, Follower, raise},
    freshness, gossip,
    head::Heads,
    ingest::{self, Door, Others, Strangers},
    kept::{Kept, Noted},
    leap,
    network::{ByVote, Links, Voters, Wire, by_epoch, by_vote},
    pace::{Paced, SETTLES, Times},
    pulse::Awaits,
    repair::Repair,
    run::{Outcome, Queue},
    service::{self, Services},
    shelf::Shelf,
    state::{self, Caches, Database, PAGE},
    tally::{self, Parts as TallyParts},
    turn::Turn,
    votes::{self, Asking, Heard, Hearing, Noting, Own, Watch},
};
use crate::{
    directory::VoteKey,
    handle::{Asked, Newest},
    outline::Outline,
    tally::Tally,
};
use commonware_broadcast::buffered;
use commonware_consensus::{
    marshal::{
        self, Identifier,
        core::Actor as Marshal,
        resolver::p2p as blocks_resolver,
        standard::{Deferred, Standard},
    },
    simplex::{
        self, SkipBudget,
        config::{ForwardPolicy, SkipPolicy},
        elector::RoundRobin,
        types::Context as SimplexContext,
    },
    types::{Epoch, Height, Round, View, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible as _, Sha256};
use commonware_glue::stateful::{
    Config as StatefulConfig, PruneConfig, Stateful, SyncPlan,
    db::{DatabaseSet, SyncEngineConfig, p2p as state_resolver},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Handle, buffer::paged::CacheRef};
use commonware_storage::mmr;
use commonware_utils::{NZDuration, NZU64, NZUsize, vec::NonEmptyVec};
use kusabi_core::{id::Height as LedgerHeight, row::Ends};
use std::{
    future::pending,
    num::{NonZeroU64, NonZeroUsize},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

const BUFFER: NonZeroUsize = NZUsize!(1 << 16);
const MAILBOX: NonZeroUsize = NZUsize!(128);
/// Views per file of what is kept for a short while only.
const CACHE_SECTION: NonZeroU64 = NZU64!(64);
const VIEWS_KEPT: ViewDelta = ViewDelta::new(64);
/// How long a peer has to send a block that was asked for.
const FETCH: Duration = Duration::from_secs(3);
/// Operations of the state in one message between validators.
pub(super) const SYNC_BATCH: NonZeroU64 = NZU64!(256);

/// What one run of the engine is told.
pub(super) struct Parameters<W: Wire> {
    pub(super) epochs: Epochs,
    /// The vote key.
    pub(super) key: PublicKey,
    /// Its secret half, to sign with which block the epoch ended.
    pub(super) secret: VoteKey,
    /// Signs with it for freshness.
    pub(super) signer: freshness::Signer,
    pub(super) node_key: PublicKey,
    /// Everyone whom this node speaks with, and itself.
    pub(super) peers: Vec<PublicKey>,
    /// Which node holds which vote key of the newest epoch.
    pub(super) voters: Voters,
    pub(super) links: Links<W>,
    pub(super) voted: bool,
    pub(super) outline: Outline,
    pub(super) caches: Caches,
    pub(super) threads: NonZeroUsize,
    pub(super) pool: Arc<TransactionPool>,
    pub(super) nonces: Queue<mpsc::Receiver<Asked>>,
    pub(super) tally: watch::Sender<Option<Tally>>,
    pub(super) heartbeat: watch::Sender<Duration>,
    pub(super) awaits: Awaits,
    #[cfg(feature = "testing")]
    pub(super) crimes: super::simulation::Crimes,
}

/// Runs the engine until a part of it ends or `stop` is told.
pub(super) async fn run<E: Runtime, W: Wire>(
    context: E,
    parameters: Parameters<W>,
    services: Services,
    outside: watch::Sender<Option<Newest>>,
    ready: impl FnOnce() + Send + 'static,
    first_vote: impl FnOnce() + Send + 'static,
) -> Result<Outcome, EngineError> {
    let Parameters {
        epochs,
        key,
        secret,
        signer,
        node_key,
        peers,
        voters,
        links,
        voted,
        outline,
        caches,
        threads,
        pool,
        nonces,
        tally,
        heartbeat,
        awaits,
        #[cfg(feature = "testing")]
        crimes,
    } = parameters;
    // What this run shows: the outside may have been told of more in the run before, whose last states were not on disk.
    let newest = watch::Sender::new(None);
    let epoch = epochs
        .last()
        .ok_or(EngineError::NotWhole("validator set"))?;
    let number = epoch.number.get();
    let times = Times::new(epoch.vote_keys.len(), outline.heartbeat());
    let strategy = context.child("strategy").strategy(threads);
    let pages = CacheRef::new(PAGE, NZUsize!(1024));
    let alone = epoch.vote_keys.len() == 1;

    let resolver = blocks_resolver::init(
        context.child("blocks_resolver"),
        blocks_resolver::Config {
            public_key: node_key.clone(),
            peer_provider: links.directory.clone(),
            blocker: links.blocker.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout: NZDuration!(FETCH),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        links.missed_blocks,
    );
    let (broadcast, buffer) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: node_key.clone(),
            mailbox_size: MAILBOX,
            deque_size: 16,
            priority: false,
            codec_config: epochs.clone(),
            peer_provider: links.directory.clone(),
            strategy: Sequential,
        },
    );
    let broadcast = broadcast.start(links.proposals);

    disk::open_notes(&context).await?;
    leap::over_lost_epochs(&context, &outline).await?;
    let (certificates, blocks) = archive::open(&context, &pages, &epochs).await?;
    let (certificates, held) = Noted::new(certificates);
    let genesis = archive::genesis::<E>(&epochs, &outline)?;
    let founded_ms = genesis.header.time_ms;
    let plan = SyncPlan::init(context.child("plan"), "plan-").await;
    let (marshal, mailbox, floor) = Marshal::<_, Standard<Block>, _, _, _, _, _>::init(
        context.child("marshal"),
        certificates,
        Kept(blocks),
        marshal::Config {
            provider: epochs.clone(),
            epocher: epochs.clone(),
            start: plan.marshal_start(Digested::precomputed(genesis.clone(), genesis.digest())),
            partition_prefix: "marshal".into(),
            mailbox_size: MAILBOX,
            view_retention: VIEWS_KEPT,
            prunable_items_per_section: CACHE_SECTION,
            page_cache: pages.clone(),
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: epochs.clone(),
            max_repair: NZUsize!(4),
            max_pending_acks: NZUsize!(16),
            strategy: Sequential,
        },
    )
    .await;

    let (state_fetcher, state_source) =
        state_resolver::Actor::<_, PublicKey, _, _, mmr::Family, Database<E>>::new(
            context.child("state_resolver"),
            state_resolver::Config {
                peer_provider: links.directory.clone(),
                blocker: links.blocker.clone(),
                database: None,
                mailbox_size: MAILBOX,
                me: Some(node_key.clone()),
                fetch_timeout: NZDuration!(FETCH),
                fetch_retry_delay: Duration::from_millis(100),
                max_serve_ops: SYNC_BATCH,
                priority_requests: false,
                priority_responses: false,
            },
        );
    let state_fetcher = state_fetcher.start(links.state);

    let heads = Heads::new(context.current());
    let shared = Arc::new(Shared {
        epochs: epochs.clone(),
        genesis: genesis.clone(),
        outline: outline.clone(),
        pool: pool.clone(),
        heads: heads.clone(),
        applied: watch::Sender::new(0),
        heartbeat: heartbeat.clone(),
        patience: times.patience,
        settles: SETTLES,
        settling: AtomicBool::new(false),
        #[cfg(feature = "testing")]
        refused: crimes.refused,
        pause: times.pause,
        portion: if alone {
            Portion::ALONE
        } else {
            Portion::AMONG_OTHERS
        },
    });
    let (stateful, stateful_mailbox) = Stateful::new(
        context.child("stateful"),
        StatefulConfig {
            application: Ledger(shared.clone()),
            db_config: state::config(&caches, strategy.clone()),
            provider: (),
            marshal: (mailbox.clone(), floor),
            mailbox_size: MAILBOX,
            plan,
            resolvers: state_source,
            sync_config: SyncEngineConfig {
                fetch_batch_size: SYNC_BATCH,
                apply_batch_size: NZU64!(1024),
                max_outstanding_requests: NZUsize!(8),
            },
            // The state's log only: see `kept`.
            prune_config: Some(PruneConfig {
                maintenance_interval: caches.prune_every,
                retained_marshal_blocks: 0,
                retained_qmdb_blocks: 0,
            }),
            strategy: strategy.clone(),
        },
    );
    let deferred = Deferred::new(
        context.child("deferred"),
        Paced {
            inner: stateful_mailbox.clone(),
            shared: shared.clone(),
            #[cfg(feature = "testing")]
            tamper: crimes.block,
        },
        mailbox.clone(),
        epochs.clone(),
    );
    let (follower, way) = Follower::new(stateful_mailbox.clone());
    let (acknowledgements, waiting) = mpsc::unbounded_channel();
    // A lone validator's first vote is its first block. Among others a vote leaves before there is one: it is noted below.
    let mut first_vote = Some(first_vote);
    let with_first_block = first_vote.take_if(|_| alone);
    let moved = [(); 4].map(|()| Arc::new(Notify::new()));
    let followed = context.child("finality").spawn({
        let pool = pool.clone();
        let announce = Announce {
            newest: newest.clone(),
            outside: outside.clone(),
            epochs: epochs.clone(),
            moved: moved.clone(),
        };
        let number = epoch.number;
        let applied = shared.applied.subscribe();
        move |_| {
            finality::follow(
                way,
                applied,
                acknowledgements,
                pool,
                announce,
                number,
                with_first_block,
            )
        }
    });
    let acknowledged = context
        .child("acknowledgements")
        .spawn(move |_| finality::acknowledge(waiting));
    // The block that the state stands at, before anything moves.
    let marshal = marshal.start(follower, buffer, resolver);
    let stateful = stateful.start();
    let databases = stateful_mailbox.subscribe_databases().await;
    // A block that was looked at meanwhile may know better.
    if let Some(members) = execute::final_members(&databases).await
        && *heartbeat.borrow() == outline.heartbeat()
    {
        tell_heartbeat(&heartbeat, members.heartbeat_ms);
    }
    if let Some(Ends { last, .. }) = execute::final_ledger_row(&databases)
        .await
        .filter(|row| row.epoch == epoch.number)
        .and_then(|row| row.ends)
    {
        epochs.ends_at(epoch.number, last.get());
    }
    // The state is there, which takes longest, and readers of what peers say are there or soon will be; what comes next may need
    // peers: a block whose certificate is here and that was not written before the end.
    let network = links.open.map(|open| open());
    let anchor = mailbox.get_anchor().await;
    if let Some((_, block)) = anchor {
        let block = block.inner();
        heads.push(block, context.current());
        pool.resume(block.position(), *block.hash());
        for told in [&newest, &outside] {
            told.send_if_modified(|newest| raise(newest, Newest::from(block)));
        }
    }

    let mut parts = Box::pin(Handle::select([
        broadcast,
        state_fetcher,
        marshal,
        stateful,
        followed,
        acknowledged,
    ]));
    // The epoch opens on the state of its parent, and not on an earlier one. After a restore the archive is replayed first; who
    // joins, or was away when the epoch before ended, has its blocks from the others, and runs each of them.
    let before = epoch.first.saturating_sub(1);
    let opens_on = outline.height_before_newest();
    if mailbox.get_block(Height::new(before)).await.is_none() {
        let others: Vec<_> = peers
            .iter()
            .filter(|peer| **peer != node_key)
            .cloned()
            .collect();
        let others =
            NonEmptyVec::try_from(others).map_err(|_| EngineError::ParentMissing(number))?;
        commonware_macros::select! {
            _ = &mut parts => return Err(EngineError::Ended),
            () = catch_up::caught_up(&context, &mailbox, &outline, others, newest.subscribe()) => {},
        }
    }
    let start = mailbox
        .get_block(Height::new(before))
        .await
        .filter(|block| epoch.first == 0 || *block.inner().hash() == outline.newest().parent)
        .ok_or(EngineError::ParentMissing(number))?;
    let mut replayed = newest.subscribe();
    if opens_on > LedgerHeight::ZERO {
        commonware_macros::select! {
            _ = &mut parts => return Err(EngineError::Ended),
            reached = replayed.wait_for(|n| n.is_some_and(|n| n.height >= opens_on)) => {
                if reached.is_err() {
                    return Err(EngineError::Ended);
                }
            },
        }
    }
    let newest_position = mailbox
        .get_info(Identifier::Latest)
        .await
        .map(|(position, _)| position.get());
    let mut begun =
        votes::may_vote(&context, &mailbox, &epoch, &key, voted, newest_position).await?;
    let me = epoch.index(&key).ok_or(EngineError::VoteKey)?;
    let own = Own::new(me, begun.newest());
    let heard = Heard::new(&epoch);
    let (permit, permitted) = oneshot::channel();
    let asking = Asking::new(&epoch, me, own.clone(), permit);
    // What would keep the first block of the epoch from ever being built is said now.
    if newest_position.is_none_or(|position| position < epoch.first.max(1)) {
        let context_of_first = SimplexContext {
            round: Round::new(Epoch::new(number), View::new(1)),
            leader: key.clone(),
            parent: (View::zero(), start.digest()),
        };
        let ledger = Ledger(shared);
        let frame = ledger.frame(start.inner(), &context_of_first);
        let header = frame.ok_or(EngineError::NotWhole("place for this validator's blocks"))?;
        let batch = DatabaseSet::<E>::new_batches(&databases).await;
        let mut rng = context.child("rng");
        ledger
            .pack(&mut rng, &header, start.inner(), &batch)
            .await
            .map_err(|why| EngineError::Opening(why.to_string()))?;
    }
    let engine = simplex::Engine::new(
        context.child("consensus"),
        simplex::Config {
            scheme: epoch.scheme(),
            elector: RoundRobin::<Sha256>::default(),
            blocker: ByVote {
                inner: links.blocker.clone(),
                voters: voters.clone(),
            },
            automaton: deferred.clone(),
            relay: deferred.clone(),
            reporter: Watch {
                inner: deferred,
                own: own.clone(),
                heard: heard.clone(),
            },
            strategy: Sequential,
            partition: votes::partition(epoch.number),
            mailbox_size: MAILBOX,
            epoch: Epoch::new(epoch.number.get()),
            floor: simplex::config::Floor::Genesis(start.digest()),
            replay_buffer: BUFFER,
            write_buffer: BUFFER,
            page_cache: pages,
            leader_timeout: times.leader,
            certification_timeout: times.certification,
            timeout_retry: times.retry,
            view_retention: VIEWS_KEPT,
            skip: SkipPolicy::Enabled {
                timeout: times.skip,
                budget: SkipBudget::Participants,
            },
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(500),
            forward: ForwardPolicy::Disabled,
            track_historical_votes: false,
        },
    );
    let mut muxers = Vec::new();
    let votes = by_epoch(&context, links.votes, number, &mut muxers).await?;
    let certificates = by_epoch(&context, links.certificates, number, &mut muxers).await?;
    let missed = by_epoch(&context, links.missed_certificates, number, &mut muxers).await?;
    let (sender, receiver) = by_vote(votes, &voters);
    let votes = (
        Noting {
            inner: sender,
            own: own.clone(),
        },
        Hearing {
            inner: receiver,
            heard: heard.clone(),
        },
    );
    let certificates = by_vote(certificates, &voters);
    let missed = by_vote(missed, &voters);
    let voting = async {
        // An error means that the node stops first.
        if permitted.await.is_err() {
            return pending().await;
        }
        if let Some(note) = first_vote {
            // First the mark, so that a crash between the two does not look like a loss.
            begun.mark().await?;
            note();
        }
        commonware_macros::select! {
            _ = engine.start(votes, certificates, missed) => Err(EngineError::Ended),
            () = own.elsewhere() => Err(EngineError::KeyElsewhere(number)),
        }
    };
    // Ready once the newest epoch is open: before that the ledger knows no keys, or not its set. And once the state shows all
    // that was final before: clients were told of blocks whose state a crash may have taken.
    let known = newest_position.unwrap_or(0);
    let opened = outline.height(epoch.first.max(1).max(known));
    let mut durable = newest.subscribe();
    context.child("ready").spawn(move |_| async move {
        let open = durable.wait_for(|n| n.is_some_and(|n| n.height >= opened));
        // An error means that the node stops first.
        if open.await.is_ok() {
            ready();
        }
    });
    let mut talking = Vec::new();
    let mut others = None;
    let strangers = Strangers::new(pool.limits());
    let (of_nodes, told) = mpsc::unbounded_channel();
    let again = of_nodes.downgrade();
    if !alone {
        let (tell, to_tell) = mpsc::unbounded_channel();
        let (liars, caught) = mpsc::unbounded_channel();
        others = Some(Others {
            tell: tell.clone(),
            liars,
        });
        // What waited when the epoch before ended is told of again: who leads now may not have it.
        for waiting in pool.of_clients() {
            // The other end is here.
            let _ = tell.send(waiting);
        }
        let share = gossip::share(pool.limits(), epoch.vote_keys.len() - 1);
        talking.push(context.child("tell").spawn({
            let pool = pool.clone();
            let sender = links.transactions.0;
            move |context| gossip::tell::<E, W>(context, to_tell, sender, pool)
        }));
        talking.push(context.child("hear").spawn({
            let pool = pool.clone();
            let (receiver, blocker) = (links.transactions.1, links.blocker.clone());
            move |_| gossip::hear::<W>(receiver, blocker, caught, of_nodes, pool, share)
        }));
        let door = Door {
            chain: *epochs.chain(),
            databases: databases.clone(),
            heads: heads.clone(),
            pool: pool.clone(),
            strangers: strangers.clone(),
            others: others.clone(),
        };
        let told = Arc::new(tokio::sync::Mutex::new(told));
        let taking = context.child("told");
        talking.push(taking.spawn(move |context| ingest::take_in(context, door, told, again)));
    }
    let [to_freshness, to_turn, to_repair, to_tally] = moved;
    let vouching = freshness::Parts::<W> {
        epochs: epochs.clone(),
        me,
        epoch,
        signer,
        voters: voters.clone(),
        channel: links.freshness,
        blocker: links.blocker.clone(),
        mailbox: mailbox.clone(),
        newest: newest.subscribe(),
        moved: to_freshness,
        heartbeat: heartbeat.subscribe(),
    };
    let vouched = context.child("freshness");
    talking.push(vouched.spawn(move |context| freshness::run(context, vouching, nonces)));
    let nodes: Vec<_> = peers
        .iter()
        .filter(|peer| **peer != node_key)
        .cloned()
        .collect();
    if !nodes.is_empty() {
        let repair = Repair::<W> {
            held: held.clone(),
            epochs: epochs.clone(),
            mailbox: mailbox.clone(),
            others: nodes,
            ends: links.old_certificates,
            blocker: links.blocker.clone(),
            moved: to_repair,
        };
        let repaired = context.child("repair");
        talking.push(repaired.spawn(move |context| repair.run(context)));
    }
    let counted = TallyParts::<E> {
        epochs: epochs.clone(),
        founded_ms,
        shelf: Shelf::Engine(mailbox.clone(), held.clone()),
        newest: newest.subscribe(),
        moved: to_tally,
        tally,
    };
    talking.push(context.child("tally").spawn(move |_| tally::count(counted)));
    talking.extend(muxers);
    talking.extend(network);
    let talking = async {
        if talking.is_empty() {
            return pending().await;
        }
        let _ = Handle::select(talking).await;
    };
    let turning = Turn::<W> {
        epochs: epochs.clone(),
        outline,
        vote_key: secret,
        me: node_key,
        peers,
        mailbox: mailbox.clone(),
        newest: newest.subscribe(),
        moved: to_turn,
        voters,
        ends: links.turns,
        asking,
        awaits,
        heard,
        #[cfg(feature = "testing")]
        crime: crimes.turn.map(|crime| (crime, None)),
    };
    let turning = turning.run(context.child("turn"));
    let door = Door {
        chain: *epochs.chain(),
        databases: databases.clone(),
        heads: heads.clone(),
        pool: pool.clone(),
        strangers,
        others,
    };
    let serving = service::serve(
        context.child("service"),
        services,
        service::Sources {
            epochs,
            databases,
            heads,
            shelf: Shelf::Engine(mailbox, held),
            newest: newest.subscribe(),
        },
        Some(door),
    );
    // Whoever runs this knows why it ended, and tells the pool.
    let ended = commonware_macros::select! {
        _ = parts => Err(EngineError::Ended),
        () = talking => Err(EngineError::Ended),
        stopped = voting => stopped,
        () = serving => Ok(Outcome::Asked),
        opening = turning => opening.map(Outcome::Turned),
    };
    if let Err(EngineError::KeyElsewhere(_)) = &ended {
        begun.burn().await?;
    }
    ended
}
