//! Rollouts: one release to many devices, in phases.
//!
//! ```text
//! a person's act ─┐
//! devices' answers ┼─▶ one transaction: steps::Open ─▶ machine::next ─▶ Step ─▶ SQL, and machine's apply ─▶ … ─▶ written
//! the ledger, time ┘
//! ```
//! [`machine`] decides and knows no database; [`steps`] does what it says. Nothing is polled: what happens takes a rollout on in the
//! transaction in which it is noted, and one task waits for the earliest time that one of them waits for ([`App::keep_rollouts`]).
//! Several servers over one database need no leader: each step is taken where the row is locked, by whoever comes first.

mod channels;
#[cfg(test)]
mod load;
pub(crate) mod machine;
pub(crate) mod steps;

pub use crate::store::rollouts::Members;

use super::{App, By, Cut, Error, act::Done, devices::unknown as unknown_device, groups};
use crate::store::{
    Reader, devices, groups as group_rows, releases,
    rollouts::{self as rows, Kept},
};
use kusabi_api::{
    admin::{Page, Rollout, RolloutCreate, RolloutDevice, RolloutReason, RolloutState},
    serve::stopped,
};
use machine::{Act, Plan, Standing, Step};
use serde_json::json;
use std::time::Duration;
use steps::Open;
use tokio::sync::watch;

/// A device that has had an order for so long without an answer is silent: a day.
const SILENT_MS: u64 = 24 * 60 * 60 * 1000;

/// How often it is looked whether another server over the same database made a rollout, and how late the clock was set.
const LOOK: Duration = Duration::from_secs(60);

/// Between two looks at least.
const PAUSE: Duration = Duration::from_secs(1);

/// So many rollouts that cannot be taken on, and the others wait, too.
const STUCK_MAX: usize = 1024;

/// Rollouts that are taken on in one go.
const DUE_MAX: u16 = 64;

impl App {
    /// The rollouts, the newest first.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn rollouts(&self, cut: &Cut) -> Result<Page<Rollout>, Error> {
        let (before, count) = (cut.number(u64::MAX)?, cut.fetch()?);
        let mut reader = self.store.read("list rollouts").await?;
        let mut all = Vec::new();
        for kept in rows::list(reader.on(), before, count).await? {
            all.push(self.shown(&mut reader, kept).await?);
        }
        cut.page(all, |rollout| rollout.id.to_string())
    }

    /// One rollout.
    ///
    /// # Errors
    /// There is none with this number; the database.
    pub async fn rollout(&self, id: u64) -> Result<Rollout, Error> {
        let mut reader = self.store.read("show a rollout").await?;
        let kept = rows::find(reader.on(), id).await?;
        let kept = kept.ok_or_else(|| unknown(id))?;
        self.shown(&mut reader, kept).await
    }

    /// The devices of a rollout, by ID.
    ///
    /// # Errors
    /// There is no such rollout; a bad cursor or limit; the database.
    pub async fn rollout_devices(
        &self,
        id: u64,
        which: Members,
        cut: &Cut,
    ) -> Result<Page<RolloutDevice>, Error> {
        let (after, count) = (cut.after()?, cut.fetch()?);
        let mut reader = self.store.read("list the devices of a rollout").await?;
        let kept = rows::find(reader.on(), id).await?;
        let kept = kept.ok_or_else(|| unknown(id))?;
        let plan = Plan::kept(kept.plan);
        let members = rows::members(reader.on(), id, which, after, count).await?;
        let total = kept.standing.total;
        let devices = members.into_iter().map(|member| RolloutDevice {
            device: member.device,
            phase: member.place.and_then(|place| plan.phase_of(place, total)),
            state: member.state,
            reason: member.reason,
            order: member.order,
            attempts: u16::try_from(member.attempts).unwrap_or(u16::MAX),
            changed_ms: member.changed_ms,
        });
        cut.page(devices.collect(), |device| device.device.clone())
    }

    async fn shown(&self, reader: &mut Reader, kept: Kept) -> Result<Rollout, Error> {
        let unanswered = kept.standing.counts.ordered + kept.standing.counts.sent;
        let silent = match unanswered {
            0 => 0,
            _ => {
                let before = self.edge.now_ms().saturating_sub(SILENT_MS);
                rows::silent(reader.on(), kept.id, before).await?
            }
        };
        Ok(view(kept, silent))
    }

    /// Makes a rollout. It begins at once, unless it is to begin later.
    ///
    /// # Errors
    /// What was asked makes no sense; there is no such group; the release is not published, not here as a whole, or below its channel's
    /// minimum; ledger or database fail.
    pub async fn create_rollout(&self, by: &By, create: RolloutCreate) -> Result<Rollout, Error> {
        self.create(by, create, false).await
    }

    /// The same where the very same one is not under way, of which a repeat would find all devices busy.
    ///
    /// # Errors
    /// It is ([`Error::Exists`], with its number); what [`create_rollout`](Self::create_rollout) says.
    pub(super) async fn create_new_rollout(
        &self,
        by: &By,
        create: RolloutCreate,
    ) -> Result<Rollout, Error> {
        self.create(by, create, true).await
    }

    async fn create(&self, by: &By, create: RolloutCreate, new: bool) -> Result<Rollout, Error> {
        let plan = Plan::new(create).map_err(Error::Unfit)?;
        self.check_release(plan.asked().release).await?;
        let asked = plan.asked();
        self.act(by, "rollout.create", move |tx, now_ms| {
            Box::pin(async move {
                if new && let Some(id) = rows::under_way(tx.on(), asked).await? {
                    return Err(Error::Exists {
                        what: "a rollout that is under way",
                        by: "name, release and devices",
                        id: id.to_string(),
                    });
                }
                if let Some(group) = &asked.devices.group
                    && !group_rows::exists(tx.on(), group).await?
                {
                    return Err(groups::unknown(group));
                }
                let known = devices::known(tx.on(), &asked.devices.ids).await?;
                if let Some(id) = asked.devices.ids.iter().find(|id| !known.contains(id)) {
                    return Err(unknown_device(id));
                }
                let release = asked.release;
                let about = steps::about(tx, release).await?;
                let kept = releases::find(tx.on(), release).await?;
                let (Some(about), Some(kept)) = (about, kept) else {
                    return Err(Error::Unfit(format!(
                        "the manifest of the release {release} is not on this server; upload it first"
                    )));
                };
                let contents = releases::contents(tx.on(), kept.id, kept.id).await?;
                if let Some((_, missing)) = contents.iter().find(|(_, content)| !content.complete) {
                    return Err(Error::Unfit(format!(
                        "the content {} of the release {release} is not on this server; upload it first",
                        missing.digest
                    )));
                }
                if let Some(minimum) = steps::below_minimum(tx, &about).await? {
                    return Err(below(&about, minimum));
                }
                let foreign = |name: &&kusabi_api::admin::Text| {
                    !about.types.iter().any(|one| one == name.as_str())
                };
                if let Some(name) = asked.devices.types.iter().find(foreign) {
                    return Err(Error::Unfit(format!(
                        "the release {release} is not for devices of type {name}"
                    )));
                }
                let standing = Standing::new();
                let by = by.caller.id();
                let id = rows::insert(tx.on(), asked, &standing, now_ms, by).await?;
                let open = Open::load(tx, id, now_ms).await?;
                let open = open.ok_or_else(|| unknown(id))?;
                let (kept, changes) = open.settle(tx).await?;
                let detail = json!({
                    "name": asked.name, "release": release, "devices": asked.devices,
                    "phases": asked.phases, "retries": asked.retries, "force": asked.force,
                    "start_ms": asked.start_ms, "deadline_secs": asked.deadline_secs,
                });
                Ok(Done::changed(view(kept, 0), id.to_string(), detail).telling(changes))
            })
        })
        .await
    }

    /// Holds a rollout: no orders any more, and those that no device has fetched are taken back. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such rollout, or it is over; the database.
    pub async fn pause_rollout(&self, by: &By, id: u64) -> Result<Rollout, Error> {
        self.act_on_rollout(by, "rollout.pause", id, Act::Pause)
            .await
    }

    /// Lets a rollout go on. Failures are counted anew. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such rollout, or it is over, or its release may not go out; the database.
    pub async fn resume_rollout(&self, by: &By, id: u64) -> Result<Rollout, Error> {
        self.act_on_rollout(by, "rollout.resume", id, Act::Resume)
            .await
    }

    /// Begins the next phase now, however many devices have succeeded.
    ///
    /// # Errors
    /// There is no such rollout, it is not running, or no phase is left; the database.
    pub async fn begin_phase(&self, by: &By, id: u64) -> Result<Rollout, Error> {
        self.act_on_rollout(by, "rollout.next", id, Act::Next).await
    }

    /// Ends a rollout: what no device has fetched is taken back. A device that has its order may still install the release, and what it
    /// says of it is noted. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such rollout, or every device has had its end; the database.
    pub async fn abort_rollout(&self, by: &By, id: u64) -> Result<Rollout, Error> {
        self.act_on_rollout(by, "rollout.abort", id, Act::Abort)
            .await
    }

    async fn act_on_rollout(
        &self,
        by: &By,
        name: &'static str,
        id: u64,
        act: Act,
    ) -> Result<Rollout, Error> {
        self.act(by, name, move |tx, now_ms| {
            Box::pin(async move {
                let open = Open::load(tx, id, now_ms).await?;
                let mut open = open.ok_or_else(|| unknown(id))?;
                let step =
                    machine::check(&open.plan, &open.kept.standing, act).map_err(Error::Unfit)?;
                let Some(step) = step else {
                    return Ok(Done::nothing(view(open.kept, 0)));
                };
                if act == Act::Resume
                    && let Some(reason) = open.obstacle
                {
                    return Err(stopped_by(reason, &open.kept));
                }
                open.take(tx, step).await?;
                let phase = open.kept.standing.phase;
                let (kept, changes) = open.settle(tx).await?;
                let detail = match step {
                    Step::Phase { .. } => json!({ "phase": phase }),
                    _ => json!({ "counts": kept.standing.counts }),
                };
                Ok(Done::changed(view(kept, 0), id.to_string(), detail).telling(changes))
            })
        })
        .await
    }

    /// Takes on the rollouts whose time has come; says when the next one's does. One that cannot be taken on is said in the log and
    /// keeps no other one waiting.
    ///
    /// # Errors
    /// The database.
    pub async fn advance_rollouts(&self) -> Result<Option<u64>, Error> {
        let mut stuck = Vec::new();
        loop {
            let now_ms = self.edge.now_ms();
            let mut reader = self.store.read("look for rollouts that go on").await?;
            let due = rows::due(reader.on(), now_ms, &stuck, DUE_MAX).await?;
            if due.is_empty() {
                return Ok(rows::next_time(reader.on(), &stuck).await?);
            }
            drop(reader);
            for id in due {
                let taken = self
                    .store
                    .tx("take a rollout on", move |tx| {
                        Box::pin(async move { steps::take_on(tx, id, now_ms).await })
                    })
                    .await;
                match taken {
                    Ok(changes) => changes.into_iter().for_each(|change| self.announce(change)),
                    Err(why) => {
                        tracing::error!(rollout = id, %why, "a rollout cannot be taken on; trying again");
                        stuck.push(id);
                    }
                }
            }
            if stuck.len() > STUCK_MAX {
                return Ok(None);
            }
        }
    }

    /// Takes rollouts on when their time comes, until `stop` turns true.
    pub async fn keep_rollouts(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let wait = match self.advance_rollouts().await {
                Ok(Some(at)) => {
                    Duration::from_millis(at.saturating_sub(self.edge.now_ms())).clamp(PAUSE, LOOK)
                }
                Ok(None) => LOOK,
                Err(why) => {
                    tracing::error!(%why, "rollouts cannot be taken on; trying again");
                    LOOK
                }
            };
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(wait) => {}
                // One has another time to wait for, perhaps.
                () = self.rollout_told() => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Why a release may not go out.
fn stopped_by(reason: RolloutReason, kept: &Kept) -> Error {
    let release = kept.plan.release;
    Error::Unfit(match reason {
        RolloutReason::ChannelMinimum => format!(
            "the release {release} is below its channel's minimum; lower that, or abort the rollout"
        ),
        _ => {
            format!("the release {release} is withdrawn: no device installs it; abort the rollout")
        }
    })
}

/// A release is below its channel's minimum.
pub(crate) fn below(about: &steps::About, minimum: u64) -> Error {
    Error::Unfit(format!(
        "the release has counter {}, and the minimum of the channel {} is {minimum}",
        about.counter, about.channel
    ))
}

fn view(kept: Kept, silent: u64) -> Rollout {
    let Kept {
        id,
        plan,
        standing,
        created_ms,
        created_by,
        next_ms,
        ..
    } = kept;
    let awaits = machine::awaits(&Plan::kept(plan.clone()), &standing);
    let shows_time = matches!(
        standing.state,
        RolloutState::Scheduled | RolloutState::Running
    );
    Rollout {
        id,
        plan,
        state: standing.state,
        reason: standing.reason,
        awaits,
        phase: standing.phase,
        total: standing.total,
        released: standing.released,
        counts: standing.counts,
        silent,
        created_ms,
        created_by,
        began_ms: standing.began_ms,
        phase_ms: standing.phase_ms,
        next_ms: next_ms.filter(|_| shows_time),
        ended_ms: standing.ended_ms,
    }
}

fn unknown(id: u64) -> Error {
    Error::Unknown {
        what: "rollout",
        id: id.to_string(),
    }
}
