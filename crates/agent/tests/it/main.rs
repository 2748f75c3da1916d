//! The real daemon, and the real command, against a server of core's own end over HTTP on loopback.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod command;
mod daemon;
mod server;
#[cfg(feature = "tls")]
mod tls;
mod uptane;
mod world;
