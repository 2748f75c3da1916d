//! Groups and who is in them.

use super::{On, StoreError, column, int, is_id, number, text};
use kusabi_api::admin::{Group, Text};
use sqlx::any::AnyRow;

/// The groups after `after`, at most `count`, by ID.
pub(crate) async fn list(on: On<'_>, after: &str, count: u16) -> Result<Vec<Group>, StoreError> {
    let error = StoreError::of("list groups");
    let rows = sqlx::query(
        "SELECT id, name, created_ms FROM device_groups WHERE org = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(on.org)
    .bind(after.to_owned())
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Group {
            id: column(row, "id")?,
            name: text(row, "name")?,
            created_ms: number(row, "created_ms")?,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// Whether there is such a group.
pub(crate) async fn exists(on: On<'_>, id: &str) -> Result<bool, StoreError> {
    if !is_id(id) {
        return Ok(false);
    }
    let found: Option<String> =
        sqlx::query_scalar("SELECT id FROM device_groups WHERE org = $1 AND id = $2")
            .bind(on.org)
            .bind(id.to_owned())
            .fetch_optional(on.connection)
            .await
            .map_err(StoreError::of("find a group"))?;
    Ok(found.is_some())
}

/// The ID of the group with this name.
pub(crate) async fn with_name(on: On<'_>, name: &Text) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT id FROM device_groups WHERE org = $1 AND name = $2")
        .bind(on.org)
        .bind(name.as_str().to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("find a group by its name"))
}

/// A new group.
pub(crate) async fn insert(on: On<'_>, group: &Group) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO device_groups (org, id, name, created_ms) VALUES ($1, $2, $3, $4)")
        .bind(on.org)
        .bind(group.id.clone())
        .bind(group.name.as_str().to_owned())
        .bind(int(group.created_ms))
        .execute(on.connection)
        .await
        .map_err(StoreError::of("insert a group"))?;
    Ok(())
}

/// Puts a device into a group; says whether it was not there before.
pub(crate) async fn add(on: On<'_>, group: &str, device: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO group_members (org, device_group, device) VALUES ($1, $2, $3) \
         ON CONFLICT (org, device_group, device) DO NOTHING",
    )
    .bind(on.org)
    .bind(group.to_owned())
    .bind(device.to_owned())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("put a device into a group"))?;
    Ok(done.rows_affected() > 0)
}

/// Takes a device out of a group; says whether it was there.
pub(crate) async fn remove(on: On<'_>, group: &str, device: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "DELETE FROM group_members WHERE org = $1 AND device_group = $2 AND device = $3",
    )
    .bind(on.org)
    .bind(group.to_owned())
    .bind(device.to_owned())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("take a device out of a group"))?;
    Ok(done.rows_affected() > 0)
}

/// The groups of a device.
pub(crate) async fn of_device(on: On<'_>, device: &str) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT device_group FROM group_members WHERE org = $1 AND device = $2 ORDER BY device_group",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .fetch_all(on.connection)
    .await
    .map_err(StoreError::of("list a device's groups"))
}

/// Device and group's name, for each group that one of these devices is in.
pub(crate) async fn names_of(
    on: On<'_>,
    devices: &[String],
) -> Result<Vec<(String, Text)>, StoreError> {
    let error = StoreError::of("name groups of devices");
    let rows = super::among(
        on,
        "SELECT m.device, g.name FROM group_members m \
         JOIN device_groups g ON g.org = m.org AND g.id = m.device_group \
         WHERE m.org = $1 AND m.device IN",
        devices,
    )
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| Ok((column(row, "device")?, text(row, "name")?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// ID and name of these groups.
pub(crate) async fn names(on: On<'_>, ids: &[String]) -> Result<Vec<(String, Text)>, StoreError> {
    let error = StoreError::of("name groups");
    let rows = super::among(
        on,
        "SELECT id, name FROM device_groups WHERE org = $1 AND id IN",
        ids,
    )
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| Ok((column(row, "id")?, text(row, "name")?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}
