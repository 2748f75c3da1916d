//! Types of devices, and what they hold as they leave the factory.

use super::{On, StoreError, bytes, column, int, number};
use kusabi_api::{Hex, admin::DeviceType};
use sqlx::any::AnyRow;

/// The types after `after`, at most `count`, by name.
pub(crate) async fn list(
    on: On<'_>,
    after: &str,
    count: u16,
) -> Result<Vec<DeviceType>, StoreError> {
    let error = StoreError::of("list types");
    let rows = sqlx::query(
        "SELECT type, expected, size, components, created_ms FROM device_types \
         WHERE org = $1 AND type > $2 ORDER BY type LIMIT $3",
    )
    .bind(on.org)
    .bind(after.to_owned())
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// One type.
pub(crate) async fn find(on: On<'_>, name: &str) -> Result<Option<DeviceType>, StoreError> {
    let error = StoreError::of("find a type");
    let row = sqlx::query(
        "SELECT type, expected, size, components, created_ms FROM device_types \
         WHERE org = $1 AND type = $2",
    )
    .bind(on.org)
    .bind(name.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// Puts a type in the place of the one that may be there.
pub(crate) async fn put(on: On<'_>, device_type: &DeviceType) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO device_types (org, type, expected, size, components, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (org, type) DO UPDATE \
         SET expected = $3, size = $4, components = $5, created_ms = $6",
    )
    .bind(on.org)
    .bind(device_type.device_type.clone())
    .bind(device_type.expected.0.to_vec())
    .bind(int(device_type.size))
    .bind(i64::from(device_type.components))
    .bind(int(device_type.created_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("record a type"))?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<DeviceType, sqlx::Error> {
    Ok(DeviceType {
        device_type: column(row, "type")?,
        expected: Hex(bytes(row, "expected")?),
        size: number(row, "size")?,
        components: u32::try_from(number(row, "components")?).unwrap_or(u32::MAX),
        created_ms: number(row, "created_ms")?,
    })
}
