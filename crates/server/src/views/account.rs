//! `/account`: who one is here, and where one is signed in.

use super::{Frame, parts::When};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "account.html")]
pub(crate) struct Account {
    pub(crate) f: Frame,
    pub(crate) sessions: Vec<SessionRow>,
}

/// One session of the same token.
#[derive(Debug)]
pub(crate) struct SessionRow {
    pub(crate) short: String,
    /// Whether it is the one that asks.
    pub(crate) this: bool,
    pub(crate) since: When,
    pub(crate) until: When,
    /// Where it is ended.
    pub(crate) end: String,
}
