//! `/devices/{device}`: one device.

use super::{
    Frame,
    alarms::AlarmRow,
    parts::{Badge, Hash, When},
};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "device.html")]
pub(crate) struct Device {
    pub(crate) f: Frame,
    /// What was just done to it.
    pub(crate) done: Option<&'static str>,
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) state: Badge,
    /// It belongs to another organisation now: what is known of it here is of before.
    pub(crate) moved: bool,
    pub(crate) name: Option<String>,
    pub(crate) serial: String,
    pub(crate) device_type: String,
    pub(crate) groups: Vec<(String, String)>,
    pub(crate) firmware: Option<Hash>,
    pub(crate) inventory: Badge,
    pub(crate) freshness: Badge,
    /// What a device of a weaker class does without.
    pub(crate) class: Option<&'static str>,
    pub(crate) last_contact: Option<(When, When)>,
    pub(crate) created: When,
    /// Its open alarms.
    pub(crate) alarms: Vec<AlarmRow>,
    pub(crate) difference: Difference,
    /// The newest key first.
    pub(crate) keys: Vec<KeyRow>,
    /// The ledger does not answer.
    pub(crate) ledger_is_away: bool,
    pub(crate) orders: Vec<OrderRow>,
    pub(crate) acts: Vec<ActLink>,
    pub(crate) events: Vec<Event>,
    pub(crate) timeline_more: Option<String>,
    pub(crate) timeline_newest: Option<String>,
}

/// What the newest inventory says, item by item.
#[derive(Debug)]
pub(crate) enum Difference {
    Unknown,
    Same,
    Items {
        items: Vec<Item>,
        /// Items that are not shown.
        more: u64,
        reported: When,
    },
}

/// One thing that is not as it should be.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) badge: Badge,
    pub(crate) component: String,
    pub(crate) expected: Option<String>,
    pub(crate) found: Option<String>,
}

/// One of the device's keys.
#[derive(Debug)]
pub(crate) struct KeyRow {
    pub(crate) status: Badge,
    pub(crate) reason: Option<String>,
    pub(crate) purpose: String,
    pub(crate) handle: Hash,
    pub(crate) address: String,
    pub(crate) from: String,
    pub(crate) to: Option<String>,
    /// `None`: the ledger did not answer, or was not asked.
    pub(crate) proven_at: Option<String>,
}

/// An order, and how far this device is with it.
#[derive(Debug)]
pub(crate) struct OrderRow {
    pub(crate) id: u64,
    pub(crate) kind: &'static str,
    pub(crate) release: Option<Hash>,
    pub(crate) outcome: Badge,
    /// Where it is shown what a stock client logged of it.
    pub(crate) log: Option<String>,
    pub(crate) given: When,
}

/// Where an act is asked for.
#[derive(Debug)]
pub(crate) struct ActLink {
    pub(crate) address: String,
    pub(crate) name: &'static str,
}

/// Something that happened to the device.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) tone: &'static str,
    pub(crate) text: String,
    /// Its particulars, in the page's language.
    pub(crate) facts: String,
    /// A sentence, in English.
    pub(crate) detail: String,
    pub(crate) age: When,
    pub(crate) clock: When,
}

impl Device {
    fn title(&self) -> &str {
        match &self.name {
            Some(name) => name,
            None if !self.serial.is_empty() => &self.serial,
            None => &self.id,
        }
    }
}
