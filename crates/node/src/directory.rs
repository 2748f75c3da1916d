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
use kusabi_core::{
    appointment::NextKeys,
    id::{ChainId, Digest, Epoch},
    suite::{Signature, VerificationKey},
};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

mod claim;
mod error;
mod follower;
mod keys;
mod marks;

pub(crate) use claim::{Claim, is_waiting};
pub use error::DirectoryError;
pub use follower::FollowerDirectory;
pub use keys::{NodeKey, VoteKey};
use keys::{read_seed, seed_or_new, write_seed};
pub(crate) use marks::VotedMarker;
use marks::restored;

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
const RESTORED: &str = "restored";
const WAITING: &str = "waiting";

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

impl Directory {
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
                return Err(without_format(path));
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

    /// The newest epoch, if this directory says that its vote key, which is a validator's there, has voted in it.
    ///
    /// # Errors
    /// [`DirectoryError::Io`]: not to know is not the same as not to have voted.
    pub fn voted_in(&self) -> Result<Option<Epoch>, DirectoryError> {
        let voted = self.has_vote() && self.has_voted()?;
        Ok(voted.then(|| self.outline.newest().number))
    }

    /// Whether the engine has any files here.
    #[must_use]
    pub fn has_blocks(&self) -> bool {
        let files = fs::read_dir(self.engine());
        files.is_ok_and(|mut files| files.next().is_some())
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
        VotedMarker::new(self.path.join(VOTED), self.voted_text())
    }

    fn voted_text(&self) -> String {
        let epoch: Epoch = self.outline.newest().number;
        let key = self.vote_key.as_ref().map_or([0; 32], VoteKey::public);
        let key = Digest::new(key);
        format!("epoch {} key {key}\n", epoch.get())
    }
}

/// Why a directory without the file of its format is not opened.
fn without_format(path: &Path) -> DirectoryError {
    // What a founding or a restoring that did not come to its end has left is begun again.
    let there = |name: &&str| path.join(name).symlink_metadata().is_ok();
    let unfinished = [RESTORING, WAITING].iter().any(there);
    if !unfinished && [ENGINE, VOTED].iter().any(there) {
        DirectoryError::NoFormat(path.to_owned())
    } else {
        DirectoryError::NoLedger(path.to_owned())
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
