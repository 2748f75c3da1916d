//! `kusabi up`: everything in one process, for a shop with fifty cameras: the ledger's node and the organisation's server.
//!
//! ```text
//! DATA/keys/{officer,recovery,writer,art}.key   the owner's; officer, recovery and art are to be moved away
//! DATA/keys/{ps,server-writer}.key              the server's own
//! DATA/node/                                    the ledger
//! DATA/server/                                  database and firmware
//! DATA/token                                    for the commands of whoever may read it (0600)
//! ```
//! The first start founds a ledger and equips the server; an interrupted one is completed by the next.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use kusabi_api::Ledger;
use kusabi_core::{
    id::OrgName,
    suite::{Purpose, Suite},
};
use kusabi_server::device::Successors;
use kusabi_server::serve::{Database, ForMender, ServerKey, Setup};
use serde::Serialize;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    founding::Places,
    keyfile::{KeyFile, underivable},
    page::{Answer, Page, grouped},
    profile::{self, Profile},
    session::Session,
    verb::{
        node::{
            config::{Said, Settings},
            process::{Completed, Process, absolute},
        },
        org,
        server::{
            mender::Mender,
            run::{first_admin, only_here},
            setup::{
                ADMIN_LISTEN, DEVICE_LISTEN, Machine, active, app_failure, device_urls,
                local_token, log, start_failure,
            },
        },
    },
};

/// Run the ledger and the server in one process; on an empty directory, found both
///
/// Ends gracefully on Ctrl-C and SIGTERM. What was acknowledged survives any other end too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for everything; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address for devices; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value_t = DEVICE_LISTEN)]
    listen: SocketAddr,
    /// Address for people and tools; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value_t = ADMIN_LISTEN)]
    admin_listen: SocketAddr,
    /// Address of the ledger [default: 127.0.0.1:7040]; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    ledger_listen: Option<SocketAddr>,
    /// Where devices reach it, up to four times [default: this machine's address]
    #[arg(long = "device-url", value_name = "URL")]
    device_urls: Vec<String>,
    /// Founding: seconds between blocks when nothing happens [default: 60]
    #[arg(long, value_name = "SECONDS")]
    heartbeat: Option<u64>,
    #[command(flatten)]
    mender: Mender,
    /// Configuration file: that of `kusabi node run`
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Founding: name of the ledger [default: the organisation's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Name of your organisation [default: home]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key file of an officer, where the server is not equipped yet and the key was moved away
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
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
    release_key: PathBuf,
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
            .careful(
                "Move these three files away from this machine.",
                "Whoever has them, has the ledger and the firmware.",
            )
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
            .field(
                path(&self.release_key),
                "signs firmware; the art policy asks for this one key. Keep it\n\
                 where releases are made. More keys: kusabi org art.",
            )
            .gap()
            .text("This one stays where devices are provisioned:")
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
            .gap();
        if !self.at_home {
            page.text("Commands find this ledger and server with:")
                .command(&format!("kusabi --profile {} …", path(&self.profile)))
                .gap();
        }
    }
}

/// Said at every start, when everything answers.
#[derive(Serialize)]
struct Ready {
    event: &'static str,
    chain: String,
    height: u64,
    ledger: String,
    admin: String,
    devices: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mender: Option<String>,
    token_file: PathBuf,
    profile: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_admin: Option<String>,
}

impl Answer for Ready {
    fn page(&self, page: &mut Page) {
        page.good("Ready", &format!("at height {}", grouped(self.height)))
            .field("console", &*self.admin);
        if let Some(link) = &self.first_admin {
            page.field(
                "first admin",
                format!("{link}\nOnce, within an hour; after that the next start shows another."),
            );
        }
        page.field("devices", self.devices.join("\n"))
            .field_if("Mender", self.mender.clone())
            .field("ledger", &*self.ledger)
            .field(
                "token",
                format!("{}, for this machine's commands", self.token_file.display()),
            )
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
        page.good("Stopped", &format!("at height {}", grouped(self.height)));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    log();
    if !args.admin_listen.ip().is_loopback() {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} is reached from other machines, and tokens would pass over the network in clear",
                args.admin_listen
            ),
        )
        .advise("put a proxy with TLS, or a tunnel, before 127.0.0.1; kusabi server run takes a certificate itself"));
    }
    let settings = Settings::resolve(&Said {
        config: args.config.as_deref(),
        listen: args.ledger_listen,
        name: args.name.as_deref(),
        org: args.org,
        heartbeat_s: args.heartbeat,
        ..Said::default()
    })?;
    let places = Places::new(&args.data);
    // Before anything is founded.
    let mender = args.mender.listener(None)?;
    let mut process = Process::start(&places, &settings, session)?;
    let ended = serve(args, mender, &mut process, &places, &settings, session);
    // It stops in any case.
    let height = process.stop().unwrap_or_default();
    ended?;
    session.output().say(&Stopped {
        event: "stopped",
        height,
    })
}

fn serve(
    args: &Args,
    mender: Option<ForMender>,
    process: &mut Process,
    places: &Places,
    settings: &Settings,
    session: &Session,
) -> Result<()> {
    let data = Data::new(places);
    if !process.wait_until_it_answers(session)? {
        return Ok(());
    }
    let completed = process.complete(
        places,
        settings,
        |here, profile| {
            equip(&data, &settings.org, &[places.key(Purpose::Officer)], here)?;
            profile.art = vec![absolute(&data.art)?];
            profile.token_file = Some(absolute(places.root())?.join("token"));
            Ok(())
        },
        session,
    )?;
    let here = session.at(process.address(), process.chain());
    // Whether it was founded just now, and the profile is where commands look for it.
    let founded = match completed {
        Some(Completed::Founded { at_home }) => Some(at_home),
        Some(Completed::Joined { .. }) | None => None,
    };
    if founded.is_none() {
        let officers = if args.officers.is_empty() {
            vec![places.key(Purpose::Officer)]
        } else {
            args.officers.clone()
        };
        equip(&data, &settings.org, &officers, &here)?;
    }
    let connection = Connection::open(&here)?;
    let keys = Keys {
        ps: active(&connection, &settings.org, Purpose::Ps, &data.ps)?,
        writer: active(&connection, &settings.org, Purpose::Writer, &data.writer)?,
    };
    let (urls, loopback) = device_urls(&args.device_urls, args.listen);
    files::make_folder(&data.server)?;
    let setup = Setup {
        org: settings.org.id(),
        chain: *process.chain(),
        trust: connection.trust(),
        database: Database::Sqlite(data.server.join("server.sqlite")),
        firmware: data.server.join("firmware").display().to_string(),
        incoming: data.server.join("incoming"),
        device_listen: args.listen,
        admin_listen: args.admin_listen,
        admin_tls: None,
        device_urls: urls,
        successors: Successors::new(),
        ps: keys.ps,
        writer: Some(keys.writer),
        mender,
    };
    let ledger: Arc<dyn Ledger> = Arc::<kusabi_node::ledger::NodeLedger>::clone(process.ledger());
    let running = process
        .runtime()
        .block_on(kusabi_server::start(setup, ledger, Arc::new(Machine)))
        .map_err(|why| start_failure(&why))?;
    let ended = (|| {
        let admin = format!("http://{}", running.admin_address());
        // Port 0 became a port.
        let (urls, _) = device_urls(&args.device_urls, running.device_address());
        let link = process.runtime().block_on(async {
            local_token(running.app(), &data.token).await?;
            running
                .app()
                .first_admin_link()
                .await
                .map_err(|why| app_failure(&why))
        })?;
        note_server(places, process, &admin, &data)?;
        if let Some(at_home) = founded {
            session.output().say(&Founded {
                event: "founded",
                name: process.name(),
                organisation: settings.org.to_string(),
                chain: process.chain().to_string(),
                officer_key: places.key(Purpose::Officer),
                recovery_key: places.key(Purpose::Recovery),
                release_key: data.art.clone(),
                writer_key: places.key(Purpose::Writer),
                profile: places.profile(),
                at_home,
            })?;
        }
        if loopback {
            session.output().warn(&only_here(&urls));
        }
        session.output().say(&Ready {
            event: "ready",
            chain: process.chain().to_string(),
            height: process.height().unwrap_or_default(),
            ledger: process.address().to_owned(),
            first_admin: link.map(|secret| first_admin(&admin, &secret)),
            admin,
            devices: urls,
            mender: running.mender_address().map(|address| address.to_string()),
            token_file: data.token.clone(),
            profile: places.profile(),
        })?;
        process.wait()
    })();
    // The server first: what it still answers may ask the ledger.
    process.runtime().block_on(running.stop());
    ended
}

/// The server's places in the data directory.
struct Data {
    ps: PathBuf,
    writer: PathBuf,
    art: PathBuf,
    server: PathBuf,
    token: PathBuf,
}

struct Keys {
    ps: ServerKey,
    writer: ServerKey,
}

impl Data {
    fn new(places: &Places) -> Self {
        let keys = places.root().join("keys");
        Self {
            ps: places.key(Purpose::Ps),
            writer: keys.join("server-writer.key"),
            art: places.key(Purpose::Art),
            server: places.root().join("server"),
            token: places.root().join("token"),
        }
    }
}

/// What a server needs before it can act: its own keys in force, and somebody who may sign releases.
fn equip(data: &Data, org: &OrgName, officers: &[PathBuf], here: &Session) -> Result<()> {
    let connection = Connection::open(here)?;
    let mut equipped = true;
    for (path, purpose) in [(&data.ps, Purpose::Ps), (&data.writer, Purpose::Writer)] {
        let key = made(path, purpose, here)?;
        equipped &= connection.record(&key.handle())?.value().is_some();
    }
    let policy = org::art::find(&connection, org)?;
    if equipped && policy.is_some() {
        return Ok(());
    }
    if let Some(missing) = officers.iter().find(|path| !path.exists()) {
        if equipped {
            // Without a policy nothing can be released; everything else works.
            here.output().warn(
                "the organisation has no art policy yet, so it can publish no firmware: kusabi org art --sign 1 --add KEYFILE",
            );
            return Ok(());
        }
        return Err(Failure::new(
            Exit::File,
            format!(
                "the server's keys are not on the ledger yet, and {}, the officer's key that grants them, is not there",
                missing.display()
            ),
        )
        .advise("bring the key for this one start: kusabi up --data DIR --officer KEYFILE"));
    }
    for path in [&data.ps, &data.writer] {
        org::grant(here, org, path, officers)?;
    }
    if policy.is_none() {
        let art = made(&data.art, Purpose::Art, here)?;
        let officers = KeyFile::read_all(officers)?;
        let change = org::art::Change {
            k: 1,
            added: &[art],
            foreign: Vec::new(),
            removed: Vec::new(),
        };
        org::art::set(&connection, org, None, change, &officers)?;
    }
    Ok(())
}

/// The key of an interrupted start, or a new one.
fn made(path: &Path, purpose: Purpose, session: &Session) -> Result<KeyFile> {
    files::sweep(path);
    if path.exists() {
        return KeyFile::read(path);
    }
    if let Some(folder) = path.parent() {
        files::make_folder(folder)?;
    }
    let key =
        KeyFile::generate(purpose, Suite::Curve25519, &mut session.rng()).map_err(underivable)?;
    key.create(path)?;
    Ok(key)
}

/// Writes where the server is to the profiles that are this ledger's: ports may have changed since the last start.
fn note_server(places: &Places, process: &Process, admin: &str, data: &Data) -> Result<()> {
    let token_file = absolute(&data.token)?;
    for path in [profile::default_path()?, places.profile()] {
        if !path.exists() {
            continue;
        }
        let Ok(mut profile) = Profile::read(&path) else {
            // Somebody else's, or being mended by hand: it is not ours to write.
            continue;
        };
        if profile.chain.as_deref() != Some(&*process.chain().to_string()) {
            continue;
        }
        let before = profile.clone();
        profile.ledger = Some(process.address().to_owned());
        profile.server = Some(admin.to_owned());
        profile.token_file = Some(token_file.clone());
        if profile != before {
            files::replace(&path, profile.to_toml().as_bytes(), Mode::Public)?;
        }
    }
    Ok(())
}
