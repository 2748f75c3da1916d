//! What the door follows: the ledger, for what must be asked anew, and the orders, for whom to wake.

use super::{Door, TICK, wait};
use crate::{
    app::{Change, Error},
    store::{doorstep, orders as rows},
};
use futures_util::StreamExt as _;
use kusabi_api::Ledger as _;
use kusabi_core::{
    id::{Handle, OrgId},
    row::{Record, Status},
};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::sync::{
    broadcast::error::{RecvError, TryRecvError},
    watch,
};

/// Pause before the ledger is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Most blocks that are looked at together.
const BLOCKS_MAX: usize = 64;

/// Follows the ledger.
pub(super) async fn ledger(door: Arc<Door>, mut stop: watch::Receiver<bool>) {
    loop {
        let ended = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            ended = follow(&door) => ended,
        };
        if let Err(why) = ended {
            tracing::warn!(%why, "the device door does not hear of the ledger; trying again");
        }
        if wait(&mut stop, PAUSE).await {
            return;
        }
    }
}

async fn follow(door: &Door) -> Result<(), Error> {
    let seen = door.view.look(&door.app, &door.key.handle).await?;
    let events = door.app.ledger.unverified().events(seen.height);
    let events = door.app.ask(async { Ok(events.await?) }).await?;
    // From here on nothing is missed; what was known may have changed before.
    door.view.forget(seen.height);
    door.app.strangers.forget(seen.height);
    let mut chunks = events.ready_chunks(BLOCKS_MAX);
    while let Some(chunk) = chunks.next().await {
        let mut ended = Vec::new();
        let mut fault = None;
        for block in chunk {
            match block {
                Ok(block) => {
                    door.app.strangers.block(&block);
                    ended.extend(door.view.block(&block));
                }
                Err(why) => fault = Some(why),
            }
        }
        door.view.look(&door.app, &door.key.handle).await?;
        for handle in ended {
            settle(door, &handle).await;
        }
        if let Some(why) = fault {
            return Err(why.into());
        }
    }
    Ok(())
}

/// A key has ended, or came to another organisation: if it was revoked or is another one's now, so have its sessions. Only keys that are spoken with are looked at.
async fn settle(door: &Door, handle: &Handle) {
    let Some(known) = door.fleet.find(handle) else {
        return;
    };
    match door.view.record(&door.app, handle).await {
        Ok(record) if record.is_none_or(|record| is_gone(&record, &door.app.org())) => {
            let ended = door.table().sessions.end(handle);
            tracing::info!(
                device = &*known.device,
                ended,
                "a key was revoked, or is another organisation's now; its sessions ended"
            );
        }
        Ok(_) => {}
        // It is looked at again with its next message: the record is not known any more.
        Err(why) => tracing::warn!(%why, "a key that ended cannot be looked at"),
    }
    known.tell();
}

/// Whether nothing is served to a key any more: it was revoked, or is another organisation's now.
pub(super) fn is_gone(record: &Record, org: &OrgId) -> bool {
    record.status() == Status::Revoked || record.owner() != *org
}

/// Wakes the devices that have new orders: at once those of this process, within a second those of others over the same database.
pub(super) async fn orders(door: Arc<Door>, mut stop: watch::Receiver<bool>) {
    let mut live = door.app.live();
    let mut newest = None;
    loop {
        if let Err(why) = catch_up(&door, &mut newest).await {
            tracing::error!(%why, "new orders cannot be looked for");
        }
        let until = tokio::time::Instant::now() + TICK;
        let mut order = false;
        // Until there is a new order, or a second is over; what has come together is looked at together.
        while !order {
            let change = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep_until(until) => break,
                change = live.recv() => change,
            };
            let mut next = Some(change);
            while let Some(change) = next {
                match change {
                    Ok(change) => order |= heard(&door, &change),
                    Err(RecvError::Lagged(_)) => {
                        order = true;
                        door.fleet.all().iter().for_each(|known| known.tell());
                    }
                    Err(RecvError::Closed) => return,
                }
                next = match live.try_recv() {
                    Ok(change) => Some(Ok(change)),
                    Err(TryRecvError::Lagged(missed)) => Some(Err(RecvError::Lagged(missed))),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => None,
                };
            }
        }
    }
}

/// Whether a change is about orders.
fn heard(door: &Door, change: &Change) -> bool {
    match change {
        Change::Order(_) => true,
        // Its state may have changed, and with it which orders it gets.
        Change::Device(device) => {
            if let Some(known) = door.fleet.device(device) {
                known.tell();
            }
            false
        }
        Change::Alarm(_) | Change::Rollout(_) => false,
    }
}

async fn catch_up(door: &Door, newest: &mut Option<u64>) -> Result<(), Error> {
    let mut reader = door.app.store.read("look for new orders").await?;
    let Some(after) = *newest else {
        // Whoever comes asks for what there is.
        let now = rows::newest(reader.on()).await?;
        door.orders.store(now, SeqCst);
        *newest = Some(now);
        return Ok(());
    };
    for (order, device) in doorstep::ordered_since(reader.on(), after).await? {
        *newest = (*newest).max(Some(order));
        if let Some(known) = door.fleet.device(&device) {
            known.tell();
        }
    }
    door.orders.store(newest.unwrap_or_default(), SeqCst);
    Ok(())
}
