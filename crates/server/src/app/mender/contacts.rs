//! Which Mender devices were heard: kept in memory, written once a second. What is lost in a crash is a second of "last contact".

use super::super::{App, Change};
use crate::store::{StoreError, doorstep};
use kusabi_api::serve::stopped;
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How often it is written.
const EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Contacts(Mutex<HashSet<String>>);

impl Contacts {
    /// A device was heard.
    pub(super) fn heard(&self, device: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !heard.contains(device) {
            heard.insert(device.to_owned());
        }
    }
}

impl App {
    /// Writes which Mender devices were heard, once a second, until `stop` turns true.
    pub async fn keep_mender_contacts(&self, mut stop: watch::Receiver<bool>) {
        let mut end = false;
        while !end {
            tokio::select! {
                () = stopped(&mut stop) => end = true,
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(why) = self.write_mender_contacts().await {
                tracing::warn!(%why, "cannot note which Mender devices were heard; trying again");
            }
        }
    }

    /// The same, once. What cannot be written is kept for the next time.
    ///
    /// # Errors
    /// The database.
    pub async fn write_mender_contacts(&self) -> Result<(), StoreError> {
        let take = || {
            let mut heard = self
                .mender
                .contacts
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *heard)
        };
        let heard: Vec<String> = take().into_iter().collect();
        if heard.is_empty() {
            return Ok(());
        }
        let (now_ms, devices) = (self.edge.now_ms(), &heard);
        let written = self
            .store
            .tx("note which Mender devices were heard", move |tx| {
                Box::pin(async move { doorstep::heard(tx.on(), devices, now_ms).await })
            })
            .await;
        for device in heard {
            match written {
                Ok(()) => self.announce(Change::Device(device)),
                Err(_) => self.mender.contacts.heard(&device),
            }
        }
        written
    }
}
