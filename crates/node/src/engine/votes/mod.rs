//! The votes that this node has cast in an epoch, and whether they are all on its disk: one whose votes are gone, or whose key is in
//! use elsewhere, could vote a second time, differently, and does not vote.
//!
//! - Here: what the disk says by itself, before anything moves.
//! - `asked`: before its first vote in a run a node asks the others what they have of its key. An empty directory, and an old copy of
//!   one, know nothing of the votes that others know.
//! - `own`: from then on each vote is noted as it leaves, and no certificate may have one of this key that was not.
//! - `heard`: what others are told who ask.

mod asked;
mod heard;
mod own;

pub(super) use asked::{Asking, Told};
pub(super) use heard::{Heard, Hearing};
pub(super) use own::{Noting, Own, Watch};

use super::{EngineError, PublicKey, Runtime, Scheme, block::Block, epochs::EpochEntry};
use commonware_consensus::{
    marshal::{core::Mailbox, standard::Standard},
    types::Height,
};
use commonware_runtime::{Blob, ReadOptions, Storage, WriteOptions};
use commonware_utils::Participant;
use kusabi_core::id::Epoch as EpochNumber;

/// Partitions of votes begin with this.
pub(super) const VOTES: &str = "votes-";

/// The mark: this node has begun to vote; the key has voted elsewhere.
const BEGUN: u8 = 1;
const ELSEWHERE: u8 = 2;

/// Partition of an epoch's votes.
pub(super) fn partition(epoch: EpochNumber) -> String {
    format!("{VOTES}{}", epoch.get())
}

/// Looks whether all votes that this node has cast in the epoch are here. `voted`: its directory says that it has voted;
/// `newest`: the position of the newest block that is decided, as far as it is known here.
///
/// # Errors
/// [`EngineError::VotesLost`], [`EngineError::KeyElsewhere`], [`EngineError::Store`]
pub(super) async fn may_vote<E: Runtime>(
    context: &E,
    mailbox: &Mailbox<Scheme, Standard<Block>>,
    epoch: &EpochEntry,
    key: &PublicKey,
    voted: bool,
    newest: Option<u64>,
) -> Result<Begun<E::Blob>, EngineError> {
    let alone = epoch.vote_keys.len() == 1;
    let votes = partition(epoch.number);
    let me = epoch.index(key).map(|index| Participant::new(index.into()));
    let mut begun = Begun::look(context, &votes, alone).await?;
    // A disk that cannot be read, or is full, is not one that has lost its votes.
    let views = match context.scan(&votes).await {
        Ok(views) => views,
        Err(commonware_runtime::Error::PartitionMissing(_)) => Vec::new(),
        Err(why) => return Err(EngineError::store("votes")(why)),
    };
    let views = views.into_iter().filter_map(|view| view.try_into().ok());
    let voted_in = views.map(u64::from_be_bytes).max();
    let decided = newest.filter(|position| *position > 0 && *position >= epoch.first);
    // Where the newest certificate has this node's signature, it has voted in that view: older votes alone are a part of them, or
    // an old copy. A lone validator's is in each.
    let decided_in = match decided {
        Some(position) => mailbox
            .get_finalization(Height::new(position))
            .await
            .filter(|of| {
                of.certificate
                    .signers
                    .iter()
                    .any(|signer| Some(signer) == me)
            })
            .map(|certificate| certificate.proposal.round.view().get()),
        None => None,
    };
    let old = decided_in.is_some_and(|decided| voted_in.is_none_or(|view| view < decided));
    let gone = if alone {
        voted_in.is_none() && (voted || decided.is_some())
    } else {
        // Others decide without this one's votes: here the mark counts, which stands in the file of the votes.
        voted && !begun.marked
    };
    if old || gone {
        return Err(EngineError::VotesLost(epoch.number.get()));
    }
    if begun.elsewhere {
        return Err(EngineError::KeyElsewhere(epoch.number.get()));
    }
    begun.newest = voted_in.unwrap_or(0);
    Ok(begun)
}

/// The mark that this node began to vote in an epoch. It stands in the file of the votes: where they are gone, it is, too.
pub(super) struct Begun<B> {
    blob: Option<B>,
    marked: bool,
    /// Whether it is known that the key has voted elsewhere.
    elsewhere: bool,
    /// The newest view of which this node's disk has anything: it has voted in none above it. 0: of none.
    newest: u64,
}

impl<B: Blob> Begun<B> {
    /// Looks for it, unless the node is `alone`: then what it decided says the same.
    async fn look<E: Storage<Blob = B>>(
        context: &E,
        votes: &str,
        alone: bool,
    ) -> Result<Self, EngineError> {
        if alone {
            return Ok(Self {
                blob: None,
                marked: false,
                elsewhere: false,
                newest: 0,
            });
        }
        let opened = context.open(votes, b"begun").await;
        let (blob, size) = opened.map_err(EngineError::store("votes"))?;
        let mark = match size {
            0 => None,
            _ => {
                let read = blob.read_at(0, 1, ReadOptions::default()).await;
                let read = read.map_err(EngineError::store("votes"))?;
                read.coalesce().as_ref().first().copied()
            }
        };
        Ok(Self {
            blob: Some(blob),
            marked: mark.is_some(),
            elsewhere: mark == Some(ELSEWHERE),
            newest: 0,
        })
    }

    /// The newest view that this node may have voted in; 0: none.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// Makes it; when this returns, it is on disk.
    pub(super) async fn mark(&mut self) -> Result<(), EngineError> {
        if self.marked {
            return Ok(());
        }
        self.marked = true;
        self.write(BEGUN).await
    }

    /// Notes that the key has voted elsewhere: it votes no more in this epoch, also once what showed it is on this node's disk.
    pub(super) async fn burn(&self) -> Result<(), EngineError> {
        self.write(ELSEWHERE).await
    }

    async fn write(&self, mark: u8) -> Result<(), EngineError> {
        let Some(blob) = &self.blob else {
            return Ok(());
        };
        let written = blob.write_at(0, vec![mark], WriteOptions::SYNC).await;
        written.map_err(EngineError::store("votes"))
    }
}

#[cfg(test)]
mod tests;
