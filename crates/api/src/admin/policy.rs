//! What follows by itself, for each type of device.

use serde::{Deserialize, Serialize};

words! {
    /// What follows when a device's inventory differs from the expected one, besides the alarm.
    OnDifference {
        /// Nothing.
        Never = "never",
        /// It is ordered to install its release again.
        Order = "order",
        /// It gets no orders but repair and rotate until someone readmits it.
        Quarantine = "quarantine",
    }
}

words! {
    /// What follows when two copies of a device were seen, besides the alarm.
    OnFork {
        /// It gets no orders but repair and rotate.
        Quarantine = "quarantine",
        /// Nothing.
        Alarm = "alarm",
    }
}

/// What follows by itself, for the devices of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TypePolicy {
    /// When an inventory differs.
    pub repair: OnDifference,
    /// When two copies were seen.
    pub fork: OnFork,
}

impl Default for TypePolicy {
    fn default() -> Self {
        Self {
            repair: OnDifference::Never,
            fork: OnFork::Quarantine,
        }
    }
}
