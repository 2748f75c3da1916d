//! A server on trial: whoever serves at an address under a key that the device has not adopted (spec/device-protocol.md, "What is proven to
//! the device"). The one place for what it has to show.
//!
//! A redirect proves whose key it is, as of some time. Before it is the address's, it shows in a session with it
//! - that it is so now, by a freshness receipt: its key may have ended since;
//! - that its organisation is the device's owner. Where it is another one than the device knows, it is asked for the record of the device's own
//!   key, and for nothing else: it may be all that a device finds whose old owner's servers are gone. The tripwire's values are for owners:
//!   such a server gets none, and its answers confirm none. If the record names somebody else, and the device knows no server of that
//!   one's, it is asked where they are: it may be the last owner's.

use rand_core::CryptoRng;

use super::{Asked, Device, Phase, Session};
use crate::device::Server;
use crate::device::outbox::Event;
use crate::id::OrgId;
use crate::protocol::request::{Ask, Subject};

/// A server key that the ledger proved, and whose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) server: Server,
    pub(super) org: OrgId,
}

impl Device {
    /// The server key that is spoken to, and whose it has to be.
    pub(super) fn peer(&self) -> Option<Candidate> {
        let adopted = self.kept.servers.get(self.server).map(|server| Candidate {
            server: *server,
            org: self.kept.org,
        });
        self.candidate.or(adopted)
    }

    /// Puts whoever serves at the present address on trial, soon, and a trial that comes to nothing ends with the wait of a failure. Where
    /// it is the server that the device knows, there is that wait before it is spoken to again: one that answers so but cannot be
    /// spoken to must not have the device turn in circles.
    pub(super) fn put_on_trial(&mut self, candidate: Candidate, rng: &mut impl CryptoRng) {
        let at = self.server;
        let is_known = self.kept.servers.get(at) == Some(&candidate.server)
            && !self.kept.is_strange(at)
            && candidate.org == self.kept.org;
        let resume = self.resume;
        self.fail(rng);
        (self.server, self.resume) = (at, resume);
        if !is_known {
            self.candidate = Some(candidate);
            self.soon(rng);
        }
    }

    /// Whether the session is one with a server on trial.
    pub(super) const fn is_on_trial(&self) -> bool {
        self.candidate.is_some() && matches!(self.phase, Phase::Session(_))
    }

    /// Whether the server on trial is of another organisation than the one that the device takes as its owner.
    pub(super) fn meets_stranger(&self) -> bool {
        self.candidate
            .is_some_and(|candidate| candidate.org != self.kept.org)
    }

    /// Whether the session's server has shown the present.
    pub(super) const fn is_vouched(&self) -> bool {
        matches!(&self.phase, Phase::Session(Session { vouched: true, .. }))
    }

    /// Asks a stranger for the record of the key that the session was opened as.
    pub(super) fn ask_stranger(&mut self, rng: &mut impl CryptoRng) {
        let Phase::Session(session) = &self.phase else {
            return;
        };
        let identity = session.identity;
        let asked = if self.kept.next == Some(identity) {
            Asked::Successor
        } else {
            Asked::Own
        };
        let subject = Subject::Record(identity.handle);
        self.ask(asked, &Ask::Prove(subject), rng);
    }

    /// Whoever is on trial is the address's from now on, if it has shown all that it has to.
    pub(super) fn adopt_candidate(&mut self) {
        if self.meets_stranger() || !self.is_vouched() {
            return;
        }
        let (Some(adopted), at) = (self.candidate.take(), self.server) else {
            return;
        };
        self.kept.serve_at(at, adopted.server);
        let handle = adopted.server.handle;
        self.event(Event::ServerAdopted { server: at, handle });
        self.persist();
    }
}
