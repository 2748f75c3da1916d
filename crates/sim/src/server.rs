//! Servers of one organisation: `kusabi-core`'s end of the protocol, a database in memory that they share, and the ledger.

use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use kusabi_core::freshness::Batch;
use kusabi_core::id::{Digest, Handle, KusabiId, Nonce, OrgId, StateKey};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::protocol::frame::{AnswerFrame, Problem, RequestFrame};
use kusabi_core::protocol::hello::{Enrolment, Hello};
use kusabi_core::protocol::reply::{Answer, Order, Reply, SealedProblem, Task};
use kusabi_core::protocol::request::{Ask, Freshness, Outcome, OutcomeCode, Request, Subject};
use kusabi_core::protocol::succession::NewKey;
use kusabi_core::protocol::tripwire::{Row, Verdict, judge, judge_ended_key};
use kusabi_core::protocol::{Floor, Steps, Time};
use kusabi_core::receipt::{Heard, Receipt, Signer, Speaker};
use kusabi_core::row::{Record, Status};
use kusabi_core::server::door::{Admission, Door};
use kusabi_core::server::{
    Admitted, Greeting, Incoming, Limits, NotAdmitted, Received, Refusal, ServerKey, Sessions,
    redirect,
};
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::tx::{Action, Entry, Transaction};
use kusabi_ledger::testing::TestKey;

use crate::ledger::Ledger;
use crate::random::Random;

/// A device as the servers know it.
pub type DeviceId = usize;

/// Something that the owner is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Which device.
    pub device: DeviceId,
    /// What its link said.
    pub verdict: Verdict,
}

/// What a server does with receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Receipts {
    /// Signs what it heard.
    #[default]
    Given,
    /// Gives none.
    Withheld,
    /// Signs something else.
    Forged,
    /// Refuses what is told, and writes none of it.
    Refused,
}

/// What a server does with the nonces of devices.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Courier {
    /// Carries them to the validators, and back comes what those say.
    #[default]
    Honest,
    /// Says that there is no receipt.
    Withholds,
    /// Says that it cannot.
    Refuses,
    /// Answers with these, and a true proof: what another nonce got, or what somebody else signed.
    Answers {
        /// The receipt.
        receipt: Vec<u8>,
        /// The branch.
        branch: Vec<u8>,
    },
}

/// What a server does with devices that have come to another owner.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Custody {
    /// Says so.
    #[default]
    Honest,
    /// Goes on as if they were its organisation's: welcomes them, and gives them orders.
    Kept,
    /// The same, and shows the device's record as it stood before.
    Dated(Vec<u8>),
    /// Says of its own organisation's devices that they have another owner.
    Forged,
}

/// What a device told of an order; its signature was good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The order's ID.
    pub order: u64,
    /// What became of it.
    pub code: OutcomeCode,
}

/// What the servers share: ledger and database.
#[derive(Debug)]
pub struct Shop {
    /// The ledger.
    pub ledger: Ledger,
    /// Which device of an organisation a key belongs to.
    pub devices: BTreeMap<(OrgId, Handle), DeviceId>,
    /// The tripwire's rows.
    pub rows: BTreeMap<DeviceId, Row>,
    /// What was seen.
    pub alarms: Vec<Alarm>,
    /// What a device is to do.
    pub orders: BTreeMap<DeviceId, Vec<Order>>,
    /// What became of orders.
    pub outcomes: Vec<Told>,
    /// Whether devices get receipts.
    pub receipts: Receipts,
    /// The ledger as its validators have it, where the servers show an older state.
    pub present: Option<Ledger>,
    /// The ledger stands still: its validators sign no receipt.
    pub stands_still: bool,
    /// Receipts that were asked for.
    pub nonces: u64,
    /// What the last one was answered with: receipt and branch.
    pub carried: Option<(Vec<u8>, Vec<u8>)>,
    /// What each device said last of whether it knows the present.
    pub freshness: BTreeMap<DeviceId, Freshness>,
    /// Reports, by device.
    pub reports: BTreeMap<DeviceId, Vec<u8>>,
    /// No report is taken before this time: there have been too many.
    pub reports_from: Time,
    /// Keys that asked to be registered, with their labels.
    pub enrolments: BTreeMap<Handle, (NewKey, String)>,
    /// The token that enrolments must have.
    pub token: Vec<u8>,
    /// Whether new enrolments are registered at once.
    pub registers: bool,
    /// Polls that were answered.
    pub polls: u64,
    /// Handshakes that led to a session.
    pub handshakes: u64,
    /// Keys that took the place of another on the ledger.
    pub successions: u64,
    /// When a device is to poll again, in seconds.
    pub poll_secs: u32,
    /// The database has no room: nothing is written, so nothing is done.
    pub full: bool,
}

impl Shop {
    /// An empty database on a ledger.
    #[must_use]
    pub const fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            devices: BTreeMap::new(),
            rows: BTreeMap::new(),
            alarms: Vec::new(),
            orders: BTreeMap::new(),
            outcomes: Vec::new(),
            receipts: Receipts::Given,
            present: None,
            stands_still: false,
            nonces: 0,
            carried: None,
            freshness: BTreeMap::new(),
            reports: BTreeMap::new(),
            reports_from: Time::from_ms(0),
            enrolments: BTreeMap::new(),
            token: Vec::new(),
            registers: false,
            polls: 0,
            handshakes: 0,
            successions: 0,
            poll_secs: 1800,
            full: false,
        }
    }

    /// The device of a key, found by its predecessors as a rebuilt server does.
    pub fn device(&mut self, org: OrgId, handle: &Handle) -> DeviceId {
        self.find(org, handle).unwrap_or_else(|first| {
            let new = self.devices.len();
            self.devices.insert((org, first), new);
            new
        })
    }

    /// The device of a key, or the first key of one that the organisation's servers have not met.
    fn find(&self, org: OrgId, handle: &Handle) -> Result<DeviceId, Handle> {
        let mut at = *handle;
        // A chain of keys is as long as the ledger is high, at most.
        for _ in 0..64 {
            if let Some(device) = self.devices.get(&(org, at)) {
                return Ok(*device);
            }
            match self
                .ledger
                .record(&at)
                .and_then(|record| record.predecessor())
            {
                Some(before) => at = before,
                None => break,
            }
        }
        Err(at)
    }
}

/// One server process.
#[derive(Debug)]
pub struct Server {
    /// Its `ps` key; replaced by an operator.
    pub key: TestKey,
    /// Whose it is.
    pub org: OrgId,
    /// Where it sends devices that are not its organisation's any more.
    pub hint: Option<&'static str>,
    /// Whether it is one of before devices asked where their owner's servers are.
    pub elder: bool,
    /// What it does as to a device's owner.
    pub custody: Custody,
    /// Its sessions.
    pub sessions: Sessions,
    /// Its door.
    pub door: Door,
    /// How many handshakes it pretends to be computing.
    pub load: u32,
    /// How long the last answer is held back, in seconds: that of a poll which may wait, when there is no order.
    pub hold_secs: u16,
    /// What comes of nonces.
    pub courier: Courier,
    /// Why the last handshake was refused.
    pub refusal: Option<Refusal>,
}

impl Server {
    /// A server with a key of an organisation.
    #[must_use]
    pub fn new(key: TestKey, org: OrgId) -> Self {
        Self {
            key,
            org,
            hint: None,
            elder: false,
            custody: Custody::Honest,
            sessions: Sessions::new(Limits::default()),
            door: Door::new([5; 32], 10, 20),
            load: 0,
            hold_secs: 0,
            courier: Courier::Honest,
            refusal: None,
        }
    }

    /// The process is restarted: its sessions are gone.
    pub fn restart(&mut self) {
        self.sessions = Sessions::new(Limits::default());
    }

    /// Answers a request.
    pub fn answer(
        &mut self,
        shop: &mut Shop,
        now: Time,
        request: &[u8],
        rng: &mut Random,
    ) -> Vec<u8> {
        self.hold_secs = 0;
        let answer = match RequestFrame::decode(request) {
            Ok(RequestFrame::Hello {
                suite,
                cookie,
                noise,
            }) => match self.door.admit(self.load, now, b"device", cookie.as_ref()) {
                Admission::Come => self
                    .greet(shop, now, suite, cookie.as_ref(), noise, rng)
                    .map_err(|refusal| {
                        self.refusal = Some(refusal);
                        refusal.problem()
                    }),
                Admission::Retry(cookie) => return frame(&AnswerFrame::Retry(cookie)),
                Admission::Busy => Err(Problem::Busy),
            },
            Ok(RequestFrame::Message {
                session,
                counter,
                sealed,
            }) => match self.sessions.receive(now, &session, counter, sealed) {
                Ok(Received::Repeat(answer)) => Ok(answer),
                Ok(Received::Working) => Err(Problem::Busy),
                Ok(Received::New(incoming)) => self.serve(shop, now, &incoming, rng),
                Err(problem) => Err(problem),
            },
            Ok(RequestFrame::Seek { epoch, .. }) => {
                let proof = shop.ledger.prove(&StateKey::record(&self.key.handle));
                let steps = shop.ledger.steps_from(epoch).iter().map(Vec::as_slice);
                Ok(redirect(steps, self.key.handle, &proof))
            }
            Err(_) => Err(Problem::Malformed),
        };
        answer.unwrap_or_else(|problem| {
            frame(&AnswerFrame::Problem {
                problem,
                wait_secs: 0,
            })
        })
    }

    fn greet(
        &mut self,
        shop: &mut Shop,
        now: Time,
        suite: Suite,
        cookie: Option<&[u8; 16]>,
        noise: &[u8],
        rng: &mut Random,
    ) -> Result<Vec<u8>, Refusal> {
        let key = ServerKey {
            chain: shop.ledger.world.chain,
            handle: self.key.handle,
            key: &self.key.key,
        };
        let greeting = Greeting::read(&key, suite, cookie, noise, rng)?;
        let handle = match greeting.hello()? {
            Hello::Session { handle, .. } => handle,
            Hello::Enrol { .. } => {
                let ask = greeting.enrolment()?;
                let status = if *ask.token == shop.token {
                    enrol(shop, &ask.entry, &ask.label)
                } else {
                    Enrolment::Refused
                };
                return ask.answer(status, 30).map_err(|_| Refusal::Malformed);
            }
        };
        let (record, owner) = self.regards(shop.ledger.record(&handle));
        let here = shop.find(self.org, &handle).is_ok();
        let accepted = greeting.accept(record.as_ref(), &owner, here)?;
        let device = shop.device(self.org, &handle);
        let seen = shop.rows.get(&device).map_or(0, |row| row.version);
        let proof = shop.ledger.prove(&StateKey::record(&self.key.handle));
        let (frame, opened) = accepted
            .welcome(Some(&proof), rng)
            .map_err(|_| Refusal::Malformed)?;
        self.sessions.open(now, opened, seen);
        shop.handshakes += 1;
        Ok(frame)
    }

    /// A record as this server takes it, and whom for its owner: who keeps a device takes whoever owns it for itself, and nothing for
    /// revoked.
    fn regards(&self, record: Option<Record>) -> (Option<Record>, OrgId) {
        let keeps = matches!(self.custody, Custody::Kept | Custody::Dated(_));
        match record {
            Some(record) if keeps => {
                let taken = Record::register(
                    record.purpose(),
                    *record.keys(),
                    record.owner(),
                    record.registered(),
                    record.binding(),
                    Digest::ZERO,
                );
                let revoked = record.status() == Status::Revoked;
                (Some(if revoked { taken } else { record }), record.owner())
            }
            record => (record, self.org),
        }
    }

    fn serve(
        &mut self,
        shop: &mut Shop,
        now: Time,
        incoming: &Incoming,
        rng: &mut Random,
    ) -> Result<Vec<u8>, Problem> {
        let (record, owner) = self.regards(shop.ledger.record(incoming.handle()));
        let admitted = match incoming.admit(record.as_ref(), &owner) {
            Ok(admitted) => admitted,
            Err(NotAdmitted::Ended) => {
                self.sessions.end(incoming.handle());
                return Err(Problem::UnknownSession);
            }
            Err(_) => {
                let answer = problem(SealedProblem::NotAllowed);
                return self.reply(shop, now, incoming, answer, None);
            }
        };
        let floor = admitted.request().floor;
        if self.elder && admitted.request().ask == Ask::Where {
            return Err(Problem::Malformed);
        }
        if shop.full {
            let answer = problem(SealedProblem::Unavailable);
            return self.reply(shop, now, incoming, answer, Some(floor));
        }
        let asks = &admitted.request().ask;
        let of_owner = match &self.custody {
            _ if matches!(asks, Ask::Prove(_) | Ask::Fresh(_)) => false,
            Custody::Forged => true,
            _ => !admitted.is_owned(),
        };
        if of_owner {
            let answer = Made::Other(Answer::Moved { hint: self.hint });
            return self.reply(shop, now, incoming, answer, Some(floor));
        }
        let device = shop.device(self.org, incoming.handle());
        if admitted.is_owned()
            && let Some(link) = &admitted.request().link
        {
            let judge = match admitted.is_in_force() {
                true => judge,
                false => judge_ended_key,
            };
            let judgement = judge(shop.rows.get(&device), incoming.seen(), link);
            if let Some(row) = judgement.row {
                shop.rows.insert(device, row);
            }
            let verdict = judgement.verdict;
            if matches!(verdict, Verdict::Fork | Verdict::UnknownHead) {
                shop.alarms.push(Alarm { device, verdict });
            }
            if !judgement.is_served() {
                let answer = problem(if verdict == Verdict::Fork {
                    SealedProblem::Fork
                } else {
                    SealedProblem::StaleLink
                });
                return self.reply(shop, now, incoming, answer, Some(floor));
            }
        }
        if pack(shop, floor, &mut vec![0; STEPS_ROOM]).1 {
            // Nothing is done for a device that has further to walk.
            let answer = Made::Other(Answer::Pending { wait_secs: 0 });
            return self.reply(shop, now, incoming, answer, Some(floor));
        }
        let answer = match (&self.custody, asks) {
            (Custody::Dated(proof), Ask::Prove(Subject::Record(handle)))
                if handle == incoming.handle() =>
            {
                Made::Proof(proof.clone())
            }
            (_, Ask::Fresh(nonce)) => fresh(shop, &self.courier, &self.key, *nonce),
            _ => work(shop, device, self, now, &admitted, rng),
        };
        if let (Ask::Poll(poll), Made::Orders(orders, ..)) = (&admitted.request().ask, &answer)
            && orders.is_empty()
        {
            self.hold_secs = poll.hold_secs;
        }
        self.reply(shop, now, incoming, answer, Some(floor))
    }

    fn reply(
        &mut self,
        shop: &mut Shop,
        now: Time,
        incoming: &Incoming,
        made: Made,
        floor: Option<Floor>,
    ) -> Result<Vec<u8>, Problem> {
        let mut buffer = vec![0; STEPS_ROOM];
        let steps = match floor {
            Some(floor) => pack(shop, floor, &mut buffer).0,
            None => Steps::NONE,
        };
        let reply = Reply {
            steps,
            answer: match &made {
                Made::Proof(proof) => Answer::Proof(proof),
                // Steps first: the receipt is one of the epoch to which they lead.
                Made::Fresh { .. } if !steps.is_empty() => Answer::Pending { wait_secs: 0 },
                Made::Fresh {
                    receipt,
                    branch,
                    proof,
                } => Answer::Fresh {
                    receipt,
                    branch,
                    proof,
                },
                Made::Orders(orders, checkpoint, receipt) => Answer::Orders {
                    next_poll_secs: shop.poll_secs,
                    orders: orders.clone(),
                    checkpoint: checkpoint.as_deref(),
                    receipt: *receipt,
                },
                Made::Other(answer) => answer.clone(),
            },
        };
        self.sessions.answer(now, incoming, &reply)
    }
}

/// What steps may take of a reply.
const STEPS_ROOM: usize = 8_000;

/// As many steps as fit, and whether some do not.
fn pack<'b>(shop: &Shop, floor: Floor, buffer: &'b mut [u8]) -> (Steps<'b>, bool) {
    let all = shop.ledger.steps_from(floor.epoch);
    let steps = Steps::pack(all.iter().map(Vec::as_slice), STEPS_ROOM, buffer);
    let left_out = steps.len() < all.len();
    (steps, left_out)
}

enum Made {
    Proof(Vec<u8>),
    Fresh {
        receipt: Vec<u8>,
        branch: Vec<u8>,
        proof: Vec<u8>,
    },
    Orders(ArrayVec<Order, 4>, Option<Vec<u8>>, Option<Receipt>),
    Other(Answer<'static>),
}

fn problem(problem: SealedProblem) -> Made {
    Made::Other(Answer::Problem {
        problem,
        wait_secs: 1,
    })
}

/// Who the server is, as a signer.
fn signer(shop: &Shop, key: &TestKey) -> Signer {
    Signer {
        chain: shop.ledger.world.chain,
        handle: key.handle,
        purpose: Purpose::Ps,
    }
}

/// The server's receipt for what it heard.
fn receipt(
    shop: &Shop,
    from: &Speaker,
    key: &TestKey,
    now: Time,
    heard: &Heard,
) -> Option<Receipt> {
    let server = signer(shop, key);
    let receipt = heard.receipt(from, now.ms(), &server, &key.key);
    let receipt = receipt.expect("a key in memory signs");
    match shop.receipts {
        Receipts::Given => Some(receipt),
        Receipts::Withheld | Receipts::Refused => None,
        // The time is part of what is signed.
        Receipts::Forged => Some(Receipt {
            at_ms: receipt.at_ms + 1,
            ..receipt
        }),
    }
}

/// Takes what a device tells of its orders; what is not signed by it ends the simulation.
fn hear(
    shop: &mut Shop,
    device: DeviceId,
    server: &Server,
    admitted: &Admitted<'_>,
    outcomes: &[Outcome],
) {
    let org = server.org;
    let server = signer(shop, &server.key);
    let orders = shop.orders.entry(device).or_default();
    for outcome in outcomes {
        if let Some(order) = orders.iter().find(|order| order.id == outcome.order) {
            let answered = admitted.answered(outcome, *order, org, &server);
            assert!(answered.is_ok(), "{outcome:?} of {order:?}: {answered:?}");
        }
        shop.outcomes.push(Told {
            order: outcome.order,
            code: outcome.code,
        });
    }
    if shop.receipts != Receipts::Refused {
        orders.retain(|order| outcomes.iter().all(|outcome| outcome.order != order.id));
    }
}

fn work(
    shop: &mut Shop,
    device: DeviceId,
    server: &Server,
    now: Time,
    admitted: &Admitted<'_>,
    rng: &mut Random,
) -> Made {
    let (org, key) = (server.org, &server.key);
    let from = admitted.speaker(org);
    let Request { floor, .. } = admitted.request();
    let Some(ask) = admitted.ask() else {
        return problem(SealedProblem::Rejected);
    };
    match ask {
        Ask::Poll(poll) => {
            shop.polls += 1;
            shop.freshness.insert(device, poll.facts.freshness);
            hear(shop, device, server, admitted, &poll.outcomes);
            if shop.receipts == Receipts::Refused && !poll.outcomes.is_empty() {
                return problem(SealedProblem::NotAllowed);
            }
            let heard = Heard::outcomes(&poll.outcomes);
            let receipt = heard.and_then(|heard| receipt(shop, &from, key, now, &heard));
            let orders = shop.orders.entry(device).or_default();
            let orders = orders.iter().take(4).copied().collect();
            let newer = floor.height < shop.ledger.height();
            Made::Orders(orders, newer.then(|| shop.ledger.checkpoint()), receipt)
        }
        Ask::Prove(subject) => {
            let key = subject.state_key(&org);
            Made::Proof(shop.ledger.prove(&key))
        }
        Ask::Fresh(_) => unreachable!("it is the server's, not the shop's"),
        // It is this owner's.
        Ask::Where => problem(SealedProblem::NotAllowed),
        Ask::Succeed(bytes) => succeed(shop, org, device, admitted, bytes, rng),
        Ask::Key => {
            // Made, sent, and kept nowhere.
            let id = KusabiId::generate(rng);
            Made::Other(Answer::Key {
                id,
                seed: Seed::generate(rng),
            })
        }
        Ask::Report(_) if now < shop.reports_from => {
            let wait_ms = shop.reports_from.since_ms(now);
            Made::Other(Answer::Problem {
                problem: SealedProblem::Unavailable,
                wait_secs: u16::try_from(wait_ms.div_ceil(1000)).unwrap_or(u16::MAX),
            })
        }
        Ask::Report(part) => {
            let report = shop.reports.entry(device).or_default();
            if part.offset == 0 {
                report.clear();
            }
            if part.offset as usize != report.len() {
                return problem(SealedProblem::ReportOrder);
            }
            report.extend_from_slice(part.bytes);
            let offset = part.offset + part.bytes.len() as u32;
            let heard = (offset == part.total)
                .then(|| Heard::report(report).expect("a report begins with its statement"));
            let receipt = heard.and_then(|heard| receipt(shop, &from, key, now, &heard));
            Made::Other(Answer::Received { offset, receipt })
        }
    }
}

/// Carries a device's nonce to the validators, with one of its own beside it.
fn fresh(shop: &mut Shop, courier: &Courier, key: &TestKey, nonce: Nonce) -> Made {
    shop.nonces += 1;
    match courier {
        Courier::Honest if !shop.stands_still => {}
        Courier::Honest | Courier::Withholds => {
            return Made::Other(Answer::Pending { wait_secs: 1 });
        }
        Courier::Refuses => return problem(SealedProblem::Unavailable),
        Courier::Answers { receipt, branch } => {
            return Made::Fresh {
                receipt: receipt.clone(),
                branch: branch.clone(),
                proof: shop.ledger.prove(&StateKey::record(&key.handle)),
            };
        }
    }
    let batch = Batch::new(&[Nonce::new([7; 32]), nonce]).expect("two nonces");
    let branch = batch.branch(1);
    let validators = shop.present.as_mut().unwrap_or(&mut shop.ledger);
    let receipt = validators.freshness(Nonce::new(batch.root().to_bytes()));
    shop.carried = Some((receipt.clone(), branch.clone()));
    Made::Fresh {
        receipt,
        branch,
        proof: shop.ledger.prove(&StateKey::record(&key.handle)),
    }
}

/// Carries a succession to the ledger, if it is the session's own.
fn succeed(
    shop: &mut Shop,
    org: OrgId,
    device: DeviceId,
    admitted: &Admitted<'_>,
    bytes: &[u8],
    rng: &mut Random,
) -> Made {
    let Ok(own) = admitted.succession(bytes) else {
        return problem(SealedProblem::NotAllowed);
    };
    let new = *own.successor();
    let Ok(transaction) = Transaction::decode(own.transaction()) else {
        return problem(SealedProblem::NotAllowed);
    };
    if rng.chance(100) {
        // The ledger could not be reached; nothing was submitted.
        return problem(SealedProblem::Unavailable);
    }
    match shop.ledger.submit(transaction) {
        Ok(()) => {
            shop.devices.insert((org, new), device);
            shop.successions += 1;
            if rng.chance(200) {
                Made::Other(Answer::Pending { wait_secs: 2 })
            } else {
                Made::Proof(shop.ledger.prove(&StateKey::record(&new)))
            }
        }
        Err(_) => problem(SealedProblem::Rejected),
    }
}

fn enrol(shop: &mut Shop, key: &NewKey, label: &str) -> Enrolment {
    shop.enrolments.insert(key.handle, (*key, label.to_owned()));
    if shop.ledger.record(&key.handle).is_some() {
        return Enrolment::Registered;
    }
    if shop.registers {
        let entry = Entry::new(key.handle, Purpose::Act, key.keys, key.binding, None)
            .expect("a native entry");
        let action = Action::Register {
            org: shop.ledger.world.org,
            entries: vec![entry],
        };
        let transaction = shop.ledger.world.sign(action, &[&shop.ledger.world.writer]);
        shop.ledger.submit(transaction).expect("a new key");
        return Enrolment::Registered;
    }
    Enrolment::Waiting
}

fn frame(frame: &AnswerFrame<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let len = frame.encode(&mut bytes).expect("a short frame");
    bytes.truncate(len);
    bytes
}

/// An order with an ID.
#[must_use]
pub const fn order(id: u64, task: Task) -> Order {
    Order { id, task }
}

/// A digest from a number.
#[must_use]
pub const fn digest(number: u8) -> Digest {
    Digest::new([number; 32])
}

/// The public half of a seed's key.
#[must_use]
pub fn soft_key(suite: Suite, seed: &[u8; 32]) -> SoftKey {
    let key = SoftKey::from_seed(suite, &Seed::new(*seed)).expect("a suite whose keys are derived");
    debug_assert_eq!(key.public_keys().suite(), suite);
    key
}
