//! Integration tests of the API crate: the client against nodes that misbehave, and the verifying ledger against ones that lie.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, also in what its cases share"
)]

#[cfg(feature = "client")]
mod admin;
#[cfg(feature = "client")]
mod client;
mod contradiction;
mod verify;
mod watch;
mod world;
