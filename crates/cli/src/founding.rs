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
    genesis::GenesisParts,
    id::{ChainId, Epoch, OrgName},
    set::{EpochSetParts, OrganisationParts, recovery_set},
    suite::{Purpose, Suite, VerificationKey},
    tx::{Action, Draft},
};
use kusabi_node::{
    directory::{Directory, VoteKey},
    outline::Outline,
};
use rand_core::CryptoRng;

use crate::{
    entry::entry,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::{KeyFile, underivable},
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
    let mut vote_seed = [0; 32];
    rng.fill_bytes(&mut vote_seed);
    let vote_key = VoteKey::new(vote_seed);

    let document = document(plan, &officer, &recovery, &vote_key)?;
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
    discard_half_made(&places.node())?;
    let directory =
        Directory::create(&places.node(), outline, &vote_key).map_err(|why| super_failure(&why))?;
    files::create(
        &places.chain(),
        format!("{chain}\n").as_bytes(),
        Mode::Public,
    )?;
    Ok(directory)
}

fn super_failure(why: &kusabi_node::directory::DirectoryError) -> Failure {
    crate::verb::node::directory_failure(why)
}

fn document(
    plan: &Plan<'_>,
    officer: &KeyFile,
    recovery: &KeyFile,
    vote_key: &VoteKey,
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
    }
    .encode()
    .map_err(|why| wrong(&why))
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
    if path.exists() {
        return KeyFile::read(&path);
    }
    let key = KeyFile::generate(purpose, Suite::Curve25519, rng).map_err(underivable)?;
    key.create(&path)?;
    Ok(key)
}

/// A ledger is founded in an empty directory, or in one where its founding was interrupted.
fn refuse_other_content(places: &Places) -> Result<()> {
    if let Ok(chain) = fs::read_to_string(places.chain()) {
        return Err(Failure::new(
            Exit::Damaged,
            format!(
                "{} held the ledger {}, and its node directory is gone",
                places.root.display(),
                chain.trim_end()
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

/// Removes what an interrupted founding left; never anything that it did not make.
fn discard_half_made(node: &Path) -> Result<()> {
    const MADE: [&str; 4] = [
        "node.lock",
        "genesis.cbor",
        "genesis-transaction.cbor",
        "vote.key",
    ];
    let Ok(entries) = fs::read_dir(node) else {
        return Ok(());
    };
    let entries: Vec<_> = entries.filter_map(|entry| entry.ok()).collect();
    let strange = entries.iter().find(|entry| {
        let name = entry.file_name();
        let name = Path::new(&name);
        !MADE
            .iter()
            .any(|made| name == Path::new(made) || name == Path::new(made).with_extension("new"))
    });
    if let Some(strange) = strange {
        return Err(Failure::new(
            Exit::File,
            format!(
                "{} holds no ledger and is not empty",
                strange.path().display()
            ),
        )
        .advise("name a new directory"));
    }
    for entry in entries {
        fs::remove_file(entry.path())
            .map_err(|error| Failure::io("removed", &entry.path(), &error))?;
    }
    Ok(())
}
