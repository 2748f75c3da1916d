//! `/audit-log`

use super::{
    Frame,
    parts::{Hash, Pager, When},
};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "audit_log.html")]
pub(crate) struct AuditLog {
    pub(crate) f: Frame,
    /// Hash of the newest entry, on the first page.
    pub(crate) head: Option<String>,
    pub(crate) rows: Vec<EntryRow>,
    pub(crate) pager: Pager,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct EntryRow {
    pub(crate) seq: u64,
    pub(crate) at: When,
    pub(crate) actor: String,
    pub(crate) actor_id: String,
    pub(crate) act: String,
    pub(crate) subject: String,
    pub(crate) subject_short: String,
    /// Where the subject has a page.
    pub(crate) subject_address: Option<String>,
    pub(crate) detail: String,
    pub(crate) hash: Hash,
}
