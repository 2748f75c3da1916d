//! The engine as an oracle for core's own small verifier: what the engine proves core accepts, and of what is altered both
//! say the same.

mod ed25519;
mod ledger;
mod state;
mod votes;
