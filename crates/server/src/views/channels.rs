//! `/channels`: the releases of each channel, and the counter that they must have at least.

use super::{Frame, parts::When};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "channels.html")]
pub(crate) struct Channels {
    pub(crate) f: Frame,
    pub(crate) channels: Vec<ChannelPart>,
    /// Whether there are older releases that were not looked at.
    pub(crate) more: bool,
}

/// One channel.
#[derive(Debug)]
pub(crate) struct ChannelPart {
    pub(crate) name: String,
    pub(crate) minimum: u64,
    /// When and by whom the minimum was set.
    pub(crate) set: Option<(When, String)>,
    /// Where it is set.
    pub(crate) action: String,
    /// Makes a form that is sent twice one act.
    pub(crate) once: String,
    /// The newest first.
    pub(crate) releases: Vec<ReleaseRow>,
}

/// A release.
#[derive(Debug)]
pub(crate) struct ReleaseRow {
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) counter: u64,
    pub(crate) types: String,
    /// Why no device gets it any more.
    pub(crate) ended: Option<&'static str>,
    pub(crate) uploaded: When,
}
