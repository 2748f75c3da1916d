//! How soon every server of one organisation, each at another organisation's node, knows that a key has ended.

use std::{
    path::PathBuf,
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
    writes::{self, Nodes, WAIT},
};
use crate::failure::Result;

/// Keys that end, one after the other.
const KEYS: u64 = 200;
/// Numbers of these keys: no other measurement comes so far.
const FIRST: u64 = 1 << 40;
/// Registrations of these keys under way at once.
const AT_ONCE: usize = 16;
/// Between two looks at a device: what is measured comes out too long by up to so much.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A place of a server: the file of its key, its folder, and the address of the node that it asks.
pub(super) struct Place {
    pub(super) key: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) ledger: String,
}

/// Starts a server of the profile's organisation in each place, and has keys revoked that all of them know.
pub(super) async fn measure(
    nodes: &Nodes,
    fleet: &Fleet,
    profile: &str,
    writer: &str,
    places: &[Place],
) -> Result<Seen> {
    let [node, ..] = &nodes.ledgers[..] else {
        return Err(unmeasurable("no node"));
    };
    let sites: Vec<_> = places
        .iter()
        .map(|place| {
            let key = place.key.display().to_string();
            let command = ["--ledger", &place.ledger, "--ps", &key, "--writer", writer];
            Site::beside(profile, &command, &place.folder)
        })
        .collect::<Result<_>>()?;
    let servers: Vec<_> = sites.iter().map(Site::admin).collect::<Result<_>>()?;
    writes::singles(nodes, fleet, FIRST..FIRST + KEYS, AT_ONCE).await?;
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
            let said = server.device(id).await;
            if said.as_ref().is_ok_and(|detail| is(detail.device.state)) {
                return Ok(Instant::now());
            }
            if Instant::now() > end {
                let last = match said {
                    Ok(detail) => detail.device.state.name().to_owned(),
                    Err(problem) => problem.to_string(),
                };
                return Err(unmeasurable(format!(
                    "a server does not see what became of {id}: {last}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let seen = try_join_all(looks).await?;
    seen.into_iter()
        .max()
        .ok_or_else(|| unmeasurable("no server"))
}
