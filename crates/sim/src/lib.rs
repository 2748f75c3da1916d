//! Simulated fleets: real devices and servers of `kusabi-core`, a real `kusabi-ledger` with one signer, virtual time, and
//! a network, disks and clocks that misbehave as a seed says. For tests only; no key here is secret.
#![expect(
    clippy::expect_used,
    reason = "a test world that cannot be built is a fault of the test, and panicking is how tests say so"
)]

pub mod fleet;
pub mod ledger;
pub mod owner;
pub mod random;
pub mod server;
pub mod unit;
