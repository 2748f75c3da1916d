//! Why a directory cannot be used, and what to do about it.

use crate::outline::OutlineError;
use kusabi_core::id::{ChainId, Epoch};
use std::{io, path::PathBuf};

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
    /// A ledger's files are in it, and nothing says in which format.
    #[error(
        "{}/format is missing, the file that says in which format the ledger in this directory is; without it the ledger is not opened", .0.display()
    )]
    NoFormat(PathBuf),
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
            Self::NoFormat(_) => {
                "nothing was changed: bring the file back from a copy of this directory. If that file alone is missing, and this \
                 version of the program ran here last, write its one line again: `kusabi node 4`, or `kusabi follower 2` in a \
                 follower's. If more is missing, the directory is not whole: restore a backup into a new one; where others run the \
                 ledger too, with fresh keys (kusabi node prepare)"
            }
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

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    #[test]
    fn the_line_to_write_again_is_the_one_that_is_read() {
        let advice = DirectoryError::NoFormat(PathBuf::new()).advice().unwrap();
        for line in [FORMAT_TEXT, FOLLOWER_TEXT] {
            assert!(advice.contains(&format!("`{}`", line.trim_end())), "{line}");
        }
    }
}
