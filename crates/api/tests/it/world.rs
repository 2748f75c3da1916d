//! A ledger with one validator and one row, signed with real keys, that says what a test tells it to say.

use bytes::Bytes;
use ed25519_zebra::SigningKey;
use kusabi_api::{
    Answer, Block, EventStream, Kind, Ledger, Problem,
    ledger::{Status, Step, StepKind, Submitted, Transaction},
};
use kusabi_core::{
    checkpoint::{CheckpointParts, FinalizeVote},
    freshness::{self, Batch},
    genesis::GenesisParts,
    handover::RecoveryParts,
    header::Header,
    id::{
        BodyHash, ChainId, Digest, Epoch, Handle, HeaderHash, Height, NodesHash, Nonce, OpsRoot,
        OrgName, SetHash, StateKey, StateRoot, TxId, View,
    },
    nodes::NodeParts,
    proof::{self, Claim, path::Path},
    row::{AnchorRow, Row, RowBytes, Topic},
    set::{EpochSet, EpochSetParts, OrganisationParts, recovery_set},
    suite::{Signature, VerificationKey},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(crate) fn org() -> OrgName {
    OrgName::new("acme").unwrap()
}

/// A key pair from a number. Test keys: worth nothing.
pub(crate) fn key(seed: u8) -> (SigningKey, VerificationKey) {
    let signing = SigningKey::from([seed; 32]);
    let public = ed25519_zebra::VerificationKeyBytes::from(&signing);
    (signing, VerificationKey::ed25519(&public.into()).unwrap())
}

pub(crate) fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    Signature::new(key.sign(message).to_bytes())
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// The validator set of an epoch: one validator, whose vote key is made from the epoch.
pub(crate) fn set(epoch: u64) -> Bytes {
    let parts = EpochSetParts {
        epoch: Epoch::new(epoch),
        organisations: vec![OrganisationParts {
            id: org().id(),
            threshold: 1,
            officers: vec![key(100).1],
            vote_keys: vec![
                key(u8::try_from(epoch).unwrap() + 1)
                    .1
                    .raw()
                    .try_into()
                    .unwrap(),
            ],
        }],
    };
    parts.encode().unwrap().into()
}

fn recovery_keys() -> Vec<u8> {
    recovery_set(1, &[key(200).1]).unwrap()
}

pub(crate) fn genesis() -> Bytes {
    let node = NodeParts {
        vote_key: key(1).1.raw().try_into().unwrap(),
        key: key(210).1.raw().try_into().unwrap(),
        address: "",
    };
    let parts = GenesisParts {
        name: "test",
        created_ms: 1,
        heartbeat_ms: 60_000,
        epoch_set: &set(0),
        recovery_set: &recovery_keys(),
        organisations: vec![(org(), 1000)],
        nodes: vec![node],
    };
    parts.encode().unwrap().into()
}

pub(crate) fn chain() -> ChainId {
    ChainId::of(&genesis())
}

/// An epoch and the recovery that leads to it.
pub(crate) fn recovery(epoch: u64, from: u64, signer: u8) -> (u64, Step) {
    let parts = RecoveryParts {
        from: Height::new(from).unwrap(),
        parent_height: Height::new(1).unwrap(),
        parent_hash: HeaderHash::new([9; 32]),
        nodes_hash: NodesHash::new([8; 32]),
        next_set: set(epoch).to_vec(),
    };
    let (_, public) = key(200);
    let statement = parts.statement(&chain(), &public).unwrap();
    let signature = sign(&key(signer).0, statement.as_bytes());
    let bytes = parts.encode(&recovery_keys(), &[(0, signature)]).unwrap();
    let step = Step {
        kind: StepKind::Recovery,
        bytes: bytes.into(),
    };
    (epoch, step)
}

/// The one row of the ledger: an anchor of this digest.
pub(crate) const DIGEST: Digest = Digest::new([0x42; 32]);

pub(crate) fn row() -> Row {
    Row::Anchor(AnchorRow {
        topic: Topic::AuditLog,
        height: Height::new(1).unwrap(),
        org: org().id(),
        signer: Handle::new([7; 32]),
        digest: DIGEST,
    })
}

/// A block of the ledger, as its validator would sign it.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) height: u64,
    pub(crate) epoch: u64,
    /// Another value makes another block of the same height.
    pub(crate) fork: u8,
    /// Whose vote key signs: that of this epoch.
    pub(crate) signer: u8,
    /// Its transactions.
    pub(crate) body: &'static [&'static [u8]],
}

pub(crate) fn at(height: u64) -> At {
    At {
        height,
        epoch: 0,
        fork: 0,
        signer: 0,
        body: &[],
    }
}

const OPS_ROOT: [u8; 32] = [3; 32];
/// One operation, and it is current.
const CHUNK: [u8; 32] = {
    let mut chunk = [0; 32];
    chunk[0] = 1;
    chunk
};

/// The state root of a log with one update (spec/proof.md, worked out by hand for this case).
fn state_root(key: &StateKey, row: &RowBytes) -> [u8; 32] {
    let leaf = sha256(&[
        &0_u64.to_be_bytes(),
        &[0xD2],
        key.as_bytes(),
        row,
        key.as_bytes(),
    ]);
    let grafted = sha256(&[&[0, 1], &1_u64.to_be_bytes(), &leaf]);
    sha256(&[
        &OPS_ROOT,
        &grafted,
        &1_u64.to_be_bytes(),
        &sha256(&[&CHUNK]),
    ])
}

pub(crate) fn header(at: At) -> Header {
    let key_of_row = StateKey::anchor(&DIGEST);
    let set = set(at.epoch);
    Header {
        height: Height::new(at.height).unwrap(),
        skipped: 0,
        time_ms: 1000 * at.height,
        parent: HeaderHash::new([at.fork; 32]),
        state_root: StateRoot::new(state_root(&key_of_row, &row().encode())),
        ops_root: OpsRoot::new(OPS_ROOT),
        ops_start: 0,
        ops_end: 1,
        body: BodyHash::of(at.body.iter().copied()),
        epoch: Epoch::new(at.epoch),
        set_hash: EpochSet::decode(&set).map_or(SetHash::ZERO, |set| set.hash()),
        view: View::new(at.height),
        parent_view: View::new(at.height - 1),
        leader: 0,
        next_set_hash: None,
    }
}

pub(crate) fn checkpoint(at: At) -> Bytes {
    let header = header(at);
    let vote = FinalizeVote {
        epoch: header.epoch,
        view: header.view,
        parent_view: header.parent_view,
        header: header.hash(&chain()),
    };
    let mut message = Vec::new();
    vote.encode(&chain(), &mut message);
    let parts = CheckpointParts {
        headers: vec![header],
        view: header.view,
        parent_view: header.parent_view,
        n: 1,
        signatures: vec![(0, sign(&key(at.signer + 1).0, &message))],
    };
    let mut bytes = Vec::new();
    parts.encode(&mut bytes).unwrap();
    bytes.into()
}

/// A block without transactions, with a certificate of its own or without one.
pub(crate) fn block(at: At, certified: bool) -> Block {
    let mut bytes = Vec::new();
    header(at).encode(&mut bytes);
    Block {
        header: bytes.into(),
        checkpoint: certified.then(|| checkpoint(at)),
        transactions: Vec::new(),
    }
}

/// A validator's word that this block was its newest after the nonce was made.
pub(crate) fn receipt(at: At, nonce: Nonce) -> Bytes {
    let header = header(at);
    let batch = Batch::new(&[nonce]).unwrap();
    let claim = freshness::Claim {
        epoch: header.epoch,
        set_hash: header.set_hash,
        height: header.height,
        header_hash: header.hash(&chain()),
        nonces: batch.root(),
        count: batch.count(),
    };
    let (signing, public) = key(at.signer + 1);
    let vote = sign(&signing, claim.statement(&chain(), &public).as_bytes());
    let mut receipts = batch.receipts(&claim, 1, &[(0, vote)]).unwrap();
    receipts.next().unwrap().into()
}

/// The proof of presence of the row, or of absence of any other key.
pub(crate) fn proof(at: At, wanted: &StateKey) -> Bytes {
    let key = StateKey::anchor(&DIGEST);
    let row = row().encode();
    let claim = if *wanted == key {
        Claim::Present {
            row: &row,
            next_key: key,
        }
    } else {
        Claim::Between {
            key,
            row: &row,
            next_key: key,
        }
    };
    let path = Path {
        location: 0,
        chunk: CHUNK,
        inactive_peaks: 0,
        partial: Some(sha256(&[&CHUNK])),
        digests: &[],
    };
    let mut bytes = Vec::new();
    proof::encode(&checkpoint(at), &path, &claim, &mut bytes).unwrap();
    bytes.into()
}

type Lookup = dyn Fn(StateKey) -> Bytes + Send + Sync;
type Submit = dyn Fn(&Bytes) -> Result<Submitted, Problem> + Send + Sync;

/// A node that says what it is told to say.
pub(crate) struct Puppet {
    pub(crate) lookup: Mutex<Arc<Lookup>>,
    pub(crate) checkpoint: Mutex<Bytes>,
    /// The block that it vouches for.
    pub(crate) newest: Mutex<At>,
    pub(crate) submit: Box<Submit>,
    pub(crate) walk: Mutex<Vec<(u64, Step)>>,
    pub(crate) walks: AtomicUsize,
    pub(crate) block: Mutex<Option<Block>>,
    /// Blocks of certain heights, before the one above.
    pub(crate) blocks: Mutex<BTreeMap<u64, Block>>,
    /// The heights that answers were asked to have at least.
    pub(crate) asked: Mutex<Vec<u64>>,
}

impl Puppet {
    pub(crate) fn new() -> Self {
        Self {
            lookup: Mutex::new(Arc::new(|key| proof(at(5), &key))),
            checkpoint: Mutex::new(checkpoint(at(5))),
            newest: Mutex::new(at(5)),
            submit: Box::new(|_| Err(Problem::new(Kind::PoolFull, "full"))),
            walk: Mutex::default(),
            walks: AtomicUsize::new(0),
            block: Mutex::default(),
            blocks: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    pub(crate) fn answers(&self, lookup: impl Fn(StateKey) -> Bytes + Send + Sync + 'static) {
        *self.lookup.lock().unwrap() = Arc::new(lookup);
    }

    /// From now on it has these blocks, certified, and the last of them is its newest.
    pub(crate) fn shows(&self, blocks: &[At]) {
        let mut all = self.blocks.lock().unwrap();
        for at in blocks {
            all.insert(at.height, block(*at, true));
            *self.checkpoint.lock().unwrap() = checkpoint(*at);
        }
    }

    /// From now on every proof is of this block.
    pub(crate) fn is_at(&self, at: At) {
        self.answers(move |key| proof(at, &key));
        *self.checkpoint.lock().unwrap() = checkpoint(at);
    }
}

fn answer<'a, T: Send + 'a>(result: Result<T, Problem>) -> Answer<'a, T> {
    Box::pin(async { result })
}

fn silent<'a, T: Send + 'a>() -> Answer<'a, T> {
    answer(Err(Problem::new(
        Kind::Unknown,
        "the puppet does not speak of this",
    )))
}

impl Ledger for Puppet {
    fn submit(&self, transaction: Bytes, _: Duration) -> Answer<'_, Submitted> {
        answer((self.submit)(&transaction))
    }

    fn transaction(&self, _: TxId) -> Answer<'_, Transaction> {
        silent()
    }

    fn lookup(&self, key: StateKey, at_least: Height) -> Answer<'_, Bytes> {
        self.asked.lock().unwrap().push(at_least.get());
        // Not under the lock: the answer may be to ask again.
        let lookup = Arc::clone(&self.lookup.lock().unwrap());
        answer(Ok(lookup(key)))
    }

    fn checkpoint(&self, at_least: Height) -> Answer<'_, Bytes> {
        self.asked.lock().unwrap().push(at_least.get());
        answer(Ok(self.checkpoint.lock().unwrap().clone()))
    }

    fn freshness(&self, nonce: Nonce) -> Answer<'_, Bytes> {
        answer(Ok(receipt(*self.newest.lock().unwrap(), nonce)))
    }

    fn block(&self, height: Height) -> Answer<'_, Block> {
        let block = self.blocks.lock().unwrap().get(&height.get()).cloned();
        match block.or_else(|| self.block.lock().unwrap().clone()) {
            Some(block) => answer(Ok(block)),
            None => silent(),
        }
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        answer(Ok(genesis()))
    }

    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>> {
        self.walks.fetch_add(1, Ordering::Relaxed);
        let walk = self.walk.lock().unwrap();
        let later = walk.iter().find(|(leads_to, _)| *leads_to > epoch.get());
        answer(Ok(later
            .map(|(_, step)| step.clone())
            .into_iter()
            .collect()))
    }

    fn events(&self, _: Height) -> Answer<'_, EventStream> {
        silent()
    }

    fn status(&self) -> Answer<'_, Status> {
        silent()
    }
}
