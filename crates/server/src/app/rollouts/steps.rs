//! A rollout in a transaction: read, taken on as far as it goes, written in the place of what was read. Everything that changes one comes
//! through here, so that its counts are those of its devices.

use super::machine::{self, Next, Plan, Seen, Step};
use crate::{
    app::{Change, Error, audit, orders},
    store::{
        StoreError, Tx, channels, releases,
        rollouts::{self as rows, Kept, Member, Turn, Whose},
    },
};
use kusabi_api::{
    Hex32,
    admin::{
        OrderKind, OrderState, RolloutDeviceReason as Why, RolloutDeviceState as At, RolloutReason,
        Target,
    },
};
use kusabi_core::release::SignedManifest;
use serde_json::json;
use std::collections::BTreeMap;

/// Most steps at a time: a phase begins and is ordered, and there are few phases. What is left is done the next time.
const STEPS_MAX: usize = 64;

/// Devices that one statement names.
const CHUNK: usize = 64;

/// What a release says that its rollouts and orders need.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) channel: String,
    pub(crate) counter: u64,
    /// The types that it is for.
    pub(crate) types: Vec<String>,
}

/// What a release says; `None`: its manifest is not here.
pub(crate) async fn about(tx: &mut Tx<'_>, release: Hex32) -> Result<Option<About>, Error> {
    let Some(signed) = releases::signed(tx.on(), release).await? else {
        return Ok(None);
    };
    let signed = SignedManifest::decode(&signed)
        .map_err(|_| StoreError::of("read a manifest")(crate::store::unreadable("signed")))?;
    let manifest = signed.manifest();
    Ok(Some(About {
        channel: manifest.channel().as_str().to_owned(),
        counter: manifest.counter(),
        types: manifest
            .targets()
            .map(|target| target.device_type.as_str().to_owned())
            .collect(),
    }))
}

/// The lowest counter of a release's channel, where the release is below it.
pub(crate) async fn below_minimum(tx: &mut Tx<'_>, release: &About) -> Result<Option<u64>, Error> {
    let minimum = channels::minimum(tx.on(), &release.channel).await?;
    Ok(Some(minimum).filter(|minimum| release.counter < *minimum))
}

/// Why a release may not go out, as far as is known here.
async fn obstacle(tx: &mut Tx<'_>, kept: &Kept) -> Result<Option<RolloutReason>, Error> {
    if rows::is_withdrawn(tx.on(), kept.plan.release).await? {
        return Ok(Some(RolloutReason::Withdrawn));
    }
    let Some(about) = about(tx, kept.plan.release).await? else {
        return Ok(None);
    };
    let below = below_minimum(tx, &about).await?;
    Ok(below.map(|_| RolloutReason::ChannelMinimum))
}

/// A rollout that was read in this transaction.
pub(crate) struct Open {
    pub(crate) kept: Kept,
    pub(crate) plan: Plan,
    pub(crate) obstacle: Option<RolloutReason>,
    now_ms: u64,
    pub(crate) changes: Vec<Change>,
}

impl Open {
    /// Reads it; `None`: there is none with this number.
    pub(crate) async fn load(tx: &mut Tx<'_>, id: u64, now_ms: u64) -> Result<Option<Self>, Error> {
        let Some(kept) = rows::find(tx.on(), id).await? else {
            return Ok(None);
        };
        let plan = Plan::kept(kept.plan.clone());
        let obstacle = obstacle(tx, &kept).await?;
        Ok(Some(Self {
            kept,
            plan,
            obstacle,
            now_ms,
            changes: Vec::new(),
        }))
    }

    /// The same where others are read as well: for one that cannot be read they do not stand still.
    async fn load_if_readable(
        tx: &mut Tx<'_>,
        id: u64,
        now_ms: u64,
    ) -> Result<Option<Self>, Error> {
        match Self::load(tx, id, now_ms).await {
            Err(Error::Store(why)) if why.is_unreadable() => {
                tracing::error!(rollout = id, %why, "a rollout cannot be read, and stands still");
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// Goes on as far as it goes by itself, and writes where it stands then.
    pub(crate) async fn settle(mut self, tx: &mut Tx<'_>) -> Result<(Kept, Vec<Change>), Error> {
        self.kept.next_ms = Some(self.now_ms);
        for _ in 0..STEPS_MAX {
            let oldest_ms = match self.kept.plan.deadline_secs {
                Some(_) => rows::oldest(tx.on(), self.kept.id).await?,
                None => None,
            };
            let mut seen = Seen {
                now_ms: self.now_ms,
                obstacle: self.obstacle,
                oldest_ms,
                untried: false,
            };
            let mut next = machine::next(&self.plan, &self.kept.standing, &seen);
            if matches!(next, Next::Step(Step::Phase { .. }))
                && let Some((from, below)) = self.plan.places(&self.kept.standing)
            {
                seen.untried = !rows::any_tried(tx.on(), self.kept.id, from, below).await?;
                next = machine::next(&self.plan, &self.kept.standing, &seen);
            }
            match next {
                Next::Step(step) => {
                    self.take(tx, step).await?;
                    self.note(tx, step).await?;
                }
                Next::Wait(until) => {
                    self.kept.next_ms = until;
                    break;
                }
            }
        }
        if !rows::set(tx.on(), &self.kept).await? {
            // Nobody else writes meanwhile: the row that was read is there, or the transaction must not be.
            let lost = StoreError::of("note where a rollout stands")(sqlx::Error::RowNotFound);
            return Err(lost.into());
        }
        self.kept.version += 1;
        self.changes.push(Change::Rollout(self.kept.id));
        Ok((self.kept, self.changes))
    }

    /// Takes a step.
    pub(crate) async fn take(&mut self, tx: &mut Tx<'_>, step: Step) -> Result<(), Error> {
        let (id, now_ms) = (self.kept.id, self.now_ms);
        match step {
            Step::Begin => {
                let about = about(tx, self.kept.plan.release).await?;
                let types = about.map(|about| about.types).unwrap_or_default();
                let digest = kusabi_core::crypto::sha256(&[
                    b"kusabi.server.rollout",
                    &self.kept.plan.release.0,
                    &id.to_be_bytes(),
                ]);
                let (taking, skipped) =
                    rows::choose(tx.on(), &self.kept, &types, digest[0], now_ms).await?;
                self.kept.standing.enter(At::Waiting, taking);
                self.kept.standing.enter(At::Skipped, skipped);
            }
            Step::Order { below } => self.order(tx, below).await?,
            Step::Overdue { until_ms } => {
                let whose = Whose::OrderedUntil(until_ms);
                rows::take_back(tx.on(), id, whose, now_ms).await?;
                for from in [At::Ordered, At::Sent] {
                    self.turn(tx, whose, from, At::Failed, Some(Why::Overdue))
                        .await?;
                }
            }
            Step::Pause(_) => {
                rows::take_back(tx.on(), id, Whose::All, now_ms).await?;
                self.turn(tx, Whose::All, At::Ordered, At::Waiting, None)
                    .await?;
            }
            Step::Abort => {
                rows::take_back(tx.on(), id, Whose::All, now_ms).await?;
                for from in [At::Waiting, At::Ordered, At::Sent] {
                    self.turn(tx, Whose::All, from, At::Aborted, None).await?;
                }
            }
            Step::Phase { .. } | Step::Resume | Step::Finish => {}
        }
        self.kept.standing.apply(step, now_ms);
        Ok(())
    }

    async fn order(&mut self, tx: &mut Tx<'_>, below: u64) -> Result<(), Error> {
        let (id, now_ms) = (self.kept.id, self.now_ms);
        let skipped = rows::skip(tx.on(), &self.kept, below, now_ms).await?;
        self.kept.standing.shift(At::Waiting, At::Skipped, skipped);
        let marked = rows::mark(tx.on(), id, below, now_ms).await?;
        if marked == 0 {
            return Ok(());
        }
        let given = orders::Given {
            // A device takes an update to what it runs for done.
            kind: match self.kept.plan.force {
                true => OrderKind::Repair,
                false => OrderKind::Update,
            },
            release: Some(self.kept.plan.release),
            nonce: None,
            target: Target::Rollout(id),
            by: self.kept.created_by.clone(),
        };
        let order = orders::give(tx, now_ms, given).await?;
        rows::set_order(tx.on(), id, order.id).await?;
        self.kept.standing.shift(At::Waiting, At::Ordered, marked);
        self.changes.push(Change::Order(order.id));
        Ok(())
    }

    async fn turn(
        &mut self,
        tx: &mut Tx<'_>,
        whose: Whose<'_>,
        from: At,
        to: At,
        reason: Option<Why>,
    ) -> Result<(), Error> {
        let turn = Turn {
            from,
            to,
            reason,
            at_ms: self.now_ms,
        };
        let count = rows::turn(tx.on(), self.kept.id, whose, turn).await?;
        self.kept.standing.shift(from, to, count);
        Ok(())
    }

    /// Puts these devices, which are in state `from`, into another.
    async fn turn_all(
        &mut self,
        tx: &mut Tx<'_>,
        devices: &[String],
        from: At,
        to: At,
        reason: Option<Why>,
    ) -> Result<(), Error> {
        for chunk in devices.chunks(CHUNK) {
            self.turn(tx, Whose::Named(chunk), from, to, reason).await?;
        }
        Ok(())
    }

    /// What it does by itself stands in the audit log, too.
    async fn note(&self, tx: &mut Tx<'_>, step: Step) -> Result<(), Error> {
        let standing = &self.kept.standing;
        let (act, detail) = match step {
            Step::Begin => (
                "rollout.begin",
                json!({ "devices": standing.total, "skipped": standing.counts.skipped }),
            ),
            Step::Phase { number, released } => (
                "rollout.phase",
                json!({ "phase": number, "devices": released }),
            ),
            Step::Pause(reason) => (
                "rollout.pause",
                json!({ "reason": reason, "counts": standing.counts }),
            ),
            Step::Finish => ("rollout.done", json!({ "counts": standing.counts })),
            Step::Order { .. } | Step::Overdue { .. } | Step::Resume | Step::Abort => return Ok(()),
        };
        let subject = self.kept.id.to_string();
        audit::append(tx, self.now_ms, "server", act, &subject, &detail).await
    }
}

/// What devices got and said in one transaction: pairs of a device and an order.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) sent: Vec<(String, u64)>,
    pub(crate) answered: Vec<(String, u64, OrderState)>,
}

/// Notes it in the rollouts that gave these orders, and takes them on.
pub(crate) async fn heard(
    tx: &mut Tx<'_>,
    now_ms: u64,
    heard: &Heard,
) -> Result<Vec<Change>, Error> {
    let mut pairs = heard.sent.clone();
    let answers = heard.answered.iter();
    pairs.extend(answers.map(|(device, order, _)| (device.clone(), *order)));
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    pairs.sort_unstable();
    pairs.dedup();
    let mut changes = Vec::new();
    for (id, members) in by_rollout(rows::with_orders(tx.on(), &pairs).await?) {
        let Some(mut open) = Open::load_if_readable(tx, id, now_ms).await? else {
            continue;
        };
        let is = |member: &Member, device: &str, order: u64| {
            member.device == device && member.order == Some(order)
        };
        let mut got = Vec::new();
        let mut turns: BTreeMap<(At, At, Option<Why>), Vec<String>> = BTreeMap::new();
        let sent: std::collections::BTreeSet<&(String, u64)> = heard.sent.iter().collect();
        for mut member in members {
            let Some(order) = member.order else { continue };
            if member.state == At::Ordered && sent.contains(&(member.device.clone(), order)) {
                got.push(member.device.clone());
                member.state = At::Sent;
            }
            let outcome = heard
                .answered
                .iter()
                .find(|(device, order, _)| is(&member, device, *order));
            let over = open.kept.standing.is_over();
            let turn = outcome.and_then(|(.., outcome)| {
                let Member {
                    state,
                    reason,
                    attempts,
                    ..
                } = member;
                machine::answered(state, reason, attempts, *outcome, &open.plan, over)
            });
            if let Some((to, why)) = turn {
                let turn = turns.entry((member.state, to, why)).or_default();
                turn.push(member.device);
            }
        }
        open.turn_all(tx, &got, At::Ordered, At::Sent, None).await?;
        for ((from, to, why), devices) in turns {
            open.turn_all(tx, &devices, from, to, why).await?;
        }
        changes.extend(open.settle(tx).await?.1);
    }
    Ok(changes)
}

/// These devices have changed: those that may not have an update any more leave their rollouts.
pub(crate) async fn left(
    tx: &mut Tx<'_>,
    now_ms: u64,
    devices: &[String],
) -> Result<Vec<Change>, Error> {
    let mut reasons = BTreeMap::new();
    let mut members = Vec::new();
    for (member, why) in rows::leaving(tx.on(), devices).await? {
        reasons.insert(member.device.clone(), why);
        members.push(member);
    }
    let mut changes = Vec::new();
    for (id, members) in by_rollout(members) {
        let Some(mut open) = Open::load_if_readable(tx, id, now_ms).await? else {
            continue;
        };
        let mut turns: BTreeMap<(At, Option<Why>), Vec<String>> = BTreeMap::new();
        for member in members {
            let why = reasons.get(&member.device).copied();
            turns
                .entry((member.state, why))
                .or_default()
                .push(member.device);
        }
        for ((from, why), devices) in turns {
            for chunk in devices.chunks(CHUNK) {
                rows::take_back(tx.on(), id, Whose::Named(chunk), now_ms).await?;
            }
            // What had the order when it was found to hold something else may hold it because of the order: that counts against it.
            let to = match (from, why) {
                (At::Sent, Some(Why::Quarantined)) => At::Failed,
                _ => At::Skipped,
            };
            open.turn_all(tx, &devices, from, to, why).await?;
        }
        changes.extend(open.settle(tx).await?.1);
    }
    Ok(changes)
}

/// Takes this rollout on.
pub(crate) async fn take_on(tx: &mut Tx<'_>, id: u64, now_ms: u64) -> Result<Vec<Change>, Error> {
    match Open::load(tx, id, now_ms).await? {
        Some(open) => Ok(open.settle(tx).await?.1),
        None => Ok(Vec::new()),
    }
}

/// Takes these rollouts on, those that can be read.
pub(crate) async fn settle_all(
    tx: &mut Tx<'_>,
    now_ms: u64,
    rollouts: &[u64],
) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for id in rollouts {
        if let Some(open) = Open::load_if_readable(tx, *id, now_ms).await? {
            changes.extend(open.settle(tx).await?.1);
        }
    }
    Ok(changes)
}

/// A release was withdrawn: its rollouts stop.
pub(crate) async fn withdrawn(
    tx: &mut Tx<'_>,
    now_ms: u64,
    release: [u8; 32],
) -> Result<Vec<Change>, Error> {
    let rollouts = rows::open(tx.on(), Some(release)).await?;
    settle_all(tx, now_ms, &rollouts).await
}

fn by_rollout(members: Vec<Member>) -> BTreeMap<u64, Vec<Member>> {
    let mut all: BTreeMap<u64, Vec<Member>> = BTreeMap::new();
    for member in members {
        all.entry(member.rollout).or_default().push(member);
    }
    all
}
