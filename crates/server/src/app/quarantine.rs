//! Devices of which two copies were seen: kept apart, taken back.

use super::{
    App, By, Change, Error, act::Done, devices::unknown, orders, rollouts::steps as rollouts,
};
use crate::store::{StoreError, Tx, devices, doorstep, timeline};
use kusabi_api::admin::{Device, DeviceState, EventKind, OrderKind, Target};
use kusabi_core::protocol::tripwire::{Displaced, Row};
use serde_json::json;

impl App {
    /// Keeps a device apart: it gets no orders but repair and rotate. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such device, or it has no key in force; the database.
    pub async fn quarantine(&self, by: &By, id: &str) -> Result<Device, Error> {
        self.act(by, "device.quarantine", move |tx, now_ms| {
            Box::pin(async move {
                let mut device = devices::find(tx.on(), id)
                    .await?
                    .ok_or_else(|| unknown(id))?;
                match device.state {
                    DeviceState::Quarantined => return Ok(Done::nothing(device)),
                    DeviceState::Active => {}
                    state => {
                        return Err(Error::Unfit(format!(
                            "the device {id} is {}: only an active one can be quarantined",
                            state.name()
                        )));
                    }
                }
                let (from, to) = (device.state, DeviceState::Quarantined);
                devices::move_state(tx.on(), id, from, to).await?;
                device.state = to;
                let detail = json!({ "by": by.caller.id() });
                let kind = EventKind::Quarantined;
                timeline::append(tx.on(), id, now_ms, kind, &detail).await?;
                let mut told = rollouts::left(tx, now_ms, &[id.to_owned()]).await?;
                told.push(Change::Device(id.to_owned()));
                Ok(Done::changed(device, id, detail).telling(told))
            })
        })
        .await
    }

    /// Takes a device out of quarantine, and orders it to take a new key: the copy that obeys is the survivor, and what the other one
    /// has is a key that was superseded. One that lost its memory too often to be served (spec/device-protocol.md, "Clone tripwire")
    /// may do so once more. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such device, or it is not in quarantine; the database.
    pub async fn readmit(&self, by: &By, id: &str) -> Result<Device, Error> {
        self.act(by, "device.readmit", move |tx, now_ms| {
            Box::pin(async move {
                let mut device = devices::find(tx.on(), id)
                    .await?
                    .ok_or_else(|| unknown(id))?;
                let forgiven = forgive(tx, id).await?;
                match device.state {
                    DeviceState::Quarantined => {}
                    // Where forks do not lead to quarantine.
                    DeviceState::Active if forgiven => {}
                    DeviceState::Active => return Ok(Done::nothing(device)),
                    state => {
                        return Err(Error::Unfit(format!(
                            "the device {id} is {}, not quarantined",
                            state.name()
                        )));
                    }
                }
                let (from, to) = (device.state, DeviceState::Active);
                devices::move_state(tx.on(), id, from, to).await?;
                device.state = to;
                let given = orders::Given {
                    kind: OrderKind::Rotate,
                    release: None,
                    nonce: None,
                    target: Target::Device(id.to_owned()),
                    by: by.caller.id().to_owned(),
                };
                let order = orders::give(tx, now_ms, given).await?;
                let detail = json!({ "by": by.caller.id(), "order": order.id });
                let kind = EventKind::Readmitted;
                timeline::append(tx.on(), id, now_ms, kind, &detail).await?;
                let told = [Change::Device(id.to_owned()), Change::Order(order.id)];
                Ok(Done::changed(device, id, detail).telling(told))
            })
        })
        .await
    }
}

/// Where as many values were displaced as are remembered, the newest is forgotten, so that the device may begin anew once more. The
/// others are not: a copy that knows one of them, or has the bare key alone, would be served.
async fn forgive(tx: &mut Tx<'_>, id: &str) -> Result<bool, Error> {
    let devices = [id.to_owned()];
    let Some((device, row)) = doorstep::links(tx.on(), &devices).await?.into_iter().next() else {
        return Ok(false);
    };
    if !row.displaced.is_full() {
        return Ok(false);
    }
    let values = row.displaced.values();
    let older = values.iter().take(values.len().saturating_sub(1));
    let displaced = older.copied().try_fold(Displaced::NONE, Displaced::and);
    let row = Row {
        displaced: displaced.unwrap_or_default(),
        version: row.version.saturating_add(1),
        ..row
    };
    if doorstep::set_links(tx.on(), &[(device, row)]).await? != 1 {
        let lost = StoreError::of("set tripwire rows")(sqlx::Error::RowNotFound);
        return Err(lost.into());
    }
    Ok(true)
}
