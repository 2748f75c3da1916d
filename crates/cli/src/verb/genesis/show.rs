//! `kusabi genesis show`: what stands in a genesis, at any point of its way.

use std::path::PathBuf;

use crate::{failure::Result, proposal::Proposal, session::Session};

/// Show what stands in a genesis, and who has signed it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file of `genesis new`, a signature file, or the finished genesis
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    session.output().say(&Proposal::read(&args.file)?.sheet()?)
}
