//! Orders: given, listed.

use super::{App, By, Cut, Error, act::Done, devices::unknown as unknown_device, groups};
use crate::store::{devices, groups as group_rows, orders};
use kusabi_api::{
    Hex32,
    admin::{Order, OrderCreate, OrderKind, Page, Target},
};
use kusabi_core::{
    id::{Digest, StateKey},
    row::{ReleaseStatus, Row},
};
use serde_json::json;

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
                    Target::Device(id) => {
                        if devices::find(tx.on(), id).await?.is_none() {
                            return Err(unknown_device(id));
                        }
                    }
                    Target::Group(id) => {
                        if !group_rows::exists(tx.on(), id).await? {
                            return Err(groups::unknown(id));
                        }
                    }
                }
                let mut order = Order {
                    id: orders::next_id(tx.on()).await?,
                    kind: create.kind,
                    release: create.release,
                    target: create.target.clone(),
                    created_ms: now_ms,
                    created_by: by.caller.id().to_owned(),
                    devices: 0,
                    waiting: 0,
                };
                order.devices = orders::hand_out(tx.on(), &order).await?;
                order.waiting = order.devices;
                orders::insert(tx.on(), &order, nonce).await?;
                let detail = json!({
                    "kind": order.kind, "release": order.release,
                    "target": order.target, "devices": order.devices,
                });
                let id = order.id.to_string();
                Ok(Done::changed(order, id, detail))
            })
        })
        .await
    }

    /// The release is proven to be published by this organisation. Devices check it themselves; this tells the operator early.
    async fn check_release(&self, digest: Hex32) -> Result<(), Error> {
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
