//! Devices and their keys.

use super::{
    On, StoreError, bytes, column, int, is_id, number, optional_bytes, optional_number,
    optional_text, word,
};
use kusabi_api::{
    Hex,
    admin::{Device, DeviceKey, DeviceState, Inventory, Text},
};
use sqlx::{AssertSqlSafe, any::AnyRow};

/// Which devices a list shows. All that is set must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) group: Option<String>,
    pub(crate) device_type: Option<Text>,
    pub(crate) state: Option<DeviceState>,
    pub(crate) serial: Option<Text>,
}

const COLUMNS: &str = "d.id, d.state, d.type, d.serial, d.name, d.firmware, d.inventory, \
                       d.last_contact_ms, d.created_ms";

/// The devices after `after`, at most `count`, by ID.
pub(crate) async fn list(
    on: On<'_>,
    filter: &Filter,
    after: &str,
    count: u16,
) -> Result<Vec<Device>, StoreError> {
    let error = StoreError::of("list devices");
    let Filter {
        group,
        device_type,
        state,
        serial,
    } = filter;
    if group.as_deref().is_some_and(|group| !is_id(group)) {
        return Ok(Vec::new());
    }
    let texts = [
        ("m.device_group", group.as_deref()),
        ("d.type", device_type.as_ref().map(Text::as_str)),
        ("d.state", state.map(DeviceState::name)),
        ("d.serial", serial.as_ref().map(Text::as_str)),
    ];
    // Only names of columns and numbers of parameters: what the request says is bound. A group's members are walked in the order of
    // its own rows: a small group in a large fleet costs what the group costs.
    let (tables, org, id) = match group {
        Some(_) => (
            "group_members m JOIN devices d ON d.org = m.org AND d.id = m.device",
            "m.org",
            "m.device",
        ),
        None => ("devices d", "d.org", "d.id"),
    };
    let mut sql = format!("SELECT {COLUMNS} FROM {tables} WHERE {org} = $1 AND {id} > $2");
    let set = texts.iter().filter(|(_, value)| value.is_some());
    for ((name, _), parameter) in set.zip(4..) {
        sql.push_str(&format!(" AND {name} = ${parameter}"));
    }
    sql.push_str(&format!(" ORDER BY {id} LIMIT $3"));
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(after.to_owned())
        .bind(i64::from(count));
    for value in texts.iter().filter_map(|(_, value)| *value) {
        query = query.bind(value.to_owned());
    }
    let rows = query.fetch_all(on.connection).await.map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// One device.
pub(crate) async fn find(on: On<'_>, id: &str) -> Result<Option<Device>, StoreError> {
    let error = StoreError::of("find a device");
    if !is_id(id) {
        return Ok(None);
    }
    let sql = format!("SELECT {COLUMNS} FROM devices d WHERE d.org = $1 AND d.id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(id.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// The ID of the device with this serial.
pub(crate) async fn with_serial(on: On<'_>, serial: &Text) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT id FROM devices WHERE org = $1 AND serial = $2")
        .bind(on.org)
        .bind(serial.as_str().to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("find a serial"))
}

/// The ID of the device that has this key.
pub(crate) async fn with_key(on: On<'_>, handle: [u8; 32]) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT device FROM device_keys WHERE org = $1 AND handle = $2")
        .bind(on.org)
        .bind(handle.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("find a device by its key"))
}

/// A new device.
pub(crate) async fn insert(on: On<'_>, device: &Device) -> Result<(), StoreError> {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.as_str().to_owned());
    sqlx::query(
        "INSERT INTO devices (org, id, state, type, serial, name, inventory, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(on.org)
    .bind(device.id.clone())
    .bind(device.state.name())
    .bind(text(&device.device_type))
    .bind(text(&device.serial))
    .bind(text(&device.name))
    .bind(device.inventory.name())
    .bind(int(device.created_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert a device"))?;
    Ok(())
}

/// A further key of a device.
pub(crate) async fn insert_key(
    on: On<'_>,
    device: &str,
    key: &DeviceKey,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO device_keys (org, handle, device, purpose, predecessor, registered) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(on.org)
    .bind(key.handle.0.to_vec())
    .bind(device.to_owned())
    .bind(key.purpose.clone())
    .bind(key.predecessor.map(|handle| handle.0.to_vec()))
    .bind(int(key.registered))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert a key of a device"))?;
    Ok(())
}

/// A device's keys, the first one first.
pub(crate) async fn keys(on: On<'_>, device: &str) -> Result<Vec<DeviceKey>, StoreError> {
    let error = StoreError::of("list a device's keys");
    let rows = sqlx::query(
        "SELECT handle, purpose, predecessor, registered FROM device_keys \
         WHERE org = $1 AND device = $2 ORDER BY registered, handle",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(DeviceKey {
            handle: Hex(bytes(row, "handle")?),
            purpose: column(row, "purpose")?,
            predecessor: optional_bytes(row, "predecessor")?.map(Hex),
            registered: number(row, "registered")?,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// How many devices are in each state.
pub(crate) async fn count(on: On<'_>) -> Result<Vec<(DeviceState, u64)>, StoreError> {
    let error = StoreError::of("count devices");
    let rows = sqlx::query(
        "SELECT state, COUNT(*) AS devices FROM devices WHERE org = $1 GROUP BY state ORDER BY state",
    )
    .bind(on.org)
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok((
            word(row, "state", DeviceState::from_name)?,
            number(row, "devices")?,
        ))
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

fn read(row: &AnyRow) -> Result<Device, sqlx::Error> {
    Ok(Device {
        id: column(row, "id")?,
        state: word(row, "state", DeviceState::from_name)?,
        device_type: optional_text(row, "type")?,
        serial: optional_text(row, "serial")?,
        name: optional_text(row, "name")?,
        firmware: optional_bytes(row, "firmware")?.map(Hex),
        inventory: word(row, "inventory", Inventory::from_name)?,
        last_contact_ms: optional_number(row, "last_contact_ms")?,
        created_ms: number(row, "created_ms")?,
    })
}
