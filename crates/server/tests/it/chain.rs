//! The simulation's ledger behind the `Ledger` trait: real rules, real proofs from one tree for each height, epochs that turn.

use bytes::Bytes;
use futures_util::stream;
use kusabi_api::{
    Answer, Block, EventStream, Kind, Ledger, Problem,
    effect::first_row,
    ledger::{BlockEvents, Event, Receipt, Role, Status, Step, StepKind, Submitted, Transaction},
};
use kusabi_core::{
    id::{Epoch, Height, Nonce, StateKey, TxId},
    tx::Transaction as CoreTransaction,
};
use kusabi_ledger::testing::World;
use kusabi_sim::ledger::Ledger as Simulated;
use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Blocks: what they did, and their transactions.
type Blocks = Arc<Mutex<Vec<(BlockEvents, Vec<Bytes>)>>>;

pub(crate) struct Chain {
    inner: Mutex<Simulated>,
    blocks: Blocks,
    newest: watch::Sender<u64>,
    /// Whether it answers at all.
    pub(crate) gone: AtomicBool,
    /// Whether submissions stay pending.
    pub(crate) slow: AtomicBool,
    /// Whether what is submitted waits, and is in no block.
    pub(crate) waits: AtomicBool,
    /// What waits so.
    pub(crate) waiting: Mutex<Vec<Bytes>>,
    /// Whether it says nothing of what its blocks do.
    pub(crate) hides: AtomicBool,
    /// How often its events were asked for.
    pub(crate) subscribed: watch::Sender<u64>,
    /// What it makes up: said of the next block.
    pub(crate) invents: Mutex<Vec<Event>>,
    /// Heights that recoveries jumped over.
    skipped: AtomicU64,
    pub(crate) heartbeat_ms: AtomicU64,
    /// Questions for rows.
    pub(crate) lookups: AtomicU64,
    /// Whether answers to them are kept back.
    pub(crate) stuck: watch::Sender<bool>,
    /// Questions for freshness receipts.
    pub(crate) nonces: watch::Sender<u64>,
    /// Whether answers to them are kept back.
    pub(crate) slow_receipts: watch::Sender<bool>,
    /// Whether too few validators sign.
    pub(crate) no_receipts: AtomicBool,
    /// The ledger as the validators have it, where this node shows an older state.
    pub(crate) present: Mutex<Option<Simulated>>,
}

impl Chain {
    pub(crate) fn new() -> Self {
        let chain = Self {
            inner: Mutex::new(Simulated::new()),
            blocks: Arc::default(),
            newest: watch::Sender::new(0),
            gone: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            waiting: Mutex::default(),
            hides: AtomicBool::new(false),
            subscribed: watch::Sender::new(0),
            invents: Mutex::default(),
            skipped: AtomicU64::new(0),
            heartbeat_ms: AtomicU64::new(600_000),
            lookups: AtomicU64::new(0),
            stuck: watch::Sender::new(false),
            nonces: watch::Sender::new(0),
            slow_receipts: watch::Sender::new(false),
            no_receipts: AtomicBool::new(false),
            present: Mutex::default(),
        };
        let height = chain.lock().height().get();
        for height in 1..=height {
            chain.record(height, &[]);
        }
        chain
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Simulated> {
        self.inner.lock().unwrap()
    }

    /// A block of the transaction that this makes.
    pub(crate) fn commit(&self, make: impl FnOnce(&World) -> CoreTransaction) -> u64 {
        let transaction = make(&self.lock().world);
        self.put(transaction).unwrap()
    }

    fn put(&self, transaction: CoreTransaction) -> Result<u64, Problem> {
        let bytes = Bytes::copy_from_slice(transaction.as_bytes());
        let height = {
            let mut ledger = self.lock();
            ledger.submit(transaction).map_err(|why| {
                Problem::new(Kind::Rejected, why.to_string()).with_code(why as u16)
            })?;
            ledger.height().get()
        };
        self.record(height, &[bytes]);
        Ok(height)
    }

    /// A block without transactions.
    pub(crate) fn heartbeat(&self) -> u64 {
        self.make_up(&[])
    }

    /// A recovery, and the first block after it.
    pub(crate) fn turn_epoch(&self) -> u64 {
        let (before, first) = {
            let mut ledger = self.lock();
            let before = ledger.height().get();
            ledger.turn_epoch();
            (before, ledger.height().get())
        };
        self.skipped.fetch_add(first - 1 - before, SeqCst);
        self.record(first, &[]);
        first
    }

    /// A block of which the node says that these transactions are in it, and the ledger knows nothing of them.
    pub(crate) fn make_up(&self, transactions: &[Bytes]) -> u64 {
        let height = {
            let mut ledger = self.lock();
            let next = ledger.height().get() + 1;
            ledger.grow_to(next);
            next
        };
        self.record(height, transactions);
        height
    }

    /// A block that is not there, with these transactions, until the node takes that back.
    pub(crate) fn run_ahead(&self, transactions: &[Bytes]) {
        let next = self.lock().height().get() + 1;
        self.record(next, transactions);
    }

    /// A block of the transaction that this makes, and an empty one. The node says that a recovery jumped over the first, and that something
    /// else is in the second. Gives what an honest one says: to be told with [`Chain::say`].
    pub(crate) fn jump_over(
        &self,
        make: impl FnOnce(&World) -> CoreTransaction,
        lies: &[Bytes],
    ) -> (u64, Bytes) {
        let (height, bytes) = {
            let mut ledger = self.lock();
            let transaction = make(&ledger.world);
            let bytes = Bytes::copy_from_slice(transaction.as_bytes());
            ledger.submit(transaction).unwrap();
            let height = ledger.height().get();
            ledger.grow_to(height + 1);
            (height, bytes)
        };
        self.skipped.fetch_add(1, SeqCst);
        self.record(height + 1, lies);
        self.skipped.fetch_sub(1, SeqCst);
        (height, bytes)
    }

    /// What an honest node says from there on: a block, and an empty one.
    pub(crate) fn say(&self, (height, bytes): (u64, Bytes)) {
        let is_before = |block: &BlockEvents| block.height < height;
        self.blocks
            .lock()
            .unwrap()
            .retain(|(block, _)| is_before(block));
        self.record(height, &[bytes]);
        self.record(height + 1, &[]);
    }

    pub(crate) fn take_back(&self) {
        let height = self.lock().height().get();
        let mut blocks = self.blocks.lock().unwrap();
        blocks.retain(|(block, _)| block.height <= height);
    }

    fn record(&self, height: u64, transactions: &[Bytes]) {
        let events = (0..)
            .zip(transactions)
            .filter(|_| !self.hides.load(SeqCst))
            .map(|(index, bytes)| Event::of(index, &CoreTransaction::decode(bytes).unwrap()));
        let skipped = self.skipped.load(SeqCst);
        let block = BlockEvents {
            height,
            time_ms: 1_750_000_000_000 + height,
            skipped,
            events: events
                .chain(self.invents.lock().unwrap().drain(..))
                .collect(),
        };
        self.blocks
            .lock()
            .unwrap()
            .push((block, transactions.to_vec()));
        self.newest.send_replace(height);
    }

    fn answer<T: Send + 'static>(&self, answer: impl FnOnce() -> T) -> Answer<'_, T> {
        let answer = match self.gone.load(SeqCst) {
            true => Err(Problem::new(Kind::Unreachable, "nobody listens there")),
            false => Ok(answer()),
        };
        Box::pin(async { answer })
    }
}

impl Ledger for Chain {
    fn submit(&self, bytes: Bytes, _: Duration) -> Answer<'_, Submitted> {
        let transaction = CoreTransaction::decode(&bytes).unwrap();
        let (id, row) = (transaction.id(), first_row(transaction.action()));
        if self.waits.load(SeqCst) {
            self.waiting.lock().unwrap().push(bytes);
            return Box::pin(async move { Ok(Submitted::Pending { id }) });
        }
        let done = match self.gone.load(SeqCst) {
            true => Err(Problem::new(Kind::Unreachable, "nobody listens there")),
            false => self.put(transaction),
        };
        let slow = self.slow.load(SeqCst);
        let done = done.map(|height| match slow {
            true => Submitted::Pending { id },
            false => Submitted::Final(Receipt {
                id,
                height,
                index: 0,
                proof: Some(self.lock().prove(&row).into()),
            }),
        });
        Box::pin(async { done })
    }

    fn transaction(&self, _: TxId) -> Answer<'_, Transaction> {
        Box::pin(async { Err(Problem::new(Kind::Unknown, "nobody remembers")) })
    }

    fn lookup(&self, key: StateKey, _: Height) -> Answer<'_, Bytes> {
        self.lookups.fetch_add(1, SeqCst);
        let answer = self.answer(|| self.lock().prove(&key).into());
        let mut stuck = self.stuck.subscribe();
        Box::pin(async move {
            let _ = stuck.wait_for(|stuck| !*stuck).await;
            answer.await
        })
    }

    fn checkpoint(&self, _: Height) -> Answer<'_, Bytes> {
        self.answer(|| self.lock().checkpoint().into())
    }

    fn freshness(&self, nonce: Nonce) -> Answer<'_, Bytes> {
        self.nonces.send_modify(|asked| *asked += 1);
        let missing = self.no_receipts.load(SeqCst);
        let answer = self.answer(|| match &mut *self.present.lock().unwrap() {
            Some(present) => present.freshness(nonce).into(),
            None => self.lock().freshness(nonce).into(),
        });
        let mut slow = self.slow_receipts.subscribe();
        Box::pin(async move {
            let _ = slow.wait_for(|slow| !*slow).await;
            if missing {
                let why = "1 of 2 validators signed";
                return Err(Problem::new(Kind::Unreachable, why));
            }
            answer.await
        })
    }

    fn block(&self, height: Height) -> Answer<'_, Block> {
        let blocks = self.blocks.lock().unwrap();
        let found = blocks
            .iter()
            .find(|(block, _)| block.height == height.get());
        let transactions = found.map(|(_, transactions)| transactions.clone());
        self.answer(|| Block {
            header: Bytes::new(),
            checkpoint: None,
            transactions: transactions.unwrap(),
        })
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        self.answer(|| self.lock().world.document.clone().into())
    }

    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>> {
        self.answer(|| {
            let ledger = self.lock();
            let steps = ledger.steps_from(epoch).iter();
            let steps = steps.map(|step| Step {
                kind: StepKind::Recovery,
                bytes: Bytes::copy_from_slice(&step[1..]),
            });
            steps.collect()
        })
    }

    fn events(&self, after: Height) -> Answer<'_, EventStream> {
        self.subscribed.send_modify(|count| *count += 1);
        let blocks = Arc::clone(&self.blocks);
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        let stream = stream::unfold((after.get(), newest), move |(at, mut newest)| {
            let blocks = Arc::clone(&blocks);
            async move {
                loop {
                    newest.changed().await.ok()?;
                    let blocks = blocks.lock().unwrap();
                    if let Some((block, _)) = blocks.iter().find(|(block, _)| block.height > at) {
                        // There may be more.
                        newest.mark_changed();
                        return Some((Ok(block.clone()), (block.height, newest)));
                    }
                }
            }
        });
        self.answer(|| Box::pin(stream) as EventStream)
    }

    fn status(&self) -> Answer<'_, Status> {
        self.answer(|| {
            let ledger = self.lock();
            Status {
                name: String::from("test ledger"),
                chain: ledger.world.chain,
                height: ledger.height().get(),
                time_ms: 0,
                epoch: ledger.epoch().get(),
                validators: 1,
                heartbeat_ms: self.heartbeat_ms.load(SeqCst),
                waiting: 0,
                waiting_max: 4096,
                view: 0,
                age_ms: None,
                view_time_ms: None,
                epoch_age_ms: None,
                epoch_overdue: None,
                votes: None,
                peers: None,
                role: Role::Validator,
                following: None,
                ready: true,
                waits_for: None,
                version: "0.1.0".into(),
            }
        })
    }
}
