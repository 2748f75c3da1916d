//! A device asks for a token. It shows who it is and signs the request with its key; the request is the same each time, so that whoever
//! overhears it can say it, too: secrecy of what comes back is TLS's.

use super::super::{App, Error, strangers::CROWDED};
use super::{decisions::Stand, identity::Identity};
use crate::{
    share::{Source, is_room, secs},
    store::{
        Tx, devices,
        mender_devices::{self, Of, Set},
    },
};
use kusabi_api::{
    Hex,
    admin::{AuthSetState, device_id},
};
use kusabi_core::{
    id::KusabiId,
    suite::{BindingContext, PublicKeys, Purpose},
    tx::Entry,
};
use kusabi_mender::DeviceKey;
use serde::Deserialize;
use std::net::IpAddr;

/// Places for auth sets that nobody has decided; what each source gets of them is the rule of [`is_room`].
const PENDING_MAX: u64 = 20_000;

/// Most keys of one identity that nobody has decided. Anyone who knows a device's identity can add to these, and takes nothing away.
const PENDING_OF_DEVICE_MAX: u64 = 4;

/// Where there is no room: pending sets that did not ask for so long give way, so many at a time.
const SILENT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
const SILENT_AT_ONCE: u16 = 256;

/// How exactly it is known when a pending set asked last.
const ASKED_MS: u64 = 60 * 60 * 1000;

/// A request for a token as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuthRequest<'a> {
    /// The body: what is signed.
    pub(crate) body: &'a [u8],
    /// The header `X-MEN-Signature`.
    pub(crate) signature: &'a str,
    /// Where it comes from.
    pub(crate) source: IpAddr,
}

/// What the body says; other fields are for services that this server is not.
#[derive(Deserialize)]
struct Says {
    id_data: String,
    pubkey: String,
}

impl App {
    /// A token for a device whose auth set is accepted, or was vouched for. One that is not known yet is noted.
    ///
    /// # Errors
    /// [`Error::NotAccepted`]: the signature is wrong, or the auth set is not accepted. [`Error::Malformed`],
    /// [`Error::Crowded`]; ledger or database fail.
    pub(crate) async fn mender_token(&self, asks: AuthRequest<'_>) -> Result<String, Error> {
        let source = Source::of(asks.source);
        if let Some(source) = &source {
            let share = self.mender.knocking.take(source);
            share.map_err(|wait| Error::Crowded {
                wait_secs: secs(wait),
            })?;
        }
        let read = self.read_request(asks.body).await;
        if let Some(source) = &source {
            // Who is let in has a share of his own at each source, which only those use up who know identity and key of his device. It is
            // taken before the signature is looked at, which costs the most here.
            let let_in = match &read {
                Ok((.., Some(set))) if is_let_in(set) => Some(&*set.id),
                _ => None,
            };
            let share = self.mender.asking.take(&(source, let_in));
            share.map_err(|wait| Error::Crowded {
                wait_secs: secs(wait),
            })?;
        }
        let (identity, key, set) = read?;
        if !key.signed(asks.body, asks.signature) {
            return Err(Error::NotAccepted(
                "X-MEN-Signature is no signature of this body by the key in it",
            ));
        }
        let Some(set) = set else {
            self.note_pending(&identity, &key, source).await?;
            return Err(PENDING);
        };
        match set.state {
            AuthSetState::Accepted | AuthSetState::Preauthorized => self.give_token(set).await,
            AuthSetState::Rejected => Err(Error::NotAccepted("this device was rejected")),
            _ => {
                let now_ms = self.edge.now_ms();
                if set.asked_ms.saturating_add(ASKED_MS) < now_ms {
                    let id = &set.id;
                    self.store
                        .tx("note that an auth set asks again", move |tx| {
                            Box::pin(
                                async move { mender_devices::asked(tx.on(), id, now_ms).await },
                            )
                        })
                        .await?;
                }
                Err(PENDING)
            }
        }
    }

    /// What a request says, whoever says it, and the auth set that there is of that.
    async fn read_request(&self, body: &[u8]) -> Result<(Identity, DeviceKey, Option<Set>), Error> {
        let says: Says = serde_json::from_slice(body)
            .map_err(|why| Error::Malformed(format!("the request for a token: {why}")))?;
        let key = DeviceKey::from_pem(&says.pubkey)
            .map_err(|why| Error::Malformed(format!("`pubkey`: {why}")))?;
        let identity = Identity::parse(&says.id_data)?;
        let mut reader = self.store.read("look for an auth set").await?;
        let digest = mender_devices::digest(key.spki());
        let set = mender_devices::set_of(reader.on(), identity.hash, digest).await?;
        Ok((identity, key, set))
    }

    /// A token for a set that is accepted, or becomes so with this.
    async fn give_token(&self, set: Set) -> Result<String, Error> {
        let share = self.mender.tokens.take(&set.id);
        share.map_err(|wait| Error::Crowded {
            wait_secs: secs(wait),
        })?;
        let handle = set.entry.handle().to_bytes();
        let key = {
            let mut reader = self.store.read("look for a device's key").await?;
            // It may have been accepted under several identities, and each of them has a record of its own.
            let digest = mender_devices::digest(set.key.spki());
            if mender_devices::is_revoked(reader.on(), digest).await? {
                return Err(REVOKED);
            }
            devices::key(reader.on(), handle).await?
        };
        let place = self.mender.proving.try_acquire();
        let place = place.map_err(|_| CROWDED)?;
        let in_force = match key {
            Some((_, key)) => key.ended.is_none() && self.is_still_proven(&set).await?,
            // It was accepted when the ledger did not answer.
            None => self.comes_to_stand(&set).await?,
        };
        drop(place);
        if !in_force {
            return Err(Error::NotAccepted(
                "this device's key is not, or no longer, in force on the ledger; a key that was revoked is never taken again: \
                 the device has to make another (mender bootstrap --forcebootstrap)",
            ));
        }
        if set.state == AuthSetState::Preauthorized && !self.meet_preauthorized(&set).await? {
            return Err(PENDING);
        }
        self.mint(&set.id).await
    }

    /// Whether the key of an accepted set, which is not on the ledger as far as is known, is in force there now: it is put there.
    async fn comes_to_stand(&self, set: &Set) -> Result<bool, Error> {
        match self.see_accepted(set).await? {
            Stand::InForce => Ok(true),
            Stand::Ended => Ok(false),
            Stand::NotYet if self.can_register() => Err(Error::Behind),
            Stand::NotYet => Err(UNREGISTERED),
        }
    }

    /// Whether the ledger proves that a key is in force: a node may have left out of its events that it is not, and then its tokens end
    /// with this. Where the ledger does not answer, what was followed of it counts: an update must not fail over that.
    async fn is_still_proven(&self, set: &Set) -> Result<bool, Error> {
        let handle = set.entry.handle();
        let proven = match self.ask(self.ledger.record(&handle)).await {
            Ok(proven) => proven.into_value(),
            Err(why) => {
                tracing::warn!(%why, device = set.device, "a Mender device gets a token without a look at the ledger");
                return Ok(true);
            }
        };
        let Some(record) = proven else {
            // A node said that it was registered, which takes no proof.
            return self.comes_to_stand(set).await;
        };
        if record.owner() != self.org() {
            return Ok(false);
        }
        let Some(ended) = record.ended() else {
            return Ok(true);
        };
        tracing::warn!(
            device = set.device,
            "the ledger proves that a key has ended of which the node's events have not said so"
        );
        let status = kusabi_api::view::status(record.status());
        self.store
            .tx("end a Mender device's key", move |tx| {
                Box::pin(async move {
                    devices::end_key(tx.on(), handle.to_bytes(), status, ended.get()).await
                })
            })
            .await?;
        Ok(false)
    }

    /// Notes a key that nobody has seen yet.
    async fn note_pending(
        &self,
        identity: &Identity,
        key: &DeviceKey,
        source: Option<Source>,
    ) -> Result<(), Error> {
        let now_ms = self.edge.now_ms();
        let new = self.new_set(key, AuthSetState::Pending, now_ms)?;
        let source = source.map(|source| source.to_string()).unwrap_or_default();
        let (new, source) = (&new, &source);
        self.store
            .tx("note a Mender device that asks", move |tx| {
                Box::pin(async move {
                    // A client asks twice at first, at the same time.
                    let digest = mender_devices::digest(key.spki());
                    let there = mender_devices::set_of(tx.on(), identity.hash, digest).await?;
                    if there.is_some() {
                        return Ok(());
                    }
                    if mender_devices::is_revoked(tx.on(), digest).await? {
                        return Err(REVOKED);
                    }
                    let device = mender_devices::with_identity(tx.on(), identity.hash).await?;
                    if let Some(device) = &device {
                        let (of, most) = (Of::Device(device), PENDING_OF_DEVICE_MAX);
                        if mender_devices::pending(tx.on(), of, most).await? >= most {
                            return Err(Error::NotAccepted(
                                "others ask under this identity with other keys; an operator has to reject them, or to vouch for this key",
                            ));
                        }
                    }
                    if !is_place(tx, source).await? {
                        make_room(tx, now_ms).await?;
                        if !is_place(tx, source).await? {
                            tracing::warn!(source, "too many Mender devices wait to be accepted");
                            return Err(Error::NotAccepted(
                                "too many devices wait to be accepted; this one was not noted",
                            ));
                        }
                    }
                    add_set(tx, identity, new, source).await
                })
            })
            .await
    }

    /// A set of a key that was not seen before, without a device yet.
    pub(super) fn new_set(
        &self,
        key: &DeviceKey,
        state: AuthSetState,
        now_ms: u64,
    ) -> Result<Set, Error> {
        Ok(Set {
            id: self.new_id("mas")?,
            device: String::new(),
            entry: self.entry_of(key)?,
            key: key.clone(),
            state,
            created_ms: now_ms,
            asked_ms: now_ms,
            decided_ms: None,
            decided_by: None,
        })
    }

    /// The ledger's entry of a key. The ID that handle and binding are made with is nobody's: such a device cannot keep one.
    fn entry_of(&self, key: &DeviceKey) -> Result<Entry, Error> {
        let mut id = [0; KusabiId::LEN];
        id.copy_from_slice(&self.edge.random()?[..KusabiId::LEN]);
        let id = KusabiId::new(id);
        let unfit = |why: &dyn std::fmt::Display| Error::Malformed(format!("`pubkey`: {why}"));
        let keys = PublicKeys::foreign(key.algorithm(), key.spki()).map_err(|why| unfit(&why))?;
        let context = BindingContext {
            chain: &self.ledger.trust().anchor().chain(),
            owner: &self.org(),
            purpose: Purpose::Act,
        };
        let binding = keys.bind(&id, &context);
        mender_devices::entry(id.handle(), key.algorithm(), key.spki(), binding)
            .map_err(|why| unfit(&why))
    }
}

/// Whether somebody decided that a set is let in.
const fn is_let_in(set: &Set) -> bool {
    matches!(
        set.state,
        AuthSetState::Accepted | AuthSetState::Preauthorized
    )
}

const UNREGISTERED: Error = Error::NotAccepted(
    "this device is accepted, and its key does not stand on the ledger: the server that it asks has no writer's key; an operator starts \
     it with --writer KEYFILE",
);

const PENDING: Error = Error::NotAccepted(
    "this device waits to be accepted; an operator does that: kusabi mender list, kusabi mender accept",
);

pub(super) const REVOKED: Error = Error::NotAccepted(
    "this key was revoked on the ledger, and is never taken again; the device has to make another (mender bootstrap --forcebootstrap)",
);

/// Whether one more from this source finds a place.
async fn is_place(tx: &mut Tx<'_>, source: &str) -> Result<bool, Error> {
    // Both are counted as far as the rule needs it. From half of the places on, those of the source are too many, whoever else waits.
    let own = mender_devices::pending(tx.on(), Of::Source(source), PENDING_MAX / 2).await?;
    if !is_room(PENDING_MAX, own, own) {
        return Ok(false);
    }
    let all = mender_devices::pending(tx.on(), Of::All, PENDING_MAX - own).await?;
    Ok(is_room(PENDING_MAX, all, own))
}

/// Forgets some who do not ask any more.
async fn make_room(tx: &mut Tx<'_>, now_ms: u64) -> Result<(), Error> {
    let since_ms = now_ms.saturating_sub(SILENT_MS);
    for (set, device) in mender_devices::silent(tx.on(), since_ms, SILENT_AT_ONCE).await? {
        mender_devices::forget(tx.on(), &set, &device, now_ms).await?;
    }
    Ok(())
}

/// Adds a set to the device of this identity, which is made if there is none.
pub(super) async fn add_set(
    tx: &mut Tx<'_>,
    identity: &Identity,
    set: &Set,
    source: &str,
) -> Result<(), Error> {
    let at_ms = set.created_ms;
    let device = match mender_devices::with_identity(tx.on(), identity.hash).await? {
        Some(device) => device,
        None => {
            let id = device_id(&Hex(set.entry.handle().to_bytes()));
            mender_devices::insert(tx.on(), &id, identity.hash, &identity.data, at_ms).await?;
            id
        }
    };
    let set = Set {
        device,
        ..set.clone()
    };
    mender_devices::insert_set(tx.on(), &set, source).await?;
    mender_devices::settle(tx.on(), &set.device, at_ms).await?;
    Ok(())
}
