//! Several nodes of one ledger over real connections.

use crate::measure::{cpu, disk};
use bytes::Bytes;
use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use kusabi_api::{
    Kind, Ledger as _,
    ledger::{Peers, Status, Votes},
};
use kusabi_core::{
    anchor::Anchor,
    checkpoint::Checkpoint,
    freshness::{FreshnessError, Receipt},
    genesis::Genesis,
    id::{Epoch, Handle, Height, Nonce, StateKey},
    proof::Proof,
    suite::Purpose,
    tx::Transaction,
};
use kusabi_ledger::testing::{TestKey, World};
use kusabi_node::{
    directory::{Directory, NodeKey, VoteKey},
    engine::EngineError,
    handle::{NodeHandle, QueryError, Stop},
    ledger::NodeLedger,
    node::{Config, Node, StartError},
    outline::Outline,
};
use std::{
    collections::{BTreeSet, HashMap},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

/// A ledger of several organisations on this machine.
struct Members {
    ledger: World,
    grant: Transaction,
    outline: Outline,
    addresses: HashMap<[u8; 32], String>,
    members: Vec<(VoteKey, NodeKey, SocketAddr)>,
    places: tempfile::TempDir,
}

impl Members {
    fn new(organisations: u64) -> Self {
        let mut at_founding = World::of(1 << 40, organisations);
        let genesis = at_founding.genesis();
        at_founding.block(vec![genesis.clone()]).unwrap();
        let ledger = World::open_of(organisations);
        let grant = at_founding.grant(&ledger.writer);
        let outline = Outline::new(
            Bytes::from(ledger.document.clone()),
            Bytes::copy_from_slice(genesis.as_bytes()),
        )
        .unwrap();
        let seeds = [(ledger.vote_seed, ledger.node_seed)].into_iter();
        let seeds = seeds.chain(ledger.others.iter().map(|o| (o.vote_seed, o.node_seed)));
        // All are taken before one is given back, so that no port is given twice.
        let ports: Vec<_> = (0..organisations).map(|_| port()).collect();
        let members: Vec<_> = seeds
            .zip(&ports)
            .map(|((vote, node), port)| {
                let address = port.local_addr().unwrap();
                (VoteKey::new(vote), NodeKey::new(node), address)
            })
            .collect();
        let addresses = members
            .iter()
            .map(|(_, node, address)| (node.public(), address.to_string()))
            .collect();
        Self {
            ledger,
            grant,
            outline,
            addresses,
            members,
            places: tempfile::tempdir().unwrap(),
        }
    }

    fn place(&self, member: usize) -> PathBuf {
        self.places.path().join(member.to_string())
    }

    fn create(&self, member: usize) {
        let (vote, node, _) = &self.members[member];
        Directory::create(&self.place(member), self.outline.clone(), vote, node).unwrap();
    }

    fn config(&self, member: usize) -> Config {
        Config {
            peers: Some(self.members[member].2),
            addresses: self.addresses.clone(),
            ..Config::default()
        }
    }

    fn ledger_of(&self, node: &Node) -> NodeLedger {
        NodeLedger::new(node.handle(), &self.outline, Config::default().pool).unwrap()
    }

    /// Starts a member; it gets ready in a while.
    async fn start(&self, member: usize) -> Node {
        let directory = Directory::open(&self.place(member)).unwrap();
        let config = self.config(member);
        let started = tokio::task::spawn_blocking(|| Node::start(directory, config));
        started.await.unwrap().unwrap()
    }

    async fn start_all(&self) -> Vec<Node> {
        for member in 0..self.members.len() {
            self.create(member);
        }
        let nodes = join_all((0..self.members.len()).map(|member| self.start(member))).await;
        let handle = nodes[0].handle();
        let granted = handle.submit(self.grant.as_bytes()).unwrap().await.unwrap();
        for node in &nodes {
            node.handle().events(granted.height).next().await.unwrap();
        }
        nodes
    }

    async fn register(&self, node: &NodeHandle, number: u64) -> Handle {
        let key = TestKey::new(number, Purpose::Act);
        let register = self.ledger.register(&[&key]);
        node.submit(register.as_bytes()).unwrap().await.unwrap();
        key.handle
    }

    /// Whether a node shows a record, with a proof that a device takes.
    async fn shows(&self, node: &NodeHandle, handle: &Handle) -> bool {
        let genesis = Genesis::decode(&self.ledger.document).unwrap();
        let anchor = Anchor::from_genesis(&genesis);
        let key = StateKey::record(handle);
        let proof = node.lookup(key).await.unwrap();
        let proof = Proof::decode(&proof).unwrap();
        let verified = proof.check(&anchor, genesis.epoch_set(), &key).unwrap();
        verified.row().is_some()
    }
}

/// A free port below those that the system gives to connections: one of these could take it while its node is stopped.
fn port() -> TcpListener {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 20_000 + (std::process::id() % 500) as u16 * 20;
    (0..1_000)
        .map(|_| begin + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000)
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .unwrap()
}

async fn stop(mut node: Node) {
    node.handle().shut_down();
    assert_eq!(node.stopped().await, Stop::Asked);
    node.join();
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_agree_go_on_without_one_and_take_it_back() {
    let all = tokio::time::timeout(Duration::from_secs(120), four_nodes());
    all.await.expect("they connect, and go on");
}

async fn four_nodes() {
    let members = Members::new(4);
    let mut nodes = members.start_all().await;
    for (number, node) in nodes.iter().enumerate() {
        members.register(&node.handle(), number as u64 + 100).await;
    }
    stop(nodes.remove(3)).await;
    let last = members.register(&nodes[1].handle(), 200).await;
    let height = nodes[1].handle().status().height.unwrap();
    nodes.push(members.start(3).await);
    for node in &nodes {
        let handle = node.handle();
        handle.events(height).next().await.unwrap();
        assert!(members.shows(&handle, &last).await);
    }
    let after = members.register(&nodes[3].handle(), 201).await;
    assert!(members.shows(&nodes[3].handle(), &after).await);
    join_all(nodes.into_iter().map(stop)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_whom_it_waits_for_and_ends_while_it_waits() {
    let all = tokio::time::timeout(Duration::from_secs(120), waiting());
    all.await.expect("they connect, and tell");
}

async fn waiting() {
    let members = Members::new(4);
    let begin = |member| {
        members.create(member);
        let node = Node::begin(
            Directory::open(&members.place(member)).unwrap(),
            members.config(member),
        );
        node.unwrap()
    };
    let mut first = begin(0);
    let ledger = members.ledger_of(&first);
    let address = |member: usize| members.members[member].2.to_string();
    let missing = |peers: Option<Peers>| -> BTreeSet<String> {
        peers.into_iter().flat_map(|peers| peers.missing).collect()
    };

    // Alone: it says how many it needs and where it looks for them, and answers nothing else.
    let status = until(&ledger, |status| status.peers.is_some()).await;
    assert!(!status.ready);
    let peers = status.peers.clone().unwrap();
    assert_eq!((peers.connected, peers.of), (0, 3));
    assert_eq!(missing(status.peers), [1, 2, 3].map(address).into());
    let said = status.waits_for.unwrap();
    assert!(
        said.starts_with("no quorum: connected to 0 of 3 other validators, 3 of 4"),
        "{said}"
    );
    let key = StateKey::new([7; 32]);
    for problem in [
        ledger.lookup(key, Height::ZERO).await.unwrap_err(),
        ledger.checkpoint(Height::ZERO).await.unwrap_err(),
        ledger.genesis().await.unwrap_err(),
        ledger.walk(Epoch::ZERO).await.unwrap_err(),
        ledger.block(Height::ZERO).await.unwrap_err(),
        ledger.events(Height::ZERO).await.err().unwrap(),
        ledger
            .submit(
                Bytes::copy_from_slice(members.grant.as_bytes()),
                Duration::from_secs(1),
            )
            .await
            .unwrap_err(),
    ] {
        assert_eq!(problem.kind, Kind::Behind);
        assert!(problem.detail.contains("connected to 0 of 3"), "{problem}");
        assert_eq!(problem.retry_after_s, Some(5));
    }

    // Two are too few; the first one ends all the same when it is asked to, and its place is free.
    let mut second = begin(1);
    let status = until(&ledger, |status| {
        status.peers.as_ref().is_some_and(|p| p.connected == 1)
    })
    .await;
    assert_eq!(missing(status.peers), [2, 3].map(address).into());
    first.handle().shut_down();
    assert_eq!(first.begun().await, Err(Stop::Asked));
    first.join();
    first = Node::begin(
        Directory::open(&members.place(0)).unwrap(),
        members.config(0),
    )
    .unwrap();

    // Three begin.
    let mut third = begin(2);
    for node in [&mut first, &mut second, &mut third] {
        node.begun().await.unwrap();
    }
    let ledger = members.ledger_of(&first);
    let status = until(&ledger, |status| {
        status.ready && status.peers.as_ref().is_some_and(|p| p.connected == 2)
    })
    .await;
    assert_eq!(status.waits_for, None);
    assert!(status.view > 0 && status.age_ms.is_some());
    assert_eq!(missing(status.peers), [3].map(address).into());
    ledger.genesis().await.unwrap();

    // One goes, and is missed within moments.
    stop(third).await;
    let status = until(&ledger, |status| {
        status.peers.as_ref().is_some_and(|p| p.connected == 1)
    })
    .await;
    assert_eq!(missing(status.peers), [2, 3].map(address).into());
    join_all([first, second].map(stop)).await;
}

/// What a node says of itself, once it says what is waited for.
async fn until(ledger: &NodeLedger, so_far: impl Fn(&Status) -> bool) -> Status {
    loop {
        let status = ledger.status().await.unwrap();
        if so_far(&status) {
            return status;
        }
        // It feels once a second.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_that_are_missing_are_counted_and_a_restart_forgets_none() {
    let all = tokio::time::timeout(Duration::from_secs(120), counting());
    all.await.expect("blocks come");
}

async fn counting() {
    let members = Members::new(4);
    let mut nodes = members.start_all().await;
    let vote_key = members.members[3].0.public();
    let of_third = |votes: &Votes| {
        let mut all = votes.validators.iter();
        let found = all.find(|of| of.vote_key.0 == vote_key).unwrap();
        (found.missed, found.newest)
    };
    for number in 0..20 {
        members.register(&nodes[0].handle(), 300 + number).await;
    }
    let ledger = members.ledger_of(&nodes[0]);
    let counted =
        |status: &Status, at_least| status.votes.as_ref().is_some_and(|v| v.counted >= at_least);
    let status = until(&ledger, |status| counted(status, 10)).await;
    let votes = status.votes.clone().unwrap();
    // The time of this world, which was founded long ago, runs after the clocks: it tells no age and no speed.
    assert_eq!((status.epoch_age_ms, status.view_time_ms), (None, None));
    assert_eq!(status.epoch_overdue, None);
    // Of the newest certificates each has a quorum's votes.
    let missed: u64 = votes.validators.iter().map(|of| of.missed).sum();
    assert_eq!((votes.validators.len(), votes.from), (4, 1));
    assert!(missed <= votes.counted, "{votes:?}");
    assert!(votes.missed.unwrap() <= votes.counted, "{votes:?}");
    assert!(of_third(&votes).1.is_some(), "{votes:?}");

    // One goes: all votes of it are missing from then on, and none of the others'.
    stop(nodes.pop().unwrap()).await;
    let gone = nodes[0].handle().status().height.unwrap();
    for number in 0..20 {
        members.register(&nodes[0].handle(), 400 + number).await;
    }
    let height = nodes[0].handle().status().height.unwrap().get();
    let heard = |status: &Status| {
        let votes = status.votes.as_ref().unwrap();
        let newest = votes.validators.iter().filter_map(|of| of.newest).max();
        newest.is_some_and(|newest| newest >= height)
    };
    let votes = until(&ledger, heard).await.votes.unwrap();
    let (missed, newest) = of_third(&votes);
    assert!(missed >= 10 && newest.is_some(), "{votes:?}");
    // What was under way when it went may have its vote still.
    assert!(newest.unwrap() <= gone.get() + 2, "{votes:?}");

    // The node is started again: it counts from its disk.
    stop(nodes.remove(0)).await;
    let node = members.start(0).await;
    let ledger = members.ledger_of(&node);
    let again = until(&ledger, |status| counted(status, votes.counted)).await;
    let again = again.votes.unwrap();
    assert_eq!(again.from, 1);
    let (since, after) = of_third(&again);
    assert!(since >= missed, "{again:?}");
    assert_eq!(after, newest);
    nodes.push(node);
    join_all(nodes.into_iter().map(stop)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_vouch_for_each_others_newest_header() {
    let all = tokio::time::timeout(Duration::from_secs(120), vouching());
    all.await.expect("they answer");
}

async fn vouching() {
    let members = Members::new(4);
    let mut nodes = members.start_all().await;
    let genesis = Genesis::decode(&members.ledger.document).unwrap();
    let anchor = Anchor::from_genesis(&genesis);
    let set = genesis.epoch_set();
    let check = |receipt: &[u8], nonce| {
        let receipt = Receipt::decode(receipt).unwrap();
        receipt.check(&anchor, set, &nonce).unwrap()
    };
    let shown = async |node: &NodeHandle| {
        let checkpoint = node.checkpoint().await.unwrap();
        let checkpoint = Checkpoint::decode(&checkpoint).unwrap();
        checkpoint.check(&anchor, set).unwrap()
    };
    // On a busy machine the others may be too slow once.
    let fresh = async |node: &Node, nonce| {
        let mut tries = 0;
        loop {
            match node.handle().freshness(nonce).await {
                Ok(receipt) => return check(&receipt, nonce),
                Err(QueryError::Unvouched { .. }) if tries < 5 => tries += 1,
                Err(why) => panic!("{why}"),
            }
        }
    };
    let before = shown(&nodes[0].handle()).await;
    members.register(&nodes[0].handle(), 100).await;
    let height = nodes[0].handle().status().height.unwrap();
    for (number, node) in (0..).zip(&nodes) {
        // Before it has the block itself it vouches for the one before.
        node.handle().events(height).next().await.unwrap();
        let receipt = fresh(node, Nonce::new([number; 32])).await;
        let now = shown(&node.handle()).await;
        assert_eq!(receipt.check_checkpoint(&now), Ok(()));
        let held_back = receipt.check_checkpoint(&before);
        assert_eq!(held_back, Err(FreshnessError::Old));
    }
    // One is down, then two: one more than may lie is left. With three down nobody is sure.
    for left in [3, 2] {
        stop(nodes.remove(left)).await;
        let nonce = Nonce::new([0xf0 + left as u8; 32]);
        fresh(&nodes[0], nonce).await;
    }
    stop(nodes.remove(1)).await;
    let alone = nodes[0].handle().freshness(Nonce::new([9; 32])).await;
    let Err(QueryError::Unvouched {
        signed,
        needed,
        why,
        ..
    }) = alone
    else {
        panic!("{alone:?}");
    };
    assert_eq!((signed, needed), (1, 2));
    assert_eq!(why.matches("does not answer").count(), 3, "{why}");
    // As a client of its API sees it.
    let pool = Config::default().pool;
    let ledger = NodeLedger::new(nodes[0].handle(), &members.outline, pool).unwrap();
    let problem = ledger.freshness(Nonce::new([10; 32])).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unvouched);
    let said =
        "1 of the 2 validators that it takes vouch for the newest header: the validator with ";
    assert!(problem.detail.starts_with(said), "{problem}");
    join_all(nodes.into_iter().map(stop)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_anothers_key_or_a_port_that_is_taken_says_so() {
    let members = Members::new(4);
    let (vote, node, address) = &members.members[0];
    let (_, other, _) = &members.members[1];
    let begin = |key: &NodeKey, name: &str| {
        let place = members.places.path().join(name);
        Directory::create(&place, members.outline.clone(), vote, key).unwrap();
        let config = members.config(0);
        match Node::start(Directory::open(&place).unwrap(), config) {
            Err(StartError::Stopped(Stop::Refused(why))) => why,
            other => panic!("{other:?}"),
        }
    };
    let why = tokio::task::block_in_place(|| begin(other, "swapped"));
    assert!(matches!(why, EngineError::OtherNode { .. }), "{why}");
    let _taken = TcpListener::bind(address).unwrap();
    let why = tokio::task::block_in_place(|| begin(node, "taken"));
    assert!(matches!(why, EngineError::Listen(..)), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_ledger_is_not_let_in_whatever_keys_it_has() {
    let all = tokio::time::timeout(Duration::from_secs(120), strange());
    all.await.expect("they connect, and tell");
}

async fn strange() {
    let members = Members::new(4);
    // The same organisations, keys and addresses, and another founding.
    let mut other = World::of(1 << 39, 4);
    let genesis = other.genesis();
    other.block(vec![genesis.clone()]).unwrap();
    let outline = Outline::new(
        Bytes::from(other.document.clone()),
        Bytes::copy_from_slice(genesis.as_bytes()),
    )
    .unwrap();
    assert_ne!(outline.chain(), members.outline.chain());
    let nodes = |of: &Outline| {
        of.newest()
            .nodes
            .iter()
            .map(|node| node.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(nodes(&outline), nodes(&members.outline));
    let (vote, node, _) = &members.members[2];
    let place = members.places.path().join("stranger");
    Directory::create(&place, outline.clone(), vote, node).unwrap();
    let mut stranger = Node::begin(Directory::open(&place).unwrap(), members.config(2)).unwrap();
    let seen = NodeLedger::new(stranger.handle(), &outline, Config::default().pool).unwrap();

    // The other three find one another, and not the one with the third's keys.
    let mut nodes = Vec::new();
    for member in [0, 1, 3] {
        members.create(member);
        let directory = Directory::open(&members.place(member)).unwrap();
        nodes.push(Node::begin(directory, members.config(member)).unwrap());
    }
    for node in &mut nodes {
        node.begun().await.unwrap();
    }
    let handle = nodes[0].handle();
    handle
        .submit(members.grant.as_bytes())
        .unwrap()
        .await
        .unwrap();
    let connected = |status: &Status, n| status.peers.as_ref().is_some_and(|p| p.connected >= n);
    let ledger = members.ledger_of(&nodes[0]);
    let status = until(&ledger, |status| connected(status, 2)).await;
    let missing = status.peers.unwrap().missing;
    assert_eq!(missing, [members.members[2].2.to_string()]);
    let status = until(&seen, |status| status.peers.is_some()).await;
    assert!(!status.ready && status.peers.unwrap().connected == 0);

    // Its place is free for the one that belongs there.
    stranger.handle().shut_down();
    stranger.join();
    members.create(2);
    nodes.push(members.start(2).await);
    until(&ledger, |status| connected(status, 3)).await;
    join_all(nodes.into_iter().map(stop)).await;
}

/// What `docs/performance.md` tells of several validators: `cargo test --release -p kusabi-node --test it several::load --
/// --ignored --nocapture`; `KUSABI_RATE` for registrations a second, `KUSABI_SECONDS`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn load() {
    let (rate, seconds) = (number("KUSABI_RATE", 500), number("KUSABI_SECONDS", 10));
    let members = Members::new(4);
    let nodes = members.start_all().await;
    let handles: Vec<_> = nodes.iter().map(Node::handle).collect();
    let transactions: Vec<_> = (0..rate * seconds)
        .map(|number| {
            let key = TestKey::new(number + 1_000, Purpose::Act);
            members.ledger.register(&[&key])
        })
        .collect();
    println!("{} registrations signed", transactions.len());
    let busy = cpu();
    let begin = Instant::now();
    let mut waiting = FuturesUnordered::new();
    let mut times = Vec::new();
    let mut refused = 0;
    for (number, transaction) in transactions.iter().enumerate() {
        let due = begin
            + Duration::from_secs(1) * u32::try_from(number).unwrap()
                / u32::try_from(rate).unwrap();
        while Instant::now() < due {
            let pause = tokio::time::sleep_until(due.into());
            tokio::select! {
                () = pause => {}
                Some(time) = waiting.next() => times.push(time),
            }
        }
        match handles[number % 4].submit(transaction.as_bytes()) {
            Ok(end) => {
                let start = Instant::now();
                waiting.push(async move {
                    end.await.unwrap();
                    start.elapsed()
                });
            }
            Err(_) => refused += 1,
        }
    }
    while let Some(time) = waiting.next().await {
        times.push(time);
    }
    let spent = begin.elapsed();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!(
        "{} final in {spent:?} ({:.0}/s), {refused} refused; p50 {:?}, p99 {:?}; {:.2} ms of processor each",
        times.len(),
        times.len() as f64 / spent.as_secs_f64(),
        at(50),
        at(99),
        1000.0 * (cpu() - busy).as_secs_f64() / times.len() as f64,
    );
    join_all(nodes.into_iter().map(stop)).await;
}

/// What four idle nodes cost: `cargo test --release -p kusabi-node --test it several::idle -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn idle() {
    let seconds = number("KUSABI_SECONDS", 180);
    let members = Members::new(4);
    let nodes = members.start_all().await;
    let (busy, used) = (cpu(), disk(members.places.path()));
    let height = nodes[0].handle().status().height.unwrap().get();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let blocks = nodes[0].handle().status().height.unwrap().get() - height;
    println!(
        "{seconds} s: {blocks} blocks; a node took {:.2} % of a core and grew by {} bytes a day",
        100.0 * (cpu() - busy).as_secs_f64() / seconds as f64 / 4.0,
        (disk(members.places.path()) - used) * 86_400 / seconds / 4,
    );
    join_all(nodes.into_iter().map(stop)).await;
}

/// What freshness costs four nodes: `cargo test --release -p kusabi-node --test it several::receipts -- --ignored --nocapture`;
/// `KUSABI_RATE` for nonces a second, brought to the four in turn, `KUSABI_SECONDS`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn receipts() {
    let (rate, seconds) = (number("KUSABI_RATE", 10_000), number("KUSABI_SECONDS", 10));
    let members = Members::new(4);
    let nodes = members.start_all().await;
    let handles: Vec<_> = nodes.iter().map(Node::handle).collect();
    let idle = {
        let busy = cpu();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        cpu() - busy
    };
    let busy = cpu();
    let begin = Instant::now();
    let mut asked = Vec::new();
    for tick in 0..seconds * 10 {
        let due = begin + Duration::from_millis(100 * tick);
        tokio::time::sleep_until(due.into()).await;
        for one in 0..rate / 10 {
            let number = tick * rate / 10 + one;
            let node = handles[(number % 4) as usize].clone();
            let mut nonce = [0; 32];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            asked.push(tokio::spawn(async move {
                let start = Instant::now();
                let receipt = node.freshness(Nonce::new(nonce)).await;
                (start.elapsed(), receipt.map(|receipt| receipt.len()))
            }));
        }
    }
    let answered = join_all(asked).await;
    let spent = cpu() - busy;
    let (mut times, mut longest, mut refused) = (Vec::new(), 0, 0);
    for one in answered {
        match one.unwrap() {
            (time, Ok(len)) => {
                times.push(time);
                longest = longest.max(len);
            }
            (_, Err(_)) => refused += 1,
        }
    }
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!(
        "{} receipts at {rate}/s, {refused} refused, the longest has {longest} bytes; p50 {:?}, p99 {:?}; \
         {:.2} % of a core for all four and those who ask, idle {:.2} %",
        times.len(),
        at(50),
        at(99),
        100.0 * spent.as_secs_f64() / seconds as f64,
        100.0 * idle.as_secs_f64() / seconds as f64,
    );
    join_all(nodes.into_iter().map(stop)).await;
}

fn number(name: &str, otherwise: u64) -> u64 {
    let said = std::env::var(name).ok();
    said.map_or(otherwise, |text| text.parse().unwrap())
}
