//! Orders, and how far each device is with them.

use super::{On, StoreError, bytes, column, int, number, optional_bytes, word};
use kusabi_api::{
    Hex, Hex32,
    admin::{DeviceOrder, DeviceState, Order, OrderKind, OrderState, RolloutDeviceState, Target},
};
use sqlx::{AssertSqlSafe, any::AnyRow};

/// Where a database's orders begin: with the tenths of seconds since 2026 began.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// The number of the next order: the time, or one more than the last one's where that is higher. Devices remember by number what they have
/// done, so what follows on a database that was lost or set back must not take a number of that one again. (It does not as long as there
/// was less than ten orders a second.)
pub(crate) async fn next_id(on: On<'_>, now_ms: u64) -> Result<u64, StoreError> {
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM orders WHERE org = $1")
        .bind(on.org)
        .fetch_one(on.connection)
        .await
        .map_err(StoreError::of("number an order"))?;
    let time = now_ms.saturating_sub(BEGIN_MS) / 100;
    Ok(time.max(last.unsigned_abs() + 1))
}

/// A new order, after it was handed out: its counts are kept with it. `nonce` makes a report fresh.
pub(crate) async fn insert(
    on: On<'_>,
    order: &Order,
    nonce: Option<[u8; 32]>,
) -> Result<(), StoreError> {
    let (target_kind, target) = match &order.target {
        Target::Device(id) => ("device", id.clone()),
        Target::Group(id) => ("group", id.clone()),
        Target::Rollout(id) => ("rollout", id.to_string()),
    };
    sqlx::query(
        "INSERT INTO orders \
         (org, id, kind, release_digest, nonce, target_kind, target, created_ms, created_by, devices, waiting) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(on.org)
    .bind(int(order.id))
    .bind(order.kind.name())
    .bind(order.release.map(|digest| digest.0.to_vec()))
    .bind(nonce.map(|nonce| nonce.to_vec()))
    .bind(target_kind)
    .bind(target)
    .bind(int(order.created_ms))
    .bind(order.created_by.clone())
    .bind(int(order.devices))
    .bind(int(order.waiting))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert an order"))?;
    Ok(())
}

/// What a device has not answered it will not answer any more.
pub(crate) async fn drop_open(on: On<'_>, device: &str, at_ms: u64) -> Result<(), StoreError> {
    let On { connection, org } = on;
    let error = StoreError::of("drop a device's orders");
    let open = [OrderState::Waiting, OrderState::Sent].map(OrderState::name);
    sqlx::query(
        "UPDATE orders SET waiting = waiting - 1 WHERE org = $1 AND waiting > 0 AND id IN \
         (SELECT order_id FROM device_orders WHERE org = $1 AND device = $2 AND state IN ($3, $4))",
    )
    .bind(org.clone())
    .bind(device.to_owned())
    .bind(open[0])
    .bind(open[1])
    .execute(&mut *connection)
    .await
    .map_err(error)?;
    sqlx::query(
        "UPDATE device_orders SET state = $5, changed_ms = $6 \
         WHERE org = $1 AND device = $2 AND state IN ($3, $4)",
    )
    .bind(org)
    .bind(device.to_owned())
    .bind(open[0])
    .bind(open[1])
    .bind(OrderState::Dropped.name())
    .bind(int(at_ms))
    .execute(connection)
    .await
    .map_err(error)?;
    Ok(())
}

/// The releases of orders that were given by hand or by a policy, and that not all devices have answered.
pub(crate) async fn open_releases(on: On<'_>) -> Result<Vec<Hex32>, StoreError> {
    let error = StoreError::of("list the releases of open orders");
    let rows = sqlx::query(
        "SELECT DISTINCT release_digest FROM orders \
         WHERE org = $1 AND waiting > 0 AND target_kind <> 'rollout' AND release_digest IS NOT NULL",
    )
    .bind(on.org)
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row| Ok(Hex(bytes(row, "release_digest")?));
    let read: Result<Vec<_>, sqlx::Error> = rows.iter().map(read).collect();
    read.map_err(error)
}

/// Takes back what no device has fetched of these orders for a release.
pub(crate) async fn take_back(on: On<'_>, release: Hex32, at_ms: u64) -> Result<(), StoreError> {
    let error = StoreError::of("take orders for a release back");
    let On { connection, org } = on;
    sqlx::query(
        "UPDATE orders SET waiting = waiting - (SELECT COUNT(*) FROM device_orders w \
         WHERE w.org = orders.org AND w.order_id = orders.id AND w.state = $3) \
         WHERE org = $1 AND release_digest = $2 AND waiting > 0 AND target_kind <> 'rollout'",
    )
    .bind(org.clone())
    .bind(release.0.to_vec())
    .bind(OrderState::Waiting.name())
    .execute(&mut *connection)
    .await
    .map_err(error)?;
    sqlx::query(
        "UPDATE device_orders SET state = $4, changed_ms = $5 WHERE org = $1 AND state = $3 AND order_id IN \
         (SELECT id FROM orders WHERE org = $1 AND release_digest = $2 AND target_kind <> 'rollout')",
    )
    .bind(org)
    .bind(release.0.to_vec())
    .bind(OrderState::Waiting.name())
    .bind(OrderState::Dropped.name())
    .bind(int(at_ms))
    .execute(connection)
    .await
    .map_err(error)?;
    Ok(())
}

/// Gives an order to its devices, not to those that are another organisation's now; says to how many.
pub(crate) async fn hand_out(on: On<'_>, order: &Order) -> Result<u64, StoreError> {
    let moved = DeviceState::Moved.name();
    let (sql, target, word) = match &order.target {
        Target::Device(id) => (
            "INSERT INTO device_orders (org, order_id, device, state, changed_ms) \
             SELECT d.org, $2, d.id, $3, $4 FROM devices d WHERE d.org = $1 AND d.id = $5 AND d.state <> $6",
            id.clone(),
            moved,
        ),
        Target::Group(id) => (
            "INSERT INTO device_orders (org, order_id, device, state, changed_ms) \
             SELECT m.org, $2, m.device, $3, $4 FROM group_members m \
             JOIN devices d ON d.org = m.org AND d.id = m.device \
             WHERE m.org = $1 AND m.device_group = $5 AND d.state <> $6",
            id.clone(),
            moved,
        ),
        // Those that were marked for it.
        Target::Rollout(id) => (
            "INSERT INTO device_orders (org, order_id, device, state, changed_ms) \
             SELECT org, $2, device, $3, $4 FROM rollout_devices \
             WHERE org = $1 AND rollout = CAST($5 AS BIGINT) AND state = $6 AND order_id IS NULL",
            id.to_string(),
            RolloutDeviceState::Ordered.name(),
        ),
    };
    // A stock Mender device knows no other order.
    let class = match (&order.target, order.kind) {
        (Target::Rollout(_), _) | (_, OrderKind::Update | OrderKind::Repair) => "",
        _ => " AND d.class = 'kusabi'",
    };
    let done = sqlx::query(AssertSqlSafe(format!("{sql}{class}")))
        .bind(on.org)
        .bind(int(order.id))
        .bind(OrderState::Waiting.name())
        .bind(int(order.created_ms))
        .bind(target)
        .bind(word)
        .execute(on.connection)
        .await
        .map_err(StoreError::of("hand an order out"))?;
    Ok(done.rows_affected())
}

/// The orders with a number below `before`, at most `count`, the newest first.
pub(crate) async fn list(on: On<'_>, before: u64, count: u16) -> Result<Vec<Order>, StoreError> {
    let error = StoreError::of("list orders");
    let rows = sqlx::query(
        "SELECT id, kind, release_digest, target_kind, target, created_ms, created_by, devices, waiting \
         FROM orders WHERE org = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
    )
    .bind(on.org)
    .bind(int(before))
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The orders of a device with a number below `before`, at most `count`, the newest first.
pub(crate) async fn of_device(
    on: On<'_>,
    device: &str,
    before: u64,
    count: u16,
) -> Result<Vec<DeviceOrder>, StoreError> {
    let error = StoreError::of("list a device's orders");
    let rows = sqlx::query(
        "SELECT o.id, o.kind, o.release_digest, o.created_ms, o.created_by, w.state, w.changed_ms FROM device_orders w \
         JOIN orders o ON o.org = w.org AND o.id = w.order_id \
         WHERE w.org = $1 AND w.device = $2 AND o.id < $3 ORDER BY o.id DESC LIMIT $4",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(int(before))
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(DeviceOrder {
            id: number(row, "id")?,
            kind: word(row, "kind", OrderKind::from_name)?,
            release: optional_bytes(row, "release_digest")?.map(Hex),
            created_ms: number(row, "created_ms")?,
            created_by: column(row, "created_by")?,
            state: word(row, "state", OrderState::from_name)?,
            changed_ms: number(row, "changed_ms")?,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// Whether a device has an order of one of these kinds that it has not answered.
pub(crate) async fn is_open(
    on: On<'_>,
    device: &str,
    kinds: [OrderKind; 2],
) -> Result<bool, StoreError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT o.id FROM device_orders w JOIN orders o ON o.org = w.org AND o.id = w.order_id \
         WHERE w.org = $1 AND w.device = $2 AND w.state IN ($3, $4) AND o.kind IN ($5, $6) LIMIT 1",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(OrderState::Waiting.name())
    .bind(OrderState::Sent.name())
    .bind(kinds[0].name())
    .bind(kinds[1].name())
    .fetch_optional(on.connection)
    .await
    .map_err(StoreError::of("look for an open order"))?;
    Ok(found.is_some())
}

/// When the server gave a device its last order by itself to install this release once more.
pub(crate) async fn repaired(
    on: On<'_>,
    device: &str,
    release: Hex32,
) -> Result<Option<u64>, StoreError> {
    let error = StoreError::of("look for a repair");
    let row = sqlx::query(
        "SELECT o.created_ms FROM device_orders w JOIN orders o ON o.org = w.org AND o.id = w.order_id \
         WHERE w.org = $1 AND w.device = $2 AND o.kind = $3 AND o.release_digest = $4 AND o.created_by = $5 \
         ORDER BY o.id DESC LIMIT 1",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(OrderKind::Repair.name())
    .bind(release.0.to_vec())
    .bind("server")
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| number(row, "created_ms");
    row.as_ref().map(read).transpose().map_err(error)
}

/// When the oldest report was ordered that a device has not answered.
pub(crate) async fn report_open(on: On<'_>, device: &str) -> Result<Option<u64>, StoreError> {
    let error = StoreError::of("look for an open report");
    let row = sqlx::query(
        "SELECT o.created_ms FROM device_orders w JOIN orders o ON o.org = w.org AND o.id = w.order_id \
         WHERE w.org = $1 AND w.device = $2 AND w.state IN ($3, $4) AND o.kind = $5 ORDER BY o.id LIMIT 1",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(OrderState::Waiting.name())
    .bind(OrderState::Sent.name())
    .bind(OrderKind::Report.name())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| number(row, "created_ms");
    row.as_ref().map(read).transpose().map_err(error)
}

/// Whether an order asks for a report.
pub(crate) async fn is_report(on: On<'_>, order: u64) -> Result<bool, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT id FROM orders WHERE org = $1 AND id = $2 AND kind = $3")
            .bind(on.org)
            .bind(int(order))
            .bind(OrderKind::Report.name())
            .fetch_optional(on.connection)
            .await
            .map_err(StoreError::of("look at an order"))?;
    Ok(found.is_some())
}

/// The number of the newest order; 0 when there is none.
pub(crate) async fn newest(on: On<'_>) -> Result<u64, StoreError> {
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM orders WHERE org = $1")
        .bind(on.org)
        .fetch_one(on.connection)
        .await
        .map_err(StoreError::of("look for the newest order"))?;
    Ok(last.unsigned_abs())
}

/// The report that this nonce was drawn for, of a device that has not answered it.
pub(crate) async fn with_nonce(
    on: On<'_>,
    device: &str,
    nonce: [u8; 32],
) -> Result<Option<u64>, StoreError> {
    let error = StoreError::of("find the order of a nonce");
    let rows = sqlx::query(
        "SELECT o.id, o.nonce FROM device_orders w JOIN orders o ON o.org = w.org AND o.id = w.order_id \
         WHERE w.org = $1 AND w.device = $2 AND w.state IN ($3, $4) AND o.kind = $5",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(OrderState::Waiting.name())
    .bind(OrderState::Sent.name())
    .bind(OrderKind::Report.name())
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    for row in &rows {
        let one: Option<[u8; 32]> = optional_bytes(row, "nonce").map_err(error)?;
        if one == Some(nonce) {
            return number(row, "id").map(Some).map_err(error);
        }
    }
    Ok(None)
}

/// Whom an order was given to.
pub(super) fn target(row: &AnyRow) -> Result<Target, sqlx::Error> {
    let target: String = column(row, "target")?;
    word(row, "target_kind", |kind| match kind {
        "device" => Some(Target::Device(target.clone())),
        "group" => Some(Target::Group(target.clone())),
        "rollout" => target.parse().ok().map(Target::Rollout),
        _ => None,
    })
}

fn read(row: &AnyRow) -> Result<Order, sqlx::Error> {
    Ok(Order {
        id: number(row, "id")?,
        kind: word(row, "kind", OrderKind::from_name)?,
        release: optional_bytes(row, "release_digest")?.map(Hex),
        target: target(row)?,
        created_ms: number(row, "created_ms")?,
        created_by: column(row, "created_by")?,
        devices: number(row, "devices")?,
        waiting: number(row, "waiting")?,
    })
}
