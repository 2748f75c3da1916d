//! Rollouts: one release to many devices, in phases; and the lowest counter that a channel takes.

use super::{DeviceState, Inventory, Text};
use crate::hex::Hex32;
use serde::{Deserialize, Serialize};

/// Most phases of a rollout.
pub const PHASES_MAX: usize = 16;

/// Most serials, and most types, that a filter names.
pub const NAMED_MAX: usize = 100;

/// Most devices that a filter names by their IDs: a request has room for no more.
pub const IDS_MAX: usize = 1000;

/// Most further tries that a device gets.
pub const RETRIES_MAX: u8 = 10;

/// Shortest and longest deadline for an answer, in seconds: a minute, and 90 days.
pub const DEADLINE_SECS: core::ops::RangeInclusive<u64> = 60..=90 * 24 * 60 * 60;

/// Longest pause between two phases, in seconds: a year.
pub const AFTER_SECS_MAX: u64 = 366 * 24 * 60 * 60;

words! {
    /// Where a rollout stands.
    RolloutState {
        /// Its time has not come. Its devices are not chosen yet, and none is held by it.
        Scheduled = "scheduled",
        /// It gives orders.
        Running = "running",
        /// It gives no orders until someone resumes it. Orders that no device had fetched are taken back.
        Paused = "paused",
        /// Every device has its end.
        Done = "done",
        /// Someone ended it.
        Aborted = "aborted",
    }
}

words! {
    /// Why a rollout is paused.
    RolloutReason {
        /// Someone paused it.
        Operator = "operator",
        /// More devices failed than the phase allows.
        Failures = "failures",
        /// The release was withdrawn.
        Withdrawn = "withdrawn",
        /// The channel's minimum rose above the release's counter.
        ChannelMinimum = "channel-minimum",
        /// Every device of the phase was skipped: nobody has tried the release in it.
        Untried = "untried",
    }
}

words! {
    /// What a running rollout waits for before it goes on.
    RolloutAwaits {
        /// For its start.
        Start = "start",
        /// For devices to answer.
        Devices = "devices",
        /// For the time of the next phase.
        Time = "time",
        /// For someone to begin the next phase.
        Hand = "hand",
    }
}

words! {
    /// How far one device is in a rollout. What a device does between receiving an order and answering it, it does not say.
    RolloutDeviceState {
        /// It has no order yet, or is to have another one.
        Waiting = "waiting",
        /// It is ordered to, and has not been heard since.
        Ordered = "ordered",
        /// It has the order, and has not said yet what became of it.
        Sent = "sent",
        /// It runs the release for good, as it signed.
        Done = "done",
        /// It failed, as often as it may.
        Failed = "failed",
        /// It takes no part.
        Skipped = "skipped",
        /// The rollout was aborted before it had its end.
        Aborted = "aborted",
    }
}

words! {
    /// Why a device failed or was skipped.
    RolloutDeviceReason {
        /// It tried, and failed.
        Failed = "failed",
        /// It refused: nothing showed it that what it sees of the ledger is of now.
        RefusedStale = "refused-stale",
        /// It refused: the ledger does not prove what it needs.
        RefusedUnproven = "refused-unproven",
        /// It cannot do such a thing.
        Unable = "unable",
        /// It did not answer within the rollout's deadline. An answer that comes later counts.
        Overdue = "overdue",
        /// It ran the release already.
        Current = "current",
        /// Another rollout had it.
        Busy = "busy",
        /// It is in quarantine.
        Quarantined = "quarantined",
        /// Its key is revoked.
        Revoked = "revoked",
        /// It is another organisation's now.
        Moved = "moved",
    }
}

/// Which devices: those for which all that is set holds, of the types that the release names. A device without a type is taken, too: it
/// knows its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceFilter {
    /// One of these (their IDs); at most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// In this group (its ID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Of one of these types; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<Text>,
    /// With one of these serials; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serials: Vec<Text>,
    /// With this text somewhere in the serial or the name, upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Text>,
    /// In this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DeviceState>,
    /// That say they run this release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Hex32>,
    /// With this verdict on their newest inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
}

impl DeviceFilter {
    /// Whether nothing is set: every device that the release is for.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// How many devices a phase adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PhaseSize {
    /// So many of a hundred of the devices that take part, 1 to 100. Parts of a device are rounded up over all phases so far, so that
    /// the first of them always has one.
    Percent(u8),
    /// So many devices, at least one.
    Count(u64),
    /// All that are left.
    Rest,
}

/// When a phase begins, once enough devices of those before it have succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub enum PhaseStart {
    /// At once.
    #[default]
    #[serde(rename = "at-once")]
    AtOnce,
    /// So many seconds after the phase before it began (the first: after the rollout began).
    #[serde(rename = "after_secs")]
    After(u64),
    /// At this time, in milliseconds since 1970.
    #[serde(rename = "at_ms")]
    At(u64),
    /// When someone says so.
    #[serde(rename = "by-hand")]
    ByHand,
}

/// How many failures a phase takes before the rollout pauses by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FailureLimit {
    /// So many of a hundred of the devices that have had their end since the phase began, or since it was resumed.
    Percent(u8),
    /// So many devices, since then.
    Count(u64),
}

impl Default for FailureLimit {
    fn default() -> Self {
        Self::Percent(10)
    }
}

const fn success_percent() -> u8 {
    90
}

/// One phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How many devices it adds.
    pub size: PhaseSize,
    /// When it begins.
    #[serde(default)]
    pub start: PhaseStart,
    /// So many of a hundred of the devices that were ordered so far must have succeeded before the next phase begins by itself; 90 when
    /// not said.
    #[serde(default = "success_percent")]
    pub success_percent: u8,
    /// The rollout pauses when there are more failures than this; 10 % when not said.
    #[serde(default)]
    pub failures: FailureLimit,
}

impl Phase {
    /// A phase of this size, with everything else as it is when not said.
    #[must_use]
    pub const fn new(size: PhaseSize) -> Self {
        Self {
            size,
            start: PhaseStart::AtOnce,
            success_percent: success_percent(),
            failures: FailureLimit::Percent(10),
        }
    }
}

fn one_phase() -> Vec<Phase> {
    vec![Phase::new(PhaseSize::Rest)]
}

/// To roll a release out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RolloutCreate {
    /// What it is called.
    pub name: Text,
    /// Digest of the release. Its manifest and contents are on the server.
    pub release: Hex32,
    /// To which devices. They are chosen when the rollout begins, and stay the same.
    #[serde(default)]
    pub devices: DeviceFilter,
    /// The phases, 1 to 16; the last one takes the rest, unless percentages make up a hundred. One of all when not said.
    #[serde(default = "one_phase")]
    pub phases: Vec<Phase>,
    /// How many further tries a device that fails gets, at most 10.
    #[serde(default)]
    pub retries: u8,
    /// Also devices that run the release already: they install it again.
    #[serde(default)]
    pub force: bool,
    /// When it begins, in milliseconds since 1970; at once when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
    /// A device that has not answered its order so many seconds after it was given has failed; without it, it is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_secs: Option<u64>,
}

/// How many devices are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutCounts {
    /// Waiting.
    pub waiting: u64,
    /// Ordered.
    pub ordered: u64,
    /// Sent.
    pub sent: u64,
    /// Done.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped.
    pub skipped: u64,
    /// Aborted.
    pub aborted: u64,
}

impl RolloutCounts {
    /// Those in this state.
    #[must_use]
    pub const fn of(&self, state: RolloutDeviceState) -> u64 {
        match state {
            RolloutDeviceState::Waiting => self.waiting,
            RolloutDeviceState::Ordered => self.ordered,
            RolloutDeviceState::Sent => self.sent,
            RolloutDeviceState::Done => self.done,
            RolloutDeviceState::Failed => self.failed,
            RolloutDeviceState::Skipped => self.skipped,
            RolloutDeviceState::Aborted => self.aborted,
        }
    }

    /// The place of those in this state.
    #[must_use]
    pub const fn of_mut(&mut self, state: RolloutDeviceState) -> &mut u64 {
        match state {
            RolloutDeviceState::Waiting => &mut self.waiting,
            RolloutDeviceState::Ordered => &mut self.ordered,
            RolloutDeviceState::Sent => &mut self.sent,
            RolloutDeviceState::Done => &mut self.done,
            RolloutDeviceState::Failed => &mut self.failed,
            RolloutDeviceState::Skipped => &mut self.skipped,
            RolloutDeviceState::Aborted => &mut self.aborted,
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        RolloutDeviceState::ALL
            .iter()
            .map(|state| self.of(*state))
            .sum()
    }
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    /// Its number.
    pub id: u64,
    /// What was asked for.
    pub plan: RolloutCreate,
    /// Where it stands.
    pub state: RolloutState,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RolloutReason>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<RolloutAwaits>,
    /// How many phases have begun.
    pub phase: u16,
    /// How many devices take part, skipped ones left out that were so at its beginning.
    pub total: u64,
    /// How many of them the phases so far hold.
    pub released: u64,
    /// How many devices are in each state.
    pub counts: RolloutCounts,
    /// How many have had an order for a day and have not answered it.
    pub silent: u64,
    /// When it was made.
    pub created_ms: u64,
    /// By whom.
    pub created_by: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_ms: Option<u64>,
    /// When its newest phase began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_ms: Option<u64>,
    /// When it goes on by itself, if time is what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// When it was done or aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
}

/// One device of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutDevice {
    /// Its ID.
    pub device: String,
    /// Its phase, from 1; none for who was skipped at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<u16>,
    /// How far it is.
    pub state: RolloutDeviceState,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RolloutDeviceReason>,
    /// The order that it has, or answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// How often it was ordered to.
    pub attempts: u16,
    /// Since when it is so.
    pub changed_ms: u64,
}

/// The lowest counter of a channel: no order for a release of it below that is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Channel {
    /// Its label (spec/firmware.md).
    pub channel: String,
    /// The counter that a release of it must have at least.
    pub minimum_counter: u64,
    /// When that was set.
    pub changed_ms: u64,
    /// By whom.
    pub changed_by: String,
}

/// To set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChannelSet {
    /// The counter that a release of it must have at least; 0 for none.
    pub minimum_counter: u64,
}
