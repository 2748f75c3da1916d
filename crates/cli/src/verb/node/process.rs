//! A node in this process: its engine, its HTTP API, and its end.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use kusabi_core::{
    genesis::Genesis,
    id::{ChainId, Height, OrgName},
    quorum::quorum,
    set::SIGNATORIES_MAX,
    suite::Purpose,
};
use kusabi_node::{
    descriptors,
    directory::{Directory, DirectoryError, FollowerDirectory},
    follower::{Source, Times},
    http::{Api, Limits, serve},
    ledger::NodeLedger,
    node::{Config, Node, named_port},
    outline::Outline,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

use super::{
    config::Settings,
    directory_failure, start_failure, stop_failure,
    waiting::{self, Waiting},
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    founding::{self, Places, Plan},
    member::{self, Member},
    node_file::NodeFile,
    profile::{self, Profile},
    proposal::Proposal,
    session::Session,
    verb::org,
};

/// A node that runs. It serves from the beginning; what it waits for until it answers, it says.
pub(crate) struct Process {
    node: Node,
    outline: Outline,
    ledger: Arc<NodeLedger>,
    runtime: Runtime,
    signals: Signals,
    serving: JoinHandle<usize>,
    stopping: watch::Sender<bool>,
    address: String,
    new: bool,
    /// Whether it has a vote.
    votes: bool,
    /// What is said first, should it wait for others.
    waiting: Option<Waiting>,
}

/// What a node is served with, before there is one.
struct Ground {
    runtime: Runtime,
    signals: Signals,
    listen: SocketAddr,
    listener: TcpListener,
    address: String,
    limits: Limits,
}

impl Ground {
    fn new(listen: SocketAddr) -> Result<Self> {
        let runtime = runtime()?;
        // Before anyone is told anything: the answer may be a signal.
        let signals = {
            let _inside = runtime.enter();
            Signals::listen()?
        };
        // The address first: a founding is not for a process that cannot serve.
        let (listener, address) = self::listen(listen)?;
        let limits = Limits {
            connections: descriptors::connections(Limits::default().connections).map_err(
                |why| {
                    Failure::new(Exit::Config, why.to_string()).advise(
                        "raise the limit: `ulimit -n 4096`, or LimitNOFILE= in a systemd unit",
                    )
                },
            )?,
            ..Limits::default()
        };
        Ok(Self {
            runtime,
            signals,
            listen,
            listener,
            address,
            limits,
        })
    }

    /// Serves a node.
    fn serve(
        self,
        node: Node,
        outline: Outline,
        ledger: NodeLedger,
        new: bool,
        votes: bool,
    ) -> Result<Process> {
        let (stopping, stopping_end) = watch::channel(false);
        let ledger = Arc::new(ledger);
        let serving = {
            let _inside = self.runtime.enter();
            let listener = tokio::net::TcpListener::from_std(self.listener)
                .map_err(|error| unavailable(self.listen, &error))?;
            let api = Api::new(Arc::clone(&ledger), self.limits, stopping_end);
            let health = Arc::clone(&ledger);
            self.runtime.spawn(async move { health.log_health().await });
            let reminding = Arc::clone(&ledger);
            self.runtime
                .spawn(async move { reminding.log_epoch().await });
            self.runtime.spawn(serve(listener, api))
        };
        Ok(Process {
            node,
            outline,
            ledger,
            runtime: self.runtime,
            signals: self.signals,
            serving,
            stopping,
            address: self.address,
            new,
            votes,
            waiting: None,
        })
    }
}

impl Process {
    /// Starts the node of a directory, and founds a ledger where there is none. Does not wait until it answers.
    pub(crate) fn start(places: &Places, settings: &Settings, session: &Session) -> Result<Self> {
        let expected = session.named_chain()?;
        let ground = Ground::new(settings.listen)?;
        let (directory, new) = open_or_found(places, settings, expected.as_ref(), session)?;
        let outline = directory.outline().clone();
        let mut config = Config {
            peers: settings.peer_listen,
            addresses: settings.peers_of(&outline)?,
            ..Config::default()
        };
        if let Some(threads) = settings.threads {
            config.threads = threads;
        }
        let pool = config.pool;
        let validators = outline.newest().vote_keys.len();
        let reached = config.peers.or_else(|| named_port(&directory));
        let waiting = reached.filter(|_| validators > 1).map(|address| Waiting {
            event: "waiting",
            chain: outline.chain().to_string(),
            address,
            readyz: format!("{}/readyz", ground.address),
            validators,
            quorum: quorum(validators),
        });
        let alone = outline.newest().vote_keys.len() == 1;
        let node = Node::begin(directory, config).map_err(|why| start_failure(&why, alone))?;
        let ledger = NodeLedger::new(node.handle(), &outline, pool)
            .map_err(|why| Failure::new(Exit::Genesis, why.to_string()))?;
        let process = ground.serve(node, outline, ledger, new, true)?;
        Ok(Self { waiting, ..process })
    }

    /// Starts a follower. Does not wait until it answers.
    pub(crate) fn follow(
        directory: FollowerDirectory,
        settings: &Settings,
        sources: Arc<[Source]>,
    ) -> Result<Self> {
        let ground = Ground::new(settings.listen)?;
        let outline = directory.outline().clone();
        let mut config = Config::default();
        if let Some(threads) = settings.threads {
            config.threads = threads;
        }
        let followed = Node::follow(directory, &config, sources.clone(), Times::default());
        let (node, follow) = followed.map_err(|why| start_failure(&why, false))?;
        ground.runtime.spawn(follow.run());
        let ledger = NodeLedger::follower(node.handle(), &outline, config.pool, sources)
            .map_err(|why| Failure::new(Exit::Genesis, why.to_string()))?;
        ground.serve(node, outline, ledger, false, false)
    }

    /// The chain.
    pub(crate) const fn chain(&self) -> &ChainId {
        self.outline.chain()
    }

    /// The genesis document.
    pub(crate) fn genesis(&self) -> &[u8] {
        self.outline.document()
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The ledger, without HTTP.
    pub(crate) const fn ledger(&self) -> &Arc<NodeLedger> {
        &self.ledger
    }

    /// Where asynchronous work runs.
    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Whether the ledger is still in the epoch in which it was founded.
    pub(crate) fn has_founded(&self) -> bool {
        self.outline.epochs().len() == 1
    }

    /// How many validators there are.
    pub(crate) fn validators(&self) -> usize {
        self.outline.newest().vote_keys.len()
    }

    /// Height of the newest block, once there is one.
    pub(crate) fn height(&self) -> Option<u64> {
        height(&self.node)
    }

    /// The name in the genesis document.
    pub(crate) fn name(&self) -> String {
        Genesis::decode(self.genesis())
            .map_or_else(|_| String::new(), |genesis| genesis.name().to_owned())
    }

    /// Whether no others run the ledger with this node: as it is now, for a ledger of one may have grown.
    fn is_alone(&self) -> bool {
        let outline = self.node.handle().outline();
        self.votes && outline.newest().vote_keys.len() == 1
    }

    /// Waits until it answers, and says meanwhile what it waits for. Whether it does: otherwise it was asked to stop.
    pub(crate) fn wait_until_it_answers(&mut self, session: &Session) -> Result<bool> {
        let (signals, node, ledger) = (&mut self.signals, &mut self.node, &self.ledger);
        let first = self.waiting.take();
        let ended = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = signals.asked_to_stop() => Ok(Ok(false)),
                begun = node.begun() => Ok(begun.map(|()| true)),
                said = waiting::say(ledger, first, session.output()) => said.map(|()| Ok(false)),
            }
        })?;
        ended.map_err(|why| stop_failure(&why, self.is_alone()))
    }

    /// Waits until it is asked to stop, or stops by itself.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let (signals, node) = (&mut self.signals, &mut self.node);
        let why = self.runtime.block_on(async {
            tokio::select! {
                () = signals.asked_to_stop() => None,
                why = node.stopped() => Some(why),
            }
        });
        match why {
            Some(why) => Err(stop_failure(&why, self.is_alone())),
            None => Ok(()),
        }
    }

    /// Answers that are under way are given, then the engine stops; at which height, if there is a block.
    pub(crate) fn stop(self) -> Option<u64> {
        let mut node = self.node;
        self.stopping.send_replace(true);
        let _ = self.runtime.block_on(self.serving);
        let height = height(&node);
        node.handle().shut_down();
        node.join();
        height
    }

    /// What is left of a founding once the node answers: the writer's role, the profile. Whether that was done now. An
    /// interrupted founding is completed at the next start.
    pub(crate) fn complete(
        &self,
        places: &Places,
        settings: &Settings,
        more: impl FnOnce(&Session, &mut Profile) -> Result<()>,
        session: &Session,
    ) -> Result<Option<Completed>> {
        let (chain, address, new) = (self.chain(), &self.address, self.new);
        let officer = places.key(Purpose::Officer);
        let writer = places.key(Purpose::Writer);
        for key in [&officer, &writer, &places.key(Purpose::Recovery)] {
            files::sweep(key);
        }
        if places.profile().exists() && !new {
            return Ok(None);
        }
        if let Some(file) = member::file_in(places.root())? {
            let Member {
                name, threshold, ..
            } = Member::read(&file)?;
            return self
                .complete_joining(places, &name, threshold.into())
                .map(Some);
        }
        if let Some(node) = NodeFile::in_folder(places.root()) {
            return self
                .complete_joining(places, &node.org, SIGNATORIES_MAX)
                .map(Some);
        }
        if !officer.exists() || !writer.exists() {
            // Restored, or its keys were moved away already: nothing was left to do.
            return Ok(None);
        }
        let here = session.at(address, chain);
        let granted = org::grant(
            &here,
            &settings.org,
            &writer,
            std::slice::from_ref(&officer),
        );
        match granted {
            // The founding is long past, and this writer's role too.
            Err(failure) if failure.exit() == Exit::Negative && !new => return Ok(None),
            granted => drop(granted?),
        }
        let mut profile = Profile {
            ledger: Some(address.clone()),
            chain: Some(chain.to_string()),
            org: Some(settings.org.to_string()),
            writer: Some(absolute(&writer)?),
            officers: vec![absolute(&officer)?],
            ..Profile::default()
        };
        more(&here, &mut profile)?;
        let home = profile::default_path()?;
        let at_home = !home.exists();
        if at_home {
            if let Some(folder) = home.parent() {
                files::make_folder(folder)?;
            }
            files::create(&home, profile.to_toml().as_bytes(), Mode::Public)?;
        }
        // Last: this file says that the founding is complete.
        files::replace(
            &places.profile(),
            profile.to_toml().as_bytes(),
            Mode::Public,
        )?;
        Ok(Some(Completed::Founded { at_home }))
    }

    /// The profile of an organisation that founded the ledger with others, joined it, or is back on a new machine. Roles are granted
    /// when the ledger runs: that takes the others too, and officers whose keys may be elsewhere.
    fn complete_joining(
        &self,
        places: &Places,
        org: &OrgName,
        officers_max: usize,
    ) -> Result<Completed> {
        let writer = places.key(Purpose::Writer);
        let mut officers = places.officer_keys()?;
        officers.truncate(officers_max);
        let profile = Profile {
            ledger: Some(self.address.clone()),
            chain: Some(self.chain().to_string()),
            org: Some(org.to_string()),
            writer: writer.exists().then(|| absolute(&writer)).transpose()?,
            officers: officers
                .iter()
                .map(|path| absolute(path))
                .collect::<Result<_>>()?,
            ..Profile::default()
        };
        files::replace(
            &places.profile(),
            profile.to_toml().as_bytes(),
            Mode::Public,
        )?;
        Ok(Completed::Joined {
            organisation: org.to_string(),
        })
    }
}

/// A founding was completed just now.
pub(crate) enum Completed {
    /// Of a ledger of one's own.
    Founded {
        /// Whether the profile is where commands look for it.
        at_home: bool,
    },
    /// Of a ledger that several organisations founded.
    Joined {
        /// Which of them this is.
        organisation: String,
    },
}

/// A path that holds wherever a command runs.
pub(crate) fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    path.canonicalize()
        .map_err(|error| Failure::io("found", path, &error))
}

/// Threads for what is not the engine.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))
}

fn listen(address: SocketAddr) -> Result<(TcpListener, String)> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = format!("http://{}", listener.local_addr()?);
        Ok((listener, address))
    });
    bound.map_err(|error| unavailable(address, &error))
}

pub(crate) fn unavailable(address: SocketAddr, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(
            Exit::Address,
            format!("{address} is taken by another process"),
        )
        .advise("stop that one, or give --listen IP:PORT; port 0 takes a free one"),
        io::ErrorKind::AddrNotAvailable => Failure::new(
            Exit::Address,
            format!("{address} is no address of this machine"),
        )
        .advise("give --listen with an address that it has"),
        io::ErrorKind::PermissionDenied => Failure::new(
            Exit::Address,
            format!("{address} may not be used by this user"),
        )
        .advise("choose a port from 1024 on"),
        _ => Failure::new(Exit::Address, format!("{address} cannot be had: {error}")),
    }
}

/// The directory of a ledger; whether it was founded just now.
fn open_or_found(
    places: &Places,
    settings: &Settings,
    expected: Option<&ChainId>,
    session: &Session,
) -> Result<(Directory, bool)> {
    let opened = match expected {
        Some(chain) => Directory::open_for(&places.node(), chain),
        None => Directory::open(&places.node()),
    };
    match opened {
        Ok(directory) => {
            is_of(places, directory.outline().chain(), settings)?;
            Ok((directory, false))
        }
        Err(DirectoryError::NoLedger(_)) => {
            if let Some(file) = &settings.genesis {
                return founding::join(places, file, expected, &mut session.rng())
                    .map(|directory| (directory, true));
            }
            if let Some(chain) = expected {
                return Err(Failure::new(
                    Exit::OtherChain,
                    format!(
                        "{} does not hold the ledger {chain}",
                        places.root().display()
                    ),
                )
                .advise(
                    "a new ledger gets a chain ID of its own: leave --chain out to found one",
                ));
            }
            let name = settings
                .name
                .clone()
                .unwrap_or_else(|| settings.org.to_string());
            let plan = Plan {
                name: &name,
                org: settings.org,
                heartbeat_ms: settings.heartbeat_ms,
                now_ms: session.now_ms(),
            };
            founding::found(places, &plan, &mut session.rng()).map(|directory| (directory, true))
        }
        Err(why) => Err(directory_failure(&why)),
    }
}

/// Checks that a directory's ledger is the one that was noted beside it, and the one whose genesis was named.
pub(crate) fn is_of(places: &Places, chain: &ChainId, settings: &Settings) -> Result<()> {
    if let Some(noted) = places.noted_chain()?.filter(|noted| noted != chain) {
        return Err(Failure::new(
            Exit::Genesis,
            format!(
                "{} was founded as {noted}, and its genesis document is now that of {chain}",
                places.root().display(),
            ),
        )
        .advise("the document was changed or exchanged: bring the directory back from a backup"));
    }
    if let Some(file) = &settings.genesis {
        let asked = Proposal::read(file)?.chain();
        if asked != *chain {
            return Err(Failure::new(
                Exit::OtherChain,
                format!(
                    "{} holds the ledger {chain}, and {} is the genesis of {asked}",
                    places.root().display(),
                    file.display()
                ),
            ));
        }
    }
    // A founding or restoring that was interrupted may not have come so far.
    places.note_chain(chain)
}

/// Ctrl-C and SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self> {
        let deaf = |error: io::Error| {
            Failure::new(
                Exit::Internal,
                format!("no signal can be received: {error}"),
            )
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(deaf)?,
            terminate: signal(SignalKind::terminate()).map_err(deaf)?,
        })
    }

    /// Waits for one of them.
    pub(crate) async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Height of a node's newest block, once it has one.
fn height(node: &Node) -> Option<u64> {
    let height = node.handle().status().height;
    height.map(Height::get).filter(|height| *height > 0)
}
