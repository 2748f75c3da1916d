//! What may be uploaded, and whether it is whole. The bytes themselves lie in the object store ([`blob`](crate::blob)).

use super::{On, StoreError, blobs::GENERATION, bytes, int, number, optional_number};
use crate::blob::Blob;
use kusabi_api::{Hex, Hex32};
use sqlx::{AssertSqlSafe, any::AnyRow};

/// Something that is named by its digest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) digest: Hex32,
    pub(crate) size: u64,
    /// Whether it must be a canonical inventory.
    pub(crate) inventory: bool,
    pub(crate) complete: bool,
    /// Which bytes of this digest they are, or would be. What is not in the database yet has none.
    generation: u64,
}

impl Row {
    /// A content that nobody has named before.
    pub(crate) const fn new(digest: Hex32, size: u64, inventory: bool) -> Self {
        Self {
            digest,
            size,
            inventory,
            complete: false,
            generation: 0,
        }
    }

    /// The name of its bytes.
    pub(crate) const fn blob(&self) -> Blob {
        Blob {
            digest: self.digest.0,
            generation: self.generation,
        }
    }
}

/// What [`read`] reads of `contents c`.
pub(super) fn columns() -> String {
    format!("c.digest, c.size, c.inventory, c.complete_ms, {GENERATION}")
}

pub(super) fn read(row: &AnyRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        digest: Hex(bytes(row, "digest")?),
        size: number(row, "size")?,
        inventory: number(row, "inventory")? != 0,
        complete: optional_number(row, "complete_ms")?.is_some(),
        generation: number(row, "generation")?,
    })
}

/// One content.
pub(crate) async fn find(on: On<'_>, digest: Hex32) -> Result<Option<Row>, StoreError> {
    let error = StoreError::of("find a content");
    let sql = format!(
        "SELECT {} FROM contents c WHERE c.org = $1 AND c.digest = $2",
        columns()
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(digest.0.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// A content that may be uploaded from now on.
pub(crate) async fn insert(
    on: On<'_>,
    row: &Row,
    complete_ms: Option<u64>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO contents (org, digest, size, inventory, complete_ms) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(on.org)
    .bind(row.digest.0.to_vec())
    .bind(int(row.size))
    .bind(i64::from(row.inventory))
    .bind(complete_ms.map(int))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("name a content"))?;
    Ok(())
}

/// All of it has arrived.
pub(crate) async fn complete(on: On<'_>, digest: Hex32, at_ms: u64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE contents SET complete_ms = $3 WHERE org = $1 AND digest = $2 AND complete_ms IS NULL",
    )
    .bind(on.org)
    .bind(digest.0.to_vec())
    .bind(int(at_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("complete a content"))?;
    Ok(())
}

/// From now on it must be an inventory, too.
pub(crate) async fn is_inventory(on: On<'_>, digest: Hex32) -> Result<(), StoreError> {
    sqlx::query("UPDATE contents SET inventory = 1 WHERE org = $1 AND digest = $2")
        .bind(on.org)
        .bind(digest.0.to_vec())
        .execute(on.connection)
        .await
        .map_err(StoreError::of("name an inventory"))?;
    Ok(())
}
