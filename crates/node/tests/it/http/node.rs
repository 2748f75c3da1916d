//! The whole way: a node on disk, its API on a socket, and a client that believes nothing unproven.

use bytes::Bytes;
use futures::StreamExt;
use kusabi_api::{
    HttpLedger, Kind, Ledger, VerifyingLedger,
    ledger::{Submitted, Transaction as State},
    verify::{Done, Trust, VerifyError},
    view::{ProofView, RowView},
};
use kusabi_core::{
    checkpoint::Checkpoint,
    freshness::{FreshnessError, Receipt},
    id::{Handle, Height, Nonce, StateKey, TxId},
    proof::Proof,
    row::Row,
    set::EpochSet,
    suite::Purpose,
    tx::Transaction,
};
use kusabi_ledger::{
    Rejection,
    testing::{TestKey, World},
};
use kusabi_node::{
    directory::{Directory, NodeKey, VoteKey},
    http::{Api, Limits, serve},
    ledger::NodeLedger,
    node::{Config, Node},
    outline::Outline,
};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Longer than anything takes that is not broken.
const WAIT: Duration = Duration::from_secs(60);

struct Running {
    node: Node,
    url: String,
    stop: watch::Sender<bool>,
    served: JoinHandle<usize>,
}

impl Running {
    async fn start(directory: Directory) -> Self {
        let outline = directory.outline().clone();
        let config = Config::default();
        let pool = config.pool;
        let node = Node::start(directory, config).unwrap();
        let ledger = NodeLedger::new(node.handle(), &outline, pool).unwrap();
        let (stop, stopping) = watch::channel(false);
        let api = Api::new(Arc::new(ledger), Limits::default(), stopping);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self {
            node,
            url,
            stop,
            served: tokio::spawn(serve(listener, api)),
        }
    }

    fn client(&self) -> HttpLedger {
        HttpLedger::new(&self.url).unwrap()
    }

    async fn stop(mut self) {
        self.stop.send_replace(true);
        assert_eq!(self.served.await.unwrap(), 0);
        self.node.handle().shut_down();
        self.node.stopped().await;
    }
}

fn create(path: &Path, world: &World) -> Directory {
    let document = Bytes::from(world.document.clone());
    let genesis = Bytes::copy_from_slice(world.genesis().as_bytes());
    let outline = Outline::new(document, genesis).unwrap();
    Directory::create(
        path,
        outline,
        &VoteKey::new(world.vote_seed),
        &NodeKey::new(world.node_seed),
    )
    .unwrap()
}

/// The world right after its founding, and the grant of its writer.
fn founded() -> (World, Transaction) {
    let mut world = World::new(1 << 40);
    let genesis = world.genesis();
    world.block(vec![genesis]).unwrap();
    let grant = world.grant(&world.writer);
    (world, grant)
}

fn bytes(transaction: &Transaction) -> Bytes {
    Bytes::copy_from_slice(transaction.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_registration_to_a_verified_proof_over_http() {
    let place = tempfile::tempdir().unwrap();
    let (world, grant) = founded();
    let running = Running::start(create(place.path(), &world)).await;
    let client = running.client();
    let ledger = VerifyingLedger::found(running.client(), &world.chain)
        .await
        .unwrap();

    // Submitted, final, proven.
    let mut events = client.events(Height::ZERO).await.unwrap();
    let Done::Final { .. } = ledger.submit(bytes(&grant), WAIT).await.unwrap() else {
        panic!("not final");
    };
    let key = TestKey::new(100, Purpose::Act);
    let register = world.register(&[&key]);
    let Done::Final { height, index, row } = ledger.submit(bytes(&register), WAIT).await.unwrap()
    else {
        panic!("not final");
    };
    let Some(Row::Record(record)) = row.value() else {
        panic!("no record: {row:?}");
    };
    assert_eq!((record.registered(), index), (height, 0));
    assert!(row.height() >= height);

    // The same bytes again: the same receipt. Asked for by its ID: the same.
    let Submitted::Final(again) = client.submit(bytes(&register), WAIT).await.unwrap() else {
        panic!("not final");
    };
    assert_eq!(
        (again.height, again.index, again.id),
        (height.get(), 0, register.id())
    );
    let State::Final(asked) = client.transaction(register.id()).await.unwrap() else {
        panic!("not final");
    };
    assert_eq!((asked.height, asked.id), (again.height, again.id));
    let unknown = client.transaction(TxId::of(b"nothing")).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::Unknown);

    // Looked up: there, and another one not.
    let found = ledger.record(&key.handle).await.unwrap().into_value();
    assert_eq!(found, Some(*record));
    let absent = ledger.record(&Handle::new([9; 32])).await.unwrap();
    assert_eq!(absent.value(), &None);
    let view = ProofView::claimed(row.proof()).unwrap();
    let Some(RowView::Record(shown)) = view.row else {
        panic!("no record: {view:?}");
    };
    assert_eq!(
        (shown.purpose.as_ref(), shown.status.as_ref()),
        ("act", "active")
    );
    assert!(
        row.proof().len() <= 1400,
        "a proof has {} bytes",
        row.proof().len()
    );

    // The history: the record names the height, the block holds the transaction.
    let block = ledger.block(height).await.unwrap();
    let chapters: Vec<_> = block.touching(&key.handle).map(Transaction::id).collect();
    assert_eq!(chapters, [register.id()]);
    let (checkpoint, _) = ledger.checkpoint().await.unwrap();
    assert!(checkpoint.header().height >= height);

    // The events: every block from the first, and the registration in its block.
    let mut expected = 1;
    loop {
        let block = events.next().await.unwrap().unwrap();
        assert_eq!(block.height, expected);
        expected += 1;
        if block.height == height.get() {
            assert_eq!(block.events[0].id, register.id());
            assert_eq!(block.events[0].action, "register");
            assert_eq!(block.events[0].added[0].0, key.handle.to_bytes());
            break;
        }
    }
    drop(events);

    let status = client.status().await.unwrap();
    assert_eq!(
        (status.chain, status.validators, status.ready),
        (world.chain, 1, true)
    );
    assert!(status.height >= height.get());

    // After a restart: the same record, above the same floor.
    let trust = ledger.trust();
    running.stop().await;
    let running = Running::start(Directory::open(place.path()).unwrap()).await;
    let ledger = VerifyingLedger::new(
        running.client(),
        Trust::stored(*trust.anchor(), trust.set().clone()).unwrap(),
    );
    assert_eq!(
        ledger.record(&key.handle).await.unwrap().into_value(),
        Some(*record)
    );
    // It has forgotten the receipt; the ledger's state refuses the replay.
    let replayed = ledger.submit(bytes(&register), WAIT).await.unwrap_err();
    let VerifyError::Ledger(problem) = replayed else {
        panic!("{replayed}");
    };
    assert_eq!(
        (problem.kind, problem.code),
        (Kind::Conflict, Some(Rejection::HandleTaken.code()))
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_receipt_of_one_validator_over_http() {
    let place = tempfile::tempdir().unwrap();
    let (world, grant) = founded();
    let running = Running::start(create(place.path(), &world)).await;
    let client = running.client();
    let ledger = VerifyingLedger::found(running.client(), &world.chain);
    let ledger = ledger.await.unwrap();
    let (receipt, first) = ledger.fresh_checkpoint(Nonce::new([1; 32])).await.unwrap();
    assert_eq!(*receipt.chain(), world.chain);
    let Done::Final { height, .. } = ledger.submit(bytes(&grant), WAIT).await.unwrap() else {
        panic!("not final");
    };
    // All who ask within a second are in one batch, each with a path of his own.
    let nonces: Vec<_> = (2..40).map(|i| Nonce::new([i; 32])).collect();
    let asked = nonces.iter().map(|nonce| client.freshness(*nonce));
    let receipts = futures::future::join_all(asked).await;
    let (trust, mut roots) = (ledger.trust(), BTreeSet::new());
    let set = EpochSet::decode(trust.set()).unwrap();
    for (nonce, receipt) in nonces.iter().zip(receipts) {
        let receipt = receipt.unwrap();
        let receipt = Receipt::decode(&receipt).unwrap();
        roots.insert(receipt.claimed().nonces);
        let verified = receipt.check(trust.anchor(), &set, nonce).unwrap();
        assert!(verified.height() >= height);
        verified.check_floor(trust.anchor()).unwrap();
        // What was shown before is no longer of now.
        let held_back = verified.check_checkpoint(&first);
        assert_eq!(held_back, Err(FreshnessError::Old));
        let other = receipt.check(trust.anchor(), &set, &Nonce::new([0; 32]));
        assert_eq!(other, Err(FreshnessError::Nonce));
    }
    assert!(roots.len() <= 3, "{} batches", roots.len());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_and_what_is_not_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let (world, grant) = founded();
    let running = Running::start(create(place.path(), &world)).await;
    let client = running.client();

    let mut forged = grant.as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let refused = client.submit(forged.into(), WAIT).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.code),
        (Kind::BadSignature, Some(Rejection::BadSignature.code()))
    );
    let cut = Bytes::copy_from_slice(&grant.as_bytes()[..50]);
    assert_eq!(
        client.submit(cut, WAIT).await.unwrap_err().kind,
        Kind::Malformed
    );

    // Not waited for: 202, and the way to ask leads to the receipt.
    let Submitted::Pending { id } = client.submit(bytes(&grant), Duration::ZERO).await.unwrap()
    else {
        panic!("it was waited for");
    };
    assert_eq!(id, grant.id());
    let Submitted::Final(receipt) = client.submit(bytes(&grant), WAIT).await.unwrap() else {
        panic!("not final");
    };
    let State::Final(asked) = client.transaction(id).await.unwrap() else {
        panic!("not final");
    };
    assert_eq!(asked.height, receipt.height);

    let above = client
        .block(Height::new(1 << 40).unwrap())
        .await
        .unwrap_err();
    assert_eq!(above.kind, Kind::Unknown);
    let ledger = client
        .lookup(StateKey::ledger(), Height::ZERO)
        .await
        .unwrap();
    assert!(matches!(
        ProofView::claimed(&ledger).unwrap().row,
        Some(RowView::Ledger { .. })
    ));

    // A height that comes while it is waited for, and one that does not: then the answer is what there is.
    let newest = client.status().await.unwrap().height;
    let next = Height::new(newest + 1).unwrap();
    let register = world.register(&[&TestKey::new(101, Purpose::Act)]);
    let (checkpoint, done) = tokio::join!(
        client.checkpoint(next),
        client.submit(bytes(&register), WAIT)
    );
    assert!(matches!(done.unwrap(), Submitted::Final(_)));
    let height = |bytes: &Bytes| Checkpoint::decode(bytes).unwrap().claimed().height;
    assert_eq!(height(&checkpoint.unwrap()), next);
    let far = Height::new(newest + 1_000).unwrap();
    let (checkpoint, proof) = tokio::join!(
        client.checkpoint(far),
        client.lookup(StateKey::ledger(), far)
    );
    assert_eq!(height(&checkpoint.unwrap()), next);
    let proof = proof.unwrap();
    let shown = Proof::decode(&proof).unwrap();
    assert_eq!(shown.checkpoint().claimed().height, next);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_come_one_after_the_other_and_then_as_they_are_made() {
    let place = tempfile::tempdir().unwrap();
    let (world, grant) = founded();
    let running = Running::start(create(place.path(), &world)).await;
    let client = running.client();
    let first = Height::new(1).unwrap();
    let mut blocks = client.blocks(first).await.unwrap();
    let genesis = blocks.next().await.unwrap().unwrap();
    assert_eq!(genesis, client.block(first).await.unwrap());
    // The next one is waited for.
    let submitted = client.submit(bytes(&grant), WAIT).await.unwrap();
    let Submitted::Final(receipt) = submitted else {
        panic!("{submitted:?}");
    };
    let second = blocks.next().await.unwrap().unwrap();
    assert_eq!(second.transactions, [bytes(&grant)]);
    let mut later = client
        .blocks(Height::new(receipt.height).unwrap())
        .await
        .unwrap();
    assert_eq!(later.next().await.unwrap().unwrap(), second);
    for bad in ["", "?from=0", "?from=01", "?from=x", "?after=1"] {
        let status = status_of(&running.url, &format!("/v1/blocks{bad}")).await;
        assert_eq!(status, 400, "{bad}");
    }
    // So many at once and no more; whoever ends gives his place back.
    let mut others = Vec::new();
    let refused = loop {
        match client.blocks(first).await {
            Ok(stream) => others.push(stream),
            Err(problem) => break problem,
        }
    };
    assert_eq!(others.len() + 2, Limits::default().followers);
    assert_eq!(refused.kind, Kind::TooManyRequests);
    drop(others);
    let again = async {
        loop {
            if let Ok(stream) = client.blocks(first).await {
                return stream;
            }
        }
    };
    drop(tokio::time::timeout(WAIT, again).await.unwrap());
    // The node stops, and the stream with it.
    running.stop.send_replace(true);
    let ended = blocks.next().await.unwrap().unwrap_err();
    assert_eq!(ended.kind, Kind::Unreachable);
    assert!(blocks.next().await.is_none());
    drop(later);
    running.stop().await;
}

/// Status of the answer to a plain request.
async fn status_of(url: &str, address: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!("GET {address} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
