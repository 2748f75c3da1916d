//! `kusabi device with`: which devices hold a component.

use kusabi_api::{
    Hex32,
    admin::{ComponentHolder, ComponentHolding, ComponentRelease},
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

/// List the devices that hold a component
///
/// Those whose newest signed inventory has it, and those that run a release whose bill of materials (release new --sbom) names it: the
/// first is what the device found on its disk, the second what the release's maker says is in it.
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
    /// Only with this package URL, as pkg:deb/debian/openssl; without a version, every one. Only bills of materials have them
    #[arg(long, value_name = "PURL", group = "which")]
    purl: Option<String>,
    /// At most so many devices
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

#[derive(Serialize)]
struct Found {
    devices: Vec<ComponentHolder>,
    /// What they hold of it, by inventory.
    inventories: Vec<ComponentHolding>,
    /// The releases whose bills of materials name it.
    releases: Vec<ComponentRelease>,
    /// Releases that devices run and whose bills of materials could not be searched.
    unsearched: Vec<Hex32>,
    more: bool,
}

impl Answer for Found {
    fn page(&self, page: &mut Page) {
        if self.devices.is_empty() {
            page.good(
                "None",
                "of the devices that signed an inventory holds it, and no release that one runs names it",
            );
            self.unsearched(page);
            return;
        }
        let text = |text: &Option<kusabi_api::admin::Text>| {
            text.as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let all = |first: &str, shown: usize, more: u32| match shown as u64 + u64::from(more) {
            0 | 1 => first.to_owned(),
            all => format!("{first} and {} more", grouped(all - 1)),
        };
        let holds = |device: &ComponentHolder| {
            let held = |digest: Hex32| {
                let one = self.inventories.iter().find(|one| one.digest == digest)?;
                let first = one.components.first().map_or("", |one| &one.name);
                Some(all(first, one.components.len(), one.more))
            };
            let named = |digest: Hex32| {
                let one = self.releases.iter().find(|one| one.digest == digest)?;
                let first = one.components.first().map(|one| match &one.version {
                    Some(version) => format!("{} {version}", one.name),
                    None => one.name.clone(),
                });
                let first = first.unwrap_or_default();
                Some(all(&first, one.components.len(), one.more))
            };
            let inventory = device.inventory.and_then(held);
            inventory.or_else(|| device.release.and_then(named))
        };
        let says = |device: &ComponentHolder| {
            let name = |digest: Hex32| {
                let one = self.releases.iter().find(|one| one.digest == digest)?;
                Some(format!("release {} {}", one.name, one.version))
            };
            match device.at_ms {
                Some(at_ms) => Some(format!("inventory of {}", instant(at_ms))),
                None => device.release.and_then(name),
            }
        };
        let rows: Vec<_> = self
            .devices
            .iter()
            .map(|device| {
                vec![
                    text(&device.serial),
                    text(&device.device_type),
                    device.state.name().to_owned(),
                    holds(device).unwrap_or_default(),
                    says(device).unwrap_or_default(),
                    device.device.clone(),
                ]
            })
            .collect();
        page.table(&["serial", "type", "state", "holds", "by", "id"], &rows);
        if self.more {
            page.text(&format!(
                "The first {}; --limit shows more.",
                grouped(self.devices.len() as u64)
            ));
        }
        self.unsearched(page);
    }
}

impl Found {
    fn unsearched(&self, page: &mut Page) {
        if self.unsearched.is_empty() {
            return;
        }
        page.text(
            "Devices run releases whose bill of materials is not on the server, or none in CycloneDX (JSON): not searched were",
        );
        for digest in &self.unsearched {
            page.text(&format!("  {digest}"));
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
        purl: args.purl.clone(),
        ..Components::default()
    };
    // A path as people write it; inventories have none of the leading '/'.
    let name = args
        .name
        .as_deref()
        .map(|name| name.trim_start_matches('/'));
    match name.map(|name| (name, name.strip_suffix('*'))) {
        Some((_, Some("")))
            if which.version.is_some() || which.digest.is_some() || which.purl.is_some() => {}
        Some((_, Some(prefix))) => which.prefix = Some(prefix.to_owned()),
        Some((name, None)) => which.name = Some(name.to_owned()),
        None => {}
    }
    let fleet = Fleet::open(session)?;
    let mut found = Found {
        devices: Vec::new(),
        inventories: Vec::new(),
        releases: Vec::new(),
        unsearched: Vec::new(),
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
        for release in page.releases {
            let last = found.releases.last().map(|last| last.digest);
            if last != Some(release.digest) {
                found.releases.push(release);
            }
        }
        for digest in page.unsearched {
            if found.unsearched.last() != Some(&digest) {
                found.unsearched.push(digest);
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
