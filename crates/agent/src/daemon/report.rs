//! Signed inventories: made on order, daily and on change, and sent part by part.

use std::io::Read;

use kusabi_core::device::{Input, KeyRing as _};
use kusabi_core::inventory::{InventoryStatement, SignedInventory};
use kusabi_core::protocol::Time;
use kusabi_core::protocol::reply::{ORDERS_MAX, Order, Task};
use kusabi_core::protocol::request::{OutcomeCode, PART_LEN_MAX};
use kusabi_core::suite::Purpose;

use super::heart::{Feed, Heart};
use super::inventory::open_inventory;
use super::store::{Held, StoreError};
use crate::disk::Disk;

/// How often a report is begun again before it is given up.
const BEGINNINGS_MAX: u8 = 6;
/// Most reports that wait: what servers may order in this session and the one before, and the daily one.
const WANTED_MAX: usize = 2 * ORDERS_MAX + 1;

/// A report that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The order's ID; 0 when nobody asked.
    order: u64,
    /// What the order wants covered; zeros when nobody asked.
    nonce: [u8; 32],
    /// The inventory is being taken for it: the walk began after it was wanted, and reads as much as it asks for.
    taking: bool,
    /// The inventory was taken since.
    fresh: bool,
    begun: u8,
}

impl Wanted {
    /// One that nobody asked for.
    pub(super) const fn daily() -> Self {
        Self::ordered(0, [0; 32])
    }

    /// One that nobody asked for, of the inventory that was just taken.
    pub(super) const fn taken() -> Self {
        let mut wanted = Self::daily();
        wanted.fresh = true;
        wanted
    }

    pub(super) const fn ordered(order: u64, nonce: [u8; 32]) -> Self {
        Self {
            order,
            nonce,
            taking: false,
            fresh: false,
            begun: 0,
        }
    }

    /// A walk begins. Whoever ordered a report has a reason, and gets one for which every file was read after the order came.
    pub(super) const fn walk_begins(&mut self, full: bool) {
        self.taking = full || self.order == 0;
    }

    /// The walk is over.
    pub(super) const fn walk_ends(&mut self) {
        self.fresh |= self.taking;
    }

    /// What was taken is of a release that runs no more; whether the report was ordered.
    pub(super) const fn is_old(&mut self) -> bool {
        self.taking = false;
        self.fresh = false;
        self.order != 0
    }

    const fn order(&self) -> Order {
        Order {
            id: self.order,
            task: Task::ReportInventory(self.nonce),
        }
    }
}

/// A report that is being sent.
pub(super) struct Report {
    wanted: Wanted,
    held: Held,
    head: [u8; SignedInventory::LEN],
    inventory: Box<dyn Read + Send>,
    total: u32,
    /// Where the part begins.
    offset: u32,
    part: Vec<u8>,
}

impl Report {
    /// The signed statement.
    pub(super) const fn statement(&self) -> &[u8; SignedInventory::LEN] {
        &self.head
    }

    pub(super) fn input(&self) -> Input<'_> {
        Input::Report {
            nonce: self.wanted.nonce,
            total: self.total,
            offset: self.offset,
            part: &self.part,
        }
    }

    fn end(&self) -> u32 {
        self.offset
            .saturating_add(u32::try_from(self.part.len()).unwrap_or(u32::MAX))
    }

    /// Reads the part at `offset`, which follows on the last one.
    fn read_part(&mut self, offset: u32) -> std::io::Result<()> {
        self.offset = offset;
        self.part.clear();
        if offset == 0 {
            self.part.extend_from_slice(&self.head);
        }
        let room = PART_LEN_MAX - self.part.len();
        (&mut self.inventory)
            .take(room as u64)
            .read_to_end(&mut self.part)?;
        // The file is shorter than it was when it was taken.
        if self.part.is_empty() || (self.end() < self.total && self.part.len() < PART_LEN_MAX) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<D: Disk + Clone> Heart<D> {
    pub(super) fn want_report(&mut self, wanted: Wanted) {
        let sent = self.report.as_ref().map(|report| report.wanted.order);
        // One that is being sent was begun with an older inventory, but an ordered one is not wanted twice.
        let known = self.wanted.iter().any(|other| other.order == wanted.order)
            || sent.is_some_and(|order| order != 0 && order == wanted.order);
        if known {
            return;
        }
        if self.wanted.len() == WANTED_MAX {
            // No server that keeps to the protocol orders so many.
            self.log
                .warn("too many reports wait", &[("order", &wanted.order)]);
            self.tell(wanted.order(), OutcomeCode::Failed);
            return;
        }
        self.wanted.push_back(wanted);
    }

    /// None of the reports that wait can be made.
    pub(super) fn drop_reports(&mut self, code: OutcomeCode) {
        for wanted in std::mem::take(&mut self.wanted) {
            if wanted.order != 0 {
                self.tell(wanted.order(), code);
            }
        }
    }

    /// What the device's last owner asked for is asked for no more; the new one has not seen the device's inventory yet.
    pub(super) fn forget_reports(&mut self) {
        self.report = None;
        self.wanted.clear();
        if !self.config.inventory.is_empty() {
            self.want_report(Wanted::daily());
            self.take_inventory(false);
        }
    }

    /// Begins the next report, if the time has come: there is a fresh inventory of the release that runs, a device key, and a session to
    /// sign for.
    pub(super) fn report_next(&mut self, now: Time) -> Result<(), StoreError> {
        let ready = self.report.is_none() && self.is_settled() && self.busy != Some("inventory");
        let Some(wanted) = self.wanted.front().copied() else {
            return Ok(());
        };
        let act = self.device.kept().current().purpose == Purpose::Act;
        if !ready || !wanted.fresh || !act || self.seen.polls == 0 {
            return Ok(());
        }
        if self.device.handshake().is_none() {
            if !self.calling {
                self.calling = true;
                self.feeds.push_back(Feed::Poll);
            }
            return Ok(());
        }
        let _ = now;
        self.wanted.pop_front();
        match self.begin(wanted) {
            Ok(report) => {
                self.report = Some(report);
                self.feeds.push_back(Feed::ReportPart);
            }
            Err(why) => {
                self.log.error("no report was made", &[("why", &why)]);
                self.tell(wanted.order(), OutcomeCode::Failed);
            }
        }
        Ok(())
    }

    /// Signs the inventory for the session that is open.
    fn begin(&self, wanted: Wanted) -> Result<Report, String> {
        let summary = self.taken.ok_or("there is no inventory")?;
        let kept = self.device.kept();
        let handshake = self.device.handshake().ok_or("there is no session")?;
        let anchor = kept.trust().anchor();
        let nonce = (wanted.nonce != [0; 32]).then_some(wanted.nonce);
        let statement = InventoryStatement::new(
            &summary,
            self.record.running,
            (anchor.height(), anchor.header_hash()),
            *handshake,
            nonce,
        );
        let current = kept.current();
        let (_, key) = self.store.key(current.slot).ok_or("the key is not there")?;
        let signed = statement
            .sign(&anchor.chain(), &current.handle, key)
            .map_err(|error| error.to_string())?;
        let total = SignedInventory::LEN as u64 + summary.size();
        let mut report = Report {
            wanted,
            held: Held {
                inventory: summary.digest(),
                release: self.record.running,
            },
            head: signed.encode(),
            inventory: open_inventory(&self.disk, &self.config)
                .map_err(|error| error.to_string())?,
            total: u32::try_from(total).map_err(|_| "the inventory is too large")?,
            offset: 0,
            part: Vec::with_capacity(PART_LEN_MAX),
        };
        report.read_part(0).map_err(|error| error.to_string())?;
        Ok(report)
    }

    pub(super) fn report_received(&mut self, offset: u32) -> Result<(), StoreError> {
        let Some(mut report) = self.report.take() else {
            return Ok(());
        };
        if offset != report.end() {
            self.report = Some(report);
            self.report_again();
            return Ok(());
        }
        if offset == report.total {
            self.log.info(
                "inventory reported",
                &[
                    ("order", &report.wanted.order),
                    ("digest", &report.held.inventory),
                ],
            );
            let held = report.held;
            if self.store.reported() != Some(held) {
                self.store.put_reported(&held)?;
            }
            // Nobody asked, and the server has just heard it.
            if self.record.running == held.release
                && self
                    .taken
                    .is_some_and(|taken| taken.digest() == held.inventory)
            {
                self.wanted.retain(|wanted| wanted.order != 0);
            }
            self.tell(report.wanted.order(), OutcomeCode::Done);
            return Ok(());
        }
        match report.read_part(offset) {
            Ok(()) => {
                self.report = Some(report);
                self.feeds.push_back(Feed::ReportPart);
            }
            Err(error) => {
                self.log
                    .error("the inventory cannot be read", &[("why", &error)]);
                self.begin_again(report.wanted);
            }
        }
        Ok(())
    }

    /// From the beginning, signed for the session that is open then.
    pub(super) fn report_again(&mut self) {
        if let Some(report) = self.report.take() {
            self.begin_again(report.wanted);
        }
    }

    fn begin_again(&mut self, mut wanted: Wanted) {
        wanted.begun += 1;
        if wanted.begun >= BEGINNINGS_MAX {
            self.log
                .warn("the report is given up", &[("order", &wanted.order)]);
            self.tell(wanted.order(), OutcomeCode::Failed);
        } else {
            self.wanted.push_front(wanted);
        }
    }

    pub(super) fn report_stopped(&mut self) {
        if let Some(report) = self.report.take() {
            let order = report.wanted.order();
            self.log.warn(
                "the server does not take the report",
                &[("order", &order.id)],
            );
            self.tell(order, OutcomeCode::Failed);
        }
    }
}
