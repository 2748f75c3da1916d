//! `/devices`: the fleet.

use super::{
    Frame, address, grouped,
    parts::{Badge, Copyable, Hash, Pager, When},
    texts::fill,
};
use askama::Template;
use kusabi_api::admin::{DeviceState, Inventory};

#[derive(Debug, Template)]
#[template(path = "devices.html")]
pub(crate) struct Devices {
    pub(crate) f: Frame,
    pub(crate) filter: Filter,
    /// Devices in each state, whatever the filter says.
    pub(crate) counts: Vec<(DeviceState, u64)>,
    /// All of them.
    pub(crate) total: u64,
    /// Types that there are.
    pub(crate) types: Vec<String>,
    /// ID and name of groups.
    pub(crate) groups: Vec<(String, String)>,
    pub(crate) rows: Vec<Row>,
    pub(crate) pager: Pager,
    /// For an empty fleet: the commands to the first device.
    pub(crate) provision: Copyable,
    pub(crate) enrol: Copyable,
}

/// What is asked for; empty is all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) q: String,
    pub(crate) state: String,
    pub(crate) device_type: String,
    pub(crate) group: String,
    pub(crate) inventory: String,
}

/// One device in the list.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) address: String,
    pub(crate) state: Badge,
    pub(crate) name: Option<String>,
    pub(crate) serial: String,
    pub(crate) device_type: String,
    pub(crate) groups: Vec<String>,
    pub(crate) firmware: Option<Hash>,
    /// Of a device that has moved nothing is expected here.
    pub(crate) inventory: Option<Badge>,
    pub(crate) last_contact: Option<When>,
}

/// How many are in one state.
#[derive(Debug)]
struct Tally {
    address: String,
    current: bool,
    badge: Badge,
    count: String,
}

/// One part of the bar above the tallies, in thousandths.
#[derive(Debug)]
struct Part {
    tone: &'static str,
    x: u64,
    width: u64,
}

impl Filter {
    pub(crate) fn is_set(&self) -> bool {
        let all = [
            &self.q,
            &self.state,
            &self.device_type,
            &self.group,
            &self.inventory,
        ];
        all.iter().any(|value| !value.is_empty())
    }

    /// The list's address with this filter, at this cursor.
    pub(crate) fn address(&self, cursor: Option<&str>) -> String {
        address(
            "/devices",
            &[
                ("q", Some(&self.q)),
                ("state", Some(&self.state)),
                ("type", Some(&self.device_type)),
                ("group", Some(&self.group)),
                ("inventory", Some(&self.inventory)),
                ("cursor", cursor),
            ],
        )
    }
}

impl Devices {
    fn total_text(&self) -> String {
        fill(self.f.t.devices_total, grouped(self.total))
    }

    fn count(&self, state: DeviceState) -> u64 {
        let found = self.counts.iter().find(|(one, _)| *one == state);
        found.map_or(0, |(_, count)| *count)
    }

    fn tallies(&self) -> Vec<Tally> {
        let one = |state: &DeviceState| {
            let current = self.filter.state == state.name();
            // A second click takes the condition away.
            let wanted = Filter {
                state: if current {
                    String::new()
                } else {
                    state.name().into()
                },
                ..self.filter.clone()
            };
            Tally {
                address: wanted.address(None),
                current,
                badge: Badge::state(self.f.t, *state),
                count: grouped(self.count(*state)),
            }
        };
        DeviceState::ALL.iter().map(one).collect()
    }

    fn bar(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut before = 0;
        for state in DeviceState::ALL {
            let count = self.count(*state);
            let x = 1000 * before / self.total.max(1);
            before += count;
            let end = 1000 * before / self.total.max(1);
            // One of a million is seen, too.
            let width = (end - x).max(u64::from(count > 0) * 3);
            parts.push(Part {
                tone: state.name(),
                x,
                width,
            });
        }
        parts
    }

    fn states(&self) -> Vec<(&'static str, &'static str)> {
        let one = |state: &DeviceState| (state.name(), self.f.t.state(*state));
        DeviceState::ALL.iter().map(one).collect()
    }

    fn verdicts(&self) -> Vec<(&'static str, &'static str)> {
        let one = |verdict: &Inventory| (verdict.name(), self.f.t.inventory(*verdict));
        Inventory::ALL.iter().map(one).collect()
    }
}
