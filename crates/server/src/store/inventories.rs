//! Signed inventories of devices.

use super::{On, StoreError, bytes, column, int, number, optional_bytes, optional_text, word};
use kusabi_api::{
    Hex, Hex32,
    admin::{ComponentHolder, DeviceState},
};
use kusabi_core::inventory::Tally;
use sqlx::any::AnyRow;

/// The newest signed inventory of a device.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) digest: Hex32,
    /// The statement with its signature.
    pub(crate) statement: Vec<u8>,
    pub(crate) signer: Hex32,
    pub(crate) at_ms: u64,
    pub(crate) expected: Option<Hex32>,
    pub(crate) tally: Tally,
    /// JSON.
    pub(crate) differences: String,
}

/// The newest signed inventory of a device.
pub(crate) async fn find(on: On<'_>, device: &str) -> Result<Option<Row>, StoreError> {
    let error = StoreError::of("find a device's inventory");
    let row = sqlx::query(
        "SELECT digest, statement, signer, at_ms, expected, missing, unexpected, changed, differences \
         FROM device_inventories WHERE org = $1 AND device = $2",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let count = |row: &AnyRow, name| {
        Ok::<_, sqlx::Error>(u32::try_from(number(row, name)?).unwrap_or(u32::MAX))
    };
    let read = |row: &AnyRow| {
        Ok(Row {
            digest: Hex(bytes(row, "digest")?),
            statement: column(row, "statement")?,
            signer: Hex(bytes(row, "signer")?),
            at_ms: number(row, "at_ms")?,
            expected: optional_bytes(row, "expected")?.map(Hex),
            tally: Tally {
                missing: count(row, "missing")?,
                unexpected: count(row, "unexpected")?,
                changed: count(row, "changed")?,
            },
            differences: column(row, "differences")?,
        })
    };
    row.as_ref().map(read).transpose().map_err(error)
}

/// Puts a signed inventory in the place of the one before; what no device holds any more is gone.
pub(crate) async fn put(
    on: On<'_>,
    device: &str,
    row: &Row,
    inventory: &[u8],
) -> Result<(), StoreError> {
    let error = StoreError::of("write a device's inventory");
    let On { connection, org } = on;
    sqlx::query(
        "INSERT INTO inventories (org, digest, bytes) VALUES ($1, $2, $3) ON CONFLICT (org, digest) DO NOTHING",
    )
    .bind(org.clone())
    .bind(row.digest.0.to_vec())
    .bind(inventory.to_vec())
    .execute(&mut *connection)
    .await
    .map_err(error)?;
    let before: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT digest FROM device_inventories WHERE org = $1 AND device = $2")
            .bind(org.clone())
            .bind(device.to_owned())
            .fetch_optional(&mut *connection)
            .await
            .map_err(error)?;
    sqlx::query(
        "INSERT INTO device_inventories (org, device, digest, statement, signer, at_ms, expected, \
         missing, unexpected, changed, differences) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (org, device) DO UPDATE SET digest = $3, statement = $4, signer = $5, at_ms = $6, \
         expected = $7, missing = $8, unexpected = $9, changed = $10, differences = $11",
    )
    .bind(org.clone())
    .bind(device.to_owned())
    .bind(row.digest.0.to_vec())
    .bind(row.statement.clone())
    .bind(row.signer.0.to_vec())
    .bind(int(row.at_ms))
    .bind(row.expected.map(|digest| digest.0.to_vec()))
    .bind(i64::from(row.tally.missing))
    .bind(i64::from(row.tally.unexpected))
    .bind(i64::from(row.tally.changed))
    .bind(row.differences.clone())
    .execute(&mut *connection)
    .await
    .map_err(error)?;
    if let Some(before) = before.filter(|before| before[..] != row.digest.0) {
        sqlx::query(
            "DELETE FROM inventories WHERE org = $1 AND digest = $2 \
             AND NOT EXISTS (SELECT 1 FROM device_inventories i WHERE i.org = $1 AND i.digest = $2)",
        )
        .bind(org)
        .bind(before)
        .execute(connection)
        .await
        .map_err(error)?;
    }
    Ok(())
}

/// The distinct inventories that devices hold, by digest, after or from one, with their sizes in bytes.
pub(crate) async fn distinct(
    on: On<'_>,
    after: Option<Hex32>,
    or_it: bool,
    count: u16,
) -> Result<Vec<(Hex32, u64)>, StoreError> {
    let error = StoreError::of("list inventories");
    let sql = match or_it {
        true => {
            "SELECT digest, CAST(LENGTH(bytes) AS BIGINT) AS size FROM inventories WHERE org = $1 AND digest >= $2 ORDER BY digest LIMIT $3"
        }
        false => {
            "SELECT digest, CAST(LENGTH(bytes) AS BIGINT) AS size FROM inventories WHERE org = $1 AND digest > $2 ORDER BY digest LIMIT $3"
        }
    };
    let rows = sqlx::query(sql)
        .bind(on.org)
        .bind(after.map_or_else(Vec::new, |after| after.0.to_vec()))
        .bind(i64::from(count))
        .fetch_all(on.connection)
        .await
        .map_err(error)?;
    let read = |row: &AnyRow| Ok((Hex(bytes(row, "digest")?), number(row, "size")?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The bytes of an inventory; `None`: no device holds it any more.
pub(crate) async fn content(on: On<'_>, digest: Hex32) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT bytes FROM inventories WHERE org = $1 AND digest = $2")
        .bind(on.org)
        .bind(digest.0.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("read an inventory"))
}

/// The devices that hold an inventory, after one, by ID.
pub(crate) async fn holders(
    on: On<'_>,
    digest: Hex32,
    after: &str,
    count: u16,
) -> Result<Vec<ComponentHolder>, StoreError> {
    let error = StoreError::of("list the devices that hold an inventory");
    let rows = sqlx::query(
        "SELECT i.device AS device, i.at_ms AS at_ms, d.serial AS serial, d.name AS name, d.type AS type, d.state AS state \
         FROM device_inventories i JOIN devices d ON d.org = i.org AND d.id = i.device \
         WHERE i.org = $1 AND i.digest = $2 AND i.device > $3 ORDER BY i.device LIMIT $4",
    )
    .bind(on.org)
    .bind(digest.0.to_vec())
    .bind(after.to_owned())
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(ComponentHolder {
            device: column(row, "device")?,
            serial: optional_text(row, "serial")?,
            name: optional_text(row, "name")?,
            device_type: optional_text(row, "type")?,
            state: word(row, "state", DeviceState::from_name)?,
            inventory: Some(digest),
            release: None,
            at_ms: Some(number(row, "at_ms")?),
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}
