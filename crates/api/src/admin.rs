//! What goes in and out of a server's admin API (`/api/v1`): one type for each thing, for the server and for those who ask it.
//!
//! Names, serials and the like are [`Text`]: bounded, printable, checked where they are read. Times are milliseconds since 1970.

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[non_exhaustive]
        pub enum $name { $($(#[doc = $variant_doc])+ #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for it, in JSON as in the database.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $word,)+ } }

            /// The one with this word.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

mod audit;
mod enrolment;
mod inventory;
mod mender;
mod policy;
mod rebuilt;
mod releases;
mod rollout;
mod server;
mod text;
mod timeline;

pub use audit::{AuditAnchor, AuditHead, Receipt};
pub use enrolment::{
    Enrolment, EnrolmentLabels, EnrolmentState, EnrolmentToken, EnrolmentTokenCreate,
    EnrolmentTokenCreated,
};
pub use inventory::{
    ComponentHolder, ComponentHolding, ComponentPage, ComponentRelease, DeviceInventory,
    DifferenceKind, InventoryDifference, InventoryItem, InventoryReport,
};
pub use mender::{
    AuthSet, AuthSetState, MenderAttribute, MenderDevice, MenderDeviceDetail, MenderIdentity,
    MenderPreauthorize, MenderValue,
};
pub use policy::{OnDifference, OnFork, TypePolicy};
pub use rebuilt::{Kept, Rebuilt};
pub use releases::{Content, DeviceType, Release, ReleaseState};
pub use rollout::{
    AFTER_SECS_MAX, Channel, ChannelSet, DEADLINE_SECS, DeviceFilter, FailureLimit, IDS_MAX,
    NAMED_MAX, PHASES_MAX, Phase, PhaseSize, PhaseStart, RETRIES_MAX, Rollout, RolloutAwaits,
    RolloutCounts, RolloutCreate, RolloutDevice, RolloutDeviceReason, RolloutDeviceState,
    RolloutReason, RolloutState,
};
pub use server::Server;
pub use text::{Text, TextError};
pub use timeline::{DeviceEvent, EventKind};

use crate::hex::{Hex, Hex32};
use kusabi_core::crypto::sha256;
use serde::{Deserialize, Serialize};

/// Most items of one page.
pub const PAGE_MAX: u16 = 200;

/// Items of one page when the request does not say.
pub const PAGE_DEFAULT: u16 = 50;

words! {
    /// What a token may do; each role may do what the one before it may.
    Role {
        /// Reads.
        Viewer = "viewer",
        /// Runs the fleet: imports and groups devices, orders, answers alarms.
        Operator = "operator",
        /// Also decides who may do what.
        Admin = "admin",
    }
}

words! {
    /// Where a device stands.
    DeviceState {
        /// Its factory key is on the ledger, it has not activated yet.
        Registered = "registered",
        /// It has a device key.
        Active = "active",
        /// Two copies of it were seen: it gets no orders but repair and rotate.
        Quarantined = "quarantined",
        /// Its newest key is revoked.
        Revoked = "revoked",
        /// It is another organisation's now: nothing is served to it but proofs.
        Moved = "moved",
    }
}

words! {
    /// What a device is shown, and what it checks for itself.
    DeviceClass {
        /// It speaks kusabi's protocol: the ledger's proofs reach it, and it believes nothing else.
        Kusabi = "kusabi",
        /// A stock Mender client: it checks its artifacts' signatures and TLS. No proof of the ledger, no withdrawal and no defence
        /// against older releases reaches it; what holds of these, its server sees to.
        Mender = "mender",
    }
}

words! {
    /// What the newest inventory says.
    Inventory {
        /// There is none yet.
        Unknown = "unknown",
        /// As expected.
        Expected = "expected",
        /// It differs from the expected one.
        Differs = "differs",
    }
}

words! {
    /// Whether a device knows that what it is shown is of now (spec/device-protocol.md, "Freshness"), as it says.
    Freshness {
        /// It has had no freshness receipt since its start, or was not heard yet.
        Unknown = "unknown",
        /// It has had one.
        Shown = "shown",
        /// It gets none, or its ledger does not grow: it installs nothing and adopts no server.
        Stale = "stale",
    }
}

words! {
    /// What an order asks for (spec/device-protocol.md).
    OrderKind {
        /// Install a release.
        Update = "update",
        /// Send the inventory, signed.
        Report = "report",
        /// Take a new device key.
        Rotate = "rotate",
        /// Install a release even if it is the one that runs.
        Repair = "repair",
    }
}

impl OrderKind {
    /// Whether it is to install a release.
    #[must_use]
    pub const fn installs(self) -> bool {
        matches!(self, Self::Update | Self::Repair)
    }
}

words! {
    /// How far an order is with one device.
    OrderState {
        /// The device has not been heard since.
        Waiting = "waiting",
        /// The device has it, and has not said yet what became of it.
        Sent = "sent",
        /// Done.
        Done = "done",
        /// Refused: nothing showed the device that what it sees is of now.
        RefusedStale = "refused-stale",
        /// Refused: what the order names is not proven.
        RefusedUnproven = "refused-unproven",
        /// Tried, and failed.
        Failed = "failed",
        /// The device cannot do such a thing.
        Unable = "unable",
        /// The device came to another organisation before it had answered; or its rollout took the order back before the device had it.
        Dropped = "dropped",
    }
}

words! {
    /// What an alarm is about.
    AlarmKind {
        /// Two devices have one key.
        Fork = "fork",
        /// A device, or this server, lost its memory of the other.
        UnknownHead = "unknown-head",
        /// An inventory differs from the expected one.
        Inventory = "inventory",
        /// What a device holds is not known any more, or cannot be compared with what is expected.
        NoInventory = "no-inventory",
        /// Nothing shows the device that what it sees of the ledger is of now.
        Stale = "stale",
        /// An order failed.
        Order = "order",
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins: to be sent as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The ID of the device whose first key has this handle: the same whenever and wherever it is made. A device that enrols says its handle
/// itself, so the ID is a hash: nobody can choose one that begins like another's.
#[must_use]
pub fn device_id(first: &Hex32) -> String {
    let hash = sha256(&[b"kusabi.device", &first.0]);
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    format!("dev_{}", Hex(id))
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    /// `dev_` and the first 16 bytes of its first handle: the same after a rebuild.
    pub id: String,
    /// What it can check for itself.
    pub class: DeviceClass,
    /// Where it stands.
    pub state: DeviceState,
    /// Its type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub device_type: Option<Text>,
    /// Its serial; of one organisation's devices no two have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Text>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Digest of the release that it runs, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Hex32>,
    /// What its newest inventory says.
    pub inventory: Inventory,
    /// Whether it knows the present.
    pub freshness: Freshness,
    /// When it was heard last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact_ms: Option<u64>,
    /// When this server learnt of it.
    pub created_ms: u64,
}

/// One of a device's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceKey {
    /// Its handle: ask `/api/v1/keys/{handle}` for its record and proof.
    pub handle: Hex32,
    /// `pre` or `act`.
    pub purpose: String,
    /// The key before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Hex32>,
    /// Height from which it is valid.
    pub registered: u64,
    /// `active`, `spent`, `superseded` or `revoked`, as far as the server has followed the ledger.
    pub status: String,
    /// Height at which it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
}

/// A device with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceDetail {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// Its keys, the first one first.
    pub keys: Vec<DeviceKey>,
    /// IDs of its groups.
    pub groups: Vec<String>,
}

/// To make a device known whose key stands on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceImport {
    /// Handle of its first key.
    pub handle: Hex32,
    /// Its type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub device_type: Option<Text>,
    /// Its serial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Text>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
}

/// A group. A device may be in many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Group {
    /// `grp_…`.
    pub id: String,
    /// Its name; no two groups have the same.
    pub name: Text,
    /// When it was made.
    pub created_ms: u64,
}

/// To make a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupCreate {
    /// Its name.
    pub name: Text,
}

/// To whom an order goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    /// One device, by its ID.
    Device(String),
    /// The devices that are in this group now.
    Group(String),
    /// Devices of a rollout, by its number. Only the rollout itself gives such orders.
    Rollout(u64),
}

/// To give an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OrderCreate {
    /// What to do.
    pub kind: OrderKind,
    /// Digest of the release; with `update` and `repair`, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Hex32>,
    /// To whom.
    pub target: Target,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Order {
    /// Its number.
    pub id: u64,
    /// What to do.
    pub kind: OrderKind,
    /// Digest of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Hex32>,
    /// To whom.
    pub target: Target,
    /// When it was given.
    pub created_ms: u64,
    /// By whom.
    pub created_by: String,
    /// To how many devices.
    pub devices: u64,
    /// How many of them have not answered yet.
    pub waiting: u64,
}

/// An order as one device stands to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceOrder {
    /// The order's number.
    pub id: u64,
    /// What to do.
    pub kind: OrderKind,
    /// Digest of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Hex32>,
    /// When it was given.
    pub created_ms: u64,
    /// By whom.
    pub created_by: String,
    /// How far the device is with it.
    pub state: OrderState,
    /// Since when.
    pub changed_ms: u64,
}

/// What a stock Mender client logged of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderLog {
    /// Lines, the newest last; of a long log its end. Nobody signed it.
    pub log: String,
}

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alarm {
    /// Its number.
    pub id: u64,
    /// Which device.
    pub device: String,
    /// What it is about.
    pub kind: AlarmKind,
    /// A sentence for a person.
    pub detail: String,
    /// When it was raised.
    pub raised_ms: u64,
    /// When someone took note of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_ms: Option<u64>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
}

/// An API token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// `tok_…`: what the audit log names.
    pub id: String,
    /// What it is for.
    pub name: Text,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_ms: u64,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
}

/// To make a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// What it is for.
    pub name: Text,
    /// What it may do.
    pub role: Role,
}

/// A new token. Its secret is shown this once: the server keeps a hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCreated {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// What stands in `Authorization: Bearer …`.
    pub secret: String,
}

impl core::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TokenCreated")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// To become the first admin.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FirstAdmin {
    /// The secret of the one-time link.
    pub link: String,
    /// The admin's name.
    pub name: Text,
}

impl core::fmt::Debug for FirstAdmin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FirstAdmin")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One entry of the audit log. Each holds the hash of the one before it, so that none can be changed or left out without a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its number, from 1.
    pub seq: u64,
    /// When.
    pub at_ms: u64,
    /// Who: a token's ID, or `server`.
    pub actor: String,
    /// What: `device.import`, `token.create`, …
    pub act: String,
    /// To what: an ID.
    pub subject: String,
    /// The particulars, as JSON.
    pub detail: String,
    /// Hash of this entry and, through the one before, of all earlier ones.
    pub hash: Hex32,
}

/// The organisation of a server.
pub type Organisation = Hex<16>;
