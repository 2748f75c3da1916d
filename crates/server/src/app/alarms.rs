//! Alarms: raised by what devices say, answered by people.

use super::{App, By, Cut, Error, act::Done};
use crate::store::alarms;
use kusabi_api::admin::{Alarm, AlarmKind, Page};
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
                Ok(Done::changed(alarm, device, particulars))
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
                Ok(Done::changed(alarm, id.to_string(), detail))
            })
        })
        .await
    }
}
