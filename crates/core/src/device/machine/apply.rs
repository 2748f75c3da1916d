//! What follows from an answer that was checked: nothing here fails.

use rand_core::CryptoRng;

use super::answers::{Finding, Successor};
use super::talk::jitter;
use super::{Asked, Device, HELD_MS, Job, Phase, REJECTED_MS, Step, UNHELD_MS};
use crate::checkpoint::VerifiedCheckpoint;
use crate::device::Server;
use crate::device::outbox::{Event, Gate, ProvenRelease, SignedReceipt, Stop};
use crate::protocol::reply::{Order, SealedProblem, Task};
use crate::protocol::request::OutcomeCode;
use crate::suite::Purpose;

impl Device {
    pub(super) fn apply(
        &mut self,
        rng: &mut impl CryptoRng,
        asked: Asked,
        finding: Finding,
        first: bool,
        walked: bool,
    ) {
        match finding {
            Finding::Fresh(true) => {
                if let Asked::Fresh { at, .. } = asked {
                    self.receipt_came(at);
                }
                // A stranger may have become the owner: it shows that next.
                if !self.meets_stranger() {
                    self.adopt_candidate();
                    self.proven();
                }
            }
            // What the receipt says is true whoever carried it: this server's key has ended.
            Finding::Fresh(false) | Finding::ServerEnded => self.server_ended(),
            Finding::ServerProven => self.proven(),
            Finding::Own(own) => self.looked_at(own, rng),
            Finding::Moved(hint) if asked == Asked::Where => self.told_where(hint, rng),
            Finding::Moved(hint) => self.told_of_owner(hint, asked, first, rng),
            Finding::Successor(successor) => self.succeeded(rng, successor),
            Finding::Release(release) => {
                if let Asked::Job(job) = asked {
                    self.jobs.retain(|other| *other != job);
                    self.gate(job, release);
                }
            }
            Finding::Adopt(server) => {
                if let Asked::Job(job) = asked {
                    self.jobs.retain(|other| *other != job);
                    self.adopt(job, server);
                }
            }
            Finding::Key(id, seed) => {
                self.making = true;
                self.push(Step::StoreKey(id, seed));
            }
            Finding::Orders(next_poll_secs, orders, receipt) => {
                let mut waited_ms = 0;
                if let Asked::Poll { at, .. } = asked {
                    self.forget_told();
                    waited_ms = self.now.since_ms(at);
                }
                self.receipted(receipt);
                let count = u8::try_from(orders.len()).unwrap_or(u8::MAX);
                self.event(Event::Polled { orders: count });
                self.note_growth(rng);
                let mut new = false;
                for order in orders {
                    new |= self.take(order);
                }
                let hold_ms = u64::from(self.settings.hold_secs) * 1000;
                let again = core::mem::take(&mut self.poll_again);
                if again {
                    self.poll_at = self.now;
                } else if hold_ms > 0 {
                    let held = waited_ms >= hold_ms / 2 || self.prompt;
                    self.poll_at = self
                        .now
                        .plus_ms(if new || held { HELD_MS } else { UNHELD_MS });
                } else {
                    self.next_poll(next_poll_secs, rng);
                }
                self.prompt = again;
            }
            // A stranger shows at once what became of the device, or is left.
            Finding::Pending(_) | Finding::Problem(..)
                if self.meets_stranger() && !walked && !matches!(asked, Asked::Fresh { .. }) =>
            {
                self.fail(rng);
            }
            Finding::Pending(wait_secs) => {
                self.submitted |= asked == Asked::Succeed;
                // Steps lead on at once; anything else takes at least a second.
                if !walked && matches!(asked, Asked::Fresh { .. }) {
                    self.receipt_denied(u64::from(wait_secs.max(1)) * 1000);
                } else if !walked {
                    let secs = u64::from(wait_secs.max(1));
                    self.pause = self.now.plus_ms(secs * 1000);
                }
            }
            Finding::Received(offset, receipt) => {
                self.report = None;
                self.receipted(receipt);
                self.event(Event::ReportReceived { offset });
            }
            Finding::Problem(problem, wait_secs) => {
                self.event(Event::SealedProblem(problem));
                self.troubled(rng, asked, problem, wait_secs, first);
            }
        }
    }

    fn receipted(&mut self, receipt: Option<SignedReceipt>) {
        if receipt.is_some() {
            self.receipt = receipt;
            self.push(Step::Receipt);
        }
    }

    fn troubled(
        &mut self,
        rng: &mut impl CryptoRng,
        asked: Asked,
        problem: SealedProblem,
        wait_secs: u16,
        first: bool,
    ) {
        let told = self.now.plus_ms(u64::from(wait_secs.max(1)) * 1000);
        // A stranger gets no link that could be stale.
        let is_stale = problem == SealedProblem::StaleLink && !self.meets_stranger();
        if matches!(asked, Asked::Fresh { .. }) && !is_stale {
            self.receipt_denied(0);
        }
        if problem == SealedProblem::StaleLink && !is_stale {
            return self.fail(rng);
        }
        match problem {
            SealedProblem::StaleLink => {
                self.phase = Phase::Idle;
                self.pause = told;
            }
            SealedProblem::Rejected if asked == Asked::Succeed => {
                self.submitted = true;
                // It is refused to a device of another owner, too.
                self.doubts = true;
                self.rejections = self.rejections.saturating_add(1);
            }
            SealedProblem::ReportOrder => {
                self.report = None;
                self.event(Event::ReportAgain);
            }
            // A report that is not taken now, because there have been too many perhaps, keeps no poll waiting.
            SealedProblem::Unavailable if asked == Asked::Report => self.report_at = told,
            SealedProblem::Unavailable => self.pause = told,
            SealedProblem::Fork | SealedProblem::NotAllowed | SealedProblem::Rejected => {
                if let Asked::Job(job) = asked {
                    self.jobs.retain(|other| *other != job);
                }
                if asked == Asked::Report && problem == SealedProblem::NotAllowed {
                    self.report = None;
                    self.event(Event::ReportStopped);
                }
                // It will not be allowed another time either, and nothing else is to wait behind it for ever.
                if matches!(asked, Asked::Poll { .. }) && problem == SealedProblem::NotAllowed {
                    self.forget_told();
                }
                self.fail(rng);
                self.pause = self.pause.max(told);
            }
        }
        // A first message that got a problem left the tripwire open: the next one needs a session of its own.
        if first {
            self.phase = Phase::Idle;
        }
    }

    fn succeeded(&mut self, rng: &mut impl CryptoRng, successor: Successor) {
        let Some(next) = self.kept.next else { return };
        match successor {
            Successor::Follows(owner, moves) => {
                let old = self.kept.current.slot;
                self.kept.current = next;
                self.kept.next = None;
                self.kept.bound = self.kept.org;
                self.kept.moves = moves;
                self.as_next = false;
                self.submitted = false;
                if let Some(id) = self.rotate.take() {
                    let task = Task::Rotate;
                    self.outcome(Order { id, task }, OutcomeCode::Done);
                }
                self.event(Event::Succeeded {
                    handle: next.handle,
                });
                // First that the next key counts, then that the last one is gone.
                self.persist();
                self.push(Step::Wipe(old));
                self.owned_by(owner, rng);
            }
            Successor::Taken => {
                self.kept.next = None;
                self.as_next = false;
                self.submitted = false;
                self.event(Event::SuccessorTaken);
                self.persist();
                self.push(Step::Wipe(next.slot));
            }
            Successor::Ended(status) => {
                self.event(Event::SuccessorEnded(status));
                self.fail(rng);
            }
            Successor::Absent => {
                if self.submitted {
                    self.event(Event::SuccessorAbsent);
                }
                self.submitted = false;
                self.fail(rng);
                if let Some(further) = self.rejections.checked_sub(1) {
                    let wait = REJECTED_MS << further.min(3);
                    self.succeed_at = self.now.plus_ms(jitter(rng, wait));
                    if self.kept.current.purpose == Purpose::Pre {
                        self.pause = self.pause.max(self.succeed_at);
                    }
                }
            }
        }
    }

    /// Lets a step of an update go on, or stops it.
    fn gate(&mut self, job: Job, release: Result<ProvenRelease, Stop>) {
        let Job::Update {
            gate,
            order,
            repair,
            ..
        } = job
        else {
            return;
        };
        match release {
            Ok(release) if self.may_begin() => self.push(match gate {
                Gate::Install => Step::Install(release, order, repair),
                Gate::Reboot => Step::Reboot(release),
                Gate::Commit => Step::Commit(release),
            }),
            other => self.stop(job, other.err().unwrap_or(Stop::Stale)),
        }
    }

    /// Ends what was to be done; whoever ordered it is told.
    pub(super) fn stop(&mut self, job: Job, why: Stop) {
        let code = if why == Stop::Stale {
            OutcomeCode::Stale
        } else {
            OutcomeCode::Unproven
        };
        let order = match job {
            Job::Update {
                gate,
                digest,
                order,
                repair,
            } => {
                self.event(Event::Stopped { digest, gate, why });
                Order::install(order, digest, repair)
            }
            Job::Adopt { server, order: id } => {
                let task = Task::AdoptServer(server);
                Order { id, task }
            }
        };
        self.outcome(order, code);
    }

    /// Uses another server key at every address that had the present one.
    fn adopt(&mut self, job: Job, server: Option<Server>) {
        let Job::Adopt {
            order: id,
            server: handle,
        } = job
        else {
            return;
        };
        if !self.may_begin() {
            return self.stop(job, Stop::Stale);
        }
        let (Some(server), Some(present)) = (server, self.peer().map(|peer| peer.server)) else {
            return self.stop(job, Stop::Unlisted);
        };
        for at in 0..self.kept.servers.len() {
            if self.kept.servers.get(at) == Some(&present) {
                self.kept.serve_at(at, server);
            }
        }
        let task = Task::AdoptServer(handle);
        self.outcome(Order { id, task }, OutcomeCode::Done);
        self.event(Event::ServerAdopted {
            server: self.server,
            handle: server.handle,
        });
        self.persist();
        if server != present {
            self.phase = Phase::Idle;
        }
    }

    /// Begins an order; says whether it is a new one.
    fn take(&mut self, order: Order) -> bool {
        if order.id == 0 {
            return false;
        }
        if let Some((seen, ended)) = self.seen.iter().find(|(seen, _)| seen.id == order.id) {
            // Given again in another session: its outcome did not arrive, or was forgotten with an older state of the database.
            // Another task under its number is no order: what is signed of the one must not be said of the other.
            if let Some(code) = *ended
                && *seen == order
            {
                self.outcome(order, code);
            }
            return false;
        }
        if self.seen.is_full() {
            self.seen.remove(0);
        }
        self.seen.push((order, None));
        self.doubts = true;
        let job = match order.task {
            Task::Update(digest) if self.facts.release == Some(digest) => {
                self.outcome(order, OutcomeCode::Done);
                None
            }
            Task::Update(digest) | Task::Repair(digest) => Some(Job::Update {
                gate: Gate::Install,
                digest,
                order: order.id,
                repair: matches!(order.task, Task::Repair(_)),
            }),
            Task::AdoptServer(server) => Some(Job::Adopt {
                server,
                order: order.id,
            }),
            Task::ReportInventory(nonce) => {
                self.event(Event::ReportWanted {
                    order: order.id,
                    nonce,
                });
                None
            }
            Task::Rotate => {
                self.rotate = Some(order.id);
                None
            }
        };
        if let Some(job) = job
            && self.jobs.try_push(job).is_err()
        {
            // More than a server may give at a time: it gives it again in another session.
            self.seen.retain(|(seen, _)| *seen != order);
            return false;
        }
        true
    }

    /// The session's server is the owner's.
    fn proven(&mut self) {
        if let Phase::Session(session) = &mut self.phase
            && !core::mem::replace(&mut session.proven, true)
        {
            self.connected();
        }
    }

    pub(super) fn connected(&mut self) {
        let server = self.server;
        self.event(Event::Connected { server });
    }

    pub(super) fn server_ended(&mut self) {
        let server = self.server;
        self.event(Event::ServerEnded { server });
        self.seek();
    }

    /// Once per input, before what relies on it.
    pub(super) fn persist(&mut self) {
        if !self.steps.iter().any(|step| matches!(step, Step::Persist)) {
            self.push(Step::Persist);
        }
    }

    pub(super) fn rise(&mut self, checkpoint: &VerifiedCheckpoint) {
        let before = self.kept.trust.floor();
        self.kept.trust.advance(checkpoint);
        if self.kept.trust.floor().height > before.height {
            self.grown();
        }
    }
}
