//! `kusabi batch`: many keys at once, made without a network and registered later.

mod new;
mod submit;

use clap::Subcommand;

pub(crate) use submit::{Tally, submit_all};

use crate::{exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    New(new::Args),
    Submit(submit::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::New(args) => new::run(args, session).map(|()| Exit::Ok),
        Verb::Submit(args) => submit::run(args, session),
    }
}
