//! A ledger in memory: the real rules (`kusabi-ledger`), real blocks' effects, and for each question a checkpoint of the one validator
//! over a state that holds the row asked for, at a height of its own. The proofs verify; only the engine is missing.

use bytes::Bytes;
use ed25519_zebra::SigningKey;
use futures_util::stream;
use kusabi_api::{
    Answer, Block, EventStream, Kind, Ledger, Problem,
    effect::first_row,
    ledger::{BlockEvents, Event, Receipt, Role, Status, Step, Submitted, Transaction},
};
use kusabi_core::{
    checkpoint::{CheckpointParts, FinalizeVote},
    genesis::Genesis,
    header::Header,
    id::{BodyHash, Epoch, HeaderHash, Height, Nonce, OpsRoot, StateKey, StateRoot, TxId, View},
    proof::{self, Claim, path::Path},
    row::RowBytes,
    suite::Signature,
    tx::Transaction as CoreTransaction,
};
use kusabi_ledger::{Rejection, State as _, testing::World};
use sha2::{Digest as _, Sha256};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Blocks: what they did, and their transactions.
type Blocks = Arc<Mutex<Vec<(BlockEvents, Vec<Bytes>)>>>;

pub(crate) struct Memory {
    pub(crate) world: Mutex<World>,
    /// Heights of the proofs; those of the blocks are the world's.
    height: AtomicU64,
    /// What was put in by [`Memory::commit`], from height 1 on.
    blocks: Blocks,
    newest: watch::Sender<u64>,
    /// Whether it answers at all; also ends streams.
    pub(crate) gone: Arc<AtomicBool>,
    /// Questions for rows.
    pub(crate) lookups: AtomicU64,
    /// Whether it signs with a key that is not the validator's.
    pub(crate) lies: AtomicBool,
    /// Whether it refuses to answer them, or is silent.
    pub(crate) refuses: AtomicBool,
    pub(crate) hangs: AtomicBool,
    /// Whether it refuses each so many-th of them; 0: none.
    pub(crate) refuses_each: AtomicU64,
    /// Those to which there was no answer.
    pub(crate) unanswered: watch::Sender<u64>,
}

const OPS_ROOT: [u8; 32] = [3; 32];
/// One operation, and it is current.
const CHUNK: [u8; 32] = {
    let mut chunk = [0; 32];
    chunk[0] = 1;
    chunk
};

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// The state root of a log with one update (spec/proof.md, worked out by hand for this case).
fn state_root(key: &StateKey, row: &RowBytes) -> StateRoot {
    let number = |n: u64| n.to_be_bytes();
    let leaf = sha256(&[&number(0), &[0xD2], key.as_bytes(), row, key.as_bytes()]);
    let grafted = sha256(&[&[0, 1], &number(1), &leaf]);
    let chunk = sha256(&[&CHUNK]);
    StateRoot::new(sha256(&[&OPS_ROOT, &grafted, &number(1), &chunk]))
}

impl Memory {
    pub(crate) fn new() -> Self {
        let ledger = Self {
            world: Mutex::new(World::open()),
            height: AtomicU64::new(1000),
            blocks: Arc::default(),
            newest: watch::Sender::new(0),
            gone: Arc::default(),
            lookups: AtomicU64::new(0),
            lies: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            refuses_each: AtomicU64::new(0),
            unanswered: watch::Sender::new(0),
        };
        // Genesis and the writer's grant.
        ledger.record(1, &[]);
        ledger.record(2, &[]);
        ledger
    }

    /// The next block, of one transaction.
    pub(crate) fn commit(&self, transaction: CoreTransaction) -> Result<u64, Rejection> {
        let bytes = transaction.as_bytes().to_vec();
        let height = {
            let mut world = self.world.lock().unwrap();
            world.submit(transaction)?;
            world.height.get()
        };
        self.record(height, &[bytes.into()]);
        Ok(height)
    }

    /// The next block, of one transaction that the node says nothing of.
    pub(crate) fn hide(&self, transaction: CoreTransaction) {
        let height = {
            let mut world = self.world.lock().unwrap();
            world.submit(transaction).unwrap();
            world.height.get()
        };
        self.record(height, &[]);
    }

    /// A block without transactions.
    pub(crate) fn heartbeat(&self) {
        let height = {
            let mut world = self.world.lock().unwrap();
            world.block(Vec::new()).unwrap();
            world.height.get()
        };
        self.record(height, &[]);
    }

    /// A block of transactions that were never valid: the node says that they are in it, and the ledger knows nothing of them.
    pub(crate) fn make_up(&self, transactions: &[CoreTransaction]) {
        let height = {
            let mut world = self.world.lock().unwrap();
            world.block(Vec::new()).unwrap();
            world.height.get()
        };
        let bytes = transactions
            .iter()
            .map(|transaction| Bytes::copy_from_slice(transaction.as_bytes()));
        self.record(height, &bytes.collect::<Vec<_>>());
    }

    /// Ends streams, or lets them be asked for again.
    pub(crate) fn set_gone(&self, gone: bool) {
        self.gone.store(gone, SeqCst);
        self.newest.send_modify(|_| {});
    }

    fn record(&self, height: u64, transactions: &[Bytes]) {
        let events = (0..)
            .zip(transactions)
            .map(|(index, bytes)| Event::of(index, &CoreTransaction::decode(bytes).unwrap()));
        let block = BlockEvents {
            height,
            time_ms: 1_750_000_000_000 + 1000 * height,
            skipped: 0,
            events: events.collect(),
        };
        let mut blocks = self.blocks.lock().unwrap();
        blocks.push((block, transactions.to_vec()));
        drop(blocks);
        self.newest.send_replace(height);
    }

    fn checkpoint_over(&self, world: &World, key: &StateKey, row: &RowBytes) -> Bytes {
        let height = self.height.fetch_add(1, SeqCst);
        let genesis = Genesis::decode(&world.document).unwrap();
        let header = Header {
            height: Height::new(height).unwrap(),
            skipped: 0,
            time_ms: 1_750_000_000_000 + 1000 * height,
            parent: HeaderHash::new([9; 32]),
            state_root: state_root(key, row),
            ops_root: OpsRoot::new(OPS_ROOT),
            ops_start: 0,
            ops_end: 1,
            body: BodyHash::of([]),
            epoch: Epoch::ZERO,
            set_hash: genesis.epoch_set().hash(),
            view: View::new(height),
            parent_view: View::new(height - 1),
            leader: 0,
            next_set_hash: None,
        };
        let vote = FinalizeVote {
            epoch: header.epoch,
            view: header.view,
            parent_view: header.parent_view,
            header: header.hash(&world.chain),
        };
        let mut message = Vec::new();
        vote.encode(&world.chain, &mut message);
        let seed = match self.lies.load(SeqCst) {
            true => [0x66; 32],
            false => world.vote_seed,
        };
        let signature = SigningKey::from(seed).sign(&message).to_bytes();
        let parts = CheckpointParts {
            headers: vec![header],
            view: vote.view,
            parent_view: vote.parent_view,
            n: 1,
            signatures: vec![(0, Signature::new(signature))],
        };
        let mut bytes = Vec::new();
        parts.encode(&mut bytes).unwrap();
        bytes.into()
    }

    fn proof(&self, wanted: &StateKey) -> Bytes {
        let world = self.world.lock().unwrap();
        let there = world.state.row(wanted);
        let key = if there.is_some() {
            *wanted
        } else {
            StateKey::ledger()
        };
        let row = world.state.row(&key).unwrap();
        let claim = match there {
            Some(_) => Claim::Present {
                row: &row,
                next_key: key,
            },
            None => Claim::Between {
                key,
                row: &row,
                next_key: key,
            },
        };
        let path = Path {
            location: 0,
            chunk: CHUNK,
            inactive_peaks: 0,
            partial: Some(sha256(&[&CHUNK])),
            digests: &[],
        };
        let checkpoint = self.checkpoint_over(&world, &key, &row);
        let mut bytes = Vec::new();
        proof::encode(&checkpoint, &path, &claim, &mut bytes).unwrap();
        bytes.into()
    }

    fn answer<T: Send + 'static>(&self, answer: impl FnOnce() -> T) -> Answer<'_, T> {
        let answer = match self.gone.load(SeqCst) {
            true => Err(Problem::new(Kind::Unreachable, "nobody listens there")),
            false => Ok(answer()),
        };
        Box::pin(async { answer })
    }
}

fn silent<'a, T: Send + 'a>() -> Answer<'a, T> {
    Box::pin(async {
        Err(Problem::new(
            Kind::Unknown,
            "this ledger does not speak of it",
        ))
    })
}

impl Ledger for Memory {
    fn submit(&self, bytes: Bytes, _: Duration) -> Answer<'_, Submitted> {
        let transaction = CoreTransaction::decode(&bytes).unwrap();
        let (id, row) = (transaction.id(), first_row(transaction.action()));
        let done = match self.gone.load(SeqCst) {
            true => Err(Problem::new(Kind::Unreachable, "nobody listens there")),
            false => self
                .commit(transaction)
                .map_err(|why| Problem::new(Kind::Rejected, why.to_string())),
        };
        let done = done.map(|height| {
            Submitted::Final(Receipt {
                id,
                height,
                index: 0,
                proof: Some(self.proof(&row)),
            })
        });
        Box::pin(async { done })
    }

    fn transaction(&self, _: TxId) -> Answer<'_, Transaction> {
        silent()
    }

    fn lookup(&self, key: StateKey, _: Height) -> Answer<'_, Bytes> {
        let number = self.lookups.fetch_add(1, SeqCst);
        let each = self.refuses_each.load(SeqCst);
        let refuses = self.refuses.load(SeqCst) || each > 0 && number.is_multiple_of(each);
        let hangs = self.hangs.load(SeqCst);
        if refuses || hangs {
            self.unanswered.send_modify(|count| *count += 1);
            return match hangs {
                true => Box::pin(std::future::pending()),
                false => silent(),
            };
        }
        self.answer(|| self.proof(&key))
    }

    fn checkpoint(&self, _: Height) -> Answer<'_, Bytes> {
        self.answer(|| {
            let world = self.world.lock().unwrap();
            let key = StateKey::ledger();
            self.checkpoint_over(&world, &key, &world.state.row(&key).unwrap())
        })
    }

    fn freshness(&self, _: Nonce) -> Answer<'_, Bytes> {
        silent()
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
        self.answer(|| self.world.lock().unwrap().document.clone().into())
    }

    fn walk(&self, _: Epoch) -> Answer<'_, Vec<Step>> {
        self.answer(Vec::new)
    }

    fn events(&self, after: Height) -> Answer<'_, EventStream> {
        let (blocks, gone) = (Arc::clone(&self.blocks), Arc::clone(&self.gone));
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        let start = (after.get(), newest);
        let stream = stream::unfold(start, move |(at, mut newest)| {
            let (blocks, gone) = (Arc::clone(&blocks), Arc::clone(&gone));
            async move {
                loop {
                    newest.changed().await.ok()?;
                    if gone.load(SeqCst) {
                        return None;
                    }
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
        let (chain, height) = {
            let world = self.world.lock().unwrap();
            (world.chain, world.height.get())
        };
        self.answer(|| Status {
            name: String::from("test ledger"),
            chain,
            height,
            time_ms: 0,
            epoch: 0,
            validators: 1,
            heartbeat_ms: 60_000,
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
        })
    }
}
