//! `kusabi org`: an organisation's keys, who may write in its name, and what the members decide together.

mod apply;
pub(crate) mod art;
mod grant;
mod init;
mod keys;
mod proposals;
mod propose;
mod show;
mod threshold;
mod vote;
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
    Threshold(threshold::Args),
    Apply(apply::Args),
    Propose(Box<propose::Args>),
    Vote(vote::Args),
    Proposals(proposals::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::Init(args) => init::run(args, session).map(|()| Exit::Ok),
        Verb::Grant(args) => grant::run(args, session).map(|()| Exit::Ok),
        Verb::Withdraw(args) => withdraw::run(args, session).map(|()| Exit::Ok),
        Verb::Art(args) => art::run(args, session),
        Verb::Show(args) => show::run(args, session),
        Verb::Threshold(args) => threshold::run(args, session).map(|()| Exit::Ok),
        Verb::Apply(args) => apply::run(args, session).map(|()| Exit::Ok),
        Verb::Propose(args) => propose::run(args, session).map(|()| Exit::Ok),
        Verb::Vote(args) => vote::run(args, session).map(|()| Exit::Ok),
        Verb::Proposals(args) => proposals::run(args, session).map(|()| Exit::Ok),
    }
}
