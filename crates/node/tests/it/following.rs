//! Followers on disk, among nodes that are honest, away, or lie.

use crate::simulated::follower::{Recording, recording};
use bytes::Bytes;
use futures::{FutureExt as _, stream};
use kusabi_api::{
    Answer, Block, BlockStream, EventStream, HttpLedger, Kind, Ledger, Problem,
    client::Limits,
    ledger::{Receipt, Role, Status, Step, Submitted, Transaction},
};
use kusabi_core::{
    checkpoint::{Checkpoint, CheckpointParts},
    header::Header,
    id::{Epoch, Height, Nonce, StateKey, TxId},
    suite::Signature,
};
use kusabi_node::{
    directory::{Directory, DirectoryError, FollowerDirectory, NodeKey, VoteKey},
    follower::{Source, Times},
    handle::{FinalBlock, Stop},
    ledger::NodeLedger,
    node::{Config, Node},
    prepared::Prepared,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};

/// What a node that is followed does with a transaction.
type Take = dyn Fn(&Shown, &Bytes) -> Result<Submitted, Problem> + Send + Sync;

/// What a node that is followed makes of a block on its way, by its number.
type Crime = dyn Fn(usize, &mut Block) + Send + Sync;

/// A node that shows a recorded ledger up to some block, as a test has it.
struct Shown {
    recording: &'static Recording,
    genesis: Bytes,
    /// How many blocks it shows.
    newest: watch::Sender<usize>,
    /// What it makes of each block on its way.
    crime: Box<Crime>,
    /// What it shows as its newest checkpoint, where that is another one than it has.
    boast: Option<Bytes>,
    /// From this many blocks on it gives none.
    stops_at: usize,
    take: Box<Take>,
    asked: AtomicUsize,
    /// Whether it does not answer.
    away: AtomicBool,
}

impl Shown {
    fn new(newest: usize) -> Self {
        let recording = recording();
        Self {
            recording,
            genesis: recording.outline.document().clone(),
            newest: watch::Sender::new(newest),
            crime: Box::new(|_, _| {}),
            boast: None,
            stops_at: usize::MAX,
            take: Box::new(|_, _| Err(Problem::new(Kind::Unreachable, "is away"))),
            asked: AtomicUsize::new(0),
            away: AtomicBool::new(false),
        }
    }

    fn all() -> usize {
        recording().blocks.len()
    }

    fn block_at(&self, n: usize) -> Block {
        let FinalBlock {
            header,
            checkpoint,
            transactions,
            ..
        } = self.recording.blocks[n].clone();
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        let mut block = Block {
            header: bytes.into(),
            checkpoint,
            transactions,
        };
        (self.crime)(n, &mut block);
        block
    }
}

fn now<'a, T: Send + 'a>(answer: Result<T, Problem>) -> Answer<'a, T> {
    async { answer }.boxed()
}

fn not_asked<'a, T: Send + 'a>() -> Answer<'a, T> {
    now(Err(Problem::new(
        Kind::Internal,
        "a follower does not ask this",
    )))
}

impl Ledger for Shown {
    fn submit(&self, transaction: Bytes, _: Duration) -> Answer<'_, Submitted> {
        self.asked.fetch_add(1, SeqCst);
        now((self.take)(self, &transaction))
    }

    fn transaction(&self, _: TxId) -> Answer<'_, Transaction> {
        now(Err(Problem::new(Kind::Unknown, "not remembered")))
    }

    fn lookup(&self, _: StateKey, _: Height) -> Answer<'_, Bytes> {
        not_asked()
    }

    fn checkpoint(&self, _: Height) -> Answer<'_, Bytes> {
        if self.away.load(SeqCst) {
            return now(Err(Problem::new(Kind::Unreachable, "is away")));
        }
        if let Some(boast) = &self.boast {
            return now(Ok(boast.clone()));
        }
        let newest = *self.newest.borrow();
        now(Ok(self.recording.blocks[newest - 1]
            .checkpoint
            .clone()
            .unwrap()))
    }

    fn freshness(&self, _: Nonce) -> Answer<'_, Bytes> {
        now(Ok(Bytes::from_static(b"fresh, on my word")))
    }

    fn block(&self, _: Height) -> Answer<'_, Block> {
        not_asked()
    }

    fn blocks(&self, from: Height) -> Answer<'_, BlockStream> {
        let before = |block: &&FinalBlock| block.header.height < from;
        let first = self.recording.blocks.iter().take_while(before).count();
        let newest = self.newest.subscribe();
        let blocks: Vec<_> = (0..Self::all()).map(|n| self.block_at(n)).collect();
        let stops_at = self.stops_at;
        let stream = stream::unfold(first, move |n| {
            let block = blocks.get(n).cloned();
            let mut newest = newest.clone();
            async move {
                if n >= stops_at {
                    return std::future::pending().await;
                }
                let Some(block) = block else {
                    return std::future::pending().await;
                };
                newest.wait_for(|newest| *newest > n).await.ok()?;
                Some((Ok(block), n + 1))
            }
        });
        now(Ok(Box::pin(stream) as BlockStream))
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        now(Ok(self.genesis.clone()))
    }

    fn walk(&self, _: Epoch) -> Answer<'_, Vec<Step>> {
        not_asked()
    }

    fn events(&self, _: Height) -> Answer<'_, EventStream> {
        not_asked()
    }

    fn status(&self) -> Answer<'_, Status> {
        not_asked()
    }
}

const TIMES: Times = Times {
    answer: Duration::from_millis(1_000),
    block: Duration::from_millis(1_500),
    turn: Duration::from_secs(60),
    look: Duration::from_millis(50),
    rest: Duration::from_millis(20),
    rest_max: Duration::from_millis(200),
    distrust: Duration::from_secs(600),
};

struct Following {
    node: Node,
    ledger: NodeLedger,
}

impl Following {
    fn begin(place: &Path, sources: Vec<(&str, Arc<dyn Ledger>)>) -> Self {
        let outline = recording().founder.outline();
        let directory = match FollowerDirectory::open(place, Some(outline.chain())) {
            Err(DirectoryError::NoLedger(_)) => FollowerDirectory::create(place, outline.clone()),
            opened => opened,
        };
        let sources: Arc<[Source]> = sources
            .into_iter()
            .map(|(address, ledger)| Source {
                address: address.to_owned(),
                ledger,
            })
            .collect();
        let config = Config::default();
        let (node, follow) =
            Node::follow(directory.unwrap(), &config, sources.clone(), TIMES).unwrap();
        tokio::spawn(follow.run());
        let ledger = NodeLedger::follower(node.handle(), &outline, config.pool, sources).unwrap();
        Self { node, ledger }
    }

    async fn until(&self, so_far: impl Fn(&Status) -> bool) -> Status {
        let looking = async {
            loop {
                let status = self.ledger.status().await.unwrap();
                if so_far(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), looking).await {
            Ok(status) => status,
            Err(_) => panic!("{:?}", self.ledger.status().await),
        }
    }

    async fn reaches(&self, block: usize) -> Status {
        let height = recording().blocks[block - 1].header.height.get();
        self.until(|status| status.height >= height).await
    }

    async fn stop(mut self) {
        self.node.handle().shut_down();
        assert_eq!(self.node.stopped().await, Stop::Asked);
        self.node.join();
    }
}

/// The checkpoint of a block that nobody can know of, of an epoch far ahead.
fn boast() -> Bytes {
    let block = recording().blocks.last().unwrap();
    let checkpoint = Checkpoint::decode(block.checkpoint.as_ref().unwrap()).unwrap();
    let (view, parent_view) = checkpoint.views();
    let signatures = checkpoint.certificate().signatures();
    let parts = CheckpointParts {
        headers: vec![Header {
            height: Height::new(1 << 40).unwrap(),
            epoch: Epoch::new(99),
            ..block.header
        }],
        view,
        parent_view,
        n: checkpoint.certificate().size(),
        signatures: signatures
            .map(|(index, bytes)| (u8::try_from(index).unwrap(), Signature::new(*bytes)))
            .collect(),
    };
    let mut out = Vec::new();
    parts.encode(&mut out).unwrap();
    out.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_boasts_does_not_keep_a_follower_from_those_who_give() {
    let all = Shown::all();
    let place = tempfile::tempdir().unwrap();
    let honest = Arc::new(Shown::new(3));
    let boaster = Arc::new(Shown {
        boast: Some(boast()),
        stops_at: 0,
        ..Shown::new(all)
    });
    let sources: Vec<(&str, Arc<dyn Ledger>)> =
        vec![("honest", honest.clone()), ("boaster", boaster)];
    let following = Following::begin(place.path(), sources);
    // It is left once for who says more, and no more then: that one gave nothing.
    let trouble = |status: &Status, n: usize| {
        let following = status.following.clone().unwrap();
        following.nodes[n].trouble.clone().unwrap_or_default()
    };
    following
        .until(|status| trouble(status, 1).contains("and does not give those up to it"))
        .await;
    let status = following
        .until(|status| status.following.as_ref().is_some_and(|f| f.from.is_some()))
        .await;
    assert_eq!(status.following.unwrap().from.as_deref(), Some("honest"));
    tokio::time::sleep(TIMES.block * 2).await;
    honest.newest.send_replace(all);
    let status = following.reaches(all).await;
    let shown = status.following.clone().unwrap();
    assert_eq!(shown.from.as_deref(), Some("honest"), "{shown:?}");
    assert_eq!(trouble(&status, 0), "");
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_node_that_gives_no_blocks_is_of_the_present() {
    let place = tempfile::tempdir().unwrap();
    let giving = Arc::new(Shown::new(3));
    let other = Arc::new(Shown::new(3));
    let sources: Vec<(&str, Arc<dyn Ledger>)> = vec![("giving", giving), ("other", other.clone())];
    let following = Following::begin(place.path(), sources);
    let trouble = |status: &Status| {
        let following = status.following.clone().unwrap();
        assert_eq!(following.nodes[0].trouble, None);
        following.nodes[1].trouble.clone()
    };
    following.reaches(3).await;
    // It goes and comes back, while all blocks are taken from the first.
    for _ in 0..2 {
        other.away.store(true, SeqCst);
        let gone = following.until(|status| trouble(status).is_some()).await;
        assert!(trouble(&gone).unwrap().contains("is away"));
        other.away.store(false, SeqCst);
        let back = following.until(|status| trouble(status).is_none()).await;
        assert_eq!(back.following.unwrap().from.as_deref(), Some("giving"));
    }
    following.stop().await;
}

/// A server that answers whatever it is asked with bytes that do not end.
async fn endless() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                // Whatever it is.
                let _ = stream.read(&mut request).await.ok()?;
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\r\n";
                stream.write_all(head).await.ok()?;
                while stream.write_all(&[1; 1 << 16]).await.is_ok() {}
                Some(())
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_honest_node_among_liars_is_enough_and_each_liar_is_named() {
    let all = Shown::all();
    let away = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let endless = endless().await;
    let http = |address: &str| {
        let limits = Limits {
            attempts: 1,
            ..Limits::default()
        };
        Arc::new(HttpLedger::with_limits(address, limits).unwrap())
    };
    let place = tempfile::tempdir().unwrap();
    let liar = |crime: fn(usize, &mut Block)| Shown {
        crime: Box::new(crime),
        ..Shown::new(all)
    };
    let sources: Vec<(&str, Arc<dyn Ledger>, &str)> = vec![
        ("away", http(&away), "no connection to the ledger node"),
        ("endless", http(&endless), "is larger than"),
        (
            "other chain",
            Arc::new(Shown {
                genesis: Bytes::from_static(b"another document"),
                ..Shown::new(all)
            }),
            "serves the ledger",
        ),
        (
            "forger",
            Arc::new(liar(|n, block| {
                if n == 3 {
                    let mut forged = block.checkpoint.clone().unwrap().to_vec();
                    *forged.last_mut().unwrap() ^= 1;
                    block.checkpoint = Some(forged.into());
                }
            })),
            "its certificate is refused",
        ),
        (
            "inventor",
            Arc::new(liar(|n, block| {
                if n == 5 {
                    block.transactions.push(Bytes::from_static(b"mine"));
                }
            })),
            "its transactions are not those that its header binds",
        ),
        (
            "scribbler",
            Arc::new(liar(|n, block| {
                if n == 6 {
                    block.header = Bytes::from_static(b"no header");
                }
            })),
            "sends a block that cannot be read",
        ),
        (
            "silent",
            Arc::new(Shown {
                stops_at: 7,
                ..Shown::new(all)
            }),
            "and does not give those up to it",
        ),
        (
            "old",
            Arc::new(Shown::new(8)),
            "does not give blocks that others have",
        ),
        ("honest", Arc::new(Shown::new(all)), ""),
    ];
    let named = sources
        .iter()
        .map(|(name, ledger, _)| (*name, ledger.clone()))
        .collect();
    let following = Following::begin(place.path(), named);
    let status = following.reaches(all).await;
    assert_eq!(status.role, Role::Follower);
    assert_eq!(status.epoch, 2);
    let shown = status.following.unwrap();
    assert_eq!(shown.from.as_deref(), Some("honest"), "{shown:?}");
    for ((name, _, trouble), node) in sources.iter().zip(&shown.nodes) {
        assert_eq!(node.address, *name);
        let said = node.trouble.clone().unwrap_or_default();
        assert!(said.contains(trouble), "{name}: {said}");
        assert_eq!(said.is_empty(), trouble.is_empty(), "{name}: {said}");
        let lies = ["endless", "other chain", "forger", "inventor", "scribbler"];
        assert_eq!(node.lied, lies.contains(name), "{name}");
    }
    recording().shown_by(&following.node.handle()).await;
    following.stop().await;
    // No key was made, and none is needed the next time.
    let names: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.iter().all(|name| !name.ends_with(".key")),
        "{names:?}"
    );
    assert!(names.contains(&"epoch-2.cbor".to_owned()), "{names:?}");
    let mut alone = Following::begin(place.path(), vec![("away", http(&away))]);
    alone.node.begun().await.unwrap();
    let height = recording().blocks[all - 1].header.height.get();
    assert_eq!(alone.ledger.status().await.unwrap().height, height);
    recording().shown_by(&alone.node.handle()).await;
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_says_what_it_waits_for_and_answers_when_it_has_caught_up() {
    let place = tempfile::tempdir().unwrap();
    let slow = Arc::new(Shown {
        stops_at: 4,
        ..Shown::new(9)
    });
    let following = Following::begin(place.path(), vec![("slow", slow.clone())]);
    let status = following
        .until(|status| status.following.as_ref().is_some_and(|f| f.behind == 5))
        .await;
    assert!(!status.ready);
    assert_eq!(
        status.waits_for.unwrap().split(',').next(),
        Some("catching up: height 4 of 9")
    );
    let early = following
        .ledger
        .lookup(StateKey::ledger(), Height::ZERO)
        .await;
    let problem = early.unwrap_err();
    assert_eq!(problem.kind, Kind::Behind);
    assert!(problem.detail.starts_with("catching up"), "{problem}");
    // It promised more than it gives, and nobody else is there.
    let status = following
        .until(|status| {
            let said = status.waits_for.as_deref().unwrap_or_default();
            said.starts_with("none of the nodes")
        })
        .await;
    let said = status.waits_for.unwrap();
    assert!(
        said.contains("slow: says that there is a block 9"),
        "{said}"
    );
    following.stop().await;

    let honest = Arc::new(Shown::new(9));
    let mut following = Following::begin(place.path(), vec![("honest", honest.clone())]);
    following.node.begun().await.unwrap();
    following.reaches(9).await;
    honest.newest.send_replace(Shown::all());
    following.reaches(Shown::all()).await;
    let problem = following.ledger.node().await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unknown);
    assert!(problem.detail.contains("follows the ledger"), "{problem}");
    // What others follow, it gives, too.
    let second = tempfile::tempdir().unwrap();
    let (first, addressed) = (Arc::new(following.ledger.clone()), "first");
    let second = Following::begin(second.path(), vec![(addressed, first)]);
    second.reaches(Shown::all()).await;
    recording().shown_by(&second.node.handle()).await;
    second.stop().await;
    following.stop().await;
}

/// The transaction that a recorded block holds, with the block's number and its height.
fn recorded() -> (usize, u64, Bytes) {
    let recording = recording();
    let (_, height) = recording.keys.last().unwrap();
    let n = recording
        .blocks
        .iter()
        .position(|b| b.header.height == *height);
    let n = n.unwrap();
    (n, height.get(), recording.blocks[n].transactions[0].clone())
}

fn said_final(height: u64, bytes: &Bytes) -> Submitted {
    Submitted::Final(Receipt {
        id: TxId::of(bytes),
        height,
        index: 0,
        proof: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_follower_carries_is_final_when_it_stands_in_a_block_of_its_own() {
    let (n, height, bytes) = recorded();
    let id = TxId::of(&bytes);
    let place = tempfile::tempdir().unwrap();
    let taking = |take: Box<Take>| {
        Arc::new(Shown {
            take,
            ..Shown::new(n)
        })
    };
    // Says that it is final where it is not; then one who refuses, though nothing is wrong; then one who takes it.
    let liar = taking(Box::new(|_, bytes| Ok(said_final(2, bytes))));
    let refuser = taking(Box::new(|_, _| {
        Err(Problem::new(Kind::Rejected, "not while I am here").with_code(40))
    }));
    let taker = taking(Box::new(move |taker, bytes| {
        taker.newest.send_replace(n + 1);
        Ok(said_final(height, bytes))
    }));
    let away = taking(Box::new(|_, _| {
        Err(Problem::new(Kind::Unreachable, "is away"))
    }));
    let sources: Vec<(&str, Arc<dyn Ledger>)> = vec![
        ("taker", taker.clone()),
        ("liar", liar.clone()),
        ("refuser", refuser.clone()),
        ("away", away.clone()),
    ];
    // The one that gives blocks is asked first: this time that is not the one who takes.
    let other: Vec<(&str, Arc<dyn Ledger>)> =
        [1, 2, 3, 0].map(|n: usize| sources[n].clone()).into();
    let following = Following::begin(place.path(), other);
    following.reaches(n).await;
    following
        .until(|status| status.following.as_ref().is_some_and(|f| f.from.is_some()))
        .await;
    let wait = Duration::from_secs(20);
    let carrying = following.ledger.submit(bytes.clone(), wait);
    // The block comes to the follower from whoever has it.
    let giving = async {
        while taker.asked.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for node in [&liar, &refuser, &away] {
            node.newest.send_replace(n + 1);
        }
    };
    let (carried, ()) = futures::future::join(carrying, giving).await;
    let Ok(Submitted::Final(receipt)) = carried else {
        panic!("{carried:?}");
    };
    assert_eq!((receipt.height, receipt.index, receipt.id), (height, 0, id));
    let (handle, _) = recording().keys.last().unwrap();
    let proof = receipt.proof.expect("the follower proves it itself");
    let record = recording()
        .founder
        .check_by(&recording().outline, handle, &proof);
    assert!(record.is_some());
    assert_eq!(
        [&liar, &refuser].map(|node| node.asked.load(SeqCst)),
        [1, 1]
    );
    // Asked again, it knows, and asks nobody.
    let again = following.ledger.submit(bytes.clone(), wait).await;
    assert!(matches!(again, Ok(Submitted::Final(_))));
    assert_eq!(taker.asked.load(SeqCst), 1);
    let known = following.ledger.transaction(id).await;
    assert!(matches!(known, Ok(Transaction::Final(_))));
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_said_with_what_is_known() {
    let recording = recording();
    let (_, unknown) = recording.founder.register(7_777);
    let bytes = Bytes::copy_from_slice(unknown.as_bytes());
    let carry = async |answers: Vec<Problem>| {
        let place = tempfile::tempdir().unwrap();
        let sources: Vec<(String, Arc<dyn Ledger>)> = answers
            .into_iter()
            .enumerate()
            .map(|(n, answer)| {
                let shown = Shown {
                    take: Box::new(move |_, _| Err(answer.clone())),
                    ..Shown::new(3)
                };
                (format!("node {n}"), Arc::new(shown) as Arc<dyn Ledger>)
            })
            .collect();
        let named = sources
            .iter()
            .map(|(name, l)| (&**name, l.clone()))
            .collect();
        let mut following = Following::begin(place.path(), named);
        following.node.begun().await.unwrap();
        let carried = following
            .ledger
            .submit(bytes.clone(), Duration::from_secs(1));
        let problem = carried.await.unwrap_err();
        // Nothing that nobody waits for takes a place.
        assert_eq!(following.ledger.status().await.unwrap().waiting, 0);
        following.stop().await;
        problem
    };
    let rejected = || Problem::new(Kind::Rejected, "a rule").with_code(40);
    let conflict = || Problem::new(Kind::Conflict, "moved on").with_code(41);
    let away = || Problem::new(Kind::Unreachable, "is away");
    let full = || Problem::new(Kind::PoolFull, "the pool is full");

    assert_eq!(carry(vec![rejected()]).await, rejected());
    assert_eq!(
        carry(vec![full(), rejected(), rejected()]).await,
        rejected()
    );
    assert_eq!(carry(vec![away(), rejected()]).await, rejected());
    assert_eq!(carry(vec![conflict(), conflict()]).await, conflict());
    let problem = carry(vec![full(), full()]).await;
    assert_eq!(problem.kind, Kind::PoolFull);
    assert_eq!(problem.detail, "node 1: the pool is full");
    // It may be in conflict with itself.
    for answers in [vec![away(), conflict()], vec![away(), away()]] {
        let problem = carry(answers).await;
        assert_eq!(problem.kind, Kind::Unreachable);
        assert!(
            problem
                .detail
                .contains("is not known: ask for it by its ID"),
            "{problem}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_takes_no_transactions_itself_and_vouches_for_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut following = Following::begin(place.path(), vec![("one", Arc::new(Shown::new(3)))]);
    following.node.begun().await.unwrap();
    let problem = following
        .ledger
        .freshness(Nonce::new([1; 32]))
        .await
        .unwrap_err();
    assert_eq!(problem.kind, Kind::BadAnswer);
    assert!(problem.detail.starts_with("one: "), "{problem}");
    let node = following.node.handle();
    let (_, register) = recording().founder.register(8_888);
    let refused = node.submit(register.as_bytes()).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "this node has no vote, and takes no transactions itself"
    );
    assert!(node.freshness(Nonce::new([1; 32])).await.is_err());
    following.stop().await;
}

#[test]
fn directories_of_followers_and_validators_are_told_apart() {
    let recording = recording();
    let outline = recording.founder.outline();
    let places = tempfile::tempdir().unwrap();
    let at = |name: &str| places.path().join(name);

    let follower = FollowerDirectory::create(&at("follower"), outline.clone()).unwrap();
    let twice = FollowerDirectory::open(&at("follower"), None);
    assert!(matches!(twice, Err(DirectoryError::InUse(_))), "{twice:?}");
    drop(follower);
    let refused = Directory::open(&at("follower"));
    assert!(
        matches!(refused, Err(DirectoryError::Follower(_))),
        "{refused:?}"
    );
    let other = kusabi_core::id::ChainId::new([9; 32]);
    let refused = FollowerDirectory::open(&at("follower"), Some(&other));
    assert!(
        matches!(refused, Err(DirectoryError::OtherChain { .. })),
        "{refused:?}"
    );
    let refused = Prepared::open_or_make(&at("follower")).err().unwrap();
    assert!(
        matches!(refused, DirectoryError::NotEmpty(_)),
        "{refused:?}"
    );

    let solo = kusabi_ledger::testing::World::open_of(4);
    let keys = (VoteKey::new(solo.vote_seed), NodeKey::new(solo.node_seed));
    Directory::create(&at("validator"), outline.clone(), &keys.0, &keys.1).unwrap();
    Prepared::open_or_make(&at("waiting")).unwrap();
    for name in ["validator", "waiting"] {
        for refused in [
            FollowerDirectory::open(&at(name), None),
            FollowerDirectory::create(&at(name), outline.clone()),
        ] {
            assert!(
                matches!(refused, Err(DirectoryError::Validator(_))),
                "{refused:?}"
            );
        }
    }
    // A key that is brought there later makes it no validator's.
    std::fs::copy(
        at("validator").join("vote.key"),
        at("follower").join("vote.key"),
    )
    .unwrap();
    let refused = FollowerDirectory::open(&at("follower"), None);
    assert!(
        matches!(refused, Err(DirectoryError::Validator(_))),
        "{refused:?}"
    );
    std::fs::remove_file(at("follower").join("vote.key")).unwrap();
    FollowerDirectory::open(&at("follower"), Some(outline.chain())).unwrap();

    // What an interrupted making left is written again; anything else is somebody's.
    let half = at("half");
    FollowerDirectory::create(&half, outline.clone()).unwrap();
    std::fs::remove_file(half.join("format")).unwrap();
    let open = FollowerDirectory::open(&half, None);
    assert!(matches!(open, Err(DirectoryError::NoLedger(_))), "{open:?}");
    FollowerDirectory::create(&half, outline.clone()).unwrap();
    std::fs::create_dir(at("other")).unwrap();
    std::fs::write(at("other").join("mine"), "text").unwrap();
    let refused = FollowerDirectory::create(&at("other"), outline);
    assert!(
        matches!(refused, Err(DirectoryError::NotEmpty(_))),
        "{refused:?}"
    );
}
