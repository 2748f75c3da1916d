//! Stock Mender devices: a weaker class of device, which speaks Mender's protocol.
//!
//! Such a device signs nothing but its requests for a token ([`asks`]); everything else it shows the token with. Its key stands on the
//! ledger as that of any other device, of suite f, once somebody accepted it ([`decisions`]): so the ledger's revocation ends it. It
//! has no kusabi-ID; what the ledger's entry needs of one is drawn when the key is first seen, and the ID is thrown away.
//!
//! What a device of this class does not check is checked for it here. A token therefore counts only as long as the database, with each
//! single call, shows its auth set accepted and its key in force; and before one is given, the ledger is asked to prove that.
//!
//! What it is to install are orders like any others ([`orders`]), of releases whose payloads are Mender artifacts ([`artifacts`],
//! read by [`reading`]; what an artifact's name says, [`names`]). What its client says of itself is kept ([`attributes`], [`log`]), and
//! when it was heard ([`contacts`]). Tools for a Mender server see rollouts as deployments ([`rollouts`]).

mod artifacts;
mod asks;
mod attributes;
mod contacts;
mod decisions;
mod downloads;
mod identity;
mod judging;
mod log;
mod names;
mod orders;
pub(in crate::app) mod reading;
mod rollouts;
mod statuses;

pub(crate) use artifacts::{About, DESCRIPTION_BYTES_MAX};
pub(in crate::app) use artifacts::{
    are_read, is_artifact_of, note, note_with_release, release_fits, row_of_release,
};
pub(crate) use asks::AuthRequest;
pub(crate) use attributes::Reporting;
pub(crate) use downloads::Fetched;
pub(crate) use orders::Provides;
pub(crate) use rollouts::{Deploy, Deployed, Whom, deployment_id};
pub(crate) use statuses::Status;

use super::{App, Error, tokens::hash};
use crate::{
    share::{Allowance, Shares},
    store::mender_devices::{self, Holder},
};
use kusabi_api::Hex;
use std::{num::NonZeroU32, time::Duration};
use tokio::sync::Semaphore;

/// What a token begins with, so that a scanner for leaked secrets can find it.
const TOKEN_PREFIX: &str = "kusabi_mender_";

/// How long a token is good, in milliseconds: seven days, as Mender's are.
const TOKEN_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Most tokens of one auth set; a further one ends the oldest. A device uses one, and draws another before each commit of an update.
const TOKENS_MAX: u16 = 5;

/// How often a source may ask for tokens: what a site with many devices does at once, then eight a second.
const ASKING: Allowance = Allowance::new(NonZeroU32::new(64).unwrap(), Duration::from_millis(125));

/// How often a source may knock with a request for a token that is looked up, whoever is behind it: more than the devices behind one
/// address need, less than keeps the database busy.
const KNOCKING: Allowance =
    Allowance::new(NonZeroU32::new(512).unwrap(), Duration::from_millis(10));

/// How often an auth set gets a token. A device needs one after a start and one for each update.
const TOKENS: Allowance = Allowance::new(NonZeroU32::new(8).unwrap(), Duration::from_secs(5));

/// How often a device may report another inventory than the one before.
const REPORTS: Allowance = Allowance::new(NonZeroU32::new(60).unwrap(), Duration::from_secs(300));

/// Most questions to the ledger at once on behalf of devices that ask for tokens.
const PROVING_AT_ONCE: usize = 64;

/// How often a device that has an open order is given it: each time costs questions to the ledger. (Devices share places, see [`Shares`].)
const HANDING: Allowance = Allowance::new(NonZeroU32::new(64).unwrap(), Duration::from_millis(500));

/// How often a device may begin a download, or go on with one: a client waits a minute after a cut, and each time is looked up.
const FETCHING: Allowance =
    Allowance::new(NonZeroU32::new(64).unwrap(), Duration::from_millis(500));

/// How often a device may say how it is with an order: some ten times in each. One that is not heard in the middle rolls back.
const SAYING: Allowance = Allowance::new(NonZeroU32::new(256).unwrap(), Duration::from_millis(125));

/// How often, on behalf of devices, an artifact is looked at once more that no key signed that counts. (Artifacts share places.)
const REREADING: Allowance = Allowance::new(NonZeroU32::new(4).unwrap(), Duration::from_secs(15));

/// What stock Mender devices have of this process.
#[derive(Debug)]
pub(super) struct Mender {
    knocking: Shares,
    asking: Shares,
    tokens: Shares,
    reports: Shares,
    /// Places of the questions to the ledger for those who get tokens.
    proving: Semaphore,
    /// Places of those for who is under way with an artifact whose key seems to have ended.
    judging: Semaphore,
    /// How often a device may begin a download.
    fetching: Shares,
    contacts: contacts::Contacts,
    handing: Shares,
    saying: Shares,
    turns: reading::Turns,
    rereading: Shares,
}

impl Default for Mender {
    fn default() -> Self {
        Self {
            knocking: Shares::new(KNOCKING),
            asking: Shares::new(ASKING),
            tokens: Shares::new(TOKENS),
            reports: Shares::new(REPORTS),
            proving: Semaphore::new(PROVING_AT_ONCE),
            judging: Semaphore::new(PROVING_AT_ONCE),
            fetching: Shares::new(FETCHING),
            contacts: contacts::Contacts::default(),
            handing: Shares::new(HANDING),
            saying: Shares::new(SAYING),
            turns: reading::Turns::default(),
            rereading: Shares::new(REREADING),
        }
    }
}

/// A device that has shown a token that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MenderDevice {
    /// Its ID.
    pub device: String,
    /// The auth set that it was accepted by.
    pub set: String,
    /// Its type, where that is known.
    pub device_type: Option<String>,
}

impl App {
    /// Who shows this token. It was heard with that.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]: nobody, or not any more. The database.
    pub(crate) async fn mender_device(&self, token: &str) -> Result<MenderDevice, Error> {
        let mut reader = self.store.read("authenticate a Mender device").await?;
        // The lookup is by the hash: how long it takes says nothing about the token.
        let holder = mender_devices::holder(reader.on(), hash(token), self.edge.now_ms()).await?;
        let Holder {
            device,
            set,
            device_type,
        } = holder.ok_or(Error::Unauthenticated)?;
        self.mender.contacts.heard(&device);
        Ok(MenderDevice {
            device,
            set,
            device_type,
        })
    }

    /// A new token of an auth set.
    async fn mint(&self, set: &str) -> Result<String, Error> {
        let token = self.secret(TOKEN_PREFIX)?;
        let now_ms = self.edge.now_ms();
        let hash = hash(&token);
        self.store
            .tx("make a Mender device's token", move |tx| {
                Box::pin(async move {
                    let expires_ms = now_ms.saturating_add(TOKEN_MS);
                    let (set, keep) = (set, TOKENS_MAX);
                    mender_devices::insert_token(tx.on(), hash, set, now_ms, expires_ms, keep).await
                })
            })
            .await?;
        Ok(token)
    }
}

/// A UUID that follows from these bytes (RFC 9562, version 8).
fn uuid(parts: &[&[u8]]) -> String {
    let digest = kusabi_core::crypto::sha256(parts);
    let mut bytes: [u8; 16] = std::array::from_fn(|at| digest[at]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = Hex(bytes).to_string();
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}
