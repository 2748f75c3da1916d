//! Devices already in the field that ask to be registered (spec/device-protocol.md, "Enrolment").
//!
//! A token authorises nothing but to be looked at. An operator accepts, or the device's label is on a list that was uploaded; then a
//! writer registers the key: the server's own, if it has one, or whoever asks for the accepted ones.

mod bounds;

use super::{App, By, Caller, Cut, Error, act::Done, strangers::CROWDED};
use crate::store::{devices, enrolments, groups, timeline};
use bounds::{LABELS_MAX, is_good, place};
use kusabi_api::{
    Hex, Hex32,
    admin::{
        Device, DeviceClass, DeviceKey, DeviceState, Enrolment, EnrolmentLabels, EnrolmentState,
        EnrolmentToken, EnrolmentTokenCreate, EnrolmentTokenCreated, EventKind, Freshness,
        Inventory, Page, Text,
    },
};
use kusabi_core::{
    id::{Binding, Handle},
    protocol::{hello, succession::NewKey},
    suite::{PublicKeys, Purpose, Suite},
    tx::Entry,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// What the secret of an enrolment token begins with. With its 40 hexadecimal digits it has 57 characters, of 64 that a hello may carry.
const PREFIX: &str = "kusabi_enrolment_";

/// Random bytes of a secret.
const SECRET_LEN: usize = 20;

/// What a device says when it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enrolling<'a> {
    pub(crate) token: &'a [u8],
    pub(crate) entry: &'a NewKey,
    pub(crate) label: &'a str,
    /// Turns to look for it in the database, and places to wait for the ledger: hellos of all kinds share them, for anyone can say one.
    pub(crate) turns: &'a Semaphore,
    pub(crate) places: &'a Semaphore,
}

/// What is known of a device that asks.
enum Known {
    /// It asked before.
    Asked(Enrolment),
    /// It may ask, with the token of this ID.
    May(String),
    /// Not with this token.
    Not,
}

fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn unknown(id: &str) -> Error {
    Error::Unknown {
        what: "enrolment",
        id: id.to_owned(),
    }
}

fn status(state: EnrolmentState) -> hello::Enrolment {
    match state {
        EnrolmentState::Registered => hello::Enrolment::Registered,
        EnrolmentState::Refused => hello::Enrolment::Refused,
        _ => hello::Enrolment::Waiting,
    }
}

impl App {
    /// Makes a token with which devices ask.
    ///
    /// # Errors
    /// There is no such group; the database.
    pub async fn create_enrolment_token(
        &self,
        by: &By,
        create: EnrolmentTokenCreate,
    ) -> Result<EnrolmentTokenCreated, Error> {
        let id = self.new_id("enr")?;
        let random = self.edge.random()?;
        let secret = format!("{PREFIX}{}", enrolments::hex(&random[..SECRET_LEN]));
        let (create, id, secret) = (&create, &id, &secret);
        self.act(by, "enrolment-token.create", move |tx, now_ms| {
            Box::pin(async move {
                if let Some(group) = &create.group
                    && !groups::exists(tx.on(), group).await?
                {
                    return Err(super::groups::unknown(group));
                }
                let token = EnrolmentToken {
                    id: id.clone(),
                    name: create.name.clone(),
                    device_type: create.device_type.clone(),
                    group: create.group.clone(),
                    uses_left: create.uses,
                    expires_ms: create.expires_ms,
                    created_ms: now_ms,
                    revoked_ms: None,
                };
                enrolments::insert_token(tx.on(), &token, hash(secret.as_bytes())).await?;
                let detail = json!({
                    "name": token.name, "type": token.device_type, "group": token.group,
                    "uses": token.uses_left, "expires_ms": token.expires_ms,
                });
                let created = EnrolmentTokenCreated {
                    token,
                    secret: secret.clone(),
                };
                Ok(Done::changed(created, id, detail).secret())
            })
        })
        .await
    }

    /// The tokens, by ID; revoked ones, too.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn enrolment_tokens(&self, cut: &Cut) -> Result<Page<EnrolmentToken>, Error> {
        let (after, count) = (cut.after()?, cut.fetch()?);
        let mut reader = self.store.read("list enrolment tokens").await?;
        let tokens = enrolments::tokens(reader.on(), after, count).await?;
        cut.page(tokens, |token| token.id.clone())
    }

    /// Revokes a token: nobody is looked at with it any more. Who asked before stays. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such token; the database.
    pub async fn revoke_enrolment_token(&self, by: &By, id: &str) -> Result<EnrolmentToken, Error> {
        self.act(by, "enrolment-token.revoke", move |tx, now_ms| {
            Box::pin(async move {
                let mut token =
                    enrolments::token(tx.on(), id)
                        .await?
                        .ok_or_else(|| Error::Unknown {
                            what: "enrolment token",
                            id: id.to_owned(),
                        })?;
                if token.revoked_ms.is_some() {
                    return Ok(Done::nothing(token));
                }
                enrolments::revoke_token(tx.on(), id, now_ms).await?;
                token.revoked_ms = Some(now_ms);
                Ok(Done::changed(token, id, json!({})))
            })
        })
        .await
    }

    /// Adds labels (serials) of devices that are accepted by themselves, each once.
    ///
    /// # Errors
    /// There are too many; the database.
    pub async fn add_enrolment_labels(
        &self,
        by: &By,
        labels: EnrolmentLabels,
    ) -> Result<u64, Error> {
        if labels.labels.len() > LABELS_MAX {
            return Err(Error::Unfit(format!(
                "a list has at most {LABELS_MAX} labels, not {}; send it in parts",
                labels.labels.len()
            )));
        }
        let labels = &labels.labels;
        self.act(by, "enrolment-labels.add", move |tx, _| {
            Box::pin(async move {
                let added = enrolments::add_labels(tx.on(), labels).await?;
                if added == 0 {
                    return Ok(Done::nothing(0));
                }
                let detail = json!({ "added": added });
                Ok(Done::changed(added, "enrolment-labels", detail))
            })
        })
        .await
    }

    /// Who asked, by ID.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn enrolments(
        &self,
        state: Option<EnrolmentState>,
        cut: &Cut,
    ) -> Result<Page<Enrolment>, Error> {
        let (after, count) = (cut.after()?, cut.fetch()?);
        let mut reader = self.store.read("list enrolments").await?;
        let all = enrolments::list(reader.on(), state, after, count).await?;
        cut.page(all, |one| one.id.clone())
    }

    /// A device asks. A repeat without news changes nothing.
    ///
    /// # Errors
    /// [`Error::Crowded`]: too many wait for the ledger. Ledger or database fail.
    pub(crate) async fn enrol(&self, asks: Enrolling<'_>) -> Result<hello::Enrolment, Error> {
        let known = {
            let _turn = asks.turns.acquire().await;
            self.look_for(asks).await?
        };
        let enrolment = match known {
            Known::Asked(before) => Some(before),
            Known::May(token) => self.note_enrolment(asks, &token).await?,
            Known::Not => None,
        };
        let Some(enrolment) = enrolment else {
            return Ok(hello::Enrolment::Refused);
        };
        // A key that somebody else asks for under this handle is not the one that was accepted.
        if enrolment.keys != enrolments::hex(asks.entry.keys.compact().unwrap_or_default()) {
            return Ok(hello::Enrolment::Refused);
        }
        if enrolment.state == EnrolmentState::Accepted {
            let _place = asks.places.try_acquire().map_err(|_| CROWDED)?;
            return match self.register_enrolled(&enrolment).await {
                Ok(registered) => Ok(status(registered.state)),
                // Asking again does not mend it; whoever accepted it was told, too.
                Err(Error::Unfit(why)) => {
                    tracing::warn!(why, "an accepted device cannot be registered");
                    Ok(hello::Enrolment::Refused)
                }
                Err(why) => Err(why),
            };
        }
        Ok(status(enrolment.state))
    }

    /// Reads what there is to know of who asks. Whoever has no token that is good costs two rows, and whoever finds no place no
    /// transaction.
    async fn look_for(&self, asks: Enrolling<'_>) -> Result<Known, Error> {
        let mut reader = self.store.read("look for an enrolment").await?;
        let handle = asks.entry.handle.to_bytes();
        if let Some(before) = enrolments::with_handle(reader.on(), handle).await? {
            return Ok(Known::Asked(before));
        }
        // The lookup is by the hash: how long it takes says nothing about the secret.
        let token = enrolments::token_with_hash(reader.on(), hash(asks.token)).await?;
        let now_ms = self.edge.now_ms();
        let Some(token) = token.filter(|token| is_good(token, now_ms)) else {
            return Ok(Known::Not);
        };
        let label: Option<Text> = asks.label.parse().ok();
        let place = place(reader.on(), &token.id, label.as_ref()).await?;
        if place.is_none() {
            tracing::warn!(
                token = token.id,
                "too many who came by an enrolment token wait"
            );
            return Ok(Known::Not);
        }
        Ok(Known::May(token.id))
    }

    /// Writes down who asks; `None`: not with this token.
    async fn note_enrolment(
        &self,
        asks: Enrolling<'_>,
        token: &str,
    ) -> Result<Option<Enrolment>, Error> {
        let label: Option<Text> = asks.label.parse().ok();
        let label = &label;
        let by = By::only(Caller::server());
        let entry = asks.entry;
        self.act(&by, "enrolment.ask", move |tx, now_ms| {
            Box::pin(async move {
                let handle: Hex32 = Hex(entry.handle.to_bytes());
                if let Some(there) = enrolments::with_handle(tx.on(), handle.0).await? {
                    return Ok(Done::nothing(Some(there)));
                }
                let now = enrolments::token(tx.on(), token).await?;
                if !now.is_some_and(|token| is_good(&token, now_ms)) {
                    return Ok(Done::nothing(None));
                }
                let Some(listed) = place(tx.on(), token, label.as_ref()).await? else {
                    return Ok(Done::nothing(None));
                };
                if let Some(label) = label.as_ref().filter(|_| listed) {
                    enrolments::strike(tx.on(), label).await?;
                }
                let mut id = [0; 16];
                id.copy_from_slice(&handle.0[..16]);
                let keys = entry.keys.compact().unwrap_or_default();
                let enrolment = Enrolment {
                    id: format!("enl_{}", Hex(id)),
                    handle,
                    token: token.to_owned(),
                    label: label.clone(),
                    purpose: Purpose::Act.name().to_owned(),
                    suite: entry.keys.suite().into(),
                    keys: enrolments::hex(keys),
                    binding: Hex(entry.binding.to_bytes()),
                    state: match listed {
                        true => EnrolmentState::Accepted,
                        false => EnrolmentState::Waiting,
                    },
                    created_ms: now_ms,
                    decided_ms: listed.then_some(now_ms),
                    decided_by: listed.then(|| String::from("list")),
                };
                enrolments::insert(tx.on(), &enrolment, keys).await?;
                enrolments::use_token(tx.on(), token).await?;
                let detail = json!({
                    "handle": handle, "token": token, "label": enrolment.label, "state": enrolment.state,
                });
                let subject = enrolment.id.clone();
                Ok(Done::changed(Some(enrolment), subject, detail))
            })
        })
        .await
    }

    /// Accepts a device; with a writer's key of its own the server registers it at once. A repeat goes on where the last one ended.
    ///
    /// # Errors
    /// There is no such request, or it was refused; ledger or database fail.
    pub async fn accept_enrolment(&self, by: &By, id: &str) -> Result<Enrolment, Error> {
        let accepted = self
            .act(by, "enrolment.accept", move |tx, now_ms| {
                Box::pin(async move {
                    let mut enrolment = enrolments::find(tx.on(), id)
                        .await?
                        .ok_or_else(|| unknown(id))?;
                    match enrolment.state {
                        EnrolmentState::Waiting => {}
                        EnrolmentState::Refused => {
                            return Err(Error::AlreadyDone(String::from(
                                "this enrolment was refused; the device has to ask again with a new key",
                            )));
                        }
                        _ => return Ok(Done::nothing(enrolment)),
                    }
                    let who = by.caller.id();
                    let decided = Some((now_ms, who));
                    enrolments::set(tx.on(), id, EnrolmentState::Accepted, decided).await?;
                    enrolment.state = EnrolmentState::Accepted;
                    enrolment.decided_ms = Some(now_ms);
                    enrolment.decided_by = Some(who.to_owned());
                    let detail = json!({ "handle": enrolment.handle, "label": enrolment.label });
                    Ok(Done::changed(enrolment, id, detail))
                })
            })
            .await?;
        if accepted.state == EnrolmentState::Accepted {
            return self.register_enrolled(&accepted).await;
        }
        Ok(accepted)
    }

    /// Refuses a device. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such request, or it was accepted; the database.
    pub async fn refuse_enrolment(&self, by: &By, id: &str) -> Result<Enrolment, Error> {
        self.act(by, "enrolment.refuse", move |tx, now_ms| {
            Box::pin(async move {
                let mut enrolment = enrolments::find(tx.on(), id)
                    .await?
                    .ok_or_else(|| unknown(id))?;
                match enrolment.state {
                    EnrolmentState::Waiting => {}
                    EnrolmentState::Refused => return Ok(Done::nothing(enrolment)),
                    _ => {
                        return Err(Error::AlreadyDone(String::from(
                            "this enrolment was accepted; revoke the device's key instead",
                        )));
                    }
                }
                let who = by.caller.id();
                enrolments::set(tx.on(), id, EnrolmentState::Refused, Some((now_ms, who))).await?;
                enrolment.state = EnrolmentState::Refused;
                enrolment.decided_ms = Some(now_ms);
                enrolment.decided_by = Some(who.to_owned());
                let detail = json!({ "handle": enrolment.handle, "label": enrolment.label });
                Ok(Done::changed(enrolment, id, detail))
            })
        })
        .await
    }

    /// Sees to it that an accepted key stands on the ledger. Then the device is known.
    async fn register_enrolled(&self, enrolment: &Enrolment) -> Result<Enrolment, Error> {
        let instead = format!("refuse the enrolment {}", enrolment.id);
        match self.see_registered(&entry(enrolment)?, &instead).await? {
            Some(stands) => self.note_registered(enrolment, stands.registered).await,
            None => Ok(enrolment.clone()),
        }
    }

    /// An enrolled key stands on the ledger: its device is known, by the name under which it asked.
    async fn note_registered(
        &self,
        enrolment: &Enrolment,
        registered: u64,
    ) -> Result<Enrolment, Error> {
        let by = By::only(Caller::server());
        self.act(&by, "enrolment.register", move |tx, now_ms| {
            Box::pin(async move {
                let now = enrolments::find(tx.on(), &enrolment.id)
                    .await?
                    .ok_or_else(|| unknown(&enrolment.id))?;
                if now.state == EnrolmentState::Registered {
                    return Ok(Done::nothing(now));
                }
                let token = enrolments::token(tx.on(), &enrolment.token).await?;
                let handle = enrolment.handle;
                let known = devices::with_key(tx.on(), handle.0).await?;
                let id = known.clone().unwrap_or_else(|| kusabi_api::admin::device_id(&handle));
                // A serial is unique; what the device calls itself is a serial only if nobody else has it.
                let serial = match &enrolment.label {
                    Some(label) if devices::with_serial(tx.on(), label).await?.is_none() => {
                        Some(label.clone())
                    }
                    _ => None,
                };
                let mut device = Device {
                    id: id.clone(),
                    class: DeviceClass::Kusabi,
                    state: DeviceState::Active,
                    device_type: token.as_ref().and_then(|token| token.device_type.clone()),
                    serial,
                    name: enrolment.label.clone(),
                    firmware: None,
                    inventory: Inventory::Unknown,
                    freshness: Freshness::Unknown,
                    last_contact_ms: None,
                    created_ms: now_ms,
                };
                match devices::find(tx.on(), &id).await? {
                    Some(there) => {
                        let named = there.name.is_some() || there.serial.is_some();
                        if !named {
                            device.created_ms = there.created_ms;
                            devices::describe(tx.on(), &device).await?;
                        }
                    }
                    None => devices::insert(tx.on(), &device).await?,
                }
                if known.is_none() {
                    let key = DeviceKey {
                        handle,
                        purpose: Purpose::Act.name().into(),
                        predecessor: None,
                        registered,
                        status: String::from("active"),
                        ended: None,
                    };
                    devices::insert_key(tx.on(), &id, &key).await?;
                }
                if let Some(group) = token.and_then(|token| token.group)
                    && groups::exists(tx.on(), &group).await?
                {
                    groups::add(tx.on(), &group, &id).await?;
                }
                let state = EnrolmentState::Registered;
                enrolments::set(tx.on(), &enrolment.id, state, None).await?;
                let detail = json!({
                    "enrolment": enrolment.id, "handle": handle, "label": enrolment.label, "height": registered,
                });
                timeline::append(tx.on(), &id, now_ms, EventKind::Enrolled, &detail).await?;
                let told = super::Change::Device(id.clone());
                let registered = Enrolment {
                    state,
                    ..enrolment.clone()
                };
                Ok(Done::changed(registered, id, detail).telling([told]))
            })
        })
        .await
    }
}

/// The ledger's entry of an enrolment.
fn entry(enrolment: &Enrolment) -> Result<Entry, Error> {
    let damaged = || Error::Unfit(format!("the enrolment {} is damaged", enrolment.id));
    let digits = enrolment.keys.as_bytes().chunks(2);
    let keys: Option<Vec<u8>> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let suite = Suite::try_from(enrolment.suite).map_err(|_| damaged())?;
    let keys = keys.ok_or_else(damaged)?;
    let keys = PublicKeys::from_compact(suite, &keys).map_err(|_| damaged())?;
    let binding = Binding::new(enrolment.binding.0);
    let handle = Handle::new(enrolment.handle.0);
    Entry::new(handle, Purpose::Act, keys, binding, None).map_err(|_| damaged())
}
