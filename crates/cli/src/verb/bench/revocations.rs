//! How soon every server of an organisation knows that a key has ended.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use kusabi_api::{
    Hex, HttpLedger, Ledger as _,
    admin::{DeviceState, device_id},
    client::AdminClient,
    ledger::Submitted,
};

use super::{
    fleet::{self, Fleet},
    report::{Latency, Seen},
    server::Site,
    unmeasurable,
    writes::{self, Nodes},
};
use crate::failure::Result;

/// Keys that end, one after the other.
const KEYS: u64 = 200;
/// Numbers of these keys: no other measurement comes so far.
const FIRST: u64 = 1 << 40;
/// How long one may take.
const WAIT: Duration = Duration::from_secs(60);
/// Between two looks at a device: what is measured comes out too long by up to so much.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A place of a server: the file of its key, its folder, and the address of the node that it asks.
pub(super) struct Place<'a> {
    pub(super) key: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) ledger: String,
}

/// Starts a server in each place, for the organisation that the profile is of, and has keys revoked that all of them know.
pub(super) async fn measure(
    nodes: &Nodes,
    fleet: &Fleet,
    profile: &str,
    writer: &str,
    places: &[Place<'_>],
) -> Result<Seen> {
    let [node, ..] = &nodes.ledgers[..] else {
        return Err(unmeasurable("no node"));
    };
    let sites: Vec<_> = places
        .iter()
        .map(|place| {
            let key = place.key.display().to_string();
            let command = ["--ledger", &place.ledger, "--ps", &key, "--writer", writer];
            Site::beside(profile, &command, place.folder)
        })
        .collect::<Result<_>>()?;
    let servers: Vec<_> = sites.iter().map(Site::admin).collect::<Result<_>>()?;
    writes::singles(nodes, fleet, FIRST..FIRST + KEYS, 16).await?;
    let mut times = Vec::new();
    for number in FIRST..FIRST + KEYS {
        let id = device_id(&Hex(fleet::handle(number).to_bytes()));
        // The server has heard of it: from then on it hears of its end.
        everywhere(&servers, &id, |_| true).await?;
        let revocation = fleet.revocation(number)?;
        let began = Instant::now();
        let submitted = submit(node, revocation);
        let seen = everywhere(&servers, &id, |state| state == DeviceState::Revoked);
        let ((), last) = tokio::try_join!(submitted, seen)?;
        let took = last.duration_since(began).as_micros();
        times.push(u32::try_from(took).unwrap_or(u32::MAX));
    }
    for site in sites {
        site.server.kill()?;
    }
    Ok(Seen {
        count: times.len(),
        servers: servers.len(),
        latency: Latency::of(times),
    })
}

async fn submit(node: &HttpLedger, transaction: bytes::Bytes) -> Result<()> {
    match node.submit(transaction, WAIT).await.map_err(unmeasurable)? {
        Submitted::Final(_) => Ok(()),
        Submitted::Pending { .. } => Err(unmeasurable("a revocation was not final in time")),
    }
}

/// Looks at a device on all servers until each says of it what is waited for; when the last one did.
async fn everywhere(
    servers: &[AdminClient],
    id: &str,
    is: impl Fn(DeviceState) -> bool,
) -> Result<Instant> {
    let end = Instant::now() + WAIT;
    let looks = servers.iter().map(async |server| {
        loop {
            // Before the server has heard of it there is none.
            if let Ok(detail) = server.device(id).await
                && is(detail.device.state)
            {
                return Ok(Instant::now());
            }
            if Instant::now() > end {
                return Err(unmeasurable(format!(
                    "a server does not see what became of {id}"
                )));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    let seen = try_join_all(looks).await?;
    Ok(seen.into_iter().max().unwrap_or(end))
}
