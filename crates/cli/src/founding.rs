//! Founding a ledger on one machine: its keys, its genesis document, its directory, in an order that survives a crash. And
//! the directory of an organisation that founds one with others, which has the same places.
//!
//! ```text
//! DATA/keys/{officer,recovery,writer}.key   made first; an interrupted founding finds and uses them
//! DATA/keys/officer-<n>.key                 of an organisation with several officers, from 1
//! DATA/<organisation>.member                what it sends to those with whom it founds a ledger
//! DATA/chain                                the chain ID, once there is one
//! DATA/node/                                the node's own directory (kusabi-node)
//! DATA/profile.toml                         how commands reach this ledger
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use kusabi_core::{
    genesis::GenesisParts,
    id::{ChainId, Epoch, OrgName},
    nodes::NodeParts,
    set::{EpochSetParts, OrganisationParts, recovery_set},
    suite::{Purpose, Suite, VerificationKey},
    tx::{Action, Draft},
};
use kusabi_node::{
    directory::{Directory, DirectoryError, NodeKey, VoteKey},
    outline::Outline,
    prepared::Prepared,
};
use rand_core::CryptoRng;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::{KeyFile, underivable},
    member::{self, Own, founding_entry},
    proposal::Proposal,
    verb::{genesis::check_own, node::directory_failure},
};

/// Rows that a founder's organisation may have; a disk is full long before.
pub(crate) const QUOTA: u64 = 1 << 40;

/// The places in a data directory.
pub(crate) struct Places {
    root: PathBuf,
}

impl Places {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.root.join("chain")
    }

    pub(crate) fn profile(&self) -> PathBuf {
        self.root.join("profile.toml")
    }

    pub(crate) fn key(&self, purpose: Purpose) -> PathBuf {
        self.root.join("keys").join(format!("{purpose}.key"))
    }

    /// Where the keys of so many officers are made.
    pub(crate) fn new_officer_keys(&self, count: u8) -> Vec<PathBuf> {
        match count {
            1 => vec![self.key(Purpose::Officer)],
            count => (1..=count).map(|n| self.officer_key(n)).collect(),
        }
    }

    fn officer_key(&self, n: u8) -> PathBuf {
        self.root.join("keys").join(format!("officer-{n}.key"))
    }

    /// The officers' keys that are here.
    pub(crate) fn officer_keys(&self) -> Result<Vec<PathBuf>> {
        let one = self.key(Purpose::Officer);
        // More than there can be, so that none is overlooked.
        let several = (1..=u8::MAX).map(|n| self.officer_key(n));
        let mut found = Vec::new();
        for path in std::iter::once(one).chain(several) {
            match path.try_exists() {
                Ok(true) => found.push(path),
                Ok(false) => {}
                Err(error) => return Err(Failure::io("read", &path, &error)),
            }
        }
        Ok(found)
    }

    /// The chain that this directory was made for, if that was written down.
    pub(crate) fn noted_chain(&self) -> Result<Option<ChainId>> {
        let path = self.chain();
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&path, 1_024)?;
        let noted = String::from_utf8_lossy(&bytes);
        noted.trim_end().parse().map(Some).map_err(|why| {
            Failure::new(Exit::Damaged, format!("{}: {why}", path.display())).advise(
                "it holds the chain ID and nothing else: write it again, or remove the file",
            )
        })
    }

    /// Writes down which chain this directory is for, unless it is there already.
    pub(crate) fn note_chain(&self, chain: &ChainId) -> Result<()> {
        if self.chain().exists() {
            return Ok(());
        }
        files::create(&self.chain(), format!("{chain}\n").as_bytes(), Mode::Public)
    }
}

/// Makes the node's directory of an organisation that founds a ledger with others, from the keys that wait there for the
/// finished genesis in `file`.
pub(crate) fn join(
    places: &Places,
    file: &Path,
    expected: Option<&ChainId>,
    rng: &mut impl CryptoRng,
) -> Result<Directory> {
    let own = Own::open(places)?;
    let proposal = Proposal::read(file)?;
    let chain = proposal.chain();
    if let Some(expected) = expected.filter(|expected| **expected != chain) {
        return Err(Failure::new(
            Exit::OtherChain,
            format!(
                "{} is the genesis of {chain}, not of {expected}",
                file.display()
            ),
        ));
    }
    check_own(&own.member, &proposal, file)?;
    let outline = proposal.founding(file, rng)?;
    let directory = own
        .prepared
        .found(outline)
        .map_err(|why| directory_failure(&why))?;
    places.note_chain(&chain)?;
    Ok(directory)
}

/// What a founder decides.
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    pub(crate) org: OrgName,
    pub(crate) heartbeat_ms: u64,
    pub(crate) now_ms: u64,
}

/// Makes the keys, the genesis document and the node's directory.
pub(crate) fn found(
    places: &Places,
    plan: &Plan<'_>,
    rng: &mut impl CryptoRng,
) -> Result<Directory> {
    refuse_other_content(places)?;
    files::make_folder(&places.root.join("keys"))?;
    let mut key = |purpose| key_at(&places.key(purpose), purpose, Suite::Curve25519, rng);
    let officer = key(Purpose::Officer)?;
    let recovery = key(Purpose::Recovery)?;
    key(Purpose::Writer)?;
    let vote_key = VoteKey::new(seed(rng));
    let node_key = NodeKey::new(seed(rng));

    let document = document(plan, &officer, &recovery, &vote_key, &node_key)?;
    let chain = ChainId::of(&document);
    let action = Action::Genesis {
        document: document.clone(),
        entries: vec![founding_entry(&officer, &plan.org)?],
    };
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Internal,
            format!("no genesis transaction could be made: {why}"),
        )
    };
    let mut draft = Draft::new(chain, action).map_err(|why| wrong(&why))?;
    draft
        .sign(officer.handle(), Purpose::Officer, officer.key())
        .map_err(|why| wrong(&why))?;
    let transaction = draft.finish().map_err(|why| wrong(&why))?;
    let outline = Outline::new(document.into(), transaction.as_bytes().to_vec().into())
        .map_err(|why| wrong(&why))?;
    // A directory that an interrupted founding left half-made has never voted.
    Directory::discard_unfinished(&places.node()).map_err(|why| match &why {
        DirectoryError::NotEmpty(path) => holds_no_ledger(path),
        why => directory_failure(why),
    })?;
    let directory = Directory::create(&places.node(), outline, &vote_key, &node_key)
        .map_err(|why| directory_failure(&why))?;
    places.note_chain(&chain)?;
    Ok(directory)
}

fn holds_no_ledger(path: &Path) -> Failure {
    Failure::new(
        Exit::File,
        format!("{} holds no ledger and is not empty", path.display()),
    )
    .advise("name a new directory")
}

fn document(
    plan: &Plan<'_>,
    officer: &KeyFile,
    recovery: &KeyFile,
    vote_key: &VoteKey,
    node_key: &NodeKey,
) -> Result<Vec<u8>> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Usage,
            format!("no genesis document could be made: {why}"),
        )
        .advise("a ledger's name has 1 to 64 bytes, a heartbeat 1 s to 1 h")
    };
    let set = EpochSetParts {
        epoch: Epoch::ZERO,
        organisations: vec![OrganisationParts {
            id: plan.org.id(),
            threshold: 1,
            officers: vec![verification_key(officer)?],
            vote_keys: vec![vote_key.public()],
        }],
    }
    .encode()
    .map_err(|why| wrong(&why))?;
    let recovery = recovery_set(1, &[verification_key(recovery)?]).map_err(|why| wrong(&why))?;
    GenesisParts {
        name: plan.name,
        created_ms: plan.now_ms,
        heartbeat_ms: plan.heartbeat_ms,
        epoch_set: &set,
        recovery_set: &recovery,
        organisations: vec![(plan.org, QUOTA)],
        // A lone validator has no peers that would have to find it.
        nodes: vec![NodeParts {
            vote_key: vote_key.public(),
            key: node_key.public(),
            address: "",
        }],
    }
    .encode()
    .map_err(|why| wrong(&why))
}

fn seed(rng: &mut impl CryptoRng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

/// The public signing key of a key file.
pub(crate) fn verification_key(key: &KeyFile) -> Result<VerificationKey> {
    key.public()
        .verification_key()
        .ok_or_else(|| Failure::new(Exit::Internal, "a foreign key has no file"))
}

/// The founder's key of an interrupted founding, or a new one.
pub(crate) fn key_at(
    path: &Path,
    purpose: Purpose,
    suite: Suite,
    rng: &mut impl CryptoRng,
) -> Result<KeyFile> {
    // The owner moves these files away: no copy may stay behind under another name.
    files::sweep(path);
    if path.exists() {
        return KeyFile::read(path);
    }
    let key = KeyFile::generate(purpose, suite, rng).map_err(underivable)?;
    key.create(path)?;
    Ok(key)
}

/// That the keys in a directory wait, and what starts a node with them.
pub(crate) fn waits(places: &Places) -> Result<Failure> {
    let root = places.root.display();
    let join = format!("kusabi node join --data {root} --from URL --chain CHAIN");
    // An organisation that begins; else a node that others are to name in the place of one that was lost.
    let (wait_for, advice) = match member::file_in(&places.root)? {
        Some(_) => (
            "a ledger to be founded with others, or for the others to appoint them",
            format!(
                "name the finished genesis with --genesis FILE, or join a ledger that runs: {join}"
            ),
        ),
        None => (
            "the others to appoint them",
            format!("join the ledger: {join}"),
        ),
    };
    let what = format!("{root} holds keys that wait for {wait_for}");
    Ok(Failure::new(Exit::Usage, what).advise(advice))
}

/// A ledger is founded in an empty directory, or in one where its founding was interrupted.
fn refuse_other_content(places: &Places) -> Result<()> {
    if let Some(chain) = places.noted_chain()? {
        return Err(Failure::new(
            Exit::Damaged,
            format!(
                "{} held the ledger {chain}, and its node directory is gone",
                places.root.display(),
            ),
        )
        .advise("bring the ledger back from a backup: kusabi recover --help"));
    }
    if Prepared::is_at(&places.node()) {
        return Err(waits(places)?);
    }
    files::make_folder(&places.root)?;
    let entries =
        fs::read_dir(&places.root).map_err(|error| Failure::io("read", &places.root, &error))?;
    for entry in entries.filter_map(|entry| entry.ok()) {
        if !["keys", "node"]
            .iter()
            .any(|known| entry.file_name() == *known)
        {
            return Err(Failure::new(
                Exit::File,
                format!(
                    "{} holds no ledger and is not empty: {} is in it",
                    places.root.display(),
                    entry.file_name().display()
                ),
            )
            .advise("name a new directory"));
        }
    }
    Ok(())
}
