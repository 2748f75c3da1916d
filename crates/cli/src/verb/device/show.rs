//! `kusabi device show`: one device, with its keys and groups.

use kusabi_api::admin::{
    Device, DeviceClass, DeviceDetail, DeviceEvent, DeviceState, EventKind, Freshness, Inventory,
    OrderState,
};
use serde::Serialize;

use super::{called, heard};
use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, grouped, instant},
    session::Session,
};

/// Show a device: its state, its keys and groups, and what happened to it
///
/// It is the server's word. What the ledger says of one of the keys: kusabi key lookup HANDLE.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE")]
    device: String,
    /// At most so many of the things that happened
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    events: usize,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    detail: DeviceDetail,
    #[serde(skip)]
    groups: Vec<String>,
    /// What happened to it, the newest first.
    events: Vec<DeviceEvent>,
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        let device = &self.detail.device;
        let name = called(device);
        match device.state {
            DeviceState::Registered => {
                page.good("Registered", &format!("{name}, not activated yet"))
            }
            DeviceState::Active => page.good("Active", &name),
            DeviceState::Quarantined => page.bad(
                "Quarantined",
                &format!("{name}: it gets no orders but repair and rotate"),
            ),
            DeviceState::Revoked => page.bad("Revoked", &name),
            DeviceState::Moved => {
                page.careful("Moved", &format!("{name} is another organisation's now"))
            }
            state => page.careful(state.name(), &name),
        };
        page.field("ID", &*device.id)
            .field_if("class", weaker(device.class))
            .field_if("type", device.device_type.as_ref().map(ToString::to_string))
            .field_if("name", device.name.as_ref().map(ToString::to_string));
        if !self.groups.is_empty() {
            page.field("groups", self.groups.join(", "));
        }
        page.field_if("release", device.firmware.map(|digest| digest.to_string()));
        // A stock client signs no inventory and asks for no receipt.
        if device.class != DeviceClass::Mender {
            page.field("inventory", inventory(device))
                .field("present", present(device));
        }
        page.field("heard", heard(device))
            .field("known since", instant(device.created_ms));
        for key in &self.detail.keys {
            let words = match key.purpose.as_str() {
                "pre" => "factory key",
                "act" => "device key",
                other => other,
            };
            let ended = key.ended.map_or_else(String::new, |height| {
                format!(", {} since block {}", key.status, grouped(height))
            });
            let from = grouped(key.registered);
            page.field(words, format!("{}, from block {from}{ended}", key.handle));
        }
        if self.events.is_empty() {
            return;
        }
        let rows: Vec<_> = self
            .events
            .iter()
            .map(|event| {
                vec![
                    instant(event.at_ms),
                    event.kind.name().to_owned(),
                    particulars(event),
                ]
            })
            .collect();
        page.gap().table(&["when", "what", ""], &rows);
        if let Some(order) = self.logged() {
            page.gap()
                .text("What its client logged of the order that failed:")
                .command(&format!("kusabi device log {} {order}", device.id));
        }
    }
}

/// How what a device holds compares.
const fn inventory(device: &Device) -> &'static str {
    match device.inventory {
        // What another organisation's device holds is not for this server to judge.
        _ if is_moved(device) => ELSEWHERE,
        Inventory::Unknown => "none received yet, or nothing to compare it with",
        Inventory::Expected => "as expected",
        Inventory::Differs => "differs from the expected one",
        other => other.name(),
    }
}

/// Whether a device was shown the present.
const fn present(device: &Device) -> &'static str {
    match device.freshness {
        _ if is_moved(device) => ELSEWHERE,
        Freshness::Unknown => "no freshness receipt since its start yet",
        Freshness::Shown => "shown by a freshness receipt since its start",
        Freshness::Stale => "not shown: it installs nothing and adopts no server",
        other => other.name(),
    }
}

const ELSEWHERE: &str = "of another organisation's device: ask there";

const fn is_moved(device: &Device) -> bool {
    matches!(device.state, DeviceState::Moved)
}

impl Shown {
    /// The newest order that a stock Mender client reports as failed: with it, it sends what it logged.
    fn logged(&self) -> Option<u64> {
        let failed = |event: &&DeviceEvent| {
            event.kind == EventKind::OrderAnswered
                && event.detail["outcome"] == OrderState::Failed.name()
        };
        match self.detail.device.class {
            DeviceClass::Mender => self.events.iter().find(failed)?.detail["order"].as_u64(),
            _ => None,
        }
    }
}

/// What a device of a weaker class does without.
const fn weaker(class: DeviceClass) -> Option<&'static str> {
    match class {
        DeviceClass::Mender => Some(
            "a stock Mender client, which checks its artifacts' signatures and TLS: no proof of the ledger, no withdrawal and no \
             defence against older releases on the device",
        ),
        _ => None,
    }
}

/// The members of an event's detail that say something to a person.
fn particulars(event: &DeviceEvent) -> String {
    let Some(members) = event.detail.as_object() else {
        return String::new();
    };
    let said: Vec<_> = members
        .iter()
        .filter_map(|(name, value)| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(format!("{name} {text}")),
            value => Some(format!("{name} {value}")),
        })
        .collect();
    said.join(", ")
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let detail = fleet.device(&args.device)?;
    let mut groups = Vec::new();
    if !detail.groups.is_empty() {
        let all = fleet.ask(fleet.client().groups())?;
        groups = detail
            .groups
            .iter()
            .map(|id| {
                let group = all.iter().find(|group| group.id == *id);
                group.map_or_else(|| id.clone(), |group| group.name.to_string())
            })
            .collect();
    }
    let events = match args.events {
        0 => Vec::new(),
        most => {
            let id = detail.device.id.clone();
            let page = async |cursor: Option<String>, limit| {
                fleet.client().timeline(&id, cursor.as_deref(), limit).await
            };
            fleet.list(most, page)?.0
        }
    };
    session.output().say(&Shown {
        detail,
        groups,
        events,
    })?;
    Ok(Exit::Ok)
}
