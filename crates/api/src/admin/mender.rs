//! Stock Mender devices: who they say they are, and whose keys are accepted.

use crate::hex::Hex32;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

words! {
    /// How an auth set stands: a key together with the identity that came with it.
    AuthSetState {
        /// Nobody has decided. The device gets nothing.
        Pending = "pending",
        /// Somebody vouched for it before it was heard: it is accepted when it asks.
        Preauthorized = "preauthorized",
        /// The device is served.
        Accepted = "accepted",
        /// The device gets nothing.
        Rejected = "rejected",
    }
}

/// What a device says of itself under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum MenderValue {
    /// One text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Who a device says it is: what its identity script printed, by name.
pub type MenderIdentity = BTreeMap<String, MenderValue>;

/// A stock Mender device as it asks, whether or not it is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MenderDevice {
    /// Its ID, under which `/api/v1/devices` knows it once a key of it was accepted.
    pub id: String,
    /// Who it says it is.
    pub identity: BTreeMap<String, MenderValue>,
    /// How the best of its auth sets stands.
    pub state: AuthSetState,
    /// When it was first heard of.
    pub created_ms: u64,
    /// When one of its auth sets changed last.
    pub changed_ms: u64,
    /// Its auth sets, the first one first.
    pub auth_sets: Vec<AuthSet>,
}

impl MenderDevice {
    /// Whether a key waits under the identity of a device of which another key is served, or vouched for: it may be anyone's, and takes the
    /// other one's place when it is accepted.
    #[must_use]
    pub fn is_beside(&self, set: &AuthSet) -> bool {
        let decided = matches!(
            self.state,
            AuthSetState::Accepted | AuthSetState::Preauthorized
        );
        decided && set.state == AuthSetState::Pending
    }
}

/// A stock Mender device, with what it reports of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MenderDeviceDetail {
    /// The device.
    #[serde(flatten)]
    pub device: MenderDevice,
    /// What it reports of itself, by name. Nothing of it is shown to be true.
    pub attributes: Vec<MenderAttribute>,
    /// When it reported something new last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes_ms: Option<u64>,
}

/// A key of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuthSet {
    /// `mas_…`
    pub id: String,
    /// How it stands.
    pub state: AuthSetState,
    /// The public key, PEM.
    pub key: String,
    /// SHA-256 of the key (SubjectPublicKeyInfo, DER), to be compared with what `openssl pkey -pubin -outform DER | sha256sum` says of
    /// the device's key.
    pub fingerprint: Hex32,
    /// Handle under which the ledger holds it, once it was accepted or vouched for.
    pub handle: Hex32,
    /// When it was first heard of.
    pub created_ms: u64,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_ms: Option<u64>,
    /// By whom: a token's ID, or `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

/// To vouch for a device before it is heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MenderPreauthorize {
    /// Who it will say it is, word by word.
    pub identity: BTreeMap<String, MenderValue>,
    /// Its public key, PEM.
    pub key: String,
}

/// Something that a device reports of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MenderAttribute {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: MenderValue,
}
