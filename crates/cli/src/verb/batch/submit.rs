//! `kusabi batch submit`: registers a list of keys, thousands under one signature.

use std::path::PathBuf;

use kusabi_core::{
    id::{Handle, OrgId},
    tx::{Action, Entry},
};
use serde::Serialize;

use crate::{
    bundle::{CHUNK, List},
    connection::Connection,
    entry::is_record_of_entry,
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
    page::{Answer, Page, counted, grouped},
    progress,
    session::Session,
};

/// Handles of foreign keys that a page shows; JSON has them all.
const FOREIGN_SHOWN: usize = 10;

/// Register the keys of a list
///
/// Safe to repeat: what is registered already, as the ledger proves, is skipped, so an interrupted run goes on where it stopped.
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
    #[serde(flatten)]
    tally: Tally,
}

/// What became of many keys.
#[derive(Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) registered: usize,
    pub(crate) already: usize,
    pub(crate) transactions: usize,
    /// Handles under which somebody else's key stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) foreign: Vec<String>,
}

impl Answer for Registered {
    fn page(&self, page: &mut Page) {
        let tally = &self.tally;
        let rest = format!(
            "{} of {}",
            counted(tally.registered as u64, "key"),
            self.organisation
        );
        page.good("Registered", &rest)
            .field("list", self.list.display().to_string())
            .field("transactions", grouped(tally.transactions as u64));
        if tally.already > 0 {
            page.field("already there", grouped(tally.already as u64));
        }
        tally.page_foreign(page);
    }
}

impl Tally {
    /// Says which keys are not registered, if there are any.
    pub(crate) fn page_foreign(&self, page: &mut Page) {
        if self.foreign.is_empty() {
            return;
        }
        let mut handles = self.foreign.clone();
        handles.truncate(FOREIGN_SHOWN);
        let more = self.foreign.len() - handles.len();
        if more > 0 {
            handles.push(format!("and {} more", grouped(more as u64)));
        }
        page.gap()
            .bad(
                "Not registered:",
                &format!(
                    "{}, because other ones stand under their handles",
                    counted(self.foreign.len() as u64, "key")
                ),
            )
            .field("handles", handles.join("\n"))
            .text("Somebody who saw the list was there first: make new keys for these devices.");
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let list = List::read(&args.list)?;
    if list.chain != session.chain()? {
        return Err(Failure::new(
            Exit::OtherChain,
            format!("{} was made for chain {}", args.list.display(), list.chain),
        )
        .advise("its bindings are good on that chain only: name that one with --chain, or make new keys"));
    }
    let writer = session.writer_key(args.writer.as_deref())?;
    let connection = Connection::open(session)?;
    let tally = submit_all(&list.entries, &list.org.id(), &writer, &connection, session)?;
    let exit = if tally.foreign.is_empty() {
        Exit::Ok
    } else {
        Exit::Negative
    };
    session.output().say(&Registered {
        list: args.list.clone(),
        organisation: list.org.to_string(),
        tally,
    })?;
    Ok(exit)
}

/// Registers what of these entries, ascending by handle, is not on the ledger yet.
pub(crate) fn submit_all(
    entries: &[Entry],
    org: &OrgId,
    writer: &KeyFile,
    connection: &Connection,
    session: &Session,
) -> Result<Tally> {
    let bar = progress::bar(session.output(), "Registering", entries.len() as u64);
    let mut tally = Tally::default();
    for chunk in entries.chunks(CHUNK) {
        submit(chunk, org, writer, connection, &mut tally)?;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(tally)
}

/// Registers what of a chunk is not on the ledger: as a rule all of it, or nothing where an earlier run was here.
fn submit(
    chunk: &[Entry],
    org: &OrgId,
    writer: &KeyFile,
    connection: &Connection,
    answer: &mut Tally,
) -> Result<()> {
    let Some(first) = chunk.first().map(Entry::handle) else {
        return Ok(());
    };
    let register = |entries: &[Entry]| {
        let action = Action::Register {
            org: *org,
            entries: entries.to_vec(),
        };
        connection.act(action, &[writer]).map(drop)
    };
    let refused = match connection.record(&first)?.into_value() {
        Some(record) if stands_whole(chunk, org, record.registered(), connection)? => {
            answer.already += chunk.len();
            return Ok(());
        }
        Some(_) => None,
        None => match register(chunk) {
            Ok(()) => {
                answer.registered += chunk.len();
                answer.transactions += 1;
                return Ok(());
            }
            Err(failure) if failure.exit() == Exit::Refused => Some(failure),
            Err(failure) => return Err(failure),
        },
    };
    // One of them is there and not all, or somebody is ahead of us: each is asked for.
    let mut missing = Vec::new();
    let mut foreign: Vec<Handle> = Vec::new();
    for entry in chunk {
        match connection.record(&entry.handle())?.value() {
            None => missing.push(entry.clone()),
            Some(record) if is_record_of_entry(record, entry, org) => answer.already += 1,
            Some(_) => foreign.push(entry.handle()),
        }
    }
    if let Some(failure) = refused.filter(|_| missing.len() == chunk.len()) {
        return Err(failure);
    }
    answer.foreign.extend(foreign.iter().map(Handle::to_string));
    if !missing.is_empty() {
        register(&missing)?;
        answer.registered += missing.len();
        answer.transactions += 1;
    }
    Ok(())
}

/// Whether the block of this height holds the transaction that registers the whole chunk: one answer for thousands of keys.
fn stands_whole(
    chunk: &[Entry],
    org: &OrgId,
    height: kusabi_core::id::Height,
    connection: &Connection,
) -> Result<bool> {
    let Some(block) = connection.proven_block(height)? else {
        return Ok(false);
    };
    let whole = |action: &Action| matches!(action, Action::Register { org: owner, entries } if owner == org && entries == chunk);
    Ok(block
        .transactions()
        .iter()
        .any(|transaction| whole(transaction.action())))
}
