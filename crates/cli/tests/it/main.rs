//! The `kusabi` command from outside: real processes, real files, exact words.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::path::PathBuf;

mod appointing;
mod command;
mod consortium;
mod contradiction;
mod fleet;
mod founding;
mod governance;
mod keys;
mod ledger;
mod liar;
mod loss;
mod manual;
mod node;
mod proxy;
mod receipts;
mod release;
mod up;
mod watch;

/// The command under test.
fn kusabi() -> PathBuf {
    snapbox::cmd::cargo_bin!("kusabi").to_owned()
}
