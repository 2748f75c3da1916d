//! `kusabi genesis`: several organisations found a ledger together.
//!
//! Files travel, keys do not: [`org init`](super::org) makes a member file on each machine, `new` puts them together,
//! `sign` is done by each organisation where its keys are, `finish` makes the one file with which all nodes start.

mod finish;
mod new;
mod show;
mod sign;

use clap::Subcommand;

pub(crate) use new::seconds;
pub(crate) use sign::check_own;

use crate::{exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    New(new::Args),
    Show(show::Args),
    Sign(sign::Args),
    Finish(finish::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::New(args) => new::run(args, session),
        Verb::Show(args) => show::run(args, session),
        Verb::Sign(args) => sign::run(args, session),
        Verb::Finish(args) => finish::run(args, session),
    }
    .map(|()| Exit::Ok)
}
