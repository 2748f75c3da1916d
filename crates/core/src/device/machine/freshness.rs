//! Whether what the device was shown is of now (spec/device-protocol.md, "Freshness"): the one place for that rule.
//!
//! - A *receipt* says so for a moment. It is asked for after the start, before an update's next step, before a server key is
//!   adopted and when the ledger has stood still for too long, and never otherwise. What comes with it lifts the floor to where honest validators stand, and nothing below the floor is
//!   believed any more.
//! - Between receipts the ledger has to *grow*. One that stands still for too long may be one that somebody holds back.
//!
//! Without a receipt the device installs nothing and adopts no server. Whatever else it does, it goes on doing.

use rand_core::CryptoRng;

use super::{Asked, Device, Phase};
use crate::device::outbox::{Event, Staleness, Stop};
use crate::id::Nonce;
use crate::protocol::Time;
use crate::protocol::request::{Ask, Freshness};

/// How long a receipt counts, from the making of its nonce.
const COUNTS_MS: u64 = 60_000;
/// When a server had none, it is asked again after so long at the latest, as long as it is not too often.
const PATIENCE_MS: u64 = 30_000;
/// Once it was too often, none is asked for before so long.
const AGAIN_MS: u64 = 60_000;
/// So often one is asked for in vain, and at each address once at least, before the device counts as stale.
const DENIALS: usize = 2;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Standing {
    stale_after_ms: u64,
    /// When the floor rose last, or was shown to be of now.
    risen: Time,
    /// When the nonce of the last receipt was made.
    receipt: Option<Time>,
    /// None is asked for before.
    again: Time,
    /// How often in a row there was none to be had.
    denials: usize,
    /// There was none too often.
    denied: bool,
    /// The ledger has not grown for too long, and nothing says that there is nothing newer.
    stands_still: bool,
}

impl Standing {
    pub(super) const fn new(now: Time, stale_after_secs: u32) -> Self {
        Self {
            stale_after_ms: stale_after_secs as u64 * 1000,
            risen: now,
            receipt: None,
            again: now,
            denials: 0,
            denied: false,
            stands_still: false,
        }
    }

    pub(super) const fn is_stale(&self) -> bool {
        self.denied
    }

    pub(super) const fn freshness(&self) -> Freshness {
        match self.receipt {
            _ if self.is_stale() => Freshness::Stale,
            Some(_) => Freshness::Shown,
            None => Freshness::Unknown,
        }
    }

    /// Whether something new may be begun on what is known.
    fn allows(&self, now: Time) -> bool {
        self.receipt
            .is_some_and(|made| now.since_ms(made) <= COUNTS_MS)
    }

    fn is_overdue(&self, now: Time) -> bool {
        now.since_ms(self.risen) > self.stale_after_ms
    }
}

impl Device {
    /// Whether an update may take its next step, or a server's key be adopted.
    pub(super) fn may_begin(&self) -> bool {
        self.standing.allows(self.now)
    }

    /// Whether a receipt is to be asked for in this session, before anything else.
    pub(super) fn wants_receipt(&self) -> bool {
        let start = self.standing.receipt.is_none();
        let adopts = self.candidate.is_some() && !self.is_vouched();
        let begins = !self.jobs.is_empty() && !self.may_begin();
        let stands = self.standing.stands_still;
        self.now >= self.standing.again && (start || adopts || begins || stands)
    }

    /// Asks for one.
    pub(super) fn ask_receipt(&mut self, rng: &mut impl CryptoRng) {
        let mut nonce = [0; Nonce::LEN];
        rng.fill_bytes(&mut nonce);
        let (nonce, at) = (Nonce::new(nonce), self.now);
        self.ask(Asked::Fresh { nonce, at }, &Ask::Fresh(nonce), rng);
    }

    /// A receipt came for a nonce that was made then, and the floor is where it says.
    pub(super) fn receipt_came(&mut self, made: Time) {
        if let Phase::Session(session) = &mut self.phase {
            session.vouched = true;
        }
        let standing = &mut self.standing;
        standing.receipt = Some(made);
        standing.risen = standing.risen.max(made);
        standing.denials = 0;
        let was_stale = standing.is_stale();
        (standing.denied, standing.stands_still) = (false, false);
        let height = self.kept.trust.floor().height;
        self.event(Event::Present { height });
        if was_stale {
            self.event(Event::Fresh);
        }
        // The floor that it has lifted outlives a power cut.
        self.persist();
    }

    /// No receipt was to be had, or none that is good.
    pub(super) fn receipt_denied(&mut self, wait_ms: u64) {
        let standing = &mut self.standing;
        standing.denials = standing.denials.saturating_add(1);
        if standing.denials < DENIALS.max(self.kept.servers.len()) {
            let told = self.now.plus_ms(wait_ms.min(PATIENCE_MS));
            self.pause = self.pause.max(told);
            return;
        }
        standing.again = self.now.plus_ms(AGAIN_MS);
        let why = if standing.stands_still {
            Staleness::Standstill
        } else {
            Staleness::NoReceipt
        };
        if !core::mem::replace(&mut standing.denied, true) {
            self.event(Event::Stale(why));
        }
    }

    /// What cannot begin ends, as none is to be asked for now.
    pub(super) fn refuse_without_receipt(&mut self, rng: &mut impl CryptoRng) {
        if !self.may_begin() {
            for job in core::mem::take(&mut self.jobs) {
                self.stop(job, Stop::Stale);
            }
        }
        if self.candidate.is_some() && !self.is_vouched() {
            // There is nobody else to speak to here.
            self.fail(rng);
        }
    }

    /// The floor has risen. Whoever holds the ledger back can let it grow, too: that a receipt is missing stays as it is.
    pub(super) fn grown(&mut self) {
        self.standing.risen = self.now;
        self.standing.stands_still = false;
    }

    /// After a poll: has the ledger grown since long enough ago? Otherwise a receipt has to say that there is nothing newer. A device
    /// that is stale tries its other addresses.
    pub(super) fn note_growth(&mut self, rng: &mut impl CryptoRng) {
        self.standing.stands_still |= self.standing.is_overdue(self.now);
        if self.standing.is_stale() && self.kept.servers.len() > 1 {
            self.fail(rng);
        }
    }
}
