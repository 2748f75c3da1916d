//! Simulated devices and servers: their life, and what they meet.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod chaos;
mod freshness;
mod hostile;
mod life;
mod lost;
mod roles;
mod transfer;
