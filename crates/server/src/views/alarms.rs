//! `/alarms`

use super::{
    Frame,
    parts::{Badge, Pager, When},
};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "alarms.html")]
pub(crate) struct Alarms {
    pub(crate) f: Frame,
    /// Only those of which nobody took note.
    pub(crate) open: bool,
    pub(crate) rows: Vec<AlarmRow>,
    pub(crate) pager: Pager,
}

/// One alarm.
#[derive(Debug)]
pub(crate) struct AlarmRow {
    pub(crate) badge: Badge,
    pub(crate) what_now: &'static str,
    pub(crate) device: String,
    pub(crate) device_address: String,
    pub(crate) detail: String,
    pub(crate) raised: When,
    /// When, and by whom.
    pub(crate) acknowledged: Option<(When, String)>,
    /// Where it is acknowledged.
    pub(crate) acknowledge: String,
}
