//! What `kusabi up` and `kusabi server run` have in common: the server's keys, its addresses, its token, and how it fails.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
};

use kusabi_api::admin::{Role, Text, TokenCreate};
use kusabi_core::{id::OrgName, suite::Purpose};
use kusabi_server::{
    App, Edge,
    app::{By, Caller, Error},
    serve::{ServerKey, StartError},
};

use crate::{
    connection::Connection,
    entry::{ended, foreign, is_record_of, of_another},
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::KeyFile,
};

/// Where devices are listened to when nothing is said: everywhere, for they come from elsewhere.
pub(crate) const DEVICE_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7041);

/// Where people and tools are listened to when nothing is said: this machine.
pub(crate) const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7042);

/// A token has some 80 bytes.
const TOKEN_LIMIT: u64 = 4_096;

/// The machine's clock and randomness.
pub(crate) struct Machine;

impl Edge for Machine {
    fn now_ms(&self) -> u64 {
        u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
    }

    fn random(&self) -> io::Result<[u8; 32]> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

/// A key that the ledger proves to be in force, as the server takes it.
pub(crate) fn active(
    connection: &Connection,
    org: &OrgName,
    purpose: Purpose,
    path: &Path,
) -> Result<ServerKey> {
    let key = KeyFile::read(path)?;
    let name = path.display().to_string();
    if key.purpose() != purpose {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{name} is a {} key, and a {purpose} key is needed",
                key.purpose()
            ),
        ));
    }
    let record = connection
        .record(&key.handle())?
        .into_value()
        .ok_or_else(|| {
            Failure::new(
                Exit::Negative,
                format!("the ledger does not know {name}, so nobody would accept what it signs"),
            )
            .advise(format!("an officer grants it: kusabi org grant {name}"))
        })?;
    if !is_record_of(&record, &key, connection.chain()) {
        return Err(foreign(&key.handle()));
    }
    if record.owner() != org.id() {
        let owner = connection.organisation_name(&record.owner())?;
        return Err(of_another(&name, &owner, org));
    }
    if !record.is_active() {
        return Err(ended(&name, &record));
    }
    Ok(ServerKey {
        handle: key.handle(),
        key: Arc::new(key.into_key()),
    })
}

/// The addresses at which devices reach a listener, when nobody says: that of the listener, or of the network that this machine's
/// packets leave by. Whether only this machine can reach them.
pub(crate) fn device_urls(named: &[String], listen: SocketAddr) -> (Vec<String>, bool) {
    if !named.is_empty() {
        let urls = named.iter().map(|url| url.trim_end_matches('/').to_owned());
        return (urls.collect(), false);
    }
    let ip = if listen.ip().is_unspecified() {
        outward().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    } else {
        listen.ip()
    };
    let url = format!("http://{}", SocketAddr::new(ip, listen.port()));
    (vec![url], ip.is_loopback())
}

/// The address of this machine towards the default route. Connecting a UDP socket sends nothing; the address is one that is
/// kept for documents (RFC 5737).
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

/// Makes sure that the file holds a token of an admin: for the commands of whoever may read it. Whether it was made now.
pub(crate) async fn local_token(app: &App, path: &Path) -> Result<bool> {
    files::sweep(path);
    if path.exists() {
        let bytes = files::read_secret(path, TOKEN_LIMIT)?;
        let secret = String::from_utf8_lossy(&bytes);
        match app.authenticate(secret.trim()).await {
            Ok(_) => return Ok(false),
            // Of a database that was wiped, or revoked.
            Err(Error::Unauthenticated) => {}
            Err(why) => return Err(app_failure(&why)),
        }
    }
    let name =
        Text::new("this machine").map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let create = TokenCreate {
        name,
        role: Role::Admin,
    };
    let by = By::only(Caller::server());
    let created = app
        .create_token(&by, create)
        .await
        .map_err(|why| app_failure(&why))?;
    let line = zeroize::Zeroizing::new(format!("{}\n", created.secret));
    files::replace(path, line.as_bytes(), Mode::Secret)?;
    Ok(true)
}

/// Why a use case of the server's own machine failed.
pub(crate) fn app_failure(why: &Error) -> Failure {
    match why {
        Error::Behind | Error::Ledger(_) => Failure::new(Exit::Unavailable, why.to_string()),
        why => Failure::new(Exit::Internal, why.to_string()),
    }
}

/// Why a server did not start.
pub(crate) fn start_failure(why: &StartError) -> Failure {
    match why {
        StartError::Listen {
            address, source, ..
        } => crate::verb::node::process::unavailable(*address, source),
        StartError::Tls(_) => Failure::new(Exit::Config, causes(why)),
        StartError::Store(_) => Failure::new(Exit::File, causes(why)).advise(
            "is the disk full, or the database of a later version? without it the server begins anew: kusabi rebuild --help",
        ),
        why => Failure::new(Exit::Internal, causes(why)),
    }
}

/// An error with its causes.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

/// What the server logs goes to standard error; the engine's own remarks say nothing to an operator.
pub(crate) fn log() {
    use tracing_subscriber::{
        filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    let ours = Targets::new()
        .with_target("kusabi_server", tracing::Level::WARN)
        .with_target("kusabi_api", tracing::Level::WARN)
        .with_target("kusabi_node", tracing::Level::WARN);
    // Somebody else's logger, in a test, stays.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(ours)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_sent_to_where_they_can_get() {
        let listen = "192.0.2.7:7041".parse().unwrap();
        let here = (vec![String::from("http://192.0.2.7:7041")], false);
        assert_eq!(device_urls(&[], listen), here);
        let loopback = "127.0.0.1:9".parse().unwrap();
        assert!(device_urls(&[], loopback).1);
        let named = [String::from("https://devices.example/")];
        let said = (vec![String::from("https://devices.example")], false);
        assert_eq!(device_urls(&named, loopback), said);
        let (urls, _) = device_urls(&[], DEVICE_LISTEN);
        assert!(!urls[0].contains("0.0.0.0"), "{urls:?}");
    }
}
