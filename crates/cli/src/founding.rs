//! Founding a ledger on one machine: its keys, its genesis document, its directory, in an order that survives a crash.
//!
//! ```text
//! DATA/keys/{officer,recovery,writer}.key   made first; an interrupted founding finds and uses them
//! DATA/chain                                the chain ID, once there is one
//! DATA/node/                                the node's own directory (kusabi-node)
//! DATA/profile.toml                         how commands reach this ledger
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use kusabi_core::{
    genesis::{GenesisParts, NodeParts},
    id::{ChainId, Epoch, OrgName},
    set::{EpochSetParts, OrganisationParts, recovery_set},
    suite::{Purpose, Suite, VerificationKey},
    tx::{Action, Draft},
};
use kusabi_node::{
    directory::{Directory, DirectoryError, NodeKey, VoteKey},
    outline::Outline,
};
use rand_core::CryptoRng;

use crate::{
    entry::entry,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::{KeyFile, underivable},
    verb::node::directory_failure,
};

/// Rows that the founder's organisation may have; a disk is full long before.
const QUOTA: u64 = 1 << 40;

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
    let officer = key(places, Purpose::Officer, rng)?;
    let recovery = key(places, Purpose::Recovery, rng)?;
    key(places, Purpose::Writer, rng)?;
    let vote_key = VoteKey::new(seed(rng));
    let node_key = NodeKey::new(seed(rng));

    let document = document(plan, &officer, &recovery, &vote_key, &node_key)?;
    let chain = ChainId::of(&document);
    let action = Action::Genesis {
        document: document.clone(),
        // The document cannot hold its own hash, so its entries are bound to none (spec/identity.md).
        entries: vec![entry(&officer, &ChainId::ZERO, &plan.org.id())?],
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
fn key(places: &Places, purpose: Purpose, rng: &mut impl CryptoRng) -> Result<KeyFile> {
    let path = places.key(purpose);
    // The owner moves these files away: no copy may stay behind under another name.
    files::sweep(&path);
    if path.exists() {
        return KeyFile::read(&path);
    }
    let key = KeyFile::generate(purpose, Suite::Curve25519, rng).map_err(underivable)?;
    key.create(&path)?;
    Ok(key)
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
