//! `kusabi batch submit`: registers a list of keys, thousands under one signature.

use std::path::PathBuf;

use kusabi_core::tx::Action;
use serde::Serialize;

use crate::{
    bundle::{CHUNK, List},
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
    progress,
    session::Session,
};

/// Register the keys of a list
///
/// Safe to repeat: what is registered already is skipped, so an interrupted run goes on where it stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The list that `kusabi batch new` made
    list: PathBuf,
    /// Key file of the writer [default: the profile's]
    #[arg(long, value_name = "KEYFILE")]
    writer: Option<PathBuf>,
}

#[derive(Serialize)]
struct Registered {
    list: PathBuf,
    organisation: String,
    registered: usize,
    already: usize,
    transactions: usize,
}

impl Answer for Registered {
    fn page(&self, page: &mut Page) {
        let rest = format!(
            "{} keys of {}",
            grouped(self.registered as u64),
            self.organisation
        );
        page.good("Registered", &rest)
            .field("list", self.list.display().to_string())
            .field("transactions", grouped(self.transactions as u64));
        if self.already > 0 {
            page.field("already there", grouped(self.already as u64));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let list = List::read(&args.list)?;
    if list.chain != session.chain()? {
        return Err(Failure::new(
            Exit::OtherChain,
            format!("{} was made for chain {}", args.list.display(), list.chain),
        )
        .advise("its bindings are good on that chain only: name that one with --chain, or make new keys"));
    }
    let writer = KeyFile::read(&session.writer(args.writer.as_deref())?)?;
    let connection = Connection::open(session)?;
    let bar = progress::bar(session.output(), "Registering", list.entries.len() as u64);
    let mut answer = Registered {
        list: args.list.clone(),
        organisation: list.org.to_string(),
        registered: 0,
        already: 0,
        transactions: 0,
    };
    for chunk in list.entries.chunks(CHUNK) {
        // A chunk is one transaction and all or nothing, so its first key speaks for all of them.
        let first = chunk.first().map(kusabi_core::tx::Entry::handle);
        let there = match &first {
            Some(first) => connection.record(first)?.value().is_some(),
            None => true,
        };
        if there {
            answer.already += chunk.len();
        } else {
            let action = Action::Register {
                org: list.org.id(),
                entries: chunk.to_vec(),
            };
            connection.act(action, &[&writer])?;
            answer.registered += chunk.len();
            answer.transactions += 1;
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    session.output().say(&answer)
}
