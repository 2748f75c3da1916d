//! The device's end of the device protocol (spec/device-protocol.md): a state machine without I/O, clock or allocator.
//!
//! **The contract.** Call [`Device::handle`] with an input; then call [`Device::poll`] and do each output, in the order
//! given, until [`Output::Wait`]; then the next input, at the latest [`Input::Tick`] at the time that `Wait` named. An
//! output that cannot be done (disk full, power cut) ends the run: drop the device, and [`Device::start`] it again from what
//! was persisted. That order is the crash-safety argument: what relies on something persisted comes after its
//! [`Output::Persist`].
//!
//! An input that is refused changes nothing. The device believes its [`Kept`] state, its own keys, and what the quorum
//! signed; of the server it believes that it wants the best, and checks.
//!
//! What it does not do: download, install, reboot, read files. It says when each of these may happen.

mod kept;
mod machine;
mod outbox;
mod provisioning;
mod trust;

pub use crate::protocol::URL_LEN_MAX;
pub use kept::{ADDRESSES_MAX, Identity, Kept, KeptError, KeyRing, SERVERS_MAX, Server, Slot};
pub use machine::{Device, DeviceError, Input, KeyOrigin, Settings};
pub use outbox::{Event, Gate, Output, ProvenRelease, SignedReceipt, Staleness, Stop};
pub use provisioning::{Address, FactoryKey, Provisioning, ProvisioningError, SERIAL_LEN_MAX};
pub use trust::{Trust, TrustError};
