//! How far each device of a rollout is.

use super::{Kept, parameters};
use crate::store::{On, StoreError, column, int, number, optional_number, unreadable, word};
use kusabi_api::admin::{
    DeviceState, OrderState, RolloutDeviceReason as Why, RolloutDeviceState as At,
};
use sqlx::{AssertSqlSafe, any::AnyRow};

/// How many devices one statement names.
const CHUNK: usize = 64;

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

const MEMBER: &str = "rollout, device, place, state, reason, order_id, attempts, changed_ms";

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

/// Marks the devices that wait at places below `below` for the order that is about to be given ([`crate::store::orders::hand_out`]).
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
