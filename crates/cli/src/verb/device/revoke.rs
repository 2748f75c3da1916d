//! `kusabi device revoke`: ends a device's last keys on the ledger, and with them the device.

use std::path::PathBuf;

use kusabi_api::admin::DeviceDetail;
use kusabi_core::{
    id::{Handle, Height},
    row::{Reason, Status},
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
/// Of a stock Mender device all its keys end. The server is asked which they are, and the ledger whether it is so; a revoker or an officer signs here, and the server
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
    /// The newest first.
    keys: Vec<Ended>,
    new: bool,
    #[serde(skip)]
    called: String,
}

#[derive(Serialize)]
struct Ended {
    handle: String,
    height: u64,
}

impl Answer for Revoked {
    fn page(&self, page: &mut Page) {
        let done = if self.new {
            "Revoked"
        } else {
            "Already revoked"
        };
        page.good(done, &self.called);
        for key in &self.keys {
            page.field("key", &*key.handle)
                .field("from block", grouped(key.height));
        }
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
    let handles = last(&detail)?;
    let mut targets = Vec::new();
    let mut org = None;
    for handle in &handles {
        let record = connection.known_record(handle)?;
        if record.is_active() {
            org = Some(record.owner());
            targets.push(Named {
                handle: *handle,
                version: record.version(),
            });
        }
    }
    let new = targets.len();
    if let Some(org) = org {
        let signers = session.officer_keys(&args.by)?;
        let action = Action::Revoke {
            org,
            targets,
            reason: Reason::from(args.reason),
            compromised_since: since,
            signers: u8::try_from(signers.len()).unwrap_or(u8::MAX),
        };
        connection.act(action, &signers.iter().collect::<Vec<_>>())?;
    }
    let mut keys = Vec::new();
    for handle in &handles {
        let now = connection.known_record(handle)?;
        if matches!(now.status(), Status::Spent | Status::Superseded) {
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
        keys.push(Ended {
            handle: handle.to_string(),
            height: ended.get(),
        });
    }
    session.output().say(&Revoked {
        device: detail.device.id.clone(),
        keys,
        new: new > 0,
        called: called(&detail.device),
    })?;
    Ok(Exit::Ok)
}

/// The keys that no other key of the device follows, the newest first: one, but where a stock Mender device has several.
fn last(detail: &DeviceDetail) -> Result<Vec<Handle>> {
    let follows = |handle| {
        detail
            .keys
            .iter()
            .any(|key| key.predecessor == Some(handle))
    };
    let last = detail.keys.iter().rev().filter(|key| !follows(key.handle));
    let last: Vec<_> = last.map(|key| Handle::new(key.handle.0)).collect();
    if last.is_empty() {
        return Err(Failure::new(
            Exit::Negative,
            format!("the server knows no key of {}", called(&detail.device)),
        ));
    }
    Ok(last)
}
