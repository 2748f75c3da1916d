//! What the ledger did, and what that does to the database.

use crate::{
    app::Error,
    store::{Tx, devices, doorstep, mender_artifacts, mender_devices, orders, releases, timeline},
};
use kusabi_api::{
    Hex, Hex32,
    admin::{Device, DeviceClass, DeviceKey, DeviceState, EventKind, Freshness, Inventory},
};
use kusabi_core::{id::Height, row::Release, suite::Purpose};
use serde_json::json;

/// Status of a key that is another organisation's now, and of those that have ended.
const MOVED: &str = "moved";
pub(super) const SPENT: &str = "spent";
pub(super) const SUPERSEDED: &str = "superseded";
pub(super) const REVOKED: &str = "revoked";

/// What the ledger did: of all but a first key it is proven.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A first key. The node's word: it is for the lists.
    Device {
        handle: Hex32,
        purpose: Purpose,
        class: DeviceClass,
    },
    /// A key in the place of another.
    Follows {
        old: Hex32,
        new: Hex32,
        /// What the new one is for.
        purpose: Purpose,
        /// How it has ended since, unless in others' hands.
        end: Option<End>,
    },
    /// A key that was taken out of force.
    Revoked { handle: Hex32, end: End },
    /// A key that is another organisation's now.
    GivenAway { handle: Hex32, to: Hex<16> },
    /// A key that came from another organisation.
    Taken { key: Origin, from: Option<Hex<16>> },
    /// A key that came from another organisation, and has gone on to another one since.
    Passed(Origin),
    /// A release, as it stands.
    Release { digest: Hex32, release: Release },
    /// A key that signs releases, or artifacts.
    ArtKey(mender_artifacts::ArtKey),
    /// One that does so no more.
    ArtKeyEnded(Hex32),
    /// One of the server's own keys, which counts no more.
    OwnKeyEnded { what: &'static str, handle: Hex32 },
}

/// A key that came.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) handle: Hex32,
    pub(super) purpose: Purpose,
    pub(super) class: DeviceClass,
    /// How it has ended since.
    pub(super) end: Option<End>,
    /// The keys that it follows on, the newest first.
    pub(super) before: Vec<Hex32>,
}

/// The end of a key, as the ledger proves it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) status: &'static str,
    /// From which height on it does not count.
    pub(super) height: u64,
}

/// When it happened, by the node's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) height: u64,
    pub(super) time_ms: u64,
}

impl Change {
    /// Writes it; says which device it was about.
    pub(super) async fn apply(&self, tx: &mut Tx<'_>, at: &At) -> Result<Option<String>, Error> {
        let height = at.height;
        match *self {
            Self::GivenAway { handle, to } => {
                let Some((device, before)) = devices::key(tx.on(), handle.0).await? else {
                    return Ok(None);
                };
                if before.ended.is_some() {
                    return Ok(None);
                }
                devices::end_key(tx.on(), handle.0, MOVED, height).await?;
                devices::set_state(tx.on(), &device, DeviceState::Moved).await?;
                orders::drop_open(tx.on(), &device, at.time_ms).await?;
                doorstep::forget_link(tx.on(), &device).await?;
                let detail = json!({ "handle": handle, "height": height, "to": to });
                at.say(tx, &device, EventKind::GivenAway, &detail).await?;
                Ok(Some(device))
            }
            Self::Taken { ref key, from } => {
                let Origin {
                    handle,
                    purpose,
                    class,
                    end,
                    ref before,
                } = *key;
                let state = match purpose {
                    Purpose::Pre => DeviceState::Registered,
                    _ => DeviceState::Active,
                };
                // It may have been this organisation's before, by this key or by one before it.
                let mut device = None;
                for handle in [handle].iter().chain(before) {
                    if device.is_none() {
                        device = devices::with_key(tx.on(), handle.0).await?;
                    }
                }
                let there = devices::key(tx.on(), handle.0).await?;
                if there.as_ref().is_some_and(|(_, key)| key.status != MOVED) {
                    // It has been here all the time, as far as is known here: a node may say again what was so once.
                    return Ok(None);
                }
                let device = match device {
                    Some(device) => device,
                    None => known(tx, at, handle, state, class).await?,
                };
                match there {
                    Some(_) => devices::revive_key(tx.on(), handle.0).await?,
                    None => {
                        let entry = key_of(handle, purpose.name(), before.first().copied(), height);
                        devices::insert_key(tx.on(), &device, &entry).await?;
                    }
                }
                devices::set_state(tx.on(), &device, state).await?;
                if let Some(end) = end {
                    end.note(tx, &device, handle).await?;
                }
                let detail = json!({ "handle": handle, "height": height, "from": from });
                at.say(tx, &device, EventKind::Taken, &detail).await?;
                Ok(Some(device))
            }
            Self::Passed(ref key) => {
                // Only one that was known before a rebuild, by this key, is put in its place again.
                let device = kusabi_api::admin::device_id(&key.handle);
                let known = devices::find(tx.on(), &device).await?.is_some();
                if !known || !devices::keys(tx.on(), &device).await?.is_empty() {
                    return Ok(None);
                }
                let before = key.before.first().copied();
                let entry = DeviceKey {
                    status: MOVED.into(),
                    ended: Some(height),
                    ..key_of(key.handle, key.purpose.name(), before, height)
                };
                devices::insert_key(tx.on(), &device, &entry).await?;
                devices::set_state(tx.on(), &device, DeviceState::Moved).await?;
                Ok(Some(device))
            }
            Self::Device {
                handle,
                purpose,
                class,
            } => {
                if devices::with_key(tx.on(), handle.0).await?.is_some() {
                    return Ok(None);
                }
                let state = match purpose {
                    Purpose::Pre => DeviceState::Registered,
                    _ => DeviceState::Active,
                };
                let id = known(tx, at, handle, state, class).await?;
                let key = key_of(handle, purpose.name(), None, height);
                devices::insert_key(tx.on(), &id, &key).await?;
                Ok(Some(id))
            }
            Self::Follows {
                old,
                new,
                purpose,
                end,
            } => {
                // A key of another kind (an app's) is nothing to this table.
                let Some((device, before)) = devices::key(tx.on(), old.0).await? else {
                    return Ok(None);
                };
                let there = devices::key(tx.on(), new.0).await?;
                let is_its = |(of, _): &(String, DeviceKey)| *of == device;
                let is_done = before.ended.is_some() && there.as_ref().is_some_and(is_its);
                // A node may say again what was so once. A key that went to others is followed there.
                if is_done || before.status == MOVED {
                    return Ok(None);
                }
                let (status, kind) = match before.purpose == Purpose::Pre.name() {
                    true => (SPENT, EventKind::Activated),
                    false => (SUPERSEDED, EventKind::Rotated),
                };
                devices::end_key(tx.on(), old.0, status, height).await?;
                let key = key_of(new, purpose.name(), Some(old), height);
                match &there {
                    None => devices::insert_key(tx.on(), &device, &key).await?,
                    // A node said before that it was the first key of another.
                    Some(_) => devices::move_key(tx.on(), &device, &key).await?,
                }
                let state = match there {
                    Some((_, key)) if key.status == MOVED => DeviceState::Moved,
                    _ => DeviceState::Active,
                };
                devices::set_state(tx.on(), &device, state).await?;
                // It may have ended before it is known here whose it is.
                if let Some(end) = end {
                    end.note(tx, &device, new).await?;
                }
                at.tell(tx, &device, kind, new).await?;
                Ok(Some(device))
            }
            Self::Revoked { handle, end } => {
                art_key_ended(tx, handle).await?;
                let Some((device, before)) = devices::key(tx.on(), handle.0).await? else {
                    return Ok(None);
                };
                let is_done = before.status == REVOKED && before.ended == Some(end.height);
                if !is_done {
                    end.note(tx, &device, handle).await?;
                }
                // By the height of its end, which stays: a node may say it again at another one.
                let detail = json!({ "handle": handle, "height": end.height });
                at.say(tx, &device, EventKind::Revoked, &detail).await?;
                Ok((!is_done).then_some(device))
            }
            Self::Release {
                digest,
                ref release,
            } => {
                let withdrawn = release.withdrawn_at().map(Height::get);
                let published = release.published_at().get();
                releases::note(tx.on(), digest.0, published, withdrawn).await?;
                Ok(None)
            }
            Self::ArtKey(ref key) => {
                mender_artifacts::note_art_key(tx.on(), key).await?;
                Ok(None)
            }
            Self::ArtKeyEnded(handle) => {
                art_key_ended(tx, handle).await?;
                Ok(None)
            }
            // Nothing else would say so.
            Self::OwnKeyEnded { what, handle } => {
                tracing::warn!(%handle, "this server's {what} has ended on the ledger: nobody accepts what it signs; an officer grants another one");
                Ok(None)
            }
        }
    }
}

impl End {
    /// Notes that a key of a device has ended so: a device whose last key was taken out of force is revoked.
    async fn note(&self, tx: &mut Tx<'_>, device: &str, handle: Hex32) -> Result<(), Error> {
        let before = devices::key(tx.on(), handle.0).await?;
        devices::end_key(tx.on(), handle.0, self.status, self.height).await?;
        // Of a key that ended before it is now known that it was compromised: the device has another one. A Mender device may have been
        // given another one before.
        let ended_before =
            before.is_some_and(|(_, key)| key.ended.is_some() && key.status != REVOKED);
        let keys = devices::keys(tx.on(), device).await?;
        let has_another = keys.iter().any(|key| key.ended.is_none());
        if self.status == REVOKED && !ended_before && !has_another {
            devices::set_state(tx.on(), device, DeviceState::Revoked).await?;
        }
        Ok(())
    }
}

/// Forgets a release key that has ended, and says so where the same key counts under another handle.
async fn art_key_ended(tx: &mut Tx<'_>, handle: Hex32) -> Result<(), Error> {
    for twin in mender_artifacts::twins(tx.on(), handle).await? {
        tracing::warn!(%handle, %twin, "a key that signs artifacts has ended, and the same key still counts under another handle; end that one, too: kusabi org art --remove");
    }
    Ok(mender_artifacts::forget_art_key(tx.on(), handle).await?)
}

impl At {
    /// Puts it into the device's timeline.
    async fn tell(
        &self,
        tx: &mut Tx<'_>,
        device: &str,
        kind: EventKind,
        handle: Hex32,
    ) -> Result<(), Error> {
        let detail = json!({ "handle": handle, "height": self.height });
        self.say(tx, device, kind, &detail).await
    }

    async fn say(
        &self,
        tx: &mut Tx<'_>,
        device: &str,
        kind: EventKind,
        detail: &serde_json::Value,
    ) -> Result<(), Error> {
        timeline::append_once(tx.on(), device, self.time_ms, kind, detail).await?;
        Ok(())
    }
}

/// The device whose first key here this is, or which has it beside others; gives its ID.
async fn known(
    tx: &mut Tx<'_>,
    at: &At,
    handle: Hex32,
    state: DeviceState,
    class: DeviceClass,
) -> Result<String, Error> {
    // A Mender device may have several keys, none of which follows on another: which of them belong together is known here only.
    let id = match mender_devices::with_handle(tx.on(), handle.0).await? {
        Some(device) => device,
        None => kusabi_api::admin::device_id(&handle),
    };
    match devices::find(tx.on(), &id).await? {
        // From before a rebuild: what only the database knows of it stayed.
        Some(_) => devices::set_state(tx.on(), &id, state).await?,
        None => {
            let device = Device {
                id: id.clone(),
                class,
                state,
                device_type: None,
                serial: None,
                name: None,
                firmware: None,
                inventory: Inventory::Unknown,
                freshness: Freshness::Unknown,
                last_contact_ms: None,
                created_ms: at.time_ms,
            };
            devices::insert(tx.on(), &device).await?;
            at.tell(tx, &id, EventKind::Known, handle).await?;
        }
    }
    Ok(id)
}

fn key_of(handle: Hex32, purpose: &str, predecessor: Option<Hex32>, height: u64) -> DeviceKey {
    DeviceKey {
        handle,
        purpose: purpose.to_owned(),
        predecessor,
        registered: height,
        status: String::from("active"),
        ended: None,
    }
}
