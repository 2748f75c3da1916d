//! Use cases: what can be done to the fleet, and every rule about it. Whoever calls brings a [`Caller`].

mod act;
mod alarms;
mod audit;
mod caller;
mod devices;
mod error;
mod groups;
mod keys;
mod orders;
mod page;
mod tokens;

pub use act::{By, Idempotency};
pub use audit::{GENESIS as AUDIT_GENESIS, link as audit_link};
pub use caller::Caller;
pub use devices::DeviceQuery;
pub use error::Error;
pub use keys::KeyAnswer;
pub use page::Cut;

use crate::store::Store;
use kusabi_api::{Ledger, VerifyingLedger, admin::DeviceState, verify::VerifyError};
use kusabi_core::id::OrgId;
use std::{sync::Arc, time::Duration};

/// Longest wait for an answer of the ledger.
const LEDGER_TIME: Duration = Duration::from_secs(10);

/// What comes from outside of the program: the clock and random bytes.
pub trait Edge: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Random bytes from the operating system.
    ///
    /// # Errors
    /// There are none.
    fn random(&self) -> std::io::Result<[u8; 32]>;
}

/// A server's use cases.
pub struct App {
    store: Store,
    ledger: VerifyingLedger<Arc<dyn Ledger>>,
    edge: Arc<dyn Edge>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("org", &self.store.org())
            .finish_non_exhaustive()
    }
}

impl App {
    /// The server of the store's organisation.
    #[must_use]
    pub fn new(
        store: Store,
        ledger: VerifyingLedger<Arc<dyn Ledger>>,
        edge: Arc<dyn Edge>,
    ) -> Self {
        Self {
            store,
            ledger,
            edge,
        }
    }

    /// Whose server it is.
    #[must_use]
    pub const fn org(&self) -> OrgId {
        self.store.org()
    }

    /// Whether database and ledger answer.
    ///
    /// # Errors
    /// What does not.
    pub async fn ready(&self) -> Result<(), Error> {
        self.store.ping().await?;
        if self
            .ask(async { Ok(self.ledger.unverified().status().await?) })
            .await?
            .ready
        {
            Ok(())
        } else {
            Err(Error::Behind)
        }
    }

    /// How many devices are in each state.
    ///
    /// # Errors
    /// The database fails.
    pub async fn count_devices(&self) -> Result<Vec<(DeviceState, u64)>, Error> {
        let mut reader = self.store.read("count devices").await?;
        Ok(crate::store::devices::count(reader.on()).await?)
    }

    /// Asks the ledger, and waits no longer than [`LEDGER_TIME`].
    async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, VerifyError>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(LEDGER_TIME, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::Behind),
        }
    }

    /// A new ID: the prefix and 16 random bytes.
    fn new_id(&self, prefix: &str) -> Result<String, Error> {
        let random = self.edge.random()?;
        let mut id = [0; 16];
        id.copy_from_slice(&random[..16]);
        Ok(format!("{prefix}_{}", kusabi_api::Hex(id)))
    }
}
