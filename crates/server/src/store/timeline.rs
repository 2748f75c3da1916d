//! What happened to devices. What a device makes happen by itself has a bound: of its routine the newest is kept; alarms, answers to
//! orders, and what owners and the ledger did to it stay.

use super::{On, StoreError, column, int, number, unreadable, word};
use kusabi_api::{
    Hex,
    admin::{DeviceEvent, EventKind},
};
use kusabi_core::id::OrgId;
use serde::Deserialize;
use sqlx::any::AnyRow;

/// What a device does again and again, and as often as it likes. What it says of itself and reports now stands with the device.
const ROUTINE: [EventKind; 4] = [
    EventKind::Firmware,
    EventKind::InventoryChanged,
    EventKind::Reported,
    EventKind::OrderSent,
];

/// So much of a device's routine is kept, and until the next look a little more.
const ROUTINE_MAX: u32 = 1000;

/// How often it is looked at: at the first [`THIN_AT`] of each so many events. At several of them, for orders are added elsewhere and
/// may be any of them.
const THIN_EVERY: u64 = 64;
const THIN_AT: u64 = 4;

/// Adds an event to a device's timeline; beyond the bound the oldest of its routine gives way.
pub(crate) async fn append(
    on: On<'_>,
    device: &str,
    at_ms: u64,
    kind: EventKind,
    detail: &serde_json::Value,
) -> Result<(), StoreError> {
    let On { connection, org } = on;
    let error = StoreError::of("add to a device's timeline");
    let row = sqlx::query(
        "INSERT INTO device_events (org, device, seq, at_ms, kind, detail) \
         SELECT $1, $2, COALESCE(MAX(seq), 0) + 1, $3, $4, $5 FROM device_events WHERE org = $1 AND device = $2 \
         RETURNING seq",
    )
    .bind(org.clone())
    .bind(device.to_owned())
    .bind(int(at_ms))
    .bind(kind.name())
    .bind(detail.to_string())
    .fetch_one(&mut *connection)
    .await
    .map_err(error)?;
    let seq = number(&row, "seq").map_err(error)?;
    if seq > u64::from(ROUTINE_MAX) && seq % THIN_EVERY < THIN_AT {
        thin(On { connection, org }, device).await?;
    }
    Ok(())
}

/// Takes away the oldest of a device's routine.
async fn thin(on: On<'_>, device: &str) -> Result<(), StoreError> {
    let [a, b, c, d] = ROUTINE.map(EventKind::name);
    sqlx::query(
        "DELETE FROM device_events WHERE org = $1 AND device = $2 AND kind IN ($3, $4, $5, $6) AND seq <= \
         (SELECT seq FROM device_events WHERE org = $1 AND device = $2 AND kind IN ($3, $4, $5, $6) \
          ORDER BY seq DESC LIMIT 1 OFFSET $7)",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(a)
    .bind(b)
    .bind(c)
    .bind(d)
    .bind(i64::from(ROUTINE_MAX))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("shorten a device's timeline"))?;
    Ok(())
}

/// Whether a device's timeline has this event.
pub(crate) async fn has(
    on: On<'_>,
    device: &str,
    kind: EventKind,
    detail: &serde_json::Value,
) -> Result<bool, StoreError> {
    let there: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM device_events WHERE org = $1 AND device = $2 AND kind = $3 AND detail = $4 LIMIT 1",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(kind.name())
    .bind(detail.to_string())
    .fetch_optional(on.connection)
    .await
    .map_err(StoreError::of("look into a device's timeline"))?;
    Ok(there.is_some())
}

/// Adds what the ledger did to a device, unless the same stands there: a rebuild comes across it again.
pub(crate) async fn append_once(
    mut on: On<'_>,
    device: &str,
    at_ms: u64,
    kind: EventKind,
    detail: &serde_json::Value,
) -> Result<(), StoreError> {
    if has(on.again(), device, kind, detail).await? {
        return Ok(());
    }
    let On { connection, org } = on;
    sqlx::query(
        "INSERT INTO device_events (org, device, seq, at_ms, kind, detail) \
         SELECT $1, $2, COALESCE(MAX(seq), 0) + 1, $3, $4, $5 FROM device_events WHERE org = $1 AND device = $2",
    )
    .bind(org)
    .bind(device.to_owned())
    .bind(int(at_ms))
    .bind(kind.name())
    .bind(detail.to_string())
    .execute(connection)
    .await
    .map_err(StoreError::of("add to a device's timeline"))?;
    Ok(())
}

/// To whom this organisation gave a device last, as the node said whose event it was.
pub(crate) async fn given_to(on: On<'_>, device: &str) -> Result<Option<OrgId>, StoreError> {
    let error = StoreError::of("look up to whom a device was given");
    let detail: Option<String> = sqlx::query_scalar(
        "SELECT detail FROM device_events WHERE org = $1 AND device = $2 AND kind = $3 ORDER BY seq DESC LIMIT 1",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(EventKind::GivenAway.name())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let Some(detail) = detail else {
        return Ok(None);
    };
    let given: Given = serde_json::from_str(&detail).map_err(|_| error(unreadable("detail")))?;
    Ok(Some(OrgId::new(given.to.0)))
}

/// Of the detail of [`EventKind::GivenAway`].
#[derive(Deserialize)]
struct Given {
    to: Hex<16>,
}

/// Adds an event to the timeline of every device that an order was given to.
pub(crate) async fn append_order(
    on: On<'_>,
    order: u64,
    at_ms: u64,
    detail: &serde_json::Value,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO device_events (org, device, seq, at_ms, kind, detail) \
         SELECT o.org, o.device, COALESCE(\
             (SELECT MAX(e.seq) FROM device_events e WHERE e.org = o.org AND e.device = o.device), 0) + 1, \
             $3, $4, $5 \
         FROM device_orders o WHERE o.org = $1 AND o.order_id = $2",
    )
    .bind(on.org)
    .bind(int(order))
    .bind(int(at_ms))
    .bind(EventKind::OrderGiven.name())
    .bind(detail.to_string())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("add an order to its devices' timelines"))?;
    Ok(())
}

/// The events of a device with a number below `before`, at most `count`, the newest first.
pub(crate) async fn list(
    on: On<'_>,
    device: &str,
    before: u64,
    count: u16,
) -> Result<Vec<DeviceEvent>, StoreError> {
    let error = StoreError::of("list a device's timeline");
    let rows = sqlx::query(
        "SELECT seq, at_ms, kind, detail FROM device_events \
         WHERE org = $1 AND device = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(int(before))
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        let detail: String = column(row, "detail")?;
        Ok(DeviceEvent {
            seq: number(row, "seq")?,
            at_ms: number(row, "at_ms")?,
            kind: word(row, "kind", EventKind::from_name)?,
            detail: serde_json::from_str(&detail).map_err(|_| unreadable("detail"))?,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use kusabi_core::id::OrgId;
    use serde_json::json;

    #[tokio::test]
    async fn routine_gives_way_and_what_is_evidence_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.sqlite");
        let store = Store::sqlite(&path, OrgId::new([7; 16])).await.unwrap();
        let evidence = [
            EventKind::Alarm,
            EventKind::OrderAnswered,
            EventKind::Quarantined,
        ];
        let added = store.tx("fill timelines", |tx| {
            Box::pin(async move {
                append(tx.on(), "other", 1, EventKind::Reported, &json!({})).await?;
                for round in 0..3000_u64 {
                    let kind = ROUTINE[round as usize % ROUTINE.len()];
                    append(tx.on(), "device", round, kind, &json!({ "round": round })).await?;
                    if round.is_multiple_of(30) {
                        let kind = evidence[round as usize / 30 % evidence.len()];
                        append(tx.on(), "device", round, kind, &json!({})).await?;
                    }
                }
                Ok::<_, StoreError>(())
            })
        });
        added.await.unwrap();
        let mut reader = store.read("look").await.unwrap();
        let all = list(reader.on(), "device", u64::MAX, u16::MAX)
            .await
            .unwrap();
        let (routine, kept): (Vec<_>, Vec<_>) =
            all.iter().partition(|event| ROUTINE.contains(&event.kind));
        let most = (ROUTINE_MAX as usize)..(ROUTINE_MAX as usize + THIN_EVERY as usize);
        assert!(most.contains(&routine.len()), "{}", routine.len());
        assert_eq!(routine[0].detail["round"], 2999, "the newest are kept");
        assert_eq!(kept.len(), 100);
        // Numbers are given once.
        assert_eq!(all[0].seq, 3100);
        let other = list(reader.on(), "other", u64::MAX, 10).await.unwrap();
        assert_eq!(other.len(), 1);
    }
}
