//! An organisation's server: its devices, groups, orders, alarms and tokens, and the admin API over them.
//!
//! ```text
//! http (one file for each endpoint) → app (use cases: every rule) → store (SQL)
//!                                         └→ Ledger (kusabi-api): looked up, verified, never believed
//! ```
//! - [`App`]: the use cases. Whoever acts is a [`Caller`](app::Caller); every act is in the audit log, in the transaction that does it.
//! - [`Store`]: the database of one organisation, SQLite or PostgreSQL.
//! - [`http::router`]: the admin API under `/api/v1` as an axum router; `docs/openapi.json` describes it.
//!
//! What it does not do yet: listen by itself, serve devices, follow the ledger's events, carry firmware. It never links the node.
#![forbid(unsafe_code)]

pub mod app;
pub mod http;
mod store;

pub use app::{App, Edge};
pub use store::{Store, StoreError};
