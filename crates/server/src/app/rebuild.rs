//! Rebuild: what the ledger knows is read again from its first block.

use super::{App, By, Error, act::Done, follow::Pass};
use crate::store::followed;
use kusabi_api::admin::Rebuilt;
use serde_json::json;

/// How often the ledger is asked to go on before a rebuild gives up.
const ATTEMPTS_MAX: u32 = 16;

impl App {
    /// Forgets what was followed of the ledger and follows it again from its first block, up to where it stands now. What only the database
    /// knows is left as it is, and counted: in a database that is new it is gone.
    ///
    /// It may be broken off: the follower goes on from where it stopped.
    ///
    /// # Errors
    /// Ledger or database fail.
    pub async fn rebuild(&self, by: &By) -> Result<Rebuilt, Error> {
        let status = self
            .ask(async { Ok(self.ledger.unverified().status().await?) })
            .await?;
        let target = status.height;
        self.act(by, "rebuild", move |tx, _| {
            Box::pin(async move {
                followed::forget(tx.on()).await?;
                Ok(Done::changed((), "ledger", json!({ "height": target })))
            })
        })
        .await?;
        let mut attempts = 0;
        let mut pass = Pass::default();
        loop {
            pass.progress = false;
            let ended = self.follow_until(Some(target), &mut pass).await;
            let mut reader = self.store.read("look how far the rebuild came").await?;
            if followed::position(reader.on()).await?.height >= target {
                break;
            }
            attempts = if pass.progress { 0 } else { attempts + 1 };
            if attempts == ATTEMPTS_MAX {
                ended?;
                return Err(Error::Behind);
            }
            tracing::debug!(?ended, "the rebuild asks the ledger again");
        }
        let mut reader = self.store.read("count what a rebuild found").await?;
        let [devices, keys, releases, manifests_missing, devices_unknown] =
            followed::found(reader.on()).await?;
        Ok(Rebuilt {
            height: followed::position(reader.on()).await?.height,
            devices,
            keys,
            releases,
            manifests_missing,
            devices_unknown,
            not_on_ledger: followed::not_on_ledger(reader.on()).await?,
        })
    }
}
