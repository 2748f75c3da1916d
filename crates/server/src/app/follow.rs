//! The follower: the organisation's part of the ledger's events, written into the database.
//!
//! **What it is used for**: to know which devices there are, which keys hang on which device, how a list looks, and whom to wake. Who opens
//! a session, what a device installs, who may be ordered what is proven by [`VerifyingLedger`](kusabi_api::VerifyingLedger) where it
//! happens, and devices prove it themselves once more. But orders, tokens of stock Mender devices and rollouts end by what is noted here.
//!
//! **What is believed**: events are read from a node ([`said`]) and say only what to ask for. Before anything is written, the ledger has to
//! prove it ([`prove`]): each successor, each end, transfer, release and release key by its row. Registrations alone are taken as they are
//! said: a factory makes a hundred thousand of them, and what follows from one is proven where it follows. So a node that lies here can hide
//! what happened, for a while, and show devices that are not there; it can end nothing. What it hides comes up as soon as an honest node is
//! asked ([`App::rebuild`]).
//!
//! **What cannot be proven now** is asked for again: the blocks before it are written with their place, and the follower begins anew after
//! them, with a pause that grows. Nothing of what comes after it is looked at before: each change is made on what those before it left.

mod change;
mod prove;
mod said;

use self::{
    change::{At, Change},
    prove::{Kept, Shown},
    said::{Heard, SAID_MAX, Said},
};
use super::{App, Change as Told, Error, rollouts::steps as rollouts};
use crate::{
    serve::ServerKey,
    store::{followed, followed::Position},
};
use futures_util::StreamExt as _;
use kusabi_api::{
    Hex, Hex32, Kind, Problem,
    jumps::Jumps,
    ledger::{BlockEvents, Event},
    serve::stopped,
    verify::Trust,
};
use kusabi_core::{
    id::{Epoch, Handle, Height},
    tx::Transaction,
};
use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{broadcast, watch};

/// Most blocks that are looked at at once.
const BLOCKS_MAX: usize = 64;

/// Keys and releases after which a transaction ends: the database has other writers, who wait. What one block does beyond goes into further ones: done
/// again after a crash, it changes nothing.
const KEYS_MAX: usize = 4096;

/// Blocks without anything of the organisation after which the place is noted all the same.
const SILENT_MAX: u64 = 1024;

/// First and longest pause before the ledger is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What one pass over the ledger's events leaves to the next.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Whether anything was written, or more is known of what is to be written.
    pub(super) progress: bool,
    kept: Kept,
}

impl App {
    /// Handles of the organisation's keys that the ledger put, replaced or ended, as the follower comes across them. Who is too slow misses
    /// some, and is told so.
    #[must_use]
    pub fn ledger_changes(&self) -> broadcast::Receiver<Handle> {
        self.changes.subscribe()
    }

    /// Follows the ledger until `stop` turns true; when the ledger does not answer, it is asked again.
    pub async fn follow(&self, mut stop: watch::Receiver<bool>) {
        let mut pause = PAUSE.0;
        let mut pass = Pass::default();
        loop {
            pass.progress = false;
            let ended = tokio::select! {
                () = stopped(&mut stop) => return,
                ended = self.follow_until(None, &mut pass) => ended,
            };
            if pass.progress {
                pause = PAUSE.0;
            }
            match ended {
                Ok(()) => tracing::debug!("the ledger's events ended; asking again"),
                Err(why) => tracing::warn!(%why, "cannot follow the ledger; trying again"),
            }
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Follows from the noted place, up to a height or for as long as there are events.
    pub(super) async fn follow_until(
        &self,
        until: Option<u64>,
        pass: &mut Pass,
    ) -> Result<(), Error> {
        let mut noted = {
            let mut reader = self.store.read("follow the ledger").await?;
            followed::position(reader.on()).await?
        };
        let arrived = |at: Position| until.is_some_and(|until| at.height >= until);
        if arrived(noted) {
            return Ok(());
        }
        let after = Height::new(noted.height).map_err(|_| beyond(noted.height))?;
        let events = self
            .ask(async { Ok(self.ledger.unverified().events(after).await?) })
            .await?;
        let mut chunks = events.ready_chunks(BLOCKS_MAX);
        let mut at = noted;
        while let Some(chunk) = chunks.next().await {
            let mut blocks = Vec::with_capacity(chunk.len());
            let mut fault = None;
            for block in chunk {
                match block {
                    Ok(block) => blocks.push(block),
                    Err(why) => fault = Some(why),
                }
            }
            let mut rest = &blocks[..];
            while !rest.is_empty() {
                let (portion, after) = rest.split_at(portion(rest));
                rest = after;
                let (read, unread) = self.read_blocks(at, portion).await;
                let Shown {
                    whole,
                    changes,
                    fault: unproven,
                    gained,
                } = self.prove_blocks(&read, &mut pass.kept).await;
                pass.progress |= gained;
                let read = read.get(..whole).unwrap_or_default();
                if let Some(last) = read.last() {
                    at = last.place;
                    match self.write_blocks(noted, read, &changes, until).await? {
                        Applied::Noted => {
                            noted = at;
                            pass.progress = true;
                        }
                        Applied::Silent => {}
                        // A rebuild began, or another task follows: the place is read anew.
                        Applied::Moved => return Ok(()),
                    }
                }
                if let Some(why) = unproven.or(unread) {
                    return Err(why);
                }
                if arrived(at) {
                    return Ok(());
                }
            }
            if let Some(why) = fault {
                return Err(why.into());
            }
        }
        Ok(())
    }

    /// What blocks say that come after a place, up to the first of which that is not known.
    async fn read_blocks(
        &self,
        mut place: Position,
        blocks: &[BlockEvents],
    ) -> (Vec<Heard>, Option<Error>) {
        let mut read = Vec::with_capacity(blocks.len());
        for block in blocks {
            match self.read_block(place, block).await {
                Ok(one) => {
                    place = one.place;
                    read.push(one);
                }
                Err(why) => return (read, Some(why)),
            }
        }
        (read, None)
    }

    async fn read_block(&self, before: Position, block: &BlockEvents) -> Result<Heard, Error> {
        let place = next(before, block)?;
        let org = Hex(self.org().to_bytes());
        let mut said = Vec::new();
        let mut handles: Vec<Hex32> = Vec::new();
        for (event, moved) in said::coming(block, org) {
            handles.extend(&moved.keys);
            let from = event.organisation;
            let taken = |&handle| Said::Taken { handle, from };
            said.extend(moved.keys.iter().map(taken));
            if said.len() > SAID_MAX {
                return Err(too_much(block.height));
            }
        }
        let mut transactions = None;
        let ours = |event: &&Event| event.organisation == Some(org);
        for event in block.events.iter().filter(ours) {
            handles.extend(event.moved.iter().flat_map(|moved| &moved.keys));
            handles.extend(event.added.iter().chain(&event.ended));
            let own = |&handle| {
                self.own_key(handle)
                    .map(|what| Said::OwnKeyEnded { what, handle })
            };
            said.extend(event.ended.iter().filter_map(own));
            if said::needs_transaction(event) && transactions.is_none() {
                transactions = Some(self.transactions(block.height).await?);
            }
            let transactions = transactions.as_deref().unwrap_or_default();
            said::read(event, transactions, &mut |one| said.push(one))?;
            if said.len() > SAID_MAX {
                return Err(too_much(block.height));
            }
        }
        once(&mut said);
        once(&mut handles);
        let at = At {
            height: block.height,
            time_ms: block.time_ms,
        };
        Ok(Heard {
            place,
            at,
            said,
            handles,
        })
    }

    /// Writes what blocks did: all of it with the place, or nothing. It does so only if the database stands at `noted`.
    async fn write_blocks(
        &self,
        noted: Position,
        blocks: &[Heard],
        changes: &[(At, Change)],
        until: Option<u64>,
    ) -> Result<Applied, Error> {
        let Some(place) = blocks.last().map(|last| last.place) else {
            return Ok(Applied::Silent);
        };
        let silent = |block: &Heard| block.said.is_empty() && block.handles.is_empty();
        let due = place.height - noted.height >= SILENT_MAX
            || until.is_some_and(|until| place.height >= until);
        if blocks.iter().all(silent) && !due {
            return Ok(Applied::Silent);
        }
        self.has_come(place.height).await?;
        self.is_there(place).await?;
        for (part, last) in parts(changes) {
            // The place is noted with the last of it.
            if !self.write(noted, last.then_some(place), part).await? {
                return Ok(Applied::Moved);
            }
        }
        for handle in blocks.iter().flat_map(|block| &block.handles) {
            // Nobody may be listening.
            let _ = self.changes.send(Handle::new(handle.0));
        }
        Ok(Applied::Noted)
    }

    /// Sees that the ledger has come to a height: from a place that it has not, an honest node's events would be missed.
    async fn has_come(&self, height: u64) -> Result<(), Error> {
        if self.ledger.trust().anchor().height().get() >= height {
            return Ok(());
        }
        let (checkpoint, _) = self.ask(self.ledger.checkpoint()).await?;
        let proven = checkpoint.header().height.get();
        if proven >= height {
            return Ok(());
        }
        Err(Problem::new(
            Kind::BadAnswer,
            format!("the ledger node speaks of block {height}, and proves block {proven} to be the newest"),
        )
        .into())
    }

    /// Sees that there is a block at a place that the ledger has come to. Heights are jumped over by recoveries, which are proven by the way
    /// through the epochs: from a place that is beside them, each block of an honest node would seem to be one too far.
    async fn is_there(&self, place: Position) -> Result<(), Error> {
        let trust = self.ledger.trust();
        let epoch = trust.anchor().epoch();
        // The first one begins with no recovery.
        let skipped = match epoch == Epoch::ZERO {
            true => Some(0),
            false => {
                let height = Height::new(place.height).map_err(|_| beyond(place.height))?;
                self.jumps(epoch).await?.skipped(height)
            }
        };
        if skipped == Some(place.skipped) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::BadAnswer,
            format!(
                "the ledger node says that recoveries jumped over {} heights up to block {}, and the ledger proves that it is not so",
                place.skipped, place.height
            ),
        )
        .into())
    }

    /// Where recoveries jumped, up to an epoch. It is asked for once for each.
    async fn jumps(&self, epoch: Epoch) -> Result<Jumps, Error> {
        let known = self.lock_jumps().clone();
        let mut jumps = match known {
            Some(jumps) => jumps,
            None => {
                let chain = self.ledger.trust().anchor().chain();
                let genesis = async { Ok(self.ledger.unverified().genesis().await?) };
                Jumps::new(Trust::found(&chain, &self.ask(genesis).await?)?)
            }
        };
        if jumps.epoch() < epoch {
            let from = jumps.reached().clone();
            let (_, steps) = self.ask(self.ledger.way(from, Some(epoch))).await?;
            for step in &steps {
                jumps.follow(step)?;
            }
            *self.lock_jumps() = Some(jumps.clone());
        }
        Ok(jumps)
    }

    fn lock_jumps(&self) -> MutexGuard<'_, Option<Jumps>> {
        self.jumps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes changes in one transaction, and the place where they are all. False where the database does not stand at `noted`.
    async fn write(
        &self,
        noted: Position,
        place: Option<Position>,
        changes: &[(At, Change)],
    ) -> Result<bool, Error> {
        let trust = self.ledger.trust();
        let now_ms = self.edge.now_ms();
        let trust = &trust;
        let written = self
            .store
            .tx("follow the ledger", move |tx| {
                Box::pin(async move {
                    if followed::position(tx.on()).await? != noted {
                        return Ok::<_, Error>(None);
                    }
                    let mut devices = Vec::new();
                    let mut told = Vec::new();
                    let mut withdrawn = HashSet::new();
                    for (at, change) in changes {
                        devices.extend(change.apply(tx, at).await?);
                        if let Change::Release { digest, release } = change
                            && release.withdrawn_at().is_some()
                            && withdrawn.insert(digest.0)
                        {
                            told.extend(rollouts::withdrawn(tx, now_ms, digest.0).await?);
                        }
                    }
                    devices.sort_unstable();
                    devices.dedup();
                    told.extend(rollouts::left(tx, now_ms, &devices).await?);
                    if let Some(place) = place {
                        followed::set_position(tx.on(), place).await?;
                        let (anchor, set) = (trust.anchor().encode(), trust.set());
                        followed::set_trust(tx.on(), &anchor, set).await?;
                    }
                    told.extend(devices.into_iter().map(Told::Device));
                    Ok(Some(told))
                })
            })
            .await?;
        let Some(told) = written else {
            return Ok(false);
        };
        told.into_iter().for_each(|change| self.announce(change));
        Ok(true)
    }

    async fn transactions(&self, height: u64) -> Result<Vec<Transaction>, Error> {
        let at = Height::new(height).map_err(|_| beyond(height))?;
        let block = self
            .ask(async { Ok(self.ledger.unverified().block(at).await?) })
            .await?;
        let decoded = block.transactions.iter().map(|bytes| {
            Transaction::decode(bytes).map_err(|why| {
                Error::from(Problem::new(
                    Kind::BadAnswer,
                    format!("a transaction of block {height} cannot be read: {why}"),
                ))
            })
        });
        decoded.collect()
    }

    /// Which of the server's own keys this is.
    fn own_key(&self, handle: Hex32) -> Option<&'static str> {
        let own = [("server key", &self.ps), ("writer key", &self.writer)];
        own.into_iter().find_map(|(what, key)| {
            let is_it = |key: &ServerKey| key.handle.to_bytes() == handle.0;
            key.as_ref().is_some_and(is_it).then_some(what)
        })
    }
}

enum Applied {
    /// Written.
    Noted,
    /// There was nothing to write.
    Silent,
    /// The database stands at another place.
    Moved,
}

/// How many of these blocks go into one transaction.
fn portion(blocks: &[BlockEvents]) -> usize {
    let mut keys = 0;
    let fits = |block: &&BlockEvents| {
        let room = keys < KEYS_MAX;
        keys += block
            .events
            .iter()
            .map(|event| {
                let moved = event.moved.as_ref().map_or(0, |moved| moved.keys.len());
                let digest = usize::from(event.digest.is_some());
                event.added.len() + event.ended.len() + moved + digest
            })
            .sum::<usize>();
        room
    };
    blocks.iter().take_while(fits).count().max(1)
}

/// What goes into one transaction, and whether it is the last one: there is one at least.
fn parts<T>(all: &[T]) -> impl Iterator<Item = (&[T], bool)> {
    let count = all.len().div_ceil(KEYS_MAX).max(1);
    (1..=count).map(move |n| {
        let part = all.chunks(KEYS_MAX).nth(n - 1).unwrap_or_default();
        (part, n == count)
    })
}

/// The place after a block, if it is the next one.
fn next(at: Position, block: &BlockEvents) -> Result<Position, Error> {
    let count = |height: u64, skipped: u64| height.checked_sub(skipped);
    let before = count(at.height, at.skipped);
    let after = count(block.height, block.skipped);
    if block.skipped >= at.skipped
        && before.and_then(|before| before.checked_add(1)) == after
        && after.is_some()
    {
        return Ok(Position {
            height: block.height,
            skipped: block.skipped,
        });
    }
    Err(Problem::new(
        Kind::BadAnswer,
        format!(
            "after block {} the ledger node gave block {}; one is missing",
            at.height, block.height
        ),
    )
    .into())
}

/// Leaves each thing once, where it stands first.
fn once<T: Clone + Eq + std::hash::Hash>(all: &mut Vec<T>) {
    let mut seen = HashSet::with_capacity(all.len());
    all.retain(|one| seen.insert(one.clone()));
}

fn too_much(height: u64) -> Error {
    Problem::new(
        Kind::BadAnswer,
        format!("the ledger node says more of block {height} than a block can hold"),
    )
    .into()
}

fn beyond(height: u64) -> Error {
    Problem::new(
        Kind::BadAnswer,
        format!("the ledger node speaks of height {height}, which no ledger reaches"),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kusabi_api::ledger::Moved;
    use kusabi_core::id::TxId;

    #[test]
    fn keys_that_move_end_a_transaction_as_others_do() {
        let block = |keys: usize| BlockEvents {
            height: 1,
            time_ms: 0,
            skipped: 0,
            events: vec![Event {
                index: 0,
                id: TxId::new([1; 32]),
                action: "transfer".into(),
                organisation: None,
                added: Vec::new(),
                ended: Vec::new(),
                moved: Some(Moved {
                    to: Hex([2; 16]),
                    keys: vec![Hex([3; 32]); keys],
                }),
                digest: None,
            }],
        };
        let blocks = [1024, 3072, 1, 1].map(block);
        assert_eq!(portion(&blocks), 2);
        assert_eq!(portion(&blocks[1..]), 3);
        assert_eq!(portion(&[block(KEYS_MAX + 1), block(1)]), 1);
        let parts: Vec<_> = parts(&[0; 2 * KEYS_MAX + 1])
            .map(|(part, last)| (part.len(), last))
            .collect();
        assert_eq!(parts, [(KEYS_MAX, false), (KEYS_MAX, false), (1, true)]);
        assert_eq!(
            super::parts::<u8>(&[]).count(),
            1,
            "the place is noted all the same"
        );
    }
}
