//! What `kusabi node run` says while its node does not answer yet.

use std::{net::SocketAddr, time::Duration};

use kusabi_api::ledger::Peers;
use kusabi_node::{health::WaitsFor, ledger::NodeLedger};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    failure::Result,
    page::{Answer, Output, Page},
};

/// What is over sooner is not said.
const PASSING: Duration = Duration::from_secs(1);

/// Said when a node begins to wait for others.
#[derive(Serialize)]
pub(super) struct Waiting {
    pub(super) event: &'static str,
    pub(super) chain: String,
    /// Where the others reach it.
    pub(super) address: SocketAddr,
    /// Where it says how far it is.
    pub(super) readyz: String,
    pub(super) validators: usize,
    pub(super) quorum: usize,
}

impl Answer for Waiting {
    fn page(&self, page: &mut Page) {
        page.careful(
            "Waiting",
            &format!(
                "until {} of the {} validators run",
                self.quorum, self.validators
            ),
        )
        .field("chain", &*self.chain)
        .field("for them at", self.address.to_string())
        .field("how far", &*self.readyz)
        .text("Ctrl-C stops it.");
    }
}

/// Said whenever it waits for something else.
#[derive(Serialize)]
struct Still {
    event: &'static str,
    waits_for: String,
    #[serde(flatten)]
    peers: Option<Peers>,
}

impl Answer for Still {
    fn page(&self, page: &mut Page) {
        page.careful("Waiting", &format!("({})", self.waits_for));
    }
}

/// Says what the node of a ledger waits for, and again whenever that changes, for as long as it does not answer. `first` is said
/// once it is others.
pub(super) async fn say(
    ledger: &NodeLedger,
    mut first: Option<Waiting>,
    output: Output,
) -> Result<()> {
    // That it reads its disk goes without saying.
    let mut before = Some(WaitsFor::Disk);
    loop {
        let mut now = ledger.waits_no_more_for(before.as_ref()).await;
        // What passes at once is not worth a line.
        while let Ok(other) = timeout(PASSING, ledger.waits_no_more_for(now.as_ref())).await {
            now = other;
        }
        let news = !matches!((&before, &now), (Some(before), Some(now)) if before.same(now));
        if let Some(waits_for) = now.as_ref().filter(|_| news) {
            if matches!(waits_for, WaitsFor::Quorum(_) | WaitsFor::FirstBlock(_))
                && let Some(first) = first.take()
            {
                output.say(&first)?;
            }
            output.say(&Still {
                event: "waiting",
                waits_for: waits_for.to_string(),
                peers: match waits_for {
                    WaitsFor::Quorum(peers) | WaitsFor::FirstBlock(peers) => Some(peers.into()),
                    _ => None,
                },
            })?;
        }
        before = now;
    }
}
