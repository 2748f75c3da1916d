//! The verbs: one file each, with its arguments and its `run`.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod batch;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod key;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod org;
pub(crate) mod recover;
pub(crate) mod restore;
pub(crate) mod sign;
pub(crate) mod verify;
