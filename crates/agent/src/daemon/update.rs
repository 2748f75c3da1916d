//! An update from its order to its outcome: which gate is asked for, which task is next, what is tried again.
//!
//! ```text
//! order ─ gate install ─ fetch ─ gate install ─ install ─ gate reboot ─ restart ─ self-test ─ gate commit ─ commit ─ outcome
//! ```
//! A gate is the machine's word that the ledger still holds the release as published and that the device is not stale; each
//! task checks the release itself once more, with the newest proofs. What is recorded by [`Updates`](crate::updater::Updates)
//! says after a restart how far it came; the order itself lies in the key store until its outcome is known, and then with it,
//! so that an order that comes again is answered and not done again.

use kusabi_core::device::{Gate, Stop};
use kusabi_core::id::Digest;
use kusabi_core::protocol::Time;
use kusabi_core::protocol::reply::{INSTALLS_MAX, Order};
use kusabi_core::protocol::request::OutcomeCode;

use super::fetch::Brought;
use super::heart::{Feed, Heart};
use super::store::{StoreError, UpdateOrder};
use super::worker::{Failure, Task};
use crate::disk::Disk;
use crate::updater::{Next, Record};

/// First wait before something is tried again, doubled each time.
const AGAIN_MS: u64 = 10_000;
const AGAIN_MS_MAX: u64 = 1_800_000;
/// A gate that was refused for want of news, or lost, is asked for again after so long.
const GATE_AGAIN_MS: u64 = 60_000;
/// A machine that does not go down is asked to again.
const DOWN_MS: u64 = 600_000;
/// How many lies end an update. Each came from all servers in turn.
const LIES_MAX: u32 = 10;
/// How often a restart command may fail.
const RESTARTS_MAX: u32 = 3;
/// Most orders that wait: what servers may order in this session and the one before.
const QUEUE_MAX: usize = 2 * INSTALLS_MAX;

/// An update that is under way.
#[derive(Debug)]
pub(super) struct Update {
    order: Option<Order>,
    digest: Digest,
    stage: Stage,
    /// All payloads are here.
    fetched: bool,
    tries: u32,
    lies: u32,
    /// How many servers further than the one that served last the next attempt begins.
    pub(super) further: usize,
    commit_by: Option<Time>,
    /// How it ends, if that is decided.
    verdict: Option<OutcomeCode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The machine was asked for the ledger's word.
    Gate(Gate),
    /// The worker has a task.
    Work,
    /// Until then.
    Wait(Time, Then),
    /// The machine is going down; since then.
    Down(Time),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Gate(Gate),
    Resume,
}

impl Update {
    const fn new(order: Option<Order>, digest: Digest, stage: Stage) -> Self {
        Self {
            order,
            digest,
            stage,
            fetched: false,
            tries: 0,
            lies: 0,
            further: 0,
            commit_by: None,
            verdict: None,
        }
    }

    /// Whether only the ledger's word is missing to keep the release.
    const fn is_committing(&self) -> bool {
        matches!(
            self.stage,
            Stage::Gate(Gate::Commit) | Stage::Wait(_, Then::Gate(Gate::Commit))
        )
    }

    /// Whether it goes on by itself soon.
    pub(super) const fn is_moving(&self) -> bool {
        matches!(self.stage, Stage::Gate(_) | Stage::Work)
    }
}

impl<D: Disk + Clone> Heart<D> {
    pub(super) fn update_wake(&self) -> Option<Time> {
        let update = self.update.as_ref()?;
        let at = match update.stage {
            Stage::Wait(until, _) => Some(until),
            Stage::Down(since) => Some(since.plus_ms(DOWN_MS)),
            Stage::Gate(_) | Stage::Work => None,
        };
        // Nothing is due while the worker commits.
        match update.commit_by.filter(|_| update.is_committing()) {
            Some(by) => Some(at.map_or(by, |at| at.min(by))),
            None => at,
        }
    }

    /// Whatever waits until now goes on.
    pub(super) fn update_due(&mut self, now: Time) -> Result<(), StoreError> {
        if self.resume_at.is_some_and(|at| now >= at) {
            self.resume_at = None;
            self.task(Task::Resume);
        }
        let Some(update) = &mut self.update else {
            return Ok(());
        };
        let commits = update.is_committing();
        match update.stage {
            _ if commits && update.commit_by.is_some_and(|by| now >= by) => {
                self.log.error(
                    "the new release has not reached a server in time: back to the last one",
                    &[("release", &update.digest)],
                );
                update.commit_by = None;
                update.verdict = Some(OutcomeCode::Failed);
                update.stage = Stage::Work;
                self.task(Task::Refuse);
            }
            Stage::Wait(until, then) if now >= until => match then {
                Then::Gate(gate) => {
                    update.stage = Stage::Gate(gate);
                    self.feeds.push_back(Feed::Ready(gate, update.digest));
                }
                Then::Resume => {
                    update.stage = Stage::Work;
                    self.task(Task::Resume);
                }
            },
            Stage::Down(since) if now >= since.plus_ms(DOWN_MS) => {
                self.log
                    .error("the machine does not go down for the update", &[]);
                update.stage = Stage::Work;
                self.task(Task::Resume);
            }
            _ => {}
        }
        Ok(())
    }

    /// The machine's word for the first gate: by an order, or as it was asked for.
    pub(super) fn may_install(
        &mut self,
        digest: Digest,
        id: u64,
        repair: bool,
    ) -> Result<(), StoreError> {
        if id == 0 {
            return self.may_go_on(Gate::Install, digest);
        }
        let order = Order::install(id, digest, repair);
        if self.config.update.is_none() {
            self.tell(order, OutcomeCode::Unsupported);
            return Ok(());
        }
        if let Some(last) = self.store.order()?
            && last.order() == order
        {
            // It came again: its outcome was not heard.
            if let Some(code) = last.outcome {
                self.tell(order, code);
                return Ok(());
            }
            if self.update.is_some() {
                return Ok(());
            }
        }
        let ordered = UpdateOrder {
            id,
            digest,
            repair,
            installing: false,
            outcome: None,
        };
        if self.update.is_some() || !self.resumed {
            let known = self.queue.iter().any(|waiting| waiting.id == id);
            if !known && self.queue.len() == QUEUE_MAX {
                // No server that keeps to the protocol orders so many.
                self.log.warn("too many updates wait", &[("order", &id)]);
                self.tell(order, OutcomeCode::Failed);
            } else if !known {
                self.queue.push_back(ordered);
            }
            return Ok(());
        }
        self.log
            .info("update ordered", &[("order", &id), ("release", &digest)]);
        self.store.put_order(&ordered)?;
        self.update = Some(Update::new(Some(order), digest, Stage::Work));
        self.task(Task::Fetch(self.under(digest)));
        Ok(())
    }

    /// The machine's word for a gate that was asked for.
    pub(super) fn may_go_on(&mut self, gate: Gate, digest: Digest) -> Result<(), StoreError> {
        let Some(update) = &mut self.update else {
            return Ok(());
        };
        if update.digest != digest || update.stage != Stage::Gate(gate) {
            return Ok(());
        }
        update.stage = Stage::Work;
        let fetched = update.fetched;
        if gate == Gate::Install
            && fetched
            && let Some(order) = self.store.order()?
            && Some(order.order()) == update.order
        {
            // From here on the record's "failed" may be this order's.
            self.store.put_order(&UpdateOrder {
                installing: true,
                ..order
            })?;
        }
        let under = self.under(digest);
        self.task(match gate {
            Gate::Install if fetched => Task::Install(under),
            Gate::Install => Task::Fetch(under),
            Gate::Reboot => Task::Restart(under),
            Gate::Commit => Task::Commit(under),
        });
        Ok(())
    }

    pub(super) fn fetched(&mut self, brought: &Brought) {
        if let Some(update) = &mut self.update {
            update.fetched = true;
            update.tries = 0;
            let digest = update.digest;
            let (bytes, here) = (brought.bytes, brought.here);
            self.log.info(
                "update fetched",
                &[("release", &digest), ("bytes", &bytes), ("here", &here)],
            );
            if let Some(why) = &brought.whole {
                self.log
                    .warn("fetched whole", &[("release", &digest), ("why", why)]);
            }
            self.gate(Gate::Install, digest);
        }
    }

    fn gate(&mut self, gate: Gate, digest: Digest) {
        if let Some(update) = &mut self.update {
            update.stage = Stage::Gate(gate);
            self.feeds.push_back(Feed::Ready(gate, digest));
        }
    }

    /// A gate that the machine could not take, or may have lost.
    pub(super) fn ask_again(&mut self, now: Time, gate: Gate, digest: Digest) {
        if let Some(update) = &mut self.update
            && update.digest == digest
            && update.stage == Stage::Gate(gate)
        {
            update.stage = Stage::Wait(now.plus_ms(GATE_AGAIN_MS), Then::Gate(gate));
        }
    }

    pub(super) fn gate_again(&mut self, now: Time) {
        if let Some(update) = &mut self.update
            && let Stage::Gate(gate) = update.stage
        {
            update.stage = Stage::Wait(now.plus_ms(GATE_AGAIN_MS), Then::Gate(gate));
        }
    }

    /// The ledger's word is no.
    pub(super) fn stopped(
        &mut self,
        now: Time,
        digest: Digest,
        gate: Gate,
        why: Stop,
    ) -> Result<(), StoreError> {
        let why_text = match why {
            Stop::Unlisted => "the ledger does not list it for this organisation",
            Stop::Withdrawn => "it was withdrawn",
            _ => "nothing shows that what the server shows is of now",
        };
        self.log.warn(
            "update stopped",
            &[("release", &digest), ("why", &why_text)],
        );
        let mine = self
            .update
            .as_ref()
            .is_some_and(|update| update.digest == digest && update.stage == Stage::Gate(gate));
        if !mine {
            // An order's first gate: the machine has noted the outcome.
            self.seen.failed += 1;
            self.tell_soon();
            return Ok(());
        }
        let code = if why == Stop::Stale {
            OutcomeCode::Stale
        } else {
            OutcomeCode::Unproven
        };
        match gate {
            Gate::Install => self.end(code)?,
            // What is installed waits for news; what runs on trial waits until its deadline.
            Gate::Reboot | Gate::Commit if why == Stop::Stale => self.ask_again(now, gate, digest),
            Gate::Reboot | Gate::Commit => self.refuse(code),
        }
        Ok(())
    }

    fn refuse(&mut self, code: OutcomeCode) {
        if let Some(update) = &mut self.update {
            update.verdict = Some(code);
            update.stage = Stage::Work;
            self.task(Task::Refuse);
        }
    }

    /// A step of the updater has ended.
    pub(super) fn stepped(
        &mut self,
        now: Time,
        next: Next,
        record: Record,
    ) -> Result<(), StoreError> {
        let changed =
            self.record.running != record.running || self.record.counter != record.counter;
        self.record = record;
        self.resumed = true;
        if changed {
            self.inventory_is_old();
            self.feeds.push_back(Feed::Facts);
        }
        let open = self.store.order()?.filter(|order| order.outcome.is_none());
        let digest = match next {
            Next::Nothing => return self.nothing_next(open),
            Next::Down => {
                self.seen.down = true;
                self.log.info("the machine goes down for an update", &[]);
                let digest = self.record.phase.release().unwrap_or_default();
                let update = self.update_of(open, digest);
                update.stage = Stage::Down(now);
                return Ok(());
            }
            Next::Restart(digest) | Next::SelfTest(digest) | Next::Commit(digest) => digest,
        };
        let deadline = self.config.commit_deadline.as_millis();
        let commit_by = now.plus_ms(u64::try_from(deadline).unwrap_or(u64::MAX));
        let update = self.update_of(open, digest);
        match next {
            Next::SelfTest(_) => {
                update.stage = Stage::Work;
                self.log.info("self-test", &[("release", &digest)]);
                self.task(Task::SelfTest);
            }
            Next::Commit(_) => {
                update.commit_by = update.commit_by.or(Some(commit_by));
                self.log.info("self-test passed", &[("release", &digest)]);
                self.gate(Gate::Commit, digest);
            }
            _ => {
                self.log.info("installed", &[("release", &digest)]);
                self.gate(Gate::Reboot, digest);
            }
        }
        Ok(())
    }

    /// The update that is under way, or one that was before the agent was started.
    fn update_of(&mut self, open: Option<UpdateOrder>, digest: Digest) -> &mut Update {
        let order = open
            .filter(|order| order.digest == digest)
            .map(|order| order.order());
        self.queue.retain(|waiting| Some(waiting.order()) != order);
        let update = self
            .update
            .get_or_insert_with(|| Update::new(order, digest, Stage::Work));
        if update.digest != digest {
            *update = Update::new(order, digest, Stage::Work);
        }
        update
    }

    /// No update is under way: one has ended, or none was, or one was interrupted before it was installed.
    fn nothing_next(&mut self, open: Option<UpdateOrder>) -> Result<(), StoreError> {
        if let Some(update) = &self.update {
            let code = if self.record.failed == Some(update.digest) {
                update.verdict.unwrap_or(OutcomeCode::Failed)
            } else if self.record.running == Some(update.digest) {
                OutcomeCode::Done
            } else {
                update.verdict.unwrap_or(OutcomeCode::Failed)
            };
            return self.end(code);
        }
        let Some(order) = open else {
            return self.next_in_queue();
        };
        // It was given again before it was known that it goes on.
        self.queue.retain(|waiting| waiting.id != order.id);
        let done = self.record.running == Some(order.digest) && (order.installing || !order.repair);
        let failed = self.record.failed == Some(order.digest) && order.installing;
        let digest = order.digest;
        self.update = Some(Update::new(
            Some(order.order()),
            digest,
            Stage::Gate(Gate::Install),
        ));
        if failed {
            self.end(OutcomeCode::Failed)
        } else if done {
            self.end(OutcomeCode::Done)
        } else {
            self.log.info("the update goes on", &[("release", &digest)]);
            self.gate(Gate::Install, digest);
            Ok(())
        }
    }

    /// The update has ended: first that is stored, then it is told.
    fn end(&mut self, code: OutcomeCode) -> Result<(), StoreError> {
        let Some(update) = self.update.take() else {
            return Ok(());
        };
        let (release, outcome) = (update.digest, super::heed::word(code));
        self.log.info(
            "update ended",
            &[("release", &release), ("outcome", &outcome)],
        );
        if let Some(ended) = update.order {
            if let Some(order) = self.store.order()?
                && order.id == ended.id
            {
                self.store.put_order(&UpdateOrder {
                    outcome: Some(code),
                    ..order
                })?;
            }
            self.tell(ended, code);
        } else {
            self.tell_soon();
        }
        self.task(Task::Clear);
        if self.record.running == Some(release) || self.record.failed == Some(release) {
            self.take_inventory(false);
        }
        self.next_in_queue()
    }

    /// The device's last owner is told nothing of what it ordered, nor is the new one. What is under way goes on without an order: at its
    /// next gate the new owner has to have published it.
    pub(super) fn forget_updates(&mut self) -> Result<(), StoreError> {
        self.queue.clear();
        if let Some(update) = &mut self.update {
            update.order = None;
        }
        self.store.forget_order()
    }

    /// The next order that waits: the ledger is asked anew.
    fn next_in_queue(&mut self) -> Result<(), StoreError> {
        let Some(order) = self.queue.pop_front() else {
            return Ok(());
        };
        if let Some(last) = self.store.order()?
            && last.order() == order.order()
            && let Some(code) = last.outcome
        {
            self.tell(order.order(), code);
            return self.next_in_queue();
        }
        if !order.repair && self.record.running == Some(order.digest) {
            self.tell(order.order(), OutcomeCode::Done);
            return self.next_in_queue();
        }
        self.store.put_order(&order)?;
        self.update = Some(Update::new(Some(order.order()), order.digest, Stage::Work));
        self.gate(Gate::Install, order.digest);
        Ok(())
    }

    /// A task has not succeeded.
    pub(super) fn failed(
        &mut self,
        now: Time,
        task: &'static str,
        failure: Failure,
    ) -> Result<(), StoreError> {
        let why = match &failure {
            Failure::Later(why)
            | Failure::Turn(why)
            | Failure::Lie(why)
            | Failure::Broken(why)
            | Failure::Refused(why, _) => why,
        };
        self.log
            .warn("task failed", &[("task", &task), ("why", why)]);
        if task == "clear" {
            return Ok(());
        }
        let tries = match &mut self.update {
            Some(update) => {
                update.tries += 1;
                update.lies += u32::from(matches!(failure, Failure::Lie(_)));
                if matches!(failure, Failure::Turn(_)) {
                    // It does come.
                    update.tries = 0;
                }
                if matches!(failure, Failure::Lie(_) | Failure::Turn(_)) {
                    update.further += 1;
                }
                update.tries
            }
            None => 1,
        };
        let wait = AGAIN_MS
            .saturating_mul(1 << tries.saturating_sub(1).min(9))
            .min(AGAIN_MS_MAX);
        let again = now.plus_ms(self.jitter(wait));
        let Some(update) = &mut self.update else {
            // The start: what was under way is not known yet.
            self.resume_at = Some(again);
            return Ok(());
        };
        match (task, failure) {
            ("fetch" | "install", Failure::Refused(_, code)) => self.end(code),
            ("fetch" | "install", Failure::Broken(_)) => self.end(OutcomeCode::Failed),
            ("fetch" | "install", _) if update.lies >= LIES_MAX => self.end(OutcomeCode::Failed),
            ("fetch" | "install", _) => {
                update.fetched = false;
                update.stage = Stage::Wait(again, Then::Gate(Gate::Install));
                Ok(())
            }
            ("restart", Failure::Later(_) | Failure::Lie(_)) => {
                update.stage = Stage::Wait(again, Then::Gate(Gate::Reboot));
                Ok(())
            }
            ("commit", Failure::Later(_) | Failure::Lie(_)) => {
                update.stage = Stage::Wait(again, Then::Gate(Gate::Commit));
                Ok(())
            }
            ("restart" | "commit", Failure::Refused(_, code)) => {
                self.refuse(code);
                Ok(())
            }
            ("restart", Failure::Broken(_)) if tries >= RESTARTS_MAX => {
                self.refuse(OutcomeCode::Failed);
                Ok(())
            }
            _ => {
                update.stage = Stage::Wait(again, Then::Resume);
                Ok(())
            }
        }
    }
}
