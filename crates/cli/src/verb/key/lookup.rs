//! `kusabi key lookup`: the record of a key, proven.

use std::path::PathBuf;

use kusabi_core::row::Record;
use serde::Serialize;

use crate::{
    connection::Connection,
    entry::{Binding, binding},
    exit::Exit,
    failure::Result,
    kept::Kept,
    page::{Answer, Page},
    record::{Owners, Shown},
    session::Session,
    who::Who,
};

/// Look a key up; the answer is proven, also that a key is unknown
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Handle (64 hex digits), a key file, or `-` to read a kusabi-ID from standard input
    #[arg(value_name = "KEY")]
    who: Who,
    /// Keep the proof in a file, for those who have no way to the ledger
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    save: Option<PathBuf>,
    /// Check a kept proof instead of asking a node; needs nothing but the chain ID
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    shown: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<PathBuf>,
    offline: bool,
}

impl Answer for Found {
    fn page(&self, page: &mut Page) {
        self.shown.page(page);
        page.field_if(
            "kept in",
            self.saved.as_ref().map(|path| path.display().to_string()),
        );
        if self.offline {
            page.field(
                "checked",
                "offline, from the chain ID alone; newer blocks may say more",
            );
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let known = args.who.resolve()?;
    let handle = known.handle();
    let chain = session.chain()?;
    let tied = |record: Option<&Record>| {
        record.map_or(Binding::Unchecked, |record| {
            binding(record, known.id(), &chain)
        })
    };
    let found = if let Some(from) = &args.from {
        let proven = Kept::read(from)?.check(&chain, &handle, from)?;
        Found {
            shown: Shown::new(
                &handle,
                &proven,
                Owners::default(),
                tied(proven.value().as_ref()),
            ),
            saved: None,
            offline: true,
        }
    } else {
        let connection = Connection::open(session)?;
        let proven = connection.record(&handle)?;
        let owners = Owners::of(&connection, proven.value().as_ref())?;
        if let Some(path) = &args.save {
            Kept::new(&connection, proven.proof())?.create(path)?;
        }
        Found {
            shown: Shown::new(&handle, &proven, owners, tied(proven.value().as_ref())),
            saved: args.save.clone(),
            offline: false,
        }
    };
    session.output().say(&found)?;
    Ok(if found.shown.is_good() {
        Exit::Ok
    } else {
        Exit::Negative
    })
}
