//! The core of kusabi: identifiers, keys, records, proofs and anchors.
//!
//! Bytes in, values out: no I/O, no clock, no randomness of its own, no `unsafe`; the device side needs no allocator.
//! The formats are fixed in `spec/`; each module names the page it implements.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod anchor;
pub mod appointment;
pub mod cbor;
pub mod checkpoint;
mod code;
mod cose;
pub mod crypto;
pub mod device;
#[cfg(feature = "alloc")]
pub mod evidence;
pub mod freshness;
pub mod genesis;
pub mod handover;
pub mod header;
pub mod id;
pub mod inventory;
pub mod keystore;
pub mod nodes;
pub mod proof;
pub mod protocol;
pub mod quorum;
pub mod receipt;
pub mod release;
pub mod row;
#[cfg(feature = "alloc")]
pub mod server;
pub mod set;
pub mod statement;
pub mod step;
pub mod suite;
#[cfg(feature = "alloc")]
pub mod tx;
pub mod wire;
