//! `kusabi device inventory`: what a device holds, as it signed it, and how that differs from what is expected.

use kusabi_api::admin::{DeviceClass, DifferenceKind, Inventory, InventoryReport};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, grouped, instant},
    session::Session,
};

/// Show how a device's signed inventory differs from the expected one, item by item
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE")]
    device: String,
}

#[derive(Serialize)]
struct Shown {
    device: String,
    verdict: Inventory,
    differences: Vec<Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<InventoryReport>,
    #[serde(skip)]
    named: String,
    /// What the device can check for itself, where no inventory came.
    #[serde(skip)]
    class: Option<DeviceClass>,
}

/// A difference by its name; the whole of it stands in `report`.
#[derive(Serialize)]
struct Difference {
    kind: &'static str,
    name: String,
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        match self.verdict {
            Inventory::Expected => page.good("As expected:", &self.named),
            Inventory::Differs => page.bad("Differs:", &self.named),
            _ => page.careful("Unknown:", &self.named),
        };
        let Some(report) = &self.report else {
            page.text(match self.class {
                Some(DeviceClass::Mender) => {
                    "A stock Mender device signs no inventory. What its scripts say: GET /api/management/v1/inventory/devices"
                }
                _ => "No signed inventory has come yet: kusabi device order report DEVICE",
            });
            return;
        };
        page.field("signed by", report.signer.to_string())
            .field("came", instant(report.at_ms))
            .field("digest", report.digest.to_string())
            .field(
                "expected",
                report.expected.map_or_else(
                    || "nobody said what".to_owned(),
                    |digest| digest.to_string(),
                ),
            );
        for difference in &self.differences {
            page.field(difference.kind, &*difference.name);
        }
        let all = report.missing + report.unexpected + report.changed;
        if u64::from(all) > self.differences.len() as u64 {
            page.text(&format!("{} differences in all.", grouped(all.into())));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let id = fleet.device_id(&args.device)?;
    let inventory = fleet.ask(fleet.client().inventory(&id))?;
    let differences = inventory
        .report
        .iter()
        .flat_map(|report| &report.differences)
        .map(|difference| Difference {
            kind: match difference.kind {
                DifferenceKind::Missing => "missing",
                DifferenceKind::Unexpected => "added",
                DifferenceKind::Changed => "changed",
                other => other.name(),
            },
            name: difference
                .actual
                .as_ref()
                .or(difference.expected.as_ref())
                .map(|item| item.name.clone())
                .unwrap_or_default(),
        })
        .collect();
    let verdict = inventory.verdict;
    let class = match &inventory.report {
        Some(_) => None,
        None => Some(fleet.ask(fleet.client().device(&id))?.device.class),
    };
    session.output().say(&Shown {
        device: id,
        verdict,
        differences,
        report: inventory.report,
        named: args.device.clone(),
        class,
    })?;
    Ok(if verdict == Inventory::Differs {
        Exit::Negative
    } else {
        Exit::Ok
    })
}
