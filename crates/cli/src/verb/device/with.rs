//! `kusabi device with`: which devices hold a component.

use kusabi_api::{
    Hex32,
    admin::{ComponentHolder, ComponentHolding},
    client::admin::Components,
};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::Fleet,
    page::{Answer, Page, grouped, instant},
    session::Session,
};

/// Devices of a page.
const PAGE: u16 = 200;

/// List the devices that hold a component, as they signed it last
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub(crate) struct Args {
    /// Its name: a file's path, or what a package is called; with a '*' at the end, all that begin so
    #[arg(value_name = "NAME", group = "which")]
    name: Option<String>,
    /// Only in this version
    #[arg(long, value_name = "VERSION", group = "which")]
    version: Option<String>,
    /// Only with this content, whatever its name: the SHA-256, in hexadecimal
    #[arg(long, value_name = "DIGEST", group = "which")]
    digest: Option<Hex32>,
    /// At most so many devices
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

#[derive(Serialize)]
struct Found {
    devices: Vec<ComponentHolder>,
    /// What they hold of it, by inventory.
    inventories: Vec<ComponentHolding>,
    more: bool,
}

impl Answer for Found {
    fn page(&self, page: &mut Page) {
        if self.devices.is_empty() {
            page.good("None", "of the devices that signed an inventory holds it");
            return;
        }
        let text = |text: &Option<kusabi_api::admin::Text>| {
            text.as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let holds = |device: &ComponentHolder| {
            let holding = self
                .inventories
                .iter()
                .find(|one| one.digest == device.inventory);
            holding.map_or_else(String::new, |holding| {
                let first = holding.components.first().map_or("", |one| &one.name);
                let more = holding.components.len() as u64 + u64::from(holding.more);
                match more {
                    0 | 1 => first.to_owned(),
                    more => format!("{first} and {} more", grouped(more - 1)),
                }
            })
        };
        let rows: Vec<_> = self
            .devices
            .iter()
            .map(|device| {
                vec![
                    text(&device.serial),
                    text(&device.device_type),
                    device.state.name().to_owned(),
                    holds(device),
                    instant(device.at_ms),
                    device.device.clone(),
                ]
            })
            .collect();
        page.table(&["serial", "type", "state", "holds", "signed", "id"], &rows);
        if self.more {
            page.text(&format!(
                "The first {}; --limit shows more.",
                grouped(self.devices.len() as u64)
            ));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    if args.limit == 0 {
        return Err(Failure::new(Exit::Usage, "--limit 0 shows nothing"));
    }
    let mut which = Components {
        version: args.version.clone(),
        digest: args.digest,
        ..Components::default()
    };
    // A path as people write it; inventories have none of the leading '/'.
    let name = args
        .name
        .as_deref()
        .map(|name| name.trim_start_matches('/'));
    match name.map(|name| (name, name.strip_suffix('*'))) {
        Some((_, Some(""))) if which.version.is_some() || which.digest.is_some() => {}
        Some((_, Some(prefix))) => which.prefix = Some(prefix.to_owned()),
        Some((name, None)) => which.name = Some(name.to_owned()),
        None => {}
    }
    let fleet = Fleet::open(session)?;
    let mut found = Found {
        devices: Vec::new(),
        inventories: Vec::new(),
        more: false,
    };
    let mut cursor: Option<String> = None;
    loop {
        let page = fleet.ask(fleet.client().components(&which, cursor.as_deref(), PAGE))?;
        for holding in page.inventories {
            if found
                .inventories
                .last()
                .is_none_or(|last| last.digest != holding.digest)
            {
                found.inventories.push(holding);
            }
        }
        found.devices.extend(page.devices);
        cursor = page.next;
        if found.devices.len() > args.limit || cursor.is_none() {
            break;
        }
    }
    found.more = found.devices.len() > args.limit;
    found.devices.truncate(args.limit);
    session.output().say(&found)?;
    Ok(Exit::Ok)
}
