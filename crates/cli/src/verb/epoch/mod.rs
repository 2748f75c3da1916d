//! `kusabi epoch`: the validators of the next epoch, from the same organisations or others.
//!
//! Files travel, keys do not: `new` puts the nodes' fresh keys together, `sign` is done by each organisation where its officers'
//! keys are, `submit` brings the whole to the ledger. The nodes do the rest by themselves.

mod compare;
mod new;
mod officers;
mod present;
mod show;
mod sign;
mod signed;
mod submit;

use clap::Subcommand;
use kusabi_core::id::OrgId;

use crate::{connection::Connection, exit::Exit, failure::Result, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    New(new::Args),
    Show(show::Args),
    Sign(sign::Args),
    Submit(submit::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::New(args) => new::run(args, session),
        Verb::Show(args) => show::run(args, session),
        Verb::Sign(args) => sign::run(args, session),
        Verb::Submit(args) => submit::run(args, session),
    }
    .map(|()| Exit::Ok)
}

/// Names of organisations as the ledger has them; their IDs where it does not know them, or cannot be asked.
pub(crate) fn names(connection: Option<&Connection>) -> impl Fn(&OrgId) -> String + '_ {
    move |id| {
        let known = connection.and_then(|connection| connection.organisation_name(id).ok());
        known.unwrap_or_else(|| id.to_string())
    }
}
