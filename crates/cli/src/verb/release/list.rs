//! `kusabi release list`: the releases that a server has.

use kusabi_api::admin::Release;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page},
    session::Session,
};

/// List the releases that the server has
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

#[derive(Serialize)]
struct Listed {
    releases: Vec<Release>,
    more: bool,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.releases.is_empty() {
            page.text("No releases.");
            return;
        }
        let rows: Vec<_> = self
            .releases
            .iter()
            .map(|release| {
                let whole = release.contents.iter().all(|content| content.complete);
                vec![
                    release.name.clone(),
                    release.version.clone(),
                    release.counter.to_string(),
                    release.types.join(" "),
                    release.state.name().to_owned(),
                    String::from(if whole { "whole" } else { "not whole" }),
                    release.digest.to_string(),
                ]
            })
            .collect();
        page.table(
            &[
                "name", "version", "counter", "types", "state", "contents", "digest",
            ],
            &rows,
        );
        if self.more {
            page.text("There are more; --limit shows them.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let (releases, more) = fleet.list(args.limit.max(1), async |cursor, limit| {
        fleet.client().releases(cursor.as_deref(), limit).await
    })?;
    session.output().say(&Listed { releases, more })?;
    Ok(Exit::Ok)
}
