//! Devices already in the field that ask to be registered.

use super::Text;
use crate::hex::{Hex, Hex32};
use serde::{Deserialize, Serialize};

words! {
    /// How an enrolment stands.
    EnrolmentState {
        /// Nobody has decided.
        Waiting = "waiting",
        /// It was accepted; a writer has to register the key.
        Accepted = "accepted",
        /// The key stands on the ledger.
        Registered = "registered",
        /// It was refused.
        Refused = "refused",
    }
}

/// To make a token with which devices ask to be enrolled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolmentTokenCreate {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Type of the devices that come with it.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub device_type: Option<Text>,
    /// The group that they are put into: `grp_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How many devices may ask with it; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// Until when it is good; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// A token with which devices ask to be enrolled, without its secret. It authorises nothing but to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentToken {
    /// `enr_…`.
    pub id: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Type of the devices that come with it.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub device_type: Option<Text>,
    /// The group that they are put into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How many devices may still ask with it; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u64>,
    /// Until when it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// When it was made.
    pub created_ms: u64,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
}

/// A new enrolment token. Its secret is shown this once: the server keeps a hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentTokenCreated {
    /// The token.
    #[serde(flatten)]
    pub token: EnrolmentToken,
    /// What the devices are given: `kusabi-agent enrol --token …`.
    pub secret: String,
}

impl core::fmt::Debug for EnrolmentTokenCreated {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EnrolmentTokenCreated")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// A device that asks, or asked, to be registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrolment {
    /// `enl_` and the first 16 bytes of its handle.
    pub id: String,
    /// Handle of its key.
    pub handle: Hex32,
    /// The enrolment token that it came with.
    pub token: String,
    /// What it says it is called: a serial, perhaps. Absent when that is no printable text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Text>,
    /// Purpose of its key: `act`.
    pub purpose: String,
    /// Suite of its keys: 1 or 2.
    pub suite: u8,
    /// Its public keys, as they stand in a ledger entry, in hexadecimal.
    pub keys: String,
    /// What ties the keys to its kusabi-ID.
    pub binding: Hex<16>,
    /// How it stands.
    pub state: EnrolmentState,
    /// When it asked first.
    pub created_ms: u64,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_ms: Option<u64>,
    /// By whom: a token's ID, or `list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

/// Labels (serials) of devices that are accepted by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolmentLabels {
    /// The labels.
    pub labels: Vec<Text>,
}
