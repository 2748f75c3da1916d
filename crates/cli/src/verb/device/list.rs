//! `kusabi device list`: the devices that a server knows.

use kusabi_api::{
    admin::{Device, DeviceState},
    client::admin::Devices,
};
use serde::Serialize;

use super::heard;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::{Fleet, text},
    page::{Answer, Page, grouped},
    session::Session,
};

/// List the devices that the server knows
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    device_type: Option<String>,
    /// Only those in this group, by its name or ID
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only those in this state: registered, active, quarantined, revoked, moved
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<DeviceState>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

#[derive(Serialize)]
struct Listed {
    devices: Vec<Device>,
    more: bool,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.devices.is_empty() {
            page.text("No devices.");
            return;
        }
        let optional = |text: Option<&kusabi_api::admin::Text>| {
            text.map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let rows: Vec<_> = self
            .devices
            .iter()
            .map(|device| {
                vec![
                    optional(device.serial.as_ref().or(device.name.as_ref())),
                    optional(device.device_type.as_ref()),
                    device.class.name().to_owned(),
                    device.state.name().to_owned(),
                    device.inventory.name().to_owned(),
                    heard(device),
                    device.id.clone(),
                ]
            })
            .collect();
        page.table(
            &[
                "serial or name",
                "type",
                "class",
                "state",
                "inventory",
                "heard",
                "id",
            ],
            &rows,
        );
        if self.more {
            page.text(&format!(
                "The first {}; --limit shows more.",
                grouped(self.devices.len() as u64)
            ));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let which = Devices {
        group: match &args.group {
            Some(group) => Some(fleet.group(group)?.id),
            None => None,
        },
        device_type: args
            .device_type
            .as_deref()
            .map(|name| text("--type", name))
            .transpose()?,
        state: args.state,
        serial: None,
    };
    if args.limit == 0 {
        return Err(Failure::new(Exit::Usage, "--limit 0 shows nothing"));
    }
    let (devices, more) = fleet.list(args.limit, async |cursor, limit| {
        fleet
            .client()
            .devices(&which, cursor.as_deref(), limit)
            .await
    })?;
    session.output().say(&Listed { devices, more })?;
    Ok(Exit::Ok)
}

fn state(word: &str) -> std::result::Result<DeviceState, String> {
    DeviceState::from_name(word).ok_or_else(|| {
        let words: Vec<_> = DeviceState::ALL.iter().map(|state| state.name()).collect();
        format!("a state is one of {}", words.join(", "))
    })
}
