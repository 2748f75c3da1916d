//! Open sessions: bounded in number, answers kept for repeats.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize;

use super::Opened;
use crate::cbor::{decode_canonical, encoded_len};
use crate::crypto::{SignatureError, sha256};
use crate::id::{Handle, OrgId, SessionId};
use crate::protocol::Time;
use crate::protocol::frame::{FrameError, Problem, seal_reply};
use crate::protocol::reply::{Answer, Order, Reply, SealedProblem};
use crate::protocol::request::{Ask, Outcome, Request};
use crate::protocol::seal::{Direction, SessionKeys};
use crate::receipt::{Answered, Signer, Speaker};
use crate::row::{Record, Status};
use crate::suite::{Purpose, VerificationKey};
use crate::tx::{Action, Transaction};

/// Most sessions of one key that are in use.
const SESSIONS_OF_A_KEY_MAX: usize = 8;

/// How many sessions there may be and how long they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sessions in which nothing was heard yet: they cost an attacker one repeated hello each, so that they never
    /// push out the others.
    pub greeted_max: usize,
    /// Most sessions that are in use; the one unused for the longest time makes room.
    pub open_max: usize,
    /// How long a session may be unused, in milliseconds.
    pub idle_ms: u64,
    /// How long it may live, in milliseconds.
    pub age_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            greeted_max: 4_096,
            open_max: 100_000,
            idle_ms: 45 * 60_000,
            age_ms: 24 * 3_600_000,
        }
    }
}

struct Session {
    keys: SessionKeys,
    handshake: [u8; 32],
    handle: Handle,
    purpose: Purpose,
    seen: u64,
    /// It began with a value of the tripwire.
    linked: bool,
    opened: Time,
    used: Time,
    /// Its place in the order of use.
    turn: u64,
    state: State,
}

enum State {
    /// Nothing was heard yet.
    Greeted,
    /// This request is being worked on.
    Working { counter: u64, request: [u8; 32] },
    /// This request was answered.
    Answered {
        counter: u64,
        request: [u8; 32],
        answer: Vec<u8>,
    },
}

/// The sessions of one server process.
#[derive(Default)]
pub struct Sessions {
    limits: Limits,
    sessions: BTreeMap<SessionId, Session>,
    /// In the order of their last use, those where nothing was heard apart.
    greeted: BTreeMap<u64, SessionId>,
    open: BTreeMap<u64, SessionId>,
    by_handle: BTreeMap<Handle, BTreeSet<SessionId>>,
    turns: u64,
}

/// What a message is.
#[derive(Debug)]
pub enum Received {
    /// A new request.
    New(Incoming),
    /// The last request again: this is its answer.
    Repeat(Vec<u8>),
    /// The last request again, while it is still worked on: wait for its answer, which goes to both.
    Working,
}

impl Sessions {
    /// No sessions, within these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Keeps a session whose welcome is about to be sent. `seen` is the version of the device's tripwire row now (0: none).
    pub fn open(&mut self, now: Time, opened: Opened, seen: u64) {
        if self.greeted.len() >= self.limits.greeted_max.max(1)
            && let Some((_, oldest)) = self.greeted.pop_first()
        {
            self.remove(&oldest);
        }
        let turn = self.turn();
        self.greeted.insert(turn, opened.session);
        self.by_handle
            .entry(opened.handle)
            .or_default()
            .insert(opened.session);
        self.sessions.insert(
            opened.session,
            Session {
                keys: opened.keys,
                handshake: opened.handshake,
                handle: opened.handle,
                purpose: opened.purpose,
                seen,
                linked: false,
                opened: now,
                used: now,
                turn,
                state: State::Greeted,
            },
        );
    }

    /// Takes a message. Whatever is not the next request of a session, made by its device, changes nothing.
    ///
    /// # Errors
    /// [`Problem::UnknownSession`] also for what cannot be decrypted or has a counter that is not the next:
    /// the device handshakes anew; [`Problem::Malformed`] for what its device made, but is no request.
    pub fn receive(
        &mut self,
        now: Time,
        id: &SessionId,
        counter: u64,
        sealed: &[u8],
    ) -> Result<Received, Problem> {
        let session = self.sessions.get(id).ok_or(Problem::UnknownSession)?;
        if now.since_ms(session.used) > self.limits.idle_ms
            || now.since_ms(session.opened) > self.limits.age_ms
        {
            self.remove(id);
            return Err(Problem::UnknownSession);
        }
        let digest = sha256(&[sealed]);
        let last = match &session.state {
            State::Greeted => 0,
            State::Working {
                counter: last,
                request,
            } => {
                if *last == counter && *request == digest {
                    return Ok(Received::Working);
                }
                return Err(Problem::UnknownSession);
            }
            State::Answered {
                counter: last,
                request,
                answer,
            } => {
                if *last == counter && *request == digest {
                    return Ok(Received::Repeat(answer.clone()));
                }
                *last
            }
        };
        if last.checked_add(1) != Some(counter) {
            return Err(Problem::UnknownSession);
        }
        let mut plaintext = sealed.to_vec();
        let len = session
            .keys
            .open(Direction::Request, id, counter, &mut plaintext)
            .ok_or(Problem::UnknownSession)?
            .len();
        plaintext.truncate(len);
        let request: Request<'_> = decode_canonical(&plaintext).map_err(|_| Problem::Malformed)?;
        // The tripwire's value stands in the first message, and only there. In a session without one there are only proofs,
        // freshness receipts, and the way to another owner's servers.
        let linked = session.linked || (counter == 1 && request.link.is_some());
        if (request.link.is_some() && counter != 1) || !(linked || request.ask.needs_no_link()) {
            return Err(Problem::Malformed);
        }
        let incoming = Incoming {
            session: *id,
            handshake: session.handshake,
            counter,
            handle: session.handle,
            purpose: session.purpose,
            seen: session.seen,
            plaintext,
        };
        if let Some(session) = self.sessions.get_mut(id) {
            session.linked = linked;
        }
        self.renew(
            now,
            id,
            State::Working {
                counter,
                request: digest,
            },
        );
        Ok(Received::New(incoming))
    }

    /// Seals the reply to a request, keeps it for repeats, and gives the frame to be sent.
    ///
    /// # Errors
    /// [`Problem::UnknownSession`] when the session ended while the request was worked on.
    pub fn answer(
        &mut self,
        now: Time,
        to: &Incoming,
        reply: &Reply<'_>,
    ) -> Result<Vec<u8>, Problem> {
        let session = self
            .sessions
            .get(&to.session)
            .ok_or(Problem::UnknownSession)?;
        let (counter, request) = match session.state {
            State::Working { counter, request } if counter == to.counter => (counter, request),
            _ => return Err(Problem::UnknownSession),
        };
        let frame = seal(&session.keys, to, reply).or_else(|_| {
            // It did not fit: a fault of the caller, which the device takes as "later".
            let problem = SealedProblem::Unavailable;
            seal(&session.keys, to, &refuse(problem, 60))
        });
        let frame = frame.map_err(|_| Problem::Busy)?;
        let ends = matches!(
            reply.answer,
            Answer::Problem {
                problem: SealedProblem::Fork | SealedProblem::StaleLink,
                ..
            }
        );
        if ends {
            self.remove(&to.session);
        } else {
            let answer = frame.clone();
            let state = State::Answered {
                counter,
                request,
                answer,
            };
            self.renew(now, &to.session, state);
        }
        Ok(frame)
    }

    /// Ends every session of a key: it was revoked. Says how many there were.
    pub fn end(&mut self, handle: &Handle) -> usize {
        let ended = self.by_handle.remove(handle).unwrap_or_default();
        for session in &ended {
            self.remove(session);
        }
        ended.len()
    }

    /// Ends what was unused or has lived too long.
    pub fn expire(&mut self, now: Time) {
        let limits = self.limits;
        let over: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| {
                now.since_ms(session.used) > limits.idle_ms
                    || now.since_ms(session.opened) > limits.age_ms
            })
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.remove(&id);
        }
    }

    /// A device uses one session, and a few more while answers are lost: whoever opens many with one key displaces his own. Those that
    /// were only greeted do not count: anyone can send a hello again.
    fn make_room_among(&mut self, handle: &Handle, newest: &SessionId) {
        let own = self.by_handle.get(handle).into_iter().flatten();
        let used: Vec<(u64, SessionId)> = own
            .filter(|id| *id != newest)
            .filter_map(|id| Some((self.sessions.get(id)?, *id)))
            .filter(|(session, _)| !matches!(session.state, State::Greeted))
            .map(|(session, id)| (session.turn, id))
            .collect();
        if used.len() >= SESSIONS_OF_A_KEY_MAX
            && let Some((_, oldest)) = used.iter().min()
        {
            self.remove(oldest);
        }
    }

    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// Moves a session to the end of the order of use, among those in use.
    fn renew(&mut self, now: Time, id: &SessionId, state: State) {
        let turn = self.turn();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let greeted = matches!(session.state, State::Greeted);
        let before = core::mem::replace(&mut session.turn, turn);
        session.used = now;
        session.state = state;
        let handle = session.handle;
        if greeted {
            self.greeted.remove(&before);
            self.make_room_among(&handle, id);
        } else {
            self.open.remove(&before);
        }
        self.open.insert(turn, *id);
        if self.open.len() > self.limits.open_max.max(1)
            && let Some((_, oldest)) = self.open.pop_first()
        {
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        self.greeted.remove(&session.turn);
        self.open.remove(&session.turn);
        if let Some(others) = self.by_handle.get_mut(&session.handle) {
            others.remove(id);
            if others.is_empty() {
                self.by_handle.remove(&session.handle);
            }
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("greeted", &self.greeted.len())
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

/// A reply that says that something is in the way.
fn refuse(problem: SealedProblem, wait_secs: u16) -> Reply<'static> {
    Reply {
        steps: crate::protocol::Steps::NONE,
        answer: Answer::Problem { problem, wait_secs },
    }
}

fn seal(keys: &SessionKeys, to: &Incoming, reply: &Reply<'_>) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; encoded_len(reply) + 64];
    let len = seal_reply(keys, &to.session, to.counter, reply, &mut frame)?;
    frame.truncate(len);
    Ok(frame)
}

/// A request that its device made, not yet held against the ledger.
pub struct Incoming {
    session: SessionId,
    handshake: [u8; 32],
    counter: u64,
    handle: Handle,
    purpose: Purpose,
    seen: u64,
    plaintext: Vec<u8>,
}

/// A transaction that puts the session's own key's successor on the ledger; only [`Admitted::succession`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSuccession<'a> {
    transaction: &'a [u8],
    predecessor: Handle,
    successor: Handle,
}

impl<'a> OwnSuccession<'a> {
    /// The transaction's bytes, to be submitted.
    #[must_use]
    pub const fn transaction(&self) -> &'a [u8] {
        self.transaction
    }

    /// Handle of the key that ends: the session's own.
    #[must_use]
    pub const fn predecessor(&self) -> &Handle {
        &self.predecessor
    }

    /// Handle of the key that follows.
    #[must_use]
    pub const fn successor(&self) -> &Handle {
        &self.successor
    }
}

/// Why a request of an open session is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAdmitted {
    /// The key was revoked: [`Sessions::end`], and [`Problem::UnknownSession`] to the device.
    Ended,
    /// A key of this purpose may not ask for this: [`SealedProblem::NotAllowed`].
    NotAllowed,
}

impl Incoming {
    /// Whose it is.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &SessionId {
        &self.session
    }

    /// Handshake hash of the session: an inventory is signed for it.
    #[must_use]
    pub const fn handshake(&self) -> &[u8; 32] {
        &self.handshake
    }

    /// The request's number.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// Version of the device's tripwire row when the handshake was answered: what
    /// [`tripwire::judge`](crate::protocol::tripwire::judge) wants.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Holds the request against the record as it stands now, and against what its purpose allows to a device of `org`.
    ///
    /// # Errors
    /// [`NotAdmitted`]
    pub fn admit(&self, record: Option<&Record>, org: &OrgId) -> Result<Admitted<'_>, NotAdmitted> {
        let record = record.filter(|record| record.purpose() == self.purpose);
        let owned = record.is_some_and(|record| record.owner() == *org);
        let in_force = match record.map_or(Status::Revoked, Record::status) {
            Status::Active => owned,
            Status::Spent | Status::Superseded => false,
            Status::Revoked => return Err(NotAdmitted::Ended),
        };
        // `receive` has decoded it.
        let request: Request<'_> =
            decode_canonical(&self.plaintext).map_err(|_| NotAdmitted::NotAllowed)?;
        let allowed = match (&request.ask, self.purpose) {
            (Ask::Prove(_) | Ask::Fresh(_) | Ask::Succeed(_) | Ask::Where, _) => true,
            (Ask::Key, purpose) => purpose == Purpose::Pre,
            (Ask::Poll(_) | Ask::Report(_), purpose) => purpose == Purpose::Act,
        };
        if allowed {
            Ok(Admitted {
                handle: self.handle,
                purpose: self.purpose,
                key: record.and_then(|record| record.keys().verification_key()),
                in_force,
                owned,
                request,
            })
        } else {
            Err(NotAdmitted::NotAllowed)
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("session", &self.session)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.plaintext.zeroize();
    }
}

/// A request of a key that may ask for this; only [`Incoming::admit`] makes it.
#[derive(Debug)]
pub struct Admitted<'a> {
    handle: Handle,
    purpose: Purpose,
    key: Option<VerificationKey>,
    in_force: bool,
    owned: bool,
    request: Request<'a>,
}

impl<'a> Admitted<'a> {
    /// The purpose of the key that asks.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The request: above all its link, which is judged whether or not anything is served.
    #[must_use]
    pub const fn request(&self) -> &Request<'a> {
        &self.request
    }

    /// Whether the key's record is the organisation's. Of another one's device nothing is judged, and it is told so
    /// ([`Answer::Moved`]), but for the proofs and freshness receipts that it asks for.
    #[must_use]
    pub const fn is_owned(&self) -> bool {
        self.owned
    }

    /// Whether the key counts: it is the organisation's, and has no successor. The alarms of one that has are no reason to quarantine its successor.
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        self.in_force
    }

    /// What is to be served. `None` when the key has a successor or another owner and asks for anything but a proof or a freshness
    /// receipt: [`SealedProblem::Rejected`], [`Answer::Moved`]. Such a key's alarms are a reason to tell the owner, not to
    /// quarantine its successor.
    #[must_use]
    pub const fn ask(&self) -> Option<&Ask<'a>> {
        match &self.request.ask {
            ask @ (Ask::Prove(_) | Ask::Fresh(_)) => Some(ask),
            ask if self.in_force => Some(ask),
            _ => None,
        }
    }

    /// Who speaks, for the server's receipt.
    #[must_use]
    pub const fn speaker(&self, org: OrgId) -> Speaker {
        Speaker {
            org,
            device: self.handle,
            height: self.request.floor.height,
        }
    }

    /// What the device says to this server of an order, if it signed that.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn answered(
        &self,
        outcome: &Outcome,
        order: Order,
        org: OrgId,
        server: &Signer,
    ) -> Result<Answered, SignatureError> {
        let answered = Answered {
            org,
            device: self.handle,
            server: server.handle,
            order,
            code: outcome.code,
            height: self.request.floor.height,
        };
        let device = Signer {
            chain: server.chain,
            handle: self.handle,
            purpose: self.purpose,
        };
        let key = self.key.as_ref().ok_or(SignatureError::Malformed)?;
        device.check(key, &answered.text(), &outcome.signature)?;
        Ok(answered)
    }

    /// Holds the transaction of a `succeed` against the session: it activates or supersedes the session's own key, by its
    /// purpose. Signatures and state are the ledger's to check.
    ///
    /// # Errors
    /// [`NotAdmitted::NotAllowed`]: it is another action, or about another key.
    pub fn succession(&self, transaction: &'a [u8]) -> Result<OwnSuccession<'a>, NotAdmitted> {
        let decoded = Transaction::decode(transaction).map_err(|_| NotAdmitted::NotAllowed)?;
        let (old, successor) = match (decoded.action(), self.purpose) {
            (Action::Activate { pre, act, .. }, Purpose::Pre) => (pre.handle, act.handle()),
            (Action::Supersede { old, new, .. }, Purpose::Act) => (old.handle, new.handle()),
            _ => return Err(NotAdmitted::NotAllowed),
        };
        if old != self.handle {
            return Err(NotAdmitted::NotAllowed);
        }
        Ok(OwnSuccession {
            transaction,
            predecessor: old,
            successor,
        })
    }
}
