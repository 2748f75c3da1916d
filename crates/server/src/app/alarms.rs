//! Alarms: raised by what devices say, answered by people.

use super::{App, By, Caller, Change, Cut, Error, act::Done, audit};
use crate::store::{Tx, alarms, timeline};
use kusabi_api::admin::{Alarm, AlarmKind, EventKind, Page};
use serde_json::json;

impl App {
    /// The alarms, the newest first; `open`: only those that nobody acknowledged.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn alarms(&self, open: bool, cut: &Cut) -> Result<Page<Alarm>, Error> {
        let (before, count) = (cut.number(u64::MAX)?, cut.fetch()?);
        let mut reader = self.store.read("list alarms").await?;
        let alarms = alarms::list(reader.on(), open, before, count).await?;
        cut.page(alarms, |alarm| alarm.id.to_string())
    }

    /// Raises an alarm about a device.
    ///
    /// # Errors
    /// The database.
    pub async fn raise_alarm(
        &self,
        by: &By,
        device: &str,
        kind: AlarmKind,
        detail: &str,
    ) -> Result<Alarm, Error> {
        self.act(by, "alarm.raise", move |tx, now_ms| {
            Box::pin(async move {
                let alarm = note(tx, now_ms, device, kind, detail).await?;
                let particulars = json!({ "alarm": alarm.id, "kind": kind, "detail": detail });
                let changes = [Change::Alarm(alarm.id), Change::Device(device.to_owned())];
                Ok(Done::changed(alarm, device, particulars).telling(changes))
            })
        })
        .await
    }

    /// Takes note of an alarm. A repeat changes nothing: who was first stays.
    ///
    /// # Errors
    /// There is no such alarm; the database.
    pub async fn acknowledge_alarm(&self, by: &By, id: u64) -> Result<Alarm, Error> {
        self.act(by, "alarm.acknowledge", move |tx, now_ms| {
            Box::pin(async move {
                let mut alarm = alarms::find(tx.on(), id)
                    .await?
                    .ok_or_else(|| Error::Unknown {
                        what: "alarm",
                        id: id.to_string(),
                    })?;
                if alarm.acknowledged_ms.is_some() {
                    return Ok(Done::nothing(alarm));
                }
                let who = by.caller.id();
                alarms::acknowledge(tx.on(), id, now_ms, who).await?;
                alarm.acknowledged_ms = Some(now_ms);
                alarm.acknowledged_by = Some(who.to_owned());
                let detail = json!({ "device": alarm.device, "kind": alarm.kind });
                Ok(Done::changed(alarm, id.to_string(), detail).telling([Change::Alarm(id)]))
            })
        })
        .await
    }
}

/// Writes an alarm down, and into the device's timeline.
async fn note(
    tx: &mut Tx<'_>,
    now_ms: u64,
    device: &str,
    kind: AlarmKind,
    detail: &str,
) -> Result<Alarm, Error> {
    let alarm = Alarm {
        id: alarms::next_id(tx.on()).await?,
        device: device.to_owned(),
        kind,
        detail: detail.to_owned(),
        raised_ms: now_ms,
        acknowledged_ms: None,
        acknowledged_by: None,
    };
    alarms::insert(tx.on(), &alarm).await?;
    let particulars = json!({ "alarm": alarm.id, "kind": kind, "detail": detail });
    timeline::append(tx.on(), device, now_ms, EventKind::Alarm, &particulars).await?;
    Ok(alarm)
}

/// Raises an alarm by what a device said, with its entry in the audit log; not again while one of its kind about this device is open,
/// for whoever has a copy of a key could fill the disk otherwise.
pub(crate) async fn raise(
    tx: &mut Tx<'_>,
    now_ms: u64,
    device: &str,
    kind: AlarmKind,
    detail: &str,
) -> Result<Option<Alarm>, Error> {
    if alarms::is_open(tx.on(), device, kind).await? {
        return Ok(None);
    }
    let alarm = note(tx, now_ms, device, kind, detail).await?;
    let particulars = json!({ "alarm": alarm.id, "kind": kind, "detail": detail });
    let server = Caller::server();
    audit::append(tx, now_ms, server.id(), "alarm.raise", device, &particulars).await?;
    Ok(Some(alarm))
}
