//! Components that several pages share. Each escapes what it is given, and so stands in a page as it is.

use super::{Frame, short, time};
use crate::views::texts::Texts;
use askama::{Template, filters::HtmlSafe};
use kusabi_api::{
    Hex32,
    admin::{
        AlarmKind, AuthSetState, DeviceState, Freshness, Inventory, OrderState, RolloutDeviceState,
        RolloutState,
    },
};
use std::collections::HashMap;

macro_rules! stands_as_it_is {
    ($($name:ident),+) => { $(impl HtmlSafe for $name {})+ };
}

stands_as_it_is!(When, Badge, Hash, Pager, Copyable);

/// A time.
#[derive(Debug, Template)]
#[template(path = "parts/when.html")]
pub(crate) struct When {
    form: &'static str,
    text: String,
    exact: String,
    title: String,
}

impl When {
    pub(super) fn age(frame: &Frame, at_ms: u64) -> Self {
        Self {
            form: "age",
            text: time::age(frame.t, frame.now_ms, at_ms),
            exact: time::rfc3339(at_ms),
            title: time::utc(at_ms),
        }
    }

    pub(super) fn clock(_: &Frame, at_ms: u64) -> Self {
        Self {
            form: "clock",
            text: time::utc(at_ms),
            exact: time::rfc3339(at_ms),
            title: time::utc(at_ms),
        }
    }
}

/// Where something stands: a shape, a colour and a word that say the same, so that each is enough by itself.
#[derive(Debug, Template)]
#[template(path = "parts/badge.html")]
pub(crate) struct Badge {
    shape: &'static str,
    tone: &'static str,
    text: String,
}

impl Badge {
    pub(crate) fn state(t: &Texts, state: DeviceState) -> Self {
        let (shape, tone) = match state {
            DeviceState::Registered => ("ring", "quiet"),
            DeviceState::Active => ("disc", "good"),
            DeviceState::Quarantined => ("bars", "warn"),
            DeviceState::Revoked => ("cross", "ended"),
            DeviceState::Moved => ("dash", "ended"),
            _ => ("dash", "quiet"),
        };
        Self::new(shape, tone, t.state(state))
    }

    pub(crate) fn auth_set(t: &Texts, state: AuthSetState) -> Self {
        let (shape, tone) = match state {
            AuthSetState::Accepted => ("disc", "good"),
            AuthSetState::Preauthorized => ("check", "quiet"),
            AuthSetState::Rejected => ("cross", "ended"),
            _ => ("ring", "quiet"),
        };
        Self::new(shape, tone, t.auth_set(state))
    }

    pub(crate) fn freshness(t: &Texts, freshness: Freshness) -> Self {
        let (shape, tone) = match freshness {
            Freshness::Shown => ("check", "good"),
            Freshness::Stale => ("clock", "warn"),
            _ => ("dash", "quiet"),
        };
        Self::new(shape, tone, t.freshness(freshness))
    }

    pub(crate) fn inventory(t: &Texts, inventory: Inventory) -> Self {
        let (shape, tone) = match inventory {
            Inventory::Expected => ("check", "good"),
            Inventory::Differs => ("differs", "bad"),
            _ => ("dash", "quiet"),
        };
        Self::new(shape, tone, t.inventory(inventory))
    }

    pub(crate) fn alarm(t: &Texts, kind: AlarmKind) -> Self {
        let shape = match kind {
            AlarmKind::Fork => "fork",
            AlarmKind::UnknownHead | AlarmKind::NoInventory => "lost",
            AlarmKind::Inventory => "differs",
            AlarmKind::Stale => "clock",
            AlarmKind::Order => "cross",
            _ => "bang",
        };
        let tone = match kind {
            AlarmKind::Fork | AlarmKind::Inventory => "bad",
            _ => "warn",
        };
        Self::new(shape, tone, t.alarm(kind).0)
    }

    pub(crate) fn outcome(t: &Texts, state: OrderState) -> Self {
        let (shape, tone) = match state {
            OrderState::Done => ("check", "good"),
            OrderState::Waiting => ("ring", "quiet"),
            OrderState::Sent => ("clock", "quiet"),
            OrderState::Failed => ("cross", "bad"),
            OrderState::RefusedStale | OrderState::RefusedUnproven | OrderState::Unable => {
                ("bars", "warn")
            }
            _ => ("dash", "quiet"),
        };
        Self::new(shape, tone, t.outcome(state))
    }

    pub(crate) fn rollout(t: &Texts, state: RolloutState) -> Self {
        let (shape, tone) = match state {
            RolloutState::Scheduled => ("clock", "quiet"),
            RolloutState::Running => ("disc", "good"),
            RolloutState::Paused => ("bars", "warn"),
            RolloutState::Done => ("check", "good"),
            RolloutState::Aborted => ("cross", "ended"),
            _ => ("dash", "quiet"),
        };
        Self::new(shape, tone, t.rollout_state(state))
    }

    pub(crate) fn rollout_device(t: &Texts, state: RolloutDeviceState) -> Self {
        let (shape, tone) = match state {
            RolloutDeviceState::Waiting => ("ring", "quiet"),
            RolloutDeviceState::Ordered => ("clock", "quiet"),
            RolloutDeviceState::Sent => ("disc", "quiet"),
            RolloutDeviceState::Done => ("check", "good"),
            RolloutDeviceState::Failed => ("cross", "bad"),
            RolloutDeviceState::Aborted => ("bars", "quiet"),
            _ => ("dash", "quiet"),
        };
        Self::new(shape, tone, t.rollout_device(state))
    }

    /// Status of a key on the ledger, by its word there.
    pub(crate) fn key(t: &Texts, status: &str) -> Self {
        let (shape, tone) = match status {
            "active" => ("disc", "good"),
            "spent" | "superseded" => ("check", "quiet"),
            "revoked" => ("cross", "bad"),
            _ => ("dash", "quiet"),
        };
        Self::new(shape, tone, t.status(status))
    }

    pub(crate) fn new(shape: &'static str, tone: &'static str, text: impl Into<String>) -> Self {
        Self {
            shape,
            tone,
            text: text.into(),
        }
    }
}

/// A handle or digest, short; whole as its title.
#[derive(Debug, Template)]
#[template(path = "parts/hash.html")]
pub(crate) struct Hash {
    whole: String,
    short: String,
    /// What it is called, if it is.
    name: Option<String>,
    /// Where it leads, if it does.
    address: Option<String>,
}

impl Hash {
    pub(crate) fn plain(hash: &Hex32) -> Self {
        Self {
            whole: hash.to_string(),
            short: short(hash),
            name: None,
            address: None,
        }
    }

    /// A release, by its name where that is known.
    pub(crate) fn release(digest: &Hex32, names: &HashMap<Hex32, String>) -> Self {
        Self {
            name: names.get(digest).cloned(),
            ..Self::plain(digest)
        }
    }

    /// A handle, which has a page.
    pub(crate) fn key(handle: &Hex32) -> Self {
        Self {
            address: Some(format!("/keys/{handle}")),
            ..Self::plain(handle)
        }
    }
}

/// A text to be taken elsewhere: a command, a token.
#[derive(Debug, Template)]
#[template(path = "parts/copyable.html")]
pub(crate) struct Copyable {
    text: String,
}

impl Copyable {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

/// What stands below a list that goes on.
#[derive(Debug, Template)]
#[template(path = "parts/pager.html")]
pub(crate) struct Pager {
    t: &'static Texts,
    shown: usize,
    first: Option<String>,
    next: Option<String>,
}

impl Pager {
    /// `first` where this is not the first page, `next` where there is one.
    pub(crate) const fn new(
        t: &'static Texts,
        shown: usize,
        first: Option<String>,
        next: Option<String>,
    ) -> Self {
        Self {
            t,
            shown,
            first,
            next,
        }
    }

    fn text(&self) -> String {
        super::texts::fill(self.t.shown, self.shown)
    }
}
