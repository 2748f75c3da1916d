//! A node's directory before its ledger is founded: the keys whose public halves the genesis document will name.
//!
//! They are made where they will be used and stay there, so that neither ever has a copy. The file `waiting` beside them
//! says so: what lies there is no founding that was interrupted, whose keys nobody knows of and which can begin again.

use crate::{
    directory::{self, Claim, Directory, DirectoryError, NodeKey, VoteKey},
    outline::Outline,
};
use std::path::{Path, PathBuf};

/// A directory with a node's keys, and no ledger yet; held until dropped.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    claim: Claim,
    vote_key: VoteKey,
    node_key: NodeKey,
}

impl Prepared {
    /// Whether a directory holds a node's keys that wait for their ledger.
    #[must_use]
    pub fn is_at(path: &Path) -> bool {
        directory::is_waiting(path)
    }

    /// Makes the keys, in an empty directory or one that is not there; in one that waits already, those that are missing.
    ///
    /// # Errors
    /// [`DirectoryError::NotEmpty`] where there is anything else, a ledger too; and others.
    pub fn open_or_make(path: &Path) -> Result<Self, DirectoryError> {
        let claim = Claim::waiting(path)?;
        let (vote_key, node_key) = claim.keys()?;
        Ok(Self {
            path: path.to_owned(),
            claim,
            vote_key,
            node_key,
        })
    }

    /// The vote key of the first epoch.
    #[must_use]
    pub const fn vote_key(&self) -> &VoteKey {
        &self.vote_key
    }

    /// The node key.
    #[must_use]
    pub const fn node_key(&self) -> &NodeKey {
        &self.node_key
    }

    /// Makes it the directory of the ledger that these keys were waiting for.
    ///
    /// # Errors
    /// [`DirectoryError::NotAValidator`] when the ledger does not name the vote key; others. It goes on waiting then.
    pub fn found(self, outline: Outline) -> Result<Directory, DirectoryError> {
        let first = outline.newest();
        if !first.vote_keys.contains(&self.vote_key.public()) {
            return Err(DirectoryError::NotAValidator(self.path));
        }
        self.claim
            .finish(outline, Some((&self.vote_key, &self.node_key)))
    }
}
