//! The server's end of the device protocol (spec/device-protocol.md): decisions and outputs as data; no I/O, no clock.
//!
//! ```text
//! hello ─▶ door::admit ─▶ Greeting::read ─▶ (record from the ledger) ─▶ Greeting::accept ─▶ Accepted::welcome ─▶ Sessions::open
//! message ─▶ Sessions::receive ─▶ Incoming::admit(record) ─▶ tripwire::judge (first message) ─▶ use case ─▶ Sessions::answer
//! ```
//! What comes from the ledger and the database is looked up between the steps, by whoever drives them. The server is a
//! courier: nothing here signs for a device, and nothing here is believed by one without a proof.

pub mod door;
mod greeting;
mod sessions;

pub use greeting::{Accepted, EnrolmentAsk, Greeting, Opened, Refusal, ServerKey, redirect};
pub use sessions::{Admitted, Incoming, Limits, NotAdmitted, OwnSuccession, Received, Sessions};
