//! The verbs: one file each, with its arguments and its `run`.

pub(crate) mod alarm;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod batch;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod doctor;
pub(crate) mod enrol;
pub(crate) mod epoch;
pub(crate) mod genesis;
pub(crate) mod key;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod order;
pub(crate) mod org;
pub(crate) mod provision;
pub(crate) mod rebuild;
pub(crate) mod recover;
pub(crate) mod release;
pub(crate) mod restore;
pub(crate) mod server;
pub(crate) mod sign;
pub(crate) mod up;
pub(crate) mod verify;
