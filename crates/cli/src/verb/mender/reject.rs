//! `kusabi mender reject`: keeps a stock Mender device out.

use super::{Decided, Meant, find};
use crate::{
    exit::Exit,
    failure::Result,
    fleet::{Fleet, idempotency_key},
    session::Session,
};

/// Reject a stock Mender device that waits, or was accepted: it gets nothing from now on
///
/// A key that stands on the ledger stays there until it is revoked: kusabi device revoke.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The device: its auth set (mas_…), its ID, or, while it waits, a value of its identity
    #[arg(value_name = "DEVICE")]
    device: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let set = find(&fleet, &args.device, Meant::Reject)?;
    let key = idempotency_key(session);
    let device = fleet.ask(fleet.client().reject_auth_set(&set, &key))?;
    session.output().say(&Decided {
        word: "Rejected",
        auth_set: set,
        device,
    })?;
    Ok(Exit::Ok)
}
