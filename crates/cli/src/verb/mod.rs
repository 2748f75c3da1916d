//! The verbs: one file each, with its arguments and its `run`.

pub(crate) mod completions;
pub(crate) mod key;
pub(crate) mod man;
