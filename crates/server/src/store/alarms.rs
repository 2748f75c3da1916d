//! Alarms.

use super::{On, StoreError, column, int, number, optional_number, word};
use kusabi_api::admin::{Alarm, AlarmKind};
use sqlx::any::AnyRow;

/// The number of the next alarm.
pub(crate) async fn next_id(on: On<'_>) -> Result<u64, StoreError> {
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM alarms WHERE org = $1")
        .bind(on.org)
        .fetch_one(on.connection)
        .await
        .map_err(StoreError::of("number an alarm"))?;
    Ok(last.unsigned_abs() + 1)
}

/// A new alarm.
pub(crate) async fn insert(on: On<'_>, alarm: &Alarm) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO alarms (org, id, device, kind, detail, raised_ms) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(on.org)
    .bind(int(alarm.id))
    .bind(alarm.device.clone())
    .bind(alarm.kind.name())
    .bind(alarm.detail.clone())
    .bind(int(alarm.raised_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("raise an alarm"))?;
    Ok(())
}

/// The alarms with a number below `before`, at most `count`, the newest first; `open`: only those that nobody took note of.
pub(crate) async fn list(
    on: On<'_>,
    open: bool,
    before: u64,
    count: u16,
) -> Result<Vec<Alarm>, StoreError> {
    let error = StoreError::of("list alarms");
    let sql = if open {
        "SELECT id, device, kind, detail, raised_ms, acknowledged_ms, acknowledged_by FROM alarms \
         WHERE org = $1 AND id < $2 AND acknowledged_ms IS NULL ORDER BY id DESC LIMIT $3"
    } else {
        "SELECT id, device, kind, detail, raised_ms, acknowledged_ms, acknowledged_by FROM alarms \
         WHERE org = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
    };
    let rows = sqlx::query(sql)
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

/// The open alarms of one device, at most `count`, the newest first.
pub(crate) async fn open_of(
    on: On<'_>,
    device: &str,
    count: u16,
) -> Result<Vec<Alarm>, StoreError> {
    let error = StoreError::of("list a device's alarms");
    let rows = sqlx::query(
        "SELECT id, device, kind, detail, raised_ms, acknowledged_ms, acknowledged_by FROM alarms \
         WHERE org = $1 AND device = $2 AND acknowledged_ms IS NULL ORDER BY id DESC LIMIT $3",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// How many alarms are open, counted up to `most`.
pub(crate) async fn count_open(on: On<'_>, most: u64) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM (SELECT id FROM alarms \
         WHERE org = $1 AND acknowledged_ms IS NULL LIMIT $2) AS open_alarms",
    )
    .bind(on.org)
    .bind(int(most))
    .fetch_one(on.connection)
    .await
    .map_err(StoreError::of("count open alarms"))?;
    Ok(count.unsigned_abs())
}

/// One alarm.
pub(crate) async fn find(on: On<'_>, id: u64) -> Result<Option<Alarm>, StoreError> {
    let error = StoreError::of("find an alarm");
    let row = sqlx::query(
        "SELECT id, device, kind, detail, raised_ms, acknowledged_ms, acknowledged_by FROM alarms \
         WHERE org = $1 AND id = $2",
    )
    .bind(on.org)
    .bind(int(id))
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// Whether an alarm of this kind about this device was raised that nobody took note of.
pub(crate) async fn is_open(on: On<'_>, device: &str, kind: AlarmKind) -> Result<bool, StoreError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM alarms WHERE org = $1 AND device = $2 AND kind = $3 AND acknowledged_ms IS NULL LIMIT 1",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(kind.name())
    .fetch_optional(on.connection)
    .await
    .map_err(StoreError::of("look for an alarm"))?;
    Ok(found.is_some())
}

/// Notes who took note of an alarm, and when.
pub(crate) async fn acknowledge(
    on: On<'_>,
    id: u64,
    at_ms: u64,
    by: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE alarms SET acknowledged_ms = $3, acknowledged_by = $4 WHERE org = $1 AND id = $2",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(int(at_ms))
    .bind(by.to_owned())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("acknowledge an alarm"))?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Alarm, sqlx::Error> {
    Ok(Alarm {
        id: number(row, "id")?,
        device: column(row, "device")?,
        kind: word(row, "kind", AlarmKind::from_name)?,
        detail: column(row, "detail")?,
        raised_ms: number(row, "raised_ms")?,
        acknowledged_ms: optional_number(row, "acknowledged_ms")?,
        acknowledged_by: column(row, "acknowledged_by")?,
    })
}
