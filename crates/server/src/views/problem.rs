//! What went wrong, as a page.

use super::Frame;
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "problem.html")]
pub(crate) struct ProblemPage {
    pub(crate) f: Frame,
    pub(crate) status: u16,
    pub(crate) title: &'static str,
    pub(crate) hint: &'static str,
    /// The sentence of the API, in English.
    pub(crate) detail: String,
}
