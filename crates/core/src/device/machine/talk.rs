//! What the device says, and when.

use arrayvec::ArrayVec;
use rand_core::CryptoRng;

use super::trial::Candidate;
use super::{
    Asked, BACKOFF_MS, BACKOFF_MS_MAX, Device, Flight, Job, Phase, SENDS_MAX, Session, Step,
};
use crate::cbor::{Encoder, ToCbor};
use crate::device::outbox::Event;
use crate::device::{KeyOrigin, KeyRing, Server};
use crate::keystore::KeyStoreError;
use crate::protocol::Time;
use crate::protocol::frame::{Cookie, RequestFrame, seal_request};
use crate::protocol::hello::{HELLO_LEN_MAX, Hello};
use crate::protocol::noise::{Initiator, NoiseError, OVERHEAD_MAX, Prologue};
use crate::protocol::reply::Order;
use crate::protocol::request::{
    Ask, Facts, OUTCOMES_MAX, Outcome, OutcomeCode, Poll, ReportPart, Request, Subject,
};
use crate::protocol::succession::{NewKey, Succession, TRANSACTION_LEN_MAX};
use crate::receipt::{Answered, Signer};
use crate::suite::Purpose;
use crate::wire::Writer;

impl Device {
    /// Does whatever is next, if nothing is in flight and the time has come.
    pub(super) fn go_on<K: KeyRing>(&mut self, keys: &K, rng: &mut impl CryptoRng) {
        if self.making || self.now < self.pause {
            return;
        }
        match &self.phase {
            Phase::Greeting { .. } | Phase::Seeking { .. } => {}
            Phase::Session(session) if session.flight.is_some() => {
                if self.has_work() {
                    self.give_way();
                    if matches!(self.phase, Phase::Idle) {
                        self.greet(keys, rng, None);
                    }
                }
            }
            Phase::Session(session) => {
                let age = self.now.since_ms(session.opened);
                let over = age >= u64::from(self.settings.session_secs) * 1000;
                // A session that stands on a key which does not count any more is of no use.
                let mine = [Some(self.kept.current), self.kept.next];
                if over || !mine.contains(&Some(session.identity)) {
                    self.phase = Phase::Idle;
                    self.go_on(keys, rng);
                } else {
                    self.ask_next(keys, rng);
                }
            }
            Phase::Idle if self.has_work() || self.now >= self.poll_at => {
                self.greet(keys, rng, None);
            }
            Phase::Idle => {}
        }
    }

    /// A poll that the server may hold back for minutes is given up, with its session, for something that has to be asked
    /// now. Orders that were on their way with it are given again: no outcome was told.
    pub(super) fn give_way(&mut self) {
        if let Some(Asked::Poll { held: true, .. }) = self.in_flight() {
            self.phase = Phase::Idle;
        }
    }

    /// Whether a poll waits for its answer.
    pub(super) const fn is_polling(&self) -> bool {
        matches!(self.in_flight(), Some(Asked::Poll { .. }))
    }

    /// What was asked in the session and is not answered yet.
    const fn in_flight(&self) -> Option<&Asked> {
        match &self.phase {
            Phase::Session(Session {
                flight: Some(flight),
                ..
            }) => Some(&flight.asked),
            _ => None,
        }
    }

    /// Time has run out for what is in flight.
    pub(super) fn expire(&mut self, rng: &mut impl CryptoRng) {
        let until = match &self.phase {
            Phase::Idle => return,
            Phase::Greeting { until, .. } | Phase::Seeking { until } => *until,
            Phase::Session(session) => match session.flight {
                Some(flight) => flight.until,
                None => return,
            },
        };
        if self.now >= until {
            self.lost(rng);
        }
    }

    /// What is in flight got no answer: a message is sent again byte for byte, a handshake is made anew.
    pub(super) fn lost(&mut self, rng: &mut impl CryptoRng) {
        let server = self.server;
        match &mut self.phase {
            Phase::Idle => return,
            Phase::Session(Session { flight, .. }) => match flight {
                None => return,
                Some(flight) if flight.sends_left > 0 => {
                    flight.sends_left -= 1;
                    let wait = flight.until.since_ms(self.now);
                    flight.until = self
                        .now
                        .plus_ms(wait.max(u64::from(self.settings.answer_secs) * 1000));
                    let until = flight.until;
                    self.push(Step::Send(until));
                    return;
                }
                Some(_) => {}
            },
            Phase::Greeting { .. } | Phase::Seeking { .. } => {}
        }
        let in_vain = matches!(self.in_flight(), Some(Asked::Fresh { .. }));
        self.event(Event::Unreachable { server });
        self.fail(rng);
        if in_vain {
            self.receipt_denied(0);
        }
    }

    /// Ends what is under way and waits before the next attempt, at the next address.
    pub(super) fn fail(&mut self, rng: &mut impl CryptoRng) {
        self.phase = Phase::Idle;
        self.failures = self.failures.saturating_add(1);
        // Once round all addresses before the wait grows.
        let rounds = self.failures / u32::try_from(self.kept.servers.len()).unwrap_or(1).max(1);
        let wait = BACKOFF_MS
            .saturating_mul(1 << rounds.min(9))
            .min(BACKOFF_MS_MAX);
        self.pause = self.now.plus_ms(jitter(rng, wait));
        self.turn_to_next_server();
    }

    /// However long the wait is, this once it is over after that of a first failure.
    pub(super) fn soon(&mut self, rng: &mut impl CryptoRng) {
        let soon = self.now.plus_ms(jitter(rng, BACKOFF_MS));
        self.pause = self.pause.min(soon);
    }

    pub(super) fn turn_to_next_server(&mut self) {
        self.candidate = None;
        let next = self.resume.take().unwrap_or(self.server + 1);
        self.server = next % self.kept.servers.len().max(1);
    }

    pub(super) fn next_poll(&mut self, secs: u32, rng: &mut impl CryptoRng) {
        self.poll_at = self.now.plus_ms(jitter(rng, u64::from(secs) * 1000));
    }

    /// Begins a handshake.
    pub(super) fn greet<K: KeyRing>(
        &mut self,
        keys: &K,
        rng: &mut impl CryptoRng,
        cookie: Option<Cookie>,
    ) {
        if self.candidate.is_none() && self.kept.is_strange(self.server) {
            if self.server == 0 {
                self.detours = 0;
            }
            if let Some(named) = self.named.as_mut().filter(|named| named.at == self.server) {
                named.asked = true;
            }
            return self.seek();
        }
        if self.kept.next.is_none() {
            self.as_next = false;
        }
        let identity = match self.kept.next {
            Some(next) if self.as_next => next,
            _ => self.kept.current,
        };
        let Some((id, key)) = keys.key(identity.slot) else {
            self.event(Event::KeyMissing(identity.slot));
            self.fail(rng);
            return;
        };
        let Some(Candidate { server, .. }) = self.peer() else {
            return;
        };
        let floor = self.kept.trust.floor();
        let enrols = !self.kept.registered && !self.enrolled;
        let hello = if enrols {
            let chain = self.kept.trust.anchor().chain();
            Hello::Enrol {
                floor,
                token: &self.settings.token,
                entry: NewKey::new(
                    id,
                    crate::keystore::KeyStore::public_keys(key),
                    &chain,
                    &self.kept.org,
                ),
                label: &self.settings.label,
            }
        } else {
            Hello::Session {
                handle: identity.handle,
                floor,
            }
        };
        let mut payload = [0; HELLO_LEN_MAX];
        let mut writer = Writer::new(&mut payload);
        hello.to_cbor(&mut Encoder::new(&mut writer));
        let len = writer.finish().unwrap_or_default();
        let payload = payload.get(..len).unwrap_or_default();
        let mut noise = [0; HELLO_LEN_MAX + OVERHEAD_MAX];
        match self.start_noise(&server, key, cookie.as_ref(), rng, payload, &mut noise) {
            Ok((initiator, len)) => {
                let frame = RequestFrame::Hello {
                    suite: server.keys.suite(),
                    cookie,
                    noise: noise.get(..len).unwrap_or_default(),
                };
                self.out_len = frame.encode(&mut self.out).unwrap_or_default();
                let until = self.answer_by(0);
                self.phase = Phase::Greeting {
                    initiator,
                    until,
                    retried: cookie.is_some(),
                };
                self.push(Step::Send(until));
            }
            Err(error) => {
                self.event(match error {
                    NoiseError::KeyStore(error) => Event::KeyStore(error),
                    _ => Event::KeyMissing(identity.slot),
                });
                self.fail(rng);
            }
        }
    }

    fn start_noise(
        &self,
        server: &Server,
        key: &(impl crate::keystore::KeyStore + ?Sized),
        cookie: Option<&Cookie>,
        rng: &mut impl CryptoRng,
        payload: &[u8],
        noise: &mut [u8],
    ) -> Result<(Initiator, usize), NoiseError> {
        let peer = server.keys.agreement_key().ok_or(NoiseError::Suite)?;
        let chain = self.kept.trust.anchor().chain();
        let prologue = Prologue::new(&chain, server.keys.suite(), &server.handle, cookie);
        Initiator::start(key, &peer, prologue.as_bytes(), rng, payload, noise)
    }

    /// Asks which server key serves at the present address.
    pub(super) fn seek(&mut self) {
        let frame = RequestFrame::Seek {
            suite: self.suite(),
            epoch: self.kept.trust.floor().epoch,
        };
        self.out_len = frame.encode(&mut self.out).unwrap_or_default();
        let until = self.answer_by(0);
        self.phase = Phase::Seeking { until };
        self.push(Step::Send(until));
    }

    /// Chooses the session's next request.
    fn ask_next<K: KeyRing>(&mut self, keys: &K, rng: &mut impl CryptoRng) {
        if self.wants_receipt() {
            return self.ask_receipt(rng);
        }
        self.refuse_without_receipt(rng);
        let Phase::Session(session) = &self.phase else {
            return;
        };
        if self.meets_stranger() {
            if session.asks_where {
                return self.ask(Asked::Where, &Ask::Where, rng);
            }
            return self.ask_stranger(rng);
        }
        if !session.proven {
            let Some(Candidate { server, .. }) = self.peer() else {
                return;
            };
            let subject = Subject::Record(server.handle);
            return self.ask(Asked::Server, &Ask::Prove(subject), rng);
        }
        if !self.kept.registered || self.doubts {
            let subject = Subject::Record(self.kept.current.handle);
            return self.ask(Asked::Own, &Ask::Prove(subject), rng);
        }
        // While the succession rests, the device goes on as what it is.
        if let Some(next) = self.kept.next
            && !(self.is_resting() && session.identity == self.kept.current)
        {
            if session.identity == self.kept.current && !self.submitted {
                return self.succeed(keys, rng);
            }
            let subject = Subject::Record(next.handle);
            return self.ask(Asked::Successor, &Ask::Prove(subject), rng);
        }
        if self.kept.current.purpose == Purpose::Pre {
            return match self.settings.key_origin {
                KeyOrigin::Device => self.make_key(),
                KeyOrigin::Server => self.ask(Asked::Key, &Ask::Key, rng),
            };
        }
        if self.wants_new_key() {
            return self.make_key();
        }
        if let Some(job) = self.jobs.first().copied() {
            let subject = match job {
                Job::Update { digest, .. } => Subject::Release(digest),
                Job::Adopt { server, .. } => Subject::Record(server),
            };
            return self.ask(Asked::Job(job), &Ask::Prove(subject), rng);
        }
        if self.is_report_due()
            && let Some(report) = self.report.take()
        {
            let part = ReportPart {
                nonce: report.nonce,
                total: report.total,
                offset: report.offset,
                bytes: &report.part,
            };
            self.ask(Asked::Report, &Ask::Report(part), rng);
            self.report = Some(report);
            return;
        }
        if self.now >= self.poll_at {
            let outcomes = match self.signed_outcomes(keys) {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    self.event(Event::KeyStore(error));
                    self.fail(rng);
                    return;
                }
            };
            self.told = outcomes.clone();
            let facts = Facts {
                freshness: self.standing.freshness(),
                ..self.facts
            };
            let poll = Poll {
                facts,
                // Nor while a report waits, whose time comes before a held poll's: the session that it is signed for would have
                // to be given up for it.
                hold_secs: if self.prompt || self.report.is_some() {
                    0
                } else {
                    self.settings.hold_secs
                },
                outcomes,
            };
            let asked = Asked::Poll {
                at: self.now,
                held: poll.hold_secs > 0,
            };
            self.ask(asked, &Ask::Poll(poll), rng);
        }
    }

    /// What became of orders, signed for the session's server with the session's key.
    fn signed_outcomes<K: KeyRing>(
        &self,
        keys: &K,
    ) -> Result<ArrayVec<Outcome, OUTCOMES_MAX>, KeyStoreError> {
        let (Phase::Session(session), Some(Candidate { server, .. })) = (&self.phase, self.peer())
        else {
            return Ok(ArrayVec::new());
        };
        let (_, key) = keys
            .key(session.identity.slot)
            .ok_or(KeyStoreError::Unavailable)?;
        let signer = Signer {
            chain: self.kept.trust.anchor().chain(),
            handle: session.identity.handle,
            purpose: session.identity.purpose,
        };
        let sign = |(order, code): &(Order, OutcomeCode)| {
            let answered = Answered {
                org: self.kept.org,
                device: signer.handle,
                server: server.handle,
                order: *order,
                code: *code,
                height: self.kept.trust.floor().height,
            };
            Ok(Outcome {
                order: order.id,
                code: *code,
                signature: signer.sign(key, &answered.text())?,
            })
        };
        self.outcomes.iter().map(sign).collect()
    }

    fn make_key(&mut self) {
        self.making = true;
        self.push(Step::MakeKey);
    }

    /// Puts the succession on the ledger: both keys sign, the server carries it.
    fn succeed<K: KeyRing>(&mut self, keys: &K, rng: &mut impl CryptoRng) {
        let current = self.kept.current;
        let (Some((_, old)), Some((id, new))) =
            (keys.key(current.slot), keys.key(current.slot.other()))
        else {
            self.event(Event::KeyMissing(current.slot.other()));
            self.fail(rng);
            return;
        };
        let chain = self.kept.trust.anchor().chain();
        let succession = Succession {
            chain,
            org: self.kept.org,
            old: current.handle,
            old_purpose: current.purpose,
            moves: self.kept.moves,
            new: NewKey::new(
                id,
                crate::keystore::KeyStore::public_keys(new),
                &chain,
                &self.kept.org,
            ),
        };
        let mut transaction = [0; TRANSACTION_LEN_MAX];
        match succession.write(old, new, &mut transaction) {
            Ok(len) => {
                let transaction = transaction.get(..len).unwrap_or_default();
                self.ask(Asked::Succeed, &Ask::Succeed(transaction), rng);
            }
            Err(error) => {
                self.event(Event::KeyStore(error));
                self.fail(rng);
            }
        }
    }

    /// Seals a request and sends it. Before a session's first one the tripwire's next value is persisted.
    pub(super) fn ask(&mut self, asked: Asked, ask: &Ask<'_>, rng: &mut impl CryptoRng) {
        let hold = match ask {
            Ask::Poll(poll) => poll.hold_secs,
            _ => 0,
        };
        let until = self.answer_by(hold);
        let to_stranger = self.meets_stranger();
        let Phase::Session(session) = &mut self.phase else {
            return;
        };
        session.counter += 1;
        let linked = session.counter == 1 && !to_stranger;
        let fresh = linked && self.kept.pending.is_none();
        if fresh {
            let mut tag = [0; 16];
            rng.fill_bytes(&mut tag);
            self.kept.pending = Some(tag);
        }
        let request = Request {
            link: if linked { self.kept.link() } else { None },
            floor: self.kept.trust.floor(),
            ask: ask.clone(),
        };
        let sealed = seal_request(
            &session.keys,
            &session.id,
            session.counter,
            &request,
            &mut self.out,
        );
        debug_assert!(sealed.is_ok(), "a request is within its bounds");
        self.out_len = sealed.unwrap_or_default();
        session.flight = Some(Flight {
            asked,
            until,
            sends_left: SENDS_MAX - 1,
        });
        if fresh {
            self.push(Step::Persist);
        }
        self.push(Step::Send(until));
    }

    fn answer_by(&self, hold_secs: u16) -> Time {
        let secs = u64::from(self.settings.answer_secs) + u64::from(hold_secs);
        self.now.plus_ms(secs * 1000)
    }
}

/// A time of 90 to 110 per cent of `ms`, so that a fleet does not come all at once.
pub(super) fn jitter(rng: &mut impl CryptoRng, ms: u64) -> u64 {
    let tenth = ms / 10;
    let span = tenth.saturating_mul(2).saturating_add(1);
    (ms - tenth).saturating_add(rng.next_u64() % span)
}
