//! `kusabi mender list`: the stock Mender devices that ask.

use kusabi_api::admin::{AuthSetState, MenderDevice};
use serde::Serialize;

use super::named;
use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, instant},
    session::Session,
};

/// List the stock Mender devices that wait to be accepted
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those that were accepted, rejected or vouched for, too
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

#[derive(Serialize)]
struct Listed {
    devices: Vec<MenderDevice>,
    more: bool,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.devices.is_empty() {
            page.text("No Mender device asks.");
            return;
        }
        let sets = self.devices.iter().flat_map(|device| {
            device.auth_sets.iter().map(move |set| {
                let mark = if device.is_beside(set) { " (1)" } else { "" };
                vec![
                    named(&device.identity),
                    format!("{}{mark}", set.state.name()),
                    instant(set.created_ms),
                    set.id.clone(),
                    set.fingerprint.to_string(),
                    device.id.clone(),
                ]
            })
        });
        let rows: Vec<_> = sets.collect();
        let columns = [
            "says it is",
            "state",
            "asked",
            "auth set",
            "key (SHA-256)",
            "device",
        ];
        page.table(&columns, &rows).text(
            "What a device says it is, anyone can say: compare the key with the device's own.",
        );
        let marked =
            |device: &MenderDevice| device.auth_sets.iter().any(|set| device.is_beside(set));
        if self.devices.iter().any(marked) {
            page.text("(1) Another key is served, or vouched for, under this identity, and loses its place when this one is accepted.");
        }
        if self.more {
            page.text("There are more; --limit shows them.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let state = (!args.all).then_some(AuthSetState::Pending);
    let (mut devices, more) = fleet.list(args.limit.max(1), async |cursor, limit| {
        fleet
            .client()
            .mender_devices(state, cursor.as_deref(), limit)
            .await
    })?;
    if !args.all {
        // A device that is served may ask with a further key.
        for device in &mut devices {
            device
                .auth_sets
                .retain(|set| set.state == AuthSetState::Pending);
        }
    }
    session.output().say(&Listed { devices, more })?;
    Ok(Exit::Ok)
}
