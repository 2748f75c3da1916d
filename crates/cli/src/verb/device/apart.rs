//! `kusabi device quarantine` and `kusabi device readmit`: a device is kept apart, and taken back.

use kusabi_api::{Problem, admin::Device, client::AdminClient};
use serde::Serialize;

use super::called;
use crate::{
    exit::Exit,
    failure::Result,
    fleet::{Fleet, idempotency_key},
    page::{Answer, Page},
    session::Session,
};

/// Keep a device apart: it gets no orders but repair and rotate
///
/// What a suspected clone gets by itself. The device goes on polling, so that it can be repaired or readmitted.
#[derive(Debug, clap::Args)]
pub(crate) struct Quarantine {
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE")]
    device: String,
}

/// Take a device back: it gets a new device key, and its copies none
///
/// Name the survivor of a fork. Whichever of the copies polls with the newest chain value is the one that is re-keyed: first make sure that the other ones are off the network.
#[derive(Debug, clap::Args)]
pub(crate) struct Readmit {
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE")]
    device: String,
}

#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    device: Device,
    #[serde(skip)]
    word: &'static str,
}

impl Answer for Done {
    fn page(&self, page: &mut Page) {
        page.good(self.word, &called(&self.device))
            .field("ID", &*self.device.id)
            .field("state", self.device.state.name());
    }
}

pub(crate) fn quarantine(args: &Quarantine, session: &Session) -> Result<Exit> {
    let ask =
        async |server: &AdminClient, id: &str, key: &str| server.quarantine_device(id, key).await;
    moved(&args.device, "Quarantined", ask, session)
}

pub(crate) fn readmit(args: &Readmit, session: &Session) -> Result<Exit> {
    let ask =
        async |server: &AdminClient, id: &str, key: &str| server.readmit_device(id, key).await;
    moved(&args.device, "Readmitted", ask, session)
}

fn moved(
    device: &str,
    word: &'static str,
    ask: impl AsyncFnOnce(&AdminClient, &str, &str) -> std::result::Result<Device, Problem>,
    session: &Session,
) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let id = fleet.device_id(device)?;
    let key = idempotency_key(session);
    let device = fleet.ask(ask(fleet.client(), &id, &key))?;
    session.output().say(&Done { device, word })?;
    Ok(Exit::Ok)
}
