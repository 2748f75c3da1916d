//! Rollouts as Mender's management API shows them: deployments. They are read, nothing of them is kept. The words of that API are made
//! here, and nowhere else, for lists are filtered by them.

use super::{
    On, StoreError, column, devices::containing, int, number, optional_number, rollouts,
    rollouts::parameters,
};
use kusabi_api::{
    Hex, Hex32,
    admin::{RolloutDeviceReason as Why, RolloutDeviceState as At, RolloutState},
};
use sqlx::{AssertSqlSafe, any::AnyRow};
use std::collections::BTreeMap;

/// Which rollouts a list shows: those for which all that is set holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) id: Option<u64>,
    /// In Mender's words.
    pub(crate) status: Option<String>,
    /// With this text somewhere in the name, upper or lower case.
    pub(crate) search: Option<String>,
    /// Made then or later, and then or before.
    pub(crate) from_ms: Option<u64>,
    pub(crate) until_ms: Option<u64>,
    pub(crate) oldest_first: bool,
}

/// A rollout, and how it stands in Mender's words.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) kept: rollouts::Kept,
    pub(crate) status: String,
}

/// A device of a rollout.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) device: String,
    pub(crate) device_type: Option<String>,
    /// In Mender's words.
    pub(crate) status: String,
    pub(crate) attempts: u64,
    pub(crate) changed_ms: u64,
    /// When its client was given what it is to install.
    pub(crate) handed_ms: Option<u64>,
    pub(crate) has_log: bool,
}

/// Those that are of a release with a Mender artifact.
const OF_ARTIFACTS: &str = "release_digest IN (SELECT l.digest FROM releases l \
     JOIN release_contents c ON c.org = l.org AND c.release_id = l.id \
     JOIN mender_artifacts a ON a.org = c.org AND a.digest = c.digest WHERE l.org = $1)";

/// How a rollout stands: `pending` as long as no device has begun.
fn standing() -> String {
    format!(
        "CASE WHEN state IN ('{}', '{}') THEN 'finished' WHEN sent + done + failed = 0 THEN 'pending' ELSE 'inprogress' END",
        RolloutState::Done.name(),
        RolloutState::Aborted.name()
    )
}

/// How a device `r` of a rollout stands, whose client said `m` of it last. Who was busy or in quarantine was passed over, for which
/// Mender has no word nearer than `aborted`.
fn progress() -> String {
    format!(
        "CASE r.state \
         WHEN '{}' THEN CASE WHEN m.status = 'already-installed' THEN 'already-installed' ELSE 'success' END \
         WHEN '{}' THEN 'failure' \
         WHEN '{}' THEN 'aborted' \
         WHEN '{}' THEN CASE r.reason WHEN '{}' THEN 'already-installed' \
           WHEN '{}' THEN 'decommissioned' WHEN '{}' THEN 'decommissioned' ELSE 'aborted' END \
         WHEN '{}' THEN COALESCE(m.status, 'pending') \
         ELSE 'pending' END",
        At::Done.name(),
        At::Failed.name(),
        At::Aborted.name(),
        At::Skipped.name(),
        Why::Current.name(),
        Why::Revoked.name(),
        Why::Moved.name(),
        At::Sent.name(),
    )
}

const MEMBERS: &str = "rollout_devices r LEFT JOIN mender_deployments m \
     ON m.org = r.org AND m.device = r.device AND m.order_id = r.order_id";

/// A part of the rollouts, the newest first, and how many there are.
pub(crate) async fn list(
    on: On<'_>,
    wanted: &Wanted,
    skip: u64,
    count: u16,
) -> Result<(Vec<Shown>, u64), StoreError> {
    let error = StoreError::of("list rollouts of Mender artifacts");
    let On { connection, org } = on;
    let standing = standing();
    let mut holds = format!("org = $1 AND {OF_ARTIFACTS}");
    let mut texts = Vec::new();
    for (number, what) in [
        (wanted.id, "id ="),
        (wanted.from_ms, "created_ms >="),
        (wanted.until_ms, "created_ms <="),
    ] {
        if let Some(number) = number {
            holds.push_str(&format!(" AND {what} {}", int(number)));
        }
    }
    if let Some(status) = &wanted.status {
        texts.push(status.clone());
        holds.push_str(&format!(" AND {standing} = ${}", texts.len() + 1));
    }
    if let Some(search) = &wanted.search {
        texts.push(named(search));
        holds.push_str(&format!(
            " AND LOWER(plan) LIKE ${} ESCAPE '\\'",
            texts.len() + 1
        ));
    }
    let order = match wanted.oldest_first {
        true => "ASC",
        false => "DESC",
    };
    let sql = format!("SELECT COUNT(*) AS total FROM rollouts WHERE {holds}");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(org.clone());
    let query = texts
        .iter()
        .fold(query, |query, text| query.bind(text.clone()));
    let total = query.fetch_one(&mut *connection).await.map_err(error)?;
    let total = number(&total, "total").map_err(error)?;
    let sql = format!(
        "SELECT {}, {standing} AS mender_status FROM rollouts WHERE {holds} ORDER BY id {order} LIMIT {count} OFFSET {}",
        rollouts::COLUMNS,
        int(skip)
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(org);
    let query = texts
        .iter()
        .fold(query, |query, text| query.bind(text.clone()));
    let rows = query.fetch_all(connection).await.map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Shown {
            kept: rollouts::read(row)?,
            status: column(row, "mender_status")?,
        })
    };
    let read: Result<Vec<_>, sqlx::Error> = rows.iter().map(read).collect();
    Ok((read.map_err(error)?, total))
}

/// A pattern for a plan, in lower case, with this text in its name. A plan's JSON begins with the name, and what comes behind it stands
/// in no name unescaped.
fn named(search: &str) -> String {
    let text = serde_json::Value::from(search).to_string();
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or_default();
    format!("{{\"name\":\"{}\",\"release\":\"%", containing(inner))
}

/// How many devices of a rollout stand how, in Mender's words.
pub(crate) async fn statistics(on: On<'_>, id: u64) -> Result<BTreeMap<String, u64>, StoreError> {
    let error = StoreError::of("count the devices of a rollout");
    let sql = format!(
        "SELECT s.status, COUNT(*) AS devices FROM (SELECT {} AS status FROM {MEMBERS} \
         WHERE r.org = $1 AND r.rollout = $2) s GROUP BY s.status",
        progress()
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(id))
        .fetch_all(on.connection)
        .await
        .map_err(error)?;
    rows.iter()
        .map(|row| Ok((column(row, "status")?, number(row, "devices")?)))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// A part of a rollout's devices that stand in one of these ways, all of them where none is named; by ID. And how many there are.
pub(crate) async fn members(
    on: On<'_>,
    id: u64,
    statuses: &[&str],
    skip: u64,
    count: u16,
) -> Result<(Vec<Member>, u64), StoreError> {
    let error = StoreError::of("list the devices of a rollout");
    let On { connection, org } = on;
    let of = match statuses.len() {
        0 => String::new(),
        count => format!(" WHERE s.status IN ({})", parameters(3, count)),
    };
    let all = format!(
        "(SELECT r.device, r.attempts, r.changed_ms, {} AS status, d.type, m.handed_ms, \
         CAST(CASE WHEN m.log IS NULL THEN 0 ELSE 1 END AS BIGINT) AS has_log \
         FROM {MEMBERS} LEFT JOIN devices d ON d.org = r.org AND d.id = r.device \
         WHERE r.org = $1 AND r.rollout = $2) s{of}",
        progress()
    );
    let bound = |sql: String| {
        let query = sqlx::query(AssertSqlSafe(sql))
            .bind(org.clone())
            .bind(int(id));
        statuses
            .iter()
            .fold(query, |query, status| query.bind((*status).to_owned()))
    };
    let total = bound(format!("SELECT COUNT(*) AS total FROM {all}"));
    let total = total.fetch_one(&mut *connection).await.map_err(error)?;
    let total = number(&total, "total").map_err(error)?;
    let rows = bound(format!(
        "SELECT s.* FROM {all} ORDER BY s.device LIMIT {count} OFFSET {}",
        int(skip)
    ));
    let rows = rows.fetch_all(connection).await.map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Member {
            device: column(row, "device")?,
            device_type: column(row, "type")?,
            status: column(row, "status")?,
            attempts: number(row, "attempts")?,
            changed_ms: number(row, "changed_ms")?,
            handed_ms: optional_number(row, "handed_ms")?,
            has_log: number(row, "has_log")? == 1,
        })
    };
    let read: Result<Vec<_>, sqlx::Error> = rows.iter().map(read).collect();
    Ok((read.map_err(error)?, total))
}

/// The order that a device of a rollout has, or answered last.
pub(crate) async fn order_of(on: On<'_>, id: u64, device: &str) -> Result<Option<u64>, StoreError> {
    let error = StoreError::of("find a device's order of a rollout");
    let row = sqlx::query(
        "SELECT order_id FROM rollout_devices WHERE org = $1 AND rollout = $2 AND device = $3",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(device.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| optional_number(row, "order_id");
    Ok(row.as_ref().map(read).transpose().map_err(error)?.flatten())
}

/// The artifacts of a release: ID, name and size of each.
pub(crate) async fn artifacts(
    on: On<'_>,
    release: Hex32,
) -> Result<Vec<(String, String, u64)>, StoreError> {
    let error = StoreError::of("find the artifacts of a release");
    let rows = sqlx::query(
        "SELECT a.id, a.name, a.size FROM mender_artifacts a WHERE a.org = $1 AND a.digest IN \
         (SELECT c.digest FROM release_contents c JOIN releases l ON l.org = c.org AND l.id = c.release_id \
          WHERE c.org = $1 AND l.digest = $2) ORDER BY a.id",
    )
    .bind(on.org)
    .bind(release.0.to_vec())
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok((
            column(row, "id")?,
            column(row, "name")?,
            number(row, "size")?,
        ))
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The releases that have an artifact of this name: number, digest and signed manifest of each that was published and not withdrawn,
/// the newest first.
pub(crate) async fn releases_with(
    on: On<'_>,
    name: &str,
) -> Result<Vec<(u64, Hex32, Vec<u8>)>, StoreError> {
    let error = StoreError::of("find the releases of an artifact");
    // PostgreSQL refuses texts with a NUL.
    if name.contains('\0') {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT l.id, l.digest, l.signed FROM releases l \
         JOIN ledger_releases p ON p.org = l.org AND p.digest = l.digest \
         WHERE l.org = $1 AND p.withdrawn IS NULL AND l.id IN \
         (SELECT c.release_id FROM release_contents c \
          JOIN mender_artifacts a ON a.org = c.org AND a.digest = c.digest \
          WHERE c.org = $1 AND a.name = $2) ORDER BY l.id DESC",
    )
    .bind(on.org)
    .bind(name.to_owned())
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
