//! Handshakes: bounds first, then keys.

use super::{Door, count, edge::Drawn, frame, problem};
use crate::{app::Enrolling, store::doorstep};
use kusabi_core::{
    id::{Handle, Height},
    protocol::{
        frame::{AnswerFrame, Cookie, Problem},
        hello::{Enrolment, Hello},
    },
    row::Record,
    server::{Greeting, Refusal, ServerKey, door::Admission},
    suite::Suite,
};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

/// Seconds after which a device comes back when there is no room.
pub(super) const BUSY_SECS: u16 = 5;

/// Most that are looked for in the database at once: half of its readers, so that others do not wait behind hellos.
pub(super) const KNOCKING_MAX: usize = 2;

/// Most hellos of this fleet's keys, and of accepted enrolments, that wait for the ledger. With the strangers that wait they are fewer than the handshakes from which
/// on a cookie is asked for, so that they do not slow down who is at hand: anyone can name a handle.
pub(super) const LOOKING_MAX: usize = 128;

/// How often an enrolment that waits is to ask, in seconds.
const ENROLMENT_SECS: u16 = 30;

/// 32-byte blocks of random bytes for one handshake: an ephemeral key, a session's name, a common key, and as much again thrice.
const BLOCKS: usize = 12;

/// One of the handshakes at once.
struct Counted<'d>(&'d AtomicU32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// What is found under the handle of a hello.
struct Looked {
    record: Option<Record>,
    /// The height at which it was proven, where it is not at hand yet.
    proven_at: Option<Height>,
    /// Whether the key is or was one of this fleet.
    here: bool,
}

impl Looked {
    fn elsewhere(found: Option<(Record, Height)>) -> Self {
        let (record, proven_at) = found.unzip();
        Self {
            record,
            proven_at,
            here: false,
        }
    }
}

/// Why a handshake has no welcome.
enum Turned {
    Refused(Refusal),
    /// Nobody here knows its key, and the ledger is not asked for it now: so many seconds.
    Later(u16),
    /// The ledger or the database does not answer.
    Unavailable(crate::app::Error),
    /// A fault of this program, or no random bytes.
    Fault(String),
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<crate::app::Error> for Turned {
    fn from(error: crate::app::Error) -> Self {
        match error {
            crate::app::Error::Crowded { wait_secs } => {
                Self::Later(u16::try_from(wait_secs).unwrap_or(u16::MAX))
            }
            error => Self::Unavailable(error),
        }
    }
}

impl Door {
    /// Answers a hello. Nothing is computed for it before the bounds: from some number of handshakes at once on, whoever sends one has to
    /// show that it receives what is sent to its address.
    pub(super) async fn hello(
        self: &Arc<Self>,
        source: IpAddr,
        suite: Suite,
        cookie: Option<Cookie>,
        noise: &[u8],
    ) -> Vec<u8> {
        let in_progress = self.greeting.fetch_add(1, SeqCst);
        let counted = Counted(&self.greeting);
        let address = match source {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        match self
            .gate
            .admit(in_progress, self.now(), &address, cookie.as_ref())
        {
            Admission::Come => {}
            Admission::Retry(cookie) => {
                count(&self.counts.retried);
                return frame(&AnswerFrame::Retry(cookie));
            }
            Admission::Busy => {
                count(&self.counts.busy);
                return problem(Problem::Busy, BUSY_SECS);
            }
        }
        let greeted = Box::pin(self.greet(source, suite, cookie, noise.to_vec())).await;
        drop(counted);
        match greeted {
            Ok(welcome) => welcome,
            Err(Turned::Refused(refusal)) => {
                let told = refusal.problem();
                count(match told {
                    Problem::Unreadable | Problem::Malformed => &self.counts.unreadable,
                    _ => &self.counts.refused,
                });
                tracing::debug!(%refusal, "a handshake was refused");
                problem(told, 0)
            }
            Err(Turned::Later(wait_secs)) => {
                count(&self.counts.put_off);
                problem(Problem::Busy, wait_secs)
            }
            Err(Turned::Unavailable(why)) => {
                tracing::warn!(%why, "a handshake could not be answered");
                problem(Problem::Busy, BUSY_SECS)
            }
            Err(Turned::Fault(why)) => {
                tracing::error!(why, "a handshake could not be answered");
                problem(Problem::Busy, BUSY_SECS)
            }
        }
    }

    async fn greet(
        self: &Arc<Self>,
        source: IpAddr,
        suite: Suite,
        cookie: Option<Cookie>,
        noise: Vec<u8>,
    ) -> Result<Vec<u8>, Turned> {
        let mut rng =
            Drawn::<BLOCKS>::draw(&*self.app.edge).map_err(|why| Turned::Fault(why.to_string()))?;
        let door = Arc::clone(self);
        let (greeting, mut rng) = self
            .compute(move || {
                let key = ServerKey {
                    chain: door.key.chain,
                    handle: door.key.handle,
                    key: &*door.key.key,
                };
                Greeting::read(&key, suite, cookie.as_ref(), &noise, &mut rng)
                    .map(|greeting| (greeting, rng))
            })
            .await??;
        let handle = match greeting.hello()? {
            Hello::Session { handle, .. } => handle,
            Hello::Enrol { .. } => return self.enrol(source, greeting).await,
        };
        let Looked {
            record,
            proven_at,
            here,
        } = self.look_up(source, &handle).await?;
        let accepted = greeting.accept(record.as_ref(), &self.app.org(), here)?;
        let record = record.ok_or(Refusal::Unknown)?;
        if let Some(height) = proven_at {
            // Only now: what strangers name takes no room beside the fleet's records.
            self.view.learn(handle, record, height);
        }
        let known = self
            .fleet
            .load(&self.app, &self.view, &handle, &record)
            .await?;
        let Some(seen) = self.view.seen() else {
            return Err(crate::app::Error::Behind.into());
        };
        let version = known.link_version.load(SeqCst);
        // A device in an older epoch cannot use a proof: it asks for one, with the steps that lead to it.
        let proof = (accepted.floor().epoch == seen.epoch).then(|| seen.ps_proof.clone());
        let (frame, opened) = self
            .compute(move || accepted.welcome(proof.as_deref(), &mut rng))
            .await?
            .map_err(|why| Turned::Fault(why.to_string()))?;
        let now = self.now();
        self.table().sessions.open(now, opened, version);
        count(&self.counts.welcomed);
        Ok(frame)
    }

    /// The record under the handle of a hello. A key of this fleet needs no share; what is asked for any other one has its bounds
    /// ([`strangers`](crate::app::strangers)).
    async fn look_up(&self, source: IpAddr, handle: &Handle) -> Result<Looked, crate::app::Error> {
        if let Some(record) = self.view.known(handle) {
            let here = record.owner() == self.app.org() || self.is_here(handle).await?;
            return Ok(Looked {
                record: Some(record),
                proven_at: None,
                here,
            });
        }
        if self.app.strangers.is_absent(handle) {
            return Ok(Looked::elsewhere(None));
        }
        if self.is_here(handle).await? {
            let place = self.looking.try_acquire();
            let _place = place.map_err(|_| crate::app::Error::Crowded {
                wait_secs: BUSY_SECS.into(),
            })?;
            return Ok(Looked {
                record: self.view.record(&self.app, handle).await?,
                proven_at: None,
                here: true,
            });
        }
        let found = self.app.strangers.record(&self.app, source, handle).await?;
        Ok(Looked::elsewhere(found))
    }

    /// Whether a key is or was one of this fleet.
    async fn is_here(&self, handle: &Handle) -> Result<bool, crate::app::Error> {
        if self.fleet.find(handle).is_some() {
            return Ok(true);
        }
        let _turn = self.knocking.acquire().await;
        let mut reader = self.app.store.read("find a device by its hello").await?;
        Ok(doorstep::find(reader.on(), handle.to_bytes())
            .await?
            .is_some())
    }

    /// Anyone can ask, and nobody is told from another before the database is read: it takes of the source's share, and its turn.
    async fn enrol(&self, source: IpAddr, greeting: Greeting) -> Result<Vec<u8>, Turned> {
        let ask = greeting.enrolment()?;
        self.app.strangers.share(source)?;
        count(&self.counts.enrolments);
        let enrolling = Enrolling {
            token: &ask.token,
            entry: &ask.entry,
            label: &ask.label,
            turns: &self.knocking,
            places: &self.looking,
        };
        let status = Box::pin(self.app.enrol(enrolling)).await?;
        let wait_secs = match status {
            Enrolment::Waiting => ENROLMENT_SECS,
            Enrolment::Registered => 0,
            Enrolment::Refused => 3600,
        };
        let answer = self.compute(move || ask.answer(status, wait_secs)).await?;
        answer.map_err(|why| Turned::Fault(why.to_string()))
    }

    /// Computes something with keys: on a thread for such things, as many at once as there are cores.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Turned> {
        let fault = |why: &dyn std::fmt::Display| Turned::Fault(why.to_string());
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        let thread = thread.map_err(|why| fault(&why))?;
        // The work goes on when whoever asked has hung up: so long its place is taken.
        let work = move || {
            let _thread = thread;
            work()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|why| fault(&why))
    }
}
