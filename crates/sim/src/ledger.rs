//! A real ledger of one organisation with one signer, and proofs from it (spec/proof.md, "Path").
//!
//! The engine's state grows as a log; here the log is made anew for each height, each row once, padded to a power of two,
//! so that it has one peak. Devices cannot tell: they see a root, a path and a signature.

use ed25519_zebra::SigningKey;
use kusabi_core::checkpoint::{Checkpoint, CheckpointParts, FinalizeVote};
use kusabi_core::crypto::sha256;
use kusabi_core::freshness::{self, Batch};
use kusabi_core::handover::RecoveryParts;
use kusabi_core::header::Header;
use kusabi_core::id::{
    BodyHash, Epoch, Handle, HeaderHash, Height, NodesHash, Nonce, OpsRoot, SetHash, StateKey,
    StateRoot, View,
};
use kusabi_core::keystore::KeyStore;
use kusabi_core::proof::{self, Claim, path::Path};
use kusabi_core::row::{Record, RowBytes};
use kusabi_core::set::EpochSet;
use kusabi_core::suite::{Signature, VerificationKey};
use kusabi_core::tx::Transaction;
use kusabi_ledger::Rejection;
use kusabi_ledger::testing::{TestKey, World};

const OPS_ROOT: [u8; 32] = [3; 32];
/// Height above which a recovery's epoch begins, in steps of this.
const RECOVERY_GAP: u64 = 10;

/// A ledger.
#[derive(Debug)]
pub struct Ledger {
    /// Its rows and keys.
    pub world: World,
    epoch: u64,
    /// The epoch's set, its hash, and the key that votes in it.
    set_hash: SetHash,
    vote_key: SigningKey,
    steps: Vec<Vec<u8>>,
    tree: Option<Tree>,
}

#[derive(Debug)]
struct Tree {
    height: Height,
    rows: Vec<(StateKey, RowBytes)>,
    /// Digests by height, from the leaves to the peak.
    levels: Vec<Vec<[u8; 32]>>,
    chunk: [u8; 32],
    checkpoint: Vec<u8>,
}

impl Ledger {
    /// A founded ledger with its writer.
    #[must_use]
    pub fn new() -> Self {
        let world = World::open();
        Self {
            epoch: 0,
            set_hash: set_hash(&world.epoch_set(0)),
            vote_key: SigningKey::from(world.vote_seed),
            steps: Vec::new(),
            tree: None,
            world,
        }
    }

    /// Height of the last block.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.world.height
    }

    /// Heartbeats have passed: the height is at least this one now.
    pub fn grow_to(&mut self, height: u64) {
        if height > self.world.height.get() {
            self.world.height = Height::new(height).expect("a test is short");
        }
    }

    /// Makes a block of one transaction.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn submit(&mut self, transaction: Transaction) -> Result<(), Rejection> {
        self.world.submit(transaction).map(drop)
    }

    /// Registers keys.
    pub fn register(&mut self, keys: &[&TestKey]) {
        let transaction = self.world.register(keys);
        self.submit(transaction).expect("new keys");
    }

    /// Grants a role.
    pub fn grant(&mut self, key: &TestKey) {
        let transaction = self.world.grant(key);
        self.submit(transaction).expect("a new key");
    }

    /// The record under a handle.
    #[must_use]
    pub fn record(&self, handle: &Handle) -> Option<Record> {
        self.world.record(handle)
    }

    /// The recovery key names the same validator again, for a new epoch: a step that devices have to follow.
    pub fn turn_epoch(&mut self) {
        self.epoch += 1;
        let from = self.world.height.get() + RECOVERY_GAP;
        let parts = RecoveryParts {
            from: Height::new(from).expect("a test is short"),
            parent_height: self.world.height,
            parent_hash: HeaderHash::new([9; 32]),
            nodes_hash: NodesHash::new([8; 32]),
            next_set: self.world.epoch_set(self.epoch),
        };
        let key = &self.world.recovery;
        let public = key.public_keys().verification_key().expect("a native key");
        let statement = parts
            .statement(&self.world.chain, &public)
            .expect("a small set");
        let signature = key.sign(&statement).expect("a key in memory signs");
        let set = kusabi_core::set::recovery_set(1, &[public]).expect("a recovery set");
        let bytes = parts.encode(&set, &[(0, signature)]).expect("a recovery");
        self.steps.push([&[2], &bytes[..]].concat());
        self.set_hash = set_hash(&parts.next_set);
        self.grow_to(from);
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        Epoch::new(self.epoch)
    }

    /// What leads from an epoch to the present one.
    #[must_use]
    pub fn steps_from(&self, epoch: Epoch) -> &[Vec<u8>] {
        let passed = usize::try_from(epoch.get()).unwrap_or(usize::MAX);
        self.steps.get(passed..).unwrap_or_default()
    }

    /// The newest checkpoint.
    pub fn checkpoint(&mut self) -> Vec<u8> {
        self.tree().checkpoint.clone()
    }

    /// The freshness receipt for a nonce: the validator vouches for the newest checkpoint.
    pub fn freshness(&mut self, nonce: Nonce) -> Vec<u8> {
        let checkpoint = self.checkpoint();
        let checkpoint = Checkpoint::decode(&checkpoint).expect("made here");
        let header = checkpoint.claimed();
        let batch = Batch::new(&[nonce]).expect("one nonce");
        let claim = freshness::Claim {
            epoch: header.epoch,
            set_hash: header.set_hash,
            height: header.height,
            header_hash: header.hash(&self.world.chain),
            nonces: batch.root(),
            count: batch.count(),
        };
        let public = self.vote_key.verification_key().into();
        let public = VerificationKey::ed25519(&public).expect("a key");
        let statement = claim.statement(&self.world.chain, &public);
        let vote = Signature::new(self.vote_key.sign(statement.as_bytes()).to_bytes());
        let receipts = batch.receipts(&claim, 1, &[(0, vote)]);
        receipts.expect("one signer").flatten().collect()
    }

    /// The proof of what a key holds now.
    pub fn prove(&mut self, key: &StateKey) -> Vec<u8> {
        self.tree().prove(key)
    }

    fn tree(&mut self) -> &Tree {
        let height = self.world.height;
        if self.tree.as_ref().is_none_or(|tree| tree.height != height) {
            self.tree = None;
        }
        match self.tree.take() {
            Some(tree) => self.tree.insert(tree),
            None => {
                let tree = Tree::build(self);
                self.tree.insert(tree)
            }
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    fn build(ledger: &Ledger) -> Self {
        let world = &ledger.world;
        let rows: Vec<(StateKey, RowBytes)> =
            world.state.rows().map(|(key, row)| (*key, *row)).collect();
        let leaves = rows.len().next_power_of_two();
        assert!(leaves <= 128, "one chunk of the bitmap holds the whole log");
        let mut chunk = [0; 32];
        let mut level = Vec::with_capacity(leaves);
        for index in 0..leaves {
            let place = position(index as u64, 0).to_be_bytes();
            level.push(match rows.get(index) {
                Some((key, row)) => {
                    chunk[index / 8] |= 1 << (index % 8);
                    let (next, _) = rows[(index + 1) % rows.len()];
                    sha256(&[&place, &[0xD2], key.as_bytes(), row, next.as_bytes()])
                }
                None => sha256(&[&place, b"an operation that is not current"]),
            });
        }
        let mut levels = vec![level];
        while let Some(last) = levels.last()
            && last.len() > 1
        {
            let height = levels.len() as u32;
            let next = last
                .chunks(2)
                .enumerate()
                .map(|(index, pair)| {
                    let place = position((index as u64) << height, height).to_be_bytes();
                    sha256(&[&place, &pair[0], &pair[1]])
                })
                .collect();
            levels.push(next);
        }
        let peak = levels[levels.len() - 1][0];
        let count = (leaves as u64).to_be_bytes();
        let grafted = sha256(&[&[0, 1], &count, &peak]);
        let root = sha256(&[&OPS_ROOT, &grafted, &count, &sha256(&[&chunk])]);
        Self {
            height: world.height,
            checkpoint: certify(ledger, root, leaves as u64),
            rows,
            levels,
            chunk,
        }
    }

    fn prove(&self, wanted: &StateKey) -> Vec<u8> {
        let found = self.rows.binary_search_by(|(key, _)| key.cmp(wanted));
        let last = self.rows.len() - 1;
        let index = match found {
            Ok(index) => index,
            Err(0) => last,
            Err(index) => index - 1,
        };
        let (key, row) = &self.rows[index];
        let (next_key, _) = self.rows[(index + 1) % self.rows.len()];
        let claim = match found {
            Ok(_) => Claim::Present { row, next_key },
            Err(_) => Claim::Between {
                key: *key,
                row,
                next_key,
            },
        };
        let siblings = (0..self.levels.len() - 1).map(|h| {
            let at = index >> h;
            (at & 1 == 1, self.levels[h][at ^ 1])
        });
        // Left ones from the top down, then right ones from the bottom up.
        let mut digests: Vec<[u8; 32]> = siblings
            .clone()
            .filter_map(|(left, digest)| left.then_some(digest))
            .collect();
        digests.reverse();
        digests.extend(siblings.filter_map(|(left, digest)| (!left).then_some(digest)));
        let path = Path {
            location: index as u64,
            chunk: self.chunk,
            inactive_peaks: 0,
            partial: Some(sha256(&[&self.chunk])),
            digests: &digests,
        };
        let mut bytes = Vec::new();
        proof::encode(&self.checkpoint, &path, &claim, &mut bytes).expect("a short path");
        bytes
    }
}

/// Where the node of a height over the leaves from `start` stands in the log's numbering.
fn position(start: u64, height: u32) -> u64 {
    2 * start - u64::from(start.count_ones()) + (1 << (height + 1)) - 2
}

fn set_hash(set: &[u8]) -> SetHash {
    EpochSet::decode(set).expect("an epoch set").hash()
}

fn certify(ledger: &Ledger, root: [u8; 32], leaves: u64) -> Vec<u8> {
    let world = &ledger.world;
    let height = world.height.get();
    let header = Header {
        height: world.height,
        skipped: 0,
        time_ms: 1_750_000_000_000 + height,
        parent: HeaderHash::new([8; 32]),
        state_root: StateRoot::new(root),
        ops_root: OpsRoot::new(OPS_ROOT),
        ops_start: 0,
        ops_end: leaves,
        body: BodyHash::new([7; 32]),
        epoch: ledger.epoch(),
        set_hash: ledger.set_hash,
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
    let parts = CheckpointParts {
        headers: vec![header],
        view: header.view,
        parent_view: header.parent_view,
        n: 1,
        signatures: vec![(0, Signature::new(ledger.vote_key.sign(&message).to_bytes()))],
    };
    let mut bytes = Vec::new();
    parts.encode(&mut bytes).expect("one signature");
    bytes
}
