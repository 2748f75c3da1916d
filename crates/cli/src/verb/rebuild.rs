//! `kusabi rebuild`: a server's database, from the ledger.

use kusabi_api::admin::Rebuilt;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::Fleet,
    page::{Answer, Page, counted, grouped},
    session::Session,
};

/// Bring a server's database back from the ledger: devices, their keys, releases
///
/// After the database was lost: start the server, which begins an empty one, and run this. What the ledger does not know is listed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    rebuilt: Rebuilt,
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        let rebuilt = &self.rebuilt;
        page.good(
            "Rebuilt",
            &format!("from the ledger, up to block {}", grouped(rebuilt.height)),
        )
        .field(
            "devices",
            format!(
                "{} with {}",
                grouped(rebuilt.devices),
                counted(rebuilt.keys, "key")
            ),
        )
        .field("releases", grouped(rebuilt.releases));
        if rebuilt.manifests_missing > 0 {
            page.field(
                "to be uploaded again",
                format!(
                    "{}: kusabi release upload FILE.release",
                    counted(rebuilt.manifests_missing, "release")
                ),
            );
        }
        if rebuilt.devices_unknown > 0 {
            page.careful(
                "Not on the ledger:",
                &format!(
                    "{} of the database",
                    counted(rebuilt.devices_unknown, "device")
                ),
            );
        }
        if rebuilt.not_on_ledger.is_empty() {
            return;
        }
        page.text("What the ledger does not hold, and what the database has of it (0: lost, unless a backup has it):");
        for kept in &rebuilt.not_on_ledger {
            page.field(&*kept.what, grouped(kept.rows));
        }
        page.text("Serials, types, groups and names: kusabi device import, from the table that kusabi provision wrote.");
    }
}

pub(crate) fn run(_: &Args, session: &Session) -> Result<()> {
    let fleet = Fleet::open(session)?;
    let rebuilt = fleet.ask(fleet.client().rebuild()).map_err(|failure| {
        if failure.exit() == Exit::Unavailable {
            Failure::new(failure.exit(), failure.what().to_owned()).advise(
                "a rebuild of a large ledger takes minutes; run it again: it goes on in any case",
            )
        } else {
            failure
        }
    })?;
    session.output().say(&Shown { rebuilt })
}
