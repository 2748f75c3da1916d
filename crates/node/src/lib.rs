//! The kusabi ledger on its consensus engine: one validator, or a follower without a vote, its storage and its query API.
//!
//! From outside in: [`http`] serves [`ledger`] (the `Ledger` trait over a node), which asks a [`handle`]; behind it is
//! [`engine`], on a thread of its own, started by [`node`]. [`pool`] is what both sides share; [`health`] judges how it is doing, `tally` counts its votes. [`directory`], [`outline`],
//! [`prepared`], [`history`] and [`backup`] are a node that does not run; [`follower`] takes blocks from others; `descriptors` says how many files it may open.

pub mod backup;
pub mod descriptors;
pub mod directory;
pub mod engine;
pub mod follower;
pub mod handle;
pub mod health;
pub mod history;
pub mod http;
pub mod ledger;
pub mod node;
pub mod outline;
pub mod pool;
pub mod prepared;
mod tally;
