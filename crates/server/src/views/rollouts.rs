//! `/rollouts` and `/rollouts/{rollout}`

use super::{
    Frame, grouped,
    parts::{Badge, Hash, Pager, When},
    texts::fill,
};
use askama::Template;
use kusabi_api::admin::{RolloutCounts, RolloutDeviceState};

#[derive(Debug, Template)]
#[template(path = "rollouts.html")]
pub(crate) struct Rollouts {
    pub(crate) f: Frame,
    pub(crate) rows: Vec<RolloutRow>,
    pub(crate) pager: Pager,
}

/// One rollout in the list.
#[derive(Debug)]
pub(crate) struct RolloutRow {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) state: Badge,
    pub(crate) release: Hash,
    pub(crate) phase: String,
    pub(crate) counts: RolloutCounts,
    pub(crate) total: u64,
    pub(crate) by: String,
    pub(crate) made: When,
}

#[derive(Debug, Template)]
#[template(path = "rollout.html")]
pub(crate) struct Rollout {
    pub(crate) f: Frame,
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) state: Badge,
    /// What it waits for, or why it is held; empty where there is nothing to say.
    pub(crate) says: String,
    /// Whether that needs a person.
    pub(crate) needs: bool,
    pub(crate) acts: Vec<RolloutAct>,
    pub(crate) counts: RolloutCounts,
    pub(crate) total: u64,
    pub(crate) silent: u64,
    pub(crate) release: Hash,
    pub(crate) channel_note: &'static str,
    pub(crate) whom: Vec<(&'static str, String)>,
    pub(crate) retries: u8,
    pub(crate) force: bool,
    pub(crate) deadline: Option<String>,
    pub(crate) by: String,
    pub(crate) made: When,
    pub(crate) began: Option<When>,
    pub(crate) goes_on: Option<When>,
    pub(crate) ended: Option<When>,
    pub(crate) phases: Vec<PhaseRow>,
    /// The state whose devices are shown.
    pub(crate) which: Option<RolloutDeviceState>,
    pub(crate) devices: Vec<DeviceRow>,
    pub(crate) pager: Pager,
}

/// Something that can be done to it.
#[derive(Debug)]
pub(crate) struct RolloutAct {
    pub(crate) address: String,
    pub(crate) text: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// Whether it is asked once more.
    pub(crate) grave: bool,
    /// Makes the form that is sent twice one act.
    pub(crate) once: String,
}

/// One phase.
#[derive(Debug)]
pub(crate) struct PhaseRow {
    pub(crate) number: u16,
    pub(crate) state: Badge,
    pub(crate) size: String,
    pub(crate) start: String,
    pub(crate) success: u8,
    pub(crate) failures: String,
}

/// One device.
#[derive(Debug)]
pub(crate) struct DeviceRow {
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) phase: Option<u16>,
    pub(crate) state: Badge,
    pub(crate) reason: Option<&'static str>,
    pub(crate) attempts: u16,
    pub(crate) since: When,
}

/// How many are in one state.
#[derive(Debug)]
struct Tally {
    address: String,
    current: bool,
    badge: Badge,
    count: String,
}

/// One part of a bar, in thousandths.
#[derive(Debug)]
struct Part {
    tone: &'static str,
    x: u64,
    width: u64,
}

/// In the order in which a device goes through them, what is over first.
const ORDER: [RolloutDeviceState; 7] = [
    RolloutDeviceState::Done,
    RolloutDeviceState::Failed,
    RolloutDeviceState::Sent,
    RolloutDeviceState::Ordered,
    RolloutDeviceState::Waiting,
    RolloutDeviceState::Aborted,
    RolloutDeviceState::Skipped,
];

/// The bar of these devices; those that take no part are left out.
fn bar(counts: &RolloutCounts) -> Vec<Part> {
    let shown = |state: &&RolloutDeviceState| **state != RolloutDeviceState::Skipped;
    let all: u64 = ORDER
        .iter()
        .filter(shown)
        .map(|state| counts.of(*state))
        .sum();
    let mut before = 0;
    let part = |state: &RolloutDeviceState| {
        let count = counts.of(*state);
        let at = |count: u64| u64::try_from(1000 * u128::from(count) / u128::from(all.max(1)));
        let x = at(before).unwrap_or(1000);
        before += count;
        let end = at(before).unwrap_or(1000);
        // One of a million is seen, too.
        let width = (end - x).max(u64::from(count > 0) * 3);
        Part {
            tone: state.name(),
            x,
            width,
        }
    };
    ORDER.iter().filter(shown).map(part).collect()
}

impl RolloutRow {
    fn bar(&self) -> Vec<Part> {
        bar(&self.counts)
    }

    fn done(&self, frame: &Frame) -> String {
        fill(frame.t.of, grouped(self.counts.done))
    }
}

impl Rollout {
    fn bar(&self) -> Vec<Part> {
        bar(&self.counts)
    }

    fn total_text(&self) -> String {
        fill(self.f.t.rollout_total, grouped(self.total))
    }

    fn silent_text(&self) -> String {
        fill(self.f.t.rollout_silent, grouped(self.silent))
    }

    fn tallies(&self) -> Vec<Tally> {
        let one = |state: RolloutDeviceState| {
            let current = self.which == Some(state);
            // A second click takes the condition away.
            let wanted = if current { None } else { Some(state.name()) };
            Tally {
                address: super::address(&format!("/rollouts/{}", self.id), &[("state", wanted)]),
                current,
                badge: Badge::rollout_device(self.f.t, state),
                count: grouped(self.counts.of(state)),
            }
        };
        ORDER.map(one).into()
    }
}
