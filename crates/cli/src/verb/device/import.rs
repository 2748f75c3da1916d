//! `kusabi device import`: makes devices known to a server whose keys stand on the ledger.

use std::{collections::BTreeSet, path::PathBuf};

use futures::future::join_all;
use kusabi_api::{
    Hex, Kind, Problem,
    admin::{Device, DeviceImport, Text, device_id},
};
use kusabi_core::id::Handle;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::{Fleet, refusal},
    page::{Answer, Page, counted, grouped},
    progress,
    roster::{self, Wanted},
    session::Session,
};

/// Devices that the server is told of at once: it writes them together.
const AT_ONCE: usize = 16;

/// Make devices known to the server: serial, type, groups and name for keys that are on the ledger
///
/// Safe to repeat: what the server knows already is left as it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The table that `kusabi provision` wrote: devices.csv
    #[arg(value_name = "FILE.csv")]
    table: PathBuf,
}

/// What became of devices.
#[derive(Serialize)]
pub(crate) struct Import {
    /// How many the server knows now.
    pub(crate) devices: usize,
    /// How many of them were told before, and are called otherwise by now.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) changed_there: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Answer for Import {
    fn page(&self, page: &mut Page) {
        page.good("Imported", &counted(self.devices as u64, "device"));
        if self.changed_there > 0 {
            page.field(
                "left as they are",
                format!(
                    "{}: the server calls them otherwise by now",
                    grouped(self.changed_there as u64)
                ),
            );
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let devices = roster::read(&args.table)?;
    if let Some(device) = devices.iter().find(|device| device.entry.is_none()) {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{}, line {}: {} has no key",
                args.table.display(),
                device.line,
                device.serial
            ),
        )
        .advise("kusabi provision makes keys, and the table that is needed here"));
    }
    let fleet = Fleet::open(session)?;
    let answer = import_all(&fleet, devices.iter(), &[], session)?;
    session.output().say(&answer)?;
    Ok(Exit::Ok)
}

/// Makes devices known, with their groups. Those whose handles are foreign are somebody else's, and are left out.
pub(crate) fn import_all<'a>(
    fleet: &Fleet,
    devices: impl ExactSizeIterator<Item = &'a Wanted>,
    foreign: &[String],
    session: &Session,
) -> Result<Import> {
    let foreign: BTreeSet<_> = foreign.iter().map(String::as_str).collect();
    let bar = progress::bar(session.output(), "Telling the server", devices.len() as u64);
    let mut groups = fleet.ask(fleet.client().groups())?;
    let mut answer = Import {
        devices: 0,
        changed_there: 0,
    };
    let devices: Vec<(&Wanted, DeviceImport)> = devices
        .filter_map(|wanted| {
            let handle = wanted.entry.as_ref()?.handle();
            (!foreign.contains(&*handle.to_string())).then(|| (wanted, import(wanted, &handle)))
        })
        .collect();
    for chunk in devices.chunks(AT_ONCE) {
        let said = chunk.iter().map(|(_, import)| told(fleet, import));
        let mut members = Vec::new();
        for (told, (wanted, _)) in fleet.wait(join_all(said)).into_iter().zip(chunk) {
            answer.devices += 1;
            match told? {
                // Its groups are the server's business by now, too.
                Told::ChangedThere => answer.changed_there += 1,
                Told::Known(device) => {
                    for name in &wanted.groups {
                        members.push((fleet.group_made(&mut groups, name)?, device.id.clone()));
                    }
                }
            }
        }
        let client = fleet.client();
        let added = members
            .iter()
            .map(|(group, device)| client.add_to_group(group, device));
        for added in fleet.wait(join_all(added)) {
            added.map_err(|why| refusal(&why))?;
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(answer)
}

fn import(wanted: &Wanted, handle: &Handle) -> DeviceImport {
    DeviceImport {
        handle: Hex(handle.to_bytes()),
        device_type: wanted.device_type.clone(),
        serial: Some(wanted.serial.clone()),
        name: wanted.name.clone(),
    }
}

enum Told {
    Known(Box<Device>),
    /// The server knows the device, and somebody gave it another type, serial or name.
    ChangedThere,
}

/// Why the server does not take a device, and which one.
fn refused(import: &DeviceImport, problem: &Problem) -> Failure {
    let serial = import.serial.as_ref().map_or("a device", Text::as_str);
    let failure = Failure::new(
        Exit::Refused,
        format!("the server refused {serial}: {problem}"),
    );
    match problem.kind {
        Kind::Unfit => failure.advise(
            "a device that came from another organisation is among the server's already, by its ID (kusabi device list); one that had \
             activated there cannot be given its serial and type yet (docs/transfer.md)",
        ),
        _ => failure,
    }
}

async fn told(fleet: &Fleet, import: &DeviceImport) -> Result<Told> {
    let problem = match fleet.client().import_device(import).await {
        Ok(device) => return Ok(Told::Known(Box::new(device))),
        Err(problem) => problem,
    };
    if !matches!(problem.kind, Kind::Exists | Kind::Unfit) {
        return Err(refusal(&problem));
    }
    // A device that was told before is left as it is, also when it has activated since and its first key is spent.
    let id = device_id(&import.handle);
    let Ok(detail) = fleet.client().device(&id).await else {
        return Err(refused(import, &problem));
    };
    let there = detail.device;
    let named = (&there.device_type, &there.serial, &there.name);
    match named {
        // Known from the ledger alone: it is another device that stands in the way.
        (None, None, None) => Err(refused(import, &problem)),
        named if named == (&import.device_type, &import.serial, &import.name) => {
            Ok(Told::Known(Box::new(there)))
        }
        _ => Ok(Told::ChangedThere),
    }
}
