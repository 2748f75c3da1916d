//! The query API, through its real router and over real sockets, on a ledger in memory.
mod events;
mod node;
mod page;
mod refused;
mod router;
mod socket;
mod world;
