//! `kusabi device log`: what a stock Mender client said of an order that failed.

use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page},
    session::Session,
};

/// Show what a stock Mender device logged of an order that failed
///
/// The device's word: nobody signed it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE")]
    device: String,
    /// The order's number
    order: u64,
}

#[derive(Serialize)]
struct Logged {
    log: String,
}

impl Answer for Logged {
    fn page(&self, page: &mut Page) {
        for line in self.log.lines() {
            page.text(line);
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let id = fleet.device_id(&args.device)?;
    let log = fleet.ask(fleet.client().order_log(&id, args.order))?.log;
    session.output().say(&Logged { log })?;
    Ok(Exit::Ok)
}
