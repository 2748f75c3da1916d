//! `kusabi doctor`: looks for what is wrong, and says what to do.

use std::{
    fs,
    net::{TcpStream, ToSocketAddrs as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use kusabi_api::{
    admin::Server,
    ledger::{Followed, Role, Votes},
};
use kusabi_core::{
    id::{Handle, OrgName},
    suite::Purpose,
};
use serde::Serialize;

use crate::{
    connection::{Connection, status_of},
    exit::Exit,
    failure::{Failure, Result},
    fleet::Fleet,
    founding::Places,
    page::{Answer, Page, elapsed, grouped},
    session::Session,
    verb::{self, org},
};

/// Below this a disk is nearly full, in bytes: some weeks of blocks.
const DISK_WARN: u64 = 1 << 30;

/// Below this a disk is full for most purposes, in bytes.
const DISK_FAIL: u64 = 100 << 20;

/// A ledger whose newest block is older than so many heartbeats has stopped (spec/device-protocol.md: stale).
const STALE_HEARTBEATS: u64 = 10;

/// How long an address of the devices' may take to answer.
const CONNECT: Duration = Duration::from_secs(3);

/// Look for what is wrong with a ledger, a server and the files of this machine, and say what to do
///
/// Changes nothing. Exit code 1 when something fails; what needs care is said and ends well.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data directory of `kusabi up`, `node run` or `server run`: its disk and its keys are looked at, too
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Certificate (PEM) of the server, to be looked at
    #[arg(long, value_name = "FILE")]
    tls_chain: Option<PathBuf>,
    /// Its private key (PEM), to be looked at
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    what: &'static str,
    verdict: Verdict,
    said: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Default, Serialize)]
struct Findings {
    checks: Vec<Check>,
}

impl Answer for Findings {
    fn page(&self, page: &mut Page) {
        for check in &self.checks {
            let rest = format!("{}: {}", check.what, check.said);
            match check.verdict {
                Verdict::Ok => page.good("ok  ", &rest),
                Verdict::Warn => page.careful("warn", &rest),
                Verdict::Fail => page.bad("fail", &rest),
            };
            if let Some(advice) = &check.advice {
                for line in advice.lines() {
                    page.text(&format!("        {line}"));
                }
            }
        }
        let count = |verdict| {
            let of = |check: &&Check| check.verdict == verdict;
            self.checks.iter().filter(of).count()
        };
        page.gap().text(&format!(
            "{} ok, {} to be looked at, {} failed",
            count(Verdict::Ok),
            count(Verdict::Warn),
            count(Verdict::Fail)
        ));
    }
}

impl Findings {
    fn ok(&mut self, what: &'static str, said: impl Into<String>) {
        self.put(what, Verdict::Ok, said.into(), None);
    }

    fn warn(&mut self, what: &'static str, said: impl Into<String>, advice: impl Into<String>) {
        self.put(what, Verdict::Warn, said.into(), Some(advice.into()));
    }

    fn fail(&mut self, what: &'static str, said: impl Into<String>, advice: impl Into<String>) {
        self.put(what, Verdict::Fail, said.into(), Some(advice.into()));
    }

    /// What a command would have ended with.
    fn failure(&mut self, what: &'static str, failure: &Failure) {
        let advice = failure.advice().map(str::to_owned);
        self.put(what, Verdict::Fail, failure.what().to_owned(), advice);
    }

    fn put(&mut self, what: &'static str, verdict: Verdict, said: String, advice: Option<String>) {
        self.checks.push(Check {
            what,
            verdict,
            said,
            advice,
        });
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let mut findings = Findings::default();
    let connection = ledger(session, &mut findings);
    node(session, &mut findings);
    let server = server(session, &mut findings);
    let org = session.org(args.org.as_ref());
    match (&connection, &org) {
        (Some(connection), Ok(org)) => {
            roles(connection, org, server.as_ref(), session, &mut findings);
        }
        (_, Err(_))
            if args.org.is_none() && session.profile().is_ok_and(|(_, p)| p.org.is_none()) =>
        {
            findings.warn(
                "organisation",
                "none is named, so the keys of none were looked at",
                "name one with --org NAME; a node without a vote has none",
            );
        }
        (_, Err(failure)) => findings.failure("organisation", failure),
        (None, Ok(_)) => {}
    }
    if let Some(server) = &server {
        addresses(server, &mut findings);
    }
    if let Some(data) = &args.data {
        directory(data, &mut findings);
    }
    tls(args, &mut findings);
    let failed = findings
        .checks
        .iter()
        .any(|check| check.verdict == Verdict::Fail);
    session.output().say(&findings)?;
    Ok(if failed { Exit::Negative } else { Exit::Ok })
}

/// The node as it sees itself: whether it serves a ledger that goes on, and which other validators' nodes are connected.
/// Asked also where the ledger gives no answer that could be proven: a node that waits says for what.
fn node(session: &Session, findings: &mut Findings) {
    // What is wrong with its address, or that nobody is there, is what the ledger's check has found.
    let Ok(status) = session.ledger().and_then(|address| status_of(&address)) else {
        return;
    };
    match status.waits_for {
        Some(waits_for) if status.role == Role::Follower => findings.fail(
            "node",
            waits_for,
            "it has no vote, and the ledger may well go on: look at the nodes that it follows, and at the network between",
        ),
        Some(waits_for) => findings.fail(
            "node",
            waits_for,
            "without a quorum nothing is written, and nothing that was acknowledged is lost: ask whoever runs the nodes that \
             are not connected, and look at the network between",
        ),
        None => {
            let role = match status.role {
                Role::Validator => "",
                Role::Follower => "a follower, ",
            };
            findings.ok("node", format!("ready, {role}version {}", status.version));
        }
    }
    if let Some(overdue) = &status.epoch_overdue {
        findings.warn(
            "epoch",
            overdue.as_str(),
            "docs/consortium.md, \"Fresh vote keys\"; until then everything goes on as before",
        );
    }
    if let Some(votes) = &status.votes {
        away(votes, findings);
    }
    for node in status.following.into_iter().flat_map(|f| f.nodes) {
        let Followed {
            address,
            trouble,
            lied,
        } = node;
        match trouble {
            None => findings.ok("follows", address),
            Some(trouble) if lied => findings.fail(
                "follows",
                format!("{address} says what is not so: {trouble}"),
                "tell whoever runs it, and follow other nodes: --from URL",
            ),
            Some(trouble) => findings.warn(
                "follows",
                format!("{address}: {trouble}"),
                "tell whoever runs it; when none is left that can be reached, this follower stands still",
            ),
        }
    }
    let Some(peers) = status.peers else {
        return;
    };
    let said = format!(
        "connected to {} of {} other validators",
        peers.connected, peers.of
    );
    if peers.missing.is_empty() {
        findings.ok("validators", said);
    } else {
        findings.warn(
            "validators",
            format!("{said}; not connected: {}", peers.missing.join(", ")),
            "tell whoever runs them; when fewer than a quorum are left, the ledger stops",
        );
    }
}

/// Validators that have not signed for long, though the ledger goes on.
fn away(votes: &Votes, findings: &mut Findings) {
    for validator in verb::node::away(votes) {
        findings.warn(
            "votes",
            format!(
                "none of the newest {} certificates has a vote of {}",
                grouped(votes.counted),
                validator.address
            ),
            "it is away, or too slow to be among those whose votes are counted: ask whoever runs it",
        );
    }
}

/// The ledger: it answers, what it answers is proven, and it grows; and this machine's clock, against the newest block's time.
fn ledger(session: &Session, findings: &mut Findings) -> Option<Connection> {
    let connection = match Connection::open(session) {
        Ok(connection) => connection,
        Err(failure) => {
            findings.failure("ledger", &failure);
            return None;
        }
    };
    let answers = connection
        .newest()
        .and_then(|newest| Ok((newest, connection.heartbeat_ms()?)));
    let (newest, heartbeat_ms) = match answers {
        Ok(answers) => answers,
        Err(failure) => {
            findings.failure("ledger", &failure);
            return None;
        }
    };
    let header = newest.header();
    findings.ok(
        "ledger",
        format!(
            "answers, proven up to block {}",
            grouped(header.height.get())
        ),
    );
    let now_ms = session.now_ms();
    let stale_ms = heartbeat_ms.saturating_mul(STALE_HEARTBEATS);
    if header.time_ms > now_ms.saturating_add(1_000) {
        findings.fail(
            "clock",
            format!(
                "the newest block is from {} in the future of this machine's clock",
                elapsed(header.time_ms - now_ms)
            ),
            "set the clock: timedatectl set-ntp true",
        );
    } else if now_ms - header.time_ms.min(now_ms) > stale_ms {
        findings.fail(
            "growth",
            format!(
                "the newest block is {} old, and one comes every {}",
                elapsed(now_ms - header.time_ms),
                elapsed(heartbeat_ms)
            ),
            "is the clock right (timedatectl)? else the ledger has stopped: look at its node; devices take it as stale and install nothing",
        );
    } else {
        findings.ok(
            "growth",
            format!(
                "the newest block is {} old, the clock agrees",
                elapsed(now_ms - header.time_ms.min(now_ms))
            ),
        );
    }
    Some(connection)
}

/// The server: it answers, knows the token, and has its database and ledger.
fn server(session: &Session, findings: &mut Findings) -> Option<Server> {
    if session.server().is_err() {
        findings.warn(
            "server",
            "none is named, so none was looked at",
            "name one with --server URL and --token-file FILE; `kusabi up` writes both to the profile",
        );
        return None;
    }
    let said = Fleet::open(session).and_then(|fleet| {
        let server = fleet.ask(fleet.client().server())?;
        Ok((fleet, server))
    });
    match said {
        Ok((fleet, server)) => {
            findings.ok(
                "server",
                format!("{} answers, version {}", fleet.address(), server.version),
            );
            match fleet.ask(fleet.client().ready()) {
                Ok(()) => findings.ok("database", "it and the server's ledger answer"),
                Err(failure) => findings.failure("database", &failure),
            }
            Some(server)
        }
        Err(failure) => {
            findings.failure("server", &failure);
            None
        }
    }
}

/// The keys of the organisation that act: in force, and its own.
fn roles(
    connection: &Connection,
    org: &OrgName,
    server: Option<&Server>,
    session: &Session,
    findings: &mut Findings,
) {
    if let Some(server) = server {
        if server.chain.0 != connection.chain().to_bytes() {
            findings.fail(
                "server key",
                format!("the server is of another ledger: {}", server.chain),
                "check --server and --ledger",
            );
        }
        for key in &server.keys {
            role(
                connection,
                org,
                "server key",
                Purpose::Ps,
                &Handle::new(key.0),
                findings,
            );
        }
        match &server.writer {
            Some(key) => role(
                connection,
                org,
                "server's writer",
                Purpose::Writer,
                &Handle::new(key.0),
                findings,
            ),
            None => findings.ok(
                "server's writer",
                "it has none: a person registers devices that enrol",
            ),
        }
    }
    match session.writer(None) {
        Ok(path) => match session.writer_key(None) {
            Ok(key) => {
                mode("writer", &path, findings);
                role(
                    connection,
                    org,
                    "writer",
                    Purpose::Writer,
                    &key.handle(),
                    findings,
                );
            }
            Err(failure) => findings.failure("writer", &failure),
        },
        Err(_) => findings.warn(
            "writer",
            "the profile names no writer key, so this machine registers nothing",
            "write  writer = \"…\"  to the profile where devices are provisioned",
        ),
    }
    match org::art::find(connection, org) {
        Ok(Some(policy)) if policy.n >= policy.k => findings.ok(
            "release keys",
            format!("{} of {} sign a release", policy.k, policy.n),
        ),
        Ok(Some(policy)) => findings.fail(
            "release keys",
            format!(
                "{} are in force, and the art policy asks for {}",
                policy.n, policy.k
            ),
            "the officers set a new policy: kusabi org art",
        ),
        Ok(None) => findings.warn(
            "release keys",
            "there is no art policy, so no firmware can be published",
            "kusabi org art --sign 1 --add KEYFILE",
        ),
        Err(failure) => findings.failure("release keys", &failure),
    }
}

fn role(
    connection: &Connection,
    org: &OrgName,
    what: &'static str,
    purpose: Purpose,
    handle: &Handle,
    findings: &mut Findings,
) {
    let advice = "an officer grants a key its role: kusabi org grant KEYFILE";
    match connection.record(handle).map(|proven| proven.into_value()) {
        Err(failure) => findings.failure(what, &failure),
        Ok(None) => findings.fail(what, format!("{handle} is not on the ledger"), advice),
        Ok(Some(record)) if record.purpose() != purpose => findings.fail(
            what,
            format!("{handle} is a {} key", record.purpose()),
            advice,
        ),
        Ok(Some(record)) if record.owner() != org.id() => findings.fail(
            what,
            format!("{handle} belongs to another organisation than {org}"),
            advice,
        ),
        Ok(Some(record)) if !record.is_active() => {
            findings.fail(what, format!("{handle} has ended"), advice);
        }
        Ok(Some(_)) => findings.ok(what, format!("{handle} is in force")),
    }
}

/// Where devices are sent to: somebody answers there.
fn addresses(server: &Server, findings: &mut Findings) {
    const WHAT: &str = "device address";
    if server.device_urls.is_empty() {
        findings.fail(
            WHAT,
            "the server does not say where devices reach it",
            "start it with --device-url URL",
        );
    }
    for url in &server.device_urls {
        let Some((host, port)) = host_and_port(url) else {
            findings.fail(
                WHAT,
                format!("{url} is no address"),
                "start the server with --device-url URL",
            );
            continue;
        };
        let reached = (host, port).to_socket_addrs().map(|mut found| {
            found.find_map(|address| {
                TcpStream::connect_timeout(&address, CONNECT)
                    .ok()
                    .map(|_| address)
            })
        });
        match reached {
            Ok(Some(address)) if address.ip().is_loopback() => findings.warn(
                WHAT,
                format!("{url} answers, and only this machine reaches it"),
                "devices elsewhere need another one: --device-url URL",
            ),
            Ok(Some(_)) => findings.ok(WHAT, format!("{url} answers")),
            Ok(None) => findings.fail(
                WHAT,
                format!("nobody answers at {url}"),
                "is the server running, and does the firewall let devices in? (it may also be that only devices can reach it)",
            ),
            Err(error) => findings.fail(
                WHAT,
                format!("{url} cannot be found: {error}"),
                "check the name in the DNS, or start the server with another --device-url",
            ),
        }
    }
}

/// Host and port of an address of a server.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (rest, port) = match url.split_once("://")? {
        ("http", rest) => (rest, 80),
        ("https", rest) => (rest, 443),
        _ => return None,
    };
    let authority = rest.split('/').next()?;
    match authority.rsplit_once(':') {
        Some((host, number)) if !number.ends_with(']') => {
            Some((host.trim_matches(['[', ']']), number.parse().ok()?))
        }
        _ => Some((authority.trim_matches(['[', ']']), port)),
    }
}

/// Disk and key files of a data directory.
fn directory(data: &Path, findings: &mut Findings) {
    match rustix::fs::statvfs(data) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let said = format!("{} MiB are free", grouped(free >> 20));
            if free < DISK_FAIL {
                findings.fail(
                    "disk",
                    said,
                    "free some: a node whose disk is full ends; nothing that was acknowledged is lost",
                );
            } else if free < DISK_WARN {
                findings.warn("disk", said, "blocks are kept for ever: plan for more");
            } else {
                findings.ok("disk", said);
            }
        }
        Err(error) => findings.fail(
            "disk",
            format!("{} cannot be looked at: {error}", data.display()),
            "check --data",
        ),
    }
    let keys = data.join("keys");
    let mut paths: Vec<_> = keys
        .read_dir()
        .map(|entries| {
            entries
                .filter_map(|entry| entry.ok())
                .map(|entry| entry.path())
                .collect()
        })
        .unwrap_or_default();
    paths.push(data.join("token"));
    paths.sort();
    for path in paths.iter().filter(|path| path.exists()) {
        mode("secret", path, findings);
    }
    let places = Places::new(data);
    let officers = places.officer_keys().unwrap_or_else(|failure| {
        findings.failure("key on this machine", &failure);
        Vec::new()
    });
    let officers = officers
        .into_iter()
        .map(|path| (path, "whoever takes it acts as an officer"));
    let others = [
        (Purpose::Recovery, "a disk that is lost takes it along"),
        (Purpose::Art, "whoever takes it signs firmware"),
    ];
    let others = others
        .map(|(purpose, why)| (places.key(purpose), why))
        .into_iter()
        .filter(|(path, _)| path.exists());
    for (path, why) in officers.chain(others) {
        findings.warn(
            "key on this machine",
            format!("{} lies beside the ledger: {why}", path.display()),
            "move it away from this machine",
        );
    }
}

/// Whether only its owner may read a secret.
fn mode(what: &'static str, path: &Path, findings: &mut Findings) {
    match fs::metadata(path) {
        Ok(metadata) if metadata.mode() & 0o077 == 0 => {
            findings.ok(what, format!("{} is for its owner alone", path.display()));
        }
        Ok(metadata) => findings.fail(
            what,
            format!(
                "others may read {} (mode {:04o})",
                path.display(),
                metadata.mode() & 0o7777
            ),
            format!(
                "chmod 600 {}; and if others could have read it, replace the key",
                path.display()
            ),
        ),
        Err(error) => findings.failure(what, &Failure::io("read", path, &error)),
    }
}

/// A certificate and its key, where they are named.
fn tls(args: &Args, findings: &mut Findings) {
    const WHAT: &str = "TLS";
    for (path, label) in [
        (&args.tls_chain, "CERTIFICATE"),
        (&args.tls_key, "PRIVATE KEY"),
    ] {
        let Some(path) = path else {
            continue;
        };
        match crate::files::read(path, 1 << 20) {
            Ok(bytes) => {
                let text = zeroize::Zeroizing::new(bytes);
                let text = String::from_utf8_lossy(&text);
                if text.contains(&format!("{label}-----")) {
                    findings.ok(WHAT, format!("{} is there", path.display()));
                } else {
                    findings.fail(
                        WHAT,
                        format!("{} holds no {} in PEM form", path.display(), label.to_lowercase()),
                        "openssl x509 -in FILE -text, openssl pkey -in FILE -noout say what it holds",
                    );
                }
                if label == "PRIVATE KEY" {
                    mode(WHAT, path, findings);
                }
            }
            Err(failure) => findings.failure(WHAT, &failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (url, parts) in [
            ("http://a.example:7041", Some(("a.example", 7041))),
            ("https://a.example/devices", Some(("a.example", 443))),
            ("http://[2001:db8::1]:80/x", Some(("2001:db8::1", 80))),
            ("http://[2001:db8::1]", Some(("2001:db8::1", 80))),
            ("ftp://a.example", None),
            ("a.example:7041", None),
            ("http://a.example:port", None),
        ] {
            assert_eq!(host_and_port(url), parts, "{url}");
        }
    }
}
