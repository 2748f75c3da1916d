//! `/rollouts/new`: the form that rolls a release out.

use super::Frame;
use askama::Template;

/// Phases that the form has room for; the command and the API take more.
pub(crate) const PHASES: usize = 5;

#[derive(Debug, Template)]
#[template(path = "new_rollout.html")]
pub(crate) struct NewRollout {
    pub(crate) f: Frame,
    /// Makes a form that is sent twice one act.
    pub(crate) once: String,
    /// Why what was sent is none; empty where nothing was.
    pub(crate) bad: String,
    /// What was sent.
    pub(crate) entries: Entries,
    /// Releases to choose from: digest, and what is shown.
    pub(crate) releases: Vec<(String, String)>,
    /// Types that devices have.
    pub(crate) types: Vec<String>,
    /// ID and name of groups.
    pub(crate) groups: Vec<(String, String)>,
}

/// The form's fields, as they stand in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    pub(crate) name: String,
    pub(crate) release: String,
    /// Every device that the release is for.
    pub(crate) all: bool,
    pub(crate) group: String,
    pub(crate) device_type: String,
    pub(crate) search: String,
    pub(crate) inventory: String,
    pub(crate) phases: [PhaseEntries; PHASES],
    pub(crate) retries: String,
    pub(crate) force: bool,
    /// A time in UTC, without zone.
    pub(crate) start: String,
    pub(crate) deadline_hours: String,
}

/// Those of one phase.
#[derive(Clone, Debug, Default)]
pub(crate) struct PhaseEntries {
    /// `10%`, `500`, `rest`; empty: there is no such phase.
    pub(crate) size: String,
    /// `at-once`, `after`, `by-hand`.
    pub(crate) start: String,
    pub(crate) after_hours: String,
    pub(crate) success: String,
    /// `10%` or `3`.
    pub(crate) failures: String,
}

impl NewRollout {
    fn verdicts(&self) -> [(&'static str, &'static str); 3] {
        let t = self.f.t;
        [
            ("expected", t.inventory_expected),
            ("differs", t.inventory_differs),
            ("unknown", t.inventory_unknown),
        ]
    }

    fn starts(&self) -> [(&'static str, &'static str); 3] {
        let t = self.f.t;
        [
            ("at-once", t.rollout_at_once),
            ("after", t.new_phase_after),
            ("by-hand", t.rollout_by_hand),
        ]
    }
}
