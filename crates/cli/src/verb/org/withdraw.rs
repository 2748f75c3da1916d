//! `kusabi org withdraw`: takes a role back.

use std::path::PathBuf;

use kusabi_core::{
    row::Record,
    tx::{Action, Named},
};
use serde::Serialize;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    page::{Answer, Page, grouped},
    session::Session,
    who::Who,
};

/// Take the role of a writer, revoker, ps or officer key back
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Handle (64 hex digits), a key file, or `-` to read a kusabi-ID from standard input
    #[arg(value_name = "KEY")]
    who: Who,
    /// Key files of as many officers as the organisation asks for [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Withdrawn {
    handle: String,
    role: &'static str,
    height: u64,
    new: bool,
}

impl Answer for Withdrawn {
    fn page(&self, page: &mut Page) {
        let done = if self.new {
            "Withdrew"
        } else {
            "Already ended:"
        };
        page.good(done, &format!("the {} key", self.role))
            .field("handle", &*self.handle)
            .field("from block", grouped(self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let handle = args.who.resolve()?.handle();
    let connection = Connection::open(session)?;
    let record = connection.known_record(&handle)?;
    if record.is_active() {
        let officers = session.officer_keys(&args.officers)?;
        let action = Action::Withdraw {
            org: record.owner(),
            target: Named {
                handle,
                version: record.version(),
            },
        };
        connection.act(action, &officers.iter().collect::<Vec<_>>())?;
    }
    let ended = connection
        .record(&handle)?
        .into_value()
        .as_ref()
        .and_then(Record::ended)
        .ok_or_else(|| {
            Failure::new(
                Exit::Unproven,
                format!("the node says that {handle} was withdrawn and does not prove it"),
            )
        })?;
    session.output().say(&Withdrawn {
        handle: handle.to_string(),
        role: record.purpose().name(),
        height: ended.get(),
        new: record.is_active(),
    })
}
