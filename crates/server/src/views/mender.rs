//! `/mender`

use super::{
    Frame,
    parts::{Badge, Pager, When},
};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "mender.html")]
pub(crate) struct Mender {
    pub(crate) f: Frame,
    /// Only those that nobody has decided.
    pub(crate) waiting: bool,
    pub(crate) rows: Vec<SetRow>,
    pub(crate) pager: Pager,
}

/// One key of a device.
#[derive(Debug)]
pub(crate) struct SetRow {
    pub(crate) badge: Badge,
    /// Who the device says it is.
    pub(crate) identity: Vec<(String, String)>,
    /// Where the device is, once it is one of the fleet.
    pub(crate) device_address: Option<String>,
    /// It waits, and another key is served, or vouched for, under this identity.
    pub(crate) beside: bool,
    pub(crate) fingerprint: String,
    pub(crate) asked: When,
    pub(crate) accept: Option<String>,
    pub(crate) reject: Option<String>,
}
