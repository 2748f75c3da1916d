//! `kusabi enrol list`: the devices that ask to be enrolled.

use kusabi_api::admin::{Enrolment, EnrolmentState};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, instant},
    session::Session,
};

/// List the devices that wait to be enrolled
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those that were accepted, registered or refused, too
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

#[derive(Serialize)]
struct Listed {
    enrolments: Vec<Enrolment>,
    more: bool,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.enrolments.is_empty() {
            page.text("Nobody asks.");
            return;
        }
        let rows: Vec<_> = self
            .enrolments
            .iter()
            .map(|one| {
                vec![
                    one.label
                        .as_ref()
                        .map_or_else(|| "-".to_owned(), ToString::to_string),
                    one.state.name().to_owned(),
                    instant(one.created_ms),
                    one.id.clone(),
                    one.handle.to_string(),
                ]
            })
            .collect();
        page.table(&["says it is", "state", "asked", "id", "handle"], &rows)
            .text("What a device says it is, anyone can say: compare the handle with what it shows (kusabi-agent status).");
        if self.more {
            page.text("There are more; --limit shows them.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let state = (!args.all).then_some(EnrolmentState::Waiting);
    let (enrolments, more) = fleet.list(args.limit.max(1), async |cursor, limit| {
        fleet
            .client()
            .enrolments(state, cursor.as_deref(), limit)
            .await
    })?;
    session.output().say(&Listed { enrolments, more })?;
    Ok(Exit::Ok)
}
