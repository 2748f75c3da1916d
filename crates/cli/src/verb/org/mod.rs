//! `kusabi org`: who may write in an organisation's name.

mod grant;
mod show;
mod withdraw;

use clap::Subcommand;

pub(crate) use grant::grant;

use crate::{exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Grant(grant::Args),
    Withdraw(withdraw::Args),
    Show(show::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::Grant(args) => grant::run(args, session).map(|()| Exit::Ok),
        Verb::Withdraw(args) => withdraw::run(args, session).map(|()| Exit::Ok),
        Verb::Show(args) => show::run(args, session),
    }
}
