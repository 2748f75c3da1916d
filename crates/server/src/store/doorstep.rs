//! What the device door asks and writes: links, contacts, orders that wait. Many devices at once where that is possible.

use super::{On, StoreError, bytes, column, int, number, optional_bytes, unreadable, word};
use kusabi_api::admin::{DeviceState, Freshness, Inventory, OrderKind, OrderState};
use kusabi_core::{
    id::{Digest, Handle, Height},
    inventory::SignedInventory,
    protocol::{
        reply::{Order, Task},
        tripwire::{Displaced, Row, Value},
    },
    suite::Signature,
};
use sqlx::{AssertSqlSafe, any::AnyRow};
use std::collections::HashMap;

/// How many rows one statement is about: few different statements, so that each is prepared once.
const CHUNKS: [usize; 3] = [64, 8, 1];

/// What a device in quarantine is given all the same (spec/device-protocol.md, "Messages").
const QUARANTINE: [OrderKind; 2] = [OrderKind::Repair, OrderKind::Rotate];

/// The slice in pieces of these sizes.
fn chunks<T>(mut all: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| *size <= all.len())?;
        let (chunk, rest) = all.split_at(size);
        all = rest;
        Some(chunk)
    })
}

/// `$from, $from+1, …`: so many parameters.
fn parameters(from: usize, count: usize) -> String {
    let all: Vec<String> = (from..from + count).map(|n| format!("${n}")).collect();
    all.join(", ")
}

/// A device as the door finds it by one of its keys.
#[derive(Clone, Debug)]
pub(crate) struct Doorstep {
    pub(crate) device: String,
    /// Version of its tripwire row; 0: there is none.
    pub(crate) link_version: u64,
}

/// The device that has this key.
pub(crate) async fn find(on: On<'_>, handle: [u8; 32]) -> Result<Option<Doorstep>, StoreError> {
    let error = StoreError::of("find a device by its key");
    let row = sqlx::query(
        "SELECT k.device, COALESCE(l.version, 0) AS version FROM device_keys k \
         LEFT JOIN device_links l ON l.org = k.org AND l.device = k.device \
         WHERE k.org = $1 AND k.handle = $2",
    )
    .bind(on.org)
    .bind(handle.to_vec())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Doorstep {
            device: column(row, "device")?,
            link_version: number(row, "version")?,
        })
    };
    row.as_ref().map(read).transpose().map_err(error)
}

/// The tripwire's rows of these devices, of those that have one.
pub(crate) async fn links(
    mut on: On<'_>,
    devices: &[String],
) -> Result<HashMap<String, Row>, StoreError> {
    let error = StoreError::of("read tripwire rows");
    let mut links = HashMap::with_capacity(devices.len());
    for chunk in chunks(devices) {
        let sql = format!(
            "SELECT device, confirmed_seq, confirmed_tag, pending_seq, pending_tag, displaced, version \
             FROM device_links WHERE org = $1 AND device IN ({})",
            parameters(2, chunk.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(on.org.clone());
        for device in chunk {
            query = query.bind(device.clone());
        }
        let rows = query.fetch_all(&mut *on.connection).await.map_err(error)?;
        for row in &rows {
            let (device, link) = read_link(row).map_err(error)?;
            links.insert(device, link);
        }
        on = On {
            connection: on.connection,
            org: on.org,
        };
    }
    Ok(links)
}

/// Forgets a device's tripwire row: it speaks with another organisation's servers, and nothing is known of its values any more.
pub(crate) async fn forget_link(on: On<'_>, device: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM device_links WHERE org = $1 AND device = $2")
        .bind(on.org)
        .bind(device.to_owned())
        .execute(on.connection)
        .await
        .map_err(StoreError::of("forget a tripwire row"))?;
    Ok(())
}

fn read_link(row: &AnyRow) -> Result<(String, Row), sqlx::Error> {
    Ok((
        column(row, "device")?,
        Row {
            confirmed: Value {
                seq: number(row, "confirmed_seq")?,
                tag: bytes(row, "confirmed_tag")?,
            },
            pending: Value {
                seq: number(row, "pending_seq")?,
                tag: bytes(row, "pending_tag")?,
            },
            displaced: displaced(&column::<Vec<u8>>(row, "displaced")?)
                .ok_or_else(|| unreadable("displaced"))?,
            version: number(row, "version")?,
        },
    ))
}

/// The values that were displaced: each `seq u64 ‖ tag 16`.
fn displaced(bytes: &[u8]) -> Option<Displaced> {
    let (values, []) = bytes.as_chunks::<24>() else {
        return None;
    };
    values.iter().try_fold(Displaced::NONE, |all, value| {
        let (seq, tag) = value.split_first_chunk()?;
        all.and(Value {
            seq: u64::from_be_bytes(*seq),
            tag: tag.try_into().ok()?,
        })
    })
}

fn displaced_bytes(displaced: &Displaced) -> Vec<u8> {
    let value = |value: &Value| [&value.seq.to_be_bytes()[..], &value.tag].concat();
    displaced.values().iter().flat_map(value).collect()
}

/// Puts tripwire rows in the place of those with the version before; says how many were so.
pub(crate) async fn set_links(on: On<'_>, links: &[(String, Row)]) -> Result<u64, StoreError> {
    let error = StoreError::of("set tripwire rows");
    let mut set = 0;
    for chunk in chunks(links) {
        let values: Vec<String> = (0..chunk.len())
            .map(|n| format!("($1, {})", parameters(2 + 7 * n, 7)))
            .collect();
        let sql = format!(
            "INSERT INTO device_links (org, device, confirmed_seq, confirmed_tag, pending_seq, pending_tag, \
             displaced, version) VALUES {} \
             ON CONFLICT (org, device) DO UPDATE SET confirmed_seq = excluded.confirmed_seq, \
             confirmed_tag = excluded.confirmed_tag, pending_seq = excluded.pending_seq, \
             pending_tag = excluded.pending_tag, displaced = excluded.displaced, version = excluded.version \
             WHERE device_links.version = excluded.version - 1",
            values.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(on.org.clone());
        for (device, row) in chunk {
            query = query
                .bind(device.clone())
                .bind(int(row.confirmed.seq))
                .bind(row.confirmed.tag.to_vec())
                .bind(int(row.pending.seq))
                .bind(row.pending.tag.to_vec())
                .bind(displaced_bytes(&row.displaced))
                .bind(int(row.version));
        }
        let done = query.execute(&mut *on.connection).await.map_err(error)?;
        set += done.rows_affected();
    }
    Ok(set)
}

/// Notes that these devices were heard.
pub(crate) async fn heard(on: On<'_>, devices: &[String], at_ms: u64) -> Result<(), StoreError> {
    let error = StoreError::of("note who was heard");
    for chunk in chunks(devices) {
        let sql = format!(
            "UPDATE devices SET last_contact_ms = $2 WHERE org = $1 AND id IN ({})",
            parameters(3, chunk.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(on.org.clone())
            .bind(int(at_ms));
        for device in chunk {
            query = query.bind(device.clone());
        }
        query.execute(&mut *on.connection).await.map_err(error)?;
    }
    Ok(())
}

/// Those of these devices whose verdict is from a statement before `before_ms`, and from when it is.
pub(crate) async fn old_inventories(
    on: On<'_>,
    devices: &[String],
    before_ms: u64,
) -> Result<Vec<(String, u64)>, StoreError> {
    let error = StoreError::of("look for old inventories");
    let mut found = Vec::new();
    for chunk in chunks(devices) {
        let sql = format!(
            "SELECT i.device, i.at_ms FROM device_inventories i JOIN devices d ON d.org = i.org AND d.id = i.device \
             WHERE i.org = $1 AND i.at_ms < $2 AND d.inventory <> $3 AND i.device IN ({})",
            parameters(4, chunk.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(on.org.clone())
            .bind(int(before_ms))
            .bind(Inventory::Unknown.name());
        for device in chunk {
            query = query.bind(device.clone());
        }
        let rows = query.fetch_all(&mut *on.connection).await.map_err(error)?;
        for row in &rows {
            let device = column(row, "device").map_err(error)?;
            found.push((device, number(row, "at_ms").map_err(error)?));
        }
    }
    Ok(found)
}

/// What a device said of itself last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) release: Option<[u8; 32]>,
    pub(crate) inventory: Option<[u8; 32]>,
    pub(crate) counter: u64,
    pub(crate) freshness: Freshness,
    /// Digest of its newest signed inventory.
    pub(crate) reported: Option<[u8; 32]>,
    /// The release that it was signed under.
    pub(crate) reported_release: Option<[u8; 32]>,
    /// Whether it has ever said anything.
    pub(crate) any: bool,
}

/// What a device said of itself last.
pub(crate) async fn facts(on: On<'_>, device: &str) -> Result<Facts, StoreError> {
    let error = StoreError::of("read what a device said");
    let row = sqlx::query(
        "SELECT d.firmware, d.freshness, f.device AS said, f.inventory, COALESCE(f.counter, 0) AS counter, i.digest, i.statement FROM devices d \
         LEFT JOIN device_facts f ON f.org = d.org AND f.device = d.id \
         LEFT JOIN device_inventories i ON i.org = d.org AND i.device = d.id \
         WHERE d.org = $1 AND d.id = $2",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        let said: Option<String> = column(row, "said")?;
        Ok(Facts {
            release: optional_bytes(row, "firmware")?,
            inventory: optional_bytes(row, "inventory")?,
            counter: number(row, "counter")?,
            freshness: word(row, "freshness", Freshness::from_name)?,
            reported: optional_bytes(row, "digest")?,
            reported_release: column::<Option<Vec<u8>>>(row, "statement")?
                .and_then(|bytes| SignedInventory::decode(&bytes).ok())
                .and_then(|signed| signed.claimed().release())
                .map(|release| release.to_bytes()),
            any: said.is_some(),
        })
    };
    match row {
        Some(row) => read(&row).map_err(error),
        None => Ok(Facts {
            release: None,
            inventory: None,
            counter: 0,
            freshness: Freshness::Unknown,
            reported: None,
            reported_release: None,
            any: false,
        }),
    }
}

/// Notes what a device says of itself.
pub(crate) async fn set_facts(on: On<'_>, device: &str, facts: &Facts) -> Result<(), StoreError> {
    let error = StoreError::of("note what a device says");
    sqlx::query("UPDATE devices SET firmware = $3, freshness = $4 WHERE org = $1 AND id = $2")
        .bind(on.org.clone())
        .bind(device.to_owned())
        .bind(facts.release.map(|digest| digest.to_vec()))
        .bind(facts.freshness.name())
        .execute(&mut *on.connection)
        .await
        .map_err(error)?;
    sqlx::query(
        "INSERT INTO device_facts (org, device, inventory, counter) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (org, device) DO UPDATE SET inventory = $3, counter = $4",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(facts.inventory.map(|digest| digest.to_vec()))
    .bind(int(facts.counter))
    .execute(on.connection)
    .await
    .map_err(error)?;
    Ok(())
}

/// An order that a device has not answered.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) id: u64,
    pub(crate) kind: OrderKind,
    pub(crate) release: Option<[u8; 32]>,
    pub(crate) nonce: Option<[u8; 32]>,
    /// Whether the device has it already.
    pub(crate) sent: bool,
}

impl Open {
    /// The protocol's form of it; `None` for a kind that devices do not know.
    pub(crate) fn order(&self) -> Option<Order> {
        let task = match self.kind {
            OrderKind::Update => Task::Update(Digest::new(self.release?)),
            OrderKind::Repair => Task::Repair(Digest::new(self.release?)),
            OrderKind::Report => Task::ReportInventory(self.nonce?),
            OrderKind::Rotate => Task::Rotate,
            _ => return None,
        };
        Some(Order { id: self.id, task })
    }
}

/// What a device signed of an order: what is needed, besides the order, to write the text again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrderReceipt {
    /// Which of its keys signed.
    pub(crate) signer: Handle,
    /// The server that it was said to.
    pub(crate) server: Handle,
    /// After which block.
    pub(crate) height: Height,
    pub(crate) signature: Signature,
}

impl OrderReceipt {
    fn to_bytes(self) -> Vec<u8> {
        [
            self.signer.as_ref(),
            self.server.as_ref(),
            &self.height.get().to_be_bytes(),
            self.signature.as_ref(),
        ]
        .concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (signer, rest) = bytes.split_first_chunk()?;
        let (server, rest) = rest.split_first_chunk()?;
        let (height, signature) = rest.split_first_chunk()?;
        Some(Self {
            signer: Handle::new(*signer),
            server: Handle::new(*server),
            height: Height::new(u64::from_be_bytes(*height)).ok()?,
            signature: Signature::new(signature.try_into().ok()?),
        })
    }
}

/// An order that a device was given, answered or not; how far it is, and what the device signed of it.
pub(crate) async fn order_of(
    on: On<'_>,
    device: &str,
    order: u64,
) -> Result<Option<(Open, OrderState, Option<OrderReceipt>)>, StoreError> {
    let error = StoreError::of("find an order of a device");
    let row = sqlx::query(
        "SELECT o.id, o.kind, o.release_digest, o.nonce, w.state, w.receipt FROM device_orders w \
         JOIN orders o ON o.org = w.org AND o.id = w.order_id \
         WHERE w.org = $1 AND w.order_id = $2 AND w.device = $3",
    )
    .bind(on.org)
    .bind(int(order))
    .bind(device.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        let receipt: Option<Vec<u8>> = column(row, "receipt")?;
        let receipt = receipt
            .map(|bytes| OrderReceipt::from_bytes(&bytes).ok_or_else(|| unreadable("receipt")))
            .transpose()?;
        Ok((
            open(row)?,
            word(row, "state", OrderState::from_name)?,
            receipt,
        ))
    };
    row.as_ref().map(read).transpose().map_err(error)
}

/// Keeps what a device signed of an order, if that is what the order stands at and nothing is kept yet.
pub(crate) async fn set_receipt(
    on: On<'_>,
    device: &str,
    order: u64,
    state: OrderState,
    receipt: &OrderReceipt,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE device_orders SET receipt = $4 \
         WHERE org = $1 AND order_id = $2 AND device = $3 AND state = $5 AND receipt IS NULL",
    )
    .bind(on.org)
    .bind(int(order))
    .bind(device.to_owned())
    .bind(receipt.to_bytes())
    .bind(state.name())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("keep what a device signed of an order"))?;
    Ok(())
}

fn open(row: &AnyRow) -> Result<Open, sqlx::Error> {
    Ok(Open {
        id: number(row, "id")?,
        kind: word(row, "kind", OrderKind::from_name)?,
        release: optional_bytes(row, "release_digest")?,
        nonce: optional_bytes(row, "nonce")?,
        sent: word(row, "state", OrderState::from_name)? == OrderState::Sent,
    })
}

/// The orders that a device has not answered and may have in its state, the oldest first, at most `count`.
pub(crate) async fn open_orders(
    on: On<'_>,
    device: &str,
    count: u16,
) -> Result<Vec<Open>, StoreError> {
    let error = StoreError::of("look for a device's orders");
    let rows = sqlx::query(
        "SELECT o.id, o.kind, o.release_digest, o.nonce, w.state FROM device_orders w \
         JOIN orders o ON o.org = w.org AND o.id = w.order_id \
         JOIN devices d ON d.org = w.org AND d.id = w.device \
         WHERE w.org = $1 AND w.device = $2 AND w.state IN ($3, $4) \
         AND (d.state <> $5 OR o.kind IN ($6, $7)) ORDER BY o.id LIMIT $8",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(OrderState::Waiting.name())
    .bind(OrderState::Sent.name())
    .bind(DeviceState::Quarantined.name())
    .bind(QUARANTINE[0].name())
    .bind(QUARANTINE[1].name())
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(&error)?;
    let mut orders = Vec::with_capacity(rows.len());
    for row in &rows {
        match open(row).map_err(&error) {
            Ok(order) => orders.push(order),
            // A later version of this program may have written it, and reads it; the others do not wait for that.
            Err(why) if why.is_unreadable() => {
                tracing::error!(device, %why, "an order cannot be read, and waits");
            }
            Err(why) => return Err(why),
        }
    }
    Ok(orders)
}

/// Notes how far a device is with an order, if it stands in one of `from`; says whether it did.
pub(crate) async fn set_order(
    on: On<'_>,
    device: &str,
    order: u64,
    from: [OrderState; 2],
    state: OrderState,
    at_ms: u64,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE device_orders SET state = $4, changed_ms = $5 \
         WHERE org = $1 AND order_id = $2 AND device = $3 AND state IN ($6, $7)",
    )
    .bind(on.org)
    .bind(int(order))
    .bind(device.to_owned())
    .bind(state.name())
    .bind(int(at_ms))
    .bind(from[0].name())
    .bind(from[1].name())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note how far an order is"))?;
    Ok(done.rows_affected() > 0)
}

/// One device fewer has not answered this order.
pub(crate) async fn answered(on: On<'_>, order: u64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE orders SET waiting = waiting - 1 WHERE org = $1 AND id = $2 AND waiting > 0",
    )
    .bind(on.org)
    .bind(int(order))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("count who has answered an order"))?;
    Ok(())
}

/// The devices that orders with a number above `after` went to, and the highest number.
pub(crate) async fn ordered_since(
    on: On<'_>,
    after: u64,
) -> Result<Vec<(u64, String)>, StoreError> {
    let error = StoreError::of("look for new orders");
    let rows =
        sqlx::query("SELECT order_id, device FROM device_orders WHERE org = $1 AND order_id > $2")
            .bind(on.org)
            .bind(int(after))
            .fetch_all(on.connection)
            .await
            .map_err(error)?;
    let read = |row: &AnyRow| Ok((number(row, "order_id")?, column(row, "device")?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}
