//! A ledger in memory with one organisation of one person, for tests of this and other crates.
//!
//! Every key comes from a number, so that a test gives the same bytes each time. **Nothing here is secret**: never use
//! these keys outside of tests.
#![expect(
    clippy::expect_used,
    reason = "a test world that cannot be built is a fault of the test, and panicking is how tests say so"
)]

mod epochs;
mod governance;

use std::convert::Infallible;

use kusabi_core::crypto::sha256;
use kusabi_core::genesis::{Genesis, GenesisParts};
use kusabi_core::id::{
    ChainId, Epoch, Handle, HeaderHash, Height, KusabiId, OrgId, OrgName, SetHash, StateKey,
};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::nodes::NodeParts;
use kusabi_core::row::{ArtPolicy, LedgerRow, Organisation, Record};
use kusabi_core::set::{EpochSetParts, OrganisationParts, recovery_set};
use kusabi_core::suite::{BindingContext, PublicKeys, Purpose, Suite};
use kusabi_core::tx::{Action, Draft, Entry, Named, Transaction};
use rand_core::{TryCryptoRng, TryRng};

use crate::{
    BlockContext, BlockError, MemoryState, Ran, Rejection, State, Verified, Write, claims,
    run_block, verify,
};

/// A generator that gives the same bytes in every test: SHA-256 of a counter.
#[derive(Clone, Debug, Default)]
pub struct SeededRng {
    counter: u64,
}

impl SeededRng {
    /// Starts at a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            counter: seed << 32,
        }
    }
}

impl TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            self.counter += 1;
            let bytes = sha256(&[b"kusabi testing rng", &self.counter.to_be_bytes()]);
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for SeededRng {}

/// A key with its kusabi-ID.
#[derive(Debug)]
pub struct TestKey {
    /// Its kusabi-ID.
    pub id: KusabiId,
    /// Its handle.
    pub handle: Handle,
    /// What it is for.
    pub purpose: Purpose,
    /// Its private half.
    pub key: SoftKey,
}

impl TestKey {
    /// The key of a number, of suite 1.
    #[must_use]
    pub fn new(number: u64, purpose: Purpose) -> Self {
        Self::of_suite(Suite::Curve25519, number, purpose)
    }

    /// The key of a number and suite (1 or 2).
    #[must_use]
    pub fn of_suite(suite: Suite, number: u64, purpose: Purpose) -> Self {
        let seed = seed(b"key", number);
        let id = KusabiId::new(kusabi_core::crypto::first_16(&seed_bytes(b"id", number)));
        Self {
            handle: id.handle(),
            id,
            purpose,
            key: SoftKey::from_seed(suite, &seed).expect("a suite whose keys are derived"),
        }
    }

    /// Its public half.
    #[must_use]
    pub fn public_keys(&self) -> PublicKeys {
        self.key.public_keys()
    }

    /// Its entry, bound to its ID.
    #[must_use]
    pub fn entry(&self, chain: &ChainId, owner: &OrgId) -> Entry {
        let context = BindingContext {
            chain,
            owner,
            purpose: self.purpose,
        };
        let keys = self.public_keys();
        let binding = keys.bind(&self.id, &context);
        Entry::new(self.handle, self.purpose, keys, binding, None).expect("a native entry")
    }
}

fn seed_bytes(kind: &[u8], number: u64) -> [u8; 32] {
    sha256(&[b"kusabi testing ", kind, &number.to_be_bytes()])
}

fn seed(kind: &[u8], number: u64) -> Seed {
    Seed::new(seed_bytes(kind, number))
}

/// Number of the founder's officer key.
pub const OFFICER: u64 = 1;
/// Numbers of the other founders' officer keys begin here.
const OTHER_OFFICERS: u64 = 1 << 32;
/// Number of the founder's writer key.
pub const WRITER: u64 = 2;

/// An organisation beside "cameras".
#[derive(Debug)]
pub struct Other {
    /// Its name.
    pub name: OrgName,
    /// Its officer.
    pub officer: TestKey,
    /// Seed of its validator's vote key.
    pub vote_seed: [u8; 32],
    /// Seed of its node key.
    pub node_seed: [u8; 32],
}

impl Other {
    fn new(number: u64) -> Self {
        Self {
            name: OrgName::new(&format!("member-{number}")).expect("a name"),
            officer: TestKey::new(OTHER_OFFICERS + number, Purpose::Officer),
            vote_seed: seed_bytes(b"vote", number),
            node_seed: seed_bytes(b"node", number),
        }
    }
}

/// A ledger of one organisation, "cameras", with one officer, or of several, and its state in memory.
#[derive(Debug)]
pub struct World {
    /// The genesis document.
    pub document: Vec<u8>,
    /// The chain.
    pub chain: ChainId,
    /// The organisation.
    pub org: OrgId,
    /// Its officer.
    pub officer: TestKey,
    /// Its writer; on the ledger once [`World::open`] has granted it.
    pub writer: TestKey,
    /// The one recovery key.
    pub recovery: SoftKey,
    /// Seed of the one validator's vote key.
    pub vote_seed: [u8; 32],
    /// Seed of its node key.
    pub node_seed: [u8; 32],
    /// The other organisations' officers and seeds of vote and node key: each has one officer and one validator.
    pub others: Vec<Other>,
    /// All rows.
    pub state: MemoryState,
    /// Height of the last block.
    pub height: Height,
    /// Time of the next block, in milliseconds since 1970; a test that wants it to pass moves it.
    pub time_ms: u64,
    rng: SeededRng,
}

impl World {
    /// A chain with no block yet.
    #[must_use]
    pub fn new(quota: u64) -> Self {
        Self::of(quota, 1)
    }

    /// A chain of `organisations`, with a validator each, with no block yet.
    #[must_use]
    pub fn of(quota: u64, organisations: u64) -> Self {
        let others: Vec<_> = (1..organisations).map(Other::new).collect();
        let name = OrgName::new("cameras").expect("a name");
        let officer = TestKey::new(OFFICER, Purpose::Officer);
        let recovery = SoftKey::from_seed(Suite::Curve25519, &seed(b"recovery", 0))
            .expect("a suite whose keys are derived");
        let vote_seed = seed_bytes(b"vote", 0);
        let node_seed = seed_bytes(b"node", 0);
        let verification_key =
            |key: &SoftKey| key.public_keys().verification_key().expect("a native key");
        let epoch_set = epoch_set(0, &officer, &vote_seed, &others);
        let node = |vote_seed, node_seed| NodeParts {
            vote_key: ed25519_public(vote_seed),
            key: ed25519_public(node_seed),
            address: "",
        };
        let of_others = others.iter().map(|o| node(&o.vote_seed, &o.node_seed));
        let nodes = [node(&vote_seed, &node_seed)].into_iter().chain(of_others);
        let document = GenesisParts {
            name: "test ledger",
            created_ms: 1_750_000_000_000,
            heartbeat_ms: 60_000,
            epoch_set: &epoch_set,
            recovery_set: &recovery_set(1, &[verification_key(&recovery)]).expect("a recovery set"),
            organisations: [name]
                .into_iter()
                .chain(others.iter().map(|other| other.name))
                .map(|name| (name, quota))
                .collect(),
            nodes: nodes.collect(),
        }
        .encode()
        .expect("a genesis document");
        Self {
            chain: ChainId::of(&document),
            document,
            org: name.id(),
            officer,
            writer: TestKey::new(WRITER, Purpose::Writer),
            recovery,
            vote_seed,
            node_seed,
            others,
            state: MemoryState::default(),
            height: Height::ZERO,
            time_ms: 1_750_000_000_000,
            rng: SeededRng::default(),
        }
    }

    /// A founded ledger (height 1) with the writer granted (height 2).
    #[must_use]
    pub fn open() -> Self {
        Self::open_of(1)
    }

    /// The same of several organisations.
    #[must_use]
    pub fn open_of(organisations: u64) -> Self {
        let mut world = Self::of(1 << 40, organisations);
        let genesis = world.genesis();
        world.block(vec![genesis]).expect("the genesis block");
        let writer = TestKey::new(WRITER, Purpose::Writer);
        let grant = world.grant(&writer);
        world.submit(grant).expect("the writer's grant");
        world
    }

    /// The genesis transaction.
    #[must_use]
    pub fn genesis(&self) -> Transaction {
        let others = self
            .others
            .iter()
            .map(|other| (other.name.id(), &other.officer));
        let mut officers: Vec<_> = [(self.org, &self.officer)]
            .into_iter()
            .chain(others)
            .collect();
        officers.sort_by_key(|(org, _)| *org);
        let action = Action::Genesis {
            document: self.document.clone(),
            // spec: bindings of the genesis entries cover a zero chain.
            entries: officers
                .iter()
                .map(|(org, officer)| officer.entry(&ChainId::ZERO, org))
                .collect(),
        };
        let signers: Vec<_> = officers.into_iter().map(|(_, officer)| officer).collect();
        self.sign(action, &signers)
    }

    /// The grant of a role by the officer, for the organisation as it stands.
    #[must_use]
    pub fn grant(&self, key: &TestKey) -> Transaction {
        let action = Action::Grant {
            org: self.org,
            org_version: self.organisation().version,
            entry: Box::new(self.entry(key)),
        };
        self.sign(action, &[&self.officer])
    }

    /// The registration of keys by the writer.
    #[must_use]
    pub fn register(&self, keys: &[&TestKey]) -> Transaction {
        let action = Action::Register {
            org: self.org,
            entries: keys.iter().map(|key| self.entry(key)).collect(),
        };
        self.sign(action, &[&self.writer])
    }

    /// A key's entry for this chain and organisation.
    #[must_use]
    pub fn entry(&self, key: &TestKey) -> Entry {
        key.entry(&self.chain, &self.org)
    }

    /// A transaction with these signatures. Where the action says how many keys sign, it says so many.
    #[must_use]
    pub fn sign(&self, mut action: Action, signers: &[&TestKey]) -> Transaction {
        if let Action::Revoke { signers: count, .. } | Action::ArtPolicy { signers: count, .. } =
            &mut action
        {
            *count = u8::try_from(signers.len().max(1)).expect("a few signers");
        }
        let mut draft = Draft::new(self.chain, action).expect("a well-formed action");
        for signer in signers {
            draft
                .sign(signer.handle, signer.purpose, &signer.key)
                .expect("a key in memory signs");
        }
        draft.finish().expect("a well-formed transaction")
    }

    /// The block that would follow.
    #[must_use]
    pub fn context(&self) -> BlockContext {
        let row = self.ledger();
        let set_hash = |row: LedgerRow| row.set_hash;
        BlockContext {
            chain: self.chain,
            height: self.height.next().expect("a test is short"),
            epoch: row.map_or(Epoch::ZERO, |row| row.epoch),
            set_hash: row.map_or_else(|| self.genesis_set_hash(), set_hash),
            skipped: row.map_or(Height::ZERO, |row| row.skipped),
            parent_height: self.height,
            parent: HeaderHash::new(sha256(&[b"header", &self.height.get().to_be_bytes()])),
            time_ms: self.time_ms,
            position: 0,
        }
    }

    /// Verifies a transaction against the state.
    ///
    /// # Errors
    /// Those of [`claims`] and [`verify`].
    pub fn verified(&mut self, transaction: Transaction) -> Result<Verified, Rejection> {
        let claims = claims(transaction, &self.chain, &self.state)?;
        verify(vec![claims], &mut self.rng)
            .pop()
            .unwrap_or(Err(Rejection::BadSignature))
    }

    /// Makes the next block of these transactions and writes it.
    ///
    /// # Errors
    /// The first rule broken; nothing has changed then.
    pub fn block(&mut self, transactions: Vec<Transaction>) -> Result<Vec<Write>, BlockError> {
        let context = self.context();
        self.block_in(transactions, context)
    }

    /// The same with a header of the caller's.
    ///
    /// # Errors
    /// The first rule broken; nothing has changed then.
    pub fn block_in(
        &mut self,
        transactions: Vec<Transaction>,
        context: BlockContext,
    ) -> Result<Vec<Write>, BlockError> {
        self.run_in(transactions, context).map(|ran| ran.writes)
    }

    /// The same, with all that a block does.
    ///
    /// # Errors
    /// The first rule broken; nothing has changed then.
    pub fn run_in(
        &mut self,
        transactions: Vec<Transaction>,
        context: BlockContext,
    ) -> Result<Ran, BlockError> {
        let ran = run_block(transactions, context, &self.state, &mut self.rng)?;
        self.state.write(&ran.writes);
        self.height = context.height;
        Ok(ran)
    }

    /// Makes the next block of one transaction.
    ///
    /// # Errors
    /// Why the transaction is refused; nothing has changed then.
    pub fn submit(&mut self, transaction: Transaction) -> Result<Vec<Write>, Rejection> {
        self.block(vec![transaction]).map_err(|error| match error {
            BlockError::Transaction { rejection, .. } => rejection,
            other => unreachable!("the block itself is in order: {other}"),
        })
    }

    /// The record under a handle.
    #[must_use]
    pub fn record(&self, handle: &Handle) -> Option<Record> {
        let row = self.state.row(&StateKey::record(handle))?;
        Some(Record::decode_own(&row).expect("a row of this state"))
    }

    /// A record as it stands, named.
    #[must_use]
    pub fn named(&self, key: &TestKey) -> Named {
        Named {
            handle: key.handle,
            version: self
                .record(&key.handle)
                .map_or(1, |record| record.version()),
        }
    }

    /// The organisation's row; the ledger must be founded.
    #[must_use]
    pub fn organisation(&self) -> Organisation {
        let row = self.state.row(&StateKey::organisation(&self.org));
        Organisation::decode(&row.expect("a founded ledger")).expect("a row of this state")
    }

    /// The organisation's art policy.
    #[must_use]
    pub fn policy(&self) -> Option<ArtPolicy> {
        self.policy_of(&self.org)
    }

    /// Another one's.
    #[must_use]
    pub fn policy_of(&self, org: &OrgId) -> Option<ArtPolicy> {
        let row = self.state.row(&StateKey::art_policy(org))?;
        Some(ArtPolicy::decode(&row).expect("a row of this state"))
    }

    /// The ledger's own row.
    #[must_use]
    pub fn ledger(&self) -> Option<LedgerRow> {
        let row = self.state.row(&StateKey::ledger())?;
        Some(LedgerRow::decode(&row).expect("a row of this state"))
    }

    /// Bytes of the same validator set for another epoch.
    #[must_use]
    pub fn epoch_set(&self, epoch: u64) -> Vec<u8> {
        epoch_set(epoch, &self.officer, &self.vote_seed, &self.others)
    }

    fn genesis_set_hash(&self) -> SetHash {
        let genesis = Genesis::decode(&self.document).expect("the document that was made above");
        genesis.epoch_set().hash()
    }
}

fn ed25519_public(seed: &[u8; 32]) -> [u8; 32] {
    let key = ed25519_zebra::SigningKey::from(*seed);
    ed25519_zebra::VerificationKeyBytes::from(&key).into()
}

/// An organisation of one officer, with one validator or none.
fn organisation(
    name: OrgName,
    officer: &TestKey,
    vote_seed: Option<[u8; 32]>,
) -> OrganisationParts {
    OrganisationParts {
        id: name.id(),
        threshold: 1,
        officers: vec![
            officer
                .public_keys()
                .verification_key()
                .expect("a native key"),
        ],
        vote_keys: vote_seed.iter().map(ed25519_public).collect(),
    }
}

fn epoch_set(epoch: u64, officer: &TestKey, vote_seed: &[u8; 32], others: &[Other]) -> Vec<u8> {
    let cameras = OrgName::new("cameras").expect("a name");
    let others = others
        .iter()
        .map(|other| organisation(other.name, &other.officer, Some(other.vote_seed)));
    EpochSetParts {
        epoch: Epoch::new(epoch),
        organisations: [organisation(cameras, officer, Some(*vote_seed))]
            .into_iter()
            .chain(others)
            .collect(),
    }
    .encode()
    .expect("an epoch set")
}
