//! The machine: inputs in, outputs out.

mod answers;
mod apply;
mod freshness;
mod owner;
mod talk;
mod trial;

use core::fmt;

use arrayvec::{ArrayString, ArrayVec};
use rand_core::CryptoRng;

use super::outbox::{Event, Gate, Output, ProvenRelease, SignedReceipt};
use super::trust::TrustError;
use super::{Identity, Kept, KeyRing, Slot, URL_LEN_MAX};
use crate::id::{Digest, Handle, KusabiId, Nonce, SessionId};
use crate::keystore::{KeyStoreError, Seed};
use crate::protocol::frame::FrameError;
use crate::protocol::hello::LABEL_LEN_MAX;
use crate::protocol::noise::Initiator;
use crate::protocol::reply::{ORDERS_MAX, Order};
use crate::protocol::request::{
    Facts, Freshness, OUTCOMES_MAX, Outcome, OutcomeCode, PART_LEN_MAX,
};
use crate::protocol::seal::SessionKeys;
use crate::protocol::{REQUEST_LEN_MAX, Time};
use crate::receipt::Heard;
use crate::suite::{Purpose, Suite};
use freshness::Standing;
use trial::Candidate;

/// Who makes the device key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyOrigin {
    /// The device.
    #[default]
    Device,
    /// The server, for devices without entropy (the paper's way).
    Server,
}

/// How a device behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who makes the device key at activation.
    pub key_origin: KeyOrigin,
    /// Time between polls unless the server says otherwise, in seconds; jittered by a tenth.
    pub poll_secs: u32,
    /// How long the server may hold a poll back, in seconds; 0: not at all.
    pub hold_secs: u16,
    /// After so long without growth of the ledger the device is stale, in seconds: ten heartbeats.
    pub stale_after_secs: u32,
    /// How long a session is used, in seconds. Each session springs the tripwire once.
    pub session_secs: u32,
    /// How long an answer may take, in seconds (a held poll: besides its hold).
    pub answer_secs: u16,
    /// Token of an enrolment.
    pub token: ArrayVec<u8, 64>,
    /// Label of an enrolment.
    pub label: ArrayString<LABEL_LEN_MAX>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key_origin: KeyOrigin::Device,
            poll_secs: 1800,
            hold_secs: 0,
            stale_after_secs: 600,
            session_secs: 3600,
            answer_secs: 20,
            token: ArrayVec::new(),
            label: ArrayString::new(),
        }
    }
}

/// Something that happened to the device.
#[derive(Debug)]
pub enum Input<'a> {
    /// Time has passed.
    Tick,
    /// The answer to the last request; decrypted where it lies.
    Answer(&'a mut [u8]),
    /// The last request failed on its way; it may have arrived nevertheless.
    Lost,
    /// The key that was to be made or stored lies in its slot, with its ID, and survives a power cut.
    KeyMade,
    /// Poll now, and be answered at once. A wait after failures ends.
    Poll,
    /// What the device runs.
    Facts(Facts),
    /// Replace the device's key.
    Rotate,
    /// So many addresses can be reached from now on, at most [`ADDRESSES_MAX`](super::ADDRESSES_MAX); never fewer than before. A
    /// device that knows no server of its owner's tries the last one next: it is what it was told of.
    Reach(usize),
    /// A step of an update is next and needs the ledger's word: the reboot after an installation, the commit after a
    /// self-test.
    Ready {
        /// Which step.
        gate: Gate,
        /// Which release.
        digest: Digest,
    },
    /// What became of an order. It is told with the next poll, signed, and again until a server's receipt comes.
    Outcome {
        /// The order.
        order: Order,
        /// What.
        code: OutcomeCode,
    },
    /// A part of a report, at most 2,048 bytes.
    Report {
        /// The order's nonce.
        nonce: [u8; 32],
        /// Length of the whole report, in bytes.
        total: u32,
        /// Where this part begins.
        offset: u32,
        /// The part.
        part: &'a [u8],
    },
}

/// Why an input was refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// The answer has no form of the protocol.
    Frame(FrameError),
    /// No request is waiting for such an answer.
    Unexpected,
    /// The answer was not made by the server, or not for this attempt or request, or was changed on its way.
    Unauthentic,
    /// The server made the answer, but it is none to what was asked.
    Answer,
    /// The answer asks to believe what is not proven.
    Trust(TrustError),
    /// The server's key is not (any more) that of a `ps` of this organisation.
    NoServer,
    /// A private key did not do its part.
    KeyStore(KeyStoreError),
    /// The input does not fit: a key that nobody asked for, a part that is too long, too many jobs.
    Misuse,
}

impl DeviceError {
    /// The error's number, the same in logs, C and the API.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::Frame(error) => *error as u16,
            Self::Unexpected => 0x1101,
            Self::Unauthentic => 0x1102,
            Self::Answer => 0x1103,
            Self::Trust(_) => 0x1104,
            Self::NoServer => 0x1105,
            Self::KeyStore(error) => *error as u16,
            Self::Misuse => 0x1106,
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame(error) => return write!(f, "{error}"),
            Self::Unexpected => "an answer came that nothing waits for",
            Self::Unauthentic => "the answer was not made by the server for this request, or changed on its way",
            Self::Answer => "the server answered something else than what was asked",
            Self::Trust(error) => return write!(f, "the server's answer is not proven: {error}"),
            Self::NoServer => "the ledger does not hold this server's key as an active one of the device's organisation",
            Self::KeyStore(error) => return write!(f, "{error}"),
            Self::Misuse => "the device cannot take this input now",
        })
    }
}

impl core::error::Error for DeviceError {}

impl From<FrameError> for DeviceError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<TrustError> for DeviceError {
    fn from(error: TrustError) -> Self {
        Self::Trust(error)
    }
}

/// First wait after a failure, doubled with each further one up to [`BACKOFF_MS_MAX`].
const BACKOFF_MS: u64 = 5_000;
const BACKOFF_MS_MAX: u64 = 1_800_000;
/// First wait after the ledger has rejected a succession that a proof shows undone, doubled with each further one. A key that
/// took another's place a moment ago has to rest first (spec/ledger.md, "Rest").
const REJECTED_MS: u64 = 60_000;
/// Wait between two polls that the server may hold back, when the first one brought something new or was held back.
const HELD_MS: u64 = 200;
/// The same when it was neither: a server that does not hold, or says the same again and again, is not asked without end.
const UNHELD_MS: u64 = 10_000;
/// How often a request is sent before the session is given up.
const SENDS_MAX: u8 = 3;
/// Most outputs of one input.
const STEPS_MAX: usize = 12;
/// Most jobs at a time: one for each order that a server may give, and the gates of the update that is under way.
const JOBS_MAX: usize = ORDERS_MAX + 2;
/// How many orders are remembered, so that a repeated one is not done twice: those of this session and of the one before.
const ORDERS_SEEN: usize = 2 * ORDERS_MAX;

/// A device.
pub struct Device {
    settings: Settings,
    kept: Kept,
    facts: Facts,
    phase: Phase,
    /// Index of the address that is used.
    server: usize,
    /// A server's key for that address, proven but not adopted: it is on trial.
    candidate: Option<Candidate>,
    /// Something is to be done that only the owner may want, or somebody says that there is another one: the device looks at
    /// its own record first.
    doubts: bool,
    /// A server has said so in this session.
    told_moved: bool,
    /// The address of the new owner's that was handed out last, or is to be.
    hint: ArrayString<URL_LEN_MAX>,
    /// Whether it is to be handed out as soon as the record shows the move.
    hint_due: bool,
    /// The address that was named last.
    named: Option<NamedAddress>,
    /// How often in this round of its addresses the device has turned to one that it was told of just now.
    detours: u8,
    /// Where the round goes on after such a turn.
    resume: Option<usize>,
    /// Whether the next handshake is made as the key that is to follow.
    as_next: bool,
    /// A key is being made in the other slot.
    making: bool,
    /// The transaction of the succession was sent, with an answer.
    submitted: bool,
    /// How often in a row the ledger has rejected the succession.
    rejections: u32,
    /// A succession that was rejected is not tried again before.
    succeed_at: Time,
    /// An enrolment was answered with "registered".
    enrolled: bool,
    rotate: Option<u64>,
    jobs: ArrayVec<Job, JOBS_MAX>,
    report: Option<Report>,
    /// What the report that is being sent begins with, as the server's receipt will name it.
    reported: Option<Heard>,
    outcomes: ArrayVec<(Order, OutcomeCode), OUTCOMES_MAX>,
    /// What the poll in flight tells of them.
    told: ArrayVec<Outcome, OUTCOMES_MAX>,
    /// The receipt that came last.
    receipt: Option<SignedReceipt>,
    /// The last orders since the start, and what became of them: one that comes again is answered again, not done again.
    seen: ArrayVec<(Order, Option<OutcomeCode>), ORDERS_SEEN>,
    poll_at: Time,
    /// Someone waits for the next poll's answer: the server is not to hold it back.
    prompt: bool,
    /// A poll was asked for while one was in flight, whose answer may be older than the wish.
    poll_again: bool,
    /// No request before this time.
    pause: Time,
    /// No part of a report before this time: whoever reports too often goes on polling.
    report_at: Time,
    /// Whether what it was shown is of now.
    standing: Standing,
    failures: u32,
    out: [u8; REQUEST_LEN_MAX],
    out_len: usize,
    steps: ArrayVec<Step, STEPS_MAX>,
    now: Time,
}

/// Where the device stands with its server.
#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator for a box, and one of them is held"
)]
enum Phase {
    Idle,
    Greeting {
        initiator: Initiator,
        until: Time,
        /// A cookie was used already.
        retried: bool,
    },
    Seeking {
        until: Time,
    },
    Session(Session),
}

struct Session {
    id: SessionId,
    keys: SessionKeys,
    /// Handshake hash: an inventory is signed for this session.
    handshake: [u8; 32],
    counter: u64,
    opened: Time,
    /// As which key it was opened.
    identity: Identity,
    /// The server's record is proven, as one of the device's owner.
    proven: bool,
    /// A freshness receipt has come in it.
    vouched: bool,
    /// The record is another owner's than the server's, which is asked where that one's servers are.
    asks_where: bool,
    flight: Option<Flight>,
}

/// An address that a server named, in its place among the others.
#[derive(Clone, Copy)]
struct NamedAddress {
    at: usize,
    /// It was asked since.
    asked: bool,
}

/// A request that waits for its answer.
#[derive(Clone, Copy)]
struct Flight {
    asked: Asked,
    until: Time,
    sends_left: u8,
}

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// For a receipt for this nonce, which was made at this time.
    Fresh { nonce: Nonce, at: Time },
    /// For the proof of the server's record.
    Server,
    /// For the proof of the device's own record.
    Own,
    /// Where the owner's servers are.
    Where,
    /// To put the succession on the ledger.
    Succeed,
    /// For the proof of the next key's record.
    Successor,
    /// For a key.
    Key,
    /// For what this job needs.
    Job(Job),
    /// To take a part of a report.
    Report,
    /// For orders, at this time, and the server may hold it back.
    Poll { at: Time, held: bool },
}

/// Something that needs a proof.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    Update {
        gate: Gate,
        digest: Digest,
        order: u64,
        repair: bool,
    },
    Adopt {
        server: Handle,
        order: u64,
    },
}

struct Report {
    nonce: [u8; 32],
    total: u32,
    offset: u32,
    part: ArrayVec<u8, PART_LEN_MAX>,
}

/// An output to be given.
enum Step {
    Persist,
    MakeKey,
    StoreKey(KusabiId, Seed),
    Wipe(Slot),
    Send(Time),
    Install(ProvenRelease, u64, bool),
    Reboot(ProvenRelease),
    Commit(ProvenRelease),
    Receipt,
    Hint,
    Event(Event),
}

impl Device {
    /// A device that starts with what it kept.
    #[must_use]
    pub fn start(settings: Settings, kept: Kept, now: Time) -> Self {
        let standing = Standing::new(now, settings.stale_after_secs);
        let mut device = Self {
            settings,
            facts: Facts::default(),
            phase: Phase::Idle,
            server: 0,
            candidate: None,
            doubts: false,
            told_moved: false,
            hint: ArrayString::new(),
            hint_due: false,
            named: None,
            detours: 0,
            resume: None,
            as_next: false,
            making: false,
            submitted: false,
            rejections: 0,
            succeed_at: Time::from_ms(0),
            enrolled: false,
            rotate: None,
            jobs: ArrayVec::new(),
            report: None,
            reported: None,
            outcomes: ArrayVec::new(),
            told: ArrayVec::new(),
            receipt: None,
            seen: ArrayVec::new(),
            poll_at: now,
            prompt: false,
            poll_again: false,
            pause: now,
            report_at: now,
            standing,
            failures: 0,
            out: [0; REQUEST_LEN_MAX],
            out_len: 0,
            steps: ArrayVec::new(),
            now,
            kept,
        };
        if device.kept.next.is_none() {
            // What lies in the other slot counts no more, or does not count yet and was not named before the power went.
            device.push(Step::Wipe(device.kept.current.slot.other()));
        }
        device
    }

    /// What it keeps.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Whether it installs and adopts nothing, for nothing shows that what it is shown is of now.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.standing.is_stale()
    }

    /// Whether it knows that what it was shown is of now.
    #[must_use]
    pub const fn freshness(&self) -> Freshness {
        self.standing.freshness()
    }

    /// How many outcomes of orders no server has heard yet.
    #[must_use]
    pub const fn untold(&self) -> usize {
        self.outcomes.len()
    }

    /// Handshake hash of the open session: what a signed inventory is made for (spec/firmware.md, "Inventory statement").
    #[must_use]
    pub const fn handshake(&self) -> Option<&[u8; 32]> {
        match &self.phase {
            Phase::Session(session) => Some(&session.handshake),
            _ => None,
        }
    }

    /// Takes an input; the outputs of the last one have been done.
    ///
    /// # Errors
    /// [`DeviceError`]; nothing has changed then.
    pub fn handle<K: KeyRing>(
        &mut self,
        now: Time,
        keys: &K,
        rng: &mut impl CryptoRng,
        input: Input<'_>,
    ) -> Result<(), DeviceError> {
        debug_assert!(
            self.steps.is_empty() || matches!(input, Input::Tick),
            "outputs were left undone"
        );
        // A clock that went back stands still.
        self.now = self.now.max(now);
        match input {
            Input::Tick => self.expire(rng),
            Input::Answer(bytes) => self.answered(keys, rng, bytes)?,
            Input::Lost => self.lost(rng),
            Input::KeyMade => self.key_made(keys)?,
            Input::Poll => {
                self.poll_at = self.now;
                // Whoever asks knows more than a wait does: that the server is back, say.
                self.pause = self.now;
                self.prompt = true;
                self.give_way();
                self.poll_again = self.is_polling();
            }
            Input::Facts(facts) => self.facts = facts,
            Input::Rotate => self.rotate = Some(self.rotate.unwrap_or_default()),
            Input::Reach(addresses) => self.reach(addresses, rng),
            Input::Ready { gate, digest } => {
                let job = Job::Update {
                    gate,
                    digest,
                    order: 0,
                    repair: false,
                };
                self.jobs.try_push(job).map_err(|_| DeviceError::Misuse)?;
                self.doubts = true;
            }
            Input::Outcome { order, code } => self.outcome(order, code),
            Input::Report {
                nonce,
                total,
                offset,
                part,
            } => {
                if offset == 0 {
                    self.reported = Heard::report(part);
                    self.doubts = true;
                }
                self.report = Some(Report {
                    nonce,
                    total,
                    offset,
                    part: part.try_into().map_err(|_| DeviceError::Misuse)?,
                });
            }
        }
        self.go_on(keys, rng);
        Ok(())
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Output<'_> {
        let Some(step) = self.steps.pop_at(0) else {
            return Output::Wait(self.wake());
        };
        match step {
            Step::Persist => Output::Persist(&self.kept),
            Step::MakeKey => Output::MakeKey {
                slot: self.kept.current.slot.other(),
                suite: self.suite(),
            },
            Step::StoreKey(id, seed) => Output::StoreKey {
                slot: self.kept.current.slot.other(),
                suite: self.suite(),
                id,
                seed,
            },
            Step::Wipe(slot) => Output::Wipe(slot),
            Step::Send(answer_by) => Output::Send {
                server: self.server,
                request: self.out.get(..self.out_len).unwrap_or_default(),
                answer_by,
            },
            Step::Install(release, order, repair) => Output::Install {
                release,
                order,
                repair,
            },
            Step::Reboot(release) => Output::Reboot(release),
            Step::Commit(release) => Output::Commit(release),
            Step::Receipt => match &self.receipt {
                Some(receipt) => Output::Receipt(receipt),
                None => Output::Wait(self.wake()),
            },
            Step::Hint => Output::Hint(&self.hint),
            Step::Event(event) => Output::Event(event),
        }
    }

    /// When the device wants to be woken.
    fn wake(&self) -> Time {
        let work = if self.has_work() {
            self.pause
        } else {
            let mut next = self.poll_at;
            if self.is_resting() {
                next = next.min(self.succeed_at);
            }
            if self.report.is_some() {
                next = next.min(self.report_at);
            }
            next.max(self.pause)
        };
        match &self.phase {
            // Waiting for a key: only its coming leads on.
            _ if self.making => self.now.plus_ms(BACKOFF_MS_MAX),
            Phase::Idle => work,
            Phase::Greeting { until, .. } | Phase::Seeking { until } => *until,
            Phase::Session(session) => session.flight.map_or(work, |flight| flight.until),
        }
    }

    /// Whether a succession waits until it may be tried again. A factory key has nothing else to do meanwhile.
    fn is_resting(&self) -> bool {
        self.kept.next.is_some()
            && self.kept.current.purpose != Purpose::Pre
            && self.now < self.succeed_at
    }

    /// Whether there is something to do before the next poll.
    fn has_work(&self) -> bool {
        !self.kept.registered
            || (self.kept.next.is_some() && !self.is_resting())
            || self.kept.current.purpose == Purpose::Pre
            || self.wants_new_key()
            || self.doubts
            || !self.jobs.is_empty()
            || self.is_report_due()
    }

    /// Whether the device's key is to be replaced, and nothing is done for it yet.
    fn wants_new_key(&self) -> bool {
        let wanted = self.rotate.is_some() || self.kept.is_bound_elsewhere();
        wanted && self.kept.next.is_none()
    }

    /// Whether there is a part of a report that may be sent.
    fn is_report_due(&self) -> bool {
        self.report.is_some() && self.now >= self.report_at
    }

    fn suite(&self) -> Suite {
        self.peer()
            .map_or(Suite::Curve25519, |peer| peer.server.keys.suite())
    }

    fn push(&mut self, step: Step) {
        let pushed = self.steps.try_push(step);
        debug_assert!(
            pushed.is_ok(),
            "an input has more outputs than there is room for"
        );
    }

    fn event(&mut self, event: Event) {
        self.push(Step::Event(event));
    }

    /// What the last poll told is not told again.
    fn forget_told(&mut self) {
        let told = core::mem::take(&mut self.told);
        let is_told = |order: &Order, code: OutcomeCode| {
            told.iter()
                .any(|told| (told.order, told.code) == (order.id, code))
        };
        self.outcomes.retain(|(order, code)| !is_told(order, *code));
    }

    /// Remembers what became of an order, to be told with the next poll. A server gives no more orders than there is room for here
    /// (`Window`); of too many the oldest is forgotten.
    fn outcome(&mut self, order: Order, code: OutcomeCode) {
        if order.id == 0 {
            return;
        }
        if let Some((_, ended)) = self.seen.iter_mut().find(|(seen, _)| *seen == order) {
            *ended = Some(code);
        }
        self.outcomes.retain(|(known, _)| known.id != order.id);
        if self.outcomes.is_full() {
            self.outcomes.remove(0);
        }
        self.outcomes.push((order, code));
    }

    /// The next key lies in its slot: from now on the state names it.
    fn key_made<K: KeyRing>(&mut self, keys: &K) -> Result<(), DeviceError> {
        let slot = self.kept.current.slot.other();
        let (id, _) = keys
            .key(slot)
            .filter(|_| self.making)
            .ok_or(DeviceError::Misuse)?;
        self.making = false;
        self.submitted = false;
        self.rejections = 0;
        self.succeed_at = self.now;
        self.kept.next = Some(Identity {
            handle: id.handle(),
            purpose: Purpose::Act,
            slot,
        });
        // Nothing that names the new key is sent before this is stored.
        self.push(Step::Persist);
        Ok(())
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("kept", &self.kept)
            .field("server", &self.server)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}
