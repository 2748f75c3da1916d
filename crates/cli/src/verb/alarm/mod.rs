//! `kusabi alarm`: what needs a person.

mod ack;
mod list;

use clap::Subcommand;

use crate::{exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    List(list::Args),
    Ack(ack::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::List(args) => list::run(args, session),
        Verb::Ack(args) => ack::run(args, session),
    }
}
