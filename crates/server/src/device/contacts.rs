//! Who was heard: kept in memory, written once a second. What is lost in a crash is a second of "last contact".

use super::journal::{Job, Journal};
use kusabi_core::protocol::request::Facts;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Most devices of one write.
const WRITE_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Contacts(Mutex<HashMap<Arc<str>, Option<Facts>>>);

impl Contacts {
    /// A device was heard; `facts`: it says something new of itself.
    pub(super) fn heard(&self, device: &Arc<str>, facts: Option<Facts>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get_mut(device) {
            Some(before) => *before = facts.or(*before),
            None => {
                heard.insert(Arc::clone(device), facts);
            }
        }
    }

    /// Writes who was heard. What cannot be written is kept for the next time.
    pub(super) async fn write(&self, journal: &Journal) {
        let mut heard: Vec<_> = {
            let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            heard.drain().collect()
        };
        while !heard.is_empty() {
            let rest = heard.split_off(WRITE_MAX.min(heard.len()));
            let part = std::mem::replace(&mut heard, rest);
            if journal.write(Job::Heard(part.clone())).await.is_err() {
                for (device, facts) in part.into_iter().chain(heard.drain(..)) {
                    let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.entry(device).or_insert(facts);
                }
            }
        }
    }
}
