//! `kusabi org`: an organisation's keys, and who may write in its name.

pub(crate) mod art;
mod grant;
mod init;
mod show;
mod withdraw;

use clap::Subcommand;

pub(crate) use grant::grant;

use crate::{exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Init(init::Args),
    Grant(grant::Args),
    Withdraw(withdraw::Args),
    Art(art::Args),
    Show(show::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::Init(args) => init::run(args, session).map(|()| Exit::Ok),
        Verb::Grant(args) => grant::run(args, session).map(|()| Exit::Ok),
        Verb::Withdraw(args) => withdraw::run(args, session).map(|()| Exit::Ok),
        Verb::Art(args) => art::run(args, session),
        Verb::Show(args) => show::run(args, session),
    }
}
