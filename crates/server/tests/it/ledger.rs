//! A ledger in memory: the real rules (`kusabi-ledger`), real blocks' effects, and for each question a checkpoint of the one validator
//! over a state that holds the row asked for, at a height of its own. The proofs verify; only the engine is missing.

use bytes::Bytes;
use ed25519_zebra::SigningKey;
use kusabi_api::{
    Answer, Block, EventStream, Kind, Ledger, Problem,
    ledger::{Status, Step, Submitted, Transaction},
};
use kusabi_core::{
    checkpoint::{CheckpointParts, FinalizeVote},
    genesis::Genesis,
    header::Header,
    id::{BodyHash, Epoch, HeaderHash, Height, OpsRoot, StateKey, StateRoot, TxId, View},
    proof::{self, Claim, path::Path},
    row::RowBytes,
    suite::Signature,
};
use kusabi_ledger::{State as _, testing::World};
use sha2::{Digest as _, Sha256};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

pub(crate) struct Memory {
    pub(crate) world: Mutex<World>,
    height: AtomicU64,
    /// Whether it answers at all.
    pub(crate) gone: AtomicBool,
    /// Whether it signs with a key that is not the validator's.
    pub(crate) lies: AtomicBool,
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
        Self {
            world: Mutex::new(World::open()),
            height: AtomicU64::new(1000),
            gone: AtomicBool::new(false),
            lies: AtomicBool::new(false),
        }
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
    fn submit(&self, _: Bytes, _: Duration) -> Answer<'_, Submitted> {
        silent()
    }

    fn transaction(&self, _: TxId) -> Answer<'_, Transaction> {
        silent()
    }

    fn lookup(&self, key: StateKey) -> Answer<'_, Bytes> {
        self.answer(|| self.proof(&key))
    }

    fn checkpoint(&self) -> Answer<'_, Bytes> {
        silent()
    }

    fn block(&self, _: Height) -> Answer<'_, Block> {
        silent()
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        self.answer(|| self.world.lock().unwrap().document.clone().into())
    }

    fn walk(&self, _: Epoch) -> Answer<'_, Vec<Step>> {
        self.answer(Vec::new)
    }

    fn events(&self, _: Height) -> Answer<'_, EventStream> {
        silent()
    }

    fn status(&self) -> Answer<'_, Status> {
        self.answer(|| Status {
            name: String::from("test ledger"),
            chain: self.world.lock().unwrap().chain,
            height: self.height.load(SeqCst),
            time_ms: 0,
            epoch: 0,
            validators: 1,
            heartbeat_ms: 60_000,
            waiting: 0,
            waiting_max: 4096,
            ready: true,
            version: "0.1.0".into(),
        })
    }
}
