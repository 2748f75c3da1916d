//! The `kusabi` command from outside: real processes, real files, exact words.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod command;
mod founding;
mod keys;
mod ledger;
mod loss;
mod manual;
mod node;
mod storm;
