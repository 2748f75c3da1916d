//! `kusabi audit`: whether a ledger keeps its rules, and whether it is one.
//!
//! `replay` (no word of its own) is about one history, `watch` about whether several nodes show the same one, `evidence` about what
//! `watch` has found somewhere else.

mod evidence;
mod replay;
mod watch;

use clap::Subcommand;

use crate::{exit::Exit, failure::Result, session::Session};

/// Replay the ledger from its genesis; every root and every signature is compared
///
/// Of the running node that the profile or --ledger names, of a backup, or of a stopped node's directory. What this machine
/// has verified of that ledger has to be in it. The state is built anew in a temporary folder ($TMPDIR), which needs about as
/// much room as the ledger. A file that is called like one of the commands is named with its folder: `./watch`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    replay: replay::Args,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Watch(watch::Args),
    Evidence(evidence::Args),
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    match &args.verb {
        None => replay::run(&args.replay, session),
        Some(Verb::Watch(args)) => watch::run(args, session),
        Some(Verb::Evidence(args)) => evidence::run(args, session),
    }
}
