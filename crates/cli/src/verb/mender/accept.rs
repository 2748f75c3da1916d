//! `kusabi mender accept`: lets stock Mender devices in.

use super::{Decided, Meant, find};
use crate::{
    exit::Exit,
    failure::Result,
    fleet::{Fleet, idempotency_key},
    session::Session,
};

/// Accept stock Mender devices that wait
///
/// The server's writer puts the device's key on the ledger. A device that was accepted with another key before is served with this
/// one from now on, and with that one no more.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A device that waits: its auth set (mas_…), its ID, or a value of its identity
    #[arg(value_name = "DEVICE", required = true)]
    devices: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    for named in &args.devices {
        let set = find(&fleet, named, Meant::Accept)?;
        let key = idempotency_key(session);
        let device = fleet.ask(fleet.client().accept_auth_set(&set, &key))?;
        session.output().say(&Decided {
            word: "Accepted",
            auth_set: set,
            device,
        })?;
    }
    Ok(Exit::Ok)
}
