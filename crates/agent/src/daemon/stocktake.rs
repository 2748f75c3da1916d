//! When the inventory is taken, and what follows from one that was taken or was not.

use kusabi_core::protocol::Time;
use kusabi_core::protocol::request::OutcomeCode;
use rand_core::Rng as _;

use super::heart::{Feed, Heart};
use super::inventory::Taken;
use super::report::Wanted;
use super::store::{Held, StoreError};
use super::worker::Task;
use crate::disk::Disk;

/// Longer than any device runs.
const NEVER_MS: u64 = u64::MAX / 4;
/// An inventory that failed is taken again after so long, at the latest.
const INVENTORY_AGAIN_MS: u64 = 3_600_000;

impl<D: Disk + Clone> Heart<D> {
    /// Another release runs than the one whose inventory was taken.
    pub(super) fn inventory_is_old(&mut self) {
        self.taken = None;
        let mut ordered = false;
        for wanted in &mut self.wanted {
            ordered |= wanted.is_old();
        }
        self.take_inventory(ordered);
    }

    /// The inventory is taken soon, in full if that is asked for; one that waits does for both.
    pub(super) fn take_inventory(&mut self, full: bool) {
        let full = full || self.config.inventory_full_every.is_zero();
        for task in &mut self.tasks {
            if let Task::Inventory { full: waiting } = task {
                *waiting |= full;
                return;
            }
        }
        self.tasks.push_back(Task::Inventory { full });
    }

    /// Time to the next walk that reads every file: exponentially distributed, so that however long ago the last one was, and however
    /// often the agent has started since, nobody who watches knows more of the next one.
    pub(super) fn full_ms(&mut self) -> u64 {
        if self.config.inventory_full_every.is_zero() {
            // Each of them is.
            return NEVER_MS;
        }
        let mean = self.config.inventory_full_every.as_millis() as f64;
        // In (0, 1]: 53 bits, as many as the number has.
        let drawn = ((self.random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        // At most 37 times the mean.
        (mean * -drawn.ln()) as u64
    }

    pub(super) fn inventory_ms(&mut self) -> u64 {
        let every = self.config.inventory_every.as_millis();
        self.jitter(u64::try_from(every).unwrap_or(u64::MAX / 4))
    }

    pub(super) fn inventory_taken(
        &mut self,
        now: Time,
        taken: Result<Option<Taken>, String>,
    ) -> Result<(), StoreError> {
        match taken {
            Ok(Some(Taken {
                walked,
                release,
                rules,
                full,
                trouble,
            })) => {
                for why in trouble {
                    self.log.warn("of the inventory", &[("why", &why)]);
                }
                let summary = walked.summary;
                self.log.info(
                    "inventory taken",
                    &[
                        ("components", &summary.count()),
                        ("read", &walked.read),
                        ("unchanged", &walked.remembered),
                        ("full", &full),
                        ("rules", &rules),
                        ("digest", &summary.digest()),
                    ],
                );
                self.taken = Some(summary);
                self.feeds.push_back(Feed::Facts);
                let held = Held {
                    inventory: summary.digest(),
                    release,
                };
                if self.store.reported() != Some(held) {
                    self.want_report(Wanted::taken());
                }
                for wanted in &mut self.wanted {
                    wanted.walk_ends();
                }
            }
            Ok(None) => self.drop_reports(OutcomeCode::Unsupported),
            Err(why) => {
                self.log.error("no inventory was taken", &[("why", &why)]);
                self.taken = None;
                // What was told holds no longer: servers are told that there is none, and of the next one, even if it is the same.
                self.store.forget_reported()?;
                self.feeds.push_back(Feed::Facts);
                self.tell_soon();
                self.inventory_at = self.inventory_at.min(now.plus_ms(INVENTORY_AGAIN_MS));
                self.drop_reports(OutcomeCode::Failed);
            }
        }
        Ok(())
    }
}
