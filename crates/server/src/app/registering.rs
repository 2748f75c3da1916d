//! Keys that the server's own writer puts on the ledger.

use super::{App, Error};
use bytes::Bytes;
use kusabi_api::{Hex, verify};
use kusabi_core::{
    row::Status,
    suite::Purpose,
    tx::{Action, Draft, Entry},
};
use std::time::Duration;

/// How long a registration waits to be final.
const REGISTER_TIME: Duration = Duration::from_secs(8);

/// A key that stands on the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stands {
    /// Height from which it is valid.
    pub(super) registered: u64,
    /// How it stands there.
    pub(super) status: Status,
}

impl App {
    /// Whether the server has a writer's key.
    pub(super) const fn can_register(&self) -> bool {
        self.writer.is_some()
    }

    /// Sees to it that an accepted key stands on the ledger: it may stand there already, put there by another writer; or the server's
    /// own writer puts it there. `None`: the server has no writer, or the ledger is not there yet.
    ///
    /// # Errors
    /// Another key stands under the handle, and `instead` says what to do then; the ledger refuses, or does not answer.
    pub(super) async fn see_registered(
        &self,
        entry: &Entry,
        instead: &str,
    ) -> Result<Option<Stands>, Error> {
        let proven = self.ask(self.ledger.record(&entry.handle())).await?;
        let Some(record) = proven.value() else {
            let registered = self.register(entry).await?;
            return Ok(registered.map(|registered| Stands {
                registered,
                status: Status::Active,
            }));
        };
        // Whoever asks may have said himself which handle is his.
        let is_it = record.owner() == self.org()
            && record.purpose() == entry.purpose()
            && record.keys() == entry.keys()
            && record.binding() == entry.binding();
        if !is_it {
            return Err(Error::Unfit(format!(
                "another key stands on the ledger under the handle {}; {instead}",
                Hex(entry.handle().to_bytes())
            )));
        }
        Ok(Some(Stands {
            registered: record.registered().get(),
            status: record.status(),
        }))
    }

    /// The server's writer registers a key; `None`: it has none, or the ledger is not there yet.
    async fn register(&self, entry: &Entry) -> Result<Option<u64>, Error> {
        let Some(writer) = &self.writer else {
            return Ok(None);
        };
        let chain = self.ledger.trust().anchor().chain();
        let action = Action::Register {
            org: self.org(),
            entries: vec![entry.clone()],
        };
        let handle = Hex(entry.handle().to_bytes());
        let unfit = |why: &dyn std::fmt::Display| {
            Error::Unfit(format!("the key {handle} cannot be registered: {why}"))
        };
        let mut draft = Draft::new(chain, action).map_err(|why| unfit(&why))?;
        draft
            .sign(writer.handle, Purpose::Writer, &*writer.key)
            .map_err(|why| unfit(&why))?;
        let transaction = draft.finish().map_err(|why| unfit(&why))?;
        let bytes = Bytes::copy_from_slice(transaction.as_bytes());
        match self.ask(self.ledger.submit(bytes, REGISTER_TIME)).await? {
            verify::Done::Final { height, .. } => Ok(Some(height.get())),
            verify::Done::Pending(_) => Ok(None),
        }
    }
}
