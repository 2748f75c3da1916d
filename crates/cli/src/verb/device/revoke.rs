//! `kusabi device revoke`: ends a device's newest key on the ledger, and with it the device.

use std::path::PathBuf;

use kusabi_api::admin::DeviceDetail;
use kusabi_core::{
    id::{Handle, Height},
    row::Reason,
    tx::{Action, Named},
};
use serde::Serialize;

use super::called;
use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    fleet::Fleet,
    page::{Answer, Page, grouped},
    session::Session,
    verb::key::ReasonName,
};

/// Revoke a device: its newest key ends for good, and open sessions with it
///
/// The server is asked which key that is, and the ledger whether it is so; a revoker or an officer signs here, and the server
/// learns of it from the ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE")]
    device: String,
    /// Why
    #[arg(long, value_enum, default_value_t = ReasonName::Retired)]
    reason: ReasonName,
    /// Height from which the key was in other hands: what it signed from there on counts for nothing
    #[arg(long, value_name = "HEIGHT")]
    compromised_since: Option<u64>,
    /// Key file of a revoker or officer; twice beyond the cap [default: the profile's officers]
    #[arg(long, value_name = "KEYFILE")]
    by: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Revoked {
    device: String,
    handle: String,
    height: u64,
    new: bool,
    #[serde(skip)]
    called: String,
}

impl Answer for Revoked {
    fn page(&self, page: &mut Page) {
        let done = if self.new {
            "Revoked"
        } else {
            "Already revoked"
        };
        page.good(done, &self.called)
            .field("key", &*self.handle)
            .field("from block", grouped(self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let since = args
        .compromised_since
        .map(Height::new)
        .transpose()
        .map_err(|why| Failure::new(Exit::Usage, format!("--compromised-since: {why}")))?;
    let fleet = Fleet::open(session)?;
    let detail = fleet.device(&args.device)?;
    let connection = Connection::open(session)?;
    let handle = newest(&detail)?;
    let record = connection.known_record(&handle)?;
    let new = record.is_active();
    if new {
        let signers = session.officer_keys(&args.by)?;
        let action = Action::Revoke {
            org: record.owner(),
            targets: vec![Named {
                handle,
                version: record.version(),
            }],
            reason: Reason::from(args.reason),
            compromised_since: since,
            signers: u8::try_from(signers.len()).unwrap_or(u8::MAX),
        };
        connection.act(action, &signers.iter().collect::<Vec<_>>())?;
    }
    let now = connection.known_record(&handle)?;
    if matches!(
        now.status(),
        kusabi_core::row::Status::Spent | kusabi_core::row::Status::Superseded
    ) {
        return Err(Failure::new(
            Exit::Unavailable,
            format!(
                "the server is behind the ledger: the key {handle} of {} has a successor that it does not know yet",
                called(&detail.device)
            ),
        )
        .advise("run the same command again in a moment"));
    }
    let ended = now.ended().ok_or_else(|| {
        Failure::new(
            Exit::Unproven,
            format!("the node says that {handle} is revoked and does not prove it"),
        )
    })?;
    session.output().say(&Revoked {
        device: detail.device.id.clone(),
        handle: handle.to_string(),
        height: ended.get(),
        new,
        called: called(&detail.device),
    })?;
    Ok(Exit::Ok)
}

/// The key that no other key of the device follows.
fn newest(detail: &DeviceDetail) -> Result<Handle> {
    let follows = |handle| {
        detail
            .keys
            .iter()
            .any(|key| key.predecessor == Some(handle))
    };
    let newest = detail.keys.iter().rev().find(|key| !follows(key.handle));
    newest.map(|key| Handle::new(key.handle.0)).ok_or_else(|| {
        Failure::new(
            Exit::Negative,
            format!("the server knows no key of {}", called(&detail.device)),
        )
    })
}
