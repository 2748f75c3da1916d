//! What the device makes of answers: everything is checked before anything changes.

use arrayvec::ArrayVec;
use rand_core::CryptoRng;

use super::{Asked, Device, DeviceError, Job, Phase, REJECTED_MS, Session, Step, talk::jitter};
use crate::cbor::decode_canonical;
use crate::checkpoint::VerifiedCheckpoint;
use crate::device::outbox::{Event, Gate, ProvenRelease, Stop};
use crate::device::trust::Trust;
use crate::device::{KeyRing, Server};
use crate::id::{Handle, KusabiId, StateKey};
use crate::keystore::{KeyStore, Seed};
use crate::protocol::Steps;
use crate::protocol::frame::{AnswerFrame, Problem};
use crate::protocol::hello::{Enrolment, Welcome};
use crate::protocol::noise::NoiseError;
use crate::protocol::reply::{Answer, ORDERS_MAX, Order, Reply, SealedProblem, Task};
use crate::protocol::request::OutcomeCode;
use crate::protocol::seal::{Direction, SessionKeys};
use crate::row::{Record, Release, ReleaseStatus, RowBytes, Status};
use crate::suite::{PublicKeys, Purpose};

/// What a reply says, once it is checked.
enum Finding {
    ServerProven,
    ServerEnded,
    Own(bool),
    Successor(Successor),
    Release(Result<ProvenRelease, Stop>),
    Adopt(Option<Server>),
    Key(KusabiId, Seed),
    Orders(u32, ArrayVec<Order, ORDERS_MAX>),
    Pending(u16),
    Received(u32),
    Problem(SealedProblem, u16),
}

/// What the ledger holds under the next key's handle.
enum Successor {
    Follows,
    Ended(Status),
    Taken,
    Absent,
}

impl Device {
    pub(super) fn answered<K: KeyRing>(
        &mut self,
        keys: &K,
        rng: &mut impl CryptoRng,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        let frame = AnswerFrame::decode(bytes)?;
        match (frame, &self.phase) {
            (AnswerFrame::Welcome(noise), Phase::Greeting { .. }) => {
                self.welcomed(keys, rng, noise)
            }
            (AnswerFrame::Retry(cookie), Phase::Greeting { retried, .. }) => {
                if *retried {
                    self.fail(rng);
                } else {
                    self.greet(keys, rng, Some(cookie));
                }
                Ok(())
            }
            (
                AnswerFrame::Redirect {
                    steps,
                    server,
                    proof,
                },
                Phase::Seeking { .. },
            ) => self.redirected(rng, &steps, server, proof),
            (AnswerFrame::Reply(sealed), Phase::Session(session)) if session.flight.is_some() => {
                let start = bytes.len() - sealed.len();
                let sealed = bytes.get_mut(start..).unwrap_or_default();
                self.replied(keys, rng, sealed)
            }
            (AnswerFrame::Problem { problem, wait_secs }, phase) => {
                let waits = match phase {
                    Phase::Idle => false,
                    Phase::Greeting { .. } | Phase::Seeking { .. } => true,
                    Phase::Session(session) => session.flight.is_some(),
                };
                if !waits {
                    return Err(DeviceError::Unexpected);
                }
                self.hinted(problem, wait_secs, rng);
                Ok(())
            }
            _ => Err(DeviceError::Unexpected),
        }
    }

    /// An unauthenticated problem: where and when to try next, no more.
    fn hinted(&mut self, problem: Problem, wait_secs: u16, rng: &mut impl CryptoRng) {
        self.event(Event::Problem(problem));
        let greeting = matches!(self.phase, Phase::Greeting { .. });
        match problem {
            Problem::Unreadable if greeting => self.seek(),
            // Two keys, and one of them counts: the other one is tried at once, and then from the beginning.
            Problem::Refused if greeting && self.kept.next.is_some() && !self.as_next => {
                self.as_next = true;
                self.phase = Phase::Idle;
            }
            Problem::UnknownSession if self.failures == 0 => {
                self.failures = 1;
                self.phase = Phase::Idle;
                self.pause = self.now.plus_ms(1000);
            }
            _ => {
                self.as_next = false;
                // Whoever says "registered" and then refuses is asked again from the beginning.
                self.enrolled = false;
                self.fail(rng);
                let told = self.now.plus_ms(u64::from(wait_secs) * 1000);
                self.pause = self.pause.max(told);
            }
        }
    }

    fn welcomed<K: KeyRing>(
        &mut self,
        keys: &K,
        rng: &mut impl CryptoRng,
        noise: &[u8],
    ) -> Result<(), DeviceError> {
        let Phase::Greeting { initiator, .. } = &self.phase else {
            return Err(DeviceError::Unexpected);
        };
        let identity = match self.kept.next {
            Some(next) if self.as_next => next,
            _ => self.kept.current,
        };
        let enrols = !self.kept.registered && !self.enrolled;
        let (_, key) = keys.key(identity.slot).ok_or(DeviceError::Misuse)?;
        // The hello is of no more use: each attempt makes its own.
        let (transport, len) = initiator
            .finish(key, noise, &mut self.out)
            .map_err(|error| match error {
                NoiseError::KeyStore(error) => DeviceError::KeyStore(error),
                _ => DeviceError::Unauthentic,
            })?;
        let payload = self.out.get(..len).unwrap_or_default();
        let welcome: Welcome<'_> = decode_canonical(payload).map_err(|_| DeviceError::Answer)?;
        match welcome {
            Welcome::Session {
                session,
                key,
                proof,
            } if !enrols => {
                // A proof that cannot be used here, being of a later epoch perhaps, is asked for again, with steps.
                let proven =
                    proof.and_then(|proof| self.prove_server(&self.kept.trust, proof).ok());
                if matches!(proven, Some((false, _))) {
                    return self.server_ended(rng);
                }
                let keys = SessionKeys::derive(&transport, &key);
                if let Some((_, checkpoint)) = &proven {
                    self.rise(checkpoint);
                }
                let proven = proven.is_some();
                self.phase = Phase::Session(Session {
                    id: session,
                    keys,
                    counter: 0,
                    opened: self.now,
                    identity,
                    proven,
                    flight: None,
                });
                if proven {
                    self.connected();
                }
                Ok(())
            }
            Welcome::Enrolment { status, wait_secs } if enrols => {
                self.phase = Phase::Idle;
                self.failures = 0;
                self.event(Event::Enrolment(status));
                self.enrolled = status == Enrolment::Registered;
                if !self.enrolled {
                    let secs = u64::from(wait_secs.max(if status == Enrolment::Refused {
                        3600
                    } else {
                        10
                    }));
                    self.pause = self.now.plus_ms(secs * 1000);
                }
                Ok(())
            }
            _ => Err(DeviceError::Answer),
        }
    }

    fn redirected(
        &mut self,
        rng: &mut impl CryptoRng,
        steps: &Steps<'_>,
        handle: Handle,
        proof: Option<&[u8]>,
    ) -> Result<(), DeviceError> {
        let followed = self.kept.trust.follow(steps)?;
        let trust = followed.as_ref().unwrap_or(&self.kept.trust);
        let adopted = match proof {
            None if followed.is_none() => return Err(DeviceError::Answer),
            None => None,
            Some(proof) => {
                let (row, checkpoint) = trust.prove(proof, &StateKey::record(&handle))?;
                let server = self.ps(row, handle).ok_or(DeviceError::NoServer)?;
                // Without growth of the ledger no new peer key, when it has not grown for too long.
                let grows = checkpoint.header().height > self.kept.trust.floor().height;
                if !grows && self.is_overdue() {
                    return Err(DeviceError::Stale);
                }
                Some((server, checkpoint))
            }
        };
        if let Some(trust) = followed {
            self.kept.trust = trust;
        }
        match adopted {
            None => self.seek(),
            Some((server, checkpoint)) => {
                self.rise(&checkpoint);
                let at = self.server;
                if let Some(place) = self.kept.servers.get_mut(at) {
                    *place = server;
                }
                self.event(Event::ServerAdopted { server: at, handle });
                // A server that answers so but cannot be spoken to must not have the device turn in circles.
                self.fail(rng);
                self.server = at;
            }
        }
        self.steps.insert(0, Step::Persist);
        Ok(())
    }

    fn replied<K: KeyRing>(
        &mut self,
        keys: &K,
        rng: &mut impl CryptoRng,
        sealed: &mut [u8],
    ) -> Result<(), DeviceError> {
        let Phase::Session(session) = &self.phase else {
            return Err(DeviceError::Unexpected);
        };
        let asked = session.flight.ok_or(DeviceError::Unexpected)?.asked;
        let plaintext = session
            .keys
            .open(Direction::Reply, &session.id, session.counter, sealed)
            .ok_or(DeviceError::Unauthentic)?;
        let reply: Reply<'_> = decode_canonical(plaintext).map_err(|_| DeviceError::Answer)?;
        let followed = self.kept.trust.follow(&reply.steps)?;
        let trust = followed.as_ref().unwrap_or(&self.kept.trust);
        let (finding, checkpoint) = self.find(trust, keys, asked, &reply)?;

        // Checked. From here on nothing fails.
        let walked = followed.is_some();
        if let Some(trust) = followed {
            self.kept.trust = trust;
        }
        if let Some(checkpoint) = &checkpoint {
            self.rise(checkpoint);
        }
        let Phase::Session(session) = &mut self.phase else {
            return Err(DeviceError::Unexpected);
        };
        session.flight = None;
        let first = session.counter == 1;
        let served = !matches!(finding, Finding::Problem(..));
        if served {
            self.failures = 0;
        }
        let confirmed = first && served;
        if confirmed {
            if let Some(link) = self.kept.link() {
                self.kept.value = link.next();
            }
            self.kept.pending = None;
        }
        if confirmed || walked {
            self.push(Step::Persist);
        }
        self.apply(rng, asked, finding, first, walked);
        Ok(())
    }

    /// Checks an answer against what was asked.
    fn find<K: KeyRing>(
        &self,
        trust: &Trust,
        keys: &K,
        asked: Asked,
        reply: &Reply<'_>,
    ) -> Result<(Finding, Option<VerifiedCheckpoint>), DeviceError> {
        let found = match (&reply.answer, asked) {
            (Answer::Problem { problem, wait_secs }, _) => Finding::Problem(*problem, *wait_secs),
            (Answer::Pending { wait_secs }, _) => Finding::Pending(*wait_secs),
            (Answer::Key { id, seed }, Asked::Key) => Finding::Key(id.clone(), seed.clone()),
            (Answer::Received { offset }, Asked::Report) => Finding::Received(*offset),
            (
                Answer::Orders {
                    next_poll_secs,
                    orders,
                    checkpoint,
                },
                Asked::Poll { .. },
            ) => {
                let checkpoint = checkpoint.map(|bytes| trust.check(bytes)).transpose()?;
                return Ok((Finding::Orders(*next_poll_secs, orders.clone()), checkpoint));
            }
            (Answer::Proof(proof), _) => {
                let (finding, checkpoint) = self.find_proof(trust, keys, asked, proof)?;
                return Ok((finding, Some(checkpoint)));
            }
            _ => return Err(DeviceError::Answer),
        };
        Ok((found, None))
    }

    fn find_proof<K: KeyRing>(
        &self,
        trust: &Trust,
        keys: &K,
        asked: Asked,
        proof: &[u8],
    ) -> Result<(Finding, VerifiedCheckpoint), DeviceError> {
        let record = |handle: &Handle| trust.prove(proof, &StateKey::record(handle));
        Ok(match asked {
            Asked::Server => {
                let (proven, checkpoint) = self.prove_server(trust, proof)?;
                let finding = if proven {
                    Finding::ServerProven
                } else {
                    Finding::ServerEnded
                };
                (finding, checkpoint)
            }
            Asked::Own => {
                let current = self.kept.current;
                let (row, checkpoint) = record(&current.handle)?;
                let mine = self.own(keys, current.slot, row)?;
                let active = matches!(mine, Some((true, record)) if record.is_active());
                (Finding::Own(active), checkpoint)
            }
            Asked::Succeed | Asked::Successor => {
                let next = self.kept.next.ok_or(DeviceError::Answer)?;
                let (row, checkpoint) = record(&next.handle)?;
                let finding = match self.own(keys, next.slot, row)? {
                    None => Successor::Absent,
                    Some((true, record))
                        if record.predecessor() == Some(self.kept.current.handle) =>
                    {
                        if record.is_active() {
                            Successor::Follows
                        } else {
                            Successor::Ended(record.status())
                        }
                    }
                    Some(_) => Successor::Taken,
                };
                (Finding::Successor(finding), checkpoint)
            }
            Asked::Job(Job::Update { digest, .. }) => {
                let org = self.kept.org;
                let (row, checkpoint) = trust.prove(proof, &StateKey::release(&org, &digest))?;
                let release = row.and_then(|row| Release::decode(&row).ok());
                let finding = match release {
                    Some(release) if release.org() == org && release.digest() == digest => {
                        match release.status() {
                            ReleaseStatus::Published => Ok(ProvenRelease {
                                release,
                                height: checkpoint.header().height,
                            }),
                            ReleaseStatus::Withdrawn => Err(Stop::Withdrawn),
                        }
                    }
                    _ => Err(Stop::Unlisted),
                };
                (Finding::Release(finding), checkpoint)
            }
            Asked::Job(Job::Adopt { server, .. }) => {
                let (row, checkpoint) = record(&server)?;
                (Finding::Adopt(self.ps(row, server)), checkpoint)
            }
            Asked::Key | Asked::Report | Asked::Poll { .. } => return Err(DeviceError::Answer),
        })
    }

    /// Whether a proof shows the record of the session's server as it must be.
    fn prove_server(
        &self,
        trust: &Trust,
        proof: &[u8],
    ) -> Result<(bool, VerifiedCheckpoint), DeviceError> {
        let server = self
            .kept
            .servers
            .get(self.server)
            .ok_or(DeviceError::Misuse)?;
        let (row, checkpoint) = trust.prove(proof, &StateKey::record(&server.handle))?;
        Ok((self.ps(row, server.handle) == Some(*server), checkpoint))
    }

    /// A server key, if the row is that of an active `ps` of this organisation, of a suite that the device speaks.
    fn ps(&self, row: Option<RowBytes>, handle: Handle) -> Option<Server> {
        let record = Record::decode(&row?).ok()?;
        let serves = record.is_active()
            && record.purpose() == Purpose::Ps
            && record.owner() == self.kept.org
            && record.keys().suite() == self.suite();
        serves.then(|| Server {
            handle,
            keys: *record.keys(),
        })
    }

    /// A proven record under one of the device's own handles, and whether it holds the device's key as its device key.
    fn own<K: KeyRing>(
        &self,
        keys: &K,
        slot: crate::device::Slot,
        row: Option<RowBytes>,
    ) -> Result<Option<(bool, Record)>, DeviceError> {
        let Some(row) = row else { return Ok(None) };
        let record = Record::decode(&row).map_err(|_| DeviceError::Answer)?;
        let (_, key) = keys.key(slot).ok_or(DeviceError::Misuse)?;
        let public: PublicKeys = key.public_keys();
        let mine = *record.keys() == public
            && record.owner() == self.kept.org
            && record.purpose() == Purpose::Act;
        Ok(Some((mine, record)))
    }

    fn apply(
        &mut self,
        rng: &mut impl CryptoRng,
        asked: Asked,
        finding: Finding,
        first: bool,
        walked: bool,
    ) {
        match finding {
            Finding::ServerProven => {
                if let Phase::Session(session) = &mut self.phase {
                    session.proven = true;
                }
                self.connected();
            }
            Finding::ServerEnded => {
                let server = self.server;
                self.event(Event::ServerEnded { server });
                self.seek();
            }
            Finding::Own(active) => {
                if active {
                    self.kept.registered = true;
                    self.enrolled = false;
                    self.event(Event::Enrolled);
                    self.persist();
                } else {
                    self.enrolled = false;
                    self.fail(rng);
                }
            }
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
            Finding::Orders(next_poll_secs, orders) => {
                if let Asked::Poll { outcomes } = asked {
                    self.outcomes.drain(..outcomes.min(self.outcomes.len()));
                }
                self.note_growth(rng);
                for order in orders {
                    self.take(order);
                }
                if self.settings.hold_secs > 0 {
                    // Not at once: a server that does not hold must not be asked without end.
                    self.poll_at = self.now.plus_ms(200);
                } else {
                    self.next_poll(next_poll_secs, rng);
                }
            }
            Finding::Pending(wait_secs) => {
                self.submitted |= asked == Asked::Succeed;
                // Steps lead on at once; anything else takes at least a second.
                if !walked {
                    let secs = u64::from(wait_secs.max(1));
                    self.pause = self.now.plus_ms(secs * 1000);
                }
            }
            Finding::Received(offset) => {
                self.report = None;
                self.event(Event::ReportReceived { offset });
            }
            Finding::Problem(problem, wait_secs) => {
                self.event(Event::SealedProblem(problem));
                self.troubled(rng, asked, problem, wait_secs, first);
            }
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
        match problem {
            SealedProblem::StaleLink => {
                self.phase = Phase::Idle;
                self.pause = told;
            }
            SealedProblem::Rejected if asked == Asked::Succeed => {
                self.submitted = true;
                self.rejections = self.rejections.saturating_add(1);
            }
            SealedProblem::ReportOrder => {
                self.report = None;
                self.event(Event::ReportAgain);
            }
            SealedProblem::Unavailable => self.pause = told,
            SealedProblem::Fork | SealedProblem::NotAllowed | SealedProblem::Rejected => {
                if let Asked::Job(job) = asked {
                    self.jobs.retain(|other| *other != job);
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
            Successor::Follows => {
                let old = self.kept.current.slot;
                self.kept.current = next;
                self.kept.next = None;
                self.as_next = false;
                self.submitted = false;
                if let Some(order) = self.rotate.take() {
                    self.outcome(order, OutcomeCode::Done);
                }
                self.event(Event::Succeeded {
                    handle: next.handle,
                });
                // First that the next key counts, then that the last one is gone.
                self.persist();
                self.push(Step::Wipe(old));
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
            digest,
            order,
            repair,
        } = job
        else {
            return;
        };
        let stale = self.stale || self.is_overdue();
        match release {
            Ok(release) if !stale => self.push(match gate {
                Gate::Install => Step::Install(release, order, repair),
                Gate::Reboot => Step::Reboot(release),
                Gate::Commit => Step::Commit(release),
            }),
            other => {
                let why = other.err().unwrap_or(Stop::Stale);
                self.event(Event::Stopped { digest, gate, why });
                self.outcome(
                    order,
                    if why == Stop::Stale {
                        OutcomeCode::Stale
                    } else {
                        OutcomeCode::Unproven
                    },
                );
            }
        }
    }

    /// Uses another server key at every address that had the present one.
    fn adopt(&mut self, job: Job, server: Option<Server>) {
        let Job::Adopt { order, .. } = job else {
            return;
        };
        if self.stale || self.is_overdue() {
            return self.outcome(order, OutcomeCode::Stale);
        }
        let (Some(server), Some(present)) = (server, self.kept.servers.get(self.server).copied())
        else {
            return self.outcome(order, OutcomeCode::Unproven);
        };
        for place in &mut self.kept.servers {
            if *place == present {
                *place = server;
            }
        }
        self.outcome(order, OutcomeCode::Done);
        self.event(Event::ServerAdopted {
            server: self.server,
            handle: server.handle,
        });
        self.persist();
        if server != present {
            self.phase = Phase::Idle;
        }
    }

    fn take(&mut self, order: Order) {
        if order.id == 0 || self.seen.contains(&order.id) {
            return;
        }
        let job = match order.task {
            Task::Update(digest) if self.facts.release == Some(digest) => {
                self.outcome(order.id, OutcomeCode::Done);
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
            // No room now: the server repeats it.
            return;
        }
        if self.seen.is_full() {
            self.seen.remove(0);
        }
        self.seen.push(order.id);
    }

    fn connected(&mut self) {
        let server = self.server;
        self.event(Event::Connected { server });
    }

    fn server_ended(&mut self, _: &mut impl CryptoRng) -> Result<(), DeviceError> {
        let server = self.server;
        self.event(Event::ServerEnded { server });
        self.seek();
        Ok(())
    }

    /// Once per input, before what relies on it.
    fn persist(&mut self) {
        if !self.steps.iter().any(|step| matches!(step, Step::Persist)) {
            self.push(Step::Persist);
        }
    }

    fn rise(&mut self, checkpoint: &VerifiedCheckpoint) {
        let before = self.kept.trust.floor();
        self.kept.trust.advance(checkpoint);
        if self.kept.trust.floor().height > before.height {
            self.risen = self.now;
            if core::mem::take(&mut self.stale) {
                self.event(Event::Fresh);
            }
        }
    }

    fn is_overdue(&self) -> bool {
        self.now.since_ms(self.risen) > u64::from(self.settings.stale_after_secs) * 1000
    }

    /// After a poll: has the ledger grown since long enough ago?
    fn note_growth(&mut self, rng: &mut impl CryptoRng) {
        if self.is_overdue() && !self.stale {
            self.stale = true;
            self.event(Event::Stale);
        }
        if self.stale && self.kept.servers.len() > 1 {
            self.fail(rng);
        }
    }
}
