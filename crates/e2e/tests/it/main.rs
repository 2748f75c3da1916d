//! Slow rounds with the real `kusabi` process: minutes, not seconds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::{path::PathBuf, sync::OnceLock};

#[path = "../../../cli/tests/it/command.rs"]
#[allow(dead_code, reason = "the tests of the command itself use the rest")]
mod command;
#[path = "../../../cli/tests/it/node.rs"]
#[allow(dead_code, reason = "the tests of the command itself use the rest")]
mod node;
mod storm;

/// The command under test: cargo is asked for it, which builds it where it is not there, with the profile of this test.
fn kusabi() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let build = escargot::CargoBuild::new()
                .package("kusabi")
                .bin("kusabi")
                .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
            let build = if cfg!(debug_assertions) {
                build
            } else {
                build.release()
            };
            match build.run() {
                Ok(built) => built.path().to_owned(),
                Err(why) => panic!("cargo build -p kusabi has to succeed first: {why}"),
            }
        })
        .clone()
}
