//! A server that runs: two or three listeners, the ledger's follower, one database. [`start`] makes it of a [`Setup`], [`Running::stop`] ends it.
//!
//! - The **device listener** speaks plain HTTP: secrecy and authenticity of the device protocol do not depend on the transport.
//! - The **admin listener** speaks HTTP, or TLS with the certificate of two files. On which address is the caller's choice; without TLS
//!   it belongs on loopback, for tokens pass over it.
//! - The **listener of stock Mender devices**, where there is one, speaks HTTP, or TLS likewise. Without TLS it belongs on loopback,
//!   behind a proxy that has it: such a device believes whatever it is told there, and overheard requests get tokens.

mod tls;

pub use tls::{TlsError, TlsFiles};

use crate::{
    App, BlobError, Blobs, Edge, Store, StoreError,
    app::Presence,
    device::{Bounds as DoorBounds, Door, DoorKey, Successors},
    http,
    sendfile::Files,
    store::followed,
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use kusabi_api::{
    Ledger, VerifyingLedger,
    serve::{Answers, Bounds, Counts, Open, serve},
    verify::Trust,
};
use kusabi_core::{
    anchor::Anchor,
    id::{ChainId, Handle, OrgId},
    keystore::SoftKey,
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tower_service::Service as _;

/// Connections of devices at once: mostly held requests. A further one waits.
const DEVICE_CONNECTIONS: usize = 32 * 1024;

/// Connections of people and tools at once.
const ADMIN_CONNECTIONS: usize = 1024;

/// How long a stop waits for what is in flight.
const GRACE: Duration = Duration::from_secs(10);

/// What a server is made of.
#[derive(Debug)]
pub struct Setup {
    /// Whose server it is.
    pub org: OrgId,
    /// The ledger's chain.
    pub chain: ChainId,
    /// What is trusted of the ledger; where the database knows something newer, that.
    pub trust: Trust,
    /// The database.
    pub database: Database,
    /// Where firmware lies: a directory, or the URL of an object store (`s3://…`, with the feature `s3`).
    pub firmware: String,
    /// Directory in which firmware for an object store lies until it is whole. It must outlive a restart of the machine.
    pub incoming: PathBuf,
    /// Where devices are listened to.
    pub device_listen: SocketAddr,
    /// Where people and tools are listened to.
    pub admin_listen: SocketAddr,
    /// The certificate of the admin listener; `None`: HTTP without TLS.
    pub admin_tls: Option<TlsFiles>,
    /// The server's addresses as devices reach them.
    pub device_urls: Vec<String>,
    /// Where devices are sent that came to another organisation.
    pub successors: Successors,
    /// The server's key, of purpose ps.
    pub ps: ServerKey,
    /// A writer's key: with it the server registers enrolled devices and anchors its audit log. `None`: an operator does.
    pub writer: Option<ServerKey>,
    /// Where stock Mender devices are served; `None`: they are not.
    pub mender: Option<ForMender>,
}

/// Where stock Mender devices are served.
#[derive(Debug)]
pub struct ForMender {
    /// Where they are listened to.
    pub listen: SocketAddr,
    /// The address under which they reach it, without a slash at the end: what links to artifacts begin with.
    pub url: String,
    /// The certificate; `None`: HTTP without TLS.
    pub tls: Option<TlsFiles>,
}

/// Which database.
#[derive(Clone)]
pub enum Database {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// PostgreSQL, by URL.
    Postgres(String),
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            // A URL may hold a password.
            Self::Postgres(_) => f.debug_tuple("Postgres").finish_non_exhaustive(),
        }
    }
}

/// A key that the server holds.
#[derive(Debug)]
pub struct ServerKey {
    /// Its handle on the ledger.
    pub handle: Handle,
    /// Its private half.
    pub key: Arc<SoftKey>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen for {who} on {address}: {source}")]
    Listen {
        /// For whom.
        who: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place for firmware cannot be used.
    #[error(transparent)]
    Firmware(#[from] BlobError),
    /// The operating system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(std::io::Error),
    /// What is trusted, or what the database keeps, is of another ledger, or cannot be read.
    #[error("what is kept of the ledger does not fit: {0}")]
    Trust(String),
}

/// A server that runs. Dropped without [`stop`](Self::stop), its tasks end with the runtime.
#[derive(Debug)]
pub struct Running {
    app: Arc<App>,
    door: Arc<Door>,
    device: Listener,
    admin: Listener,
    mender: Option<Listener>,
    /// The follower, and what anchors the audit log.
    tasks: JoinSet<()>,
    stopping: watch::Sender<bool>,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    task: JoinHandle<usize>,
}

/// Starts a server.
///
/// # Errors
/// What is missing, and where.
pub async fn start(
    setup: Setup,
    ledger: Arc<dyn Ledger>,
    edge: Arc<dyn Edge>,
) -> Result<Running, StartError> {
    if setup.trust.anchor().chain() != setup.chain {
        return Err(StartError::Trust(format!(
            "what is trusted is chain {}, and the server is to follow chain {}",
            setup.trust.anchor().chain(),
            setup.chain
        )));
    }
    // The files first: a wrong one is told before anything is made.
    let tls = setup.admin_tls.as_ref().map(tls::Tls::read).transpose()?;
    let mender_tls = match &setup.mender {
        Some(ForMender { tls: Some(tls), .. }) => Some(tls::Tls::read(tls)?),
        _ => None,
    };
    let device = bind("devices", setup.device_listen).await?;
    let admin = bind("the admin API", setup.admin_listen).await?;
    let mender = match &setup.mender {
        Some(mender) => Some(bind("stock Mender devices", mender.listen).await?),
        None => None,
    };
    let store = match &setup.database {
        Database::Sqlite(path) => Store::sqlite(path, setup.org).await?,
        Database::Postgres(url) => Store::postgres(url, setup.org).await?,
    };
    let blobs = Blobs::open(&setup.firmware, &setup.incoming)?;
    let trust = newer(&store, setup.trust).await?;
    let ledger = VerifyingLedger::new(ledger, trust);
    let greets = DoorKey {
        chain: setup.chain,
        handle: setup.ps.handle,
        key: Arc::clone(&setup.ps.key),
    };
    let app = App::new(store, ledger, edge)
        .with_presence(Presence {
            keys: vec![setup.ps.handle],
            device_urls: setup.device_urls,
            writer: setup.writer.as_ref().map(|writer| writer.handle),
            mender_url: setup.mender.as_ref().map(|mender| mender.url.clone()),
        })
        .with_blobs(blobs)
        .with_keys(Some(setup.ps), setup.writer);
    let app = Arc::new(app);

    let (stopping, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let following = (Arc::clone(&app), stop.clone());
    tasks.spawn(async move { following.0.follow(following.1).await });
    let anchoring = (Arc::clone(&app), stop.clone());
    tasks.spawn(async move { anchoring.0.keep_anchored(anchoring.1).await });
    let rolling = (Arc::clone(&app), stop.clone());
    tasks.spawn(async move { rolling.0.keep_rollouts(rolling.1).await });
    let tidying = (Arc::clone(&app), stop.clone());
    tasks.spawn(async move { tidying.0.keep_firmware_tidy(tidying.1).await });
    let door = Door::start(
        Arc::clone(&app),
        greets,
        DoorBounds::default(),
        setup.successors,
    )
    .map_err(StartError::Random)?;
    let router = http::firmware::router(Arc::clone(&app));
    let router = router.merge(http::device::router(Arc::clone(&door)));
    let device = Listener::start(device, Files, router, DEVICE_CONNECTIONS, &stop);
    let mender = match mender {
        Some(bound) => {
            let keeping = (Arc::clone(&app), stop.clone());
            tasks.spawn(async move { keeping.0.keep_mender_contacts(keeping.1).await });
            let router = http::mender::device::router(Arc::clone(&app));
            Some(Listener::start_over(
                bound,
                mender_tls,
                router,
                DEVICE_CONNECTIONS,
                &stop,
            ))
        }
        None => None,
    };
    let transport = match tls {
        None => http::Transport::Plain,
        Some(_) => http::Transport::Tls,
    };
    let router = http::router_over(Arc::clone(&app), transport);
    let admin = Listener::start_over(admin, tls, router, ADMIN_CONNECTIONS, &stop);
    Ok(Running {
        app,
        door,
        device,
        admin,
        mender,
        tasks,
        stopping,
    })
}

/// What is trusted of the ledger: what was given, or what the database keeps, whichever is newer.
async fn newer(store: &Store, given: Trust) -> Result<Trust, StartError> {
    let kept = {
        let mut reader = store.read("read what is trusted of the ledger").await?;
        followed::trust(reader.on()).await?
    };
    let Some((anchor, set)) = kept else {
        return Ok(given);
    };
    let anchor = Anchor::decode(&anchor).map_err(|why| StartError::Trust(why.to_string()))?;
    let kept =
        Trust::stored(anchor, set.into()).map_err(|why| StartError::Trust(why.to_string()))?;
    if kept.anchor().chain() != given.anchor().chain() {
        return Err(StartError::Trust(format!(
            "it is of chain {}, and the server is to follow chain {}; take another database",
            kept.anchor().chain(),
            given.anchor().chain()
        )));
    }
    let place = |trust: &Trust| (trust.anchor().epoch(), trust.anchor().height());
    Ok(if place(&kept) > place(&given) {
        kept
    } else {
        given
    })
}

/// A listener on which nothing is accepted yet.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

async fn bind(who: &'static str, address: SocketAddr) -> Result<Bound, StartError> {
    let failed = |source| StartError::Listen {
        who,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, address })
}

impl Running {
    /// Where devices reach it.
    #[must_use]
    pub const fn device_address(&self) -> SocketAddr {
        self.device.address
    }

    /// Where people and tools reach it.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// Where stock Mender devices reach it.
    #[must_use]
    pub fn mender_address(&self) -> Option<SocketAddr> {
        self.mender.as_ref().map(|listener| listener.address)
    }

    /// The use cases.
    #[must_use]
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Stops: no new connection is taken, what was asked is answered, what was committed is on disk. What does not end within ten
    /// seconds is broken off.
    pub async fn stop(mut self) {
        // Polls that are held back are answered before their connections are waited for.
        self.door.stop().await;
        self.stopping.send_replace(true);
        // What is anchored at the end waits for its block; longer than this nobody waits with it.
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!(
                "stopping: the audit log's head is not on the ledger; the next start puts it there"
            );
            self.tasks.abort_all();
        }
        let mender = self.mender.into_iter();
        for listener in [self.device, self.admin].into_iter().chain(mender) {
            // A listener that panicked has said so in the log; the rest is stopped all the same.
            let _ = listener.task.await;
        }
        self.app.close().await;
    }
}

impl Listener {
    /// With TLS, or without.
    fn start_over(
        bound: Bound,
        tls: Option<tls::Tls>,
        router: Router,
        connections: usize,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        match tls {
            None => Self::start(bound, Files, router, connections, stop),
            Some(tls) => Self::start(bound, tls, router, connections, stop),
        }
    }

    fn start(
        bound: Bound,
        open: impl Open,
        router: Router,
        connections: usize,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let bounds = Bounds {
            connections,
            header_time: Duration::from_secs(15),
            write_time: Duration::from_secs(15),
            grace: GRACE,
        };
        let serving = serve(
            bound.listener,
            open,
            Routed(router),
            bounds,
            Arc::new(Counts::default()),
            stop.clone(),
        );
        Self {
            address: bound.address,
            task: tokio::spawn(serving),
        }
    }
}

/// A router behind a listener.
#[derive(Clone)]
struct Routed(Router);

impl Answers for Routed {
    type Body = Body;

    async fn answer(
        &self,
        request: hyper::Request<hyper::body::Incoming>,
        peer: SocketAddr,
    ) -> Response {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        match self.0.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
