//! What happened to a device.

use super::{App, Cut, Error, devices::unknown};
use crate::store::{devices, timeline};
use kusabi_api::admin::{DeviceEvent, Page};

impl App {
    /// What happened to a device, the newest first.
    ///
    /// # Errors
    /// There is no such device; a bad cursor or limit; the database.
    pub async fn timeline(&self, device: &str, cut: &Cut) -> Result<Page<DeviceEvent>, Error> {
        let (before, count) = (cut.number(u64::MAX)?, cut.fetch()?);
        let mut reader = self.store.read("show a device's timeline").await?;
        if devices::find(reader.on(), device).await?.is_none() {
            return Err(unknown(device));
        }
        let events = timeline::list(reader.on(), device, before, count).await?;
        cut.page(events, |event| event.seq.to_string())
    }
}
