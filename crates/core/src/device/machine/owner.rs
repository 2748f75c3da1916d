//! Whose the device is (spec/device-protocol.md, "Owners"): the one place for that rule.
//!
//! The ledger says so, in the record of the device's own key, and nobody else does. The device looks there before it does what only its
//! owner may want, and whenever somebody says that it has another owner; what says so need not be believed, and whoever does not say so
//! gains nothing. Its floor bounds how old the record can be that is shown to it.

use arrayvec::ArrayString;
use rand_core::CryptoRng;

use super::answers::Own;
use super::trial::Candidate;
use super::{Asked, Device, Job, NamedAddress, Phase, Step};
use crate::device::URL_LEN_MAX;
use crate::device::outbox::Event;
use crate::id::OrgId;

/// Wait before a receipt is asked for again where the answer was that the device has another owner; and, once it is told where that
/// one's servers are, until it can be told that this address is reached.
const MOVED_MS: u64 = 1_000;
/// So many owners that it had in between may lead a device on in one round of its addresses.
const DETOURS_MAX: u8 = 4;

impl Device {
    /// Other addresses can be reached. Where the device knows no server of its owner's, it was told of the last one just now, and turns
    /// there first, soon: so it is led from one owner to the next. But it does so only so often in a round of its addresses, goes on with
    /// the round where it was, and the waits after that are as long as before: who names one address after the other keeps it neither
    /// busy nor from those that it has.
    pub(super) fn reach(&mut self, addresses: usize, rng: &mut impl CryptoRng) {
        let before = self.kept.servers.len();
        self.kept.reach(addresses);
        let now = self.kept.servers.len();
        if now > before {
            self.persist();
        }
        if !self.kept.is_lost() {
            return;
        }
        let at = addresses.clamp(1, now.max(1)) - 1;
        self.named = Some(NamedAddress { at, asked: false });
        if matches!(self.phase, Phase::Idle) && self.detours < DETOURS_MAX {
            self.detours += 1;
            // The named one is the last of a round.
            let next = if self.server == at { 0 } else { self.server };
            self.resume.get_or_insert(next);
            self.candidate = None;
            self.server = at;
            self.soon(rng);
        }
    }

    /// Whether a stranger is one to ask where the owner's servers are: of the organisation that had the device when its key was made, or
    /// somebody whom that one named, or where nobody has named anything yet. Whoever else has a server key on this ledger, and sits in
    /// between, does not put an address in the place of a true one.
    fn may_name(&self) -> bool {
        let is_bound = |candidate: Candidate| candidate.org == self.kept.bound;
        let is_named = |named: NamedAddress| named.at == self.server;
        self.candidate.is_some_and(is_bound) || self.named.is_none_or(is_named)
    }

    /// Somebody says that the device has another owner. The proof of that is asked for in a session of its own.
    pub(super) fn told_of_owner(
        &mut self,
        hint: ArrayString<URL_LEN_MAX>,
        asked: Asked,
        first: bool,
        rng: &mut impl CryptoRng,
    ) {
        if self.meets_stranger() {
            // Its word is no reason to doubt anything, and it does not show what it has to.
            self.fail(rng);
            if matches!(asked, Asked::Fresh { .. }) {
                self.receipt_denied(0);
            }
            return;
        }
        let proven = matches!(&self.phase, Phase::Session(session) if session.proven);
        // Handed out when the record shows that it is so: a liar's is forgotten.
        if proven && !hint.is_empty() {
            self.hint = hint;
            self.hint_due = true;
        }
        self.doubts = true;
        self.told_moved = true;
        if matches!(asked, Asked::Own | Asked::Successor) {
            // It does not show what it says.
            return self.fail(rng);
        }
        if matches!(asked, Asked::Fresh { .. }) {
            // Other owners' devices may ask for receipts, too.
            self.receipt_denied(MOVED_MS);
        }
        if first {
            self.phase = Phase::Idle;
        }
    }

    /// A stranger says where the owner's servers may be, or that it does not know. The same as before is nothing new, and an address that was
    /// named before is asked before another one takes its place.
    pub(super) fn told_where(&mut self, hint: ArrayString<URL_LEN_MAX>, rng: &mut impl CryptoRng) {
        self.fail(rng);
        let waits = self.named.is_some_and(|named| !named.asked);
        if !hint.is_empty() && hint != self.hint && !waits {
            self.hint = hint;
            self.push(Step::Hint);
        }
    }

    /// The device has looked at its own record.
    pub(super) fn looked_at(&mut self, own: Own, rng: &mut impl CryptoRng) {
        let told_moved = core::mem::take(&mut self.told_moved);
        let owner = match own {
            Own::InForce(owner, moves) => {
                if !core::mem::replace(&mut self.kept.registered, true) {
                    self.enrolled = false;
                    self.event(Event::Enrolled);
                    self.persist();
                }
                if core::mem::replace(&mut self.kept.moves, moves) != moves {
                    self.persist();
                }
                owner
            }
            // What became of it is the succession's to find out; whose it was when it ended says the record.
            Own::Ended(owner) if self.kept.registered => owner,
            // As long as it is like that, nothing is done that only an owner may want.
            Own::Ended(_) | Own::Other => {
                self.enrolled = false;
                self.forget_hint();
                return self.fail(rng);
            }
        };
        self.doubts = false;
        let moved = owner != self.kept.org;
        self.owned_by(owner, rng);
        if told_moved && !moved {
            // Whoever said so is wrong, or behind.
            self.fail(rng);
        }
    }

    /// A proof says whose the device is.
    pub(super) fn owned_by(&mut self, owner: OrgId, rng: &mut impl CryptoRng) {
        let moved = owner != self.kept.org;
        if !moved {
            self.forget_hint();
        }
        let hinted = core::mem::take(&mut self.hint_due);
        if moved {
            self.forget_orders();
            self.kept.come_to(owner);
            self.event(Event::Moved { to: owner });
            self.persist();
            if hinted {
                self.push(Step::Hint);
                self.pause = self.now.plus_ms(MOVED_MS);
            }
        }
        if self.meets_stranger() {
            if self.kept.is_lost()
                && !hinted
                && self.may_name()
                && let Phase::Session(session) = &mut self.phase
            {
                session.asks_where = true;
            } else {
                self.fail(rng);
            }
        } else if self.is_on_trial() {
            self.adopt_candidate();
            // Spoken to as the owner's in a session of its own, with the tripwire's value.
            self.phase = Phase::Idle;
        } else if moved {
            // The servers that it knows are the last owner's: what serves at each address is asked for, the next one first.
            self.phase = Phase::Idle;
            self.turn_to_next_server();
        }
    }

    /// What was said of an owner that the record does not show is nothing.
    fn forget_hint(&mut self) {
        if core::mem::take(&mut self.hint_due) {
            self.hint.clear();
        }
    }

    /// What the last owner wanted is nothing to the next one, who gives orders the same numbers. Steps of an update that is under way are
    /// asked for as ever, and now the next owner has to have published it.
    fn forget_orders(&mut self) {
        self.jobs
            .retain(|job| matches!(job, Job::Update { order: 0, .. }));
        self.rotate = None;
        self.outcomes.clear();
        self.told.clear();
        self.seen.clear();
        self.reported = None;
        if self.report.take().is_some() {
            self.event(Event::ReportStopped);
        }
        self.submitted = false;
        self.rejections = 0;
        self.succeed_at = self.now;
        self.failures = 0;
        self.poll_at = self.now;
    }
}
