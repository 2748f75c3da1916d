//! Mender artifacts that are here, and the keys that may have signed them.

use super::{On, StoreError, bytes, column, int, number, optional_bytes};
use kusabi_api::{Hex, Hex32};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, any::AnyRow};
use std::collections::BTreeMap;

/// A release key as the ledger was seen to hold it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ArtKey {
    pub(crate) handle: Hex32,
    pub(crate) suite: u8,
    /// Of a foreign key; empty for others.
    pub(crate) spki: Vec<u8>,
}

/// Most release keys that are asked for: an art policy has at most 255.
const ART_KEYS_MAX: i64 = 256;

/// Most artifacts of one name that are looked at.
const NAMESAKES_MAX: i64 = 256;

/// Notes a release key; a repeat changes nothing.
pub(crate) async fn note_art_key(on: On<'_>, key: &ArtKey) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO art_keys (org, handle, suite, spki) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (org, handle) DO NOTHING",
    )
    .bind(on.org)
    .bind(key.handle.0.to_vec())
    .bind(i64::from(key.suite))
    .bind(key.spki.clone())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note a release key"))?;
    Ok(())
}

/// The other handles under which the same foreign key stands.
pub(crate) async fn twins(on: On<'_>, handle: Hex32) -> Result<Vec<Hex32>, StoreError> {
    let error = StoreError::of("look for a release key that stands twice");
    let rows = sqlx::query(
        "SELECT b.handle FROM art_keys a JOIN art_keys b ON b.org = a.org AND b.spki = a.spki AND b.handle <> a.handle \
         WHERE a.org = $1 AND a.handle = $2 AND LENGTH(a.spki) > 0 ORDER BY b.handle LIMIT $3",
    )
    .bind(on.org)
    .bind(handle.0.to_vec())
    .bind(ART_KEYS_MAX)
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| bytes(row, "handle").map(Hex);
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// Forgets a release key that has ended.
pub(crate) async fn forget_art_key(on: On<'_>, handle: Hex32) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM art_keys WHERE org = $1 AND handle = $2")
        .bind(on.org)
        .bind(handle.0.to_vec())
        .execute(on.connection)
        .await
        .map_err(StoreError::of("forget a release key"))?;
    Ok(())
}

/// Whether a release key is in force, as far as the ledger was followed.
pub(crate) async fn is_art_key(on: On<'_>, handle: Hex32) -> Result<bool, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT suite FROM art_keys WHERE org = $1 AND handle = $2")
            .bind(on.org)
            .bind(handle.0.to_vec())
            .fetch_optional(on.connection)
            .await
            .map_err(StoreError::of("look for a release key"))?;
    Ok(found.is_some())
}

/// The release keys, as far as the ledger was followed.
pub(crate) async fn art_keys(on: On<'_>) -> Result<Vec<ArtKey>, StoreError> {
    let error = StoreError::of("look for release keys");
    let rows = sqlx::query(
        "SELECT handle, suite, spki FROM art_keys WHERE org = $1 ORDER BY handle LIMIT $2",
    )
    .bind(on.org)
    .bind(ART_KEYS_MAX)
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        let suite = number(row, "suite")?;
        Ok(ArtKey {
            handle: Hex(bytes(row, "handle")?),
            suite: u8::try_from(suite).map_err(|_| super::unreadable("suite"))?,
            spki: column(row, "spki")?,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// What an artifact says of itself, as its list shows it and as devices are chosen by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) device_types: Vec<String>,
    pub(crate) provides: BTreeMap<String, String>,
    /// Without the device types.
    pub(crate) depends: BTreeMap<String, Vec<String>>,
    pub(crate) clears: Vec<String>,
    pub(crate) payloads: Vec<Payload>,
}

/// One payload of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    /// The update module.
    pub(crate) module: Option<String>,
    pub(crate) files: Vec<File>,
}

/// A file of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) digest: Hex32,
    pub(crate) size: u64,
}

/// An artifact's row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) digest: Hex32,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) size: u64,
    /// The release key that signed it; `None`: none that counted when it came.
    pub(crate) signer: Option<Hex32>,
    pub(crate) description: String,
    pub(crate) facts: Facts,
    pub(crate) created_ms: u64,
    pub(crate) created_by: String,
}

const COLUMNS: &str = "digest, id, name, size, signer, description, facts, created_ms, created_by";

fn read(row: &AnyRow) -> Result<Row, sqlx::Error> {
    let facts: String = column(row, "facts")?;
    Ok(Row {
        digest: Hex(bytes(row, "digest")?),
        id: column(row, "id")?,
        name: column(row, "name")?,
        size: number(row, "size")?,
        signer: optional_bytes(row, "signer")?.map(Hex),
        description: column(row, "description")?,
        facts: serde_json::from_str(&facts).map_err(|_| super::unreadable("facts"))?,
        created_ms: number(row, "created_ms")?,
        created_by: column(row, "created_by")?,
    })
}

/// A new artifact, or the same one once it is known who signed it.
pub(crate) async fn put(on: On<'_>, row: &Row) -> Result<(), StoreError> {
    let error = StoreError::of("insert an artifact");
    let facts =
        serde_json::to_string(&row.facts).map_err(|why| error(sqlx::Error::Encode(why.into())))?;
    sqlx::query(
        "INSERT INTO mender_artifacts \
         (org, digest, id, name, size, signer, description, facts, created_ms, created_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (org, digest) DO UPDATE SET signer = excluded.signer",
    )
    .bind(on.org)
    .bind(row.digest.0.to_vec())
    .bind(row.id.clone())
    .bind(row.name.clone())
    .bind(int(row.size))
    .bind(row.signer.map(|handle| handle.0.to_vec()))
    .bind(row.description.clone())
    .bind(facts)
    .bind(int(row.created_ms))
    .bind(row.created_by.clone())
    .execute(on.connection)
    .await
    .map_err(error)?;
    Ok(())
}

/// Forgets an artifact.
pub(crate) async fn delete(on: On<'_>, digest: Hex32) -> Result<(), StoreError> {
    let On { connection, org } = on;
    for sql in [
        "DELETE FROM mender_artifacts WHERE org = $1 AND digest = $2",
        "DELETE FROM mender_downloads WHERE org = $1 AND digest = $2",
        "DELETE FROM contents WHERE org = $1 AND digest = $2",
    ] {
        sqlx::query(sql)
            .bind(org.clone())
            .bind(digest.0.to_vec())
            .execute(&mut *connection)
            .await
            .map_err(StoreError::of("delete an artifact"))?;
    }
    Ok(())
}

/// One artifact.
pub(crate) async fn find(on: On<'_>, digest: Hex32) -> Result<Option<Row>, StoreError> {
    let error = StoreError::of("find an artifact");
    let sql = format!("SELECT {COLUMNS} FROM mender_artifacts WHERE org = $1 AND digest = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(digest.0.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// One artifact, by the ID that Mender's API gives it.
pub(crate) async fn with_id(on: On<'_>, id: &str) -> Result<Option<Row>, StoreError> {
    let error = StoreError::of("find an artifact");
    // PostgreSQL refuses texts with a NUL.
    if !id
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    {
        return Ok(None);
    }
    let sql = format!("SELECT {COLUMNS} FROM mender_artifacts WHERE org = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(id.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// The artifacts of a name.
pub(crate) async fn named(on: On<'_>, name: &str) -> Result<Vec<Row>, StoreError> {
    let error = StoreError::of("find artifacts by name");
    if name.contains('\0') {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM mender_artifacts WHERE org = $1 AND name = $2 ORDER BY id LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(name.to_owned())
        .bind(NAMESAKES_MAX)
        .fetch_all(on.connection)
        .await
        .map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// A page of the artifacts, the newest first, and how many there are.
pub(crate) async fn list(on: On<'_>, skip: u64, count: u16) -> Result<(Vec<Row>, u64), StoreError> {
    let error = StoreError::of("list artifacts");
    let On { connection, org } = on;
    let sql = format!(
        "SELECT {COLUMNS} FROM mender_artifacts WHERE org = $1 ORDER BY created_ms DESC, id LIMIT $2 OFFSET $3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(org.clone())
        .bind(i64::from(count))
        .bind(int(skip))
        .fetch_all(&mut *connection)
        .await
        .map_err(error)?;
    let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM mender_artifacts WHERE org = $1")
        .bind(org)
        .fetch_one(connection)
        .await
        .map_err(error)?;
    let rows: Result<_, _> = rows.iter().map(read).collect();
    Ok((rows.map_err(error)?, total.unsigned_abs()))
}
