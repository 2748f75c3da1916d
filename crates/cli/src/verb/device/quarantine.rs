//! `kusabi device quarantine`.

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

/// Keep a device apart: it gets no orders but repair and rotate
///
/// What a suspected clone gets by itself. The device goes on polling, so that it can be repaired or readmitted.
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
        page.good("Quarantined", &called(&self.device))
            .field("ID", &*self.device.id)
            .field("state", self.device.state.name());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let id = fleet.device_id(&args.device)?;
    let key = idempotency_key(session);
    let device = fleet.ask(fleet.client().quarantine_device(&id, &key))?;
    session.output().say(&Done { device })?;
    Ok(Exit::Ok)
}
