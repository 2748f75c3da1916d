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
/// A key file revokes itself. Otherwise a revoker or an officer of the organisation signs, and always where it is said since
/// when the key was in other hands; that can also be said later, of a key that has ended.
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
pub(crate) enum ReasonName {
    /// Its private half may be known to others
    Compromised,
    /// The device is lost
    Lost,
    /// Out of service
    Retired,
}

impl From<ReasonName> for Reason {
    fn from(name: ReasonName) -> Self {
        match name {
            ReasonName::Compromised => Self::Compromised,
            ReasonName::Lost => Self::Lost,
            ReasonName::Retired => Self::Retired,
        }
    }
}

#[derive(Serialize)]
struct Revoked {
    handle: String,
    height: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    compromised_since: Option<u64>,
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
            .field("from block", grouped(self.height))
            .field_if(
                "in other hands",
                self.compromised_since
                    .map(|height| format!("since block {}", grouped(height))),
            );
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
    let record = connection.known_record(&handle)?;
    // Of a revoked key it can be said later since when it was in other hands, and earlier than was said (spec/ledger.md).
    let dates =
        since.is_some_and(|since| record.compromised_since().is_none_or(|said| since < said));
    let new = record.is_active() || dates;
    if !new && record.status() != Status::Revoked {
        return Err(Failure::new(
            Exit::Negative,
            format!(
                "the key has ended already ({})",
                kusabi_api::view::status(record.status())
            ),
        )
        .advise(
            "it can still be said since when it was in other hands: --compromised-since HEIGHT --by KEYFILE",
        ));
    }
    if new {
        // A holder's word counts for the end of its own key and for nothing more (spec/ledger.md, action 5).
        let own = known
            .key()
            .filter(|_| args.by.is_empty() && since.is_none());
        let others = match own {
            Some(_) => Vec::new(),
            None => session.officer_keys(&args.by)?,
        };
        let signers: Vec<&KeyFile> = own.into_iter().chain(&others).collect();
        let action = Action::Revoke {
            org: record.owner(),
            targets: vec![Named {
                handle,
                version: record.version(),
            }],
            // What was said before stays said.
            reason: args.reason.map_or_else(|| record.reason(), Reason::from),
            compromised_since: since,
            signers: u8::try_from(signers.len()).unwrap_or(u8::MAX),
        };
        connection.act(action, &signers)?;
    }
    let now = connection.known_record(&handle)?;
    let said = since.is_none_or(|since| now.compromised_since().is_some_and(|said| said <= since));
    let ended = now
        .ended()
        .filter(|_| now.status() == Status::Revoked && said)
        .ok_or_else(|| {
            Failure::new(
                Exit::Unproven,
                format!("the node says that {handle} is revoked and does not prove it"),
            )
        })?;
    session.output().say(&Revoked {
        handle: handle.to_string(),
        height: ended.get(),
        compromised_since: now.compromised_since().map(Height::get),
        new,
    })?;
    Ok(Exit::Ok)
}
