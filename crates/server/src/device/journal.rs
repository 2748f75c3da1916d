//! What has to be on disk before a device is answered. Many devices speak at once and the disk is waited for once: what has come
//! meanwhile is written together, in one transaction.

use crate::{
    app::{App, Change, Error, alarms, audit, orders, rollouts::steps as rollouts},
    device::{policy, report},
    store::{
        StoreError, Tx, Work, alarms as alarm_rows, devices,
        doorstep::{self, OrderReceipt},
        orders as order_rows, timeline,
    },
};
use kusabi_api::{
    Hex, Hex32,
    admin::{
        AlarmKind, DeviceState, EventKind, Freshness, Inventory, OrderKind, OrderState, Target,
    },
};
use kusabi_core::protocol::{
    request::{self, Facts, OutcomeCode},
    tripwire::{Link, Row, Verdict, judge, judge_ended_key},
};
use serde_json::json;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// Most jobs of one transaction.
const JOBS_MAX: usize = 256;

/// A statement that is older than this is asked for anew: three of the days after which devices sign one unasked. An answer that is not
/// there a day later is not to be had.
const INVENTORY_OLD_MS: u64 = 3 * DAY_MS;
const DAY_MS: u64 = 24 * 3_600_000;

/// Most jobs that wait.
const WAITING_MAX: usize = 8192;

/// Something to be written.
#[derive(Debug)]
pub(super) enum Job {
    /// A session's first message: judge its link.
    Link {
        device: Arc<str>,
        seen: u64,
        link: Link,
        /// Whether the key counts: one that has a successor is a reason to tell the owner, not to quarantine the successor.
        in_force: bool,
    },
    /// What became of orders.
    Answered { device: Arc<str>, told: Vec<Told> },
    /// These orders are on their way.
    Sent { device: Arc<str>, orders: Vec<u64> },
    /// These devices were heard; those with facts say something new of themselves.
    Heard(Vec<(Arc<str>, Option<Facts>)>),
    /// A signed inventory has come whole.
    Reported(Box<report::Received>),
}

/// What a device says of an order, and signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) order: u64,
    pub(super) code: OutcomeCode,
    pub(super) receipt: OrderReceipt,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// It is written.
    Written,
    /// These orders go out.
    Sent(Vec<u64>),
    /// What the link says, and the version of the device's row now.
    Judged(Verdict, u64),
}

/// The database does not do its part; its log says why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unwritten;

struct Entry {
    job: Job,
    done: oneshot::Sender<Said>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Journal(mpsc::Sender<Entry>);

/// What is to be written, on its way to the writer.
pub(super) struct Pending(mpsc::Receiver<Entry>);

impl Journal {
    pub(super) fn new() -> (Self, Pending) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), Pending(receiver))
    }

    /// Writes; when this returns, it is on disk.
    pub(super) async fn write(&self, job: Job) -> Result<Said, Unwritten> {
        let (done, said) = oneshot::channel();
        let entry = Entry { job, done };
        self.0.send(entry).await.map_err(|_| Unwritten)?;
        said.await.map_err(|_| Unwritten)
    }
}

impl Pending {
    /// Writes what comes, until nobody can send any more.
    pub(super) async fn run(mut self, app: Arc<App>) {
        let mut entries = Vec::with_capacity(JOBS_MAX);
        while self.0.recv_many(&mut entries, JOBS_MAX).await > 0 {
            let (jobs, done): (Vec<Job>, Vec<_>) = entries
                .drain(..)
                .map(|entry| (entry.job, entry.done))
                .unzip();
            match write(&app, jobs).await {
                Ok((said, changes)) => {
                    for (done, said) in done.into_iter().zip(said) {
                        // Whoever asked may be gone.
                        let _ = done.send(said);
                    }
                    for change in changes {
                        app.announce(change);
                    }
                }
                // The senders are dropped: each one learns that nothing was written.
                Err(why) => tracing::error!(%why, "what devices said was not written"),
            }
        }
    }
}

async fn write(app: &App, jobs: Vec<Job>) -> Result<(Vec<Said>, Vec<Change>), Error> {
    let jobs = &jobs;
    batch(app, "write what devices said", move |batch, tx| {
        Box::pin(async move {
            let mut links = batch.links(tx, jobs).await?.into_iter();
            let mut said = Vec::with_capacity(jobs.len());
            for job in jobs {
                said.push(match job {
                    Job::Link { .. } => match links.next() {
                        Some((verdict, version)) => Said::Judged(verdict, version),
                        None => Said::Written,
                    },
                    Job::Answered { device, told } => {
                        batch.answered(tx, device, told).await?;
                        Said::Written
                    }
                    Job::Sent { device, orders } => {
                        Said::Sent(batch.sent(tx, device, orders).await?)
                    }
                    Job::Heard(devices) => {
                        batch.heard(tx, devices).await?;
                        Said::Written
                    }
                    Job::Reported(received) => {
                        report::write(batch, tx, received).await?;
                        Said::Written
                    }
                });
            }
            Ok(said)
        })
    })
    .await
}

/// Writes in one transaction what devices said, and takes on the rollouts that it concerns. The changes are for
/// [`App::announce`].
pub(crate) async fn batch<'env, T: Send>(
    app: &App,
    name: &'static str,
    work: impl for<'t> FnOnce(&'t mut Batch, &'t mut Tx<'env>) -> Work<'t, Result<T, Error>>
    + Send
    + 'env,
) -> Result<(T, Vec<Change>), Error> {
    let now_ms = app.edge.now_ms();
    let nonce = app.edge.random()?;
    app.store
        .tx(name, move |tx| {
            Box::pin(async move {
                let mut batch = Batch {
                    now_ms,
                    nonce,
                    orders: 0,
                    heard: rollouts::Heard::default(),
                    changes: Vec::new(),
                };
                let done = work(&mut batch, tx).await?;
                let told = rollouts::heard(tx, now_ms, &batch.heard).await?;
                batch.changes.extend(told);
                Ok((done, batch.changes))
            })
        })
        .await
}

/// One transaction.
pub(crate) struct Batch {
    pub(crate) now_ms: u64,
    nonce: [u8; 32],
    orders: u64,
    /// Orders that devices got and answered, for the rollouts that gave them.
    heard: rollouts::Heard,
    pub(super) changes: Vec<Change>,
}

impl Batch {
    pub(super) fn tell(&mut self, device: &str) {
        let change = Change::Device(device.to_owned());
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    /// Raises an alarm about a device.
    pub(crate) async fn alarm(
        &mut self,
        tx: &mut Tx<'_>,
        device: &str,
        kind: AlarmKind,
        detail: &str,
    ) -> Result<(), Error> {
        if let Some(alarm) = alarms::raise(tx, self.now_ms, device, kind, detail).await? {
            self.changes.push(Change::Alarm(alarm.id));
            self.tell(device);
        }
        Ok(())
    }

    /// Gives a device an order of the server's own.
    pub(super) async fn order(
        &mut self,
        tx: &mut Tx<'_>,
        device: &str,
        kind: OrderKind,
        release: Option<Hex32>,
    ) -> Result<(), Error> {
        self.orders += 1;
        // Each order has its own nonce, from the one that was drawn.
        let nonce = kusabi_core::crypto::sha256(&[
            b"kusabi.server.report-nonce",
            &self.nonce,
            &self.orders.to_be_bytes(),
        ]);
        let given = orders::Given {
            kind,
            release,
            nonce: (kind == OrderKind::Report).then_some(nonce),
            target: Target::Device(device.to_owned()),
            by: String::from("server"),
        };
        let order = orders::give(tx, self.now_ms, given).await?;
        self.changes.push(Change::Order(order.id));
        self.tell(device);
        Ok(())
    }

    /// Judges all links, in the order in which they came.
    async fn links(&mut self, tx: &mut Tx<'_>, jobs: &[Job]) -> Result<Vec<(Verdict, u64)>, Error> {
        let asked = jobs.iter().filter_map(|job| match job {
            Job::Link {
                device,
                seen,
                link,
                in_force,
            } => Some((device, *seen, link, *in_force)),
            _ => None,
        });
        let devices: Vec<String> = asked
            .clone()
            .map(|(device, ..)| device.to_string())
            .collect();
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let before = doorstep::links(tx.on(), &devices).await?;
        let mut rows = before.clone();
        let mut verdicts = Vec::with_capacity(devices.len());
        for (device, seen, link, in_force) in asked {
            let judge = match in_force {
                true => judge,
                false => judge_ended_key,
            };
            let judgement = judge(rows.get(&**device), seen, link);
            if let Some(row) = judgement.row {
                rows.insert(device.to_string(), row);
            }
            let version = rows.get(&**device).map_or(0, |row| row.version);
            verdicts.push((judgement.verdict, version));
            self.act_on(tx, device, judgement.verdict, in_force).await?;
        }
        self.put(tx, &before, rows).await?;
        Ok(verdicts)
    }

    /// Writes the rows that changed, each in place of the version that was read.
    async fn put(
        &self,
        tx: &mut Tx<'_>,
        before: &HashMap<String, Row>,
        rows: HashMap<String, Row>,
    ) -> Result<(), Error> {
        let version = |row: Option<&Row>| row.map_or(0, |row| row.version);
        let mut once = Vec::new();
        for (device, row) in rows {
            let old = version(before.get(&device));
            // Several messages of one device in one batch: its row moves through all their versions.
            for version in old + 1..=row.version {
                if once.len() <= (version - old - 1) as usize {
                    once.push(Vec::new());
                }
                if let Some(round) = once.get_mut((version - old - 1) as usize) {
                    round.push((device.clone(), Row { version, ..row }));
                }
            }
        }
        for round in once {
            let set = doorstep::set_links(tx.on(), &round).await?;
            if set != round.len() as u64 {
                let lost = StoreError::of("set tripwire rows")(sqlx::Error::RowNotFound);
                return Err(lost.into());
            }
        }
        Ok(())
    }

    async fn act_on(
        &mut self,
        tx: &mut Tx<'_>,
        device: &str,
        verdict: Verdict,
        in_force: bool,
    ) -> Result<(), Error> {
        match verdict {
            Verdict::Fork => {
                let detail = if in_force {
                    "two devices with this key have spoken, and one of them is a copy; or one that lost its memory again and again"
                } else {
                    "a copy of an earlier key of this device has spoken; the device itself has a newer one"
                };
                self.alarm(tx, device, AlarmKind::Fork, detail).await?;
                if in_force && policy::quarantines(tx.on(), device).await? {
                    self.quarantine(tx, device, "fork").await?;
                }
            }
            Verdict::UnknownHead => {
                let detail = "the device does not remember what this server does: it was reset; \
                              or a copy of its key speaks, and if nobody reset it that is a theft; \
                              or it spoke with another server that has this one's key";
                self.alarm(tx, device, AlarmKind::UnknownHead, detail)
                    .await?;
            }
            Verdict::First
            | Verdict::Adopted
            | Verdict::Advance
            | Verdict::Repeat
            | Verdict::Stale => {}
        }
        Ok(())
    }

    pub(super) async fn quarantine(
        &mut self,
        tx: &mut Tx<'_>,
        device: &str,
        why: &str,
    ) -> Result<(), Error> {
        let to = DeviceState::Quarantined;
        // The ledger may not have been followed to its activation yet.
        let mut moved = false;
        for from in [DeviceState::Active, DeviceState::Registered] {
            moved = moved || devices::move_state(tx.on(), device, from, to).await?;
        }
        if moved {
            let detail = json!({ "by": "server", "why": why });
            timeline::append(
                tx.on(),
                device,
                self.now_ms,
                EventKind::Quarantined,
                &detail,
            )
            .await?;
            audit::append(
                tx,
                self.now_ms,
                "server",
                "device.quarantine",
                device,
                &detail,
            )
            .await?;
            self.tell(device);
            let told = rollouts::left(tx, self.now_ms, &[device.to_owned()]).await?;
            self.changes.extend(told);
        }
        Ok(())
    }

    async fn answered(
        &mut self,
        tx: &mut Tx<'_>,
        device: &str,
        told: &[Told],
    ) -> Result<(), Error> {
        for told in told {
            let state = orders::state_of(told.code);
            self.settle(tx, device, told.order, state, None).await?;
            // An order to report is settled by the report; what the device signs of it comes after.
            doorstep::set_receipt(tx.on(), device, told.order, state, &told.receipt).await?;
        }
        Ok(())
    }

    /// Notes what became of an order, and why where that is known; a repeat changes nothing.
    pub(crate) async fn settle(
        &mut self,
        tx: &mut Tx<'_>,
        device: &str,
        order: u64,
        state: OrderState,
        why: Option<&str>,
    ) -> Result<(), Error> {
        let open = [OrderState::Waiting, OrderState::Sent];
        if !doorstep::set_order(tx.on(), device, order, open, state, self.now_ms).await? {
            return Ok(());
        }
        doorstep::answered(tx.on(), order).await?;
        let answered = (device.to_owned(), order, state);
        self.heard.answered.push(answered);
        let detail = match why {
            None => json!({ "order": order, "outcome": state }),
            Some(why) => json!({ "order": order, "outcome": state, "reason": why }),
        };
        let kind = EventKind::OrderAnswered;
        timeline::append(tx.on(), device, self.now_ms, kind, &detail).await?;
        self.changes.push(Change::Order(order));
        self.tell(device);
        let alarm = match state {
            OrderState::RefusedStale => (
                AlarmKind::Stale,
                "the device refused an order: nothing showed it that what it sees of the ledger is of now",
            ),
            OrderState::RefusedUnproven => (
                AlarmKind::Order,
                "the device refused an order: the ledger does not prove what it needs",
            ),
            OrderState::Failed => (AlarmKind::Order, "the device tried an order and failed"),
            OrderState::Unable => (AlarmKind::Order, "the device cannot do what an order asks"),
            _ => return Ok(()),
        };
        let failed = matches!(state, OrderState::Failed | OrderState::Unable);
        if failed && order_rows::is_report(tx.on(), order).await? {
            let stood = devices::find(tx.on(), device).await?;
            if stood.is_some_and(|device| device.inventory != Inventory::Unknown) {
                let why = format!("the device could not take its inventory (order {order})");
                return self.no_inventory(tx, device, &why).await;
            }
        }
        let detail = match why {
            None => format!("{} (order {order})", alarm.1),
            Some(why) => format!("{} (order {order}): {why}", alarm.1),
        };
        self.alarm(tx, device, alarm.0, &detail).await
    }

    /// Says which of them are the device's to have: what was taken back meanwhile is not.
    pub(crate) async fn sent(
        &mut self,
        tx: &mut Tx<'_>,
        device: &str,
        orders: &[u64],
    ) -> Result<Vec<u64>, Error> {
        let mut given = Vec::with_capacity(orders.len());
        for order in orders {
            let waiting = [OrderState::Waiting; 2];
            let sent = OrderState::Sent;
            if doorstep::set_order(tx.on(), device, *order, waiting, sent, self.now_ms).await? {
                let detail = json!({ "order": order });
                timeline::append(tx.on(), device, self.now_ms, EventKind::OrderSent, &detail)
                    .await?;
                self.heard.sent.push((device.to_owned(), *order));
                self.tell(device);
                given.push(*order);
            }
        }
        Ok(given)
    }

    /// These devices were heard; those with facts say something of themselves.
    pub(crate) async fn heard(
        &mut self,
        tx: &mut Tx<'_>,
        heard: &[(Arc<str>, Option<Facts>)],
    ) -> Result<(), Error> {
        let devices: Vec<String> = heard.iter().map(|(device, _)| device.to_string()).collect();
        doorstep::heard(tx.on(), &devices, self.now_ms).await?;
        self.ask_for_new(tx, &devices).await?;
        for (device, facts) in heard {
            if let Some(facts) = facts {
                self.says(tx, device, facts).await?;
            }
        }
        Ok(())
    }

    /// What a device holds is not known any more.
    async fn no_inventory(
        &mut self,
        tx: &mut Tx<'_>,
        device: &str,
        why: &str,
    ) -> Result<(), Error> {
        devices::set_inventory(tx.on(), device, Inventory::Unknown).await?;
        self.tell(device);
        let detail = format!("what it holds is not known: {why}");
        self.alarm(tx, device, AlarmKind::NoInventory, &detail)
            .await
    }

    /// A device that is heard and signs no inventory for long is asked for one; where that comes to nothing, the old one says nothing more.
    async fn ask_for_new(&mut self, tx: &mut Tx<'_>, devices: &[String]) -> Result<(), Error> {
        let before_ms = self.now_ms.saturating_sub(INVENTORY_OLD_MS);
        for (device, at_ms) in doorstep::old_inventories(tx.on(), devices, before_ms).await? {
            match order_rows::report_open(tx.on(), &device).await? {
                None => self.order(tx, &device, OrderKind::Report, None).await?,
                Some(since_ms) if self.now_ms.saturating_sub(since_ms) >= DAY_MS => {
                    let days = self.now_ms.saturating_sub(at_ms) / DAY_MS;
                    let why = format!(
                        "the device signed its last inventory {days} days ago, and none when it was asked"
                    );
                    self.no_inventory(tx, &device, &why).await?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A device says something of itself that this process had not heard yet.
    async fn says(&mut self, tx: &mut Tx<'_>, device: &str, facts: &Facts) -> Result<(), Error> {
        if devices::find(tx.on(), device).await?.is_none() {
            // The ledger was not followed to it yet; it will say so again.
            return Ok(());
        }
        let before = doorstep::facts(tx.on(), device).await?;
        let now = doorstep::Facts {
            release: facts.release.map(|digest| digest.to_bytes()),
            inventory: facts.inventory.map(|digest| digest.to_bytes()),
            counter: facts.counter,
            freshness: match facts.freshness {
                request::Freshness::Unknown => Freshness::Unknown,
                request::Freshness::Shown => Freshness::Shown,
                request::Freshness::Stale => Freshness::Stale,
            },
            reported: before.reported,
            reported_release: before.reported_release,
            any: true,
        };
        if now != before {
            doorstep::set_facts(tx.on(), device, &now).await?;
            if before.any && now.release != before.release || !before.any && now.release.is_some() {
                let detail = json!({ "release": now.release.map(Hex), "counter": now.counter });
                timeline::append(tx.on(), device, self.now_ms, EventKind::Firmware, &detail)
                    .await?;
            }
            if now.inventory != before.inventory && now.inventory.is_some() {
                let detail = json!({ "digest": now.inventory.map(Hex) });
                let kind = EventKind::InventoryChanged;
                timeline::append(tx.on(), device, self.now_ms, kind, &detail).await?;
            }
            if now.freshness == Freshness::Stale
                && before.freshness != Freshness::Stale
                && !alarm_rows::is_open(tx.on(), device, AlarmKind::Stale).await?
            {
                let detail = "the device gets no freshness receipt, or its ledger does not grow: \
                              it installs nothing and adopts no server";
                self.alarm(tx, device, AlarmKind::Stale, detail).await?;
            }
            self.tell(device);
        }
        // What it says it holds, or under which release, is not what it signed last; or it held something, and under the same release
        // says of nothing now: it is asked for that.
        let other = (now.inventory, now.release) != (now.reported, now.reported_release);
        let gone = before.inventory.is_some() && now.release == before.release;
        if (if now.inventory.is_some() { other } else { gone })
            && !order_rows::is_open(tx.on(), device, [OrderKind::Report; 2]).await?
        {
            self.order(tx, device, OrderKind::Report, None).await?;
        }
        Ok(())
    }
}
