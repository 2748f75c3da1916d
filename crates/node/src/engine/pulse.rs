//! Feels once a second how the node is doing: what its clock says, and which of the other validators' nodes are connected.
//!
//! The network says who is connected only to who is about to send to everybody. So a sender is asked, and nothing is sent: that
//! of the channel on which the least is said, for a peer that was told much just now would not be named.

use super::PublicKey;
use crate::health::{Peers, Pulse};
use commonware_p2p::{CheckedSender as _, LimitedSender, Recipients};
use commonware_runtime::Clock;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(1);

/// How many more validators have to answer before this node votes; 0 while nobody needs to know.
pub(super) type Awaits = Arc<AtomicUsize>;

/// The other validators' nodes: who they are, and a way to ask for them.
pub(super) struct Asked<S> {
    /// Their keys and addresses.
    pub(super) others: Vec<(PublicKey, String)>,
    pub(super) sender: S,
    /// Turns true when the network is opened.
    pub(super) open: Arc<AtomicBool>,
    pub(super) awaits: Awaits,
}

/// Runs as long as the engine does.
pub(super) async fn feel<E: Clock, S: LimitedSender<PublicKey = PublicKey>>(
    context: E,
    mut asked: Option<Asked<S>>,
    pulse: watch::Sender<Option<Pulse>>,
) {
    let mut peers: Option<Peers> = None;
    loop {
        if let Some(asked) = &mut asked
            && asked.open.load(Ordering::Relaxed)
            && let Ok(checked) = asked.sender.check(Recipients::All)
        {
            let connected: BTreeSet<_> = checked.recipients().into_iter().collect();
            let missing: Vec<_> = asked
                .others
                .iter()
                .filter(|(key, _)| !connected.contains(key))
                .map(|(_, address)| address.clone())
                .collect();
            let connected = asked.others.len() - missing.len();
            let now = Instant::now();
            peers = Some(Peers::anew(peers.as_ref(), connected, missing, now));
        }
        let clock = context.current().duration_since(UNIX_EPOCH);
        let clock_ms = clock.unwrap_or_default().as_millis();
        let awaits = asked.as_ref().map(|asked| &asked.awaits);
        pulse.send_replace(Some(Pulse {
            awaits: awaits.map_or(0, |awaits| awaits.load(Ordering::Relaxed)),
            clock_ms: u64::try_from(clock_ms).unwrap_or(u64::MAX),
            peers: peers.clone(),
        }));
        context.sleep(EVERY).await;
    }
}
