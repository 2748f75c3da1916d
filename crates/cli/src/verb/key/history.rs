//! `kusabi key history`: a key and those before it.

use kusabi_core::row::Record;
use serde::Serialize;

use crate::{
    connection::Connection,
    entry::{Binding, binding},
    exit::Exit,
    failure::Result,
    page::{Answer, Page},
    record::{Owners, Shown},
    session::Session,
    who::Who,
};

/// Show a key and the keys before it, newest first, each proven
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Handle (64 hex digits), a key file, or `-` to read a kusabi-ID from standard input
    #[arg(value_name = "KEY")]
    who: Who,
    /// Stop after this many keys
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

#[derive(Serialize)]
struct History {
    keys: Vec<Shown>,
}

impl Answer for History {
    fn page(&self, page: &mut Page) {
        for (place, shown) in self.keys.iter().enumerate() {
            if place > 0 {
                page.gap();
            }
            shown.page(page);
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let known = args.who.resolve()?;
    let connection = Connection::open(session)?;
    let mut next = Some(known.handle());
    let mut keys = Vec::new();
    while let Some(handle) = next.filter(|_| keys.len() < args.limit.max(1)) {
        let proven = connection.record(&handle)?;
        let tied = match proven.value() {
            // The ID at hand is that of the first key only.
            Some(record) if keys.is_empty() => binding(record, known.id(), connection.chain()),
            _ => Binding::Unchecked,
        };
        next = proven.value().as_ref().and_then(Record::predecessor);
        let owners = Owners::of(&connection, proven.value().as_ref())?;
        keys.push(Shown::new(&handle, &proven, owners, tied));
    }
    let good = keys.first().is_some_and(Shown::is_good);
    session.output().say(&History { keys })?;
    Ok(if good { Exit::Ok } else { Exit::Negative })
}
