//! `kusabi device readmit`.

use kusabi_api::admin::Device;
use serde::Serialize;

use super::called;
use crate::{
    exit::Exit,
    failure::Result,
    fleet::{Fleet, idempotency_key},
    page::{Answer, Page},
    session::Session,
};

/// Take a device back: it gets a new device key, and its copies none
///
/// Name the survivor of a fork. Whichever of the copies polls with the newest chain value is the one that is re-keyed: first make sure that the other ones are off the network.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE")]
    device: String,
}

#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    device: Device,
}

impl Answer for Done {
    fn page(&self, page: &mut Page) {
        page.good("Readmitted", &called(&self.device))
            .field("ID", &*self.device.id)
            .field("state", self.device.state.name());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let id = fleet.device_id(&args.device)?;
    let key = idempotency_key(session);
    let device = fleet.ask(fleet.client().readmit_device(&id, &key))?;
    session.output().say(&Done { device })?;
    Ok(Exit::Ok)
}
