//! Messages of sessions.

use super::{
    Door, WAITERS_MAX, count,
    edge::Drawn,
    fleet::Known,
    freshness::Awaited,
    hold::Held,
    journal::{Job, Said as Written, Unwritten},
    problem, report,
    view::{Seen, is_rejection},
};
use crate::store::{StoreError, timeline};
use arrayvec::ArrayVec;
use bytes::Bytes;
use kusabi_api::verify::Done;
use kusabi_core::{
    id::{Handle, KusabiId, OrgId, SessionId},
    keystore::Seed,
    protocol::{
        Floor, Steps,
        frame::Problem,
        reply::{Answer, ORDERS_MAX, Order, Reply, SealedProblem},
        request::{Ask, Poll, Subject},
        tripwire::Verdict,
    },
    receipt::Receipt,
    row::Row,
    server::{Admitted, Incoming, NotAdmitted, Received},
};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::sync::oneshot;
use zeroize::Zeroize as _;

/// What steps may take of a reply.
const STEPS_ROOM: usize = 8_000;

/// How long a succession waits to be final before the device is told to ask again.
const SUCCEED_TIME: Duration = Duration::from_secs(8);

/// Longest wait for the answer to a copy of a request: that of a held poll, and a little.
const COPY_TIME: Duration = Duration::from_secs(330);

/// Seconds to wait when ledger or database do not answer.
pub(super) const UNAVAILABLE_SECS: u16 = 10;

/// What a message is answered with.
#[derive(Debug)]
pub(super) enum Said {
    Proof(Bytes),
    Orders(ArrayVec<Order, ORDERS_MAX>, Option<Receipt>),
    /// The device is another organisation's; where that one's servers are, if this one's operator said so.
    Moved(Option<Arc<str>>),
    /// A device key that is made where it is sealed: it stands in no future and passes through no channel.
    Key,
    Other(Answer<'static>),
}

/// Where a message stands after all that can be done at once.
pub(super) enum Outcome {
    /// This is its answer.
    Answer(Vec<u8>),
    /// A poll for which there is nothing; it may be held back.
    Hold { floor: Floor, held: Held },
    /// A nonce that is on its way to the validators.
    Carry(Awaited),
}

/// What is not answered at once, and costs nothing while it waits.
enum Later {
    Hold(Held),
    Carry(Awaited),
}

pub(super) const fn refuse(problem: SealedProblem, wait_secs: u16) -> Said {
    Said::Other(Answer::Problem { problem, wait_secs })
}

impl From<Unwritten> for Said {
    fn from(_: Unwritten) -> Self {
        refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS)
    }
}

impl Door {
    /// Answers a message.
    pub(super) async fn message(
        self: &Arc<Self>,
        session: SessionId,
        counter: u64,
        sealed: &[u8],
    ) -> Vec<u8> {
        let now = self.now();
        let waiter = {
            let mut table = self.table();
            match table.sessions.receive(now, &session, counter, sealed) {
                Err(why) => return problem(why, 0),
                Ok(Received::Repeat(answer)) => return answer,
                Ok(Received::Working) => {
                    let waiters = table.waiters.entry(session).or_default();
                    if waiters.len() >= WAITERS_MAX {
                        waiters.remove(0);
                    }
                    let (answer, waiter) = oneshot::channel();
                    waiters.push(answer);
                    waiter
                }
                Ok(Received::New(incoming)) => {
                    drop(table);
                    count(&self.counts.messages);
                    if let Some(answer) = self.at_once(&incoming) {
                        self.give(&session, &answer);
                        return answer;
                    }
                    let (answer, waiter) = oneshot::channel();
                    self.table()
                        .waiters
                        .entry(session)
                        .or_default()
                        .push(answer);
                    // On its own: should the connection end, the answer is kept for the repeat.
                    drop(tokio::spawn(Arc::clone(self).work(incoming)));
                    waiter
                }
            }
        };
        match tokio::time::timeout(COPY_TIME, waiter).await {
            Ok(Ok(answer)) => answer,
            _ => problem(Problem::Busy, 1),
        }
    }

    /// The quiet poll: nothing to write before the answer, nothing new. No database, no ledger.
    fn at_once(&self, incoming: &Incoming) -> Option<Vec<u8>> {
        let seen = self.view.seen()?;
        let record = self.view.known(incoming.handle())?;
        let known = self.fleet.find(incoming.handle())?;
        let admitted = incoming.admit(Some(&record), &self.app.org()).ok()?;
        let request = admitted.request();
        if request.link.is_some() || request.floor.epoch < seen.epoch {
            return None;
        }
        let Some(Ask::Poll(poll)) = admitted.ask() else {
            return None;
        };
        if !poll.outcomes.is_empty() || poll.hold_secs > 0 || !self.is_quiet(&known) {
            return None;
        }
        self.heard(&known, poll);
        let said = Said::Orders(ArrayVec::new(), None);
        Some(self.seal(incoming, &seen, request.floor, &said, Steps::NONE))
    }

    fn heard(&self, known: &Known, poll: &Poll) {
        count(&self.counts.polls);
        let news = known.says(&poll.facts).then_some(poll.facts);
        self.contacts.heard(&known.device, news);
    }

    /// Works on a message until it is answered, and gives the answer to whoever waits.
    async fn work(self: Arc<Self>, incoming: Incoming) {
        let session = *incoming.session();
        let outcome = {
            // What waits is not counted here: it costs nothing meanwhile.
            match self.working.acquire().await {
                Ok(_permit) => Box::pin(self.serve(&incoming)).await,
                Err(_) => Outcome::Answer(problem(Problem::Busy, 1)),
            }
        };
        let answer = match outcome {
            Outcome::Answer(answer) => answer,
            Outcome::Hold { floor, held } => self.hold(&incoming, floor, held).await,
            Outcome::Carry(awaited) => self.carried(&incoming, awaited).await,
        };
        self.give(&session, &answer);
    }

    /// Gives an answer to the request and its copies.
    fn give(&self, session: &SessionId, answer: &[u8]) {
        let waiters = self.table().waiters.remove(session);
        for waiter in waiters.into_iter().flatten() {
            // Its connection may have ended.
            let _ = waiter.send(answer.to_vec());
        }
    }

    async fn serve(&self, incoming: &Incoming) -> Outcome {
        let unavailable = || refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS);
        let record = match self.view.record(&self.app, incoming.handle()).await {
            Ok(record) => record,
            Err(why) => {
                tracing::warn!(%why, "a message could not be held against the ledger");
                return self.reply(incoming, None, &unavailable());
            }
        };
        let admitted = match incoming.admit(record.as_ref(), &self.app.org()) {
            Ok(admitted) => admitted,
            Err(NotAdmitted::Ended) => {
                self.table().sessions.end(incoming.handle());
                return Outcome::Answer(problem(Problem::UnknownSession, 0));
            }
            Err(_) => return self.reply(incoming, None, &refuse(SealedProblem::NotAllowed, 0)),
        };
        let (Some(record), Some(seen)) = (record, self.view.seen()) else {
            return Outcome::Answer(problem(Problem::UnknownSession, 0));
        };
        let loaded = self
            .fleet
            .load(&self.app, &self.view, incoming.handle(), &record);
        let known = match loaded.await {
            Ok(known) => known,
            Err(why) => {
                tracing::warn!(%why, "a device could not be looked up");
                return self.reply(incoming, None, &unavailable());
            }
        };
        let floor = admitted.request().floor;
        let shows = matches!(admitted.request().ask, Ask::Prove(_) | Ask::Fresh(_));
        if !admitted.is_owned() && !shows {
            let hint = self.whither(&record.owner(), &known.device).await;
            let hint = hint.unwrap_or_else(|why| {
                // It is told that it moved all the same, and asks again where to.
                tracing::warn!(%why, "to whom a device was given cannot be looked up");
                None
            });
            return self.reply(incoming, Some((&seen, floor)), &Said::Moved(hint));
        }
        if let Some(said) = self.spring(incoming, &admitted, &known).await {
            return self.reply(incoming, Some((&seen, floor)), &said);
        }
        let way = match self.view.way(&self.app, floor.epoch, seen.epoch).await {
            Ok(way) => way,
            Err(why) => {
                tracing::warn!(%why, "the way from an older epoch cannot be shown");
                return self.reply(incoming, None, &unavailable());
            }
        };
        let mut buffer = vec![0; if way.is_empty() { 0 } else { STEPS_ROOM }];
        let steps = Steps::pack(way.iter().map(Vec::as_slice), STEPS_ROOM, &mut buffer);
        let asks_for_the_present = matches!(admitted.request().ask, Ask::Fresh(_));
        let said = if steps.len() < way.len() || (asks_for_the_present && !steps.is_empty()) {
            // Nothing is done for a device that has further to walk, and a receipt is one of the newest epoch.
            Said::Other(Answer::Pending { wait_secs: 0 })
        } else {
            match self.ask(incoming, &admitted, &known).await {
                Ok(said) => said,
                Err(Later::Carry(awaited)) => return Outcome::Carry(awaited),
                // Steps are not held back.
                Err(Later::Hold(held)) if !steps.is_empty() => {
                    Said::Orders(ArrayVec::new(), held.receipt)
                }
                Err(Later::Hold(held)) => return Outcome::Hold { floor, held },
            }
        };
        Outcome::Answer(self.seal(incoming, &seen, floor, &said, steps))
    }

    /// Where a device that is another organisation's may find that one's servers: where these are, if the operator said so; else where
    /// those are to whom this organisation gave it, which may know where it went from there.
    async fn whither(&self, owner: &OrgId, device: &str) -> Result<Option<Arc<str>>, StoreError> {
        if self.successors.is_empty() {
            return Ok(None);
        }
        if let Some(address) = self.successors.get(owner) {
            return Ok(Some(Arc::clone(address)));
        }
        let mut reader = self
            .app
            .store
            .read("look up to whom a device was given")
            .await?;
        let to = timeline::given_to(reader.on(), device).await?;
        Ok(to.and_then(|to| self.successors.get(&to).cloned()))
    }

    /// A session's first message springs the tripwire; what is said when it is not served.
    async fn spring(
        &self,
        incoming: &Incoming,
        admitted: &Admitted<'_>,
        known: &Known,
    ) -> Option<Said> {
        // The values are for the owner's servers.
        let link = admitted.request().link.filter(|_| admitted.is_owned())?;
        known.begin(incoming.session());
        let job = Job::Link {
            device: Arc::clone(&known.device),
            seen: incoming.seen(),
            link,
            in_force: admitted.is_in_force(),
        };
        match self.journal.write(job).await {
            Ok(Written::Judged(verdict, version)) => {
                known.link_version.fetch_max(version, SeqCst);
                match verdict {
                    Verdict::Fork => Some(refuse(SealedProblem::Fork, 600)),
                    Verdict::Stale => Some(refuse(SealedProblem::StaleLink, 0)),
                    _ => None,
                }
            }
            Ok(Written::Written | Written::Sent(_)) | Err(_) => Some(Unwritten.into()),
        }
    }

    /// Does what is asked. An error is what is answered later.
    async fn ask(
        &self,
        incoming: &Incoming,
        admitted: &Admitted<'_>,
        known: &Arc<Known>,
    ) -> Result<Said, Later> {
        let Some(ask) = admitted.ask() else {
            return Ok(refuse(SealedProblem::Rejected, 1));
        };
        Ok(match ask {
            Ask::Poll(poll) => return self.poll(incoming, admitted, known, poll).await,
            Ask::Fresh(nonce) => match self.take_nonce(incoming, known, *nonce) {
                Ok(awaited) => return Err(Later::Carry(awaited)),
                Err(why) => why.into(),
            },
            Ask::Prove(subject) => {
                let key = subject.state_key(&self.app.org());
                let shared = match subject {
                    Subject::Release(_) => true,
                    Subject::Record(handle) => *handle == self.key.handle,
                };
                match self.view.prove(&self.app, key, shared).await {
                    Ok(proof) => Said::Proof(proof),
                    Err(why) => {
                        tracing::warn!(%why, "the ledger does not prove what a device asks");
                        refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS)
                    }
                }
            }
            Ask::Succeed(transaction) => self.succeed(admitted, known, transaction).await,
            Ask::Key => Said::Key,
            // It is this organisation's: these are its servers.
            Ask::Where => refuse(SealedProblem::NotAllowed, 0),
            Ask::Report(part) => report::take(self, &known.device, incoming, admitted, part).await,
        })
    }

    async fn poll(
        &self,
        incoming: &Incoming,
        admitted: &Admitted<'_>,
        known: &Known,
        poll: &Poll,
    ) -> Result<Said, Later> {
        self.heard(known, poll);
        let receipt = match self.hear(incoming, admitted, &known.device, poll).await {
            Ok(receipt) => receipt,
            Err(said) => return Ok(said),
        };
        match self.waiting(incoming.session(), known).await {
            Ok(orders) if orders.is_empty() && poll.hold_secs > 0 => Err(Later::Hold(Held {
                secs: poll.hold_secs,
                receipt,
            })),
            Ok(orders) => Ok(Said::Orders(orders, receipt)),
            Err(unwritten) => Ok(unwritten.into()),
        }
    }

    /// Carries a succession to the ledger, if it is the session's own.
    async fn succeed(
        &self,
        admitted: &Admitted<'_>,
        known: &Arc<Known>,
        transaction: &[u8],
    ) -> Said {
        let Ok(own) = admitted.succession(transaction) else {
            return refuse(SealedProblem::NotAllowed, 0);
        };
        let (old, new): (Handle, Handle) = (*own.predecessor(), *own.successor());
        let bytes = Bytes::copy_from_slice(own.transaction());
        let submitted = self.app.ask(self.app.ledger.submit(bytes, SUCCEED_TIME));
        match submitted.await {
            Ok(Done::Final { row, .. }) => {
                self.view.unlearn(&old);
                if let Some(Row::Record(record)) = row.value() {
                    self.view.learn(new, *record, row.height());
                }
                self.fleet.add(new, known);
                Said::Proof(row.proof().clone())
            }
            Ok(Done::Pending(_)) => Said::Other(Answer::Pending { wait_secs: 2 }),
            Err(crate::app::Error::Ledger(why)) if is_rejection(&why) => {
                tracing::warn!(device = &*known.device, %why, "the ledger refuses a device's next key");
                self.view.unlearn(&old);
                refuse(SealedProblem::Rejected, 1)
            }
            Err(why) => {
                tracing::warn!(device = &*known.device, %why, "a device's next key did not reach the ledger");
                refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS)
            }
        }
    }

    /// An answer without steps.
    pub(super) fn reply(
        &self,
        incoming: &Incoming,
        at: Option<(&Seen, Floor)>,
        said: &Said,
    ) -> Outcome {
        Outcome::Answer(match at {
            Some((seen, floor)) => self.seal(incoming, seen, floor, said, Steps::NONE),
            None => self.put(incoming, said, None, Steps::NONE),
        })
    }

    /// Seals an answer and keeps it for repeats. The newest checkpoint goes with it if it is above the device's floor and the device can
    /// check it: of its own epoch, or of one that these steps lead to. (A poll that was held back may end in another epoch; with
    /// its next one the device is led on.)
    pub(super) fn seal(
        &self,
        incoming: &Incoming,
        seen: &Seen,
        floor: Floor,
        said: &Said,
        steps: Steps<'_>,
    ) -> Vec<u8> {
        let usable = seen.epoch == floor.epoch || !steps.is_empty();
        let newer = usable && seen.height > floor.height;
        self.put(incoming, said, newer.then_some(&seen.checkpoint), steps)
    }

    fn put(
        &self,
        incoming: &Incoming,
        said: &Said,
        checkpoint: Option<&Bytes>,
        steps: Steps<'_>,
    ) -> Vec<u8> {
        let reply = Reply {
            steps,
            answer: match said {
                Said::Key => {
                    let sealed = self.make_key(incoming, steps);
                    wipe_stack();
                    return sealed;
                }
                Said::Proof(proof) => Answer::Proof(proof),
                Said::Orders(orders, receipt) => Answer::Orders {
                    next_poll_secs: self.bounds.next_poll_secs,
                    orders: orders.clone(),
                    checkpoint: checkpoint.map(|bytes| &bytes[..]),
                    receipt: *receipt,
                },
                Said::Moved(hint) => Answer::Moved {
                    hint: hint.as_deref(),
                },
                Said::Other(answer) => answer.clone(),
            },
        };
        self.answered(incoming, &reply)
    }

    /// Makes a device key for a device without entropy: made, sealed, kept nowhere. Never inlined: what it leaves on the stack lies
    /// below its caller.
    #[inline(never)]
    fn make_key(&self, incoming: &Incoming, steps: Steps<'_>) -> Vec<u8> {
        let answer = match Drawn::<4>::draw(&*self.app.edge) {
            Ok(mut rng) => Answer::Key {
                id: KusabiId::generate(&mut rng),
                seed: Seed::generate(&mut rng),
            },
            Err(why) => {
                tracing::error!(%why, "no random bytes for a device's key");
                let (problem, wait_secs) = (SealedProblem::Unavailable, UNAVAILABLE_SECS);
                Answer::Problem { problem, wait_secs }
            }
        };
        self.answered(incoming, &Reply { steps, answer })
    }

    pub(super) fn answered(&self, incoming: &Incoming, reply: &Reply<'_>) -> Vec<u8> {
        let now = self.now();
        let answered = self.table().sessions.answer(now, incoming, reply);
        answered.unwrap_or_else(|why| problem(why, 0))
    }
}

/// Wipes what calls that have returned left on this thread's stack: values are wiped where they are dropped, not where they were moved
/// from.
#[inline(never)]
fn wipe_stack() {
    let mut below = [0_u8; 64 * 1024];
    below.zeroize();
    std::hint::black_box(&below);
}
