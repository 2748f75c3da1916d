//! `/first-admin`

use super::{Frame, parts::Copyable};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "first_admin.html")]
pub(crate) struct FirstAdmin {
    pub(crate) f: Frame,
    pub(crate) step: Step,
}

/// How far it is.
pub(crate) enum Step {
    /// A name is asked for.
    Form {
        link: String,
        name: String,
        bad_name: Option<String>,
    },
    /// The link is good for nothing.
    Used,
    /// Done; the token is shown this once.
    Made { name: String, token: Copyable },
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Link and token are secrets.
        f.write_str(match self {
            Self::Form { .. } => "Form",
            Self::Used => "Used",
            Self::Made { .. } => "Made",
        })
    }
}
