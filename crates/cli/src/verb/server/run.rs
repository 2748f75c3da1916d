//! `kusabi server run`: a server on a ledger whose node runs elsewhere.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use kusabi_api::HttpLedger;
use kusabi_core::{id::OrgName, protocol::is_address, suite::Purpose};
use kusabi_server::{
    device::Successors,
    serve::{Database, Setup, TlsFiles},
};
use serde::{Deserialize, Serialize};

use super::mender::{Mender, MenderSection};
use super::setup::{
    ADMIN_LISTEN, DEVICE_LISTEN, Machine, active, app_failure, device_urls, local_token, log,
    start_failure,
};
use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files,
    page::{Answer, Page},
    profile::toml_failure,
    session::Session,
    verb::node::process::{Signals, runtime},
};

/// A configuration has a few lines.
const LIMIT: u64 = 64 * 1024;

/// Run a server for the organisation's devices, on the ledger that --ledger names
///
/// Its key (purpose ps) was granted by an officer. Ends gracefully on Ctrl-C and SIGTERM.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the server: database, firmware, token; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Key file of the server (purpose ps) [default: ps.key in the directory]
    #[arg(long, value_name = "KEYFILE")]
    ps: Option<PathBuf>,
    /// Key file of a writer, with which it registers devices that enrolled; without it an operator does
    #[arg(long, value_name = "KEYFILE")]
    writer: Option<PathBuf>,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Address for devices [default: 0.0.0.0:7041]; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Address for people and tools [default: 127.0.0.1:7042]; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<SocketAddr>,
    /// Where devices reach it, up to four times [default: this machine's address]
    #[arg(long = "device-url", value_name = "URL")]
    device_urls: Vec<String>,
    /// Where the servers of another organisation are: devices that come to it are told, and believe none of it; may be repeated
    #[arg(long = "successor", value_name = "NAME=URL")]
    successors: Vec<String>,
    #[command(flatten)]
    mender: Mender,
    /// Certificate (PEM, with those above it) of the address for people and tools
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_chain: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_chain")]
    tls_key: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

impl Args {
    /// Its directory and its configuration file.
    #[cfg(test)]
    pub(crate) fn places(self) -> (PathBuf, Option<PathBuf>) {
        (self.data, self.config)
    }
}

/// The configuration file. Everything is optional; the command line comes first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    #[serde(default)]
    device_urls: Vec<String>,
    /// By the organisation's name.
    #[serde(default)]
    successors: BTreeMap<String, String>,
    tls_chain: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    /// `postgres://…`: it may hold a password, so it stands in no argument.
    database: Option<String>,
    firmware: Option<String>,
    mender: Option<MenderSection>,
}

#[derive(Serialize)]
struct Ready {
    event: &'static str,
    chain: String,
    organisation: String,
    admin: String,
    devices: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mender: Option<String>,
    token_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_admin: Option<String>,
}

impl Answer for Ready {
    fn page(&self, page: &mut Page) {
        page.good(
            "Ready",
            &format!("for the devices of {}", self.organisation),
        )
        .field("console", &*self.admin)
        .field_if("first admin", self.first_admin.clone())
        .field("devices", self.devices.join("\n"))
        .field_if("Mender", self.mender.clone())
        .field("token", self.token_file.display().to_string())
        .field("chain", &*self.chain)
        .text("Ctrl-C stops it.");
    }
}

#[derive(Serialize)]
struct Stopped {
    event: &'static str,
}

impl Answer for Stopped {
    fn page(&self, page: &mut Page) {
        page.good("Stopped", "");
    }
}

/// Where devices of other organisations are sent; the command line comes first.
fn successors(named: &[String], file: BTreeMap<String, String>) -> Result<Successors> {
    let named = named.iter().map(|one| {
        let (name, url) = one.split_once('=').ok_or_else(|| {
            let why = format!("--successor {one} names no address; write NAME=URL");
            Failure::new(Exit::Usage, why)
        })?;
        Ok((name.to_owned(), url.to_owned()))
    });
    let all = file.into_iter().map(Ok).chain(named);
    let checked = all.map(|one| {
        let (name, url) = one?;
        let org = OrgName::new(&name).map_err(|error| {
            Failure::new(Exit::Usage, format!("successor {name}: {error}"))
        })?;
        if !is_address(&url) {
            let why = format!(
                "successor {name}: {url} is no server's address; write one like http://kusabi.example:7041, without a '/' at its end"
            );
            return Err(Failure::new(Exit::Usage, why));
        }
        Ok((org.id(), url.into()))
    });
    checked.collect()
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    log();
    let file = args
        .config
        .as_deref()
        .map(read)
        .transpose()?
        .unwrap_or_default();
    let org = session.org(args.org.as_ref())?;
    let chain = session.chain()?;
    files::make_folder(&args.data)?;
    let connection = Connection::open(session)?;
    connection.known_organisation(&org.id())?;
    let ps = args.ps.clone().unwrap_or_else(|| args.data.join("ps.key"));
    let ps = active(&connection, &org, Purpose::Ps, &ps)?;
    let writer = args
        .writer
        .as_deref()
        .map(|path| active(&connection, &org, Purpose::Writer, path))
        .transpose()?;
    let ledger = HttpLedger::new(&session.ledger()?)
        .map_err(|problem| Failure::new(Exit::Usage, problem.to_string()))?;
    let listen = args.listen.or(file.listen).unwrap_or(DEVICE_LISTEN);
    let named = if args.device_urls.is_empty() {
        &file.device_urls
    } else {
        &args.device_urls
    };
    let (urls, loopback) = device_urls(named, listen);
    let setup = Setup {
        org: org.id(),
        chain,
        trust: connection.trust(),
        database: match file.database {
            Some(url) => Database::Postgres(url),
            None => Database::Sqlite(args.data.join("server.sqlite")),
        },
        firmware: file
            .firmware
            .unwrap_or_else(|| args.data.join("firmware").display().to_string()),
        incoming: args.data.join("incoming"),
        device_listen: listen,
        admin_listen: args
            .admin_listen
            .or(file.admin_listen)
            .unwrap_or(ADMIN_LISTEN),
        admin_tls: tls(
            args.tls_chain.clone().or(file.tls_chain),
            args.tls_key.clone().or(file.tls_key),
        )?,
        device_urls: urls.clone(),
        successors: successors(&args.successors, file.successors)?,
        ps,
        writer,
        mender: args.mender.listener(file.mender)?,
    };
    refuse_clear(&setup)?;
    let scheme = if setup.admin_tls.is_some() {
        "https"
    } else {
        "http"
    };
    let runtime = runtime()?;
    let token_file = args.data.join("token");
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let running = kusabi_server::start(setup, Arc::new(ledger), Arc::new(Machine))
            .await
            .map_err(|why| start_failure(&why))?;
        let ended = async {
            local_token(running.app(), &token_file).await?;
            let admin = format!("{scheme}://{}", running.admin_address());
            let link = running
                .app()
                .first_admin_link()
                .await
                .map_err(|why| app_failure(&why))?;
            if loopback {
                session.output().warn(&only_here(&urls));
            }
            session.output().say(&Ready {
                event: "ready",
                chain: chain.to_string(),
                organisation: org.to_string(),
                first_admin: link.map(|secret| first_admin(&admin, &secret)),
                admin,
                devices: urls.clone(),
                mender: running.mender_address().map(|address| address.to_string()),
                token_file: token_file.clone(),
            })?;
            signals.asked_to_stop().await;
            Ok(())
        }
        .await;
        // It stops in any case.
        running.stop().await;
        ended
    })?;
    session.output().say(&Stopped { event: "stopped" })
}

/// The one-time link: a page of the server's own, on this machine or over TLS.
pub(crate) fn first_admin(admin: &str, secret: &str) -> String {
    format!("{admin}/first-admin?link={secret}")
}

/// The sentence for addresses that no device elsewhere can reach.
pub(crate) fn only_here(urls: &[String]) -> String {
    format!(
        "devices are told {}, which only this machine reaches; name another address with --device-url",
        urls.join(", ")
    )
}

/// Tokens and sign-ins in clear belong on this machine.
fn refuse_clear(setup: &Setup) -> Result<()> {
    let files = "give --tls-chain and --tls-key";
    clear(setup.admin_listen, setup.admin_tls.as_ref(), files)
}

/// The same of any address; `files`: how it gets a certificate.
pub(super) fn clear(listen: SocketAddr, tls: Option<&TlsFiles>, files: &str) -> Result<()> {
    if tls.is_some() || listen.ip().is_loopback() {
        return Ok(());
    }
    let why = format!(
        "{listen} is reached from other machines, and tokens would pass over the network in clear"
    );
    Err(Failure::new(Exit::Usage, why).advise(format!(
        "{files}; or listen on 127.0.0.1 and put a proxy with TLS, or a tunnel, before it"
    )))
}

pub(super) fn tls(chain: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>> {
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some(TlsFiles { chain, key })),
        (None, None) => Ok(None),
        _ => Err(Failure::new(
            Exit::Config,
            "a certificate and its key belong together: tls_chain and tls_key",
        )),
    }
}

fn read(path: &Path) -> Result<File> {
    let bytes = files::read(path, LIMIT)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::Config, format!("{} is not text", path.display())))?;
    let mut file: File = toml::from_str(&text).map_err(|error| toml_failure(path, &error))?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mender = file.mender.iter_mut().flat_map(MenderSection::files);
    for path in [&mut file.tls_chain, &mut file.tls_key]
        .into_iter()
        .chain(mender)
        .flatten()
    {
        *path = folder.join(&*path);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::with_comments;

    #[test]
    fn the_packaged_file_is_accepted_and_has_every_setting() {
        let packaged = include_str!("../../../../../packaging/server.toml");
        let plain: File = toml::from_str(packaged).unwrap();
        assert_eq!(plain.listen, Some(DEVICE_LISTEN));
        assert_eq!(plain.admin_listen, Some(ADMIN_LISTEN));
        let (text, settings) = with_comments(packaged);
        let file: File = toml::from_str(&text).unwrap();
        assert!(file.tls_chain.is_some() && file.tls_key.is_some());
        assert!(file.database.is_some() && file.firmware.is_some());
        assert!(successors(&[], file.successors).is_ok());
        let mender = file.mender.unwrap();
        assert!(mender.tls_chain.is_some() && mender.tls_key.is_some());
        assert_eq!(settings, 9, "{text}");
    }

    #[test]
    fn the_manual_names_every_setting() {
        let manual = include_str!("../../../../../docs/cli.md");
        let error = toml::from_str::<File>("nothing = 1").unwrap_err();
        let known = error.to_string();
        let known = known.split_once("expected one of ").unwrap().1;
        let settings: Vec<_> = known.trim_end().split(", ").collect();
        assert_eq!(settings.len(), 9, "{known}");
        for setting in settings {
            // A table of settings stands in brackets.
            let table = format!("| `[{}]` |", setting.trim_matches('`'));
            let named = manual.contains(&format!("| {setting} |")) || manual.contains(&table);
            assert!(named, "{setting}");
        }
    }
}
