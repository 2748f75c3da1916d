//! `kill -9` of the real process under load: what was acknowledged is there after every restart.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use kusabi_api::{
    HttpLedger, Ledger as _,
    verify::{Done, VerifyingLedger},
};
use kusabi_core::{
    id::{ChainId, Handle, Height, KusabiId, OrgName},
    keystore::{KeyStore as _, Seed, SoftKey},
    suite::{BindingContext, Purpose, Suite},
    tx::{Action, Draft, Entry, Transaction},
};

use crate::{command::Place, node::Node};

const ROUNDS: usize = 100;

/// Longest time to replay the last blocks.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// Clients that register at the same time.
const CLIENTS: usize = 8;

/// A signer from its key file.
pub(crate) struct Writer {
    handle: Handle,
    key: SoftKey,
}

impl Writer {
    pub(crate) fn read(place: &Place, file: &str) -> Self {
        let text = fs::read_to_string(place.path(file)).unwrap();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
        };
        let seed = kusabi_core::id::parse_hex(field("secret: ")).unwrap();
        Self {
            handle: field("handle: ").parse().unwrap(),
            key: SoftKey::from_seed(Suite::Curve25519, &Seed::new(seed)).unwrap(),
        }
    }

    /// The registration of the key of a number, and its handle.
    pub(crate) fn register(
        &self,
        chain: &ChainId,
        org: &OrgName,
        number: usize,
    ) -> (Handle, Transaction) {
        let entry = entry(number, chain, org);
        let handle = entry.handle();
        let action = Action::Register {
            org: org.id(),
            entries: vec![entry],
        };
        let mut draft = Draft::new(*chain, action).unwrap();
        draft.sign(self.handle, Purpose::Writer, &self.key).unwrap();
        (handle, draft.finish().unwrap())
    }
}

/// The key of a number: every run registers the same ones.
fn entry(number: usize, chain: &ChainId, org: &OrgName) -> Entry {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let (id, owner) = (KusabiId::new(id), org.id());
    let keys = SoftKey::from_seed(Suite::Curve25519, &Seed::new(seed))
        .unwrap()
        .public_keys();
    let context = BindingContext {
        chain,
        owner: &owner,
        purpose: Purpose::Act,
    };
    let binding = keys.bind(&id, &context);
    Entry::new(id.handle(), Purpose::Act, keys, binding, None).unwrap()
}

#[test]
fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let started = Instant::now();
    let place = Place::new();
    // A lone validator that was killed inside its own turn takes it up again after two heartbeats: short ones keep the
    // hundred rounds short.
    fs::write(place.path("node.toml"), "heartbeat_s = 1\n").unwrap();
    let start = || Node::start_with(&place, "--config node.toml");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let org = OrgName::new("home").unwrap();
    let next = Arc::new(AtomicUsize::new(0));
    let mut acknowledged = BTreeSet::new();
    let mut node = start();
    let writer = Arc::new(Writer::read(&place, "ledger/keys/writer.key"));
    let chain: ChainId = node.chain.parse().unwrap();
    // The highest block in which something was acknowledged.
    let highest = Arc::new(AtomicU64::new(0));
    for round in 0..ROUNDS {
        let open = || async {
            let http = HttpLedger::new(&node.address).unwrap();
            Arc::new(VerifyingLedger::found(http, &chain).await.unwrap())
        };
        let ledger = runtime.block_on(open());
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..CLIENTS {
            let (ledger, sender, next, writer, highest) = (
                ledger.clone(),
                sender.clone(),
                next.clone(),
                writer.clone(),
                highest.clone(),
            );
            runtime.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (handle, register) = writer.register(&chain, &org, number);
                    let bytes = register.into_bytes();
                    let done = ledger.submit(bytes.into(), Duration::from_secs(60)).await;
                    match done {
                        Ok(Done::Final { height, .. }) => {
                            highest.fetch_max(height.get(), Ordering::Relaxed);
                            sender.send(Ok(handle)).unwrap();
                        }
                        // The kill, most likely: whether that key is on the ledger is open.
                        Ok(Done::Pending(id)) => {
                            sender.send(Err(format!("{id} is pending"))).unwrap();
                            return;
                        }
                        Err(why) => {
                            sender.send(Err(why.to_string())).unwrap();
                            return;
                        }
                    }
                }
            });
        }
        drop(sender);
        // Killed in the middle of the load, each round at another moment of it.
        for _ in 0..=round % 23 {
            let done = runtime.block_on(receiver.recv()).unwrap();
            acknowledged.insert(done.expect("the node lives, so it takes every key"));
        }
        node.kill();
        while let Some(handle) = runtime.block_on(receiver.recv()) {
            acknowledged.extend(handle.ok());
        }

        node = start();
        assert_eq!(node.chain, chain.to_string(), "round {round}");
        let ledger = runtime.block_on(async {
            let http = HttpLedger::new(&node.address).unwrap();
            // A node answers before it has replayed its last blocks; they are told as they come.
            let last = Height::new(highest.load(Ordering::Relaxed)).unwrap();
            let before = Height::new(last.get() - 1).unwrap();
            let mut events = http.events(before).await.unwrap();
            let block = tokio::time::timeout(CATCH_UP_MAX, events.next()).await;
            let block = block.expect("what was acknowledged comes back");
            assert!(
                block.unwrap().unwrap().height >= last.get(),
                "round {round}"
            );
            VerifyingLedger::found(http, &chain).await.unwrap()
        });
        for handle in &acknowledged {
            let record = runtime.block_on(ledger.record(handle)).unwrap();
            assert!(record.value().is_some(), "round {round}: {handle} is lost");
        }
    }
    let sound = node.run(&place, "audit --json").json();
    assert_eq!(sound["good"], true);
    node.stop();
    println!(
        "{ROUNDS} rounds, {} keys acknowledged, {:?}",
        acknowledged.len(),
        started.elapsed()
    );
    assert!(acknowledged.len() >= ROUNDS);
}
