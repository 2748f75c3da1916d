//! What happened to a device, in order.

use serde::{Deserialize, Serialize};

words! {
    /// What happened to a device.
    EventKind {
        /// This server learnt of it.
        Known = "known",
        /// Its factory key was spent for a device key.
        Activated = "activated",
        /// It took a new device key.
        Rotated = "rotated",
        /// Its newest key was revoked.
        Revoked = "revoked",
        /// It came to another organisation.
        GivenAway = "given-away",
        /// It came from another organisation.
        Taken = "taken",
        /// It was enrolled from the field.
        Enrolled = "enrolled",
        /// A key of it was accepted (a Mender device).
        Accepted = "accepted",
        /// A key of it was rejected (a Mender device).
        Rejected = "rejected",
        /// It was given an order.
        OrderGiven = "order-given",
        /// It has received an order.
        OrderSent = "order-sent",
        /// It did what an order asked for, or said why not.
        OrderAnswered = "order-answered",
        /// It runs another release.
        Firmware = "firmware",
        /// Its signed inventory came.
        Reported = "reported",
        /// It says that its inventory has changed.
        InventoryChanged = "inventory-changed",
        /// An alarm was raised.
        Alarm = "alarm",
        /// It gets no orders but repair and rotate from now on.
        Quarantined = "quarantined",
        /// Its owner vouches for it again.
        Readmitted = "readmitted",
    }
}

/// Something that happened to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceEvent {
    /// Its number among the device's, from 1.
    pub seq: u64,
    /// When.
    pub at_ms: u64,
    /// What.
    pub kind: EventKind,
    /// The particulars: an object, whose members depend on the kind.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub detail: serde_json::Value,
}
