//! `kusabi org proposals`: what was proposed, newest first, or one of it with its votes.

use serde::Serialize;

use super::propose::say;
use crate::{
    connection::Connection,
    failure::Result,
    governing::{self, Names, Sheet, Which},
    page::{Answer, Page},
    session::Session,
};

/// List what was proposed to the members, or show one proposal with its votes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The proposal: its ID, the first digits of it (8 or more), or a file with it [default: list them]
    #[arg(value_name = "PROPOSAL")]
    proposal: Option<Which>,
    /// How many are listed
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    last: usize,
}

#[derive(Serialize)]
struct Listed {
    members: usize,
    proposals: Vec<Sheet>,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.proposals.is_empty() {
            page.good("Proposals", "none yet")
                .field("members", self.members.to_string());
            return;
        }
        page.good("Proposals", "newest first")
            .field("members", self.members.to_string())
            .gap()
            .table(
                &["id", "state", "yes", "by", "to"],
                &self.proposals.iter().map(Sheet::line).collect::<Vec<_>>(),
            );
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let connection = Connection::open(session)?;
    if let Some(which) = &args.proposal {
        let proposal = which.read(&connection)?;
        return say(session, &connection, &proposal);
    }
    let members = governing::members(&connection)?;
    let rows = governing::walk(&connection, &members)
        .take(args.last)
        .collect::<Result<Vec<_>>>()?;
    let names = Names::of(&connection, &members, &rows)?;
    let now = session.now_ms();
    let sheet = |row: &kusabi_core::row::ProposalRow| {
        let proposal = governing::content(&connection, row)?;
        Sheet::of(&connection, &proposal, Some(row), &members, &names, now)
    };
    session.output().say(&Listed {
        members: members.count(),
        proposals: rows.iter().map(sheet).collect::<Result<_>>()?,
    })
}
