//! What pages show beside the things themselves: names for IDs, counts, what there is to choose from. Each is one question for a whole
//! page, never one for each row.

use super::{App, Cut, Error};
use crate::store::{alarms, audit, devices, groups, releases, tokens};
use kusabi_api::{
    Hex, Hex32,
    admin::{Alarm, AuditEntry, Page, Text},
};
use kusabi_core::release::SignedManifest;
use std::collections::HashMap;

/// Most types that a choice offers.
const TYPES_MAX: u16 = 100;

/// Most open alarms of one device that are shown at once.
const ALARMS_MAX: u16 = 20;

impl App {
    /// Milliseconds since 1970, by the server's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.edge.now_ms()
    }

    /// Something that nobody guesses and that does not come twice, for the forms that carry one.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn nonce(&self) -> Result<String, Error> {
        let random = self.edge.random()?;
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&random[..16]);
        Ok(Hex(nonce).to_string())
    }

    /// The types that devices have, in order; the first hundred.
    ///
    /// # Errors
    /// The database.
    pub async fn device_types(&self) -> Result<Vec<String>, Error> {
        let mut reader = self.store.read("list types").await?;
        Ok(devices::types(reader.on(), TYPES_MAX).await?)
    }

    /// What these devices are called: by name, else by serial; by ID, where they have one of them.
    ///
    /// # Errors
    /// The database.
    pub async fn device_names(&self, ids: &[String]) -> Result<HashMap<String, Text>, Error> {
        let mut reader = self.store.read("name devices").await?;
        let names = devices::names(reader.on(), ids).await?;
        let named =
            |(id, name, serial): (String, Option<Text>, Option<Text>)| Some((id, name.or(serial)?));
        Ok(names.into_iter().filter_map(named).collect())
    }

    /// Names of the groups of each of these devices.
    ///
    /// # Errors
    /// The database.
    pub async fn group_names_of(
        &self,
        devices: &[String],
    ) -> Result<HashMap<String, Vec<Text>>, Error> {
        let mut reader = self.store.read("name groups of devices").await?;
        let mut named: HashMap<String, Vec<Text>> = HashMap::new();
        for (device, name) in groups::names_of(reader.on(), devices).await? {
            named.entry(device).or_default().push(name);
        }
        for names in named.values_mut() {
            names.sort();
        }
        Ok(named)
    }

    /// Names of these groups.
    ///
    /// # Errors
    /// The database.
    pub async fn group_names(&self, ids: &[String]) -> Result<HashMap<String, Text>, Error> {
        let mut reader = self.store.read("name groups").await?;
        Ok(groups::names(reader.on(), ids).await?.into_iter().collect())
    }

    /// Names of these tokens.
    ///
    /// # Errors
    /// The database.
    pub async fn token_names(&self, ids: &[String]) -> Result<HashMap<String, Text>, Error> {
        let mut reader = self.store.read("name tokens").await?;
        Ok(tokens::names(reader.on(), ids).await?.into_iter().collect())
    }

    /// Name and version of those of these releases whose manifests are here.
    ///
    /// # Errors
    /// The database.
    pub async fn release_names(&self, digests: &[Hex32]) -> Result<HashMap<Hex32, String>, Error> {
        let mut digests = digests.to_vec();
        digests.sort_unstable();
        digests.dedup();
        let mut reader = self.store.read("name releases").await?;
        let manifests = releases::manifests(reader.on(), &digests).await?;
        let named = |signed: &Vec<u8>| {
            // What cannot be read has no name; its own page says why.
            let signed = SignedManifest::decode(signed).ok()?;
            let manifest = signed.manifest();
            let name = format!("{} {}", manifest.name(), manifest.version());
            Some((Hex(manifest.digest().to_bytes()), name))
        };
        Ok(manifests.iter().filter_map(named).collect())
    }

    /// The device that has this key, if it is one of this server.
    ///
    /// # Errors
    /// The database.
    pub async fn device_with_key(&self, handle: Hex32) -> Result<Option<String>, Error> {
        let mut reader = self.store.read("find a device by its key").await?;
        Ok(devices::with_key(reader.on(), handle.0).await?)
    }

    /// How many alarms are open, counted up to `most`.
    ///
    /// # Errors
    /// The database.
    pub async fn count_open_alarms(&self, most: u64) -> Result<u64, Error> {
        let mut reader = self.store.read("count open alarms").await?;
        Ok(alarms::count_open(reader.on(), most).await?)
    }

    /// The newest open alarms of one device.
    ///
    /// # Errors
    /// The database.
    pub async fn open_alarms_of(&self, device: &str) -> Result<Vec<Alarm>, Error> {
        let mut reader = self.store.read("list a device's alarms").await?;
        Ok(alarms::open_of(reader.on(), device, ALARMS_MAX).await?)
    }

    /// The audit log, the newest entry first.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn newest_audit_log(&self, cut: &Cut) -> Result<Page<AuditEntry>, Error> {
        let (before, count) = (cut.number(i64::MAX.unsigned_abs())?, cut.fetch()?);
        let mut reader = self
            .store
            .read("list the newest entries of the audit log")
            .await?;
        let entries = audit::newest(reader.on(), before, count).await?;
        cut.page(entries, |entry| entry.seq.to_string())
    }
}
