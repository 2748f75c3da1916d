//! `/sign-in`

use super::Frame;
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub(crate) struct SignIn {
    pub(crate) f: Frame,
    /// Where to go then.
    pub(crate) next: String,
    /// Whether the token was none.
    pub(crate) bad: bool,
    pub(crate) note: Option<&'static str>,
}
