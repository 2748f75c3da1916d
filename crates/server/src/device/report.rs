//! Signed inventories (spec/firmware.md, "Inventory statement"): received in parts, verified, compared, written.
//!
//! A statement is verified with its first part, before anything is kept for it: only a device key of this organisation, in force, can
//! take room here, for its own device, once.

use crate::{
    app::{App, Error, types::Expected},
    device::{
        Door,
        arriving::{NotTaken, Partial, Taken},
        journal::Batch,
        policy,
        serve::Said,
    },
    share::secs,
    store::{Tx, devices, inventories, orders, timeline},
};
use kusabi_api::{
    Hex, Hex32,
    admin::{
        AlarmKind, DifferenceKind, EventKind, Inventory as Verdict, InventoryDifference,
        InventoryItem, OnDifference, OrderKind, OrderState,
    },
};
use kusabi_core::{
    id::{Digest, Handle, Height, StateKey},
    inventory::{
        Asked, Comparison, Component, Difference, Inventory, InventoryReader, SignedInventory,
        StatementError, Tally, VerifiedStatement,
    },
    proof::Proof,
    protocol::{
        reply::{Answer, SealedProblem},
        request::ReportPart,
    },
    receipt::Heard,
    server::{Admitted, Incoming},
    set::EpochSet,
};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

/// Most differences that are kept one by one.
const DIFFERENCES_MAX: usize = 1000;

/// Seconds to wait when there is no room, or the ledger does not answer.
const LATER_SECS: u16 = 30;

/// A report that has come whole and is what its device signed.
#[derive(Debug)]
pub(super) struct Received {
    device: Arc<str>,
    signed: SignedInventory,
    signer: Handle,
    order: Option<u64>,
    inventory: Vec<u8>,
    expected: Option<Hex32>,
    tally: Tally,
    differences: Vec<InventoryDifference>,
    /// Why there was nothing to compare with, where there should have been.
    lost: Option<Lost>,
}

/// A repair by policy follows at most so often.
const REPAIR_AGAIN_MS: u64 = 24 * 3_600_000;

/// Why an inventory was compared with nothing, though something is expected of its device.
#[derive(Debug)]
struct Lost {
    why: String,
    /// Whether what is expected is named here.
    named: bool,
}

const fn refuse(problem: SealedProblem, wait_secs: u16) -> Said {
    Said::Other(Answer::Problem { problem, wait_secs })
}

/// Takes a part of a report.
pub(super) async fn take(
    door: &Door,
    device: &Arc<str>,
    incoming: &Incoming,
    admitted: &Admitted<'_>,
    part: &ReportPart<'_>,
) -> Said {
    if part.offset == 0
        && let Err(said) = begin(door, device, incoming, part).await
    {
        return said;
    }
    let taken = door
        .reports
        .part(device, incoming.handle(), part, Instant::now());
    let (whole, _held) = match taken {
        Err(NotTaken::Order) => return refuse(SealedProblem::ReportOrder, 1),
        Err(NotTaken::Room) => return refuse(SealedProblem::Unavailable, LATER_SECS),
        Ok(Taken::More) => {
            let bytes = u32::try_from(part.bytes.len()).unwrap_or(u32::MAX);
            let offset = part.offset.saturating_add(bytes);
            return Said::Other(Answer::Received {
                offset,
                receipt: None,
            });
        }
        Ok(Taken::Whole(whole, held)) => (whole, held),
    };
    let heard = Heard::Report(Digest::of(&whole.signed.encode()));
    match finish(door, device, *whole).await {
        // Signed once it is written.
        Ok(()) => match door.receipt(admitted, &heard) {
            Some(receipt) => Said::Other(Answer::Received {
                offset: part.total,
                receipt: Some(receipt),
            }),
            None => refuse(SealedProblem::Unavailable, LATER_SECS),
        },
        Err(said) => said,
    }
}

/// The first part: the statement must be whole in it, and verified, before anything is kept.
async fn begin(
    door: &Door,
    device: &Arc<str>,
    incoming: &Incoming,
    part: &ReportPart<'_>,
) -> Result<(), Said> {
    // Before the signature: whoever has the key makes as many as he likes.
    if let Some(known) = door.fleet.device(device)
        && let Err(wait) = known.reports.take()
    {
        let secs = u16::try_from(secs(wait)).unwrap_or(u16::MAX);
        return Err(refuse(SealedProblem::Unavailable, secs));
    }
    let not_allowed = refuse(SealedProblem::NotAllowed, LATER_SECS);
    let Some(signed) = part
        .bytes
        .get(..SignedInventory::LEN)
        .and_then(|bytes| SignedInventory::decode(bytes).ok())
    else {
        return Err(not_allowed);
    };
    let total = part.total as usize;
    let size = usize::try_from(signed.claimed().size()).unwrap_or(usize::MAX);
    if SignedInventory::LEN.checked_add(size) != Some(total) {
        return Err(not_allowed);
    }
    let nonce = (part.nonce != [0; 32]).then_some(part.nonce);
    let order = match nonce {
        None => None,
        Some(nonce) => {
            let found = async {
                let mut reader = door.app.store.read("find the order of a report").await?;
                orders::with_nonce(reader.on(), device, nonce).await
            };
            match found.await {
                Ok(Some(order)) => Some(order),
                Ok(None) => return Err(not_allowed),
                Err(why) => {
                    tracing::error!(%why, "a report was not taken");
                    return Err(refuse(SealedProblem::Unavailable, LATER_SECS));
                }
            }
        }
    };
    let asked = Asked {
        signer: *incoming.handle(),
        handshake: *incoming.handshake(),
        nonce,
        not_before: Height::ZERO,
    };
    let statement = match verify(&door.app, &signed, &asked).await {
        Ok(Ok(statement)) => statement,
        // The session was lost while it was made: the device signs anew.
        Ok(Err(StatementError::OtherSession)) => return Err(refuse(SealedProblem::ReportOrder, 1)),
        // The device has heard of a later block than this server: in a moment it will have, too.
        Ok(Err(StatementError::Future)) => return Err(refuse(SealedProblem::Unavailable, 5)),
        Ok(Err(why)) => {
            tracing::warn!(device = &**device, %why, "a signed inventory is refused");
            return Err(not_allowed);
        }
        Err(why) => {
            tracing::warn!(%why, "a report was not taken");
            return Err(refuse(SealedProblem::Unavailable, LATER_SECS));
        }
    };
    let now = Instant::now();
    let partial = Partial {
        statement,
        signed,
        signer: asked.signer,
        nonce: part.nonce,
        order,
        total: part.total,
        // Grows as it comes: a promise of much costs nothing.
        bytes: Vec::new(),
        begun: now,
        heard: now,
    };
    door.reports
        .begin(device, partial)
        .map_err(|_| refuse(SealedProblem::Unavailable, LATER_SECS))
}

/// Verifies a statement against the signer's record as it is proven now.
async fn verify(
    app: &App,
    signed: &SignedInventory,
    asked: &Asked,
) -> Result<Result<VerifiedStatement, StatementError>, Error> {
    let key = StateKey::record(&asked.signer);
    // The proof is checked twice: by whoever asks for it, and here, under what was trusted before it was asked for.
    let trust = app.ledger.trust();
    let proven = app.ask(app.ledger.lookup(key)).await?;
    let Ok(set) = EpochSet::decode(trust.set()) else {
        return Err(Error::Behind);
    };
    let Ok(proof) = Proof::decode(proven.proof()) else {
        return Err(Error::Behind);
    };
    // The epoch has turned in between: later.
    let Ok(record) = proof.check(trust.anchor(), &set, &key) else {
        return Err(Error::Behind);
    };
    Ok(VerifiedStatement::check(signed, asked, &record))
}

/// It is whole: is it what was signed, and what was expected?
async fn finish(door: &Door, device: &Arc<str>, whole: Partial) -> Result<(), Said> {
    let not_allowed = refuse(SealedProblem::NotAllowed, LATER_SECS);
    let Partial {
        statement,
        signed,
        signer,
        order,
        mut bytes,
        ..
    } = whole;
    bytes.drain(..SignedInventory::LEN.min(bytes.len()));
    // Reading what is expected, hashing and comparing take memory and time: a few at once.
    let Some(_turn) = door.reports.turn().await else {
        return Err(refuse(SealedProblem::Unavailable, LATER_SECS));
    };
    let expected = expected(
        &door.app,
        device,
        signed.claimed().release().map(|d| d.to_bytes()),
    );
    let expected = match expected.await {
        Ok(expected) => expected,
        Err(why) => {
            tracing::error!(%why, "a report was not compared");
            return Err(refuse(SealedProblem::Unavailable, LATER_SECS));
        }
    };
    let compared = tokio::task::spawn_blocking(move || compare(&statement, bytes, expected)).await;
    let Ok(Some((inventory, expected, tally, differences, lost))) = compared else {
        tracing::warn!(
            device = &**device,
            "an inventory is not the one that was signed"
        );
        return Err(not_allowed);
    };
    let received = Received {
        device: Arc::clone(device),
        signed,
        signer,
        order,
        inventory,
        expected,
        tally,
        differences,
        lost,
    };
    let job = super::journal::Job::Reported(Box::new(received));
    match door.journal.write(job).await {
        Ok(_) => Ok(()),
        Err(_) => Err(refuse(SealedProblem::Unavailable, LATER_SECS)),
    }
}

async fn expected(app: &App, device: &str, release: Option<[u8; 32]>) -> Result<Expected, Error> {
    let device_type = {
        let mut reader = app.store.read("find a device's type").await?;
        let found = devices::find(reader.on(), device).await?;
        found.and_then(|device| device.device_type)
    };
    app.expected_inventory(device_type.as_ref(), release).await
}

type Compared = (
    Vec<u8>,
    Option<Hex32>,
    Tally,
    Vec<InventoryDifference>,
    Option<Lost>,
);

/// `None`: it is not the inventory that was signed.
fn compare(statement: &VerifiedStatement, bytes: Vec<u8>, expected: Expected) -> Option<Compared> {
    let (expected, mut lost) = match expected {
        Expected::Unsaid => (None, None),
        Expected::Unknown(why) => (None, Some(Lost { why, named: false })),
        Expected::Lost(why) => (None, Some(Lost { why, named: true })),
        Expected::Said(bytes) => (Some(bytes), None),
    };
    let expected = expected.as_ref().and_then(|bytes| {
        let digest = kusabi_core::crypto::sha256(&[bytes]);
        match Inventory::decode(bytes) {
            Ok(inventory) => Some((inventory, digest)),
            Err(why) => {
                let why = format!("the expected one, {}, cannot be read: {why}", Hex(digest));
                lost = Some(Lost { why, named: true });
                None
            }
        }
    });
    let mut differences = Vec::new();
    let mut report = |difference: Difference<'_>| {
        if differences.len() < DIFFERENCES_MAX {
            differences.push(one(&difference));
        }
    };
    let mut reader = InventoryReader::default();
    let (digest, tally) = match &expected {
        None => {
            reader.feed(&bytes, |_| {}).ok()?;
            (None, Tally::default())
        }
        Some((expected, digest)) => {
            let mut comparison = Comparison::new(expected.components());
            reader
                .feed(&bytes, |component| {
                    comparison.actual(component, &mut report)
                })
                .ok()?;
            let digest = Hex(*digest);
            (Some(digest), comparison.finish(&mut report))
        }
    };
    let summary = reader.finish().ok()?;
    statement.about(&summary).ok()?;
    Some((bytes, digest, tally, differences, lost))
}

/// A component as people are shown it.
pub(crate) fn item(component: &Component<'_>) -> InventoryItem {
    InventoryItem {
        name: component.name().to_owned(),
        version: component.version().map(str::to_owned),
        kind: component.kind().name().to_owned(),
        size: component.size(),
        digest: Hex(component.digest().to_bytes()),
    }
}

fn one(difference: &Difference<'_>) -> InventoryDifference {
    let (kind, expected, actual) = match difference {
        Difference::Missing(expected) => (DifferenceKind::Missing, Some(item(expected)), None),
        Difference::Unexpected(actual) => (DifferenceKind::Unexpected, None, Some(item(actual))),
        Difference::Changed { expected, actual } => (
            DifferenceKind::Changed,
            Some(item(expected)),
            Some(item(actual)),
        ),
    };
    InventoryDifference {
        kind,
        expected,
        actual,
    }
}

/// Writes a report, with what follows from it.
pub(super) async fn write(
    batch: &mut Batch,
    tx: &mut Tx<'_>,
    received: &Received,
) -> Result<(), Error> {
    let Received {
        device,
        signed,
        signer,
        order,
        inventory,
        expected,
        tally,
        differences,
        lost,
    } = received;
    let claimed = signed.claimed();
    let digest = Hex(claimed.digest().to_bytes());
    let before = inventories::find(tx.on(), device).await?;
    let row = inventories::Row {
        digest,
        statement: signed.encode().to_vec(),
        signer: Hex(signer.to_bytes()),
        at_ms: batch.now_ms,
        expected: *expected,
        tally: *tally,
        differences: serde_json::to_string(differences)?,
    };
    inventories::put(tx.on(), device, &row, inventory).await?;
    let verdict = match (expected, tally.is_match()) {
        (None, _) => Verdict::Unknown,
        (Some(_), true) => Verdict::Expected,
        (Some(_), false) => Verdict::Differs,
    };
    let stood = devices::find(tx.on(), device).await?;
    let stood = stood.map_or(Verdict::Unknown, |device| device.inventory);
    devices::set_inventory(tx.on(), device, verdict).await?;
    let detail = json!({
        "digest": digest, "components": claimed.count(), "verdict": verdict, "order": order,
        "missing": tally.missing, "unexpected": tally.unexpected, "changed": tally.changed,
    });
    timeline::append(tx.on(), device, batch.now_ms, EventKind::Reported, &detail).await?;
    batch.tell(device);
    if let Some(order) = order {
        batch
            .settle(tx, device, *order, OrderState::Done, None)
            .await?;
    }
    if let Some(Lost { why, named }) = lost {
        tracing::error!(device = &**device, %why, "an inventory was compared with nothing");
        // Once, until it was compared with something again. A server that begins anew knows no releases yet, and that is no news.
        if stood != Verdict::Unknown || (*named && before.is_none()) {
            let detail = format!("the inventory was compared with nothing: {why}");
            batch
                .alarm(tx, device, AlarmKind::NoInventory, &detail)
                .await?;
        }
    }
    let news = before.is_none_or(|before| before.digest != digest || before.expected != *expected);
    if verdict == Verdict::Differs && news {
        let first = differences.first().map(|difference| {
            let item = difference.actual.as_ref().or(difference.expected.as_ref());
            item.map_or("", |item| &item.name)
        });
        let detail = format!(
            "the inventory differs from the expected one: {} missing, {} unexpected, {} changed; the first is `{}`",
            tally.missing,
            tally.unexpected,
            tally.changed,
            first.unwrap_or_default()
        );
        batch
            .alarm(tx, device, AlarmKind::Inventory, &detail)
            .await?;
        let follows = policy::on_difference(tx.on(), device).await?;
        if follows == OnDifference::Quarantine {
            batch.quarantine(tx, device, "inventory").await?;
        }
        let kinds = [OrderKind::Repair, OrderKind::Update];
        if let Some(release) = claimed.release()
            && follows == OnDifference::Order
            && !orders::is_open(tx.on(), device, kinds).await?
        {
            let release = Hex(release.to_bytes());
            // A repair that does not help is for a person to look at, also where it is another file that differs each time: what the last
            // one of this release came to was once expected since, and a day has gone by.
            let repaired = orders::repaired(tx.on(), device, release).await?;
            let helps = repaired.is_none_or(|at_ms| {
                stood == Verdict::Expected && batch.now_ms.saturating_sub(at_ms) >= REPAIR_AGAIN_MS
            });
            if helps {
                let release = Some(release);
                batch.order(tx, device, OrderKind::Repair, release).await?;
            }
        }
    }
    Ok(())
}
