//! `kusabi channel set`: sets a channel's lowest counter.

use kusabi_api::admin::{Channel, ChannelSet};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Set the counter that a release of a channel must have at least to be ordered
///
/// A guard against the own mistake: the server gives no order for a release below it, and rollouts of such releases pause.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The channel
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The counter; 0 for none
    #[arg(value_name = "COUNTER")]
    counter: u64,
}

#[derive(Serialize)]
struct Set {
    #[serde(flatten)]
    channel: Channel,
}

impl Answer for Set {
    fn page(&self, page: &mut Page) {
        let channel = &self.channel;
        page.good("Set", &format!("the lowest counter of {}", channel.channel))
            .field("counter", grouped(channel.minimum_counter));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let set = ChannelSet {
        minimum_counter: args.counter,
    };
    let channel = fleet.ask(fleet.client().set_channel(&args.channel, set))?;
    session.output().say(&Set { channel })?;
    Ok(Exit::Ok)
}
