//! Use cases: what can be done to the fleet, and every rule about it. Whoever calls brings a [`Caller`].

mod act;
pub(crate) mod alarms;
mod anchor;
pub(crate) mod audit;
pub(crate) mod blobs;
mod caller;
mod components;
mod contents;
mod devices;
mod enrolments;
mod error;
mod follow;
mod groups;
mod inventories;
mod keys;
mod live;
pub(crate) mod mender;
pub(crate) mod orders;
mod overview;
mod packs;
mod page;
mod presence;
mod quarantine;
mod rebuild;
mod receipts;
mod registering;
mod releases;
pub(crate) mod rollouts;
mod sessions;
pub(crate) mod strangers;
mod timeline;
mod together;
mod tokens;
pub(crate) mod types;

pub use act::{By, Idempotency};
pub use audit::{GENESIS as AUDIT_GENESIS, link as audit_link};
pub use caller::Caller;
pub use components::ComponentQuery;
pub use contents::Parts;
pub use devices::DeviceQuery;
pub(crate) use enrolments::Enrolling;
pub use error::Error;
pub use keys::KeyAnswer;
pub use live::Change;
pub use page::Cut;
pub use presence::Presence;
pub use rollouts::Members;
pub use sessions::{Opened, SESSION_MS, SESSIONS_MAX, Session};
pub use types::Expected;

use crate::{blob::Blobs, serve::ServerKey, share::Shares, store::Store};
use kusabi_api::{Ledger, VerifyingLedger, admin::DeviceState, verify::VerifyError};
use kusabi_core::id::{Handle, OrgId};
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// Longest wait for an answer of the ledger.
const LEDGER_TIME: Duration = Duration::from_secs(10);

/// How often something is tried whose grounds change meanwhile.
const TRIES: usize = 8;

/// Changed keys that a listener may be behind.
const CHANGES_MAX: usize = 8192;

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
    pub(crate) store: Store,
    pub(crate) ledger: VerifyingLedger<Arc<dyn Ledger>>,
    pub(crate) edge: Arc<dyn Edge>,
    /// Where contents lie.
    blobs: Option<Arc<Blobs>>,
    /// The server's key: what it signs receipts with.
    ps: Option<ServerKey>,
    /// A writer's key: what it anchors the audit log with.
    writer: Option<ServerKey>,
    /// Handles that the followed ledger changed.
    changes: broadcast::Sender<Handle>,
    /// Where recoveries of the ledger jumped, as far as that was asked for.
    jumps: std::sync::Mutex<Option<kusabi_api::jumps::Jumps>>,
    presence: Presence,
    pub(crate) strangers: strangers::Strangers,
    /// How often each token opens a session of the console.
    openings: Shares,
    live: live::Live,
    /// What stock Mender devices have of this process.
    mender: mender::Mender,
    /// How many questions about components are answered at a time: each has an inventory in memory.
    components: tokio::sync::Semaphore,
    /// What the device door counts, once there is one.
    pub(crate) door: std::sync::OnceLock<Arc<crate::device::Counts>>,
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
            blobs: None,
            ps: None,
            writer: None,
            changes: broadcast::Sender::new(CHANGES_MAX),
            jumps: std::sync::Mutex::default(),
            presence: Presence::default(),
            strangers: strangers::Strangers::default(),
            openings: Shares::new(sessions::OPENINGS),
            live: live::Live::default(),
            mender: mender::Mender::default(),
            components: tokio::sync::Semaphore::new(components::AT_ONCE),
            door: std::sync::OnceLock::new(),
        }
    }

    /// The same with a place for firmware.
    #[must_use]
    pub fn with_blobs(mut self, blobs: Blobs) -> Self {
        self.blobs = Some(Arc::new(blobs));
        self
    }

    /// The same with keys: the server's own, and a writer's.
    #[must_use]
    pub fn with_keys(mut self, ps: Option<ServerKey>, writer: Option<ServerKey>) -> Self {
        (self.ps, self.writer) = (ps, writer);
        self
    }

    /// Whose server it is.
    #[must_use]
    pub const fn org(&self) -> OrgId {
        self.store.org()
    }

    /// Ends all work with the database.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Whether database and ledger answer.
    ///
    /// # Errors
    /// What does not.
    pub async fn ready(&self) -> Result<(), Error> {
        self.store.ping().await?;
        // Anyone may ask this: the ledger is asked by one at a time.
        let ask = || async {
            let status = self.ask(async { Ok(self.ledger.unverified().status().await?) });
            Ok(status.await.map_err(Arc::new)?.ready)
        };
        match self
            .strangers
            .ready
            .ask((), || Ok::<_, Error>(()), ask)
            .await?
        {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Behind),
            Err(why) => Err(why.again()),
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
    pub(crate) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, VerifyError>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(LEDGER_TIME, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::Behind),
        }
    }

    /// A new ID: the prefix and 16 random bytes.
    pub(crate) fn new_id(&self, prefix: &str) -> Result<String, Error> {
        let random = self.edge.random()?;
        let mut id = [0; 16];
        id.copy_from_slice(&random[..16]);
        Ok(format!("{prefix}_{}", kusabi_api::Hex(id)))
    }
}
