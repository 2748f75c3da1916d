//! The admin API through its real router, on a real database, above a real ledger with one signer.
//!
//! The database is SQLite in a temporary directory. `KUSABI_TEST_POSTGRES=postgres://…` (without a database's name, by a user who may
//! make databases) runs the same tests on PostgreSQL, each on a database of its own.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod acts;
mod anchor;
mod audit;
mod browser;
mod bucket;
mod chain;
mod console;
mod console_rollouts;
mod device_attacks;
mod device_freshness;
mod device_life;
mod device_reports;
mod devices;
mod doors;
mod enrolment;
mod firmware_store;
mod follow;
mod inventory_verdicts;
mod ledger;
mod load;
mod made_up;
mod mender_artifacts;
mod mender_deployments;
mod mender_devices;
mod mender_management;
mod orders;
mod page;
mod raw;
mod receipts;
mod releases;
mod rollouts;
mod sboms;
mod serve;
mod site;
mod store;
mod strangers;
mod transfer;
mod world;
