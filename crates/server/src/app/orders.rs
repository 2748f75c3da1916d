//! Orders: given, listed.

use super::{
    App, By, Change, Cut, Error,
    act::Done,
    devices::unknown as unknown_device,
    groups,
    rollouts::{below, steps},
};
use crate::store::{Tx, devices, groups as group_rows, orders, timeline};
use kusabi_api::{
    Hex32,
    admin::{DeviceClass, DeviceOrder, Order, OrderCreate, OrderKind, OrderState, Page, Target},
};
use kusabi_core::{
    id::{Digest, StateKey},
    protocol::request::OutcomeCode,
    row::{ReleaseStatus, Row},
};
use serde_json::json;

/// Where an order stands once its device has said this.
pub(crate) const fn state_of(code: OutcomeCode) -> OrderState {
    match code {
        OutcomeCode::Done => OrderState::Done,
        OutcomeCode::Stale => OrderState::RefusedStale,
        OutcomeCode::Unproven => OrderState::RefusedUnproven,
        OutcomeCode::Failed => OrderState::Failed,
        OutcomeCode::Unsupported => OrderState::Unable,
    }
}

/// What the device said of an order that stands so; `None`: nothing yet.
pub(crate) fn code_of(state: OrderState) -> Option<OutcomeCode> {
    let codes = [
        OutcomeCode::Done,
        OutcomeCode::Stale,
        OutcomeCode::Unproven,
        OutcomeCode::Failed,
        OutcomeCode::Unsupported,
    ];
    codes.into_iter().find(|code| state_of(*code) == state)
}

impl App {
    /// The orders, the newest first.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn orders(&self, cut: &Cut) -> Result<Page<Order>, Error> {
        let (before, count) = (cut.number(u64::MAX)?, cut.fetch()?);
        let mut reader = self.store.read("list orders").await?;
        let orders = orders::list(reader.on(), before, count).await?;
        cut.page(orders, |order| order.id.to_string())
    }

    /// Gives an order to a device, or to the devices that are in a group now.
    ///
    /// # Errors
    /// There is no such target; the release is missing, not asked for, or not published; ledger or database fail.
    pub async fn create_order(&self, by: &By, create: OrderCreate) -> Result<Order, Error> {
        match (create.kind, create.release) {
            (OrderKind::Update | OrderKind::Repair, Some(digest)) => {
                self.check_release(digest).await?;
            }
            (OrderKind::Update | OrderKind::Repair, None) => {
                return Err(Error::Unfit(format!(
                    "an order of kind `{}` names a release",
                    create.kind.name()
                )));
            }
            (_, None) => {}
            (kind, Some(_)) => {
                return Err(Error::Unfit(format!(
                    "an order of kind `{}` names no release",
                    kind.name()
                )));
            }
        }
        let nonce = match create.kind {
            OrderKind::Report => Some(self.edge.random()?),
            _ => None,
        };
        let create = &create;
        self.act(by, "order.create", move |tx, now_ms| {
            Box::pin(async move {
                match &create.target {
                    Target::Device(id) => match devices::find(tx.on(), id).await? {
                        None => return Err(unknown_device(id)),
                        Some(device)
                            if device.class == DeviceClass::Mender
                                && !matches!(create.kind, OrderKind::Update | OrderKind::Repair) =>
                        {
                            return Err(Error::Unfit(format!(
                                "the device {id} is a stock Mender client, which takes updates and repairs and nothing else"
                            )));
                        }
                        Some(_) => {}
                    },
                    Target::Group(id) => {
                        if !group_rows::exists(tx.on(), id).await? {
                            return Err(groups::unknown(id));
                        }
                    }
                    Target::Rollout(_) => {
                        return Err(Error::Unfit(String::from(
                            "a rollout gives its orders itself; order a device or a group",
                        )));
                    }
                }
                if let Some(release) = create.release
                    && let Some(about) = steps::about(tx, release).await?
                    && let Some(minimum) = steps::below_minimum(tx, &about).await?
                {
                    return Err(below(&about, minimum));
                }
                let given = Given {
                    kind: create.kind,
                    release: create.release,
                    nonce,
                    target: create.target.clone(),
                    by: by.caller.id().to_owned(),
                };
                let order = give(tx, now_ms, given).await?;
                let detail = json!({
                    "kind": order.kind, "release": order.release,
                    "target": order.target, "devices": order.devices,
                });
                let told = std::iter::once(Change::Order(order.id)).chain(match &order.target {
                    Target::Device(id) => Some(Change::Device(id.clone())),
                    Target::Group(_) | Target::Rollout(_) => None,
                });
                let told: Vec<Change> = told.collect();
                let id = order.id.to_string();
                Ok(Done::changed(order, id, detail).telling(told))
            })
        })
        .await
    }

    /// The release is proven to be published by this organisation. Devices check it themselves; this tells the operator early.
    pub(super) async fn check_release(&self, digest: Hex32) -> Result<(), Error> {
        let key = StateKey::release(&self.org(), &Digest::new(digest.0));
        let proven = self.ask(self.ledger.lookup(key)).await?;
        let unfit = |why: &str| Err(Error::Unfit(format!("the release {digest} {why}")));
        match proven.value() {
            Some(Row::Release(row)) => match row.status() {
                ReleaseStatus::Published => Ok(()),
                ReleaseStatus::Withdrawn => unfit("is withdrawn: no device installs it"),
            },
            _ => unfit("is not on the ledger; publish it first, then order it"),
        }
    }
}

/// An order about to be given; whoever gives it has checked it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) kind: OrderKind,
    pub(crate) release: Option<Hex32>,
    /// Makes a report fresh.
    pub(crate) nonce: Option<[u8; 32]>,
    pub(crate) target: Target,
    /// A token, or the server itself.
    pub(crate) by: String,
}

/// Gives an order, and notes it in the timelines of its devices. [`Change::Order`] is to be told when it is on disk.
pub(crate) async fn give(tx: &mut Tx<'_>, now_ms: u64, given: Given) -> Result<Order, Error> {
    let mut order = Order {
        id: orders::next_id(tx.on(), now_ms).await?,
        kind: given.kind,
        release: given.release,
        target: given.target,
        created_ms: now_ms,
        created_by: given.by,
        devices: 0,
        waiting: 0,
    };
    order.devices = orders::hand_out(tx.on(), &order).await?;
    order.waiting = order.devices;
    orders::insert(tx.on(), &order, given.nonce).await?;
    let particulars = json!({
        "order": order.id, "kind": order.kind, "release": order.release,
        "by": order.created_by,
    });
    timeline::append_order(tx.on(), order.id, now_ms, &particulars).await?;
    Ok(order)
}

impl App {
    /// The orders of one device, the newest first, and how far it is with each.
    ///
    /// # Errors
    /// There is no such device; a bad cursor or limit; the database.
    pub async fn device_orders(&self, device: &str, cut: &Cut) -> Result<Page<DeviceOrder>, Error> {
        let (before, count) = (cut.number(u64::MAX)?, cut.fetch()?);
        let mut reader = self.store.read("list a device's orders").await?;
        if devices::find(reader.on(), device).await?.is_none() {
            return Err(unknown_device(device));
        }
        let orders = orders::of_device(reader.on(), device, before, count).await?;
        cut.page(orders, |order| order.id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_and_the_api_have_the_same_words() {
        let answered = OrderState::ALL.iter().filter_map(|state| {
            let code = code_of(*state)?;
            assert_eq!(code.name(), state.name());
            Some(code)
        });
        assert_eq!(answered.count(), 5);
    }
}
