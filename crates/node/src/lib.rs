//! The kusabi ledger on its consensus engine: one validator, its storage and its query API.

pub mod http;
pub mod ledger;
