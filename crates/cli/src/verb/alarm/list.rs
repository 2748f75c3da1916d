//! `kusabi alarm list`: the alarms, the newest first.

use kusabi_api::admin::Alarm;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, instant},
    session::Session,
};

/// List the alarms that nobody has acknowledged, the newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Acknowledged ones, too
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

#[derive(Serialize)]
struct Listed {
    alarms: Vec<Alarm>,
    more: bool,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.alarms.is_empty() {
            page.text("No alarms.");
            return;
        }
        let rows: Vec<_> = self
            .alarms
            .iter()
            .map(|alarm| {
                vec![
                    alarm.id.to_string(),
                    instant(alarm.raised_ms),
                    alarm.kind.name().to_owned(),
                    alarm.device.clone(),
                    alarm
                        .acknowledged_by
                        .clone()
                        .unwrap_or_else(|| "-".to_owned()),
                    alarm.detail.clone(),
                ]
            })
            .collect();
        page.table(
            &["alarm", "raised", "kind", "device", "acknowledged", "what"],
            &rows,
        );
        if self.more {
            page.text("There are more; --limit shows them.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let (alarms, more) = fleet.list(args.limit.max(1), async |cursor, limit| {
        fleet
            .client()
            .alarms(!args.all, cursor.as_deref(), limit)
            .await
    })?;
    session.output().say(&Listed { alarms, more })?;
    Ok(Exit::Ok)
}
