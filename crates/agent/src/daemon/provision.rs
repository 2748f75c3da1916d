//! How a device comes to its state: from the provisioning file, or by an enrolment.

use std::path::{Path, PathBuf};

use kusabi_core::device::{Kept, Provisioning, ProvisioningError};
use kusabi_core::id::{Digest, KusabiId};
use kusabi_core::keystore::{KeyStore as _, Seed};
use kusabi_core::protocol::hello::LABEL_LEN_MAX;
use kusabi_core::suite::Purpose;
use zeroize::Zeroizing;

use super::DaemonError;
use super::random::Random;
use super::store::{Profile, Store};
use crate::config::Config;
use crate::disk::{self, Disk, Node};
use crate::keystore::DeviceKey;
use crate::log::Log;

/// Shortest and longest token of an enrolment, in bytes.
pub const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// What a device enrols with.
pub struct Enrolment {
    /// The organisation's public file: a provisioning file without a key.
    pub file: PathBuf,
    /// The token; a secret.
    pub token: Zeroizing<Vec<u8>>,
    /// What people call the device: its serial, mostly. May be empty.
    pub label: String,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolment")
            .field("file", &self.file)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Takes in the provisioning file of a device that has no state yet, and wipes it once the key store holds what it says.
/// A device that has its state already only wipes the file that it was made of.
pub(crate) fn take_in<D: Disk + Clone>(
    disk: &D,
    config: &Config,
    log: &Log,
) -> Result<(), DaemonError> {
    let mut store = Store::open(disk.clone(), config)?;
    let path = &config.provisioning;
    let Some(bytes) = read(disk, path)? else {
        return if store.kept()?.is_some() {
            Ok(())
        } else {
            Err(DaemonError::NotProvisioned { path: path.clone() })
        };
    };
    if store.kept()?.is_some() {
        let own = store.provisioned() == Some(Digest::of(&bytes).as_bytes().as_slice());
        // Wiping was cut short, perhaps: such a file is of no use to anyone, and may hold what is left of the first key.
        if own || Provisioning::decode(&bytes).is_err() {
            wipe(disk, path, log);
        } else {
            let path = path.display();
            log.warn(
                "a provisioning file lies there that is not this device's; it is not read: remove it, or the state directory first",
                &[("path", &path)],
            );
        }
        return Ok(());
    }
    let provisioning = decode(path, &bytes)?;
    let Some(key) = &provisioning.key else {
        return Err(DaemonError::PublicFile { path: path.clone() });
    };
    // Whoever could read it may be this device by now.
    private(disk, path)?;
    let kept = provisioning
        .kept()
        .map_err(|_| wrong(path, ProvisioningError::Value))?;
    let key = DeviceKey::new(key.purpose, key.suite, key.id.clone(), key.seed.clone())
        .map_err(|_| wrong(path, ProvisioningError::Value))?;
    store.found(&kept, &key, &profile(&provisioning), &bytes, None)?;
    let handle = kept.current().handle;
    log.info("provisioned", &[("handle", &handle)]);
    wipe(disk, path, log);
    Ok(())
}

/// Makes a key for a device in the field; from then on it asks to be enrolled, also after a restart.
pub(crate) fn enrol<D: Disk + Clone>(
    disk: &D,
    config: &Config,
    enrolment: &Enrolment,
    log: &Log,
) -> Result<(), DaemonError> {
    let mut store = Store::open(disk.clone(), config)?;
    if let Some(kept) = store.kept()? {
        return if kept.is_registered() {
            Err(DaemonError::Enrolled)
        } else {
            log.info(
                "the enrolment goes on with the key that was made for it",
                &[],
            );
            Ok(())
        };
    }
    if !TOKEN_BYTES.contains(&enrolment.token.len()) {
        return Err(DaemonError::Token);
    }
    if enrolment.label.len() > LABEL_LEN_MAX || enrolment.label.chars().any(char::is_control) {
        return Err(DaemonError::Label);
    }
    let path = &enrolment.file;
    let bytes =
        read(disk, path)?.ok_or_else(|| DaemonError::NotProvisioned { path: path.clone() })?;
    let provisioning = decode(path, &bytes)?;
    if provisioning.key.is_some() {
        return Err(DaemonError::PrivateFile { path: path.clone() });
    }
    let servers = provisioning.known_servers();
    let suite = servers
        .first()
        .map(|server| server.keys.suite())
        .ok_or_else(|| wrong(path, ProvisioningError::Value))?;
    // There is no secret to hedge with before the first key.
    let seed = Random::of_the_system();
    let mut id = Zeroizing::new([0; KusabiId::LEN]);
    for (to, from) in id.iter_mut().zip(Random::of_the_system().iter()) {
        *to = *from;
    }
    let key = DeviceKey::new(Purpose::Act, suite, KusabiId::new(*id), Seed::new(*seed))
        .map_err(|_| wrong(path, ProvisioningError::Value))?;
    debug_assert_eq!(
        key.soft_key().map(|key| key.public_keys().suite()).ok(),
        Some(suite)
    );
    let handle = key.id().handle();
    let kept = Kept::enrolling(
        provisioning.trust.clone(),
        provisioning.org,
        &servers,
        handle,
    )
    .map_err(|_| wrong(path, ProvisioningError::Value))?;
    let given = Some((enrolment.token.as_slice(), enrolment.label.as_str()));
    store.found(&kept, &key, &profile(&provisioning), &bytes, given)?;
    log.info("key made", &[("handle", &handle)]);
    Ok(())
}

/// Reads a provisioning file without taking it in: what a check says.
pub(crate) fn look(disk: &impl Disk, path: &Path) -> Result<Option<Provisioning>, DaemonError> {
    let Some(bytes) = read(disk, path)? else {
        return Ok(None);
    };
    let provisioning = decode(path, &bytes)?;
    if provisioning.key.is_some() {
        private(disk, path)?;
    }
    Ok(Some(provisioning))
}

fn read(disk: &impl Disk, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, DaemonError> {
    let bytes = disk
        .read(path, Provisioning::LEN_MAX as u64)
        .map_err(|error| DaemonError::disk(path, error))?;
    Ok(bytes.map(Zeroizing::new))
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Provisioning, DaemonError> {
    let provisioning = Provisioning::decode(bytes).map_err(|error| wrong(path, error))?;
    for address in &provisioning.servers {
        super::speaks(&address.url)?;
    }
    Ok(provisioning)
}

fn private(disk: &impl Disk, path: &Path) -> Result<(), DaemonError> {
    match disk
        .node(path)
        .map_err(|error| DaemonError::disk(path, error))?
    {
        Some(Node::File { mode, .. }) if mode & 0o077 != 0 => Err(DaemonError::Exposed {
            path: path.into(),
            mode,
        }),
        _ => Ok(()),
    }
}

fn profile(provisioning: &Provisioning) -> Profile {
    let urls = provisioning.servers.iter();
    Profile {
        key_origin: provisioning.key_origin,
        serial: provisioning.serial.to_string(),
        addresses: urls.map(|address| address.url.to_string()).collect(),
    }
}

/// A file that cannot be wiped is said at every start, and stops nothing.
fn wipe(disk: &impl Disk, path: &Path, log: &Log) {
    let wiped = disk
        .wipe(path)
        .and_then(|()| disk.sync_dir(disk::folder(path)));
    if let Err(error) = wiped {
        let path = path.display();
        log.error(
            "the provisioning file holds this device's first key and cannot be wiped: remove it",
            &[("path", &path), ("why", &error)],
        );
    }
}

fn wrong(path: &Path, error: ProvisioningError) -> DaemonError {
    DaemonError::Provisioning {
        path: path.into(),
        error,
    }
}
