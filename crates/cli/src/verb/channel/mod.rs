//! `kusabi channel`: the lowest counters of channels.

mod list;
mod set;

use clap::Subcommand;

use crate::{exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    List(list::Args),
    Set(set::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::List(args) => list::run(args, session),
        Verb::Set(args) => set::run(args, session),
    }
}
