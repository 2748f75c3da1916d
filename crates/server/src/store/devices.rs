//! Devices and their keys.

use super::{
    On, StoreError, bytes, column, int, is_id, number, optional_bytes, optional_number,
    optional_text, word,
};
use kusabi_api::{
    Hex,
    admin::{Device, DeviceClass, DeviceKey, DeviceState, Freshness, Inventory, Text},
};
use sqlx::{AssertSqlSafe, any::AnyRow};

/// Which devices a list shows. All that is set must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) group: Option<String>,
    pub(crate) device_type: Option<Text>,
    pub(crate) state: Option<DeviceState>,
    pub(crate) serial: Option<Text>,
    /// Of those that are this organisation's: of one that has moved nothing is expected here.
    pub(crate) inventory: Option<Inventory>,
    /// Stands somewhere in the serial or the name, upper or lower case.
    pub(crate) search: Option<Text>,
}

const COLUMNS: &str = "d.id, d.class, d.state, d.type, d.serial, d.name, d.firmware, d.inventory, d.freshness, \
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
        inventory,
        search,
    } = filter;
    if group.as_deref().is_some_and(|group| !is_id(group)) {
        return Ok(Vec::new());
    }
    let texts = [
        ("m.device_group", group.as_deref()),
        ("d.type", device_type.as_ref().map(Text::as_str)),
        ("d.state", state.map(DeviceState::name)),
        ("d.serial", serial.as_ref().map(Text::as_str)),
        ("d.inventory", inventory.map(Inventory::name)),
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
    let mut parameter = 4;
    for (name, _) in set {
        sql.push_str(&format!(" AND {name} = ${parameter}"));
        parameter += 1;
    }
    if inventory.is_some() {
        sql.push_str(&format!(" AND d.state <> '{}'", DeviceState::Moved.name()));
    }
    if search.is_some() {
        sql.push_str(&format!(
            " AND (LOWER(d.serial) LIKE ${parameter} ESCAPE '\\' OR LOWER(d.name) LIKE ${parameter} ESCAPE '\\')"
        ));
    }
    sql.push_str(&format!(" ORDER BY {id} LIMIT $3"));
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(after.to_owned())
        .bind(i64::from(count));
    for value in texts.iter().filter_map(|(_, value)| *value) {
        query = query.bind(value.to_owned());
    }
    if let Some(search) = search {
        query = query.bind(containing(search.as_str()));
    }
    let rows = query.fetch_all(on.connection).await.map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// Which of these are devices.
pub(crate) async fn known(on: On<'_>, ids: &[String]) -> Result<Vec<String>, StoreError> {
    let error = StoreError::of("look which devices there are");
    // PostgreSQL refuses texts with a NUL.
    let ids: Vec<String> = ids.iter().filter(|id| super::is_id(id)).cloned().collect();
    let question = "SELECT id FROM devices WHERE org = $1 AND id IN";
    let rows = super::among(on, question, &ids).await.map_err(error)?;
    rows.iter()
        .map(|row| column(row, "id"))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// A pattern of `LIKE` for what holds this text, with `\\` as its escape; A to Z in lower case, as `LOWER` makes them.
pub(crate) fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_ascii_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// The types that devices have, at most `count`, in order. It costs a look into the index for each type, not for each device.
pub(crate) async fn types(on: On<'_>, count: u16) -> Result<Vec<String>, StoreError> {
    let On { connection, org } = on;
    let mut types: Vec<String> = Vec::new();
    while types.len() < usize::from(count) {
        let after = types.last().cloned().unwrap_or_default();
        let next: Option<String> =
            sqlx::query_scalar("SELECT MIN(type) FROM devices WHERE org = $1 AND type > $2")
                .bind(org.clone())
                .bind(after)
                .fetch_one(&mut *connection)
                .await
                .map_err(StoreError::of("list types"))?;
        match next {
            Some(next) => types.push(next),
            None => break,
        }
    }
    Ok(types)
}

/// Name and serial of these devices, by ID; what there is not is left out.
pub(crate) async fn names(
    on: On<'_>,
    ids: &[String],
) -> Result<Vec<(String, Option<Text>, Option<Text>)>, StoreError> {
    let error = StoreError::of("name devices");
    let rows = super::among(
        on,
        "SELECT id, name, serial FROM devices WHERE org = $1 AND id IN",
        ids,
    )
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok((
            column(row, "id")?,
            optional_text(row, "name")?,
            optional_text(row, "serial")?,
        ))
    };
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
        "INSERT INTO devices (org, id, state, type, serial, name, inventory, freshness, created_ms, class) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(on.org)
    .bind(device.id.clone())
    .bind(device.state.name())
    .bind(text(&device.device_type))
    .bind(text(&device.serial))
    .bind(text(&device.name))
    .bind(device.inventory.name())
    .bind(device.freshness.name())
    .bind(int(device.created_ms))
    .bind(device.class.name())
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
        "INSERT INTO device_keys (org, handle, device, purpose, predecessor, registered, status, ended) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(on.org)
    .bind(key.handle.0.to_vec())
    .bind(device.to_owned())
    .bind(key.purpose.clone())
    .bind(key.predecessor.map(|handle| handle.0.to_vec()))
    .bind(int(key.registered))
    .bind(key.status.clone())
    .bind(key.ended.map(int))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert a key of a device"))?;
    Ok(())
}

/// A key that stands here as another device's is this one's.
pub(crate) async fn move_key(on: On<'_>, device: &str, key: &DeviceKey) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE device_keys SET device = $3, purpose = $4, predecessor = $5, registered = $6 \
         WHERE org = $1 AND handle = $2",
    )
    .bind(on.org)
    .bind(key.handle.0.to_vec())
    .bind(device.to_owned())
    .bind(key.purpose.clone())
    .bind(key.predecessor.map(|handle| handle.0.to_vec()))
    .bind(int(key.registered))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("give a key to its device"))?;
    Ok(())
}

/// A device's key, and whose it is.
pub(crate) async fn key(
    on: On<'_>,
    handle: [u8; 32],
) -> Result<Option<(String, DeviceKey)>, StoreError> {
    let error = StoreError::of("find a key of a device");
    let row = sqlx::query(
        "SELECT device, handle, purpose, predecessor, registered, status, ended FROM device_keys \
         WHERE org = $1 AND handle = $2",
    )
    .bind(on.org)
    .bind(handle.to_vec())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| Ok((column(row, "device")?, read_key(row)?));
    row.as_ref().map(read).transpose().map_err(error)
}

/// Notes that a key ended.
pub(crate) async fn end_key(
    on: On<'_>,
    handle: [u8; 32],
    status: &'static str,
    ended: u64,
) -> Result<(), StoreError> {
    // A key that was revoked has ended for good: whatever is said of it later does not take that back.
    sqlx::query(
        "UPDATE device_keys SET status = $3, ended = $4 \
         WHERE org = $1 AND handle = $2 AND (status <> $5 OR $3 = $5)",
    )
    .bind(on.org)
    .bind(handle.to_vec())
    .bind(status)
    .bind(int(ended))
    .bind("revoked")
    .execute(on.connection)
    .await
    .map_err(StoreError::of("end a key of a device"))?;
    Ok(())
}

/// A key is in force here again: it came back.
pub(crate) async fn revive_key(on: On<'_>, handle: [u8; 32]) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE device_keys SET status = 'active', ended = NULL WHERE org = $1 AND handle = $2",
    )
    .bind(on.org)
    .bind(handle.to_vec())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("take a key of a device back"))?;
    Ok(())
}

/// Notes in which state a device is, unless it is quarantined and stays so.
pub(crate) async fn set_state(
    on: On<'_>,
    device: &str,
    state: DeviceState,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE devices SET state = $3 WHERE org = $1 AND id = $2 AND (state <> $4 OR $3 IN ($5, $6))",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(state.name())
    .bind(DeviceState::Quarantined.name())
    .bind(DeviceState::Revoked.name())
    .bind(DeviceState::Moved.name())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note a device's state"))?;
    Ok(())
}

/// Puts a device from one state into another; says whether it was in the first.
pub(crate) async fn move_state(
    on: On<'_>,
    device: &str,
    from: DeviceState,
    to: DeviceState,
) -> Result<bool, StoreError> {
    let done =
        sqlx::query("UPDATE devices SET state = $4 WHERE org = $1 AND id = $2 AND state = $3")
            .bind(on.org)
            .bind(device.to_owned())
            .bind(from.name())
            .bind(to.name())
            .execute(on.connection)
            .await
            .map_err(StoreError::of("move a device's state"))?;
    Ok(done.rows_affected() > 0)
}

/// Notes what a device's newest inventory says.
pub(crate) async fn set_inventory(
    on: On<'_>,
    device: &str,
    inventory: Inventory,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE devices SET inventory = $3 WHERE org = $1 AND id = $2")
        .bind(on.org)
        .bind(device.to_owned())
        .bind(inventory.name())
        .execute(on.connection)
        .await
        .map_err(StoreError::of("note what an inventory says"))?;
    Ok(())
}

/// Fills in what a device is called.
pub(crate) async fn describe(on: On<'_>, device: &Device) -> Result<(), StoreError> {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.as_str().to_owned());
    sqlx::query("UPDATE devices SET type = $3, serial = $4, name = $5 WHERE org = $1 AND id = $2")
        .bind(on.org)
        .bind(device.id.clone())
        .bind(text(&device.device_type))
        .bind(text(&device.serial))
        .bind(text(&device.name))
        .execute(on.connection)
        .await
        .map_err(StoreError::of("describe a device"))?;
    Ok(())
}

/// A device's keys, the first one first.
pub(crate) async fn keys(on: On<'_>, device: &str) -> Result<Vec<DeviceKey>, StoreError> {
    let error = StoreError::of("list a device's keys");
    let rows = sqlx::query(
        "SELECT handle, purpose, predecessor, registered, status, ended FROM device_keys \
         WHERE org = $1 AND device = $2 ORDER BY registered, handle",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    rows.iter()
        .map(read_key)
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

fn read_key(row: &AnyRow) -> Result<DeviceKey, sqlx::Error> {
    Ok(DeviceKey {
        handle: Hex(bytes(row, "handle")?),
        purpose: column(row, "purpose")?,
        predecessor: optional_bytes(row, "predecessor")?.map(Hex),
        registered: number(row, "registered")?,
        status: column(row, "status")?,
        ended: optional_number(row, "ended")?,
    })
}

fn read(row: &AnyRow) -> Result<Device, sqlx::Error> {
    Ok(Device {
        id: column(row, "id")?,
        class: word(row, "class", DeviceClass::from_name)?,
        state: word(row, "state", DeviceState::from_name)?,
        device_type: optional_text(row, "type")?,
        serial: optional_text(row, "serial")?,
        name: optional_text(row, "name")?,
        firmware: optional_bytes(row, "firmware")?.map(Hex),
        inventory: word(row, "inventory", Inventory::from_name)?,
        freshness: word(row, "freshness", Freshness::from_name)?,
        last_contact_ms: optional_number(row, "last_contact_ms")?,
        created_ms: number(row, "created_ms")?,
    })
}
