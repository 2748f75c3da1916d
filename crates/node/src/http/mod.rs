//! The query API: a [`Ledger`](kusabi_api::Ledger) over HTTP/1.1 (`docs/api.md`).
//!
//! Guarantees: every body, header, address, wait and queue has a bound ([`Limits`]); every error is a problem document (RFC 9457) but
//! for what hyper refuses before there is a request (more than 64 KiB or 100 lines of header, no HTTP at all), which gets a bare status;
//! a client that sends or reads too slowly is cut; stopping lets running requests end.
//! Does not: authenticate (everything served is public or carries its own signatures), speak TLS, or verify proofs for the caller.

mod app;
mod chain;
mod events;
mod failure;
mod form;
mod freshness;
mod lookup;
mod metrics;
mod serve;
mod submit;

pub use app::{Api, Limits};
pub use serve::serve;
