//! Signed manifests, and what the ledger was seen to list.

use super::{On, StoreError, column, int, number, optional_number};
use kusabi_api::{
    Hex, Hex32,
    admin::{ComponentHolder, DeviceState},
};
use sqlx::{AssertSqlSafe, any::AnyRow};
use std::collections::BTreeSet;

/// A signed manifest with what the ledger was seen to say of its release.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: u64,
    pub(crate) signed: Vec<u8>,
    pub(crate) published: u64,
    pub(crate) withdrawn: Option<u64>,
    pub(crate) created_ms: u64,
    pub(crate) created_by: String,
}

const KEPT: &str = "SELECT r.id, r.signed, r.created_ms, r.created_by, l.published, l.withdrawn FROM releases r \
                    JOIN ledger_releases l ON l.org = r.org AND l.digest = r.digest WHERE r.org = $1";

/// The number of the next release.
pub(crate) async fn next_id(on: On<'_>) -> Result<u64, StoreError> {
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM releases WHERE org = $1")
        .bind(on.org)
        .fetch_one(on.connection)
        .await
        .map_err(StoreError::of("number a release"))?;
    Ok(last.unsigned_abs() + 1)
}

/// The releases with a number below `before`, at most `count`, the newest first.
pub(crate) async fn list(on: On<'_>, before: u64, count: u16) -> Result<Vec<Kept>, StoreError> {
    let error = StoreError::of("list releases");
    let sql = format!("{KEPT} AND r.id < $2 ORDER BY r.id DESC LIMIT $3");
    let rows = sqlx::query(AssertSqlSafe(sql))
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

/// One release.
pub(crate) async fn find(on: On<'_>, digest: Hex32) -> Result<Option<Kept>, StoreError> {
    let error = StoreError::of("find a release");
    let row = sqlx::query(AssertSqlSafe(format!("{KEPT} AND r.digest = $2")))
        .bind(on.org)
        .bind(digest.0.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// The signed manifest of a release.
pub(crate) async fn signed(on: On<'_>, digest: Hex32) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT signed FROM releases WHERE org = $1 AND digest = $2")
        .bind(on.org)
        .bind(digest.0.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("read a manifest"))
}

/// A new signed manifest.
pub(crate) async fn insert(
    on: On<'_>,
    id: u64,
    digest: Hex32,
    signed: &[u8],
    at_ms: u64,
    by: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO releases (org, id, digest, signed, created_ms, created_by) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(digest.0.to_vec())
    .bind(signed.to_vec())
    .bind(int(at_ms))
    .bind(by.to_owned())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert a release"))?;
    Ok(())
}

/// The same manifest with other signatures.
pub(crate) async fn sign_again(on: On<'_>, digest: Hex32, signed: &[u8]) -> Result<(), StoreError> {
    sqlx::query("UPDATE releases SET signed = $3 WHERE org = $1 AND digest = $2")
        .bind(on.org)
        .bind(digest.0.to_vec())
        .bind(signed.to_vec())
        .execute(on.connection)
        .await
        .map_err(StoreError::of("replace a release's signatures"))?;
    Ok(())
}

/// Notes what the ledger says of a release; what it said before stays unless it says more now.
pub(crate) async fn note(
    on: On<'_>,
    digest: [u8; 32],
    published: u64,
    withdrawn: Option<u64>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ledger_releases (org, digest, published, withdrawn) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (org, digest) DO UPDATE SET published = $3, \
         withdrawn = COALESCE(ledger_releases.withdrawn, $4)",
    )
    .bind(on.org)
    .bind(digest.to_vec())
    .bind(int(published))
    .bind(withdrawn.map(int))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note a release of the ledger"))?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Kept, sqlx::Error> {
    Ok(Kept {
        id: number(row, "id")?,
        signed: column(row, "signed")?,
        published: number(row, "published")?,
        withdrawn: optional_number(row, "withdrawn")?,
        created_ms: number(row, "created_ms")?,
        created_by: column(row, "created_by")?,
    })
}

/// Which releases the contents of a page belong to, in the order of the manifests.
pub(crate) async fn contents(
    on: On<'_>,
    from: u64,
    to: u64,
) -> Result<Vec<(u64, super::contents::Row)>, StoreError> {
    let error = StoreError::of("list the contents of releases");
    let sql = format!(
        "SELECT rc.release_id, {} FROM release_contents rc \
         JOIN contents c ON c.org = rc.org AND c.digest = rc.digest \
         WHERE rc.org = $1 AND rc.release_id >= $2 AND rc.release_id <= $3 ORDER BY rc.release_id, rc.place",
        super::contents::columns()
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(from))
        .bind(int(to))
        .fetch_all(on.connection)
        .await
        .map_err(error)?;
    let read = |row: &AnyRow| Ok((number(row, "release_id")?, super::contents::read(row)?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The releases that a content belongs to: their numbers, ascending, and signed manifests.
pub(crate) async fn naming(on: On<'_>, digest: Hex<32>) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let error = StoreError::of("find the releases of a content");
    let rows = sqlx::query(
        "SELECT DISTINCT r.id, r.signed FROM release_contents rc \
         JOIN releases r ON r.org = rc.org AND r.id = rc.release_id \
         WHERE rc.org = $1 AND rc.digest = $2 ORDER BY r.id",
    )
    .bind(on.org)
    .bind(digest.0.to_vec())
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| Ok((number(row, "id")?, column(row, "signed")?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The signed manifest of the first release that a content belongs to.
pub(crate) async fn first_naming(
    on: On<'_>,
    digest: Hex<32>,
) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar(
        "SELECT r.signed FROM release_contents rc JOIN releases r ON r.org = rc.org AND r.id = rc.release_id \
         WHERE rc.org = $1 AND rc.digest = $2 ORDER BY rc.release_id LIMIT 1",
    )
    .bind(on.org)
    .bind(digest.0.to_vec())
    .fetch_optional(on.connection)
    .await
    .map_err(StoreError::of("find the release of a content"))
}

/// The numbers of the releases that a content belongs to.
pub(crate) async fn with_content(on: On<'_>, digest: Hex<32>) -> Result<BTreeSet<u64>, StoreError> {
    let error = StoreError::of("find the releases of a content");
    let rows =
        sqlx::query("SELECT release_id FROM release_contents WHERE org = $1 AND digest = $2")
            .bind(on.org)
            .bind(digest.0.to_vec())
            .fetch_all(on.connection)
            .await
            .map_err(error)?;
    rows.iter()
        .map(|row| number(row, "release_id"))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// Ties a content to a release, at its place in the manifest; packs come behind.
pub(crate) async fn name(
    on: On<'_>,
    id: u64,
    place: u64,
    digest: Hex<32>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO release_contents (org, release_id, place, digest) VALUES ($1, $2, $3, $4)",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(int(place))
    .bind(digest.0.to_vec())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("tie a content to a release"))?;
    Ok(())
}

/// The signed manifests of those of these releases that are here.
pub(crate) async fn manifests(on: On<'_>, digests: &[Hex32]) -> Result<Vec<Vec<u8>>, StoreError> {
    let error = StoreError::of("read manifests");
    let digests: Vec<Vec<u8>> = digests.iter().map(|digest| digest.0.to_vec()).collect();
    let question = "SELECT signed FROM releases WHERE org = $1 AND digest IN";
    let rows = super::among(on, question, &digests).await.map_err(error)?;
    let read = |row: &AnyRow| column(row, "signed");
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The releases with a number from `from` on that any device of this organisation runs, at most `count`: number, digest, signed manifest.
pub(crate) async fn running(
    on: On<'_>,
    from: u64,
    count: u16,
) -> Result<Vec<(u64, Hex32, Vec<u8>)>, StoreError> {
    let error = StoreError::of("list the releases that devices run");
    let rows = sqlx::query(
        "SELECT r.id, r.digest, r.signed FROM releases r WHERE r.org = $1 AND r.id >= $2 AND EXISTS \
         (SELECT 1 FROM devices d WHERE d.org = r.org AND d.firmware = r.digest AND d.state <> $4) \
         ORDER BY r.id LIMIT $3",
    )
    .bind(on.org)
    .bind(int(from))
    .bind(i64::from(count))
    .bind(DeviceState::Moved.name())
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok((
            number(row, "id")?,
            Hex(super::bytes(row, "digest")?),
            column(row, "signed")?,
        ))
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The devices that say they run a release, after one, by ID; at most `count`.
pub(crate) async fn runners(
    on: On<'_>,
    digest: Hex32,
    after: &str,
    count: u16,
) -> Result<Vec<ComponentHolder>, StoreError> {
    let error = StoreError::of("list the devices that run a release");
    let rows = sqlx::query(
        "SELECT id, serial, name, type, state FROM devices \
         WHERE org = $1 AND firmware = $2 AND id > $3 AND state <> $5 ORDER BY id LIMIT $4",
    )
    .bind(on.org)
    .bind(digest.0.to_vec())
    .bind(after.to_owned())
    .bind(i64::from(count))
    .bind(DeviceState::Moved.name())
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(ComponentHolder {
            device: column(row, "id")?,
            serial: super::optional_text(row, "serial")?,
            name: super::optional_text(row, "name")?,
            device_type: super::optional_text(row, "type")?,
            state: super::word(row, "state", DeviceState::from_name)?,
            inventory: None,
            release: Some(digest),
            at_ms: None,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}
