//! `kusabi alarm ack`: takes note of an alarm.

use kusabi_api::admin::Alarm;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, instant},
    session::Session,
};

/// Acknowledge an alarm: somebody looks after it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number
    #[arg(value_name = "ALARM")]
    alarm: u64,
}

#[derive(Serialize)]
struct Acknowledged {
    #[serde(flatten)]
    alarm: Alarm,
}

impl Answer for Acknowledged {
    fn page(&self, page: &mut Page) {
        let alarm = &self.alarm;
        page.good(
            "Acknowledged",
            &format!("alarm {} about {}", alarm.id, alarm.device),
        )
        .field_if("by", alarm.acknowledged_by.clone())
        .field_if("at", alarm.acknowledged_ms.map(instant))
        .field("what", &*alarm.detail);
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let alarm = fleet.ask(fleet.client().acknowledge_alarm(args.alarm))?;
    session.output().say(&Acknowledged { alarm })?;
    Ok(Exit::Ok)
}
