//! `kusabi key`: one key at a time.

mod new;
mod show;

use clap::Subcommand;

use crate::{exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    New(new::Args),
    Show(show::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::New(args) => new::run(args, session),
        Verb::Show(args) => show::run(args, session),
    }
}
