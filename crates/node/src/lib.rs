//! The kusabi ledger on its consensus engine: one validator, its storage and its query API.

pub mod backup;
pub mod descriptors;
pub mod directory;
pub mod engine;
pub mod handle;
pub mod history;
pub mod http;
pub mod ledger;
pub mod node;
pub mod outline;
pub mod pool;
