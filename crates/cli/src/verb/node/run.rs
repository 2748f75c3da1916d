//! `kusabi node run`: runs a node, and founds a ledger where there is none.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use kusabi_core::{
    id::{ChainId, OrgName},
    suite::Purpose,
};
use kusabi_node::{
    descriptors,
    directory::{Directory, DirectoryError},
    http::{Api, Limits, serve},
    ledger::NodeLedger,
    node::{Config, Node},
};
use serde::Serialize;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::{config::Settings, directory_failure, start_failure, stop_failure};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    founding::{self, Places, Plan},
    page::{Answer, Page},
    profile::{self, Profile},
    session::Session,
    verb::org,
};

/// Run a node of the ledger; on an empty directory, found one
///
/// Ends gracefully on Ctrl-C and SIGTERM. What was acknowledged survives any other end too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the ledger; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Address to serve [default: 127.0.0.1:7040]; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Founding: name of the ledger [default: the organisation's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Founding: name of your organisation [default: home]
    #[arg(long, value_name = "NAME")]
    pub(crate) org: Option<OrgName>,
    /// Configuration file
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
}

/// Said once, when a ledger was founded.
#[derive(Serialize)]
struct Founded {
    event: &'static str,
    name: String,
    organisation: String,
    chain: String,
    officer_key: PathBuf,
    recovery_key: PathBuf,
    writer_key: PathBuf,
    profile: PathBuf,
    #[serde(skip)]
    at_home: bool,
}

impl Answer for Founded {
    fn page(&self, page: &mut Page) {
        let path = |path: &Path| path.display().to_string();
        page.good("Founded", &format!("the ledger {}", self.name))
            .field("chain", &*self.chain)
            .field("organisation", &*self.organisation)
            .field("validators", "1, this machine")
            .gap()
            .careful("Move these two files away from this machine.", "Whoever has them, has the ledger.")
            .field(
                path(&self.officer_key),
                "gives and takes the roles of writers, revokers and servers.\n\
                 Keep it offline, at hand for changes of people and servers.",
            )
            .field(
                path(&self.recovery_key),
                "brings the ledger back when this disk is lost, so that no\n\
                 device needs a visit. Keep it in another building.",
            )
            .gap()
            .text("This one stays where keys are registered:")
            .field(
                path(&self.writer_key),
                "registers keys in the organisation's name.",
            )
            .gap()
            .text(
                "One validator means: one key on this machine signs the ledger. Everyone can audit it, and it\n\
                 protects your devices from the network. It does not protect them from the owner of this\n\
                 machine; for that, four or more organisations run the ledger together.",
            )
            .gap()
            .text("Try next, in another terminal:")
            .command(&self.command("key new camera.key"))
            .command(&self.command("key register camera.key"))
            .gap();
    }
}

impl Founded {
    fn command(&self, rest: &str) -> String {
        if self.at_home || rest.starts_with("key new") {
            format!("kusabi {rest}")
        } else {
            format!("kusabi --profile {} {rest}", self.profile.display())
        }
    }
}

/// Said at every start, when the node answers.
#[derive(Serialize)]
struct Ready {
    event: &'static str,
    chain: String,
    address: String,
    height: u64,
}

impl Answer for Ready {
    fn page(&self, page: &mut Page) {
        page.good("Ready", &format!("at {}", self.address))
            .field("chain", &*self.chain)
            .field("height", self.height.to_string())
            .text("Ctrl-C stops it.");
    }
}

#[derive(Serialize)]
struct Stopped {
    event: &'static str,
    height: u64,
}

impl Answer for Stopped {
    fn page(&self, page: &mut Page) {
        page.good("Stopped", &format!("at height {}", self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let settings = Settings::resolve(args)?;
    let expected = session.named_chain()?;
    // The address first: a founding is not for a process that cannot serve.
    let (listener, address) = listen(settings.listen)?;
    let places = Places::new(&args.data);
    let (directory, new) = open_or_found(&places, &settings, expected.as_ref(), session)?;
    let outline = directory.outline().clone();
    let chain = *outline.chain();
    let mut config = Config::default();
    if let Some(threads) = settings.threads {
        config.threads = threads;
    }
    let limits = Limits {
        connections: descriptors::connections(Limits::default().connections).map_err(|why| {
            Failure::new(Exit::Config, why.to_string())
                .advise("raise the limit: `ulimit -n 4096`, or LimitNOFILE= in a systemd unit")
        })?,
        ..Limits::default()
    };
    let mut node = Node::start(directory, config).map_err(|why| start_failure(&why))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))?;
    // Before anyone is told that it is ready, for the answer may be a signal.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let (stopping, stopping_end) = watch::channel(false);
    let server = {
        let _inside = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| unavailable(settings.listen, &error))?;
        let ledger = NodeLedger::new(node.handle(), &outline, config.pool)
            .map_err(|why| Failure::new(Exit::Genesis, why.to_string()))?;
        let ledger = Arc::new(ledger);
        runtime.spawn(serve(listener, Api::new(ledger, limits, stopping_end)))
    };
    let founded = complete(&places, &settings, &chain, &address, new, session);
    let ended = founded.and_then(|()| {
        session.output().say(&Ready {
            event: "ready",
            chain: chain.to_string(),
            address: address.clone(),
            height: height(&node),
        })?;
        runtime.block_on(async {
            tokio::select! {
                () = signals.asked_to_stop() => Ok(()),
                why = node.stopped() => Err(stop_failure(&why)),
            }
        })
    });
    // Answers that are under way are given before the engine stops; it stops in any case.
    stopping.send_replace(true);
    let _ = runtime.block_on(server);
    let height = height(&node);
    node.handle().shut_down();
    node.join();
    ended?;
    session.output().say(&Stopped {
        event: "stopped",
        height,
    })
}

fn height(node: &Node) -> u64 {
    node.handle()
        .status()
        .height
        .map_or(0, kusabi_core::id::Height::get)
}

fn listen(address: SocketAddr) -> Result<(TcpListener, String)> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = format!("http://{}", listener.local_addr()?);
        Ok((listener, address))
    });
    bound.map_err(|error| unavailable(address, &error))
}

fn unavailable(address: SocketAddr, error: &io::Error) -> Failure {
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
            let chain = directory.outline().chain();
            if let Some(noted) = places.noted_chain()?.filter(|noted| noted != chain) {
                return Err(Failure::new(
                    Exit::Genesis,
                    format!(
                        "{} was founded as {noted}, and its genesis document is now that of {chain}",
                        places.root().display(),
                    ),
                )
                .advise(
                    "the document was changed or exchanged: bring the directory back from a backup",
                ));
            }
            // A founding or restoring that was interrupted may not have come so far.
            places.note_chain(chain)?;
            Ok((directory, false))
        }
        Err(DirectoryError::NoLedger(_)) => {
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

/// What is left of a founding once the node answers: the writer's role, the profile, the notice. An interrupted founding
/// is completed at the next start.
fn complete(
    places: &Places,
    settings: &Settings,
    chain: &ChainId,
    address: &str,
    new: bool,
    session: &Session,
) -> Result<()> {
    let officer = places.key(Purpose::Officer);
    let writer = places.key(Purpose::Writer);
    for key in [&officer, &writer, &places.key(Purpose::Recovery)] {
        files::sweep(key);
    }
    if places.profile().exists() && !new {
        return Ok(());
    }
    if !officer.exists() || !writer.exists() {
        // Restored, or its keys were moved away already: nothing was left to do.
        return Ok(());
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
        Err(failure) if failure.exit() == Exit::Negative && !new => return Ok(()),
        granted => drop(granted?),
    }
    let absolute = |path: &Path| {
        path.canonicalize()
            .map_err(|error| Failure::io("found", path, &error))
    };
    let profile = Profile {
        ledger: Some(address.to_owned()),
        chain: Some(chain.to_string()),
        org: Some(settings.org.to_string()),
        writer: Some(absolute(&writer)?),
        officers: vec![absolute(&officer)?],
    };
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
    session.output().say(&Founded {
        event: "founded",
        name: settings
            .name
            .clone()
            .unwrap_or_else(|| settings.org.to_string()),
        organisation: settings.org.to_string(),
        chain: chain.to_string(),
        officer_key: officer,
        recovery_key: places.key(Purpose::Recovery),
        writer_key: writer,
        profile: places.profile(),
        at_home,
    })
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    fn listen() -> Result<Self> {
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
    async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
