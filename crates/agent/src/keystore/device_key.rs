//! A device's key pair as it is stored.

use kusabi_core::id::KusabiId;
use kusabi_core::keystore::{Seed, SoftKey};
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::wire::{Reader, Sink as _};
use zeroize::Zeroizing;

use super::FileKeyStoreError;

const VERSION: u8 = 1;

/// A key pair with its kusabi-ID: `version ‖ purpose u8 ‖ suite u8 ‖ ID 16 ‖ seed 32`. Wiped when dropped.
#[derive(Debug)]
pub struct DeviceKey {
    purpose: Purpose,
    suite: Suite,
    id: KusabiId,
    seed: Seed,
}

impl DeviceKey {
    /// A key of suite 1 or 2.
    ///
    /// # Errors
    /// [`FileKeyStoreError::Key`] for suites whose keys do not come from a seed, and purposes without a record.
    pub fn new(
        purpose: Purpose,
        suite: Suite,
        id: KusabiId,
        seed: Seed,
    ) -> Result<Self, FileKeyStoreError> {
        if suite == Suite::Foreign || !purpose.has_record() {
            return Err(FileKeyStoreError::Key);
        }
        Ok(Self {
            purpose,
            suite,
            id,
            seed,
        })
    }

    /// What it is for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Its kusabi-ID.
    #[must_use]
    pub const fn id(&self) -> &KusabiId {
        &self.id
    }

    /// The private operations.
    ///
    /// # Errors
    /// [`FileKeyStoreError::Key`]
    pub fn soft_key(&self) -> Result<SoftKey, FileKeyStoreError> {
        SoftKey::from_seed(self.suite, &self.seed).map_err(|_| FileKeyStoreError::Key)
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(3 + KusabiId::LEN + Seed::LEN));
        bytes.u8(VERSION);
        bytes.u8(self.purpose.into());
        bytes.u8(self.suite.into());
        bytes.put(self.id.expose());
        bytes.put(self.seed.expose());
        bytes
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`FileKeyStoreError::Key`]
    pub fn decode(bytes: &[u8]) -> Result<Self, FileKeyStoreError> {
        let damaged = |_| FileKeyStoreError::Key;
        let mut r = Reader::new(bytes);
        if r.u8().map_err(damaged)? != VERSION {
            return Err(FileKeyStoreError::Key);
        }
        let purpose = r.u8().map_err(damaged)?;
        let suite = r.u8().map_err(damaged)?;
        let id = Zeroizing::new(r.array().map_err(damaged)?);
        let seed = Zeroizing::new(r.array().map_err(damaged)?);
        r.finish().map_err(damaged)?;
        Self::new(
            Purpose::try_from(purpose).map_err(|_| FileKeyStoreError::Key)?,
            Suite::try_from(suite).map_err(|_| FileKeyStoreError::Key)?,
            KusabiId::new(*id),
            Seed::new(*seed),
        )
    }
}
