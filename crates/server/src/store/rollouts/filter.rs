//! Which devices a rollout is for.

use super::{Kept, parameters};
use crate::store::{On, StoreError, devices::containing, int};
use kusabi_api::admin::{
    DeviceFilter, DeviceState, Inventory, RolloutDeviceReason as Why, RolloutDeviceState as At,
    Text,
};
use sqlx::AssertSqlSafe;

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
