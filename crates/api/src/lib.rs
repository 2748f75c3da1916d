//! Requests, answers and problem types of kusabi's HTTP APIs, and the [`Ledger`] trait.
//!
//! - [`ledger`]: the trait and what goes in and out of it; the node implements it over the engine, [`client`] over HTTP.
//! - [`problem`]: every error of every API (RFC 9457).
//! - [`effect`]: what final transactions did.
//! - [`admin`]: what goes in and out of a server's admin API.
//! - [`contradiction`]: evidence that a ledger has two histories; [`watch`]: several nodes, compared with each other.
//! - `serve` (feature): bounded connections for those who listen.
//! - [`sbom`]: what a release's bill of materials names.
//! - [`block`], [`hex`], [`media`], [`view`]: how things look on their way.
//!
//! Nothing here is verified except in [`verify`], and by it in the two above: a ledger node is a courier.
#![forbid(unsafe_code)]

pub mod admin;
pub mod block;
#[cfg(feature = "client")]
pub mod client;
pub mod contradiction;
pub mod effect;
pub mod hex;
pub mod jumps;
pub mod ledger;
pub mod media;
pub mod problem;
pub mod sbom;
#[cfg(feature = "serve")]
pub mod serve;
pub mod verify;
pub mod view;
pub mod watch;

pub use block::Block;
#[cfg(feature = "client")]
pub use client::HttpLedger;
pub use hex::{Hex, Hex32};
pub use ledger::{Answer, BlockStream, EventStream, Ledger};
pub use problem::{Kind, Problem};
pub use verify::VerifyingLedger;
