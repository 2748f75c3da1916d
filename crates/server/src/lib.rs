//! An organisation's server: its devices, groups, orders, alarms and tokens, and the admin API over them.
//!
//! ```text
//! http (one file for each endpoint) → app (use cases: every rule) → store (SQL)
//!                                         └→ Ledger (kusabi-api): looked up, verified, never believed
//! ```
//! - [`App`]: the use cases. Whoever acts is a [`Caller`](app::Caller); every act is in the audit log, in the transaction that does it.
//! - [`Store`]: the database of one organisation, SQLite or PostgreSQL.
//! - [`device`]: the door for devices, core's end of the device protocol; [`http::device`] is its page.
//! - [`http::router`]: the admin API under `/api/v1` as an axum router, which `docs/openapi.json` describes, and the console.
//!   Both call the same use cases; the pages' templates and texts are in `views`.
//! - [`start`]: all of it behind two listeners, for devices and for people.
//!
//! It never links the node: they meet at the `Ledger` trait.
#![forbid(unsafe_code)]

pub mod app;
mod blob;
pub mod device;
pub mod http;
mod sendfile;
pub mod serve;
mod share;
mod store;
mod views;

pub use app::{App, Edge};
pub use blob::{BlobError, Blobs};
pub use serve::{Running, Setup, StartError, start};
pub use store::{Store, StoreError};
