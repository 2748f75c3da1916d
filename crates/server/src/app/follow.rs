//! The follower: the organisation's part of the ledger's events, written into the database.
//!
//! **What it is used for**: to know which devices there are, which keys hang on which device, how a list looks, and whom to wake. It is
//! read from a node and not proven, but for transfers and revocations: those end orders and forget tripwire values, these end what stock
//! Mender devices have and lift a quarantine, so that each key's record is proven first. On the rest nothing rests that matters: who opens
//! a session, what a device installs, who may be ordered what is proven by [`VerifyingLedger`](kusabi_api::VerifyingLedger) where it
//! happens, and devices prove it themselves once more. A node that lies here can therefore hide a device or a withdrawal from the pages
//! for a while, or show some that are not there; or leave a stock Mender device the token that it has after its key was revoked, until that is a week old, or, by a withdrawal, an ended release key or a successor that there was not, pause a rollout, end what stock devices are under way with, or take a device out of force; what it hides comes up as soon as an honest node is asked ([`App::rebuild`]). It cannot let anything happen that the ledger forbids.

use super::{App, Change as Told, Error, devices::class_of, rollouts::steps as rollouts};
use crate::store::{
    Tx, devices, doorstep, followed, followed::Position, mender_artifacts, mender_devices, orders,
    releases, timeline,
};
use futures_util::{StreamExt as _, future::try_join_all};
use kusabi_api::{
    Hex, Hex32, Kind, Problem,
    admin::{Device, DeviceClass, DeviceKey, DeviceState, EventKind, Freshness, Inventory},
    ledger::{BlockEvents, Event, Moved},
    serve::stopped,
};
use kusabi_core::{
    id::{Handle, Height},
    row::{Record, Status},
    suite::Purpose,
    tx::Transaction,
};
use serde_json::json;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Most blocks that are looked at at once.
const BLOCKS_MAX: usize = 64;

/// Keys after which a transaction ends: the database has other writers, who wait. What one block does beyond goes into further ones: done
/// again after a crash, it changes nothing.
const KEYS_MAX: usize = 4096;

/// Most keys that have moved of which the proof is asked for at once.
const PROOFS_MAX: usize = 8;

/// Blocks without anything of the organisation after which the place is noted all the same.
const SILENT_MAX: u64 = 1024;

/// Keys that one follows on, at most, that are looked through for a device that was here before: as many as the door looks through.
const PREDECESSORS_MAX: usize = 64;

/// Status of a key that is another organisation's now, and of one that was taken out of force.
const MOVED: &str = "moved";
const REVOKED: &str = "revoked";

/// First and longest pause before the ledger is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What an event says.
#[derive(Clone, Debug)]
enum Said {
    /// Taken as it is.
    Plain(Change),
    /// A key has gone to another organisation.
    GivenAway { handle: Hex32, to: Hex<16> },
    /// A key has come from another one.
    Taken {
        handle: Hex32,
        from: Option<Hex<16>>,
    },
    /// A key was taken out of force.
    Revoked(Hex32),
}

/// What an event does to the database.
#[derive(Clone, Debug)]
enum Change {
    /// A first key.
    Device {
        handle: Hex32,
        purpose: Purpose,
        class: DeviceClass,
    },
    /// A key in the place of another.
    Follows {
        old: Hex32,
        new: Hex32,
        how: How,
    },
    /// A key that was taken out of force, as the ledger proves.
    Revoked(Hex32),
    /// A key that is another organisation's now, as the ledger proves.
    GivenAway {
        handle: Hex32,
        to: Hex<16>,
    },
    /// A key that came from another organisation, as the ledger proves.
    Taken {
        key: Origin,
        from: Option<Hex<16>>,
    },
    /// A key that came from another organisation, and has gone on to another one since.
    Passed(Origin),
    Published(Hex32),
    Withdrawn(Hex32),
    /// A key that signs releases, or artifacts.
    ArtKey(mender_artifacts::ArtKey),
    /// One that does so no more.
    ArtKeyEnded(Hex32),
}

/// A key that came, as the ledger proves it.
#[derive(Clone, Debug)]
struct Origin {
    handle: Hex32,
    purpose: Purpose,
    class: DeviceClass,
    /// The keys that it follows on, the newest first.
    before: Vec<Hex32>,
}

/// When it happened, by the ledger.
#[derive(Clone, Copy, Debug)]
struct At {
    height: u64,
    time_ms: u64,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Spent,
    Superseded,
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
        loop {
            let mut progress = false;
            let ended = tokio::select! {
                () = stopped(&mut stop) => return,
                ended = self.follow_until(None, &mut progress) => ended,
            };
            if progress {
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
        progress: &mut bool,
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
                at = portion.iter().try_fold(at, next)?;
                match self.apply_events(noted, at, portion, until).await? {
                    Applied::Noted => {
                        noted = at;
                        *progress = true;
                    }
                    Applied::Silent => {}
                    // A rebuild began, or another task follows: the place is read anew.
                    Applied::Moved => return Ok(()),
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

    /// Writes what blocks did, up to `at`: all of it with the place, or nothing. It does so only if the database stands at `noted`.
    async fn apply_events(
        &self,
        noted: Position,
        at: Position,
        blocks: &[BlockEvents],
        until: Option<u64>,
    ) -> Result<Applied, Error> {
        let org = Hex(self.org().to_bytes());
        let mut said = Vec::new();
        let mut handles: Vec<&Hex32> = Vec::new();
        let mut ended: Vec<&Hex32> = Vec::new();
        for block in blocks {
            let ours = |event: &&Event| event.organisation == Some(org);
            let mut transactions = None;
            for (event, moved) in coming(block, org) {
                handles.extend(&moved.keys);
                let at = At {
                    height: block.height,
                    time_ms: block.time_ms,
                };
                let from = event.organisation;
                let taken = |&handle| (at, Said::Taken { handle, from });
                said.extend(moved.keys.iter().map(taken));
            }
            for event in block.events.iter().filter(ours) {
                if let Some(moved) = &event.moved {
                    handles.extend(&moved.keys);
                    ended.extend(&moved.keys);
                }
                handles.extend(event.added.iter().chain(&event.ended));
                ended.extend(&event.ended);
                // What a registered key is for, and the whole of a foreign key, stand in the transaction only.
                if matches!(&*event.action, "register" | "art policy") && transactions.is_none() {
                    transactions = Some(self.transactions(block.height).await?);
                }
                let transactions = transactions.as_deref().unwrap_or_default();
                read(event, transactions, &mut |change| {
                    let at = At {
                        height: block.height,
                        time_ms: block.time_ms,
                    };
                    said.push((at, change));
                })?;
            }
        }
        let due =
            at.height - noted.height >= SILENT_MAX || until.is_some_and(|until| at.height >= until);
        if said.is_empty() && handles.is_empty() && !due {
            return Ok(Applied::Silent);
        }
        for (part, last) in parts(&said) {
            // The place is noted with the last of it.
            if !self.write(noted, last.then_some(at), part).await? {
                return Ok(Applied::Moved);
            }
        }
        for handle in ended {
            self.own_key(*handle);
        }
        for handle in handles {
            // Nobody may be listening.
            let _ = self.changes.send(Handle::new(handle.0));
        }
        Ok(Applied::Noted)
    }

    /// Writes in one transaction what events say, and the place where it is whole. False where the database does not stand at `noted`.
    async fn write(
        &self,
        noted: Position,
        place: Option<Position>,
        said: &[(At, Said)],
    ) -> Result<bool, Error> {
        let mut changes = Vec::new();
        for some in said.chunks(PROOFS_MAX) {
            let mut asked = Vec::with_capacity(some.len());
            for (at, said) in some {
                asked.push(self.prove(*at, said));
            }
            let proven = try_join_all(asked).await?;
            let proven = some.iter().zip(proven);
            changes.extend(proven.filter_map(|((at, _), change)| Some((*at, change?))));
        }
        let trust = self.ledger.trust();
        let now_ms = self.edge.now_ms();
        let (changes, trust) = (&changes, &trust);
        let written = self
            .store
            .tx("follow the ledger", move |tx| {
                Box::pin(async move {
                    if followed::position(tx.on()).await? != noted {
                        return Ok::<_, Error>(None);
                    }
                    let mut devices = Vec::new();
                    let mut told = Vec::new();
                    for (at, change) in changes {
                        devices.extend(change.apply(tx, at).await?);
                        if let Change::Withdrawn(digest) = change {
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

    /// What an event does; nothing where the ledger does not prove what it says. What came and has gone since, or went and has come back,
    /// is as it is now: of the ways in between nothing is left to be done.
    async fn prove(&self, at: At, said: &Said) -> Result<Option<Change>, Error> {
        Ok(match *said {
            Said::Plain(ref change) => Some(change.clone()),
            Said::GivenAway { handle, to } => {
                let record = self.record_at(at, handle).await?;
                let gone =
                    record.filter(|record| record.moves() > 0 && record.owner() != self.org());
                gone.map(|_| Change::GivenAway { handle, to })
            }
            Said::Revoked(handle) => {
                let record = self.record_at(at, handle).await?;
                let revoked = record.is_some_and(|record| {
                    record.status() == Status::Revoked && record.owner() == self.org()
                });
                if !revoked {
                    tracing::warn!(%handle, height = at.height, "the ledger node says that a key was revoked, and the ledger proves that it was not");
                }
                revoked.then_some(Change::Revoked(handle))
            }
            Said::Taken { handle, from } => {
                let record = self.record_at(at, handle).await?;
                let Some(record) = record.filter(|record| record.moves() > 0) else {
                    return Ok(None);
                };
                let ours = record.owner() == self.org();
                let key = Origin {
                    handle,
                    purpose: record.purpose(),
                    class: class_of(record.keys().suite()),
                    before: self.before(&record).await?,
                };
                Some(match ours {
                    true => Change::Taken { key, from },
                    false => Change::Passed(key),
                })
            }
        })
    }

    /// The record of a key, as the ledger proves it at the event's height or above; `None` when it proves that there is none.
    async fn record_at(&self, at: At, handle: Hex32) -> Result<Option<Record>, Error> {
        let proven = self.ask(self.ledger.record(&Handle::new(handle.0))).await?;
        let height = proven.height().get();
        if height < at.height {
            return Err(Problem::new(
                Kind::BadAnswer,
                format!(
                    "the ledger node speaks of block {}, and proves the key {handle} as it was at block {height}",
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

    /// Says so when one of the server's own keys is ended: nothing else would.
    fn own_key(&self, handle: Hex32) {
        for (what, key) in [("server key", &self.ps), ("writer key", &self.writer)] {
            if key
                .as_ref()
                .is_some_and(|key| key.handle.to_bytes() == handle.0)
            {
                tracing::warn!(%handle, "this server's {what} has ended on the ledger: nobody accepts what it signs; an officer grants another one");
            }
        }
    }
}

/// What of a block comes to an organisation from others.
fn coming(block: &BlockEvents, org: Hex<16>) -> impl Iterator<Item = (&Event, &Moved)> {
    block.events.iter().filter_map(move |event| {
        let moved = event.moved.as_ref()?;
        (moved.to == org).then_some((event, moved))
    })
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
                event.added.len() + event.ended.len() + moved
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

fn beyond(height: u64) -> Error {
    Problem::new(
        Kind::BadAnswer,
        format!("the ledger node speaks of height {height}, which no ledger reaches"),
    )
    .into()
}

/// The transaction of an event.
fn transaction<'t>(
    event: &Event,
    transactions: &'t [Transaction],
) -> Result<&'t Transaction, Error> {
    let transaction = usize::try_from(event.index)
        .ok()
        .and_then(|index| transactions.get(index))
        .filter(|transaction| transaction.id() == event.id);
    transaction.ok_or_else(|| {
        let detail = format!(
            "the ledger node's block does not hold the transaction {}",
            event.id
        );
        Problem::new(Kind::BadAnswer, detail).into()
    })
}

/// What an event of the organisation means for the database.
fn read(
    event: &Event,
    transactions: &[Transaction],
    say: &mut impl FnMut(Said),
) -> Result<(), Error> {
    let mut change = |change| say(Said::Plain(change));
    match (&*event.action, &event.added[..], &event.ended[..]) {
        ("art policy", _, ended) => {
            for entry in transaction(event, transactions)?.action().entries() {
                change(Change::ArtKey(mender_artifacts::ArtKey {
                    handle: Hex(entry.handle().to_bytes()),
                    suite: entry.keys().suite() as u8,
                    spki: entry.spki().to_vec(),
                }));
            }
            ended
                .iter()
                .for_each(|&ended| change(Change::ArtKeyEnded(ended)));
        }
        ("register", ..) => {
            for entry in transaction(event, transactions)?.action().entries() {
                if matches!(entry.purpose(), Purpose::Pre | Purpose::Act) {
                    change(Change::Device {
                        handle: Hex(entry.handle().to_bytes()),
                        purpose: entry.purpose(),
                        class: class_of(entry.keys().suite()),
                    });
                }
            }
        }
        ("activate", &[new], &[old]) => change(Change::Follows {
            old,
            new,
            how: How::Spent,
        }),
        ("supersede", &[new], &[old]) => change(Change::Follows {
            old,
            new,
            how: How::Superseded,
        }),
        ("revoke", _, ended) => ended.iter().for_each(|&ended| say(Said::Revoked(ended))),
        ("transfer", ..) => event.moved.iter().for_each(|moved| {
            let to = moved.to;
            moved
                .keys
                .iter()
                .for_each(|&handle| say(Said::GivenAway { handle, to }));
        }),
        ("publish", ..) => event
            .digest
            .iter()
            .for_each(|&digest| change(Change::Published(digest))),
        ("withdraw release", ..) => event
            .digest
            .iter()
            .for_each(|&digest| change(Change::Withdrawn(digest))),
        _ => {}
    }
    Ok(())
}

impl Change {
    /// Writes it; says which device it was about.
    async fn apply(&self, tx: &mut Tx<'_>, at: &At) -> Result<Option<String>, Error> {
        let height = at.height;
        match *self {
            Self::GivenAway { handle, to } => {
                let Some((device, before)) = devices::key(tx.on(), handle.0).await? else {
                    return Ok(None);
                };
                if before.ended.is_some() {
                    return Ok(None);
                }
                devices::end_key(tx.on(), handle.0, MOVED, height).await?;
                devices::set_state(tx.on(), &device, DeviceState::Moved).await?;
                orders::drop_open(tx.on(), &device, at.time_ms).await?;
                doorstep::forget_link(tx.on(), &device).await?;
                let detail = json!({ "handle": handle, "height": height, "to": to });
                at.say(tx, &device, EventKind::GivenAway, &detail).await?;
                Ok(Some(device))
            }
            Self::Taken { ref key, from } => {
                let Origin {
                    handle,
                    purpose,
                    class,
                    ref before,
                } = *key;
                let state = match purpose {
                    Purpose::Pre => DeviceState::Registered,
                    _ => DeviceState::Active,
                };
                // It may have been this organisation's before, by this key or by one before it.
                let mut device = None;
                for handle in [handle].iter().chain(before) {
                    if device.is_none() {
                        device = devices::with_key(tx.on(), handle.0).await?;
                    }
                }
                let device = match device {
                    Some(device) => device,
                    None => known(tx, at, handle, state, class).await?,
                };
                match devices::key(tx.on(), handle.0).await? {
                    Some((_, key)) if key.status == MOVED => {
                        devices::revive_key(tx.on(), handle.0).await?;
                        devices::set_state(tx.on(), &device, state).await?;
                    }
                    // It has been here all the time, as far as is known here.
                    Some(_) => {}
                    None => {
                        let entry = key_of(handle, purpose.name(), before.first().copied(), height);
                        devices::insert_key(tx.on(), &device, &entry).await?;
                        devices::set_state(tx.on(), &device, state).await?;
                    }
                }
                let detail = json!({ "handle": handle, "height": height, "from": from });
                at.say(tx, &device, EventKind::Taken, &detail).await?;
                Ok(Some(device))
            }
            Self::Passed(ref key) => {
                // Only one that was known before a rebuild, by this key, is put in its place again.
                let device = kusabi_api::admin::device_id(&key.handle);
                let known = devices::find(tx.on(), &device).await?.is_some();
                if !known || !devices::keys(tx.on(), &device).await?.is_empty() {
                    return Ok(None);
                }
                let before = key.before.first().copied();
                let entry = DeviceKey {
                    status: MOVED.into(),
                    ended: Some(height),
                    ..key_of(key.handle, key.purpose.name(), before, height)
                };
                devices::insert_key(tx.on(), &device, &entry).await?;
                devices::set_state(tx.on(), &device, DeviceState::Moved).await?;
                Ok(Some(device))
            }
            Self::Device {
                handle,
                purpose,
                class,
            } => {
                if devices::with_key(tx.on(), handle.0).await?.is_some() {
                    return Ok(None);
                }
                let state = match purpose {
                    Purpose::Pre => DeviceState::Registered,
                    _ => DeviceState::Active,
                };
                let id = known(tx, at, handle, state, class).await?;
                let key = key_of(handle, purpose.name(), None, height);
                devices::insert_key(tx.on(), &id, &key).await?;
                Ok(Some(id))
            }
            Self::Follows { old, new, how } => {
                // A key of another kind (an app's) is nothing to this table.
                let Some((device, before)) = devices::key(tx.on(), old.0).await? else {
                    return Ok(None);
                };
                let (status, kind, purpose) = match how {
                    How::Spent => ("spent", EventKind::Activated, Purpose::Act.name()),
                    How::Superseded => ("superseded", EventKind::Rotated, &*before.purpose),
                };
                devices::end_key(tx.on(), old.0, status, height).await?;
                if devices::with_key(tx.on(), new.0).await?.is_none() {
                    let key = key_of(new, purpose, Some(old), height);
                    devices::insert_key(tx.on(), &device, &key).await?;
                }
                devices::set_state(tx.on(), &device, DeviceState::Active).await?;
                at.tell(tx, &device, kind, new).await?;
                Ok(Some(device))
            }
            Self::Revoked(handle) => {
                art_key_ended(tx, handle).await?;
                let Some((device, before)) = devices::key(tx.on(), handle.0).await? else {
                    return Ok(None);
                };
                // Of a key that ended before it is now known that it was compromised: the device has another one.
                let ended = before.ended.unwrap_or(height);
                devices::end_key(tx.on(), handle.0, REVOKED, ended).await?;
                // The block may be done again.
                let again = before.status == REVOKED && ended == height;
                // A Mender device may have been given another key before.
                let keys = devices::keys(tx.on(), &device).await?;
                let has_another = keys.iter().any(|key| key.ended.is_none());
                if (before.ended.is_none() || again) && !has_another {
                    devices::set_state(tx.on(), &device, DeviceState::Revoked).await?;
                }
                at.tell(tx, &device, EventKind::Revoked, handle).await?;
                Ok(Some(device))
            }
            Self::Published(digest) => {
                releases::note(tx.on(), digest.0, height, None).await?;
                Ok(None)
            }
            Self::Withdrawn(digest) => {
                releases::withdraw(tx.on(), digest.0, height).await?;
                Ok(None)
            }
            Self::ArtKey(ref key) => {
                mender_artifacts::note_art_key(tx.on(), key).await?;
                Ok(None)
            }
            Self::ArtKeyEnded(handle) => {
                art_key_ended(tx, handle).await?;
                Ok(None)
            }
        }
    }
}

/// Forgets a release key that has ended, and says so where the same key counts under another handle.
async fn art_key_ended(tx: &mut Tx<'_>, handle: Hex32) -> Result<(), Error> {
    for twin in mender_artifacts::twins(tx.on(), handle).await? {
        tracing::warn!(%handle, %twin, "a key that signs artifacts has ended, and the same key still counts under another handle; end that one, too: kusabi org art --remove");
    }
    Ok(mender_artifacts::forget_art_key(tx.on(), handle).await?)
}

impl At {
    /// Puts it into the device's timeline.
    async fn tell(
        &self,
        tx: &mut Tx<'_>,
        device: &str,
        kind: EventKind,
        handle: Hex32,
    ) -> Result<(), Error> {
        let detail = json!({ "handle": handle, "height": self.height });
        self.say(tx, device, kind, &detail).await
    }

    async fn say(
        &self,
        tx: &mut Tx<'_>,
        device: &str,
        kind: EventKind,
        detail: &serde_json::Value,
    ) -> Result<(), Error> {
        timeline::append_once(tx.on(), device, self.time_ms, kind, detail).await?;
        Ok(())
    }
}

/// The device whose first key here this is, or which has it beside others; gives its ID.
async fn known(
    tx: &mut Tx<'_>,
    at: &At,
    handle: Hex32,
    state: DeviceState,
    class: DeviceClass,
) -> Result<String, Error> {
    // A Mender device may have several keys, none of which follows on another: which of them belong together is known here only.
    let id = match mender_devices::with_handle(tx.on(), handle.0).await? {
        Some(device) => device,
        None => kusabi_api::admin::device_id(&handle),
    };
    match devices::find(tx.on(), &id).await? {
        // From before a rebuild: what only the database knows of it stayed.
        Some(_) => devices::set_state(tx.on(), &id, state).await?,
        None => {
            let device = Device {
                id: id.clone(),
                class,
                state,
                device_type: None,
                serial: None,
                name: None,
                firmware: None,
                inventory: Inventory::Unknown,
                freshness: Freshness::Unknown,
                last_contact_ms: None,
                created_ms: at.time_ms,
            };
            devices::insert(tx.on(), &device).await?;
            at.tell(tx, &id, EventKind::Known, handle).await?;
        }
    }
    Ok(id)
}

fn key_of(handle: Hex32, purpose: &str, predecessor: Option<Hex32>, height: u64) -> DeviceKey {
    DeviceKey {
        handle,
        purpose: purpose.to_owned(),
        predecessor,
        registered: height,
        status: String::from("active"),
        ended: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
