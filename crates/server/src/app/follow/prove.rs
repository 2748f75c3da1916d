//! What follows from a node's word: what the ledger proves of it. The one place where what is followed becomes a [`Change`].
//!
//! All but registrations is proven, by one row for each key or release (and, of a key that came from another organisation, by those that
//! it follows on): that row shows whatever was said, or that it is not so. It may
//! show more, for it is of now: what came and has gone since, or went and has come back, is as it is now, and of the ways in between
//! nothing is left to be done.

use super::{
    change::{At, Change, End, Origin, REVOKED, SPENT, SUPERSEDED},
    said::{Heard, Said},
};
use crate::app::{App, Error, devices::class_of};
use futures_util::{StreamExt as _, stream};
use kusabi_api::{
    Hex, Hex32, Kind, Problem,
    verify::{Proven, VerifyError},
};
use kusabi_core::{
    id::{Digest, Handle, StateKey},
    row::{Record, Release, Row, RowError, Status},
    suite::{Purpose, Suite},
};
use std::collections::HashMap;

/// Most proofs that are asked for at once.
const PROOFS_MAX: usize = 8;

/// Most questions that are made ready for that at once: each takes memory.
const READY_MAX: usize = 512;

/// Keys that one follows on, at most, that are looked through for a device that was here before.
const PREDECESSORS_MAX: usize = 64;

/// What follows from blocks.
#[derive(Debug)]
pub(super) struct Shown {
    /// How many of the blocks are proven whole. Nothing is taken of the one after them.
    pub(super) whole: usize,
    pub(super) changes: Vec<(At, Change)>,
    /// Why not all of them are.
    pub(super) fault: Option<Error>,
    /// Whether more of that one is known now than before.
    pub(super) gained: bool,
}

/// What was found out of one block before a question about it stayed without an answer: only what is missing is asked again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    height: u64,
    found: HashMap<Said, Found>,
}

/// What the ledger proves of something that was said.
#[derive(Clone, Debug)]
enum Found {
    /// It is so.
    True(Change),
    /// It was so, and nothing is left of it.
    Over,
    /// It is not so.
    False,
}

impl From<Option<Change>> for Found {
    fn from(change: Option<Change>) -> Self {
        change.map_or(Self::False, Self::True)
    }
}

impl App {
    /// What follows from what blocks say, up to the first of which that cannot be known now. What is found out of that one is kept.
    pub(super) async fn prove_blocks(&self, blocks: &[Heard], kept: &mut Kept) -> Shown {
        let mut all: Vec<(usize, At, &Said)> = Vec::new();
        for (block, heard) in blocks.iter().enumerate() {
            all.extend(heard.said.iter().map(|said| (block, heard.at, said)));
        }
        let known = |&(_, at, said): &(usize, At, &Said)| {
            let there = (at.height == kept.height).then(|| kept.found.get(said));
            there.flatten().cloned()
        };
        let mut found: Vec<Option<Found>> = all.iter().map(known).collect();
        let missing: Vec<usize> = (0..all.len()).filter(|&n| found[n].is_none()).collect();
        let mut stopped: Option<(usize, Error)> = None;
        let mut faults = 0;
        'all: for some in missing.chunks(READY_MAX) {
            let mut asked = Vec::with_capacity(some.len());
            for &n in some {
                let (_, at, said) = all[n];
                asked.push(self.prove(at, said));
            }
            let proven = stream::iter(asked).buffered(PROOFS_MAX);
            let mut proven = stream::iter(some).zip(proven);
            while let Some((&n, proven)) = proven.next().await {
                let (block, at, _) = all[n];
                if stopped.as_ref().is_some_and(|(first, _)| block > *first) {
                    break 'all;
                }
                match proven {
                    Ok(one) => found[n] = Some(one),
                    Err(why) => {
                        faults += 1;
                        if stopped.is_none() {
                            tracing::debug!(height = at.height, %why, "what the ledger node says of a block is not proven; it is asked again");
                            stopped = Some((block, why));
                        }
                        // From a node that gives no answer, no more is waited for than those that were asked at once.
                        if faults == PROOFS_MAX {
                            break 'all;
                        }
                    }
                }
            }
        }
        let whole = stopped.as_ref().map_or(blocks.len(), |(block, _)| *block);
        let mut changes = Vec::new();
        let mut next = Kept {
            height: blocks.get(whole).map_or(0, |block| block.at.height),
            found: HashMap::new(),
        };
        let mut lies: Vec<(usize, At, &Said, usize)> = Vec::new();
        for (&(block, at, said), found) in all.iter().zip(found) {
            match found {
                Some(found) if block == whole => {
                    next.found.insert(said.clone(), found);
                }
                Some(Found::True(change)) if block < whole => changes.push((at, change)),
                Some(Found::False) if block < whole => match lies.last_mut() {
                    Some((of, .., count)) if *of == block => *count += 1,
                    _ => lies.push((block, at, said, 1)),
                },
                _ => {}
            }
        }
        // Once for a block: a node may say a hundred thousand things in one.
        for (_, at, said, count) in lies {
            tracing::warn!(
                height = at.height,
                count,
                "the ledger node says that {said}, and the ledger proves that it is not so"
            );
        }
        let before = match kept.height == next.height {
            true => kept.found.len(),
            false => 0,
        };
        let is_stuck = whole < blocks.len();
        let gained = is_stuck && next.found.len() > before;
        // Blocks before that one come again with each pass, alone perhaps, and say nothing of what is known of it.
        let is_past = |last: &Heard| last.at.height >= kept.height;
        if is_stuck || blocks.last().is_some_and(is_past) {
            *kept = next;
        }
        Shown {
            whole,
            changes,
            fault: stopped.map(|(_, why)| why),
            gained,
        }
    }

    /// What the ledger proves of what was said.
    async fn prove(&self, at: At, said: &Said) -> Result<Found, Error> {
        let ours = |record: &Record| record.owner() == self.org();
        let change = match *said {
            // A factory registers a hundred thousand: they are shown, and each is proven where something is to follow from it.
            Said::Registered {
                handle,
                purpose,
                class,
            } => Some(Change::Device {
                handle,
                purpose,
                class,
            }),
            // The ledger ends a key by the registration of the one that follows on it. That one may have gone to others since.
            Said::Follows { old, new } => {
                let record = self.record_at(at, new).await?;
                let record = record.filter(|record| {
                    record.predecessor() == Some(Handle::new(old.0))
                        && (ours(record) || record.moves() > 0)
                });
                record.map(|record| Change::Follows {
                    old,
                    new,
                    purpose: record.purpose(),
                    end: ours(&record).then(|| end(&record)).flatten(),
                })
            }
            Said::Revoked(handle) => {
                let record = self.record_at(at, handle).await?;
                let revoked =
                    record.filter(|record| record.status() == Status::Revoked && ours(record));
                let end = revoked.as_ref().and_then(end);
                end.map(|end| Change::Revoked { handle, end })
            }
            Said::GivenAway { handle, to } => {
                let moved = self.record_at(at, handle).await?.filter(has_moved);
                if moved.as_ref().is_some_and(ours) {
                    // It has come back.
                    return Ok(Found::Over);
                }
                moved.map(|_| Change::GivenAway { handle, to })
            }
            Said::Taken { handle, from } => {
                match self.record_at(at, handle).await?.filter(has_moved) {
                    None => None,
                    Some(record) => {
                        let key = Origin {
                            handle,
                            purpose: record.purpose(),
                            class: class_of(record.keys().suite()),
                            end: end(&record),
                            before: self.before(&record).await?,
                        };
                        Some(match ours(&record) {
                            true => Change::Taken { key, from },
                            false => Change::Passed(key),
                        })
                    }
                }
            }
            Said::Published(digest) => {
                let release = self.release_at(at, digest).await?;
                release.map(|release| Change::Release { digest, release })
            }
            Said::Withdrawn(digest) => {
                let release = self.release_at(at, digest).await?;
                let withdrawn = release.filter(|release| release.withdrawn_at().is_some());
                withdrawn.map(|release| Change::Release { digest, release })
            }
            Said::ArtKey(ref key) => {
                let record = self.record_at(at, key.handle).await?;
                let record = record.filter(|record| signs(record) && ours(record));
                if record.as_ref().is_some_and(|record| !record.is_active()) {
                    // It has ended since.
                    return Ok(Found::Over);
                }
                // The ledger holds a digest of a foreign key.
                let fits = |record: &Record| match record.keys().suite() {
                    Suite::Foreign => record.keys().matches_spki(&key.spki),
                    suite => suite as u8 == key.suite,
                };
                let record = record.filter(fits);
                record.map(|_| Change::ArtKey(key.clone()))
            }
            Said::ArtKeyEnded(handle) => {
                let record = self.record_at(at, handle).await?;
                let ended =
                    record.filter(|record| signs(record) && ours(record) && !record.is_active());
                ended.map(|_| Change::ArtKeyEnded(handle))
            }
            Said::OwnKeyEnded { what, handle } => {
                let record = self.record_at(at, handle).await?;
                let ended = record.filter(|record| !record.is_active());
                ended.map(|_| Change::OwnKeyEnded { what, handle })
            }
        };
        Ok(change.into())
    }

    /// The record of a key, as the ledger proves it at the event's height or above; `None` when it proves that there is none.
    async fn record_at(&self, at: At, handle: Hex32) -> Result<Option<Record>, Error> {
        let handle = Handle::new(handle.0);
        self.proven_at(at, self.ledger.record(&handle)).await
    }

    /// A release of the organisation, likewise.
    async fn release_at(&self, at: At, digest: Hex32) -> Result<Option<Release>, Error> {
        let key = StateKey::release(&self.org(), &Digest::new(digest.0));
        match self.proven_at(at, self.ledger.lookup(key)).await? {
            None => Ok(None),
            Some(Row::Release(release)) => Ok(Some(release)),
            Some(_) => Err(VerifyError::Row(RowError::Kind).into()),
        }
    }

    /// An answer of the height of which an event speaks, or above. One from below says nothing about the event.
    async fn proven_at<T>(
        &self,
        at: At,
        asked: impl Future<Output = Result<Proven<T>, VerifyError>>,
    ) -> Result<T, Error> {
        let proven = self.ask(asked).await?;
        let height = proven.height().get();
        if height < at.height {
            return Err(Problem::new(
                Kind::BadAnswer,
                format!(
                    "the ledger node speaks of block {}, and proves what stood there at block {height}",
                    at.height
                ),
            )
            .into());
        }
        Ok(proven.into_value())
    }

    /// The keys that one follows on, the newest first.
    async fn before(&self, record: &Record) -> Result<Vec<Hex32>, Error> {
        let mut before = Vec::new();
        let mut next = record.predecessor();
        while let Some(at) = next.filter(|_| before.len() < PREDECESSORS_MAX) {
            let proven = self.ask(self.ledger.record(&at)).await?;
            let Some(record) = proven.into_value() else {
                break;
            };
            before.push(Hex(at.to_bytes()));
            next = record.predecessor();
        }
        Ok(before)
    }
}

fn has_moved(record: &Record) -> bool {
    record.moves() > 0
}

/// How a key has ended, and from which height on.
fn end(record: &Record) -> Option<End> {
    let status = match record.status() {
        Status::Active => return None,
        Status::Spent => SPENT,
        Status::Superseded => SUPERSEDED,
        Status::Revoked => REVOKED,
    };
    let height = record.ended()?.get();
    Some(End { status, height })
}

/// Whether a key is one that signs releases, or artifacts.
fn signs(record: &Record) -> bool {
    record.purpose() == Purpose::Art
}
