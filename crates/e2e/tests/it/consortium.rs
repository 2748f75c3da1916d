//! Four organisations, four processes, one ledger: founded by the commands, killed under load.

use crate::{
    command::Place,
    node::{Node, Starting},
    storm::Writer,
};
use futures::StreamExt as _;
use kusabi_api::{
    HttpLedger, Ledger as _,
    verify::{Done, VerifyingLedger},
};
use kusabi_core::id::{ChainId, Handle, Height, OrgName};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) const NAMES: [&str; 4] = ["acme", "beta", "corp", "delta"];

/// Rounds of the storm: in each a node is killed, in every fifth all of them.
const ROUNDS: usize = 10;

/// Longest time until a quorum goes on, and until who was away has caught up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Addresses for nodes. All are taken before one is given back, so that none is given twice; below those that the system gives to
/// connections, for one of these could take it while its node is away.
pub(crate) fn addresses(count: usize) -> Vec<SocketAddr> {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let before = TAKEN.fetch_add(count, Ordering::Relaxed);
    let begin = 21_000 + (std::process::id() % 500) as u16 * 20;
    let free = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    let ports = (begin..begin + 1_000).filter_map(free).skip(before);
    let ports: Vec<_> = ports.take(count).collect();
    ports
        .iter()
        .map(|port| port.local_addr().unwrap())
        .collect()
}

/// A founded ledger whose nodes do not run yet.
pub(crate) fn found() -> (Place, ChainId) {
    let addresses = addresses(NAMES.len());
    let at = |(org, address): (_, &SocketAddr)| (org, address.to_string());
    let founders: Vec<_> = NAMES.into_iter().zip(&addresses).map(at).collect();
    found_at(&founders)
}

/// A ledger that these organisations found, whose nodes will be at these addresses.
pub(crate) fn found_at(founders: &[(&str, String)]) -> (Place, ChainId) {
    let place = Place::new();
    for (org, address) in founders {
        place
            .run(&format!("org init {org} --name {org} --address {address}"))
            .ok();
    }
    let each = |file: fn(&str) -> String| -> String {
        let files: Vec<_> = founders.iter().map(|(org, _)| file(org)).collect();
        files.join(" ")
    };
    let members = each(|org| format!("{org}/{org}.member"));
    let new = format!("genesis new --name nordic --out draft.genesis {members} --json");
    let chain = place.run(&new).json()["chain"].as_str().unwrap().parse();
    for (org, _) in founders {
        let sign = format!("genesis sign {org} draft.genesis --out {org}.signature");
        place.run(&sign).ok();
    }
    let signatures = each(|org| format!("{org}.signature"));
    place
        .run(&format!(
            "genesis finish draft.genesis {signatures} --out nordic.genesis"
        ))
        .ok();
    (place, chain.unwrap())
}

fn begin(place: &Place, org: &str) -> Starting {
    Node::begin(place, org, "--genesis nordic.genesis")
}

pub(crate) fn start_all(place: &Place) -> Vec<Node> {
    let starting: Vec<_> = NAMES.iter().map(|org| begin(place, org)).collect();
    starting.into_iter().map(Starting::ready).collect()
}

pub(crate) async fn verifying(node: &str, chain: &ChainId) -> VerifyingLedger<HttpLedger> {
    let http = HttpLedger::new(node).unwrap();
    VerifyingLedger::found(http, chain).await.unwrap()
}

/// Waits until a node has this block.
pub(crate) async fn has(url: &str, height: Height) {
    let http = HttpLedger::new(url).unwrap();
    let before = Height::new(height.get() - 1).unwrap();
    let mut events = http.events(before).await.unwrap();
    let block = tokio::time::timeout(PATIENCE, events.next()).await;
    assert!(block.expect("it catches up").unwrap().unwrap().height >= height.get());
}

/// What an answer said: this key is final, in this block.
type Acknowledged = (Handle, Height);

/// Registers keys at a node until it is gone, and tells of each.
async fn client(
    node: String,
    chain: ChainId,
    writer: Arc<Writer>,
    next: Arc<AtomicUsize>,
    told: tokio::sync::mpsc::UnboundedSender<Acknowledged>,
) {
    let ledger = verifying(&node, &chain).await;
    let org = OrgName::new("acme").unwrap();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let (handle, register) = writer.register(&chain, &org, number);
        let done = ledger.submit(register.into_bytes().into(), PATIENCE).await;
        // Anything else is the kill: whether that key is on the ledger is open.
        let Ok(Done::Final { height, .. }) = done else {
            return;
        };
        if told.send((handle, height)).is_err() {
            return;
        }
    }
}

#[test]
fn four_organisations_found_a_ledger_and_kills_lose_nothing_that_was_acknowledged() {
    let started = Instant::now();
    let (place, chain) = found();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut nodes = start_all(&place);
    for (org, node) in NAMES.iter().zip(&nodes) {
        assert_eq!(node.chain, chain.to_string());
        let profile = format!("--profile {org}/profile.toml");
        let grant = format!("org grant {org}/keys/writer.key {profile}");
        node.run(&place, &grant).ok();
    }
    let shown = nodes[0].run(&place, "org show --profile acme/profile.toml --json");
    assert_eq!(shown.json()["name"], "acme");
    let writer = Arc::new(Writer::read(&place, "acme/keys/writer.key"));
    let next = Arc::new(AtomicUsize::new(0));
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    for round in 0..ROUNDS {
        println!("round {round} after {:?}", started.elapsed());
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        for node in &nodes {
            let (node, writer) = (node.address.clone(), writer.clone());
            runtime.spawn(client(node, chain, writer, next.clone(), told.clone()));
        }
        drop(told);
        let mut some = |count: usize| {
            for _ in 0..count {
                let one =
                    runtime.block_on(async { tokio::time::timeout(PATIENCE, hears.recv()).await });
                let one = one.unwrap_or_else(|_| panic!("round {round}: nothing goes on"));
                acknowledged.push(one.expect("somebody is served"));
            }
        };
        some(5 + round % 7);
        let all = round % 5 == 4;
        let victims = if all { 0..4 } else { round % 4..round % 4 + 1 };
        for victim in victims.clone().rev() {
            nodes.remove(victim).kill();
        }
        if !all {
            // The others are a quorum: their clients hardly notice.
            some(20);
        }
        let starting: Vec<_> = victims
            .clone()
            .map(|victim| (victim, begin(&place, NAMES[victim])))
            .collect();
        for (victim, starting) in starting {
            nodes.insert(victim, starting.ready());
        }
        // The clients of before end with what they are about.
        hears.close();
        while let Some(one) = runtime.block_on(hears.recv()) {
            acknowledged.push(one);
        }
        let newest = acknowledged.iter().map(|(_, height)| *height).max();
        let newest = newest.unwrap();
        runtime.block_on(async {
            for node in &nodes {
                has(&node.address, newest).await;
            }
            // A client of this round asks each node in turn: nobody shows it an older state, or one without its key.
            let (handle, height) = acknowledged[acknowledged.len() - 1];
            for node in &nodes {
                let ledger = verifying(&node.address, &chain).await;
                let record = ledger.record(&handle).await.unwrap();
                let registered = record.value().as_ref().map(|record| record.registered());
                assert_eq!(registered, Some(height), "round {round}");
            }
        });
    }
    // Everything, each from another node; that all have the same blocks is what the audits say.
    let ledgers: Vec<_> = nodes
        .iter()
        .map(|node| runtime.block_on(verifying(&node.address, &chain)))
        .collect();
    for ((handle, height), ledger) in acknowledged.iter().zip(ledgers.iter().cycle()) {
        let record = runtime.block_on(ledger.record(handle)).unwrap();
        let registered = record.value().as_ref().map(|record| record.registered());
        assert_eq!(registered, Some(*height), "{handle}");
    }
    for (org, node) in NAMES.iter().zip(&nodes) {
        let audit = format!("audit --profile {org}/profile.toml --json");
        assert_eq!(node.run(&place, &audit).json()["good"], true, "{org}");
    }
    for node in nodes {
        node.stop();
    }
    println!(
        "{ROUNDS} rounds, {} keys acknowledged, {:?}",
        acknowledged.len(),
        started.elapsed()
    );
}
