//! The device's side on Linux: where keys are kept, what is inventoried, how an update is installed.
//!
//! What is right is decided in `kusabi-core`; this crate does to the disk what that demands, so that a power cut at any point
//! leaves something whole. Every write to the disk that matters goes through [`disk::Disk`], and the tests cut the power
//! between any two of them.
//!
//! [`daemon`] drives the device of `kusabi-core` with all of that, and speaks to its servers.
#![forbid(unsafe_code)]

pub mod config;
pub mod daemon;
pub mod disk;
pub mod inventory;
pub mod keystore;
pub mod log;
pub mod updater;
