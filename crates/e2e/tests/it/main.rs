//! Slow rounds with the real `kusabi` and `kusabi-agent` processes: minutes, not seconds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use escargot::format::Message;

mod apart;
mod attacks;
#[path = "../../../cli/tests/it/command.rs"]
#[allow(dead_code, reason = "the tests of the command itself use the rest")]
mod command;
mod consortium;
mod copies;
mod demo;
mod disks;
mod endure;
mod epochs;
mod fleet;
mod follower;
mod heard;
mod history;
mod images;
mod lines;
mod losses;
mod mender_artifacts;
mod mender_clients;
mod mender_standalone;
mod middle;
mod namespace;
mod netns;
#[path = "../../../cli/tests/it/node.rs"]
#[allow(dead_code, reason = "the tests of the command itself use the rest")]
mod node;
mod partitions;
mod postgres;
mod rauc;
mod storm;
mod swupdate;
mod tools;
mod upgrade;
mod volume;
mod wire;

/// The command under test.
fn kusabi() -> PathBuf {
    programs().join("kusabi")
}

/// The device's daemon under test.
fn agent() -> PathBuf {
    programs().join("kusabi-agent")
}

/// Where the two programs lie: cargo is asked for them, which builds them where they are not there, with the profile of this
/// test. It is asked as `cargo test --workspace` is, whose programs they then are: of the whole workspace, and with examples,
/// for only so are the features of tests' dependencies the same, without which everything would be built once more.
fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let fails = "cargo build --workspace --bins --examples has to succeed first";
        let build = workspace().bins().examples();
        let messages = build.exec().unwrap_or_else(|why| panic!("{fails}: {why}"));
        let mut folder = None;
        for message in messages {
            let message = message.unwrap_or_else(|why| panic!("{fails}: {why}"));
            if let Ok(Message::CompilerArtifact(built)) = message.decode()
                && built.target.name == "kusabi"
                && let Some(program) = built.executable
            {
                folder = program.parent().map(Path::to_owned);
            }
        }
        folder.expect("cargo names the programs that it built")
    })
}

/// `cargo build --workspace`, with the profile of this test.
fn workspace() -> escargot::CargoBuild {
    let build = escargot::CargoBuild::new()
        .arg("--workspace")
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    let build = if cfg!(debug_assertions) {
        build
    } else {
        build.release()
    };
    // What cargo tells a test of its own package is nothing to a build of all. There are build scripts that run again when it
    // changes (ring's), and what stands on them would be built once more.
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        .fold(build, escargot::CargoBuild::env_remove)
}
