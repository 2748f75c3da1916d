//! `kusabi recover show`: a recovery on its way.

use std::path::PathBuf;

use crate::{
    connection::Connection, failure::Result, recovering::Recovering, session::Session,
    verb::epoch::names,
};

/// Show what stands in a recovery, and how many have signed it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File of `recover new` or `recover sign`
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<()> {
    let recovering = Recovering::read(&args.file)?;
    // There may be no ledger at hand.
    let connection = Connection::open(session).ok();
    session
        .output()
        .say(&recovering.sheet(names(connection.as_ref()))?)
}
