//! What the machine's events mean for the daemon: lines in the log, what is told, forgotten, and written down for whoever only looks.

use std::path::Path;

use kusabi_core::device::{Event, SignedReceipt, Staleness};
use kusabi_core::id::Digest;
use kusabi_core::protocol::Time;
use kusabi_core::protocol::hello::Enrolment;
use kusabi_core::protocol::reply::{Order, SealedProblem};
use kusabi_core::protocol::request::OutcomeCode;

use super::heart::{Feed, Heart};
use super::receipts;
use super::report::{Report, Wanted};
use super::store::StoreError;
use crate::disk::Disk;

/// The contact file is written at most so often.
const CONTACT_MS: u64 = 60_000;

impl<D: Disk + Clone> Heart<D> {
    /// What an event means for this daemon, and its line in the log.
    pub(super) fn heed(&mut self, now: Time, event: Event) -> Result<(), StoreError> {
        let server = self.url();
        match event {
            Event::Connected { .. } => {
                let floor = self.device.kept().trust().floor();
                let height = floor.height.get();
                self.log
                    .info("connected", &[("server", &server), ("floor", &height)]);
            }
            Event::Polled { orders } => {
                self.seen.polls += 1;
                self.seen.troubles = 0;
                self.calling = false;
                self.log
                    .debug("polled", &[("server", &server), ("orders", &orders)]);
                self.note_contact(now, &server);
            }
            Event::Succeeded { handle } => {
                // An order to rotate was done; the machine has noted it.
                self.tell_soon();
                self.log
                    .info("the device key has taken its place", &[("handle", &handle)]);
            }
            Event::SuccessorEnded(status) => {
                let status = format!("{status:?}");
                self.log.error(
                    "the next key has ended on the ledger; its owner has to look at this device",
                    &[("status", &status)],
                );
            }
            Event::SuccessorTaken => self.log.warn(
                "another key stands under the next key's handle; a new one is made",
                &[],
            ),
            Event::SuccessorAbsent => {
                self.log
                    .warn("the ledger does not hold the next key yet", &[]);
            }
            Event::Enrolment(status) => {
                self.seen.enrolment = Some(status);
                let status = match status {
                    Enrolment::Waiting => "waiting to be accepted",
                    Enrolment::Registered => "registered",
                    Enrolment::Refused => "refused: is the token right and still good?",
                };
                let handle = self.device.kept().current().handle;
                self.log
                    .info("enrolment", &[("state", &status), ("handle", &handle)]);
            }
            Event::Enrolled => {
                self.seen.enrolled = true;
                self.store.end_enrolment()?;
                self.log.info("enrolled", &[]);
            }
            Event::ServerAdopted { handle, .. } => {
                self.tell_soon();
                self.log.info(
                    "server key adopted",
                    &[("server", &server), ("handle", &handle)],
                );
            }
            Event::ServerEnded { .. } => self.log.warn(
                "the ledger does not hold this server's key any more; another one is asked for",
                &[("server", &server)],
            ),
            Event::Moved { to } => {
                self.log.warn(
                    "this device is another organisation's now, says the ledger; it follows",
                    &[("owner", &to)],
                );
                self.forget_orders()?;
                self.tell_soon();
            }
            Event::Present { height } => {
                self.log.info(
                    "the server shows the present",
                    &[("server", &server), ("height", &height)],
                );
                self.note_freshness();
            }
            Event::Stale(why) => {
                let why = match why {
                    Staleness::Standstill => "the ledger has not grown for too long",
                    _ => "no freshness receipt was to be had",
                };
                self.log.warn(
                    "nothing shows that what the server shows is of now: until then nothing is installed and no server adopted",
                    &[("server", &server), ("why", &why)],
                );
                self.note_freshness();
            }
            Event::Fresh => {
                self.log.info("the present is shown again", &[]);
                self.note_freshness();
                self.gate_again(now);
            }
            Event::ReportWanted { order, nonce } => {
                self.want_report(Wanted::ordered(order, nonce));
                self.take_inventory(true);
            }
            Event::ReportReceived { offset } => self.report_received(offset)?,
            Event::ReportAgain => self.report_again(),
            Event::ReportStopped => self.report_stopped(),
            Event::Stopped { digest, gate, why } => self.stopped(now, digest, gate, why)?,
            Event::Problem(problem) => {
                self.seen.troubles += 1;
                let problem = format!("{problem:?}");
                self.log.warn(
                    "the server cannot",
                    &[("server", &server), ("problem", &problem)],
                );
            }
            Event::SealedProblem(problem) => {
                self.seen.troubles += 1;
                self.log.warn(
                    "the server cannot",
                    &[("server", &server), ("problem", &problem)],
                );
                // The ledger's own words would be a server's claim: they stand in its log, where its operator reads them.
                if problem == SealedProblem::Rejected
                    && let Some(next) = self.device.kept().next()
                {
                    let handle = next.handle;
                    self.log.warn(
                        "the next key waits, and the ledger refuses it; the server's log says why",
                        &[("handle", &handle)],
                    );
                }
                if matches!(
                    problem,
                    SealedProblem::Fork | SealedProblem::NotAllowed | SealedProblem::Rejected
                ) {
                    // The machine gives up what it asked for then.
                    self.gate_again(now);
                }
            }
            Event::Unreachable { .. } => {
                self.seen.troubles += 1;
                self.log.warn("no answer", &[("server", &server)]);
            }
            Event::KeyStore(error) => {
                self.log
                    .error("the private key did not do its part", &[("why", &error)]);
            }
            Event::KeyMissing(slot) => {
                let slot = format!("{slot:?}");
                self.log.error(
                    "a slot that should hold a key is empty; provision the device again",
                    &[("slot", &slot)],
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells what became of an order, soon.
    pub(super) fn tell(&mut self, order: Order, code: OutcomeCode) {
        if code != OutcomeCode::Done {
            self.seen.failed += 1;
        }
        if order.id == 0 {
            return;
        }
        self.log.info(
            "order ended",
            &[("order", &order.id), ("outcome", &word(code))],
        );
        self.feeds.push_back(Feed::Outcome(order, code));
        self.tell_soon();
    }

    pub(super) fn tell_soon(&mut self) {
        self.feeds.push_back(Feed::Poll);
    }

    /// What the last owner ordered is nothing to the next one, who is told nothing of it.
    pub(super) fn forget_orders(&mut self) -> Result<(), StoreError> {
        self.feeds.retain(|feed| !matches!(feed, Feed::Outcome(..)));
        self.forget_reports();
        self.forget_updates()
    }

    /// A receipt is for a dispute some day: without it the device goes on.
    pub(super) fn keep_receipt(&self, receipt: &SignedReceipt) {
        let statement = self.report.as_ref().map(Report::statement);
        let statement =
            statement.filter(|statement| receipt.statement == Some(Digest::of(&statement[..])));
        let path = self.config.receipts_file();
        if let Err(error) = receipts::keep(&self.disk, &path, receipt, statement) {
            self.log.warn(
                "a receipt was not kept",
                &[("file", &path.display()), ("why", &error)],
            );
        }
    }

    /// Its age says when a server was heard last, also to whoever only looks. Nothing relies on it.
    fn note_contact(&mut self, now: Time, server: &str) {
        if self
            .contact
            .is_some_and(|last| now.since_ms(last) < CONTACT_MS)
        {
            return;
        }
        self.contact = Some(now);
        self.note(&self.config.contact_file(), server);
    }

    /// Whether the device knows the present, and at which height.
    pub(super) fn note_freshness(&self) {
        let height = self.device.kept().trust().floor().height;
        let text = format!("{} {height}", self.device.freshness().name());
        self.note(&self.config.freshness_file(), &text);
    }

    /// Writes a line for whoever only looks.
    fn note(&self, path: &Path, text: &str) {
        let written = self
            .disk
            .remove(path)
            .and_then(|()| self.disk.create(path, 0o600))
            .and_then(|()| self.disk.append(path, text.as_bytes()));
        if let Err(error) = written {
            let path = path.display();
            self.log
                .debug("not written", &[("path", &path), ("why", &error)]);
        }
    }
}

pub(super) const fn word(code: OutcomeCode) -> &'static str {
    match code {
        OutcomeCode::Done => "done",
        OutcomeCode::Stale => "refused: nothing shows the present",
        OutcomeCode::Unproven => "refused: not proven",
        OutcomeCode::Failed => "failed",
        OutcomeCode::Unsupported => "this device cannot do it",
    }
}
