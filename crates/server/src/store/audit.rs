//! The audit log. Rows are only ever added.

use super::{On, StoreError, bytes, column, int, number};
use kusabi_api::{Hex, admin::AuditEntry};
use sqlx::any::AnyRow;

/// Number and hash of the newest entry.
pub(crate) async fn head(on: On<'_>) -> Result<Option<(u64, [u8; 32])>, StoreError> {
    let error = StoreError::of("read the audit log's head");
    let row =
        sqlx::query("SELECT seq, hash FROM audit_log WHERE org = $1 ORDER BY seq DESC LIMIT 1")
            .bind(on.org)
            .fetch_optional(on.connection)
            .await
            .map_err(error)?;
    let read = |row: &AnyRow| Ok((number(row, "seq")?, bytes(row, "hash")?));
    row.as_ref().map(read).transpose().map_err(error)
}

/// Adds an entry.
pub(crate) async fn append(on: On<'_>, entry: &AuditEntry) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_log (org, seq, at_ms, actor, act, subject, detail, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(on.org)
    .bind(int(entry.seq))
    .bind(int(entry.at_ms))
    .bind(entry.actor.clone())
    .bind(entry.act.clone())
    .bind(entry.subject.clone())
    .bind(entry.detail.clone())
    .bind(entry.hash.0.to_vec())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("add to the audit log"))?;
    Ok(())
}

/// The entries before `before`, at most `count`, the newest first.
pub(crate) async fn newest(
    on: On<'_>,
    before: u64,
    count: u16,
) -> Result<Vec<AuditEntry>, StoreError> {
    let error = StoreError::of("list the newest entries of the audit log");
    let rows = sqlx::query(
        "SELECT seq, at_ms, actor, act, subject, detail, hash FROM audit_log \
         WHERE org = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
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

/// The entries after `after`, at most `count`, in order.
pub(crate) async fn list(
    on: On<'_>,
    after: u64,
    count: u16,
) -> Result<Vec<AuditEntry>, StoreError> {
    let error = StoreError::of("list the audit log");
    let rows = sqlx::query(
        "SELECT seq, at_ms, actor, act, subject, detail, hash FROM audit_log \
         WHERE org = $1 AND seq > $2 ORDER BY seq LIMIT $3",
    )
    .bind(on.org)
    .bind(int(after))
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

fn read(row: &AnyRow) -> Result<AuditEntry, sqlx::Error> {
    Ok(AuditEntry {
        seq: number(row, "seq")?,
        at_ms: number(row, "at_ms")?,
        actor: column(row, "actor")?,
        act: column(row, "act")?,
        subject: column(row, "subject")?,
        detail: column(row, "detail")?,
        hash: Hex(bytes(row, "hash")?),
    })
}
