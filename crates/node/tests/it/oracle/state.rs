//! Paths: random states of the engine's database, proofs of presence and absence, and altered ones.

use super::ledger::{Ledger, checkpoint};
use crate::random::Random;
use commonware_codec::EncodeSize as _;
use commonware_cryptography::{Sha256, sha256::Digest};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use commonware_storage::journal::contiguous::fixed::Config as LogConfig;
use commonware_storage::merkle::{Proof as TreeProof, Unused};
use commonware_storage::mmr::{self, Location, full::Config as TreeConfig};
use commonware_storage::qmdb::any::ordered::Update;
use commonware_storage::qmdb::any::value::FixedEncoding;
use commonware_storage::qmdb::current::FixedConfig;
use commonware_storage::qmdb::current::ordered::fixed;
use commonware_storage::qmdb::current::ordered::proof::constant::{ExclusionProof, KeyValueProof};
use commonware_storage::qmdb::current::proof::{RangeProof, constant::OperationProof};
use commonware_storage::qmdb::floor::Proportional;
use commonware_storage::translator::EightCap;
use commonware_utils::{NZU16, NZU64, NZUsize, sequence::FixedBytes};
use kusabi_core::id::StateKey;
use kusabi_core::proof::path::{Log, Path};
use kusabi_core::proof::{self, Claim, Proof};
use kusabi_core::row::ROW_BYTES;

type Row = FixedBytes<ROW_BYTES>;
type Database =
    fixed::Db<mmr::Family, deterministic::Context, Digest, Row, Sha256, EightCap, 32, Sequential>;
type Operation = OperationProof<mmr::Family, Digest, 32>;
type Presence = KeyValueProof<mmr::Family, Digest, Digest, 32>;
type Absence = ExclusionProof<mmr::Family, Digest, FixedEncoding<Row>, Digest, 32>;

fn config() -> FixedConfig<EightCap, Sequential> {
    let page_cache = CacheRef::new(NZU16!(1024), NZUsize!(512));
    FixedConfig {
        merkle_config: TreeConfig {
            journal_partition: "tree".into(),
            metadata_partition: "pins".into(),
            items_per_blob: NZU64!(512),
            write_buffer: NZUsize!(4096),
            replay_buffer: NZUsize!(4096),
            strategy: Sequential,
            page_cache: page_cache.clone(),
        },
        journal_config: LogConfig {
            partition: "log".into(),
            items_per_blob: NZU64!(128),
            page_cache,
            write_buffer: NZUsize!(4096),
            replay_buffer: NZUsize!(4096),
        },
        grafted_metadata_partition: "grafted".into(),
        translator: EightCap,
        init_cache: Some(NZUsize!(1024)),
        init_buffer: NZUsize!(1 << 20),
        init_concurrency: (),
    }
}

/// A path and a claim that own what they say, in core's terms.
#[derive(Clone)]
struct Owned {
    location: u64,
    chunk: [u8; 32],
    inactive_peaks: u8,
    partial: Option<[u8; 32]>,
    digests: Vec<[u8; 32]>,
    claim: OwnedClaim,
}

#[derive(Clone)]
enum OwnedClaim {
    Present([u8; ROW_BYTES], [u8; 32]),
    Between([u8; 32], [u8; ROW_BYTES], [u8; 32]),
    Empty(Option<[u8; ROW_BYTES]>),
}

fn row_bytes(row: &Row) -> [u8; ROW_BYTES] {
    row.as_ref().try_into().unwrap()
}

impl Owned {
    fn new(operation: &Operation, claim: OwnedClaim) -> Self {
        let range = &operation.range_proof;
        Self {
            location: *operation.loc,
            chunk: operation.chunk,
            inactive_peaks: u8::try_from(range.proof.inactive_peaks).unwrap(),
            partial: range.partial_chunk_digest.map(|digest| digest.0),
            digests: range.proof.digests.iter().map(|digest| digest.0).collect(),
            claim,
        }
    }

    fn presence(proof: &Presence, row: &Row) -> Self {
        Self::new(
            &proof.proof,
            OwnedClaim::Present(row_bytes(row), proof.next_key.0),
        )
    }

    fn absence(proof: &Absence) -> Self {
        match proof {
            ExclusionProof::KeyValue(operation, update) => Self::new(
                operation,
                OwnedClaim::Between(update.key.0, row_bytes(&update.value), update.next_key.0),
            ),
            ExclusionProof::Commit(operation, metadata) => Self::new(
                operation,
                OwnedClaim::Empty(metadata.as_ref().map(row_bytes)),
            ),
        }
    }

    /// From the wire, as core decoded it.
    fn decoded(proof: &Proof<'_>) -> Self {
        let path = proof.path();
        Self {
            location: path.location,
            chunk: path.chunk,
            inactive_peaks: path.inactive_peaks,
            partial: path.partial,
            digests: path.digests.to_vec(),
            claim: match *proof.claim() {
                Claim::Present { row, next_key } => OwnedClaim::Present(*row, next_key.to_bytes()),
                Claim::Between { key, row, next_key } => {
                    OwnedClaim::Between(key.to_bytes(), *row, next_key.to_bytes())
                }
                Claim::Empty { metadata } => OwnedClaim::Empty(metadata.copied()),
            },
        }
    }

    fn path(&self) -> Path<'_> {
        Path {
            location: self.location,
            chunk: self.chunk,
            inactive_peaks: self.inactive_peaks,
            partial: self.partial,
            digests: &self.digests,
        }
    }

    fn claim(&self) -> Claim<'_> {
        match &self.claim {
            OwnedClaim::Present(row, next_key) => Claim::Present {
                row,
                next_key: StateKey::new(*next_key),
            },
            OwnedClaim::Between(key, row, next_key) => Claim::Between {
                key: StateKey::new(*key),
                row,
                next_key: StateKey::new(*next_key),
            },
            OwnedClaim::Empty(metadata) => Claim::Empty {
                metadata: metadata.as_ref(),
            },
        }
    }

    fn encode(&self, checkpoint: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        proof::encode(checkpoint, &self.path(), &self.claim(), &mut bytes).unwrap();
        bytes
    }

    /// What core says.
    fn core(&self, view: &View, wanted: &[u8; 32]) -> bool {
        let log = Log {
            leaves: view.leaves,
            ops_root: &view.ops_root,
        };
        self.claim()
            .check(&self.path(), log, &view.root, &StateKey::new(*wanted))
            .is_ok()
    }

    /// What the engine says.
    fn engine(&self, view: &View, wanted: &[u8; 32]) -> bool {
        let operation = Operation {
            loc: Location::new(self.location),
            chunk: self.chunk,
            range_proof: RangeProof {
                proof: TreeProof {
                    leaves: Location::new(view.leaves),
                    inactive_peaks: usize::from(self.inactive_peaks),
                    digests: self.digests.iter().copied().map(Digest::from).collect(),
                },
                pending_chunk_digest: Unused,
                partial_chunk_digest: self.partial.map(Digest::from),
                ops_root: Digest::from(view.ops_root),
            },
        };
        let root = Digest::from(view.root);
        let wanted = Digest::from(*wanted);
        match &self.claim {
            OwnedClaim::Present(row, next_key) => Presence {
                proof: operation,
                next_key: Digest::from(*next_key),
            }
            .verify::<Sha256, FixedEncoding<Row>>(wanted, Row::new(*row), &root),
            OwnedClaim::Between(key, row, next_key) => Absence::KeyValue(
                operation,
                Update {
                    key: Digest::from(*key),
                    value: Row::new(*row),
                    next_key: Digest::from(*next_key),
                },
            )
            .verify::<Sha256>(&wanted, &root),
            OwnedClaim::Empty(metadata) => {
                Absence::Commit(operation, metadata.map(Row::new)).verify::<Sha256>(&wanted, &root)
            }
        }
    }

    /// One alteration of the structure.
    fn alter(&self, random: &mut Random) -> Self {
        let mut other = self.clone();
        let count = other.digests.len();
        match random.below(14) {
            0 => other.location = other.location.wrapping_add(1),
            1 => other.location = other.location.wrapping_sub(1),
            2 => other.location ^= 1 << random.below(64),
            3 => other.inactive_peaks = other.inactive_peaks.wrapping_add(1),
            4 => other.inactive_peaks = random.below(256) as u8,
            5 => other.partial = other.partial.is_none().then(|| random.bytes()),
            6 => other.chunk[random.below(32)] ^= 1 << random.below(8),
            7 => other.digests.truncate(count.saturating_sub(1)),
            8 => other.digests.push(random.bytes()),
            9 if count > 0 => other.digests.push(other.digests[random.below(count)]),
            10 if count > 1 => other.digests.reverse(),
            11 if count > 1 => {
                let (a, b) = (random.below(count), random.below(count));
                other.digests.swap(a, b);
            }
            12 if count > 0 => {
                other.digests.remove(random.below(count));
            }
            _ => match &mut other.claim {
                OwnedClaim::Present(row, next_key) => {
                    row[random.below(ROW_BYTES)] ^= 1 << random.below(8);
                    if random.below(2) == 0 {
                        *next_key = random.bytes();
                    }
                }
                OwnedClaim::Between(key, _, next_key) => {
                    if random.below(2) == 0 {
                        std::mem::swap(key, next_key);
                    } else {
                        other.claim = OwnedClaim::Empty(None);
                    }
                }
                OwnedClaim::Empty(metadata) => {
                    *metadata = metadata.is_none().then_some([0; ROW_BYTES]);
                }
            },
        }
        other
    }
}

/// What a header says of a state.
#[derive(Clone, Copy)]
struct View {
    leaves: u64,
    ops_root: [u8; 32],
    root: [u8; 32],
}

impl View {
    fn of(db: &Database) -> Self {
        Self {
            leaves: *db.bounds().end,
            ops_root: db.ops_root().0,
            root: db.root().0,
        }
    }
}

/// How one database lives.
struct Life {
    seed: u64,
    /// States to make.
    states: usize,
    /// Keys to write before the first state is looked at.
    stock: usize,
    /// The most writes of a commit.
    writes: usize,
    /// How many of ten writes delete, by the half of life.
    deletions: [usize; 2],
    /// The most different keys, if they come from a small pool.
    pool: Option<usize>,
    /// Prune every so many commits.
    prune_every: Option<usize>,
    /// How many altered forms of each proof are compared.
    alterations: usize,
}

#[derive(Default)]
struct Tally {
    states: usize,
    present: usize,
    between: usize,
    empty: usize,
    altered: usize,
    at_border: usize,
    pruned: usize,
}

async fn live(context: deterministic::Context, ledger: &Ledger, life: &Life, tally: &mut Tally) {
    let random = &mut Random(life.seed);
    let mut db = Database::init(context.child("db"), config(), None)
        .await
        .unwrap();
    let mut keys: Vec<Digest> = Vec::new();
    let pool: Option<Vec<Digest>> = life
        .pool
        .map(|count| (0..count).map(|_| Digest::from(random.bytes())).collect());

    if life.stock > 0 {
        let mut batch = db.new_batch();
        for _ in 0..life.stock {
            let key = Digest::from(random.bytes());
            keys.push(key);
            batch = batch.write(key, Some(Row::new(random.bytes())));
        }
        let batch = batch.merkleize(&db, None, &mut Proportional).await.unwrap();
        db = db.apply_batch(batch).await.unwrap();
    }

    for state in 0..life.states {
        examine(&db, ledger, &keys, random, life, tally).await;

        let mut batch = db.new_batch();
        for _ in 0..random.below(life.writes + 1) {
            let deletions = life.deletions[usize::from(2 * state >= life.states)];
            if random.below(10) < deletions && !keys.is_empty() {
                let key = keys.swap_remove(random.below(keys.len()));
                batch = batch.write(key, None);
                continue;
            }
            let key = match &pool {
                Some(pool) => pool[random.below(pool.len())],
                None if !keys.is_empty() && random.below(2) == 0 => keys[random.below(keys.len())],
                None => Digest::from(random.bytes()),
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
            batch = batch.write(key, Some(Row::new(random.bytes())));
        }
        let metadata = (random.below(3) == 0).then(|| Row::new(random.bytes()));
        let batch = batch
            .merkleize(&db, metadata, &mut Proportional)
            .await
            .unwrap();
        db = db.apply_batch(batch).await.unwrap();
        if life.prune_every.is_some_and(|every| state % every == 0) {
            let boundary = db.sync_boundary();
            db = db.prune(boundary).await.unwrap();
            tally.pruned += usize::from(*boundary > 0);
        }
    }
    db.destroy().await.unwrap();
}

/// One state: a present key and an absent one.
async fn examine(
    db: &Database,
    ledger: &Ledger,
    keys: &[Digest],
    random: &mut Random,
    life: &Life,
    tally: &mut Tally,
) {
    let view = View::of(db);
    tally.states += 1;
    tally.at_border += usize::from(view.leaves % 256 <= 1 || view.leaves % 256 == 255);

    if !keys.is_empty() {
        let key = keys[random.below(keys.len())];
        let row = db.get(&key).await.unwrap().unwrap();
        let proof = db.key_value_proof(key).await.unwrap();
        assert!(proof.verify::<Sha256, FixedEncoding<Row>>(key, row.clone(), &db.root()));
        tally.present += 1;
        compare(
            &Owned::presence(&proof, &row),
            &key.0,
            &view,
            ledger,
            random,
            life,
            tally,
        );
    }
    let absent: [u8; 32] = random.bytes();
    let proof = db.exclusion_proof(&Digest::from(absent)).await.unwrap();
    assert!(proof.verify::<Sha256>(&Digest::from(absent), &db.root()));
    match proof {
        ExclusionProof::KeyValue(..) => tally.between += 1,
        ExclusionProof::Commit(..) => tally.empty += 1,
    }
    compare(
        &Owned::absence(&proof),
        &absent,
        &view,
        ledger,
        random,
        life,
        tally,
    );
}

fn compare(
    proof: &Owned,
    wanted: &[u8; 32],
    view: &View,
    ledger: &Ledger,
    random: &mut Random,
    life: &Life,
    tally: &mut Tally,
) {
    assert!(
        proof.core(view, wanted),
        "core refuses what the engine proved"
    );
    assert!(proof.engine(view, wanted), "the translation is wrong");

    // The whole way now and then, and every bit of one proof: form, checkpoint, path.
    let whole = tally.states % 64 == 1;
    if whole {
        let header = ledger.header(tally.states as u64, view.root, view.ops_root, view.leaves);
        let certified = ledger.certify(&header, &[0]);
        let mut bytes = Vec::new();
        checkpoint(&[header], &certified)
            .encode(&mut bytes)
            .unwrap();
        let start = 2 + bytes.len();
        let mut bytes = proof.encode(&bytes);
        let (anchor, set, key) = (ledger.anchor(), ledger.set(), StateKey::new(*wanted));
        let checked = Proof::decode(&bytes)
            .unwrap()
            .check(&anchor, &set, &key)
            .unwrap();
        let present = matches!(proof.claim, OwnedClaim::Present(..));
        assert_eq!(checked.row().is_some(), present);

        if tally.states % 1024 == 1 {
            for bit in start * 8..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                if let Ok(decoded) = Proof::decode(&bytes) {
                    let altered = Owned::decoded(&decoded);
                    assert!(!altered.core(view, wanted), "bit {bit} is not covered");
                    assert!(
                        !altered.engine(view, wanted),
                        "bit {bit}: the engine accepts"
                    );
                    tally.altered += 1;
                }
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    for _ in 0..life.alterations {
        let altered = proof.alter(random);
        let (core, engine) = (altered.core(view, wanted), altered.engine(view, wanted));
        assert_eq!(core, engine, "core says {core}, the engine {engine}");
        // Other facts around the same proof.
        let mut other = *view;
        match random.below(4) {
            0 => other.leaves = other.leaves.wrapping_add(1).min(1 << 62),
            1 => other.leaves -= 1,
            2 => other.ops_root[random.below(32)] ^= 1,
            _ => other.root[random.below(32)] ^= 1,
        }
        assert_eq!(proof.core(&other, wanted), proof.engine(&other, wanted));
        let mut key = *wanted;
        if random.below(2) == 0 {
            key = random.bytes();
        } else if let OwnedClaim::Between(before, _, after) = &proof.claim {
            key = *[before, after][random.below(2)];
        }
        assert_eq!(proof.core(view, &key), proof.engine(view, &key));
        tally.altered += 3;
    }
}

fn run(lives: &[Life]) -> Tally {
    let ledger = Ledger::new(1);
    let mut tally = Tally::default();
    for life in lives {
        println!("seed {}", life.seed);
        deterministic::Runner::seeded(life.seed).start(|context| {
            let (ledger, tally) = (&ledger, &mut tally);
            async move { live(context, ledger, life, tally).await }
        });
    }
    tally
}

const LIFE: Life = Life {
    seed: 0,
    states: 1000,
    stock: 0,
    writes: 2,
    deletions: [2, 6],
    pool: None,
    prune_every: None,
    alterations: 4,
};

#[test]
fn ten_thousand_states_are_judged_alike() {
    let tally = run(&[
        // Grows from nothing over the first borders of chunks, an operation or two at a time, and shrinks to nothing.
        Life {
            seed: 1,
            states: 2000,
            writes: 1,
            ..LIFE
        },
        Life {
            seed: 2,
            states: 2000,
            ..LIFE
        },
        // Mostly empty: absence in an empty ledger.
        Life {
            seed: 3,
            states: 1000,
            writes: 1,
            deletions: [5, 7],
            pool: Some(2),
            ..LIFE
        },
        // One key, written again and again.
        Life {
            seed: 4,
            states: 1000,
            writes: 1,
            deletions: [0, 0],
            pool: Some(1),
            ..LIFE
        },
        // A few keys, with pruning.
        Life {
            seed: 5,
            states: 2000,
            writes: 8,
            pool: Some(40),
            prune_every: Some(50),
            ..LIFE
        },
        // Grows and shrinks by larger steps, with pruning.
        Life {
            seed: 6,
            states: 1000,
            writes: 30,
            deletions: [1, 7],
            prune_every: Some(100),
            ..LIFE
        },
        // Thousands of keys.
        Life {
            seed: 7,
            states: 1000,
            stock: 5000,
            ..LIFE
        },
        Life {
            seed: 8,
            states: 500,
            stock: 3000,
            writes: 20,
            prune_every: Some(20),
            ..LIFE
        },
    ]);
    assert!(tally.states >= 10_000, "only {} states", tally.states);
    assert!(tally.present >= 5_000 && tally.between >= 5_000 && tally.empty >= 100);
    assert!(tally.at_border >= 50 && tally.pruned >= 10 && tally.altered >= 100_000);
    println!(
        "{} states, {} present, {} between, {} empty, {} altered, {} at a chunk's border, {} prunings",
        tally.states,
        tally.present,
        tally.between,
        tally.empty,
        tally.altered,
        tally.at_border,
        tally.pruned
    );
}

/// The size of a whole proof with one validator stays below the 1.4 KB that are promised.
#[test]
fn proofs_are_small() {
    let ledger = Ledger::new(1);
    for (count, seed) in [(1_000, 21), (100_000, 22)] {
        deterministic::Runner::seeded(seed).start(|context| {
            let ledger = &ledger;
            async move {
                let random = &mut Random(seed);
                let mut db = Database::init(context.child("db"), config(), None)
                    .await
                    .unwrap();
                let keys: Vec<Digest> = (0..count).map(|_| Digest::from(random.bytes())).collect();
                for batch_keys in keys.chunks(4096) {
                    let mut batch = db.new_batch();
                    for key in batch_keys {
                        batch = batch.write(*key, Some(Row::new(random.bytes())));
                    }
                    let batch = batch.merkleize(&db, None, &mut Proportional).await.unwrap();
                    db = db.apply_batch(batch).await.unwrap();
                }
                let view = View::of(&db);
                let header = ledger.header(1, view.root, view.ops_root, view.leaves);
                let mut bytes = Vec::new();
                let certified = ledger.certify(&header, &[0]);
                checkpoint(&[header], &certified).encode(&mut bytes).unwrap();
                let (anchor, set) = (ledger.anchor(), ledger.set());
                let (mut least, mut most) = (usize::MAX, 0);
                let (mut ours, mut engines) = (0, 0);
                let mut proofs = Vec::new();
                for _ in 0..500 {
                    let key = keys[random.below(keys.len())];
                    let row = db.get(&key).await.unwrap().unwrap();
                    let proof = db.key_value_proof(key).await.unwrap();
                    // The engine's own encodings around the same header and row.
                    engines += certified.encode_size()
                        + header.encoded_len()
                        + proof.encode_size()
                        + ROW_BYTES;
                    let proof = Owned::presence(&proof, &row).encode(&bytes);
                    ours += proof.len();
                    least = least.min(proof.len());
                    most = most.max(proof.len());
                    proofs.push((StateKey::new(key.0), proof));
                }
                let start = std::time::Instant::now();
                for (key, proof) in &proofs {
                    let proof = Proof::decode(proof).unwrap();
                    assert!(proof.check(&anchor, &set, key).is_ok());
                }
                println!(
                    "{count} keys: {} operations, proofs of {least} to {most} bytes, mean {}, in the engine's encoding {}, checked in {:?} each",
                    view.leaves,
                    ours / 500,
                    engines / 500,
                    start.elapsed() / 500
                );
                assert!(most <= 1_400);
                db.destroy().await.unwrap();
            }
        });
    }
}
