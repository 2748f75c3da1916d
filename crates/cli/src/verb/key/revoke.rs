//! `kusabi key revoke`: ends a key for good.

use std::path::PathBuf;

use clap::ValueEnum;
use kusabi_core::{
    id::Height,
    row::{Reason, Status},
    tx::{Action, Named},
};
use serde::Serialize;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
    session::Session,
    who::Who,
};

/// Revoke a key; nothing brings it back
///
/// A key file revokes itself. Otherwise a revoker or an officer of the organisation signs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Handle (64 hex digits), a key file, or `-` to read a kusabi-ID from standard input
    #[arg(value_name = "KEY")]
    who: Who,
    /// Why
    #[arg(long, value_enum)]
    reason: Option<ReasonName>,
    /// Height from which the key was in other hands: what it signed from there on counts for nothing
    #[arg(long, value_name = "HEIGHT")]
    compromised_since: Option<u64>,
    /// Key file of a revoker or officer; twice beyond the cap [default: KEY itself, else the profile's officers]
    #[arg(long, value_name = "KEYFILE")]
    by: Vec<PathBuf>,
}

/// Why a key ends.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReasonName {
    /// Its private half may be known to others
    Compromised,
    /// The device is lost
    Lost,
    /// Out of service
    Retired,
}

#[derive(Serialize)]
struct Revoked {
    handle: String,
    height: u64,
    new: bool,
}

impl Answer for Revoked {
    fn page(&self, page: &mut Page) {
        let done = if self.new {
            "Revoked"
        } else {
            "Already revoked"
        };
        page.good(done, "")
            .field("handle", &*self.handle)
            .field("from block", grouped(self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let known = args.who.resolve()?;
    let handle = known.handle();
    let since = args
        .compromised_since
        .map(Height::new)
        .transpose()
        .map_err(|why| Failure::new(Exit::Usage, format!("--compromised-since: {why}")))?;
    let connection = Connection::open(session)?;
    let record = connection.record(&handle)?.into_value().ok_or_else(|| {
        Failure::new(Exit::Negative, format!("the ledger has no key {handle}"))
            .advise("check the handle: kusabi key show KEYFILE")
    })?;
    let new = record.status() != Status::Revoked;
    if new {
        let signers = match known.key() {
            Some(_) if args.by.is_empty() => Vec::new(),
            _ => session
                .officers(&args.by)?
                .iter()
                .map(|path| KeyFile::read(path))
                .collect::<Result<Vec<_>>>()?,
        };
        let signers: Vec<&KeyFile> = match known.key() {
            Some(key) if signers.is_empty() => vec![key],
            _ => signers.iter().collect(),
        };
        let action = Action::Revoke {
            org: record.owner(),
            targets: vec![Named {
                handle,
                version: record.version(),
            }],
            reason: match args.reason {
                None => Reason::None,
                Some(ReasonName::Compromised) => Reason::Compromised,
                Some(ReasonName::Lost) => Reason::Lost,
                Some(ReasonName::Retired) => Reason::Retired,
            },
            compromised_since: since,
            signers: u8::try_from(signers.len()).unwrap_or(u8::MAX),
        };
        connection.act(action, &signers)?;
    }
    let ended = connection
        .record(&handle)?
        .into_value()
        .filter(|record| record.status() == Status::Revoked)
        .and_then(|record| record.ended())
        .ok_or_else(|| {
            Failure::new(
                Exit::Unproven,
                format!("the node says that {handle} is revoked and does not prove it"),
            )
        })?;
    session.output().say(&Revoked {
        handle: handle.to_string(),
        height: ended.get(),
        new,
    })?;
    Ok(Exit::Ok)
}
