//! `kusabi key`: one key at a time.

mod history;
mod lookup;
mod new;
mod register;
mod revoke;
mod rotate;
mod show;
mod transfer;

use clap::Subcommand;

pub(crate) use new::SuiteName;
pub(crate) use revoke::ReasonName;

use crate::{exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    New(new::Args),
    Show(show::Args),
    Register(register::Args),
    Lookup(lookup::Args),
    Rotate(rotate::Args),
    Revoke(revoke::Args),
    History(history::Args),
    Transfer(transfer::Args),
    Accept(transfer::AcceptArgs),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::New(args) => new::run(args, session),
        Verb::Show(args) => show::run(args, session),
        Verb::Register(args) => register::run(args, session),
        Verb::Lookup(args) => lookup::run(args, session),
        Verb::Rotate(args) => rotate::run(args, session),
        Verb::Revoke(args) => revoke::run(args, session),
        Verb::History(args) => history::run(args, session),
        Verb::Transfer(args) => transfer::run(args, session),
        Verb::Accept(args) => transfer::accept(args, session),
    }
}
