//! Integration tests of the core: the vectors of `spec/vectors`, published vectors of the primitives, properties.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod chunks;
mod device_protocol;
mod evidence;
mod firmware;
mod freshness;
mod genesis;
mod identity;
mod inventory;
mod ledger;
mod noise;
mod primitives;
mod properties;
mod provisioning;
mod receipts;
mod release;
mod rules;
mod statements;
mod trust;
mod trust_vectors;
mod vectors;
mod verdicts;
