//! `kusabi channel list`: the channels for which a lowest counter was set.

use kusabi_api::admin::Channel;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, grouped, instant},
    session::Session,
};

/// List the channels for which a lowest counter was set
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Listed {
    channels: Vec<Channel>,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.channels.is_empty() {
            page.text("No channel has a lowest counter.");
            return;
        }
        let rows: Vec<_> = self
            .channels
            .iter()
            .map(|channel| {
                vec![
                    channel.channel.clone(),
                    grouped(channel.minimum_counter),
                    instant(channel.changed_ms),
                    channel.changed_by.clone(),
                ]
            })
            .collect();
        page.table(&["channel", "lowest counter", "set", "by"], &rows);
    }
}

pub(crate) fn run(_: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let channels = fleet.ask(fleet.client().channels())?;
    session.output().say(&Listed { channels })?;
    Ok(Exit::Ok)
}
