//! `/keys/{handle}`: a key, what its proof says, and how to check it.

use super::{
    Frame, grouped,
    parts::{Badge, Copyable, Hash, When},
    texts::fill,
};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "key.html")]
pub(crate) struct Key {
    pub(crate) f: Frame,
    /// Address and name of the device that has it.
    pub(crate) device: Option<(String, String)>,
    pub(crate) handle: String,
    pub(crate) status: Badge,
    pub(crate) record: Option<Record>,
    pub(crate) height: String,
    pub(crate) time: When,
    pub(crate) proof_bytes: u64,
    pub(crate) command: Copyable,
    pub(crate) download: String,
}

/// What stands on the ledger.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) purpose: String,
    pub(crate) from: String,
    pub(crate) to: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) predecessor: Option<Hash>,
    pub(crate) suite: String,
    pub(crate) keys: String,
    pub(crate) binding: String,
}

impl Key {
    fn size(&self) -> String {
        fill(self.f.t.bytes, grouped(self.proof_bytes))
    }
}
