//! What happened to devices. Rows are only ever added.

use super::{On, StoreError, column, int, number, word};
use kusabi_api::admin::{DeviceEvent, EventKind};
use sqlx::any::AnyRow;

/// Adds an event to a device's timeline.
pub(crate) async fn append(
    on: On<'_>,
    device: &str,
    at_ms: u64,
    kind: EventKind,
    detail: &serde_json::Value,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO device_events (org, device, seq, at_ms, kind, detail) \
         SELECT $1, $2, COALESCE(MAX(seq), 0) + 1, $3, $4, $5 FROM device_events WHERE org = $1 AND device = $2",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(int(at_ms))
    .bind(kind.name())
    .bind(detail.to_string())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("add to a device's timeline"))?;
    Ok(())
}

/// Adds what the ledger did to a device, unless the same stands there: a rebuild comes across it again.
pub(crate) async fn append_once(
    on: On<'_>,
    device: &str,
    at_ms: u64,
    kind: EventKind,
    detail: &serde_json::Value,
) -> Result<(), StoreError> {
    let On { connection, org } = on;
    let detail = detail.to_string();
    let there: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM device_events WHERE org = $1 AND device = $2 AND kind = $3 AND detail = $4 LIMIT 1",
    )
    .bind(org.clone())
    .bind(device.to_owned())
    .bind(kind.name())
    .bind(detail.clone())
    .fetch_optional(&mut *connection)
    .await
    .map_err(StoreError::of("look into a device's timeline"))?;
    if there.is_some() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO device_events (org, device, seq, at_ms, kind, detail) \
         SELECT $1, $2, COALESCE(MAX(seq), 0) + 1, $3, $4, $5 FROM device_events WHERE org = $1 AND device = $2",
    )
    .bind(org)
    .bind(device.to_owned())
    .bind(int(at_ms))
    .bind(kind.name())
    .bind(detail)
    .execute(connection)
    .await
    .map_err(StoreError::of("add to a device's timeline"))?;
    Ok(())
}

/// Adds an event to the timeline of every device that an order was given to.
pub(crate) async fn append_order(
    on: On<'_>,
    order: u64,
    at_ms: u64,
    detail: &serde_json::Value,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO device_events (org, device, seq, at_ms, kind, detail) \
         SELECT o.org, o.device, COALESCE(\
             (SELECT MAX(e.seq) FROM device_events e WHERE e.org = o.org AND e.device = o.device), 0) + 1, \
             $3, $4, $5 \
         FROM device_orders o WHERE o.org = $1 AND o.order_id = $2",
    )
    .bind(on.org)
    .bind(int(order))
    .bind(int(at_ms))
    .bind(EventKind::OrderGiven.name())
    .bind(detail.to_string())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("add an order to its devices' timelines"))?;
    Ok(())
}

/// The events of a device with a number below `before`, at most `count`, the newest first.
pub(crate) async fn list(
    on: On<'_>,
    device: &str,
    before: u64,
    count: u16,
) -> Result<Vec<DeviceEvent>, StoreError> {
    let error = StoreError::of("list a device's timeline");
    let rows = sqlx::query(
        "SELECT seq, at_ms, kind, detail FROM device_events \
         WHERE org = $1 AND device = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(int(before))
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        let detail: String = column(row, "detail")?;
        Ok(DeviceEvent {
            seq: number(row, "seq")?,
            at_ms: number(row, "at_ms")?,
            kind: word(row, "kind", EventKind::from_name)?,
            detail: serde_json::from_str(&detail).map_err(|_| super::unreadable("detail"))?,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}
