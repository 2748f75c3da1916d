//! `kusabi server`: an organisation's server, apart from the ledger's node.

pub(crate) mod mender;
pub(crate) mod run;
pub(crate) mod setup;

use clap::Subcommand;

use crate::{failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(run::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<()> {
    match verb {
        Verb::Run(args) => run::run(args, session),
    }
}
