//! The node's directory.
//!
//! ```text
//! node.lock                one process at a time
//! format                   "kusabi node 4"; written last when a directory is made, so that a half-made one is none
//! genesis.cbor             the genesis document
//! genesis-transaction.cbor the transaction of height 1
//! vote.key                 seed of the vote key, 64 hex digits, for its owner only; none in a restored one
//! node.key                 seed of the node key, likewise; a lone validator gets a new one where there is none
//! vote-next.key            seed of the vote key of the next epoch, made when its public half is first asked for
//! voted                    the newest epoch in which this vote key has voted, and the key
//! restored                 only in a directory made of a backup: the newest epoch in it. No vote key of it or before votes here
//! epoch-<n>.cbor           the transaction that opens the n-th later epoch, from 1: a handover or a recovery
//! engine/                  the engine's own files
//! waiting                  only while the keys wait for their ledger to be founded (see `prepared`)
//! restoring                only while a backup is restored: what lies here has never been a ledger's
//! ```

use crate::outline::{EpochOutline, Outline, OutlineError};
use bytes::Bytes;
use ed25519_zebra::{SigningKey, VerificationKeyBytes};
use kusabi_core::{
    appointment::NextKeys,
    id::{ChainId, Digest, Epoch, parse_hex},
    statement::Statement,
    suite::{Signature, VerificationKey},
};
use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

mod follower;

pub use follower::FollowerDirectory;

const LOCK: &str = "node.lock";
const FORMAT: &str = "format";
const FORMAT_TEXT: &str = "kusabi node 4\n";
const FOLLOWER_TEXT: &str = "kusabi follower 2\n";
/// What the marker of a follower's directory begins with, whatever its version.
const FOLLOWER: &str = "kusabi follower ";
const GENESIS: &str = "genesis.cbor";
const GENESIS_TRANSACTION: &str = "genesis-transaction.cbor";
const VOTE_KEY: &str = "vote.key";
const VOTE_KEY_NEXT: &str = "vote-next.key";
const NODE_KEY: &str = "node.key";
const VOTED: &str = "voted";
const ENGINE: &str = "engine";
const RESTORING: &str = "restoring";
const RESTORING_TEXT: &str = "A backup is being restored into this directory.\n";
const RESTORED: &str = "restored";
const WAITING: &str = "waiting";
const WAITING_TEXT: &str =
    "The keys here wait for the ledger that they are part of to be founded.\n";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// There is no ledger in it.
    #[error("{0} holds no ledger")]
    NoLedger(PathBuf),
    /// There is something in it already.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// Made by another version of this program.
    #[error("{path} was made by {} version of this program: its format is {:?}, and this one reads {expected:?}", age(found, expected), found.trim_end())]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its marker says.
        found: String,
        /// The format that this program reads.
        expected: &'static str,
    },
    /// It is a follower's, and was to be a validator's.
    #[error("{0} is the directory of a follower, which has no vote")]
    Follower(PathBuf),
    /// It is a validator's, or has a key in it, and was to be a follower's.
    #[error("{0} is the directory of a validator")]
    Validator(PathBuf),
    /// It belongs to another chain than the one asked for.
    #[error("{path} holds the ledger {found}, not {expected}")]
    OtherChain {
        /// The directory.
        path: PathBuf,
        /// The chain asked for.
        expected: ChainId,
        /// The chain in the directory.
        found: ChainId,
    },
    /// What it says of the chain is refused.
    #[error("{path}: {error}")]
    Outline {
        /// The file.
        path: PathBuf,
        /// Why.
        error: OutlineError,
    },
    /// The vote key's file is damaged.
    #[error("{0} is not a vote key (64 hex digits)")]
    VoteKey(PathBuf),
    /// The node key's file is damaged.
    #[error("{0} is not a node key (64 hex digits)")]
    NodeKey(PathBuf),
    /// There is no node key, and other nodes know this one by it.
    #[error("{0} is missing, and the ledger's other nodes know this one by that key")]
    NoNodeKey(PathBuf),
    /// There is no vote key.
    #[error("{0} is missing, so this node cannot vote")]
    NoVoteKey(PathBuf),
    /// The members have gone on without this node, which erased its vote key then.
    #[error(
        "the node in {path} has left: since epoch {since} it is not among the validators, and the vote key that it had is erased"
    )]
    Left {
        /// The directory.
        path: PathBuf,
        /// The first epoch without it.
        since: Epoch,
    },
    /// It was made of a backup, which does not hold all that a vote key of its epochs may have signed.
    #[error(
        "{path} was restored from a backup of epoch {epoch}, whose vote keys must not vote again"
    )]
    Restored {
        /// The directory.
        path: PathBuf,
        /// The newest epoch in the backup.
        epoch: Epoch,
    },
    /// What says that a directory was restored cannot be read.
    #[error("{0} does not say of which epoch the backup was")]
    RestoredMark(PathBuf),
    /// The vote key is no validator's in the newest epoch.
    #[error("the vote key in {0} is not a validator's in this ledger's newest epoch")]
    NotAValidator(PathBuf),
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// How a format stands to the one that this program reads: both end in a number.
fn age(found: &str, expected: &str) -> &'static str {
    let number = |text: &str| {
        let (name, number) = text.trim_end().rsplit_once(' ')?;
        Some((name.to_owned(), number.parse::<u32>().ok()?))
    };
    match (number(found), number(expected)) {
        (Some((of, found)), Some((name, expected))) if of == name && found != expected => {
            if found > expected {
                "a newer"
            } else {
                "an older"
            }
        }
        _ => "another",
    }
}

impl DirectoryError {
    /// What a person can do about it, where more can be said than what happened.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::InUse(_) => "stop that one first",
            Self::NoLedger(_) => "found one, or restore a backup into it",
            Self::NotEmpty(_) => "name a new directory",
            Self::Follower(_) => {
                "start it with kusabi node follow; a validator has a directory of its own"
            }
            Self::Validator(_) => {
                "name another one: a follower has no keys, and a directory of its own"
            }
            Self::Format { .. } => {
                "nothing in it was changed: start it with the version that it ran with last; where that is an older one, that version \
                 backs it up, and this one restores the backup"
            }
            Self::Outline { .. } => {
                "the file was changed or damaged; restore a backup into a new directory"
            }
            Self::Restored { .. } => {
                "a lone validator recovers the ledger (kusabi recover); where others run it too, make fresh keys (kusabi node prepare), \
                 have the next epoch name them (kusabi epoch new --replace), and join (kusabi node join)"
            }
            Self::RestoredMark(_) => "restore the backup into a new directory",
            Self::VoteKey(_) | Self::NoVoteKey(_) => {
                "bring the file back; if it is gone for good, a lone validator recovers the ledger with a new vote key, and where \
                 others run the ledger too they go on without this node until the members name another key"
            }
            Self::Left { .. } => {
                "nothing is to be brought back: the directory stays a whole copy of the ledger up to there (kusabi backup --data); to \
                 go on seeing the ledger, follow it in a new directory (kusabi node follow); whoever is to vote again needs fresh keys \
                 that the others appoint"
            }
            Self::NodeKey(_) => {
                "restore the file: where others run the ledger too they know this node by it; a lone validator that removes it \
                 gets a new one"
            }
            Self::NoNodeKey(_) => {
                "bring the file back to where it was: a new key would not be let in, and if it is gone for good the members have \
                 to name another node"
            }
            Self::NotAValidator(_) => {
                "use the right file; a lone validator recovers the ledger (again, if a recovery was interrupted), and where \
                 others run the ledger too the members name its key"
            }
            Self::OtherChain { .. } | Self::Io { .. } => return None,
        })
    }
}

/// An Ed25519 key whose seed lies in a file of the directory.
macro_rules! seed_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<[u8; 32]>);

        impl $name {
            /// From its seed.
            #[must_use]
            pub fn new(seed: [u8; 32]) -> Self {
                Self(Zeroizing::new(seed))
            }

            /// The public key.
            #[must_use]
            pub fn public(&self) -> [u8; 32] {
                VerificationKeyBytes::from(&SigningKey::from(*self.0)).into()
            }

            pub(crate) fn seed(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

seed_key! {
    /// A validator's vote key: fresh in each epoch.
    VoteKey
}

impl VoteKey {
    /// Signs what is said beside the votes: how an epoch ended, what is of now, with which keys this validator goes on.
    pub(crate) fn sign(&self, statement: &Statement) -> Signature {
        let key = Zeroizing::new(SigningKey::from(*self.seed()));
        Signature::new(key.sign(statement.as_bytes()).into())
    }
}

seed_key! {
    /// A node's own key, with which it proves to its peers who it is. It outlives the epochs.
    NodeKey
}

/// A directory that this process holds.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    outline: Outline,
    vote_key: Option<VoteKey>,
    node_key: NodeKey,
    /// The newest epoch in the backup that it was made of.
    restored: Option<Epoch>,
    // Held until the directory is dropped.
    _lock: File,
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + '_ {
    move |error| DirectoryError::Io {
        path: path.to_owned(),
        error,
    }
}

fn outline_at(path: PathBuf) -> impl FnOnce(OutlineError) -> DirectoryError {
    move |error| DirectoryError::Outline { path, error }
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let file = path.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(io_at(&file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_at(&file)(error)),
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), DirectoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(path)(error)),
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8], secret: bool) -> Result<(), DirectoryError> {
    let new = path.with_extension("new");
    let go = || {
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        if secret {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    #[cfg(not(unix))]
    let _ = secret;
    go().map_err(io_at(path))
}

/// Whether a file can be what a founding, or a restoring, has left that did not come to its end.
fn is_unfinished(name: &str, restoring: bool) -> bool {
    let written = [LOCK, GENESIS, GENESIS_TRANSACTION, RESTORING].contains(&name)
        || if restoring {
            name == ENGINE || name == RESTORED || is_epoch_file(name)
        } else {
            name == VOTE_KEY || name == VOTE_KEY_NEXT
        }
        || name == NODE_KEY;
    let in_writing = name.strip_suffix(".new").is_some_and(|stem| {
        [
            "genesis",
            "genesis-transaction",
            "vote",
            "vote-next",
            "node",
            "format",
            "restoring",
            "restored",
        ]
        .contains(&stem)
            || stem.starts_with("epoch-")
    });
    written || in_writing
}

/// A directory that is being made: held, and not yet a ledger's.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    lock: File,
}

impl Claim {
    /// Takes an empty directory, or makes one.
    pub(crate) fn new(path: &Path) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).map_err(io_at(path))?;
        let lock = lock(path)?;
        let other = fs::read_dir(path)
            .map_err(io_at(path))?
            .filter_map(Result::ok)
            .any(|entry| entry.file_name() != LOCK);
        if other {
            return Err(DirectoryError::NotEmpty(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// Says that a backup is being restored from here on, before anything of it is written: so that what an interrupted
    /// restoring leaves is told apart from a ledger that lost its small files.
    pub(crate) fn restoring(&self) -> Result<(), DirectoryError> {
        write(&self.path.join(RESTORING), RESTORING_TEXT.as_bytes(), false)
    }

    /// Takes a directory in which a node's keys wait for their ledger, or begins one in an empty directory.
    pub(crate) fn waiting(path: &Path) -> Result<Self, DirectoryError> {
        if !path.join(WAITING).exists() {
            // All that an interrupted beginning can have left.
            let _ = fs::remove_file(path.join(WAITING).with_extension("new"));
            let claim = Self::new(path)?;
            // Before the keys: without it they would be those of an interrupted founding.
            write(&path.join(WAITING), WAITING_TEXT.as_bytes(), false)?;
            return Ok(claim);
        }
        let lock = lock(path)?;
        let names = fs::read_dir(path).map_err(io_at(path))?;
        for entry in names {
            let name = entry.map_err(io_at(path))?.file_name();
            let name = name.to_string_lossy();
            if name != WAITING && !is_unfinished(&name, false) {
                return Err(DirectoryError::NotEmpty(path.to_owned()));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// The vote key and the node key that lie there; new ones for those that do not.
    pub(crate) fn keys(&self) -> Result<(VoteKey, NodeKey), DirectoryError> {
        let vote_key = seed_or_new(&self.path.join(VOTE_KEY), DirectoryError::VoteKey)?;
        let node_key = seed_or_new(&self.path.join(NODE_KEY), DirectoryError::NodeKey)?;
        Ok((VoteKey::new(vote_key), NodeKey::new(node_key)))
    }

    /// Where the engine's files go.
    pub(crate) fn engine(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    /// Makes it a ledger's directory: a validator's, or one without a vote key and with a new node key.
    pub(crate) fn finish(
        self,
        outline: Outline,
        keys: Option<(&VoteKey, &NodeKey)>,
    ) -> Result<Directory, DirectoryError> {
        let Self { path, lock } = self;
        write(&path.join(GENESIS), outline.document(), false)?;
        for (n, epoch) in outline.epochs().iter().enumerate() {
            let file = match n {
                0 => GENESIS_TRANSACTION.to_owned(),
                n => epoch_file(n),
            };
            write(&path.join(file), &epoch.opening.1, false)?;
        }
        let node_key = match keys {
            Some((_, key)) => {
                write_seed(&path.join(NODE_KEY), key.seed())?;
                key.clone()
            }
            None => NodeKey::new(seed_or_new(&path.join(NODE_KEY), DirectoryError::NodeKey)?),
        };
        let restored = keys.is_none().then(|| outline.newest().number);
        if let Some(epoch) = restored {
            write(
                &path.join(RESTORED),
                format!("epoch {epoch}\n").as_bytes(),
                false,
            )?;
        }
        let directory = Directory {
            path,
            outline,
            restored,
            vote_key: keys.map(|(key, _)| key.clone()),
            node_key,
            _lock: lock,
        };
        if let Some((key, _)) = keys {
            directory.write_vote_key(key)?;
            directory.voter()?;
        }
        write(&directory.path.join(FORMAT), FORMAT_TEXT.as_bytes(), false)?;
        directory.remove_marks()?;
        Ok(directory)
    }
}

impl Directory {
    /// Removes what a founding or a restoring that was interrupted left in `path`, so that it can begin again. A directory
    /// that is not there, or empty, stays as it is.
    ///
    /// What it removes has never been a ledger's: the format file, which is written last, is not there, and neither are the
    /// engine's files, unless the mark of a restoring lies beside them, and no vote key.
    ///
    /// # Errors
    /// [`DirectoryError::NotEmpty`] when anything else is in it, and then nothing is removed; [`DirectoryError::InUse`].
    pub fn discard_unfinished(path: &Path) -> Result<(), DirectoryError> {
        let Ok(entries) = fs::read_dir(path) else {
            return Ok(());
        };
        let _lock = lock(path)?;
        let names: Vec<String> = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .map_err(io_at(path))?;
        let restoring = names.iter().any(|name| name == RESTORING);
        if !names.iter().all(|name| is_unfinished(name, restoring)) {
            return Err(DirectoryError::NotEmpty(path.to_owned()));
        }
        // The mark goes last: interrupted here, too, the directory can still be told from a ledger's.
        let (mark, others): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| *name == RESTORING);
        for name in others.into_iter().chain(mark) {
            let entry = path.join(name);
            if name == ENGINE {
                fs::remove_dir_all(&entry)
            } else {
                fs::remove_file(&entry)
            }
            .map_err(io_at(&entry))?;
        }
        Ok(())
    }

    /// Makes a directory for a new ledger.
    ///
    /// # Errors
    /// [`DirectoryError::NotEmpty`] and others; a directory that fails half-way holds no ledger.
    pub fn create(
        path: &Path,
        outline: Outline,
        vote_key: &VoteKey,
        node_key: &NodeKey,
    ) -> Result<Self, DirectoryError> {
        Claim::new(path)?.finish(outline, Some((vote_key, node_key)))
    }

    /// Opens a directory that holds a ledger. Where it has no node key, it gets one, unless others know the node by its key.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let format = path.join(FORMAT);
        match fs::read_to_string(&format) {
            Ok(text) if text == FORMAT_TEXT => {}
            Ok(text) if text.starts_with(FOLLOWER) => {
                return Err(DirectoryError::Follower(path.to_owned()));
            }
            Ok(found) => {
                return Err(DirectoryError::Format {
                    path: path.to_owned(),
                    found,
                    expected: FORMAT_TEXT.trim_ascii_end(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DirectoryError::NoLedger(path.to_owned()));
            }
            Err(error) => return Err(io_at(&format)(error)),
        }
        let lock = lock(path)?;
        let outline = read_outline(path)?;
        let node_key = path.join(NODE_KEY);
        let known = outline.newest().nodes.len() > 1;
        let node_key = if known {
            let seed = read_seed(&node_key, DirectoryError::NodeKey)?;
            seed.ok_or(DirectoryError::NoNodeKey(node_key))?
        } else {
            seed_or_new(&node_key, DirectoryError::NodeKey)?
        };
        let mut directory = Self {
            path: path.to_owned(),
            outline,
            vote_key: read_seed(&path.join(VOTE_KEY), DirectoryError::VoteKey)?.map(VoteKey::new),
            node_key: NodeKey::new(node_key),
            restored: restored(path)?,
            _lock: lock,
        };
        // The restoring, the founding or the turn of an epoch may have ended between its last two steps.
        directory.remove_marks()?;
        directory.adopt_vote_key()?;
        Ok(directory)
    }

    /// The keys with which this validator goes on in the next epoch, and the signature of its present vote key under them.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub fn next_keys(&self) -> Result<(NextKeys, Signature), DirectoryError> {
        let newest = self.outline.newest();
        let next = NextKeys {
            // After the last epoch that there can be nobody asks.
            epoch: newest.number.next().unwrap_or(newest.number),
            vote_key: self.next_vote_key()?,
            node_key: self.node_key.public(),
        };
        let voter = self.voter()?;
        let present = VerificationKey::ed25519(&voter.public())
            .map_err(|_| DirectoryError::VoteKey(self.path.join(VOTE_KEY)))?;
        let signature = voter.sign(&next.statement(self.outline.chain(), &present));
        Ok((next, signature))
    }

    /// The public half of the vote key for the next epoch, which is made where there is none yet.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub fn next_vote_key(&self) -> Result<[u8; 32], DirectoryError> {
        let seed = seed_or_new(&self.path.join(VOTE_KEY_NEXT), DirectoryError::VoteKey)?;
        Ok(VoteKey::new(seed).public())
    }

    /// Adds the epoch that a handover or a recovery opens, and takes the vote key that was made for it, if it names that one. After
    /// a handover the vote key of the epoch before is erased, whether this node votes in the next or not: it has signed what it had
    /// to sign. The node must not be running.
    ///
    /// # Errors
    /// Why the step is refused; nothing is changed then.
    pub fn open_epoch(&mut self, transaction: Bytes) -> Result<(), DirectoryError> {
        let mut outline = self.outline.clone();
        outline
            .open_epoch(transaction.clone())
            .map_err(outline_at(self.path.clone()))?;
        let file = self.path.join(epoch_file(outline.epochs().len() - 1));
        write(&file, &transaction, false)?;
        self.outline = outline;
        self.adopt_vote_key()
    }

    /// Where the vote key is no validator's in the newest epoch and the one that was made for it is: takes it.
    fn adopt_vote_key(&mut self) -> Result<(), DirectoryError> {
        let file = self.path.join(VOTE_KEY_NEXT);
        if self.voter().is_ok() {
            return Ok(());
        }
        let next = read_seed(&file, DirectoryError::VoteKey)?.map(VoteKey::new);
        let votes = &self.outline.newest().vote_keys;
        let Some(next) = next.filter(|next| votes.contains(&next.public())) else {
            return self.erase_vote_key();
        };
        // In the place of the old one, which is gone thereby.
        fs::rename(&file, self.path.join(VOTE_KEY)).map_err(io_at(&file))?;
        File::open(&self.path)
            .and_then(|directory| directory.sync_all())
            .map_err(io_at(&self.path))?;
        self.vote_key = Some(next);
        Ok(())
    }

    /// Erases a vote key of an epoch that was handed over.
    fn erase_vote_key(&mut self) -> Result<(), DirectoryError> {
        let former = |key: &VoteKey| {
            let (newest, before) = (self.outline.newest(), self.outline.epochs());
            // After a recovery it is for people to say what counts; and a stranger's key is none of ours.
            let voted = |epoch: &EpochOutline| epoch.vote_keys.contains(&key.public());
            !newest.is_recovery() && !voted(newest) && before.iter().any(voted)
        };
        if !self.vote_key.as_ref().is_some_and(former) {
            return Ok(());
        }
        self.vote_key = None;
        remove(&self.path.join(VOTE_KEY))?;
        File::open(&self.path)
            .and_then(|directory| directory.sync_all())
            .map_err(io_at(&self.path))
    }

    /// A ledger's directory carries no mark of a restoring, nor of waiting for its founding.
    fn remove_marks(&self) -> Result<(), DirectoryError> {
        [RESTORING, WAITING]
            .iter()
            .try_for_each(|name| remove(&self.path.join(name)))
    }

    /// Opens a directory that must hold a certain ledger.
    ///
    /// # Errors
    /// [`DirectoryError::OtherChain`], and as [`open`](Self::open).
    pub fn open_for(path: &Path, chain: &ChainId) -> Result<Self, DirectoryError> {
        let directory = Self::open(path)?;
        let found = *directory.outline.chain();
        if found == *chain {
            Ok(directory)
        } else {
            Err(DirectoryError::OtherChain {
                path: path.to_owned(),
                expected: *chain,
                found,
            })
        }
    }

    /// Adds the epoch that a recovery opens, in which `vote_key` votes, or puts it in the place of one that has no block yet.
    /// The node must not be running.
    ///
    /// # Errors
    /// Why the recovery is refused; nothing is changed then.
    pub fn recover(
        &mut self,
        transaction: Bytes,
        vote_key: &VoteKey,
    ) -> Result<(), DirectoryError> {
        let mut outline = self.outline.clone();
        outline
            .open_epoch(transaction.clone())
            .map_err(outline_at(self.path.clone()))?;
        let file = self.path.join(epoch_file(outline.epochs().len() - 1));
        if !outline.newest().vote_keys.contains(&vote_key.public()) {
            return Err(DirectoryError::NotAValidator(self.path.join(VOTE_KEY)));
        }
        // The key first: with the old epoch it is no validator's, so that a crash between the two cannot vote twice.
        self.write_vote_key(vote_key)?;
        write(&file, &transaction, false)?;
        self.outline = outline;
        self.vote_key = Some(vote_key.clone());
        Ok(())
    }

    fn write_vote_key(&self, key: &VoteKey) -> Result<(), DirectoryError> {
        write_seed(&self.path.join(VOTE_KEY), key.seed())
    }

    /// The node key.
    #[must_use]
    pub const fn node_key(&self) -> &NodeKey {
        &self.node_key
    }

    /// The vote key, if it is a validator's in the newest epoch.
    pub(crate) fn voter(&self) -> Result<&VoteKey, DirectoryError> {
        let file = self.path.join(VOTE_KEY);
        let newest = self.outline.newest();
        let of_backup = self.restored.filter(|epoch| newest.number <= *epoch);
        let restored = of_backup.map(|epoch| DirectoryError::Restored {
            path: self.path.clone(),
            epoch,
        });
        match (&self.vote_key, restored) {
            (Some(key), _) if !newest.vote_keys.contains(&key.public()) => {
                Err(DirectoryError::NotAValidator(file))
            }
            (_, Some(restored)) => Err(restored),
            (Some(key), None) => Ok(key),
            (None, None) => Err(match self.left_since() {
                Some(since) => DirectoryError::Left {
                    path: self.path.clone(),
                    since,
                },
                None => DirectoryError::NoVoteKey(file),
            }),
        }
    }

    /// The first epoch without this node, where it was among those of an earlier one.
    fn left_since(&self) -> Option<Epoch> {
        let mine = self.node_key.public();
        let epochs = self.outline.epochs();
        let named = |epoch: &EpochOutline| epoch.nodes.iter().any(|node| node.key == mine);
        let last = epochs.iter().rposition(named)?;
        epochs.get(last + 1).map(|epoch| epoch.number)
    }

    /// Whether it has a vote key that is a validator's in the newest epoch.
    #[must_use]
    pub fn has_vote(&self) -> bool {
        self.voter().is_ok()
    }

    /// The chain's outline.
    #[must_use]
    pub const fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn engine(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    /// Whether the vote key has voted in the newest epoch.
    pub(crate) fn has_voted(&self) -> Result<bool, DirectoryError> {
        let file = self.path.join(VOTED);
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text == self.voted_text()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // Not to know is not the same as not to have voted.
            Err(error) => Err(io_at(&file)(error)),
        }
    }

    /// What `voted` says from the first vote on, and where.
    pub(crate) fn voted_marker(&self) -> VotedMarker {
        VotedMarker {
            file: self.path.join(VOTED),
            text: self.voted_text(),
        }
    }

    fn voted_text(&self) -> String {
        let epoch: Epoch = self.outline.newest().number;
        let key = self.vote_key.as_ref().map_or([0; 32], VoteKey::public);
        let key = Digest::new(key);
        format!("epoch {} key {key}\n", epoch.get())
    }
}

/// Notes that a key has voted.
#[derive(Clone, Debug)]
pub(crate) struct VotedMarker {
    file: PathBuf,
    text: String,
}

impl VotedMarker {
    /// Writes the note.
    pub(crate) fn write(&self) -> Result<(), DirectoryError> {
        write(&self.file, self.text.as_bytes(), false)
    }
}

fn epoch_file(n: usize) -> String {
    format!("epoch-{n}.cbor")
}

fn is_epoch_file(name: &str) -> bool {
    let number = name
        .strip_prefix("epoch-")
        .and_then(|rest| rest.strip_suffix(".cbor"));
    number.is_some_and(|number| number.parse::<usize>().is_ok_and(|n| epoch_file(n) == name))
}

/// The newest epoch in the backup that a directory was made of, if it was.
fn restored(path: &Path) -> Result<Option<Epoch>, DirectoryError> {
    let file = path.join(RESTORED);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(&file)(error)),
    };
    let number = text.trim_end().strip_prefix("epoch ");
    let number = number.and_then(|number| number.parse().ok());
    number
        .map(|number| Some(Epoch::new(number)))
        .ok_or(DirectoryError::RestoredMark(file))
}

/// Whether a directory holds keys that wait for their ledger.
pub(crate) fn is_waiting(path: &Path) -> bool {
    path.join(WAITING).exists() && !path.join(FORMAT).exists()
}

/// The outline of the chain that lies in a directory.
fn read_outline(path: &Path) -> Result<Outline, DirectoryError> {
    let read = |file: &Path| fs::read(file).map(Bytes::from).map_err(io_at(file));
    let genesis = path.join(GENESIS);
    let document = read(&genesis)?;
    let transaction = read(&path.join(GENESIS_TRANSACTION))?;
    let mut outline = Outline::new(document, transaction).map_err(outline_at(genesis))?;
    for n in 1.. {
        let file = path.join(epoch_file(n));
        if !file.exists() {
            break;
        }
        outline.open_epoch(read(&file)?).map_err(outline_at(file))?;
    }
    Ok(outline)
}

/// The seed in a file, or a new one from the system's randomness where there is no file.
fn seed_or_new(
    file: &Path,
    damaged: fn(PathBuf) -> DirectoryError,
) -> Result<[u8; 32], DirectoryError> {
    if let Some(seed) = read_seed(file, damaged)? {
        return Ok(seed);
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io_at(file)(io::Error::other(error)))?;
    write_seed(file, &seed)?;
    Ok(seed)
}

fn write_seed(file: &Path, seed: &[u8; 32]) -> Result<(), DirectoryError> {
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in seed {
        use fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    write(file, text.as_bytes(), true)
}

fn read_seed(
    file: &Path,
    damaged: fn(PathBuf) -> DirectoryError,
) -> Result<Option<[u8; 32]>, DirectoryError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(file)(error)),
    };
    let seed = parse_hex(text.trim_end()).map_err(|_| damaged(file.to_owned()))?;
    Ok(Some(seed))
}
