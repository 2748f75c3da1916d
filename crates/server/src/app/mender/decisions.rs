//! Who is served: auth sets accepted, rejected, vouched for; and what people are shown of them.
//!
//! To accept is noted first, and done once the key stands on the ledger: then the device has that key, and the one that it was served
//! with before is rejected. Until then that one goes on. A repeat goes on where the last one ended, and so does the device's next
//! request.

use super::super::{App, By, Caller, Change, Cut, Error, act::Done, devices::unknown};
use super::asks::{REVOKED, add_set};
use super::identity::{self, Identity};
use crate::store::{
    Tx, devices,
    mender_devices::{self, Set, Skip, Which},
    timeline,
};
use kusabi_api::{
    Hex,
    admin::{
        AuthSetState, Device, DeviceClass, DeviceKey, DeviceState, EventKind, Freshness, Inventory,
        MenderDevice, MenderPreauthorize, Page,
    },
};
use kusabi_core::{row::Status, suite::Purpose};
use kusabi_mender::DeviceKey as Key;
use serde_json::json;

/// How the key of a set stands that is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    InForce,
    /// The ledger does not hold it: it is not final yet, or the server has no writer.
    NotYet,
    /// It is over, or its set is not to be served any more.
    Ended,
}

/// What is to be done where something else stands under a handle that was drawn at random.
const OTHER_KEY: &str = "delete this auth set: the device comes with another handle";

fn unknown_set(id: &str) -> Error {
    Error::Unknown {
        what: "auth set",
        id: id.to_owned(),
    }
}

async fn find(tx: &mut Tx<'_>, id: &str) -> Result<Set, Error> {
    let set = mender_devices::set(tx.on(), id).await?;
    set.ok_or_else(|| unknown_set(id))
}

impl App {
    /// The devices, by ID: all of them, those that stand so, or those with a key that is pending.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn mender_devices(
        &self,
        state: Option<AuthSetState>,
        cut: &Cut,
    ) -> Result<Page<MenderDevice>, Error> {
        let (after, count) = (cut.after()?, cut.fetch()?);
        let mut reader = self.store.read("list Mender devices").await?;
        let which = match state {
            None => Which::All,
            Some(AuthSetState::Pending) => Which::Asking,
            Some(state) => Which::Of(state),
        };
        let skip = Skip::After(after);
        let all = mender_devices::list(reader.on(), which, skip, count).await?;
        cut.page(all, |one| one.id.clone())
    }

    /// So many of them after so many, and how many there are in all.
    pub(crate) async fn mender_devices_from(
        &self,
        state: Option<AuthSetState>,
        skip: u64,
        count: u16,
    ) -> Result<(Vec<MenderDevice>, u64), Error> {
        let mut reader = self.store.read("list Mender devices").await?;
        let total = mender_devices::count(reader.on(), state).await?;
        let which = state.map_or(Which::All, Which::Of);
        let skip = Skip::Count(skip);
        let all = mender_devices::list(reader.on(), which, skip, count).await?;
        Ok((all, total))
    }

    /// How many there are, or of this state.
    pub(crate) async fn count_mender_devices(
        &self,
        state: Option<AuthSetState>,
    ) -> Result<u64, Error> {
        let mut reader = self.store.read("count Mender devices").await?;
        Ok(mender_devices::count(reader.on(), state).await?)
    }

    /// One device.
    ///
    /// # Errors
    /// There is no such device; the database.
    pub async fn find_mender_device(&self, id: &str) -> Result<MenderDevice, Error> {
        let mut reader = self.store.read("show a Mender device").await?;
        let device = mender_devices::find(reader.on(), id).await?;
        device.ok_or_else(|| unknown(id))
    }

    /// The set of this ID.
    pub(crate) async fn mender_set(&self, id: &str) -> Result<Set, Error> {
        let mut reader = self.store.read("show an auth set").await?;
        let set = mender_devices::set(reader.on(), id).await?;
        set.ok_or_else(|| unknown_set(id))
    }

    /// Accepts an auth set: its key is registered on the ledger, and its device is served. A repeat goes on where the last one ended.
    ///
    /// # Errors
    /// There is no such set; its key is revoked; the server has no writer's key; ledger or database fail.
    pub async fn accept_auth_set(&self, by: &By, id: &str) -> Result<MenderDevice, Error> {
        let set = self.mender_set(id).await?;
        self.may_stand(&set).await?;
        self.act(by, "mender.accept", move |tx, now_ms| {
            Box::pin(async move {
                let set = find(tx, id).await?;
                // Also of one that was accepted before: its key may have ended under another identity.
                not_revoked(tx, &set).await?;
                if set.state == AuthSetState::Accepted {
                    return Ok(Done::nothing(()));
                }
                let (state, who) = (AuthSetState::Accepted, by.caller.id());
                mender_devices::decide(tx.on(), &set, state, who, now_ms).await?;
                Ok(Done::changed((), id, particulars(&set)))
            })
        })
        .await?;
        self.see_accepted(&set).await?;
        self.find_mender_device(&set.device).await
    }

    /// Rejects an auth set: its tokens end at once. Its key stays on the ledger where it stands there. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such set; the database.
    pub async fn reject_auth_set(&self, by: &By, id: &str) -> Result<MenderDevice, Error> {
        let device = self
            .act(by, "mender.reject", move |tx, now_ms| {
                Box::pin(async move {
                    let set = find(tx, id).await?;
                    if set.state == AuthSetState::Rejected {
                        return Ok(Done::nothing(set.device));
                    }
                    reject(tx, &set, by.caller.id(), now_ms).await?;
                    let detail = particulars(&set);
                    let told = Change::Device(set.device.clone());
                    Ok(Done::changed(set.device, id, detail).telling([told]))
                })
            })
            .await?;
        self.find_mender_device(&device).await
    }

    /// Vouches for a key before its device is heard: it is registered on the ledger, and accepted when the device asks with it.
    ///
    /// # Errors
    /// It is accepted or vouched for already, also under another identity; it was revoked; identity or key are none; the server has no
    /// writer's key; ledger or database fail.
    pub async fn preauthorize(
        &self,
        by: &By,
        create: MenderPreauthorize,
    ) -> Result<MenderDevice, Error> {
        let identity = Identity::new(&create.identity)?;
        let key = Key::from_pem(&create.key)
            .map_err(|why| Error::Malformed(format!("the device's key: {why}")))?;
        self.can_accept()?;
        let new = self.new_set(&key, AuthSetState::Preauthorized, self.edge.now_ms())?;
        let (identity, new) = (&identity, &new);
        let id = self
            .act(by, "mender.preauthorize", move |tx, now_ms| {
                Box::pin(async move {
                    let state = AuthSetState::Preauthorized;
                    let who = by.caller.id();
                    let digest = mender_devices::digest(new.key.spki());
                    let there = mender_devices::set_of(tx.on(), identity.hash, digest).await?;
                    let Some(there) = there else {
                        not_revoked(tx, new).await?;
                        not_elsewhere(tx, digest).await?;
                        let new = Set {
                            decided_ms: Some(now_ms),
                            decided_by: Some(who.to_owned()),
                            ..new.clone()
                        };
                        add_set(tx, identity, &new, "").await?;
                        let detail = particulars(&new);
                        return Ok(Done::changed(new.id.clone(), new.id, detail));
                    };
                    match there.state {
                        AuthSetState::Preauthorized if !is_known(tx, &there).await? => {
                            return Ok(Done::nothing(there.id));
                        }
                        AuthSetState::Accepted | AuthSetState::Preauthorized => {
                            return Err(Error::Exists {
                                what: "an auth set",
                                by: "identity and key",
                                id: there.id,
                            });
                        }
                        _ => {}
                    }
                    not_revoked(tx, &there).await?;
                    not_elsewhere(tx, digest).await?;
                    mender_devices::decide(tx.on(), &there, state, who, now_ms).await?;
                    let detail = particulars(&there);
                    Ok(Done::changed(there.id.clone(), there.id, detail))
                })
            })
            .await?;
        let set = self.mender_set(&id).await?;
        self.see_accepted(&set).await?;
        self.find_mender_device(&set.device).await
    }

    /// Forgets an auth set whose key never stood on the ledger. If its device asks again, it is as if for the first time.
    ///
    /// # Errors
    /// There is no such set, or it was accepted once; the database.
    pub async fn dismiss_auth_set(&self, by: &By, id: &str) -> Result<(), Error> {
        self.act(by, "mender.dismiss", move |tx, now_ms| {
            Box::pin(async move {
                let set = find(tx, id).await?;
                let undecided = matches!(set.state, AuthSetState::Pending | AuthSetState::Rejected);
                if !undecided || is_known(tx, &set).await? {
                    return Err(Error::AlreadyDone(format!(
                        "the key of this auth set stands on the ledger, which forgets nothing; revoke it: kusabi key revoke {}",
                        Hex(set.entry.handle().to_bytes())
                    )));
                }
                let detail = particulars(&set);
                mender_devices::forget(tx.on(), id, &set.device, now_ms).await?;
                Ok(Done::changed((), id, detail))
            })
        })
        .await
    }

    /// Whether the server can accept at all.
    fn can_accept(&self) -> Result<(), Error> {
        if self.can_register() {
            return Ok(());
        }
        Err(Error::Unfit(String::from(
            "this server has no writer's key, with which it would put the device's key on the ledger; start it with \
             --writer KEYFILE, then accept again",
        )))
    }

    /// Whether a set can be accepted, as the ledger stands.
    async fn may_stand(&self, set: &Set) -> Result<(), Error> {
        self.can_accept()?;
        let proven = self.ask(self.ledger.record(&set.entry.handle())).await?;
        match proven.value().as_ref().map(|record| record.status()) {
            None | Some(Status::Active) => Ok(()),
            Some(_) => Err(revoked()),
        }
    }

    /// Sees to it that the key of a set that was accepted, or vouched for, stands on the ledger, and that its device has it. Says how
    /// that key stands.
    pub(super) async fn see_accepted(&self, set: &Set) -> Result<Stand, Error> {
        let Some(stands) = self.see_registered(&set.entry, OTHER_KEY).await? else {
            return Ok(Stand::NotYet);
        };
        if stands.status != Status::Active {
            return Ok(Stand::Ended);
        }
        let by = By::only(Caller::server());
        let served = self.act(&by, "mender.register", move |tx, now_ms| {
            Box::pin(async move {
                let now = find(tx, &set.id).await?;
                if !matches!(
                    now.state,
                    AuthSetState::Accepted | AuthSetState::Preauthorized
                ) {
                    return Ok(Done::nothing(false));
                }
                let device = &now.device;
                let detail = json!({
                    "set": now.id, "handle": Hex(now.entry.handle().to_bytes()), "height": stands.registered,
                });
                let (kind, former) = match now.state {
                    AuthSetState::Accepted => (EventKind::Accepted, former(tx, &now).await?),
                    _ => (EventKind::Enrolled, Vec::new()),
                };
                // It was said before, by one of the two ways in which a key comes to stand.
                let mut said = false;
                for kind in [EventKind::Accepted, EventKind::Enrolled] {
                    said |= timeline::has(tx.on(), device, kind, &detail).await?;
                }
                // The follower may have come across the key before: then it is there, and this is still what put it there.
                let stands_here = is_known(tx, &now).await? && is_active(tx, &now).await?;
                if stands_here && former.is_empty() && said {
                    return Ok(Done::nothing(true));
                }
                if !said {
                    timeline::append(tx.on(), device, now_ms, kind, &detail).await?;
                }
                if !stands_here {
                    note_key(tx, &now, stands.registered, now_ms).await?;
                }
                displace(tx, &now, &former, now_ms).await?;
                let told = Change::Device(device.clone());
                let subject = device.clone();
                Ok(Done::changed(true, subject, detail).telling([told]))
            })
        });
        Ok(match served.await? {
            true => Stand::InForce,
            // Somebody decided otherwise meanwhile.
            false => Stand::Ended,
        })
    }

    /// A device that somebody vouched for asks: it is accepted. Says whether it still was vouched for.
    pub(super) async fn meet_preauthorized(&self, set: &Set) -> Result<bool, Error> {
        let by = By::only(Caller::server());
        let by = &by;
        self.act(by, "mender.accept", move |tx, now_ms| {
            Box::pin(async move {
                let set = find(tx, &set.id).await?;
                match set.state {
                    AuthSetState::Preauthorized => {}
                    state => return Ok(Done::nothing(state == AuthSetState::Accepted)),
                }
                let former = former(tx, &set).await?;
                let (state, who) = (AuthSetState::Accepted, by.caller.id());
                mender_devices::decide(tx.on(), &set, state, who, now_ms).await?;
                displace(tx, &set, &former, now_ms).await?;
                let detail = particulars(&set);
                let kind = EventKind::Accepted;
                timeline::append(tx.on(), &set.device, now_ms, kind, &detail).await?;
                let told = Change::Device(set.device.clone());
                Ok(Done::changed(true, set.id, detail).telling([told]))
            })
        })
        .await
    }
}

/// What the audit log says of a set.
fn particulars(set: &Set) -> serde_json::Value {
    json!({
        "set": set.id, "handle": Hex(set.entry.handle().to_bytes()),
        "fingerprint": Hex(mender_devices::digest(set.key.spki())),
    })
}

fn revoked() -> Error {
    Error::Unfit(REVOKED.to_string())
}

/// The key is accepted or vouched for under no identity. Whoever vouches for one a second time has mistyped the identity: its device
/// would never come, and to revoke that one would end the key of the one that does.
async fn not_elsewhere(tx: &mut Tx<'_>, key: [u8; 32]) -> Result<(), Error> {
    match mender_devices::let_in_with(tx.on(), key).await? {
        None => Ok(()),
        Some(device) => Err(Error::Unfit(format!(
            "this key is that of {device}, under another identity: name every line that the device's identity script prints, or \
             reject that one first (kusabi mender reject {device}; do not revoke it, which ends the key under every identity)"
        ))),
    }
}

async fn not_revoked(tx: &mut Tx<'_>, set: &Set) -> Result<(), Error> {
    let digest = mender_devices::digest(set.key.spki());
    match mender_devices::is_revoked(tx.on(), digest).await? {
        true => Err(revoked()),
        false => Ok(()),
    }
}

/// Whether a set's key stands on the ledger, as far as that is known here.
async fn is_known(tx: &mut Tx<'_>, set: &Set) -> Result<bool, Error> {
    let handle = set.entry.handle().to_bytes();
    Ok(devices::with_key(tx.on(), handle).await?.is_some())
}

/// Whether its device is in no state that a further key would change.
async fn is_active(tx: &mut Tx<'_>, set: &Set) -> Result<bool, Error> {
    let device = devices::find(tx.on(), &set.device).await?;
    Ok(device.is_some_and(|device| {
        matches!(device.state, DeviceState::Active | DeviceState::Quarantined)
    }))
}

/// The sets by which this one's device was served before.
async fn former(tx: &mut Tx<'_>, set: &Set) -> Result<Vec<Set>, Error> {
    let mut sets = mender_devices::sets(tx.on(), &set.device).await?;
    sets.retain(|one| one.id != set.id && one.state == AuthSetState::Accepted);
    Ok(sets)
}

/// The device is served by this set from now on.
async fn displace(tx: &mut Tx<'_>, set: &Set, former: &[Set], now_ms: u64) -> Result<(), Error> {
    for one in former {
        tracing::info!(
            device = set.device,
            former = one.id,
            by = set.id,
            "another key of a device was accepted"
        );
        reject(tx, one, Caller::server().id(), now_ms).await?;
    }
    Ok(())
}

async fn reject(tx: &mut Tx<'_>, set: &Set, by: &str, now_ms: u64) -> Result<(), Error> {
    mender_devices::decide(tx.on(), set, AuthSetState::Rejected, by, now_ms).await?;
    if is_known(tx, set).await? {
        let (kind, detail) = (EventKind::Rejected, particulars(set));
        timeline::append(tx.on(), &set.device, now_ms, kind, &detail).await?;
    }
    Ok(())
}

/// The device is known, and has this key.
async fn note_key(tx: &mut Tx<'_>, set: &Set, registered: u64, now_ms: u64) -> Result<(), Error> {
    let id = &set.device;
    if devices::find(tx.on(), id).await?.is_none() {
        let said = mender_devices::find(tx.on(), id).await?;
        let device = Device {
            id: id.clone(),
            class: DeviceClass::Mender,
            state: DeviceState::Active,
            device_type: None,
            serial: None,
            name: said.and_then(|said| identity::summary(&said.identity)),
            firmware: None,
            inventory: Inventory::Unknown,
            freshness: Freshness::Unknown,
            last_contact_ms: None,
            created_ms: now_ms,
        };
        devices::insert(tx.on(), &device).await?;
    }
    if !is_known(tx, set).await? {
        let key = DeviceKey {
            handle: Hex(set.entry.handle().to_bytes()),
            purpose: Purpose::Act.name().to_owned(),
            predecessor: None,
            registered,
            status: String::from("active"),
            ended: None,
        };
        devices::insert_key(tx.on(), id, &key).await?;
    }
    devices::set_state(tx.on(), id, DeviceState::Active).await?;
    Ok(())
}
