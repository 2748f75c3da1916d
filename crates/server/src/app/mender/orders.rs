//! Orders are handed out to stock Mender clients: [judged](super::judging) each time before they go out, then
//! [fetched](super::downloads) and [answered](super::statuses).
//!
//! Such an order is one of kind `update` (or `repair`, which is installed whatever runs) whose release has an artifact for the
//! device's type as its payload. A stock client checks the artifact's signature and nothing else.

use super::{
    MenderDevice,
    attributes::learn_type,
    judging::{About, Judged, device_type_of},
    names::running,
    uuid,
};
use crate::{
    app::{
        App, Error,
        rollouts::steps::{self, below_minimum},
    },
    device::journal::batch,
    share::{Shares, secs},
    store::{
        doorstep,
        mender_artifacts::Row,
        mender_orders::{self as rows, HandedOrder},
        rollouts::is_withdrawn,
    },
};
use kusabi_api::{
    Hex32,
    admin::{AlarmKind, OrderState},
};
use kusabi_core::{
    id::Digest,
    protocol::request::{Facts, Freshness},
};
use std::collections::BTreeMap;

/// Most open orders of a device that are looked at.
const OPEN_MAX: u16 = 64;

/// What a device has, by its client.
pub(crate) type Provides = BTreeMap<String, String>;

/// What a client is told to install.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) id: String,
    pub(crate) artifact: Row,
    /// The address under which it is fetched.
    pub(crate) uri: String,
    pub(crate) expires_ms: u64,
}

impl App {
    /// What a device is to install now, if anything: the oldest of its open orders, judged as a kusabi device would judge it.
    ///
    /// # Errors
    /// Ledger, database or disk fail.
    pub(crate) async fn mender_next(
        &self,
        device: &MenderDevice,
        provides: &Provides,
    ) -> Result<Option<Handed>, Error> {
        let name = &*device.device;
        self.hear_mender(name, device.device_type.as_deref(), provides)
            .await?;
        let open = {
            let mut reader = self.store.read("look for a device's orders").await?;
            doorstep::open_orders(reader.on(), name, OPEN_MAX).await?
        };
        if !open.is_empty() {
            within(&self.mender.handing, name)?;
        }
        let (mut broken, mut unread) = (Vec::new(), Vec::new());
        for order in open {
            let judged = match order.kind {
                kind if kind.installs() => match self.judge(device, provides, &order).await {
                    // A later version of this program may have written it, and reads it: nothing ends of that.
                    Err(Error::Store(why)) if why.is_unreadable() => {
                        tracing::error!(device = name, order = order.id, %why, "an order of a Mender client cannot be judged, and waits");
                        unread.push((order.id, why.to_string()));
                        Judged::Held
                    }
                    judged => judged?,
                },
                _ => Judged::Ends(
                    OrderState::Unable,
                    format!(
                        "a stock Mender client knows no order of kind {}",
                        order.kind.name()
                    ),
                ),
            };
            match judged {
                Judged::Held => {}
                Judged::Ends(state, why) => {
                    self.end_order(name, order.id, state, &why).await?;
                    // One answer is about one order, as in Mender; the next one is looked at with the next question. What no client
                    // could be given is no answer.
                    if state != OrderState::Unable {
                        return Ok(None);
                    }
                }
                Judged::Broken(why) => {
                    tracing::error!(device = name, order = order.id, %why, "an order cannot be given to a Mender client");
                    broken.push((order.id, why));
                }
                Judged::Give(artifact, about) => {
                    return self.hand(name, order.id, *artifact, about, &broken).await;
                }
            }
        }
        for (order, why) in broken.into_iter().chain(unread) {
            self.alarm_mender(name, order, &why).await?;
        }
        Ok(None)
    }

    /// Notes what a device has, where that is news.
    async fn hear_mender(
        &self,
        device: &str,
        device_type: Option<&str>,
        provides: &Provides,
    ) -> Result<(), Error> {
        let said = serde_json::to_string(provides)?;
        let mut reader = self.store.read("read what a Mender client has").await?;
        let known = rows::provides(reader.on(), device).await?;
        // One that says another thing each time is heard now and then.
        if known.as_ref() == Some(&said) || self.mender.reports.take(&device).is_err() {
            return Ok(());
        }
        let of_type = device_type_of(provides);
        let runs = match provides.get("artifact_name") {
            Some(name) => running(reader.on(), device, of_type.or(device_type), name).await?,
            None => None,
        };
        drop(reader);
        let said = &said;
        let (_, changes) = batch(self, "note what a Mender client has", move |batch, tx| {
            Box::pin(async move {
                rows::set_provides(tx.on(), device, said, batch.now_ms).await?;
                if let Some(Ok(of_type)) = of_type.map(str::parse) {
                    learn_type(tx, device, of_type).await?;
                }
                let facts = facts(runs, rows::counter(tx.on(), device).await?);
                batch.heard(tx, &[(device.into(), Some(facts))]).await
            })
        })
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        Ok(())
    }

    /// Gives an order out, if it is the device's still. The earlier ones that are broken, each with why, end with that: put right later,
    /// they would take the device back to where it was before this one.
    async fn hand(
        &self,
        device: &str,
        order: u64,
        artifact: Row,
        about: About,
        broken: &[(u64, String)],
    ) -> Result<Option<Handed>, Error> {
        let now_ms = self.edge.now_ms();
        let (uri, download) = self.download(artifact.digest, device, order)?;
        let handed = HandedOrder {
            id: order_uuid(order, device),
            device: device.to_owned(),
            order,
            digest: artifact.digest,
            status: String::from("pending"),
            handed_ms: now_ms,
            changed_ms: now_ms,
        };
        let (id, expires_ms) = (handed.id.clone(), download.expires_ms);
        let (handed, download) = (&handed, &download);
        let (given, changes) = batch(
            self,
            "give an order to a Mender client",
            move |batch, tx| {
                Box::pin(async move {
                    // The operator's guard, which a kusabi device keeps for itself.
                    if let Some(release) = steps::about(tx, about.release).await?
                        && let Some(minimum) = below_minimum(tx, &release).await?
                    {
                        let why = crate::app::rollouts::below(&release, minimum).to_string();
                        let state = OrderState::RefusedUnproven;
                        batch.settle(tx, device, order, state, Some(&why)).await?;
                        return Ok(false);
                    }
                    if is_withdrawn(tx.on(), about.release).await? {
                        return Ok(false);
                    }
                    match rows::order(tx.on(), device, order).await? {
                        Some((.., OrderState::Waiting)) => {
                            batch.sent(tx, device, &[order]).await?;
                        }
                        // It was here before, and its client begins anew.
                        Some((.., OrderState::Sent)) => {}
                        // It was taken back meanwhile.
                        _ => return Ok(false),
                    }
                    rows::hand(tx.on(), handed).await?;
                    rows::open(tx.on(), download, batch.now_ms).await?;
                    for (earlier, why) in broken {
                        let why = format!("{why}; order {order} was given in its place");
                        batch
                            .settle(tx, device, *earlier, OrderState::Unable, Some(&why))
                            .await?;
                    }
                    Ok(true)
                })
            },
        )
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        Ok(given.then_some(Handed {
            id,
            artifact,
            uri,
            expires_ms,
        }))
    }

    async fn end_order(
        &self,
        device: &str,
        order: u64,
        state: OrderState,
        why: &str,
    ) -> Result<(), Error> {
        let ((), changes) = batch(self, "end a Mender client's order", move |batch, tx| {
            Box::pin(async move { batch.settle(tx, device, order, state, Some(why)).await })
        })
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        Ok(())
    }

    async fn alarm_mender(&self, device: &str, order: u64, why: &str) -> Result<(), Error> {
        let detail = format!("an order cannot be given to the device (order {order}): {why}");
        let detail = &detail;
        let ((), changes) = batch(self, "raise an alarm", move |batch, tx| {
            Box::pin(async move { batch.alarm(tx, device, AlarmKind::Order, detail).await })
        })
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        Ok(())
    }
}

/// Takes one of a device's share.
pub(super) fn within(shares: &Shares, device: &str) -> Result<(), Error> {
    let taken = shares.take(&device);
    taken.map_err(|wait| Error::Crowded {
        wait_secs: secs(wait),
    })
}

/// What a device calls its order.
fn order_uuid(order: u64, device: &str) -> String {
    uuid(&[
        b"kusabi.server.mender-deployment",
        &order.to_be_bytes(),
        device.as_bytes(),
    ])
}

/// What such a device can say of itself. Its counter is kept for it: `before`, until it runs a release with which it rises.
pub(super) fn facts(runs: Option<(Hex32, u64)>, before: u64) -> Facts {
    Facts {
        inventory: None,
        release: runs.map(|(release, _)| Digest::new(release.0)),
        counter: runs.map_or(0, |(_, rises_to)| rises_to).max(before),
        freshness: Freshness::Unknown,
    }
}
