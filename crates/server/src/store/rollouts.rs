//! Rollouts, and how far each of their devices is. What concerns many devices is one statement, however many there are.

use super::{
    On, StoreError, column, devices::containing, int, number, optional_number, unreadable, word,
};
use crate::app::rollouts::machine::{Mark, Standing};
use kusabi_api::{
    Hex32,
    admin::{
        DeviceFilter, DeviceState, Inventory, OrderState, RolloutCounts, RolloutCreate,
        RolloutDeviceReason as Why, RolloutDeviceState as At, RolloutReason, RolloutState, Text,
    },
};
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

/// How many devices one statement names.
const CHUNK: usize = 64;

/// A rollout's row.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) plan: RolloutCreate,
    pub(crate) standing: Standing,
    pub(crate) created_ms: u64,
    pub(crate) created_by: String,
    pub(crate) next_ms: Option<u64>,
}

/// A device's row.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) rollout: u64,
    pub(crate) device: String,
    pub(crate) place: Option<u64>,
    pub(crate) state: At,
    pub(crate) reason: Option<Why>,
    pub(crate) order: Option<u64>,
    pub(crate) attempts: u64,
    pub(crate) changed_ms: u64,
}

pub(super) const COLUMNS: &str = "id, version, plan, state, reason, phase, total, released, due, mark_finished, mark_failed, \
                       waiting, ordered, sent, done, failed, skipped, aborted, \
                       created_ms, created_by, began_ms, phase_ms, next_ms, ended_ms";

const MEMBER: &str = "rollout, device, place, state, reason, order_id, attempts, changed_ms";

/// `$from, $from+1, …`: so many parameters.
pub(super) fn parameters(from: usize, count: usize) -> String {
    let all: Vec<String> = (from..from + count).map(|n| format!("${n}")).collect();
    all.join(", ")
}

/// A new rollout, of which no device is known yet; its number.
pub(crate) async fn insert(
    on: On<'_>,
    plan: &RolloutCreate,
    standing: &Standing,
    at_ms: u64,
    by: &str,
) -> Result<u64, StoreError> {
    let error = StoreError::of("insert a rollout");
    let text = serde_json::to_string(plan).map_err(|why| error(encode(why)))?;
    let row = sqlx::query(
        "INSERT INTO rollouts (org, id, version, plan, release_digest, state, phase, total, released, due, \
         mark_finished, mark_failed, waiting, ordered, sent, done, failed, skipped, aborted, \
         created_ms, created_by, next_ms) \
         SELECT $1, COALESCE(MAX(id), 0) + 1, 1, $2, $3, $4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, $5, $6, $5 \
         FROM rollouts WHERE org = $1 RETURNING id",
    )
    .bind(on.org)
    .bind(text)
    .bind(plan.release.0.to_vec())
    .bind(standing.state.name())
    .bind(int(at_ms))
    .bind(by.to_owned())
    .fetch_one(on.connection)
    .await
    .map_err(error)?;
    number(&row, "id").map_err(error)
}

fn encode(why: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Encode(why.into())
}

/// One rollout.
pub(crate) async fn find(on: On<'_>, id: u64) -> Result<Option<Kept>, StoreError> {
    let error = StoreError::of("find a rollout");
    let sql = format!("SELECT {COLUMNS} FROM rollouts WHERE org = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(id))
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// The rollouts with a number below `before`, at most `count`, the newest first.
pub(crate) async fn list(on: On<'_>, before: u64, count: u16) -> Result<Vec<Kept>, StoreError> {
    let error = StoreError::of("list rollouts");
    let sql = format!(
        "SELECT {COLUMNS} FROM rollouts WHERE org = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
    );
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

/// The rollouts but these whose time has come, at most `count`.
pub(crate) async fn due(
    on: On<'_>,
    now_ms: u64,
    but: &[u64],
    count: u16,
) -> Result<Vec<u64>, StoreError> {
    let error = StoreError::of("look for rollouts that go on");
    let sql = format!(
        "SELECT id FROM rollouts WHERE org = $1 AND next_ms <= $2 {}ORDER BY next_ms LIMIT $3",
        without(4, but)
    );
    let query = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(now_ms))
        .bind(i64::from(count));
    let query = but.iter().fold(query, |query, id| query.bind(int(*id)));
    let rows = query.fetch_all(on.connection).await.map_err(error)?;
    rows.iter()
        .map(|row| number(row, "id"))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// `AND …`: none of these, whose numbers are bound from parameter `from` on.
fn without(from: usize, but: &[u64]) -> String {
    match but.len() {
        0 => String::new(),
        count => format!("AND id NOT IN ({}) ", parameters(from, count)),
    }
}

/// When the time of the next one comes, these apart.
pub(crate) async fn next_time(on: On<'_>, but: &[u64]) -> Result<Option<u64>, StoreError> {
    let error = StoreError::of("look when a rollout goes on");
    let sql = format!(
        "SELECT MIN(next_ms) AS next_ms FROM rollouts WHERE org = $1 {}",
        without(2, but)
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(on.org);
    let query = but.iter().fold(query, |query, id| query.bind(int(*id)));
    let row = query.fetch_one(on.connection).await.map_err(error)?;
    optional_number(&row, "next_ms").map_err(error)
}

/// The rollouts of this release, or of all, that are not over.
pub(crate) async fn open(on: On<'_>, release: Option<[u8; 32]>) -> Result<Vec<u64>, StoreError> {
    let error = StoreError::of("look for the rollouts of a release");
    let of = match release {
        Some(_) => " AND release_digest = $4",
        None => "",
    };
    let sql =
        format!("SELECT id FROM rollouts WHERE org = $1 AND state NOT IN ($2, $3){of} ORDER BY id");
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(RolloutState::Done.name())
        .bind(RolloutState::Aborted.name());
    if let Some(release) = release {
        query = query.bind(release.to_vec());
    }
    let rows = query.fetch_all(on.connection).await.map_err(error)?;
    rows.iter()
        .map(|row| number(row, "id"))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// Writes where a rollout stands in the place of the version that was read; says whether that was there.
pub(crate) async fn set(on: On<'_>, kept: &Kept) -> Result<bool, StoreError> {
    let Kept { standing, .. } = kept;
    let counts = &standing.counts;
    let optional = |number: Option<u64>| number.map(int);
    let done = sqlx::query(
        "UPDATE rollouts SET version = version + 1, state = $4, reason = $5, phase = $6, total = $7, released = $8, \
         due = $9, mark_finished = $10, mark_failed = $11, waiting = $12, ordered = $13, sent = $14, done = $15, \
         failed = $16, skipped = $17, aborted = $18, began_ms = $19, phase_ms = $20, next_ms = $21, ended_ms = $22 \
         WHERE org = $1 AND id = $2 AND version = $3",
    )
    .bind(on.org)
    .bind(int(kept.id))
    .bind(int(kept.version))
    .bind(standing.state.name())
    .bind(standing.reason.map(RolloutReason::name))
    .bind(i64::from(standing.phase))
    .bind(int(standing.total))
    .bind(int(standing.released))
    .bind(i64::from(standing.due))
    .bind(int(standing.mark.finished))
    .bind(int(standing.mark.failed))
    .bind(int(counts.waiting))
    .bind(int(counts.ordered))
    .bind(int(counts.sent))
    .bind(int(counts.done))
    .bind(int(counts.failed))
    .bind(int(counts.skipped))
    .bind(int(counts.aborted))
    .bind(optional(standing.began_ms))
    .bind(optional(standing.phase_ms))
    .bind(optional(kept.next_ms))
    .bind(optional(standing.ended_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note where a rollout stands"))?;
    Ok(done.rows_affected() == 1)
}

/// Chooses the devices: those that take part get their places in an order that is another one in each rollout (`turn`, 0 to 24), and
/// those that cannot are noted with the reason. Says how many of each there are.
pub(crate) async fn choose(
    on: On<'_>,
    kept: &Kept,
    types: &[String],
    turn: u8,
    at_ms: u64,
) -> Result<(u64, u64), StoreError> {
    let error = StoreError::of("choose the devices of a rollout");
    let On { connection, org } = on;
    let states = [
        (DeviceState::Moved, Why::Moved),
        (DeviceState::Revoked, Why::Revoked),
        (DeviceState::Quarantined, Why::Quarantined),
    ];
    // Words of ours; what a request says is bound.
    let state = |state: DeviceState, why: Why| {
        format!("WHEN d.state = '{}' THEN '{}' ", state.name(), why.name())
    };
    let mut why: String = states.map(|(one, why)| state(one, why)).concat();
    if !kept.plan.force {
        why.push_str(&format!(
            "WHEN d.firmware = $5 THEN '{}' ",
            Why::Current.name()
        ));
    } else {
        why.push_str("WHEN $5 IS NULL THEN '' ");
    }
    let busy = "EXISTS (SELECT 1 FROM rollout_devices b WHERE b.org = d.org AND b.device = d.id AND b.held = 1)";
    why.push_str(&format!("WHEN {busy} THEN '{}' ", Why::Busy.name()));
    let filter = Filter::of(&kept.plan.devices, types, 6);
    let chosen = format!(
        "SELECT d.id AS device, CASE {why}END AS reason FROM {} WHERE {}",
        filter.tables, filter.holds
    );
    let skipped = format!(
        "INSERT INTO rollout_devices (org, rollout, device, state, reason, attempts, changed_ms, held) \
         SELECT $1, $2, c.device, $3, c.reason, 0, $4, 0 FROM ({chosen}) c WHERE c.reason IS NOT NULL"
    );
    let taking = format!(
        "INSERT INTO rollout_devices (org, rollout, device, place, state, attempts, changed_ms, held) \
         SELECT $1, $2, c.device, ROW_NUMBER() OVER (ORDER BY SUBSTR(c.device, {}), c.device) - 1, $3, 0, $4, 1 \
         FROM ({chosen}) c WHERE c.reason IS NULL",
        5 + u32::from(turn % 25)
    );
    let mut moved = [0; 2];
    // Those that are skipped first: who is taken is busy from then on.
    for (sql, state, count) in [(skipped, At::Skipped, 1), (taking, At::Waiting, 0)] {
        let query = sqlx::query(AssertSqlSafe(sql))
            .bind(org.clone())
            .bind(int(kept.id))
            .bind(state.name())
            .bind(int(at_ms))
            .bind(kept.plan.release.0.to_vec());
        let query = filter
            .values
            .iter()
            .fold(query, |query, value| match value {
                Value::Text(text) => query.bind(text.clone()),
                Value::Bytes(bytes) => query.bind(bytes.clone()),
            });
        let done = query.execute(&mut *connection).await.map_err(error)?;
        if let Some(count) = moved.get_mut(count) {
            *count = done.rows_affected();
        }
    }
    let [taking, skipped] = moved;
    Ok((taking, skipped))
}

enum Value {
    Text(String),
    Bytes(Vec<u8>),
}

/// A filter as SQL; what it says is bound from parameter `from` on.
struct Filter {
    tables: &'static str,
    holds: String,
    values: Vec<Value>,
}

impl Filter {
    fn of(asked: &DeviceFilter, types: &[String], from: usize) -> Self {
        let mut filter = Self {
            tables: match asked.group {
                Some(_) => "group_members m JOIN devices d ON d.org = m.org AND d.id = m.device",
                None => "devices d",
            },
            holds: String::from("d.org = $1"),
            values: Vec::new(),
        };
        let mut hold = |sql: &dyn Fn(&str) -> String, values: Vec<Value>| {
            let parameters = parameters(from + filter.values.len(), values.len());
            filter.holds.push_str(" AND ");
            filter.holds.push_str(&sql(&parameters));
            filter.values.extend(values);
        };
        let texts = |all: &[Text]| -> Vec<Value> {
            let text = |text: &Text| Value::Text(text.as_str().to_owned());
            all.iter().map(text).collect()
        };
        if !asked.ids.is_empty() {
            let ids = asked.ids.iter().cloned().map(Value::Text).collect();
            hold(&|at| format!("d.id IN ({at})"), ids);
        }
        if let Some(group) = &asked.group {
            let group = vec![Value::Text(group.clone())];
            hold(&|at| format!("m.org = $1 AND m.device_group = {at}"), group);
        }
        if !types.is_empty() {
            let of_release = types.iter().cloned().map(Value::Text).collect();
            let sql = |at: &str| format!("(d.type IS NULL OR d.type IN ({at}))");
            hold(&sql, of_release);
        }
        if !asked.types.is_empty() {
            hold(&|at| format!("d.type IN ({at})"), texts(&asked.types));
        }
        if !asked.serials.is_empty() {
            hold(&|at| format!("d.serial IN ({at})"), texts(&asked.serials));
        }
        if let Some(state) = asked.state {
            let state = vec![Value::Text(state.name().to_owned())];
            hold(&|at| format!("d.state = {at}"), state);
        }
        if let Some(running) = asked.running {
            let running = vec![Value::Bytes(running.0.to_vec())];
            hold(&|at| format!("d.firmware = {at}"), running);
        }
        if let Some(inventory) = asked.inventory {
            let inventory: Inventory = inventory;
            let inventory = vec![Value::Text(inventory.name().to_owned())];
            hold(&|at| format!("d.inventory = {at}"), inventory);
        }
        if let Some(search) = &asked.search {
            let pattern = vec![Value::Text(containing(search.as_str()))];
            let sql = |at: &str| {
                format!(
                    "(LOWER(d.serial) LIKE {at} ESCAPE '\\' OR LOWER(d.name) LIKE {at} ESCAPE '\\')"
                )
            };
            hold(&sql, pattern);
        }
        filter
    }
}

/// Of the devices that wait at places below `below`: skips those that run the release by now (unless it is forced) or may not have it;
/// says how many.
pub(crate) async fn skip(
    on: On<'_>,
    kept: &Kept,
    below: u64,
    at_ms: u64,
) -> Result<u64, StoreError> {
    let current = match kept.plan.force {
        true => "",
        false => "OR d.firmware = $5",
    };
    let sql = format!(
        "UPDATE rollout_devices SET state = $3, held = 0, changed_ms = $4, reason = \
         (SELECT CASE d.state WHEN '{moved}' THEN '{}' WHEN '{revoked}' THEN '{}' WHEN '{quarantined}' THEN '{}' ELSE '{}' END \
          FROM devices d WHERE d.org = rollout_devices.org AND d.id = rollout_devices.device) \
         WHERE org = $1 AND rollout = $2 AND state = '{waiting}' AND place < $6 AND ($5 IS NOT NULL) AND device IN \
         (SELECT d.id FROM devices d WHERE d.org = $1 AND (d.state IN ('{moved}', '{revoked}', '{quarantined}') {current}))",
        Why::Moved.name(),
        Why::Revoked.name(),
        Why::Quarantined.name(),
        Why::Current.name(),
        moved = DeviceState::Moved.name(),
        revoked = DeviceState::Revoked.name(),
        quarantined = DeviceState::Quarantined.name(),
        waiting = At::Waiting.name(),
    );
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(kept.id))
        .bind(At::Skipped.name())
        .bind(int(at_ms))
        .bind(kept.plan.release.0.to_vec())
        .bind(int(below))
        .execute(on.connection)
        .await
        .map_err(StoreError::of("skip devices of a rollout"))?;
    Ok(done.rows_affected())
}

/// Whether any device at the places from `from` up to `below` was not skipped, or was because it runs the release by now.
pub(crate) async fn any_tried(
    on: On<'_>,
    id: u64,
    from: u64,
    below: u64,
) -> Result<bool, StoreError> {
    let found = sqlx::query(
        "SELECT place FROM rollout_devices WHERE org = $1 AND rollout = $2 AND place >= $3 AND place < $4 \
         AND (state <> $5 OR reason = $6) LIMIT 1",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(int(from))
    .bind(int(below))
    .bind(At::Skipped.name())
    .bind(Why::Current.name())
    .fetch_optional(on.connection)
    .await
    .map_err(StoreError::of("look who had the release"))?;
    Ok(found.is_some())
}

/// Marks the devices that wait at places below `below` for the order that is about to be given ([`super::orders::hand_out`]).
pub(crate) async fn mark(on: On<'_>, id: u64, below: u64, at_ms: u64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE rollout_devices SET state = $3, reason = NULL, order_id = NULL, ordered_ms = $4, changed_ms = $4, \
         attempts = attempts + 1 WHERE org = $1 AND rollout = $2 AND state = $5 AND place < $6",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(At::Ordered.name())
    .bind(int(at_ms))
    .bind(At::Waiting.name())
    .bind(int(below))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("mark devices of a rollout"))?;
    Ok(done.rows_affected())
}

/// The marked ones have this order.
pub(crate) async fn set_order(on: On<'_>, id: u64, order: u64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE rollout_devices SET order_id = $4 \
         WHERE org = $1 AND rollout = $2 AND state = $3 AND order_id IS NULL",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(At::Ordered.name())
    .bind(int(order))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note the order of a rollout's devices"))?;
    Ok(())
}

/// Which of a rollout's devices something is done to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose<'a> {
    All,
    /// Those whose order was given up to this time.
    OrderedUntil(u64),
    /// These; at most [`CHUNK`].
    Named(&'a [String]),
}

impl Whose<'_> {
    /// The condition on table `t`; its values are bound from `from` on.
    fn holds(&self, from: usize) -> String {
        match self {
            Self::All => String::new(),
            Self::OrderedUntil(_) => format!(" AND t.ordered_ms <= ${from}"),
            Self::Named(devices) => {
                format!(" AND t.device IN ({})", parameters(from, devices.len()))
            }
        }
    }

    fn bind<'q>(
        &self,
        query: sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>,
    ) -> sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments> {
        match self {
            Self::All => query,
            Self::OrderedUntil(until) => query.bind(int(*until)),
            Self::Named(devices) => devices
                .iter()
                .fold(query, |query, device| query.bind(device.clone())),
        }
    }
}

/// Takes orders back that no device has fetched.
pub(crate) async fn take_back(
    on: On<'_>,
    id: u64,
    whose: Whose<'_>,
    at_ms: u64,
) -> Result<(), StoreError> {
    let error = StoreError::of("take orders of a rollout back");
    let On { connection, org } = on;
    let members = format!(
        "FROM rollout_devices t WHERE t.org = $1 AND t.rollout = $2 AND t.state = $3{}",
        whose.holds(6)
    );
    let counts = format!(
        "UPDATE orders SET waiting = waiting - (SELECT COUNT(*) FROM device_orders w \
         WHERE w.org = orders.org AND w.order_id = orders.id AND w.state = $4 AND w.device IN \
         (SELECT t.device {members} AND t.order_id = orders.id)) \
         WHERE org = $1 AND $5 >= 0 AND id IN (SELECT t.order_id {members})"
    );
    let drop = format!(
        "UPDATE device_orders SET state = '{}', changed_ms = $5 WHERE org = $1 AND state = $4 AND (order_id, device) IN \
         (SELECT t.order_id, t.device {members})",
        OrderState::Dropped.name()
    );
    for sql in [counts, drop] {
        let query = sqlx::query(AssertSqlSafe(sql))
            .bind(org.clone())
            .bind(int(id))
            .bind(At::Ordered.name())
            .bind(OrderState::Waiting.name())
            .bind(int(at_ms));
        let query = whose.bind(query);
        query.execute(&mut *connection).await.map_err(error)?;
    }
    Ok(())
}

/// What becomes of devices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) from: At,
    pub(crate) to: At,
    pub(crate) reason: Option<Why>,
    pub(crate) at_ms: u64,
}

/// Puts devices from one state into another; says how many were in the first. One that waits again has no order, and if it never had
/// the one before, it was no try.
pub(crate) async fn turn(
    on: On<'_>,
    id: u64,
    whose: Whose<'_>,
    turn: Turn,
) -> Result<u64, StoreError> {
    let Turn { from, to, .. } = turn;
    let held = matches!(to, At::Waiting | At::Ordered | At::Sent);
    let order = match (from, to) {
        (At::Ordered, At::Waiting) => {
            ", order_id = NULL, ordered_ms = NULL, attempts = attempts - 1"
        }
        (_, At::Waiting) => ", order_id = NULL, ordered_ms = NULL",
        _ => "",
    };
    let sql = format!(
        "UPDATE rollout_devices AS t SET state = $4, reason = $5, changed_ms = $6, held = {}{order} \
         WHERE t.org = $1 AND t.rollout = $2 AND t.state = $3{}",
        u8::from(held),
        whose.holds(7)
    );
    let query = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(id))
        .bind(from.name())
        .bind(to.name())
        .bind(turn.reason.map(Why::name))
        .bind(int(turn.at_ms));
    let query = whose.bind(query);
    let done = query
        .execute(on.connection)
        .await
        .map_err(StoreError::of("turn devices of a rollout"))?;
    Ok(done.rows_affected())
}

/// Those of these devices that have these orders from a rollout: each pair is a device and an order.
pub(crate) async fn with_orders(
    on: On<'_>,
    pairs: &[(String, u64)],
) -> Result<Vec<Member>, StoreError> {
    let error = StoreError::of("find the rollouts of orders");
    let On { connection, org } = on;
    let mut members = Vec::new();
    for chunk in pairs.chunks(CHUNK) {
        let values: Vec<String> = (0..chunk.len())
            .map(|n| format!("({})", parameters(2 + 2 * n, 2)))
            .collect();
        let sql = format!(
            "SELECT {MEMBER} FROM rollout_devices WHERE org = $1 AND (order_id, device) IN (VALUES {})",
            values.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(org.clone());
        for (device, order) in chunk {
            query = query.bind(int(*order)).bind(device.clone());
        }
        let rows = query.fetch_all(&mut *connection).await.map_err(error)?;
        let read: Result<Vec<_>, _> = rows.iter().map(member).collect();
        members.extend(read.map_err(error)?);
    }
    Ok(members)
}

/// Those of these devices that a rollout has, and that may not have an update any more, with the reason.
pub(crate) async fn leaving(
    on: On<'_>,
    devices: &[String],
) -> Result<Vec<(Member, Why)>, StoreError> {
    let error = StoreError::of("find the rollouts of devices");
    let On { connection, org } = on;
    let mut leaving = Vec::new();
    for chunk in devices.chunks(CHUNK) {
        let sql = format!(
            "SELECT r.rollout, r.device, r.place, r.state, r.reason, r.order_id, r.attempts, r.changed_ms, d.state AS is_now \
             FROM rollout_devices r JOIN devices d ON d.org = r.org AND d.id = r.device \
             WHERE r.org = $1 AND r.held = 1 AND d.state IN ($2, $3, $4) AND r.device IN ({})",
            parameters(5, chunk.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(org.clone())
            .bind(DeviceState::Moved.name())
            .bind(DeviceState::Revoked.name())
            .bind(DeviceState::Quarantined.name());
        for device in chunk {
            query = query.bind(device.clone());
        }
        let rows = query.fetch_all(&mut *connection).await.map_err(error)?;
        let read = |row: &AnyRow| {
            let why = match word(row, "is_now", DeviceState::from_name)? {
                DeviceState::Moved => Why::Moved,
                DeviceState::Revoked => Why::Revoked,
                _ => Why::Quarantined,
            };
            Ok((member(row)?, why))
        };
        let read: Result<Vec<_>, sqlx::Error> = rows.iter().map(read).collect();
        leaving.extend(read.map_err(error)?);
    }
    Ok(leaving)
}

/// When the oldest order of a rollout that was not answered was given.
pub(crate) async fn oldest(on: On<'_>, id: u64) -> Result<Option<u64>, StoreError> {
    let error = StoreError::of("look for a rollout's oldest order");
    let row = sqlx::query(
        "SELECT MIN(ordered_ms) AS oldest FROM rollout_devices \
         WHERE org = $1 AND rollout = $2 AND state IN ($3, $4)",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(At::Ordered.name())
    .bind(At::Sent.name())
    .fetch_one(on.connection)
    .await
    .map_err(error)?;
    optional_number(&row, "oldest").map_err(error)
}

/// How many devices of a rollout have not answered an order that was given before this time.
pub(crate) async fn silent(on: On<'_>, id: u64, before_ms: u64) -> Result<u64, StoreError> {
    let error = StoreError::of("count who is silent");
    let row = sqlx::query(
        "SELECT COUNT(*) AS devices FROM rollout_devices \
         WHERE org = $1 AND rollout = $2 AND state IN ($3, $4) AND ordered_ms < $5",
    )
    .bind(on.org)
    .bind(int(id))
    .bind(At::Ordered.name())
    .bind(At::Sent.name())
    .bind(int(before_ms))
    .fetch_one(on.connection)
    .await
    .map_err(error)?;
    number(&row, "devices").map_err(error)
}

/// Which devices of a rollout a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// All of them.
    All,
    /// Those that were not skipped at its beginning.
    TakingPart,
    /// Those in this state.
    In(At),
}

/// The devices of a rollout after `after`, at most `count`, by ID.
pub(crate) async fn members(
    on: On<'_>,
    id: u64,
    which: Members,
    after: &str,
    count: u16,
) -> Result<Vec<Member>, StoreError> {
    let error = StoreError::of("list the devices of a rollout");
    let of = match which {
        Members::All => "",
        Members::TakingPart => " AND place IS NOT NULL",
        Members::In(_) => " AND state = $5",
    };
    let sql = format!(
        "SELECT {MEMBER} FROM rollout_devices WHERE org = $1 AND rollout = $2 AND device > $3{of} \
         ORDER BY device LIMIT $4"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(id))
        .bind(after.to_owned())
        .bind(i64::from(count));
    if let Members::In(state) = which {
        query = query.bind(state.name());
    }
    let rows = query.fetch_all(on.connection).await.map_err(error)?;
    rows.iter()
        .map(member)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// Whether a release was seen to be withdrawn.
pub(crate) async fn is_withdrawn(on: On<'_>, release: Hex32) -> Result<bool, StoreError> {
    let error = StoreError::of("look whether a release is withdrawn");
    let row = sqlx::query(
        "SELECT withdrawn FROM ledger_releases WHERE org = $1 AND digest = $2 AND withdrawn IS NOT NULL",
    )
    .bind(on.org)
    .bind(release.0.to_vec())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    Ok(row.is_some_and(|row| !row.is_empty()))
}

pub(super) fn read(row: &AnyRow) -> Result<Kept, sqlx::Error> {
    let plan: String = column(row, "plan")?;
    let reason: Option<String> = column(row, "reason")?;
    Ok(Kept {
        id: number(row, "id")?,
        version: number(row, "version")?,
        plan: serde_json::from_str(&plan).map_err(|_| unreadable("plan"))?,
        standing: Standing {
            state: word(row, "state", RolloutState::from_name)?,
            reason: reason
                .map(|word| RolloutReason::from_name(&word).ok_or_else(|| unreadable("reason")))
                .transpose()?,
            phase: u16::try_from(number(row, "phase")?).map_err(|_| unreadable("phase"))?,
            total: number(row, "total")?,
            released: number(row, "released")?,
            due: number(row, "due")? == 1,
            mark: Mark {
                finished: number(row, "mark_finished")?,
                failed: number(row, "mark_failed")?,
            },
            counts: RolloutCounts {
                waiting: number(row, "waiting")?,
                ordered: number(row, "ordered")?,
                sent: number(row, "sent")?,
                done: number(row, "done")?,
                failed: number(row, "failed")?,
                skipped: number(row, "skipped")?,
                aborted: number(row, "aborted")?,
            },
            began_ms: optional_number(row, "began_ms")?,
            phase_ms: optional_number(row, "phase_ms")?,
            ended_ms: optional_number(row, "ended_ms")?,
        },
        created_ms: number(row, "created_ms")?,
        created_by: column(row, "created_by")?,
        next_ms: optional_number(row, "next_ms")?,
    })
}

fn member(row: &AnyRow) -> Result<Member, sqlx::Error> {
    let reason: Option<String> = column(row, "reason")?;
    Ok(Member {
        rollout: number(row, "rollout")?,
        device: column(row, "device")?,
        place: optional_number(row, "place")?,
        state: word(row, "state", At::from_name)?,
        reason: reason
            .map(|word| Why::from_name(&word).ok_or_else(|| unreadable("reason")))
            .transpose()?,
        order: optional_number(row, "order_id")?,
        attempts: number(row, "attempts")?,
        changed_ms: number(row, "changed_ms")?,
    })
}
