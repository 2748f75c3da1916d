//! How far the ledger was followed, what is trusted of it, and what a rebuild wipes.

use super::{On, StoreError, bytes, column, int, number};
use kusabi_api::admin::Kept;
use sqlx::{AssertSqlSafe, any::AnyRow};

/// A place in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) height: u64,
    /// Heights that recoveries jumped over up to there.
    pub(crate) skipped: u64,
}

/// How far the ledger was followed.
pub(crate) async fn position(on: On<'_>) -> Result<Position, StoreError> {
    let error = StoreError::of("read how far the ledger was followed");
    let row = sqlx::query("SELECT height, skipped FROM ledger_position WHERE org = $1")
        .bind(on.org)
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Position {
            height: number(row, "height")?,
            skipped: number(row, "skipped")?,
        })
    };
    let position = row.as_ref().map(read).transpose().map_err(error)?;
    Ok(position.unwrap_or_default())
}

/// Notes how far.
pub(crate) async fn set_position(on: On<'_>, position: Position) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ledger_position (org, height, skipped) VALUES ($1, $2, $3) \
         ON CONFLICT (org) DO UPDATE SET height = $2, skipped = $3",
    )
    .bind(on.org)
    .bind(int(position.height))
    .bind(int(position.skipped))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note how far the ledger was followed"))?;
    Ok(())
}

/// The newest anchor that was verified, and the bytes of its validator set.
pub(crate) async fn trust(on: On<'_>) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
    let error = StoreError::of("read what is trusted of the ledger");
    let row = sqlx::query("SELECT anchor, epoch_set FROM ledger_trust WHERE org = $1")
        .bind(on.org)
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    let read = |row: &AnyRow| Ok((column(row, "anchor")?, column(row, "epoch_set")?));
    row.as_ref().map(read).transpose().map_err(error)
}

/// Keeps a newer one.
pub(crate) async fn set_trust(on: On<'_>, anchor: &[u8], set: &[u8]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ledger_trust (org, anchor, epoch_set) VALUES ($1, $2, $3) \
         ON CONFLICT (org) DO UPDATE SET anchor = $2, epoch_set = $3",
    )
    .bind(on.org)
    .bind(anchor.to_vec())
    .bind(set.to_vec())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("keep what is trusted of the ledger"))?;
    Ok(())
}

/// Forgets what the ledger said: keys, states that follow from them, releases, and how far it was read. What only the database knows of a
/// device (its name, that it is quarantined) stays in its row.
pub(crate) async fn forget(on: On<'_>) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM device_keys WHERE org = $1",
        "DELETE FROM ledger_releases WHERE org = $1",
        "DELETE FROM art_keys WHERE org = $1",
        "DELETE FROM ledger_position WHERE org = $1",
        "UPDATE devices SET state = 'registered' WHERE org = $1 AND state IN ('active', 'revoked', 'moved')",
    ] {
        sqlx::query(sql)
            .bind(on.org.clone())
            .execute(&mut *on.connection)
            .await
            .map_err(StoreError::of("forget what the ledger said"))?;
    }
    Ok(())
}

/// What follows from the ledger: devices that have a key, keys, listed releases, those without a manifest, devices without a key.
pub(crate) async fn found(mut on: On<'_>) -> Result<[u64; 5], StoreError> {
    let mut counts = [0; 5];
    for (count, sql) in counts.iter_mut().zip([
        "SELECT COUNT(DISTINCT device) FROM device_keys WHERE org = $1",
        "SELECT COUNT(*) FROM device_keys WHERE org = $1",
        "SELECT COUNT(*) FROM ledger_releases WHERE org = $1",
        "SELECT COUNT(*) FROM ledger_releases l WHERE l.org = $1 AND NOT EXISTS \
         (SELECT 1 FROM releases r WHERE r.org = l.org AND r.digest = l.digest)",
        "SELECT COUNT(*) FROM devices d WHERE d.org = $1 AND NOT EXISTS \
         (SELECT 1 FROM device_keys k WHERE k.org = d.org AND k.device = d.id)",
    ]) {
        *count = count_of(&mut on, sql).await?;
    }
    Ok(counts)
}

/// What the ledger does not hold, and a statement that counts it.
const NOT_ON_LEDGER: &[(&str, &str)] = &[
    ("users", "SELECT COUNT(*) FROM users WHERE org = $1"),
    ("tokens", "SELECT COUNT(*) FROM tokens WHERE org = $1"),
    (
        "names, serials and types of devices",
        "SELECT COUNT(*) FROM devices WHERE org = $1 AND \
         (name IS NOT NULL OR serial IS NOT NULL OR type IS NOT NULL)",
    ),
    (
        "groups",
        "SELECT COUNT(*) FROM device_groups WHERE org = $1",
    ),
    ("orders", "SELECT COUNT(*) FROM orders WHERE org = $1"),
    ("alarms", "SELECT COUNT(*) FROM alarms WHERE org = $1"),
    (
        "quarantines",
        "SELECT COUNT(*) FROM devices WHERE org = $1 AND state = 'quarantined'",
    ),
    ("manifests", "SELECT COUNT(*) FROM releases WHERE org = $1"),
    (
        "expected inventories of types",
        "SELECT COUNT(*) FROM device_types WHERE org = $1",
    ),
    (
        "Mender devices' identities, inventories and decided keys",
        "SELECT COUNT(*) FROM mender_devices WHERE org = $1",
    ),
    ("audit log", "SELECT COUNT(*) FROM audit_log WHERE org = $1"),
];

/// How much there is of each.
pub(crate) async fn not_on_ledger(mut on: On<'_>) -> Result<Vec<Kept>, StoreError> {
    let mut kept = Vec::new();
    for (what, sql) in NOT_ON_LEDGER {
        kept.push(Kept {
            what: (*what).to_owned(),
            rows: count_of(&mut on, sql).await?,
        });
    }
    Ok(kept)
}

async fn count_of(on: &mut On<'_>, sql: &'static str) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(on.org.clone())
        .fetch_one(&mut *on.connection)
        .await
        .map_err(StoreError::of("count what a rebuild found"))?;
    Ok(count.unsigned_abs())
}

/// The newest head of the audit log that stands on the ledger: number, hash, height.
pub(crate) async fn anchored(on: On<'_>) -> Result<Option<(u64, [u8; 32], u64)>, StoreError> {
    let error = StoreError::of("read what is anchored of the audit log");
    let row = sqlx::query(
        "SELECT seq, hash, height FROM audit_anchors WHERE org = $1 ORDER BY seq DESC LIMIT 1",
    )
    .bind(on.org)
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok((
            number(row, "seq")?,
            bytes(row, "hash")?,
            number(row, "height")?,
        ))
    };
    row.as_ref().map(read).transpose().map_err(error)
}

/// Notes that a head stands on the ledger.
pub(crate) async fn set_anchored(
    on: On<'_>,
    seq: u64,
    hash: [u8; 32],
    height: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_anchors (org, seq, hash, height) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (org, seq) DO NOTHING",
    )
    .bind(on.org)
    .bind(int(seq))
    .bind(hash.to_vec())
    .bind(int(height))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note an anchor of the audit log"))?;
    Ok(())
}
