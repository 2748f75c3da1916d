//! What stock Mender clients were given, what they said of it, and where they fetch it. To the clients, and so in the tables, what they
//! were given is a deployment; here a deployment is a rollout as Mender's tools see it.

use super::{On, StoreError, bytes, column, int, number};
use kusabi_api::{
    Hex, Hex32,
    admin::{OrderState, Target},
};
use sqlx::any::AnyRow;

/// Addresses that one holder has at a time: of a client that begins again each time the newest one is used.
const DOWNLOADS_MAX: i64 = 4;

/// An order in the hands of a stock client.
#[derive(Clone, Debug)]
pub(crate) struct HandedOrder {
    /// As the client names it.
    pub(crate) id: String,
    pub(crate) device: String,
    pub(crate) order: u64,
    pub(crate) digest: Hex32,
    /// What the device said last, in Mender's words.
    pub(crate) status: String,
    pub(crate) handed_ms: u64,
    pub(crate) changed_ms: u64,
}

const COLUMNS: &str = "id, device, order_id, digest, status, handed_ms, changed_ms";

fn read(row: &AnyRow) -> Result<HandedOrder, sqlx::Error> {
    Ok(HandedOrder {
        id: column(row, "id")?,
        device: column(row, "device")?,
        order: number(row, "order_id")?,
        digest: Hex(bytes(row, "digest")?),
        status: column(row, "status")?,
        handed_ms: number(row, "handed_ms")?,
        changed_ms: number(row, "changed_ms")?,
    })
}

/// An order is handed to a stock client; again, where its client asks again.
pub(crate) async fn hand(on: On<'_>, handed: &HandedOrder) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO mender_deployments \
         (org, id, device, order_id, digest, status, handed_ms, changed_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (org, id) DO UPDATE SET digest = excluded.digest, status = excluded.status, \
         changed_ms = excluded.changed_ms",
    )
    .bind(on.org)
    .bind(handed.id.clone())
    .bind(handed.device.clone())
    .bind(int(handed.order))
    .bind(handed.digest.0.to_vec())
    .bind(handed.status.clone())
    .bind(int(handed.handed_ms))
    .bind(int(handed.changed_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("hand an order to a Mender client"))?;
    Ok(())
}

/// What a client was given under this ID.
pub(crate) async fn find(on: On<'_>, id: &str) -> Result<Option<HandedOrder>, StoreError> {
    let error = StoreError::of("find what a Mender client was given");
    // PostgreSQL refuses texts with a NUL.
    if !id
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    {
        return Ok(None);
    }
    let sql = format!("SELECT {COLUMNS} FROM mender_deployments WHERE org = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(id.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// The artifact that a device installed last from here, by its own word.
pub(crate) async fn installed(on: On<'_>, device: &str) -> Result<Option<Hex32>, StoreError> {
    let error = StoreError::of("find what a Mender client installed last");
    let row = sqlx::query(
        "SELECT digest FROM mender_deployments WHERE org = $1 AND device = $2 AND status = 'success' \
         ORDER BY changed_ms DESC, order_id DESC LIMIT 1",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| bytes(row, "digest");
    Ok(row.as_ref().map(read).transpose().map_err(error)?.map(Hex))
}

/// Notes what a client says.
pub(crate) async fn set_status(
    on: On<'_>,
    id: &str,
    status: &str,
    at_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE mender_deployments SET status = $3, changed_ms = $4 WHERE org = $1 AND id = $2",
    )
    .bind(on.org)
    .bind(id.to_owned())
    .bind(status.to_owned())
    .bind(int(at_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note what a Mender client says"))?;
    Ok(())
}

/// Keeps a client's log, in the place of an earlier one.
pub(crate) async fn set_log(on: On<'_>, id: &str, log: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE mender_deployments SET log = $3 WHERE org = $1 AND id = $2")
        .bind(on.org)
        .bind(id.to_owned())
        .bind(log.to_owned())
        .execute(on.connection)
        .await
        .map_err(StoreError::of("keep a Mender client's log"))?;
    Ok(())
}

/// The log of an order, if the device's client sent one.
pub(crate) async fn log(
    on: On<'_>,
    device: &str,
    order: u64,
) -> Result<Option<String>, StoreError> {
    let error = StoreError::of("read a Mender client's log");
    let row = sqlx::query(
        "SELECT log FROM mender_deployments WHERE org = $1 AND device = $2 AND order_id = $3",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(int(order))
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| column::<Option<String>>(row, "log");
    Ok(row.as_ref().map(read).transpose().map_err(error)?.flatten())
}

/// Which of a device's orders from this one on have a log.
pub(crate) async fn logged(on: On<'_>, device: &str, from: u64) -> Result<Vec<u64>, StoreError> {
    let error = StoreError::of("look which orders have a log");
    let rows = sqlx::query(
        "SELECT order_id FROM mender_deployments \
         WHERE org = $1 AND device = $2 AND order_id >= $3 AND log IS NOT NULL",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(int(from))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    rows.iter()
        .map(|row| number(row, "order_id"))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// What a client says that its device has, as JSON.
pub(crate) async fn provides(on: On<'_>, device: &str) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT provides FROM mender_provides WHERE org = $1 AND device = $2")
        .bind(on.org)
        .bind(device.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("read what a Mender client has"))
}

/// Notes it.
pub(crate) async fn set_provides(
    on: On<'_>,
    device: &str,
    provides: &str,
    at_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO mender_provides (org, device, provides, changed_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (org, device) DO UPDATE SET provides = $3, changed_ms = $4",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(provides.to_owned())
    .bind(int(at_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note what a Mender client has"))?;
    Ok(())
}

/// An address under which an artifact is fetched.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// SHA-256 of its secret.
    pub(crate) hash: [u8; 32],
    pub(crate) digest: Hex32,
    /// A device, or a person.
    pub(crate) holder: String,
    /// The device's order; 0 for a person.
    pub(crate) order: u64,
    pub(crate) expires_ms: u64,
}

/// Gives a holder an address. What has expired, and more than a few of one holder, is forgotten.
pub(crate) async fn open(on: On<'_>, download: &Download, now_ms: u64) -> Result<(), StoreError> {
    let error = StoreError::of("give an address of an artifact");
    let On { connection, org } = on;
    sqlx::query("DELETE FROM mender_downloads WHERE org = $1 AND expires_ms <= $2")
        .bind(org.clone())
        .bind(int(now_ms))
        .execute(&mut *connection)
        .await
        .map_err(error)?;
    sqlx::query(
        "DELETE FROM mender_downloads WHERE org = $1 AND holder = $2 AND hash NOT IN \
         (SELECT hash FROM mender_downloads WHERE org = $1 AND holder = $2 \
          ORDER BY expires_ms DESC, hash LIMIT $3)",
    )
    .bind(org.clone())
    .bind(download.holder.clone())
    .bind(DOWNLOADS_MAX - 1)
    .execute(&mut *connection)
    .await
    .map_err(error)?;
    sqlx::query(
        "INSERT INTO mender_downloads (org, hash, digest, holder, order_id, expires_ms) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(org)
    .bind(download.hash.to_vec())
    .bind(download.digest.0.to_vec())
    .bind(download.holder.clone())
    .bind(int(download.order))
    .bind(int(download.expires_ms))
    .execute(connection)
    .await
    .map_err(error)?;
    Ok(())
}

/// What is fetched under an address that has not expired.
pub(crate) async fn opened(
    on: On<'_>,
    hash: [u8; 32],
    now_ms: u64,
) -> Result<Option<Download>, StoreError> {
    let error = StoreError::of("find an address of an artifact");
    let row = sqlx::query(
        "SELECT hash, digest, holder, order_id, expires_ms FROM mender_downloads \
         WHERE org = $1 AND hash = $2 AND expires_ms > $3",
    )
    .bind(on.org)
    .bind(hash.to_vec())
    .bind(int(now_ms))
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Download {
            hash: bytes(row, "hash")?,
            digest: Hex(bytes(row, "digest")?),
            holder: column(row, "holder")?,
            order: number(row, "order_id")?,
            expires_ms: number(row, "expires_ms")?,
        })
    };
    row.as_ref().map(read).transpose().map_err(error)
}

/// The counter that is kept for a device: it is given no release below it.
pub(crate) async fn counter(on: On<'_>, device: &str) -> Result<u64, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT counter FROM device_facts WHERE org = $1 AND device = $2")
            .bind(on.org)
            .bind(device.to_owned())
            .fetch_optional(on.connection)
            .await
            .map_err(StoreError::of("read a device's counter"))?;
    Ok(found.map_or(0, i64::cast_unsigned))
}

/// Whom an order was given to, its release, and how far this device is with it.
pub(crate) async fn order(
    on: On<'_>,
    device: &str,
    order: u64,
) -> Result<Option<(Target, Option<Hex32>, OrderState)>, StoreError> {
    let error = StoreError::of("find an order of a device");
    let row = sqlx::query(
        "SELECT o.target_kind, o.target, o.release_digest, w.state FROM device_orders w \
         JOIN orders o ON o.org = w.org AND o.id = w.order_id \
         WHERE w.org = $1 AND w.order_id = $2 AND w.device = $3",
    )
    .bind(on.org)
    .bind(int(order))
    .bind(device.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok((
            super::orders::target(row)?,
            super::optional_bytes(row, "release_digest")?.map(Hex),
            super::word(row, "state", OrderState::from_name)?,
        ))
    };
    row.as_ref().map(read).transpose().map_err(error)
}
