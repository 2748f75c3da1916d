//! Which bytes in the firmware store are wanted, and which are not.
//!
//! Bytes have a [name](Blob) for each time that their digest was retired. From announced they become wanted (a complete row in
//! `contents`, and none here) or retired, and what was retired stays so, with a row for ever. Bytes are written under the first name
//! that was not retired, and removed under those that were: neither can hit the other, however late a store does it.

use super::{On, StoreError, bytes, int, number};
use crate::blob::Blob;
use kusabi_api::Hex32;
use sqlx::any::AnyRow;

/// For a question about `contents c`: the generation that is wanted, or would be.
pub(super) const GENERATION: &str = "(SELECT COUNT(*) FROM blobs b WHERE b.org = c.org AND b.digest = c.digest AND b.retired = 1) \
                                     AS generation";

/// Bytes that are to be looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) blob: Blob,
    pub(crate) retired: bool,
    pub(crate) since_ms: u64,
}

/// The name under which the bytes of a digest are, or would be.
pub(crate) async fn current(on: On<'_>, digest: Hex32) -> Result<Blob, StoreError> {
    let retired: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM blobs WHERE org = $1 AND digest = $2 AND retired = 1",
    )
    .bind(on.org)
    .bind(digest.0.to_vec())
    .fetch_one(on.connection)
    .await
    .map_err(StoreError::of("name the bytes of a content"))?;
    Ok(Blob {
        digest: digest.0,
        generation: retired.unsigned_abs(),
    })
}

/// These bytes are going to be written; if nobody wants them until `due_ms`, they are looked at.
pub(crate) async fn announce(
    on: On<'_>,
    blob: Blob,
    now_ms: u64,
    due_ms: u64,
) -> Result<(), StoreError> {
    put(on, blob, false, now_ms, due_ms)
        .await
        .map_err(StoreError::of("announce the bytes of a content"))
}

/// Nobody is to want these bytes any more; they are to be removed from now on.
pub(crate) async fn retire(on: On<'_>, blob: Blob, now_ms: u64) -> Result<(), StoreError> {
    put(on, blob, true, now_ms, now_ms)
        .await
        .map_err(StoreError::of("retire the bytes of a content"))
}

async fn put(
    on: On<'_>,
    blob: Blob,
    retired: bool,
    now_ms: u64,
    due_ms: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO blobs (org, digest, generation, retired, since_ms, due_ms) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (org, digest, generation) DO UPDATE SET retired = excluded.retired, since_ms = excluded.since_ms, \
         due_ms = excluded.due_ms WHERE blobs.retired = 0",
    )
    .bind(on.org)
    .bind(blob.digest.to_vec())
    .bind(int(blob.generation))
    .bind(i64::from(retired))
    .bind(int(now_ms))
    .bind(int(due_ms))
    .execute(on.connection)
    .await?;
    Ok(())
}

/// They are wanted, or were never written.
pub(crate) async fn forget(on: On<'_>, blob: Blob) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM blobs WHERE org = $1 AND digest = $2 AND generation = $3 AND retired = 0",
    )
    .bind(on.org)
    .bind(blob.digest.to_vec())
    .bind(int(blob.generation))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("want the bytes of a content"))?;
    Ok(())
}

/// When bytes that were retired are to be looked at again; `None`: never.
pub(crate) async fn set_due(on: On<'_>, blob: Blob, due_ms: Option<u64>) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE blobs SET due_ms = $4 WHERE org = $1 AND digest = $2 AND generation = $3 AND retired = 1",
    )
    .bind(on.org)
    .bind(blob.digest.to_vec())
    .bind(int(blob.generation))
    .bind(due_ms.map(int))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note that bytes were removed"))?;
    Ok(())
}

/// Whether bytes that were announced are to be looked at by now; somebody may have announced them anew.
pub(crate) async fn is_due(on: On<'_>, blob: Blob, now_ms: u64) -> Result<bool, StoreError> {
    let due: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM blobs WHERE org = $1 AND digest = $2 AND generation = $3 AND retired = 0 AND due_ms <= $4",
    )
    .bind(on.org)
    .bind(blob.digest.to_vec())
    .bind(int(blob.generation))
    .bind(int(now_ms))
    .fetch_one(on.connection)
    .await
    .map_err(StoreError::of("look for bytes that nobody wants"))?;
    Ok(due != 0)
}

/// Bytes that are to be looked at by now are looked at then; for those whose time has not come, that stays.
pub(crate) async fn postpone(
    on: On<'_>,
    blob: Blob,
    now_ms: u64,
    due_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE blobs SET due_ms = $5 WHERE org = $1 AND digest = $2 AND generation = $3 AND due_ms <= $4",
    )
    .bind(on.org)
    .bind(blob.digest.to_vec())
    .bind(int(blob.generation))
    .bind(int(now_ms))
    .bind(int(due_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("look at bytes later"))?;
    Ok(())
}

/// Those that are to be looked at by now, the longest overdue first; at most `count`.
pub(crate) async fn due(on: On<'_>, now_ms: u64, count: u16) -> Result<Vec<Due>, StoreError> {
    let error = StoreError::of("look for bytes that nobody wants");
    let rows = sqlx::query(
        "SELECT digest, generation, retired, since_ms FROM blobs \
         WHERE org = $1 AND due_ms <= $2 ORDER BY due_ms, digest, generation LIMIT $3",
    )
    .bind(on.org)
    .bind(int(now_ms))
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Due {
            blob: Blob {
                digest: bytes(row, "digest")?,
                generation: number(row, "generation")?,
            },
            retired: number(row, "retired")? != 0,
            since_ms: number(row, "since_ms")?,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}
